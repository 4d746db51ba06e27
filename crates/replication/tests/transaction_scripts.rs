//! Runs the stories in `tests/transaction_scripts`: one partition's transactions, and one commit's coordinator.
//!
//! The partition is d1_1 of two; home of most stories is d1_0, which is not there and whose words are told.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use baton_model::{
    CatalogIndex, DatabaseId, Epoch, Incarnation, Instant, NodeId, PartitionId, TableId, TransactionId,
};
use baton_replication::transaction::{
    Aggregators, Answer, Coordinator, CoordinatorEffect, CoordinatorEvent, DECIDED, Home, Origin, PREPARED,
    Participant, ParticipantEffect, ParticipantEvent, Place, Prepared, Refused, Request, Standing,
    TransactionSettings, WriteOutcome, key_of, transaction_of,
};
use baton_replication::{Grant, Mutation, Owner, Write, deadlock};
use goldenscript::{Command, Context, Runner};

const TABLE: TableId = TableId(1);
const SETTINGS: TransactionSettings = TransactionSettings { idle_timeout: Duration::from_secs(60) };
const AGGREGATOR: NodeId = NodeId(1);

test_each_file::test_each_path! { in "crates/replication/tests/transaction_scripts" as scripts => tell }

fn tell(path: &Path) {
    goldenscript::run(&mut Story::new(), path).expect("the script is readable");
}

type Rows = BTreeMap<(TableId, Vec<u8>), Vec<u8>>;

struct Story {
    now: Instant,
    participant: Participant,
    rows: Rows,
    writes: BTreeMap<TransactionId, Write>,
    tickets: u64,
    coordinator: Option<Coordinator>,
}

fn partition(ordinal: u32) -> PartitionId {
    PartitionId { database: DatabaseId(1), ordinal }
}

fn transaction(text: &str) -> Result<TransactionId, Box<dyn Error>> {
    Ok(TransactionId(u128::from_str_radix(text.strip_prefix('x').ok_or("a transaction is x…")?, 16)?))
}

fn ordinal(text: &str) -> Result<PartitionId, Box<dyn Error>> {
    Ok(partition(text.strip_prefix("d1_").ok_or("a partition is d1_…")?.parse()?))
}

/// `e2w7`.
fn place(text: &str) -> Result<Place, Box<dyn Error>> {
    let (epoch, number) =
        text.strip_prefix('e').and_then(|rest| rest.split_once('w')).ok_or("a place is e…w…")?;
    Ok(Place { epoch: Epoch(epoch.parse()?), number: number.parse()? })
}

fn said(text: &str) -> Result<Answer, Box<dyn Error>> {
    Ok(match text {
        "prepared" => Answer::Prepared,
        "committed" => Answer::Committed,
        "aborted" => Answer::Aborted,
        "undecided" => Answer::Undecided,
        "forgotten" => Answer::Forgotten,
        "finished" => Answer::Finished,
        other => return Err(format!("who says {other}?").into()),
    })
}

impl Story {
    fn new() -> Self {
        Self {
            now: Instant(0),
            participant: Participant::take_over(Instant(0), partition(1), Epoch(1), SETTINGS, []),
            rows: Rows::new(),
            writes: BTreeMap::new(),
            tickets: 0,
            coordinator: None,
        }
    }

    fn step(&mut self, event: ParticipantEvent) -> String {
        let mut told = String::new();
        for effect in self.participant.step(self.now, event) {
            let _ = writeln!(told, "{effect}");
            match effect {
                ParticipantEffect::Write { transaction, write } => {
                    self.writes.insert(transaction, write);
                }
                ParticipantEffect::AnswerFromRows { transaction, .. } => {
                    let found = self.rows.contains_key(&(DECIDED, key_of(transaction)));
                    let answer = if found { Answer::Committed } else { Answer::Aborted };
                    let _ = writeln!(told, "the rows say {answer}");
                }
                _ => {}
            }
        }
        told
    }

    fn request(&mut self, request: Request) -> String {
        self.tickets += 1;
        self.step(ParticipantEvent::Request { ticket: self.tickets, request })
    }

    fn coordinate(effects: Vec<CoordinatorEffect>) -> String {
        effects.iter().map(|effect| format!("{effect}\n")).collect()
    }

    fn apply(&mut self, write: Write) {
        for Mutation { table, key, row } in write.mutations {
            match row {
                Some(row) => drop(self.rows.insert((table, key), row.to_vec())),
                None => drop(self.rows.remove(&(table, key))),
            }
        }
    }

