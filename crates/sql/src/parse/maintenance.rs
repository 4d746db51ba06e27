//! Statements of an operator about leaves, instances and their placement. The first word is taken.

use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Token;

use super::cluster::address;
use super::source::Refusal;
use super::words::Words;
use crate::maintenance::{Maintenance, PartitionName};
use crate::statement::{Address, Show};

/// `PROMOTE PARTITION …`; both words are taken.
pub(super) fn promote_partition(parser: &mut Parser<'_>) -> Result<Maintenance, Refusal> {
    let partition = partition(parser)?;
    parser.want("ON")?;
    let to = address(parser)?;
    let [kill] = options(parser, ["KILL"]);
    Ok(Maintenance::PromotePartition { partition, to, kill })
}

/// `COPY PARTITION …`; COPY is taken.
pub(super) fn copy(parser: &mut Parser<'_>) -> Result<Maintenance, Refusal> {
    parser.want("PARTITION")?;
    let partition = partition(parser)?;
    parser.want("TO")?;
    Ok(Maintenance::CopyPartition { partition, to: address(parser)? })
}

/// `DROP PARTITION …`; both words are taken.
pub(super) fn drop_partition(parser: &mut Parser<'_>) -> Result<Maintenance, Refusal> {
    let partition = partition(parser)?;
    parser.want("ON")?;
    Ok(Maintenance::DropPartition { partition, on: address(parser)? })
}

/// `ATTACH …`.
pub(super) fn attach(parser: &mut Parser<'_>) -> Result<Maintenance, Refusal> {
    if parser.take("PARTITION") {
        let partition = partition(parser)?;
        parser.want("ON")?;
        let on = address(parser)?;
        let [force] = options(parser, ["FORCE"]);
        return Ok(Maintenance::AttachPartition { partition, on, force });
    }
    let leaf = if parser.take_all(&["ALL", "LEAVES"]) || parser.take_all(&["LEAF", "ALL"]) {
        None
    } else {
        parser.want("LEAF")?;
        Some(address(parser)?)
    };
    let mut force = parser.take("FORCE");
    let rebalance = !parser.take_all(&["NO", "REBALANCE"]);
    force |= parser.take("FORCE");
    Ok(Maintenance::AttachLeaf { leaf, force, rebalance })
}

/// `DETACH …`.
pub(super) fn detach(parser: &mut Parser<'_>) -> Result<Maintenance, Refusal> {
    let leaves = leaves(parser)?;
    let [kill, safe] = options(parser, ["KILL", "ENSURE_PARTITION_SAFETY"]);
    Ok(Maintenance::DetachLeaves { leaves, kill, safe })
}

/// `REMOVE LEAF …` and `REMOVE LEAVES …`; REMOVE is taken.
pub(super) fn remove(parser: &mut Parser<'_>) -> Result<Maintenance, Refusal> {
    let leaves = leaves(parser)?;
    let [force, kill, safe] = options(parser, ["FORCE", "KILL", "ENSURE_PARTITION_SAFETY"]);
    Ok(Maintenance::RemoveLeaves { leaves, force, kill, safe })
}

/// `CLEAR ORPHAN DATABASES`.
pub(super) fn clear(parser: &mut Parser<'_>) -> Result<Maintenance, Refusal> {
    parser.want("ORPHAN")?;
    parser.want("DATABASES")?;
    Ok(Maintenance::ClearOrphans)
}

/// `RESTORE REDUNDANCY ON db`; both words are taken.
pub(super) fn restore_redundancy(parser: &mut Parser<'_>) -> Result<Maintenance, Refusal> {
    parser.want("ON")?;
    Ok(Maintenance::RestoreRedundancy { database: parser.name("a database")? })
}

/// `REBALANCE …`. KILL is what a plan does by itself where writes do not end.
pub(super) fn rebalance(parser: &mut Parser<'_>) -> Result<Maintenance, Refusal> {
    if parser.take_all(&["ALL", "DATABASES"]) {
        let [_, all_online] = options(parser, ["KILL", "ENSURE_ONLINE_NODES"]);
        return Ok(Maintenance::RebalanceAll { all_online });
    }
    parser.want("PARTITIONS")?;
    parser.want("ON")?;
    let database = parser.name("a database")?;
    let [full, force, _, all_online] = options(parser, ["FULL", "FORCE", "KILL", "ENSURE_ONLINE_NODES"]);
    Ok(Maintenance::Rebalance { database, full, force, all_online })
}

/// `STOP REBALANCE ON db`; both words are taken.
pub(super) fn stop_rebalance(parser: &mut Parser<'_>) -> Result<Maintenance, Refusal> {
    parser.want("ON")?;
    Ok(Maintenance::StopRebalance { database: parser.name("a database")? })
}

/// What EXPLAIN can explain of these; None if it is something else. EXPLAIN is taken. Without a database it explains what
/// would be done to each, as the check before a cluster is taken offline wants it.
pub(super) fn explained(parser: &mut Parser<'_>) -> Result<Option<Maintenance>, Refusal> {
    Ok(Some(if parser.take_all(&["RESTORE", "REDUNDANCY"]) {
        if parser.at("ON") { restore_redundancy(parser)? } else { Maintenance::RestoreAll }
    } else if parser.take("REBALANCE") {
        if parser.take("PARTITIONS") && !parser.at("ON") {
            Maintenance::RebalancePartitionsOfAll
        } else {
            if parser.at("ON") {
                parser.prev_token();
            }
            rebalance(parser)?
        }
    } else if parser.take("CLEAR") {
        clear(parser)?
    } else {
        return Ok(None);
    }))
}

/// `SHOW REBALANCE …`; both words are taken.
pub(super) fn show_rebalance(parser: &mut Parser<'_>) -> Result<Show, Refusal> {
    if parser.take_all(&["ALL", "DATABASES"]) {
        parser.want("STATUS")?;
        return Ok(Show::RebalanceStatus { database: None });
    }
    parser.want("STATUS")?;
    let database = if parser.take("ON") { Some(parser.name("a database")?) } else { None };
    Ok(Show::RebalanceStatus { database })
}

/// `LEAF 'host':port` or `LEAVES ('host':port, …)`.
fn leaves(parser: &mut Parser<'_>) -> Result<Vec<Address>, Refusal> {
    if !parser.take("LEAVES") {
        parser.want("LEAF")?;
        return Ok(vec![address(parser)?]);
    }
    parser.want_sign(&Token::LParen, "(")?;
    let mut leaves = vec![address(parser)?];
    while parser.take_sign(&Token::Comma) {
        leaves.push(address(parser)?);
    }
    parser.want_sign(&Token::RParen, ")")?;
    Ok(leaves)
}

/// `db:ordinal`.
fn partition(parser: &mut Parser<'_>) -> Result<PartitionName, Refusal> {
    let database = parser.name("a database")?;
    parser.want_sign(&Token::Colon, ":")?;
    let ordinal = parser.number("the number of a partition", 0..=u32::MAX.into())?;
    Ok(PartitionName { database, ordinal: u32::try_from(ordinal).unwrap_or(u32::MAX) })
}

/// Which of these words are there, in any order.
fn options<const N: usize>(parser: &mut Parser<'_>, words: [&str; N]) -> [bool; N] {
    let mut found = [false; N];
    while let Some(which) = words.iter().position(|word| parser.at(word)) {
        parser.take(words[which]);
        found[which] = true;
    }
    found
}
