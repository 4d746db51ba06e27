//! Events and effects in the house notation: the language of scripts and logs.
//!
//! Short on purpose: rows are counted, not shown, and a statement is its number.

use std::fmt;

use baton_model::StatementId;

use crate::instance::{Effect, Event};
use crate::outcomes::StatementOutcome;
use crate::record::{Payload, Record};
use crate::view::View;

/// `e2 v5 primary=n1 armed [n2 sync, n3 async offline]`.
impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let armed = if self.armed { " armed" } else { "" };
        write!(f, "{} v{} primary={}{armed} [", self.epoch, self.version, self.primary)?;
        for (i, (node, (state, online))) in self.replicas.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            write!(f, "{comma}{node} {state}{}", if *online { "" } else { " offline" })?;
        }
        f.write_str("]")
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::View(view) => write!(f, "view {view}"),
            Self::Write { ticket, epoch, write } => {
                let rows = write.mutations.len();
                write!(f, "write t{ticket} {epoch} {} {rows} rows", Short(write.statement))
            }
            Self::Await { ticket, statement } => write!(f, "await t{ticket} {}", Short(*statement)),
            Self::HandOver { ticket, epoch, to, drain, hold } => {
                let (drain, hold) = (drain.as_millis(), hold.as_millis());
                write!(f, "hand over h{ticket} {epoch} to {to} within {drain} ms, then {hold} ms")
            }
            Self::Durable { lsn, cuts } => write!(f, "durable {lsn} cuts={cuts}"),
            Self::LinkUp { peer, link } => write!(f, "link {link} to {peer} up"),
            Self::Received { peer, link, message } => write!(f, "{peer} on {link}: {message}"),
            Self::LinkDown { peer, link } => write!(f, "link {link} to {peer} down"),
            Self::LogRead { peer, link, records } => {
                write!(f, "log read for {peer} on {link}: {}", Span(records))
            }
            Self::CopyReady { peer, link, copy, at, history } => {
                write!(f, "copy {copy} as of {at} [{history}] ready for {peer} on {link}")
            }
            Self::CopyHere { copy } => write!(f, "copy {copy} is here"),
            Self::Snapshot => f.write_str("snapshot"),
            Self::Tick => f.write_str("tick"),
        }
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SaveEpochs { epoch, history } => write!(f, "save {epoch} [{history}]"),
            Self::Append(records) => {
                f.write_str("append ")?;
                records.iter().enumerate().try_for_each(|(i, record)| {
                    let comma = if i == 0 { "" } else { ", " };
                    write!(f, "{comma}{record}")
                })
            }
            Self::Truncate(last) => write!(f, "cut after {last}"),
            Self::Sync { lsn, cuts } => write!(f, "sync {lsn} cuts={cuts}"),
            Self::Apply(records) => write!(f, "apply {}", Span(records)),
            Self::Trim(before) => write!(f, "trim before {before}"),
            Self::SaveOutcomes(outcomes) => write!(f, "save {} outcomes", outcomes.len()),
            Self::Send { peer, link, message } => write!(f, "send {peer} on {link}: {message}"),
            Self::ReadLog { peer, link, from } => write!(f, "read log from {from} for {peer} on {link}"),
            Self::Provision { peer, link, at_least, fresh } => {
                let a = if *fresh { "a fresh" } else { "a" };
                write!(f, "make {a} copy as of {at_least} or later for {peer} on {link}")
            }
            Self::Link(Some(to)) => write!(f, "link to {to}"),
            Self::Link(None) => f.write_str("link to nobody"),
            Self::CloseLink { peer, link } => write!(f, "close link {link} of {peer}"),
            Self::Reply { ticket, result: Ok(StatementOutcome { lsn, affected_rows }) } => {
                write!(f, "reply t{ticket} ok: {affected_rows} rows at {lsn}")
            }
            Self::Reply { ticket, result: Err(error) } => write!(f, "reply t{ticket} error: {error}"),
            Self::ReportLag { epoch, version, replica, lag } => {
                let linked = if lag.linked { "" } else { ", not linked" };
                write!(
                    f,
                    "report {epoch} v{version} {replica} silent for {} ms{linked}, {} writes wait, the oldest for {} ms",
                    lag.silent.as_millis(),
                    lag.waiting_writes,
                    lag.oldest_wait.as_millis()
                )
            }
            Self::Drained { ticket, result: Ok(lsn) } => write!(f, "drained h{ticket} up to {lsn}"),
            Self::Drained { ticket, result: Err(error) } => write!(f, "not drained h{ticket}: {error}"),
            Self::RequestSyncState { epoch, version, replica, state, reason } => {
                write!(f, "ask {epoch} v{version} {replica} ⇨ {state}: {reason}")
            }
            Self::RequestSynced { epoch, version } => write!(f, "say {epoch} v{version} is synced"),
            Self::Serve(true) => f.write_str("serve"),
            Self::Serve(false) => f.write_str("serve no more"),
            Self::FetchCopy { peer, link, copy } => write!(f, "fetch copy {copy} from {peer} for {link}"),
            Self::InstallCopy { copy, at, epoch, history, outcomes } => {
                let count = outcomes.len();
                write!(f, "install copy {copy} as of {at}, {epoch} [{history}] {count} outcomes")
            }
            Self::Report(what) => write!(f, "report: {what}"),
            Self::Halt(reason) => write!(f, "halt: {reason}"),
        }
    }
}

/// A statement as its number in hex, without the leading zeros.
struct Short(StatementId);

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s{:x}", self.0.0)
    }
}

/// The first and the last position of consecutive records.
struct Span<'a>(&'a [Record]);

impl fmt::Display for Span<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [] => f.write_str("nothing"),
            [only] => write!(f, "{}", only.lsn),
            [first, .., last] => write!(f, "{}..{}", first.lsn, last.lsn),
        }
    }
}

/// In the house notation: `e2@17 s1f 3 rows`.
impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{} ", self.epoch, self.lsn)?;
        match &self.payload {
            Payload::EpochStart => f.write_str("epoch start"),
            Payload::Write(write) => write!(f, "{} {} rows", Short(write.statement), write.mutations.len()),
        }
    }
}
