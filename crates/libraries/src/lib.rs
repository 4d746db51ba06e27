//! Holds the features of the libraries still.
//!
//! Cargo compiles a library anew for each set of features, and the set depends on which packages are built together.
//! This package depends on every library of the workspace and on nothing of ours, so `-p baton -p baton-libraries` and
//! `--workspace` want the same features, and RocksDB, DataFusion and wasmtime are compiled once for all of them.
//! Nothing depends on it, and it is in no binary.
