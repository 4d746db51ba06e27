//! What a leaf runs on its rows: the programs that aggregators send.
//!
//! Both sides may be of different age in a rolling upgrade; everything that is sent is data with `serde`, and a
//! program that names what this side does not know fails when it is decoded.

mod change;
mod scan;

pub use self::change::{Change, ChangeProgram, CompiledChange};
pub(crate) use self::scan::batch_schema;
pub use self::scan::{LeafScan, ScanRequest};
