//! Gathers, for one observer, the evidence of every node it pings.
//!
//! Silence is the absence of evidence and counts little; a refused connection is evidence and counts much.
//! An opinion changes only in [`Detector::step`], and every change is reported exactly once.
//! Not here: clocks, sockets, the weighing of the evidence (a policy does that, the shell brings its verdict back
//! as [`Event::Judged`]), and any say in who is primary. Evidence is no decision.
//!
//! * S11: only pings really sent are counted; a stall of the observer adds at most one miss, however long it was.

mod detector;
mod evidence;
mod lease;
mod step;
mod watched;

pub use detector::Detector;
pub use evidence::{Evidence, Health, Observation, Report, Sighting, Vitals, Witness};
pub use lease::{Grant, LEASE, Lease, Lender, MARGIN};
pub use step::{Effect, Event};
