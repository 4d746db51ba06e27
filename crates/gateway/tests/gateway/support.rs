//! A gateway on a free port, and a client that speaks raw packets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use baton_gateway::serve_at_most;
use mysql_async::{Conn, OptsBuilder};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::stage::Stage;

/// No step of a test takes longer.
pub const BOUND: Duration = Duration::from_secs(20);

/// A gateway that ends with the test.
pub struct Gateway {
    pub address: SocketAddr,
    pub shutdown: CancellationToken,
    pub task: JoinHandle<()>,
}

impl Gateway {
    pub async fn open() -> Self {
        Self::open_for(64).await
    }

    pub async fn open_for(connections_max: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(serve_at_most(connections_max, listener, Arc::new(Stage), shutdown.clone()));
        Self { address, shutdown, task }
    }

    pub fn options(&self) -> OptsBuilder {
        OptsBuilder::default().ip_or_hostname("127.0.0.1").tcp_port(self.address.port()).user(Some("root"))
    }

    pub async fn connect(&self) -> Conn {
        bounded(Conn::new(self.options())).await.unwrap()
    }

    pub async fn raw(&self) -> Raw {
        Raw { socket: TcpStream::connect(self.address).await.unwrap() }
    }

    /// The gateway still serves others.
    pub async fn assert_alive(&self) {
        use mysql_async::prelude::Queryable;
        let row: Option<String> = bounded(self.connect().await.query_first("alive?")).await.unwrap();
        assert_eq!(row.as_deref(), Some("alive?"));
    }

    pub async fn close(self) {
        self.shutdown.cancel();
        bounded(self.task).await.unwrap();
    }
}

pub async fn bounded<T>(work: impl Future<Output = T>) -> T {
    timeout(BOUND, work).await.expect("a step of the test hangs")
}

/// A client without manners.
pub struct Raw {
    pub socket: TcpStream,
}

impl Raw {
    /// The next packet's number and payload; `None` at the end of the connection.
    pub async fn read(&mut self) -> Option<(u8, Vec<u8>)> {
        bounded(async {
            let mut header = [0; 4];
            self.socket.read_exact(&mut header).await.ok()?;
            let mut payload = vec![0; u32::from_le_bytes([header[0], header[1], header[2], 0]) as usize];
            self.socket.read_exact(&mut payload).await.ok()?;
            Some((header[3], payload))
        })
        .await
    }

    pub async fn write(&mut self, sequence: u8, payload: &[u8]) {
        let [a, b, c, ..] = (payload.len() as u32).to_le_bytes();
        let frame = [&[a, b, c, sequence], payload].concat();
        let _ = bounded(self.socket.write_all(&frame)).await;
    }

    /// Greets as `root` without a password, with or without the newer end of rows.
    pub async fn log_in(&mut self, deprecate_eof: bool) {
        self.read().await.expect("a greeting");
        let capabilities: u32 = 1 | 1 << 9 | 1 << 15 | 1 << 19 | if deprecate_eof { 1 << 24 } else { 0 };
        let response =
            [&capabilities.to_le_bytes()[..], &[0; 28], b"root\0", &[0], b"mysql_native_password\0"].concat();
        self.write(1, &response).await;
        let (sequence, ok) = self.read().await.expect("an OK packet");
        assert_eq!((sequence, ok[0]), (2, 0), "{ok:?}");
        assert_eq!(&ok[3..5], [2, 0], "the status says autocommit");
    }

    /// One command and the first packet of its answer.
    pub async fn command(&mut self, payload: &[u8]) -> Vec<u8> {
        self.write(0, payload).await;
        let (sequence, answer) = self.read().await.expect("an answer");
        assert_eq!(sequence, 1);
        answer
    }

    /// The connection ends, perhaps after an error packet, whose number this is.
    pub async fn expect_end(&mut self) -> Option<u16> {
        let mut last = None;
        while let Some((_, payload)) = self.read().await {
            last = error_number(&payload).or(last);
        }
        last
    }
}

/// The number of an error packet.
pub fn error_number(payload: &[u8]) -> Option<u16> {
    match payload {
        [0xff, low, high, ..] => Some(u16::from_le_bytes([*low, *high])),
        _ => None,
    }
}
