//! A policy that is asked beside the one that decides: on a thread of its own, so that no decision waits for it.
//!
//! What it remembers of nodes is its own: the memory in a question is that of the policy that decides.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;

use baton_policy::{DecisionPoint, Health, Settings};

use crate::exports::Sandboxed;
use crate::{Binding, Bindings, BoundFor, CallLimits, Decision};

/// Questions that wait for the thread, at most; more are not asked, and counted.
const WAITING_MAX: usize = 64;
/// Disagreements that are kept, at most; the oldest go.
pub const DISAGREEMENTS_KEPT: usize = 256;

/// What was counted of a policy that is asked beside.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ShadowCounts {
    /// Its name.
    pub module: String,
    /// Its hash.
    pub hash: String,
    /// Questions that it answered.
    pub asked: u64,
    /// Those that it would have decided otherwise.
    pub disagreed: u64,
    /// Those to which it gave no valid answer.
    pub failed: u64,
    /// Those that it was not asked, because it was too slow.
    pub skipped: u64,
}

/// A question that would have been decided otherwise.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Disagreement {
    /// When it was asked: the asking node's monotonic clock, in milliseconds since its process started.
    pub now_ms: u64,
    /// The decision point.
    pub point: DecisionPoint,
    /// Of whom: `n4`, `shop_3`.
    pub subject: String,
    /// What was decided, and why.
    pub active: (String, String),
    /// What would have been, and why.
    pub shadow: (String, String),
    /// The name of the policy that would have.
    pub module: String,
}

/// What policies that are asked beside would have decided.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ShadowReport {
    /// By decision point and the policy's hash.
    pub counts: BTreeMap<(DecisionPoint, String), ShadowCounts>,
    /// The last [`DISAGREEMENTS_KEPT`], oldest first.
    pub disagreements: VecDeque<Disagreement>,
}

/// What is known of policies that are asked beside. Nobody who decides waits for more than the report's lock, which is
/// never held while a policy computes.
#[derive(Debug, Default)]
struct Known {
    /// One more whenever other policies are asked beside: what was asked before is not told any more.
    generation: AtomicU64,
    report: Mutex<ShadowReport>,
}

/// What the thread remembers.
#[derive(Debug, Default)]
struct Memory {
    generation: u64,
    /// What each policy returned as memory of each node, and its opinion of it, by the policy's hash.
    of: BTreeMap<(String, u64), (Health, Vec<u8>)>,
}

type Job = Box<dyn FnOnce(&Known, &mut Memory) + Send>;

/// Asks policies beside.
#[derive(Default)]
pub(crate) struct Shadow {
    known: Arc<Known>,
    asked: Mutex<Vec<(DecisionPoint, BoundFor, String, Settings)>>,
    /// Started with the first question.
    thread: OnceLock<Option<SyncSender<Job>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Shadow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shadow").finish_non_exhaustive()
    }
}

impl Shadow {
    /// Begins anew if others are asked beside than before. Called once they are.
    pub(crate) fn rebind(&self, bindings: &Bindings) {
        let mut asked = lock(&self.asked);
        let now = bindings.shadows();
        if *asked != now {
            *asked = now;
            let mut report = lock(&self.known.report);
            self.known.generation.fetch_add(1, Ordering::Release);
            *report = ShadowReport::default();
        }
    }

    pub(crate) fn report(&self) -> ShadowReport {
        lock(&self.known.report).clone()
    }

    /// Has a policy answer a question that was decided, or a part of it.
    pub(crate) fn ask<Q: Sandboxed + 'static>(
        &self,
        binding: &Binding,
        question: Q,
        decided: &Decision<Q::Verdict>,
    ) {
        let Some(thread) = self.thread.get_or_init(|| start(&self.known)) else { return };
        let (beside, verdict) = (binding.clone(), question.of_verdict(&decided.verdict));
        let generation = self.known.generation.load(Ordering::Acquire);
        let job: Job = Box::new(move |known, memory| {
            if memory.generation != generation {
                *memory = Memory { generation, ..Memory::default() };
            }
            known.compare(memory, &beside, question, &verdict);
        });
        if let Err(TrySendError::Full(_)) = thread.try_send(job) {
            lock(&self.known.report).count(Q::POINT, binding).skipped += 1;
        }
    }
}

/// The thread ends when its sender is dropped.
fn start(known: &Arc<Known>) -> Option<SyncSender<Job>> {
    let (send, jobs) = sync_channel::<Job>(WAITING_MAX);
    let known = Arc::clone(known);
    let run = move || {
        let mut memory = Memory::default();
        for job in jobs {
            job(&known, &mut memory);
        }
    };
    match thread::Builder::new().name("shadow policies".to_owned()).spawn(run) {
        Ok(_) => Some(send),
        Err(error) => {
            tracing::error!(%error, "no policy can be asked beside: its thread does not start");
            None
        }
    }
}

impl ShadowReport {
    fn count(&mut self, point: DecisionPoint, binding: &Binding) -> &mut ShadowCounts {
        let (module, hash) = (binding.module.name().to_owned(), binding.module.hash().to_owned());
        let fresh = ShadowCounts { module, hash: hash.clone(), ..ShadowCounts::default() };
        self.counts.entry((point, hash)).or_insert(fresh)
    }
}

impl Known {
    fn compare<Q: Sandboxed>(
        &self,
        memory: &mut Memory,
        beside: &Binding,
        mut question: Q,
        decided: &Q::Verdict,
    ) {
        question.settings_mut().clone_from(&beside.settings);
        let hash = beside.module.hash();
        question.recall(&|node| memory.of.get(&(hash.to_owned(), node)).cloned().unwrap_or_default());
        let answer = beside.module.ask(&question, &CallLimits::default());
        let mut found = Vec::new();
        let failed = match answer {
            Ok((mut verdict, _)) => {
                question.enforce_ceiling(&mut verdict);
                let remembered = Q::remembered(&verdict);
                if !remembered.is_empty() {
                    // Of nodes that are not asked about any more nothing is remembered.
                    memory.of.retain(|(of, _), _| of != hash);
                }
                for (node, health, bytes) in remembered {
                    memory.of.insert((hash.to_owned(), node), (health, bytes));
                }
                found = question.disagreements(decided, &verdict);
                false
            }
            Err(_) => true,
        };
        let mut report = lock(&self.report);
        // Somebody else is asked beside by now.
        if self.generation.load(Ordering::Acquire) != memory.generation {
            return;
        }
        let counts = report.count(Q::POINT, beside);
        counts.failed += u64::from(failed);
        counts.asked += u64::from(!failed);
        counts.disagreed += u64::from(!found.is_empty());
        for (was, is) in found {
            if report.disagreements.len() >= DISAGREEMENTS_KEPT {
                report.disagreements.pop_front();
            }
            report.disagreements.push_back(Disagreement {
                now_ms: question.now_ms(),
                point: Q::POINT,
                subject: is.subject.to_string(),
                active: (was.choice, was.reason),
                shadow: (is.choice, is.reason),
                module: beside.module.name().to_owned(),
            });
        }
    }
}
