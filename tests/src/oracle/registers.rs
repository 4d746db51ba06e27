//! Registers that only rise, and readers who watch that nobody sees one fall.
//!
//! Each register has one writer, who writes 1, 2, 3, … to it, each only over something smaller: so a write that comes
//! late, after its client has given it up, changes nothing, and what a read may see is exact.
//! * A read is at least whatever was acknowledged, or read by anybody, before it was sent; and no more than was sent.
//! * Reads of a reference table are answered from the aggregator's own copy: they must not fall on one connection.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::story::{Story, Violation};
use super::{Counts, Dice, Pace};
use crate::client::{Client, Done, Record, SqlFault};
use crate::cluster::Cluster;
use crate::moment::Moment;
use crate::roving::Rover;

/// Registers of one writer.
const REGISTERS: usize = 8;
const WRITERS: usize = 2;
const READERS: usize = 2;

/// Where registers are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Table {
    Sharded,
    Reference,
}

impl Table {
    const fn name(self) -> &'static str {
        match self {
            Self::Sharded => "stage.registers",
            Self::Reference => "stage.reference_registers",
        }
    }
}

#[derive(Debug)]
struct Register {
    table: Table,
    id: usize,
    /// The newest value that was sent.
    sent: AtomicU64,
    /// The newest value that was acknowledged or read.
    floor: AtomicU64,
    story: Mutex<Story>,
}

impl Register {
    fn story(&self) -> MutexGuard<'_, Story> {
        self.story.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn name(&self) -> String {
        format!("{} {}", self.table.name(), self.id)
    }
}

#[derive(Debug)]
struct Shared {
    registers: Vec<Register>,
    counts: Arc<Counts>,
    /// Whether a primary that is cut off may not answer reads (`leaf_read_lease`).
    leases: bool,
}

impl Shared {
    /// A write has ended.
    fn written(
        &self,
        register: &Register,
        value: u64,
        (via, sent): (&str, Moment),
        outcome: Result<Done, SqlFault>,
    ) {
        let mut story = register.story();
        match outcome {
            Ok(done) => {
                register.floor.fetch_max(value, Ordering::SeqCst);
                story.tell(via, sent, format!("write {value}: OK, {} rows", done.affected_rows));
                if done.affected_rows != 1 {
                    let what = format!("{} changed {} rows", register.name(), done.affected_rows);
                    self.counts.violated(story.violation(what));
                }
            }
            Err(fault) => story.tell(via, sent, format!("write {value}: {fault}")),
        }
    }

    /// A read was answered, before which something had been seen; gives the value.
    fn read(
        &self,
        register: &Register,
        floor: u64,
        (via, sent): (&str, Moment),
        rows: &[Record],
    ) -> Option<u64> {
        let value = match rows {
            [row] => row.number("v").ok(),
            // This aggregator's copy may not have the row yet.
            [] if register.table == Table::Reference && floor == 0 => Some(0),
            _ => None,
        };
        let mut story = register.story();
        let Some(value) = value else {
            story.tell(via, sent, format!("read: {} rows", rows.len()));
            self.counts.violated(story.violation(format!("{} cannot be read", register.name())));
            return None;
        };
        story.tell(via, sent, format!("read {value}"));
        let newest = register.sent.load(Ordering::SeqCst);
        if value > newest {
            let what = format!("{} read {value}, and {newest} was the last that was sent", register.name());
            self.counts.violated(story.violation(what));
        } else if value < floor {
            if register.table == Table::Sharded && !self.leases {
                self.counts.read_stale();
            } else {
                let what = format!("{} read {value}, after {floor} had been seen", register.name());
                self.counts.violated(story.violation(what));
            }
        }
        register.floor.fetch_max(value, Ordering::SeqCst);
        Some(value)
    }
}

/// Writers and readers at work.
#[derive(Debug)]
pub(super) struct Registers {
    shared: Arc<Shared>,
}