    fn show(&self) -> String {
        let mut shown = String::new();
        for ((table, key), row) in &self.rows {
            let (key, row) = match *table {
                TABLE => {
                    (String::from_utf8_lossy(key).into_owned(), String::from_utf8_lossy(row).into_owned())
                }
                _ => (format!("x{:x}", transaction_of(key).map_or(0, |id| id.0)), "…".into()),
            };
            let table = match *table {
                PREPARED => "prepared ",
                DECIDED => "decided ",
                _ => "",
            };
            let _ = writeln!(shown, "{table}{key}={row}");
        }
        if shown.is_empty() { "nothing\n".into() } else { shown }
    }
}

fn refused(refused: Refused) -> String {
    format!("{refused:?}\n").to_lowercase()
}

impl Runner for Story {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &Context) -> Result<String, Box<dyn Error>> {
        let mut args = command.consume_args();
        let at = args.take_key("at").map(place).transpose()?;
        let home = args.take_key("home").map(place).transpose()?;
        let mut words: Vec<&str> = Vec::new();
        while let Some(word) = args.next_pos() {
            words.push(word);
        }
        let pairs: Vec<(&str, &str)> = std::iter::from_fn(|| args.next_key()).collect();
        let first = *words.first().unwrap_or(&"");
        let keys = |words: &[&str]| -> Vec<(TableId, Vec<u8>)> {
            words.iter().map(|key| (TABLE, key.as_bytes().to_vec())).collect()
        };
        Ok(match command.name.as_str() {
            // enter x1 [at=e1w1] : a statement of x1 begins.
            "enter" => {
                let origin =
                    Origin { aggregator: AGGREGATOR, incarnation: Incarnation(1), began_at: CatalogIndex(5) };
                match self.participant.enter(self.now, transaction(first)?, origin, at) {
                    Ok(place) => format!("{place}\n"),
                    Err(why) => refused(why),
                }
            }
            // lock x1 a b at=e1w1 | lock s7 a
            "lock" => {
                let grant = match first.strip_prefix('s') {
                    Some(number) => {
                        Ok(self.participant.lock_for_statement(number.parse()?, keys(&words[1..])))
                    }
                    None => {
                        let at = at.ok_or("at which place?")?;
                        self.participant.lock(transaction(first)?, at, keys(&words[1..]))
                    }
                };
                match grant {
                    Ok(Grant::Now) => "granted\n".into(),
                    Ok(Grant::Later) => "waits\n".into(),
                    Err(why) => refused(why),
                }
            }
            // release s7
            "release" => {
                let number = first.strip_prefix('s').ok_or("a statement is s…")?.parse()?;
                let granted: Vec<Owner> = self.participant.release_statement(number);
                granted.iter().map(|owner| format!("granted to {owner}\n")).collect()
            }
            // put x1 1 a=1 b= at=e1w1 : the first statement of x1 sets a and deletes b.
            "put" => {
                let statement: u32 = words.get(1).ok_or("which statement?")?.parse()?;
                let mutation = |(key, value): &(&str, &str)| Mutation {
                    table: TABLE,
                    key: key.as_bytes().to_vec(),
                    row: (!value.is_empty()).then(|| value.as_bytes().to_vec().into()),
                };
                let mutations: Vec<Mutation> = pairs.iter().map(mutation).collect();
                let (id, at) = (transaction(first)?, at.ok_or("at which place?")?);
                let affected = mutations.len() as u64;
                match self.participant.put(self.now, id, at, (statement, 1), mutations, affected) {
                    Ok(()) => String::new(),
                    Err(why) => refused(why),
                }
            }
            // back x1 1 2 at=e1w1 : of two statements, what came after the first is taken back.
            "back" => {
                let after: u32 = words.get(1).ok_or("after which statement?")?.parse()?;
                let begun: u32 = words.get(2).ok_or("of how many?")?.parse()?;
                let (id, at) = (transaction(first)?, at.ok_or("at which place?")?);
                match self.participant.take_back(self.now, id, at, (after, begun)) {
                    Ok(()) => String::new(),
                    Err(why) => refused(why),
                }
            }
            // prepare x1 at=e1w1 home=e1w9
            "prepare" => {
                let home = Home { partition: partition(0), place: home.ok_or("which home?")? };
                let place = at.ok_or("at which place?")?;
                self.request(Request::Prepare { transaction: transaction(first)?, place, home })
            }
            // commit x1 at=e1w1 : here is its home.
            "commit" => {
                let place = at.ok_or("at which place?")?;
                self.request(Request::Commit { transaction: transaction(first)?, place, prepared: vec![] })
            }
            // finish x1 committed|aborted
            "finish" => {
                let commit = words.get(1) == Some(&"committed");
                self.request(Request::Finish { transaction: transaction(first)?, commit })
            }
            // inquire x1 at=e1w1 : here is its home.
            "inquire" => {
                let place = at.ok_or("at which place?")?;
                self.request(Request::Inquire { transaction: transaction(first)?, place })
            }
            // written x1 [busy|deposed] : what became of its write.
            "written" => {
                let id = transaction(first)?;
                let outcome = match words.get(1) {
                    None => WriteOutcome::Done,
                    Some(&"busy") => WriteOutcome::Busy,
                    _ => WriteOutcome::Deposed,
                };
                let write = self.writes.remove(&id).ok_or("it writes nothing")?;
                if outcome == WriteOutcome::Done {
                    self.apply(write);
                }
                self.step(ParticipantEvent::Written { transaction: id, outcome })
            }
            // told x1 committed|aborted|undecided : home's answer.
            "told" => {
                let answer = said(words.get(1).unwrap_or(&""))?;
                self.step(ParticipantEvent::Told { transaction: transaction(first)?, answer })
            }
            // tick 200ms
            "tick" => {
                let millis: u64 = first.strip_suffix("ms").ok_or("how many ms?")?.parse()?;
                self.now = self.now + Duration::from_millis(millis);
                self.step(ParticipantEvent::Tick)
            }
            // offline | restarted : what the catalog says of the aggregator.
            "offline" | "restarted" => {
                let restarted = command.name == "restarted";
                let standing = Standing {
                    incarnation: Incarnation(if restarted { 2 } else { 1 }),
                    offline_at: CatalogIndex(if restarted { 0 } else { 9 }),
                };
                let standings = BTreeMap::from([(AGGREGATOR, standing)]);
                self.step(ParticipantEvent::Aggregators(Aggregators { index: CatalogIndex(9), standings }))
            }
            // takeover : another instance with the same rows becomes primary.
            "takeover" => {
                let prepared: Vec<(TransactionId, Prepared)> = self
                    .rows
                    .iter()
                    .filter(|((table, _), _)| *table == PREPARED)
                    .filter_map(|((_, key), row)| Some((transaction_of(key)?, Prepared::from_row(row)?)))
                    .collect();
                let epoch = self.participant.epoch().next();
                self.writes.clear();
                self.participant = Participant::take_over(self.now, partition(1), epoch, SETTINGS, prepared);
                format!("{epoch}, {} prepared\n", self.participant.prepared())
            }
            // doubt a : whether a reader of a waits.
            "doubt" => {
                let doubt = self.participant.in_doubt(TABLE, |key| key == first.as_bytes());
                if doubt.is_empty() { "it can be read\n" } else { "its reader waits\n" }.into()
            }
            // deadlock x1 : the circle of waits that it is in.
            "deadlock" => match deadlock(&self.participant.locks().waits(), transaction(first)?) {
                Some(circle) => circle.iter().map(|id| format!("x{:x}\n", id.0)).collect(),
                None => "none\n".into(),
            },
            "show" => self.show(),
            // coordinate x1 d1_0=e1w1 d1_1=e1w2 : its commit begins.
            "coordinate" => {
                let mut participants = BTreeMap::new();
                for (at, workspace) in pairs {
                    participants.insert(ordinal(at)?, place(workspace)?);
                }
                match Coordinator::begin(transaction(first)?, &participants) {
                    Some((coordinator, effects)) => {
                        self.coordinator = Some(coordinator);
                        Self::coordinate(effects)
                    }
                    None => "nothing to commit\n".into(),
                }
            }
            // answer d1_1 prepared | silence d1_1
            "answer" | "silence" => {
                let partition = ordinal(first)?;
                let event = match words.get(1) {
                    Some(word) => CoordinatorEvent::Answered { partition, answer: said(word)? },
                    None => CoordinatorEvent::Unanswered { partition },
                };
                Self::coordinate(self.coordinator.as_mut().ok_or("there is none")?.step(event))
            }
            other => return Err(format!("unknown command {other}").into()),
        })
    }
}
