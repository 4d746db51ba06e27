//! A gateway without a database, to try clients against: `cargo run --example echo -- 127.0.0.1:3306`,
//! then `mariadb -h127.0.0.1 -uann -psecret -e TYPES`.

use std::sync::Arc;

use baton_gateway::serve;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

#[path = "../tests/gateway/stage.rs"]
#[allow(dead_code, reason = "some of it is for the tests")]
mod stage;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3306".into());
    let listener = TcpListener::bind(address).await?;
    println!("listening on {}", listener.local_addr()?);
    let shutdown = CancellationToken::new();
    let interrupt = shutdown.clone();
    tokio::spawn(async move {
        let _ = tokio::signal::ctrl_c().await;
        interrupt.cancel();
    });
    serve(listener, Arc::new(stage::Stage), shutdown).await;
    Ok(())
}