impl Registers {
    /// Makes the tables and sets everybody to work.
    pub(super) async fn start(
        cluster: &Cluster,
        via: &[String],
        seed: u64,
        pace: Pace,
        counts: &Arc<Counts>,
        (tasks, stop): (&mut JoinSet<()>, &CancellationToken),
    ) -> Result<Self> {
        let mut client = cluster.any_aggregator().await?;
        let leases = client.rows("SHOW VARIABLES LIKE 'leaf_read_lease'").await?;
        let leases = leases.iter().any(|row| row.text("Value").as_deref() == Some("ON"));
        let of_each = [(Table::Sharded, WRITERS * REGISTERS), (Table::Reference, REGISTERS)];
        for (table, count) in of_each {
            let kind = if table == Table::Reference { "REFERENCE TABLE" } else { "TABLE" };
            let name = table.name();
            client.run(&format!("CREATE {kind} {name} (id BIGINT PRIMARY KEY, v BIGINT NOT NULL)")).await?;
            let rows: Vec<String> = (0..count).map(|id| format!("({id}, 0)")).collect();
            client.run(&format!("INSERT INTO {name} VALUES {}", rows.join(", "))).await?;
        }
        client.close().await;
        let register = |(table, id)| Register {
            table,
            id,
            sent: AtomicU64::new(0),
            floor: AtomicU64::new(0),
            story: Mutex::default(),
        };
        let all = of_each.into_iter().flat_map(|(table, count)| (0..count).map(move |id| (table, id)));
        let registers = all.map(register).collect();
        let shared = Arc::new(Shared { registers, counts: Arc::clone(counts), leases });
        for writer in 0..=WRITERS {
            // The last of them writes those of the reference table.
            let rover = Rover::new(cluster, via, writer, pace.bound)?;
            let dice = Dice::new(seed, &format!("register writer {writer}"));
            let first = writer * REGISTERS;
            tasks.spawn(write(Arc::clone(&shared), first, rover, dice, pace.rest, stop.clone()));
        }
        for reader in 0..READERS {
            let rover = Rover::new(cluster, via, reader + 1, pace.bound)?;
            let dice = Dice::new(seed, &format!("register reader {reader}"));
            tasks.spawn(read(Arc::clone(&shared), rover, dice, pace.rest, stop.clone()));
        }
        Ok(Self { shared })
    }

    /// Reads all of them once more.
    pub(super) async fn check(&self, client: &mut Client, found: &mut Vec<Violation>) -> Result<()> {
        for table in [Table::Sharded, Table::Reference] {
            let rows = client.rows(&format!("SELECT id, v FROM {}", table.name())).await?;
            for register in self.shared.registers.iter().filter(|register| register.table == table) {
                let id = register.id as u64;
                let values = rows.iter().filter(|row| row.number("id").is_ok_and(|found| found == id));
                let values: Vec<u64> = values.map(|row| row.number("v")).collect::<Result<_>>()?;
                let floor = register.floor.load(Ordering::SeqCst);
                let sent = register.sent.load(Ordering::SeqCst);
                let wrong = match values[..] {
                    [value] if value < floor => {
                        format!("is {value}, although {floor} was acknowledged or read")
                    }
                    [value] if value > sent => format!("is {value}, and {sent} was the last that was sent"),
                    [value] => {
                        // What was there once must be there in the next copy.
                        register.floor.fetch_max(value, Ordering::SeqCst);
                        continue;
                    }
                    _ => format!("is there {} times", values.len()),
                };
                let what = format!("{} {wrong}", register.name());
                found.push(register.story().violation(what));
            }
        }
        Ok(())
    }
}

