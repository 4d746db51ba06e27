//! Tests over real processes, through the toolbox and the MySQL port. Each is named for what it proves.
//!
//! One program, run one test at a time: they measure times, and the machine may have two processors.
//! Tests that need a cluster in the same shape share one; each finds it healed ([`stage`]).

mod accounts;
mod author;
mod balancing;
mod binary;
mod by_hand;
mod cases;
mod chaos;
mod classic;
mod copies;
mod decisions;
mod degrade;
mod growth;
mod operator;
mod policies;
mod promises;
mod restart;
mod sql;
mod sql_clients;
mod stage;
mod strangers;
mod succession;
mod swallowed;
mod swift;
mod toolbox;
mod transactions;
