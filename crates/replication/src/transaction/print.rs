//! Requests, answers, events and effects in the house notation.

use std::fmt;

use baton_model::TransactionId;

use super::coordinator::{CommitOutcome, CoordinatorEffect, CoordinatorEvent};
use super::message::{Answer, Home, Place, Request};
use super::participant::{ParticipantEffect, ParticipantEvent, WriteOutcome};
use crate::locks::Owner;

/// `e2w7`: the seventh workspace of the primary of epoch 2.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}w{}", self.epoch, self.number)
    }
}

/// `d1_0/e2w7`.
impl fmt::Display for Home {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.partition, self.place)
    }
}

/// A transaction as its number in hex, without the leading zeros.
struct Short(TransactionId);

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "x{:x}", self.0.0)
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Statement(number) => write!(f, "statement {number}"),
            Self::Transaction(transaction) => write!(f, "{}", Short(*transaction)),
        }
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prepare { transaction, place, home } => {
                write!(f, "Prepare {} at {place} home={home}", Short(*transaction))
            }
            Self::Commit { transaction, place, prepared } => {
                write!(f, "Commit {} at {place} after {} others", Short(*transaction), prepared.len())
            }
            Self::Finish { transaction, commit } => {
                let how = if *commit { "committed" } else { "aborted" };
                write!(f, "Finish {} {how}", Short(*transaction))
            }
            Self::Inquire { transaction, place } => write!(f, "Inquire {} at {place}", Short(*transaction)),
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Prepared => "prepared",
            Self::Committed => "committed",
            Self::Aborted => "aborted",
            Self::Undecided => "undecided",
            Self::Forgotten => "forgotten",
            Self::Finished => "finished",
            Self::NotPrimary => "not the primary",
            Self::Busy => "busy",
        })
    }
}

impl fmt::Display for WriteOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Done => "done",
            Self::Busy => "busy",
            Self::Deposed => "deposed",
        })
    }
}

impl fmt::Display for ParticipantEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request { ticket, request } => write!(f, "t{ticket} {request}"),
            Self::Written { transaction, outcome } => write!(f, "write of {} {outcome}", Short(*transaction)),
            Self::Told { transaction, answer } => write!(f, "told that {} is {answer}", Short(*transaction)),
            Self::Aggregators(aggregators) => {
                write!(f, "{} aggregators at {}", aggregators.standings.len(), aggregators.index)
            }
            Self::NotRunning(transaction) => write!(f, "nobody runs {}", Short(*transaction)),
            Self::Tick => f.write_str("tick"),
        }
    }
}

impl fmt::Display for ParticipantEffect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answer { ticket, answer } => write!(f, "answer t{ticket} {answer}"),
            Self::AnswerFromRows { ticket, transaction, .. } => {
                write!(f, "answer t{ticket} from the rows about {}", Short(*transaction))
            }
            Self::Write { transaction, write } => {
                write!(f, "write {} {} rows", Short(*transaction), write.mutations.len())
            }
            Self::Ask { transaction, home } => write!(f, "ask {home} about {}", Short(*transaction)),
            Self::Granted(owners) => {
                f.write_str("granted to ")?;
                owners.iter().enumerate().try_for_each(|(i, owner)| {
                    let comma = if i == 0 { "" } else { ", " };
                    write!(f, "{comma}{owner}")
                })
            }
            Self::Over(transaction) => write!(f, "{} is over", Short(*transaction)),
            Self::Report(what) => write!(f, "report: {what}"),
        }
    }
}

impl fmt::Display for CommitOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Committed => f.write_str("committed"),
            Self::RolledBack(partition) => write!(f, "rolled back, {partition} could not"),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}

impl fmt::Display for CoordinatorEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answered { partition, answer } => write!(f, "{partition}: {answer}"),
            Self::Unanswered { partition } => write!(f, "{partition} does not answer"),
        }
    }
}

impl fmt::Display for CoordinatorEffect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Send { partition, request } => write!(f, "send {partition}: {request}"),
            Self::Conclude(outcome) => write!(f, "conclude {outcome}"),
        }
    }
}