async fn write(
    shared: Arc<Shared>,
    first: usize,
    mut rover: Rover,
    mut dice: Dice,
    rest: Duration,
    stop: CancellationToken,
) {
    while !stop.is_cancelled() {
        if !rover.is_connected().await {
            continue;
        }
        let Some(register) = shared.registers.get(first + dice.below(REGISTERS)) else { return };
        let value = register.sent.fetch_add(1, Ordering::SeqCst) + 1;
        let (table, id) = (register.table.name(), register.id);
        let (via, sent) = (rover.via().to_owned(), Moment::now());
        let outcome =
            rover.run(&format!("UPDATE {table} SET v = {value} WHERE id = {id} AND v < {value}")).await;
        shared.counts.note(&outcome);
        shared.written(register, value, (&via, sent), outcome);
        tokio::time::sleep(rest).await;
    }
    rover.close().await;
}

async fn read(
    shared: Arc<Shared>,
    mut rover: Rover,
    mut dice: Dice,
    rest: Duration,
    stop: CancellationToken,
) {
    // Of the present connection, the newest value read of each register.
    let mut here = vec![0; shared.registers.len()];
    while !stop.is_cancelled() {
        // A reader does not stay where it is: a read that falls from one aggregator to another is the interesting one.
        if dice.below(16) == 0 {
            rover.go_on();
            here.fill(0);
        }
        if !rover.is_connected().await {
            continue;
        }
        let index = dice.below(shared.registers.len());
        let register = &shared.registers[index];
        let floor = match register.table {
            Table::Sharded => register.floor.load(Ordering::SeqCst),
            Table::Reference => here[index],
        };
        let (via, sent) = (rover.via().to_owned(), Moment::now());
        let outcome =
            rover.rows(&format!("SELECT v FROM {} WHERE id = {}", register.table.name(), register.id)).await;
        shared.counts.note_read(&outcome);
        if matches!(outcome, Err(SqlFault::Unanswered(_))) {
            here.fill(0);
        }
        if let Ok(rows) = outcome {
            let value = shared.read(register, floor, (&via, sent), &rows);
            here[index] = here[index].max(value.unwrap_or(0));
        }
        tokio::time::sleep(rest).await;
    }
    rover.close().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared(leases: bool) -> Shared {
        let register = |table| Register {
            table,
            id: 0,
            sent: AtomicU64::new(9),
            floor: AtomicU64::new(0),
            story: Mutex::default(),
        };
        let registers = vec![register(Table::Sharded), register(Table::Reference)];
        Shared { registers, counts: Arc::default(), leases }
    }

    fn wrong(shared: &Shared) -> (u64, u64) {
        let of = |number: &AtomicU64| number.load(Ordering::Relaxed);
        (of(&shared.counts.violated), of(&shared.counts.stale_reads))
    }

    fn row(value: u64) -> Vec<Record> {
        vec![Record::of(&[("v", value)])]
    }

    #[test]
    fn a_read_that_falls_or_comes_from_nowhere_is_found() {
        let (told, moment) = ("a1", Moment::now());
        for (leases, table, value, expected) in [
            (true, 0, 5, (0, 0)),
            (true, 0, 4, (1, 0)),
            (false, 0, 4, (0, 1)),
            (false, 1, 4, (1, 0)),
            (true, 0, 10, (1, 0)),
        ] {
            let shared = shared(leases);
            shared.read(&shared.registers[table], 5, (told, moment), &row(value));
            assert_eq!(wrong(&shared), expected, "{value}");
        }
        for (table, floor, expected) in [(0, 0, 1), (1, 0, 0), (1, 2, 1)] {
            let shared = shared(true);
            shared.read(&shared.registers[table], floor, (told, moment), &[]);
            assert_eq!(wrong(&shared), (expected, 0), "{table} {floor}");
        }
    }

    #[test]
    fn an_acknowledged_write_that_changed_nothing_is_found() {
        let shared = shared(true);
        let done = |affected_rows| Ok(Done { affected_rows, last_insert_id: 0 });
        shared.written(&shared.registers[0], 3, ("a1", Moment::now()), done(1));
        assert_eq!((wrong(&shared), shared.registers[0].floor.load(Ordering::SeqCst)), ((0, 0), 3));
        shared.written(&shared.registers[0], 4, ("a1", Moment::now()), done(0));
        assert_eq!(wrong(&shared), (1, 0));
    }
}
