//! The ways to misbehave.

use std::hint::black_box;

use baton_policy_sdk::{Settings, log};

/// A node that nobody has ever heard of.
pub(crate) const STRANGER: u64 = 1_000_000;
/// More bytes than an answer may have.
pub(crate) const HUGE: usize = 12 << 20;

/// How to misbehave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Way {
    /// Not at all.
    None,
    /// Gives up.
    Panic,
    /// Computes for ever.
    Loop,
    /// Wants more memory than there is.
    Allocate,
    /// Goes too deep.
    Recurse,
    /// Asks for the time.
    Clock,
    /// Names what is not there.
    Nonsense,
    /// Names whom it was not offered, or somebody twice.
    Stranger,
    /// Answers nothing.
    Silent,
    /// Gives reasons that are too long.
    Babble,
    /// Says too much.
    Flood,
    /// Answers too much.
    Huge,
    /// Does nothing, ever.
    Never,
    /// Does whatever can be done, always.
    Always,
    /// One of those that can be answered natively, another each time.
    Random,
    /// As classic, with a digest of all that it was asked as the reason: what the sandbox hands over is compared by it.
    Echo,
    /// As classic, and remembers of each node what it is told that it remembers, with the first byte turned round.
    Remember,
}

/// What `random` is one of: all that end by themselves.
const ANSWERS: [Way; 8] =
    [Way::None, Way::Nonsense, Way::Stranger, Way::Silent, Way::Babble, Way::Never, Way::Always, Way::None];

const WAYS: [(&str, Way); 17] = [
    ("none", Way::None),
    ("panic", Way::Panic),
    ("loop", Way::Loop),
    ("allocate", Way::Allocate),
    ("recurse", Way::Recurse),
    ("clock", Way::Clock),
    ("nonsense", Way::Nonsense),
    ("stranger", Way::Stranger),
    ("silent", Way::Silent),
    ("babble", Way::Babble),
    ("flood", Way::Flood),
    ("huge", Way::Huge),
    ("never", Way::Never),
    ("always", Way::Always),
    ("random", Way::Random),
    ("echo", Way::Echo),
    ("remember", Way::Remember),
];

impl Way {
    pub(crate) fn names() -> Vec<&'static str> {
        WAYS.iter().map(|(name, _)| *name).collect()
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        WAYS.iter().find(|(known, _)| *known == name).map(|(_, way)| *way)
    }

    /// The way that the setting says, once everything is done that is to be done before there is an answer.
    pub(crate) fn of(settings: &Settings, seed: u64) -> Self {
        let way = settings.get("chaos").and_then(|name| Self::named(name)).unwrap_or(Self::None);
        way.misbehave();
        if way == Self::Random { ANSWERS[(mix(seed) % ANSWERS.len() as u64) as usize] } else { way }
    }

    fn misbehave(self) {
        match self {
            Self::Panic => panic!("chaos was asked for"),
            Self::Loop => loop {
                black_box(self);
            },
            Self::Allocate => {
                // Not written to: fuel pays for every byte that is, and would end first.
                let mut hoard: Vec<Vec<u8>> = Vec::new();
                loop {
                    hoard.push(black_box(Vec::with_capacity(1 << 16)));
                }
            }
            Self::Recurse => {
                black_box(recurse(black_box(1)));
            }
            Self::Clock => {
                black_box(std::time::Instant::now());
            }
            Self::Flood => {
                for line in 0..1_000 {
                    log::warn(format!("line {line} of a flood {}", "~".repeat(100)));
                }
            }
            _ => {}
        }
    }
}

/// A number that is another one if anything in a question is.
pub(crate) fn digest(question: &impl std::fmt::Debug) -> String {
    let text = format!("{question:?}");
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    format!("{:016x}", text.bytes().fold(0xcbf2_9ce4_8422_2325, step))
}

/// A reason that is too long.
pub(crate) fn babble() -> String {
    "because ".repeat(1_000)
}

/// Never returns: every frame waits for a deeper one.
#[allow(unconditional_recursion)]
fn recurse(depth: u64) -> u64 {
    recurse(black_box(depth + 1)) + black_box(depth)
}

fn mix(seed: u64) -> u64 {
    let z = (seed ^ (seed >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z ^ (z >> 29)
}
