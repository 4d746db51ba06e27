//! The cores of a whole cluster in a simulated world: one thread, virtual time, one seed.
//!
//! Leaves and aggregators run the real cores; the shells around them, the control group, the network and the disks are
//! played. Faults come and go, clients work, and one checker for each rule of the safety kernel looks at everything that
//! happens. When the faults have stopped, everything must come to rest and serve.
//!
//! * [`kernel`]: time, numbers, network, disks. * [`world`]: nodes and what happens between them.
//! * [`workload`]: clients. * [`nemesis`]: faults. * [`invariants`]: what must hold.
//! * [`run`]: a seed from its begin to its end. * [`lab`]: a policy in a library of faults, measured.
//!
//! Not here: any decision of a node. What decides is a core, or this would test itself.

pub mod invariants;
pub mod kernel;
pub mod lab;
pub mod nemesis;
pub mod policies;
pub mod run;
pub mod setup;
pub mod story;
pub mod workload;
pub mod world;
