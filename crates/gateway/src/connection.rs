//! One client, from its greeting to its goodbye.
//!
//! * Nothing is executed before the password is proved; an unknown user and a wrong password look alike.
//! * Between two commands a shutdown ends the connection with error 1053. Within one, the command has
//!   [`SHUTDOWN_GRACE`] to finish; after that its outcome is reported as unknown (S12), since it may still happen.
//! * A client's mistake in a packet ends that client's connection, where possible with an error it can read.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use baton_model::Datum;
use baton_model::errors::{ErrorCode, SqlError};
use baton_model::limits::{IDENTIFIER_BYTES_MAX, PACKET_BYTES_MAX};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::limits::{
    FIELDS_MAX, HANDSHAKE_BYTES_MAX, HANDSHAKE_TIMEOUT, PREPARED_MAX, SHUTDOWN_GRACE, WAIT_TIMEOUT,
};
use crate::literal::readable;
use crate::lockout::Lockout;
use crate::password::{Salt, admits, fresh_salt};
use crate::session::{Answer, Client, Session, Sessions};
use crate::wire::{
    Bound, ChangeUser, Command, HandshakeResponse, PacketStream, Rendering, Replies, WireError, auth_switch,
    capability, decode_parameters, error_packet, greeting,
};

/// What all connections share.
pub(crate) struct Shared<S> {
    pub(crate) sessions: Arc<S>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) opened_at: Instant,
    pub(crate) lockout: Lockout,
}

/// Serves one client until it leaves, misbehaves, or the server shuts down.
pub(crate) async fn converse<S: Sessions>(
    socket: TcpStream,
    peer: SocketAddr,
    id: u32,
    shared: Arc<Shared<S>>,
) {
    let _ = socket.set_nodelay(true);
    let mut stream = PacketStream::new(socket);
    let ended = match timeout(HANDSHAKE_TIMEOUT, shake_hands(&mut stream, peer, id, &shared)).await {
        Ok(Ok(Some((session, identity, capabilities)))) => {
            let connection = Connection {
                stream: &mut stream,
                shared: &shared,
                session,
                identity,
                capabilities,
                prepared: BTreeMap::new(),
                prepared_last: 0,
            };
            connection.serve().await
        }
        Ok(Ok(None)) => Ok(()),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(WireError::Refused("the client did not finish its handshake in time")),
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, connection = id, %error, "a client's connection ends");
        if let Some(last_word) = last_word(&error) {
            stream.push(&error_packet(&last_word));
        }
    }
    stream.close().await;
}

/// What a client is told whose connection cannot go on; nothing if it cannot be told.
fn last_word(error: &WireError) -> Option<SqlError> {
    let code = match error {
        WireError::TooLarge { .. } => ErrorCode::PacketTooLarge,
        WireError::OutOfOrder | WireError::Malformed(_) | WireError::Refused(_) => ErrorCode::HandshakeError,
        WireError::Io(_)
        | WireError::Idle
        | WireError::Stalled
        | WireError::ReaderStalled
        | WireError::Truncated => {
            return None;
        }
    };
    Some(SqlError::new(code, format!("Bad packet: {error}")))
}

/// Who a client says it is, and the salt that it has to prove it with.
struct Identity {
    client: Client,
    host: String,
    salt: Salt,
}

/// Greets a client and lets it in: `None` if it was refused and has been told.
async fn shake_hands<S: Sessions>(
    stream: &mut PacketStream<TcpStream>,
    peer: SocketAddr,
    id: u32,
    shared: &Shared<S>,
) -> Result<Option<(S::Session, Identity, u32)>, WireError> {
    let salt = fresh_salt();
    stream.push(&greeting(id, &salt));
    stream.flush().await?;
    let packet = tokio::select! {
        biased;
        packet = stream.read(HANDSHAKE_BYTES_MAX) => packet?,
        () = shared.shutdown.cancelled() => {
            stream.push(&error_packet(&shutting_down()));
            return Ok(None);
        }
    };
    let HandshakeResponse { capabilities, user, proof, database, native } =
        HandshakeResponse::parse(&packet)?;
    let counts_found_rows = capabilities & capability::FOUND_ROWS != 0;
    let client = Client { connection_id: id, user, peer, counts_found_rows };
    let identity = Identity { client, host: peer.ip().to_canonical().to_string(), salt };
    match log_in(stream, shared, &identity, proof, native, database.as_deref()).await? {
        Ok(session) => {
            Replies { stream, capabilities, status: session.transaction_status() }.ok();
            stream.flush().await?;
            Ok(Some((session, identity, capabilities)))
        }
        Err(refused) => {
            stream.push(&error_packet(&refused));
            Ok(None)
        }
    }
}

