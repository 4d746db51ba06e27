//! Generates the gRPC code of `proto/baton.proto`, without `protoc`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto/baton.proto");
    let files = protox::compile(["proto/baton.proto"], ["proto"])?;
    // Bodies are `Bytes`, so that 64 MiB are not copied on their way through.
    tonic_prost_build::configure().bytes(".").compile_fds(files)?;
    Ok(())
}
