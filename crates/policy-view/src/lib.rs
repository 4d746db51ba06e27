//! Questions to policies on paper: a [`View`] is what a policy was asked, with the verdict that was given upon it.
//!
//! A cluster records them, one JSON object a line; an author keeps some beside a policy, one a file. They are the same
//! thing, so that what went wrong on a cluster becomes a test by being copied:
//!
//! ```json
//! {"point": "detection", "input": {"now_ms": 4500, "nodes": []}, "verdict": []}
//! ```
//!
//! What else an object says (who asked, which policy answered, what it cost) is not read here.
//! Not here: reading and writing JSON, and running a policy in a sandbox.

mod view;

pub use view::{Asked, Difference, Kept, VIEW_FIELDS, View, Viewed};

/// If this variable of the environment is set, a policy's native test writes the verdicts of its views as they are.
pub const UPDATE_VIEWS: &str = "UPDATE_VIEWS";
