//! What surrounds a call: its limits, its log, its cost.

use std::time::Instant;

use baton_policy::{DecisionPoint, Question};
use wasmtime::{Engine, ResourceLimiter, Store};

use crate::bindings::{log, types};

/// How far apart the ticks of the wall clock are that stops a call, in milliseconds.
pub(crate) const TICK_MS: u64 = 5;
/// Core instances, memories and tables of one component, at most: a policy has one memory, and a few parts that the
/// component encoding adds.
const PARTS_MAX: usize = 8;
/// Elements of all tables of one call, at most.
const TABLE_ELEMENTS_MAX: usize = 10_000;
/// Placing a thousand partitions on hundreds of leaves takes so many times what other decisions may.
const PLACEMENT_PATIENCE: u64 = 40;
/// Bytes of one log line that are kept.
const LINE_BYTES_MAX: usize = 1 << 10;
/// Bytes of all log lines of a call that are kept.
const LOG_BYTES_MAX: usize = 4 << 10;

/// What a call may use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CallLimits {
    /// The budget, about the number of WASM operations. The same on every machine.
    pub fuel: u64,
    /// What it gets beyond that for each thing that it is about: a node, a partition, a cell.
    pub fuel_per_node: u64,
    /// Bytes of memory.
    pub memory_bytes: usize,
    /// Bytes of data handed to the host, in an answer or a log line.
    pub answer_bytes: usize,
    /// What an answer may have beyond that for each of them.
    pub answer_bytes_per_node: usize,
    /// Wall time, in milliseconds: the backstop for what fuel does not see.
    pub time_ms: u64,
}

impl Default for CallLimits {
    /// Some 600 times what a decision over three nodes needs, and at worst 3 ms of it. The wall time is far beyond that,
    /// so that a busy machine does not take a decision from its policy.
    fn default() -> Self {
        Self {
            fuel: 5_000_000,
            fuel_per_node: 20_000,
            memory_bytes: 16 << 20,
            answer_bytes: 1 << 20,
            answer_bytes_per_node: 8 << 10,
            time_ms: 250,
        }
    }
}

impl CallLimits {
    /// The limits for a question: more for one about many nodes, and more for one that an operator's statement waits for.
    #[must_use]
    pub fn of<Q: Question>(mut self, question: &Q) -> Self {
        if Q::POINT == DecisionPoint::Placement {
            self.fuel = self.fuel.saturating_mul(PLACEMENT_PATIENCE);
            self.time_ms = self.time_ms.saturating_mul(PLACEMENT_PATIENCE);
            self.memory_bytes = self.memory_bytes.saturating_mul(4);
        }
        self.for_nodes(question.size())
    }

    /// The limits for a decision over so many nodes.
    #[must_use]
    pub fn for_nodes(mut self, nodes: usize) -> Self {
        self.fuel = self.fuel.saturating_add(self.fuel_per_node.saturating_mul(nodes as u64));
        self.answer_bytes =
            self.answer_bytes.saturating_add(self.answer_bytes_per_node.saturating_mul(nodes));
        self
    }
}

/// What a call has used and said.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CallStats {
    /// Fuel used.
    pub fuel: u64,
    /// Wall time, in microseconds, with the making of the instance.
    pub micros: u64,
    /// Bytes of memory that it had at its end. Memory never shrinks, so that is the most that it had.
    pub memory_bytes: usize,
    /// What the policy said, at most 4 KiB.
    pub log: Vec<LogLine>,
}

/// A line that a policy said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogLine {
    /// How much it matters to the policy: `debug`, `info`, `warn` or `error`.
    pub level: &'static str,
    /// The line, at most 1 KiB of it.
    pub text: String,
}

/// A policy asked for more memory than it may have.
#[derive(Debug, thiserror::Error)]
#[error("more than {0} bytes of memory")]
pub(crate) struct MemoryLimit(pub usize);

/// The state of one call.
#[derive(Debug)]
pub struct Sandbox {
    started: Instant,
    limits: CallLimits,
    memory_bytes: usize,
    table_elements: usize,
    log: Vec<LogLine>,
    log_bytes: usize,
}

impl Sandbox {
    /// A store for one call, with every limit armed.
    pub(crate) fn store(engine: &Engine, limits: CallLimits) -> wasmtime::Result<Store<Self>> {
        let sandbox = Self {
            started: Instant::now(),
            limits,
            memory_bytes: 0,
            table_elements: 0,
            log: Vec::new(),
            log_bytes: 0,
        };
        let mut store = Store::new(engine, sandbox);
        store.limiter(|sandbox| sandbox);
        store.set_fuel(limits.fuel)?;
        store.set_epoch_deadline(limits.time_ms.div_ceil(TICK_MS).max(1));
        store.set_hostcall_fuel(limits.answer_bytes);
        Ok(store)
    }

    /// What the call has used and said.
    pub(crate) fn stats(store: &mut Store<Self>) -> CallStats {
        let left = store.get_fuel().unwrap_or(0);
        let sandbox = store.data_mut();
        CallStats {
            fuel: sandbox.limits.fuel.saturating_sub(left),
            micros: u64::try_from(sandbox.started.elapsed().as_micros()).unwrap_or(u64::MAX),
            memory_bytes: sandbox.memory_bytes,
            log: std::mem::take(&mut sandbox.log),
        }
    }
}

impl types::Host for Sandbox {}

impl log::Host for Sandbox {
    fn log(&mut self, level: log::Level, message: String) {
        let level = match level {
            log::Level::Debug => "debug",
            log::Level::Info => "info",
            log::Level::Warn => "warn",
            log::Level::Error => "error",
        };
        let mut text = message;
        text.truncate(text.floor_char_boundary(LINE_BYTES_MAX));
        // The last words of a policy that gives up are kept even if it has talked too much before.
        if level == "error" || self.log_bytes + text.len() <= LOG_BYTES_MAX {
            self.log_bytes += text.len();
            if self.log_bytes > LOG_BYTES_MAX {
                self.log.pop();
            }
            self.log.push(LogLine { level, text });
        }
    }
}

impl ResourceLimiter for Sandbox {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        self.memory_bytes += desired - current;
        if self.memory_bytes > self.limits.memory_bytes {
            return Err(MemoryLimit(self.limits.memory_bytes).into());
        }
        Ok(true)
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        self.table_elements += desired - current;
        Ok(self.table_elements <= TABLE_ELEMENTS_MAX)
    }

    fn instances(&self) -> usize {
        PARTS_MAX
    }

    fn tables(&self) -> usize {
        PARTS_MAX
    }

    fn memories(&self) -> usize {
        PARTS_MAX
    }
}
