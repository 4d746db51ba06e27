//! Builds nothing: it is here so that the libraries of build scripts are held still as well.

fn main() {}