/// Checks a client's proof, asking for another if it was made for another plugin, and opens its session.
async fn log_in<S: Sessions>(
    stream: &mut PacketStream<TcpStream>,
    shared: &Shared<S>,
    identity: &Identity,
    proof: Vec<u8>,
    native: bool,
    database: Option<&str>,
) -> Result<Result<S::Session, SqlError>, WireError> {
    let proof = if native {
        proof
    } else {
        stream.push(&auth_switch(&identity.salt));
        stream.flush().await?;
        stream.read(HANDSHAKE_BYTES_MAX).await?
    };
    let user = identity.client.user.as_str();
    let hash = if user.len() <= IDENTIFIER_BYTES_MAX { shared.sessions.password_hash(user) } else { None };
    let shown: String = user.chars().take(IDENTIFIER_BYTES_MAX).collect();
    let denied = |why: &str| {
        let text = format!("Access denied for user '{shown}'@'{}' ({why})", identity.host);
        Ok(Err(SqlError::new(ErrorCode::AccessDenied, text)))
    };
    let host = identity.client.peer.ip().to_canonical();
    let left = shared.lockout.left(host, &shown, Instant::now());
    if !left.is_zero() {
        tracing::info!(%user, %host, ?left, "a client was refused: too many failed logins");
        return denied(&format!("too many failed logins: try again in {} s", left.as_secs() + 1));
    }
    if !admits(hash, &identity.salt, &proof) {
        if shared.sessions.knows_users() {
            shared.lockout.failed(host, &shown, Instant::now());
        }
        tracing::info!(%user, %host, "a client was refused: unknown user or wrong password");
        return denied(if proof.is_empty() { "using password: NO" } else { "using password: YES" });
    }
    shared.lockout.succeeded(host, &shown);
    let mut session = shared.sessions.open(&identity.client);
    if let Some(database) = database
        && let Err(error) = within_grace(&shared.shutdown, session.use_database(database)).await
    {
        return Ok(Err(error));
    }
    Ok(Ok(session))
}

/// A statement that a client has prepared.
struct Prepared {
    sql: String,
    parameters: usize,
    bound: Vec<Bound>,
    /// Values that came ahead of the execution.
    long: BTreeMap<u16, Vec<u8>>,
    /// Whether more of them came than a statement may have; said at its execution.
    long_too_large: bool,
}

impl Prepared {
    fn forget_long(&mut self) {
        self.long.clear();
        self.long_too_large = false;
    }
}

/// Whether a connection goes on after a command.
enum Next {
    Command,
    End,
}

/// A client that is in.
struct Connection<'a, S: Sessions> {
    stream: &'a mut PacketStream<TcpStream>,
    shared: &'a Shared<S>,
    session: S::Session,
    identity: Identity,
    capabilities: u32,
    prepared: BTreeMap<u32, Prepared>,
    prepared_last: u32,
}

