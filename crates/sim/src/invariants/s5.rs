//! S5: an instance refuses what carries an older epoch than it knows.
//!
//! Looked at when a message of an older epoch is all that an instance is told: it may answer, but it writes nothing,
//! commits nothing and acknowledges nothing for it. And an epoch that was written down never goes back.

use baton_model::{Epoch, NodeId, PartitionId};
use baton_replication::{Effect, Message};

pub(super) fn refused(
    node: NodeId,
    partition: PartitionId,
    replica: bool,
    effects: &[Effect],
) -> Result<(), String> {
    let obeyed = effects.iter().find(|effect| match effect {
        Effect::Append(_) | Effect::Truncate(_) | Effect::FetchCopy { .. } => replica,
        Effect::InstallCopy { .. } | Effect::Apply(_) | Effect::Reply { .. } => true,
        Effect::Send { message, .. } => matches!(message, Message::Ack { .. }),
        _ => false,
    });
    match obeyed {
        Some(effect) => Err(format!("{node} {partition} obeys a message of an older epoch: {effect}")),
        None => Ok(()),
    }
}

pub(super) fn saved(
    node: NodeId,
    partition: PartitionId,
    before: Option<(bool, Epoch)>,
    epoch: Epoch,
) -> Result<(), String> {
    match before {
        Some((false, known)) if epoch < known => {
            Err(format!("{node} goes back to {epoch} of {partition} from {known}"))
        }
        _ => Ok(()),
    }
}
