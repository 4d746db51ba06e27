//! Rules that can be broken on purpose, to see that the simulator notices.
//!
//! They exist under the feature `mutants` alone, which no node is ever built with: without it, [`mutated!`](crate::mutated)
//! is the constant `false`, and the code behind it is gone.

/// Whether this rule is broken in this thread now; `false` in every build without the feature `mutants`.
#[cfg(not(feature = "mutants"))]
#[macro_export]
macro_rules! mutated {
    ($mutant:ident) => {
        false
    };
}

/// Whether this rule is broken in this thread now.
#[cfg(feature = "mutants")]
#[macro_export]
macro_rules! mutated {
    ($mutant:ident) => {
        $crate::mutant::Mutant::$mutant.is_on()
    };
}

#[cfg(feature = "mutants")]
pub use on::Mutant;

#[cfg(feature = "mutants")]
mod on {
    use std::cell::Cell;

    thread_local! {
        static NOW: Cell<Option<Mutant>> = const { Cell::new(None) };
    }

    /// A broken rule.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub enum Mutant {
        /// A primary answers once it has a write itself (S2).
        AckBeforeInSync,
        /// A replica acknowledges what it has not synced (S2).
        AckBeforeDurable,
        /// What carries an older epoch or version is taken (S5).
        SkipEpochCheck,
        /// An Async replica may be promoted (S4).
        PromoteAsync,
        /// A replica cuts its log by its own commit index (S6).
        CutByOwnCommit,
        /// A primary stops waiting for a replica as soon as it asks for that (S3).
        DropReplicaEarly,
        /// A restarted primary goes on in its epoch (S1).
        KeepEpochAtRestart,
        /// A miss is counted although no ping was sent (S11).
        CountUnsentPings,
        /// An instance forgets its epoch history when it is restarted (S6).
        LoseHistory,
        /// A retry is executed again (S12).
        ForgetOutcomes,
        /// Who has a transaction prepared gives it up by itself after a time-out (S9).
        DecideByTimeout,
        /// A new primary does not lock the rows of what is prepared (S9).
        UnlockPrepared,
        /// A lease that has ended counts.
        ReadWithoutLease,
        /// A leaf whose machine lost power under it is taken for one that was killed (S4).
        IgnoreLostTail,
        /// Who reads rows waits for nothing that may be committed already (S9).
        ReadPastPrepared,
    }

    impl Mutant {
        /// All of them.
        pub const ALL: [Self; 15] = [
            Self::AckBeforeInSync,
            Self::AckBeforeDurable,
            Self::SkipEpochCheck,
            Self::PromoteAsync,
            Self::CutByOwnCommit,
            Self::DropReplicaEarly,
            Self::KeepEpochAtRestart,
            Self::CountUnsentPings,
            Self::LoseHistory,
            Self::ForgetOutcomes,
            Self::DecideByTimeout,
            Self::UnlockPrepared,
            Self::ReadWithoutLease,
            Self::IgnoreLostTail,
            Self::ReadPastPrepared,
        ];

        /// Breaks this rule in this thread, or none.
        pub fn set(mutant: Option<Self>) {
            NOW.set(mutant);
        }

        /// Whether it is broken in this thread.
        #[must_use]
        pub fn is_on(self) -> bool {
            NOW.get() == Some(self)
        }
    }
}