impl<S: Sessions> Connection<'_, S> {
    async fn serve(mut self) -> Result<(), WireError> {
        loop {
            let packet = tokio::select! {
                biased;
                () = self.shared.shutdown.cancelled() => {
                    self.stream.push_unasked(&error_packet(&shutting_down()));
                    return Ok(());
                }
                packet = self.stream.read_command(PACKET_BYTES_MAX, WAIT_TIMEOUT) => packet?,
            };
            let Some(packet) = packet else { return Ok(()) };
            let next = self.obey(Command::parse(&packet)?).await?;
            self.stream.flush().await?;
            if matches!(next, Next::End) {
                return Ok(());
            }
        }
    }

    fn replies(&mut self) -> Replies<'_, TcpStream> {
        let status = self.session.transaction_status();
        Replies { stream: self.stream, capabilities: self.capabilities, status }
    }

    async fn obey(&mut self, command: Command<'_>) -> Result<Next, WireError> {
        match command {
            Command::Quit => return Ok(Next::End),
            Command::Query(statement) => {
                let outcome = self.query(statement).await;
                self.reply(outcome, Rendering::Text).await?;
            }
            Command::UseDatabase(name) => {
                let outcome = match readable(name) {
                    Ok(name) => self.use_database(&name).await,
                    Err(error) => Err(error),
                };
                self.reply(outcome, Rendering::Text).await?;
            }
            Command::Prepare(statement) => {
                if let Err(error) = self.prepare(statement).await {
                    self.replies().error(&error);
                }
            }
            Command::Execute { statement, values } => {
                let outcome = self.execute(statement, values).await;
                self.reply(outcome, Rendering::Binary).await?;
            }
            // These two have no answer.
            Command::LongData { statement, parameter, data } => {
                self.take_long_data(statement, parameter, data)
            }
            Command::CloseStatement(statement) => drop(self.prepared.remove(&statement)),
            Command::ResetStatement(statement) => match self.prepared.get_mut(&statement) {
                Some(prepared) => {
                    prepared.forget_long();
                    self.replies().ok();
                }
                None => self.replies().error(&unknown_prepared(statement)),
            },
            Command::Ping => self.replies().ok(),
            // Asked by clients that complete names; an empty list is a list.
            Command::FieldList => self.replies().end_of_rows(),
            Command::Statistics => {
                let line = format!("Uptime: {}", self.shared.opened_at.elapsed().as_secs());
                self.replies().line(&line);
            }
            // 0 turns several statements in one packet on, 1 off.
            Command::SetOption(1) | Command::Debug => self.replies().end_of_rows(),
            Command::SetOption(_) => {
                let text = "several statements in one packet are not supported";
                self.replies().error(&SqlError::new(ErrorCode::NotSupported, text));
            }
            Command::ResetConnection => {
                let outcome = self.reset().await;
                self.reply(outcome, Rendering::Text).await?;
            }
            Command::ChangeUser(change) => return self.change_user(change).await,
            Command::Unknown(code) => {
                let text = format!("the protocol's command 0x{code:02x} is not supported");
                self.replies().error(&SqlError::new(ErrorCode::NotSupported, text));
            }
        }
        Ok(Next::Command)
    }

    async fn reply(
        &mut self,
        outcome: Result<Answer, SqlError>,
        rendering: Rendering,
    ) -> Result<(), WireError> {
        match outcome {
            Ok(answer) => self.replies().answer(&answer, rendering).await?,
            Err(error) => self.replies().error(&error),
        }
        Ok(())
    }

    async fn query(&mut self, statement: &[u8]) -> Result<Answer, SqlError> {
        let sql = readable(statement)?;
        within_grace(&self.shared.shutdown, self.session.query(&sql)).await
    }

    async fn use_database(&mut self, name: &str) -> Result<Answer, SqlError> {
        within_grace(&self.shared.shutdown, self.session.use_database(name)).await?;
        Ok(Answer::done())
    }

    async fn prepare(&mut self, statement: &[u8]) -> Result<(), SqlError> {
        if self.prepared.len() >= PREPARED_MAX {
            return Err(SqlError::new(
                ErrorCode::TooBig,
                format!("Can't create more than {PREPARED_MAX} prepared statements in one connection"),
            ));
        }
        let sql = readable(statement)?;
        let shape = within_grace(&self.shared.shutdown, self.session.prepare(&sql)).await?;
        if shape.parameters > FIELDS_MAX || shape.columns.len() > FIELDS_MAX {
            return Err(SqlError::new(
                ErrorCode::TooBig,
                format!(
                    "Prepared statement contains too many placeholders or columns: at most {FIELDS_MAX} of each"
                ),
            ));
        }
        // Numbers wrap after 2³² statements; one that is still open is never given out again.
        let id = loop {
            self.prepared_last = self.prepared_last.wrapping_add(1);
            if self.prepared_last != 0 && !self.prepared.contains_key(&self.prepared_last) {
                break self.prepared_last;
            }
        };
        self.replies().prepared(id, shape.parameters, &shape.columns);
        let prepared = Prepared {
            sql: sql.into_owned(),
            parameters: shape.parameters,
            bound: Vec::new(),
            long: BTreeMap::new(),
            long_too_large: false,
        };
        self.prepared.insert(id, prepared);
        Ok(())
    }

    async fn execute(&mut self, statement: u32, values: &[u8]) -> Result<Answer, SqlError> {
        let prepared = self.prepared.get_mut(&statement).ok_or_else(|| unknown_prepared(statement))?;
        let too_large = prepared.long_too_large;
        let parameters: Result<Vec<Datum>, _> =
            decode_parameters(values, prepared.parameters, &mut prepared.bound, &prepared.long);
        prepared.forget_long();
        if too_large {
            return Err(SqlError::new(
                ErrorCode::PacketTooLarge,
                format!("The values sent ahead are larger than {PACKET_BYTES_MAX} bytes"),
            ));
        }
        let parameters = parameters.map_err(|_| {
            SqlError::new(
                ErrorCode::WrongArguments,
                "Incorrect arguments to the execution of a prepared statement",
            )
        })?;
        within_grace(&self.shared.shutdown, self.session.execute(&prepared.sql, &parameters)).await
    }

    /// Keeps a part of a value, within the bound of one packet for all that a connection has sent ahead.
    fn take_long_data(&mut self, statement: u32, parameter: u16, data: &[u8]) {
        let held: usize =
            self.prepared.values().flat_map(|prepared| prepared.long.values()).map(Vec::len).sum();
        let Some(prepared) = self.prepared.get_mut(&statement) else { return };
        if usize::from(parameter) >= prepared.parameters || prepared.long_too_large {
            return;
        }
        if held + data.len() > PACKET_BYTES_MAX {
            prepared.forget_long();
            prepared.long_too_large = true;
            return;
        }
        prepared.long.entry(parameter).or_default().extend_from_slice(data);
    }

    /// A fresh session for the same user; the default database stays.
    async fn reset(&mut self) -> Result<Answer, SqlError> {
        let database = self.session.database().map(str::to_owned);
        self.prepared.clear();
        self.session = self.shared.sessions.open(&self.identity.client);
        match database {
            Some(database) => self.use_database(&database).await,
            None => Ok(Answer::done()),
        }
    }

    /// As at the handshake, and with its salt, which is the one that clients use again; who fails is shown the door.
    async fn change_user(&mut self, change: ChangeUser) -> Result<Next, WireError> {
        let ChangeUser { user, proof, database, native } = change;
        self.identity.client.user = user;
        let logged_in = timeout(
            HANDSHAKE_TIMEOUT,
            log_in(self.stream, self.shared, &self.identity, proof, native, database.as_deref()),
        )
        .await
        .map_err(|_| WireError::Stalled)??;
        match logged_in {
            Ok(session) => {
                self.session = session;
                self.prepared.clear();
                self.replies().ok();
                Ok(Next::Command)
            }
            Err(refused) => {
                self.replies().error(&refused);
                Ok(Next::End)
            }
        }
    }
}

/// The work's outcome, or "unknown" if it is still going on when a shutdown's grace is over.
async fn within_grace<T>(
    shutdown: &CancellationToken,
    work: impl Future<Output = Result<T, SqlError>>,
) -> Result<T, SqlError> {
    let grace_over = async {
        shutdown.cancelled().await;
        sleep(SHUTDOWN_GRACE).await;
    };
    tokio::select! {
        biased;
        outcome = work => outcome,
        () = grace_over => Err(SqlError::new(
            ErrorCode::OutcomeUnknown,
            "Server shutdown in progress: the statement did not finish in time, and its outcome is unknown",
        )),
    }
}

fn shutting_down() -> SqlError {
    SqlError::new(ErrorCode::ServerShutdown, "Server shutdown in progress")
}

fn unknown_prepared(statement: u32) -> SqlError {
    SqlError::new(
        ErrorCode::UnknownPrepared,
        format!("Unknown prepared statement handler ({statement}) given to the server"),
    )
}
