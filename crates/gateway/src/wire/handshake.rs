//! The first packets of a connection: the server's greeting, the client's response, and the switch to
//! `mysql_native_password` for a client that began with another plugin.

use super::bytes::{Malformed, Put, Take};
use super::{STATUS_AUTOCOMMIT, capability};
use crate::password::Salt;
use baton_model::SERVER_VERSION;

/// The one authentication plugin.
pub(crate) const NATIVE_PASSWORD: &str = "mysql_native_password";
/// utf8mb4_general_ci, which every client knows.
pub(crate) const UTF8MB4: u8 = 45;
/// The salt's first part is this long, for clients of old.
const SALT_HEAD_BYTES: usize = 8;

/// The server's greeting (Protocol::HandshakeV10).
pub(crate) fn greeting(connection_id: u32, salt: &Salt) -> Vec<u8> {
    let [low_a, low_b, high_a, high_b] = capability::OURS.to_le_bytes();
    let mut packet = vec![10];
    packet.put_zero_terminated(SERVER_VERSION);
    packet.put_u32(connection_id);
    packet.extend(&salt[..SALT_HEAD_BYTES]);
    packet.push(0);
    packet.extend([low_a, low_b, UTF8MB4]);
    packet.put_u16(STATUS_AUTOCOMMIT);
    packet.extend([high_a, high_b, salt.len() as u8 + 1]);
    packet.extend([0; 10]);
    packet.extend(&salt[SALT_HEAD_BYTES..]);
    packet.push(0);
    packet.put_zero_terminated(NATIVE_PASSWORD);
    packet
}

/// Asks the client for a `mysql_native_password` proof (Protocol::AuthSwitchRequest).
pub(crate) fn auth_switch(salt: &Salt) -> Vec<u8> {
    let mut packet = vec![0xfe];
    packet.put_zero_terminated(NATIVE_PASSWORD);
    packet.extend(salt);
    packet.push(0);
    packet
}

/// What the client answered to the greeting (Protocol::HandshakeResponse41).
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct HandshakeResponse {
    /// What both sides can do.
    pub(crate) capabilities: u32,
    pub(crate) user: String,
    pub(crate) proof: Vec<u8>,
    pub(crate) database: Option<String>,
    /// Whether `proof` was made for [`NATIVE_PASSWORD`].
    pub(crate) native: bool,
}

impl HandshakeResponse {
    pub(crate) fn parse(packet: &[u8]) -> Result<Self, Malformed> {
        let mut take = Take::new(packet, "handshake response");
        let claimed = take.u32()?;
        if claimed & capability::PROTOCOL_41 == 0 || claimed & capability::SECURE_CONNECTION == 0 {
            return Err(Malformed("handshake response: a client of MySQL 4.1 or later is needed"));
        }
        if claimed & capability::SSL != 0 {
            return Err(Malformed("handshake response: TLS was not offered"));
        }
        let capabilities = claimed & capability::OURS;
        // The largest packet that the client takes, its character set, and 23 zeros.
        take.bytes(4 + 1 + 23)?;
        let user = String::from_utf8_lossy(take.zero_terminated()?).into_owned();
        let proof = if capabilities & capability::PLUGIN_AUTH_LENENC_DATA != 0 {
            take.lenenc_bytes()?
        } else {
            let length = take.u8()?;
            take.bytes(length.into())?
        };
        let database = if capabilities & capability::CONNECT_WITH_DB != 0 && !take.is_empty() {
            non_empty(take.zero_terminated()?)
        } else {
            None
        };
        // Connection attributes may follow; nobody asks for them.
        let native = if capabilities & capability::PLUGIN_AUTH != 0 && !take.is_empty() {
            take.zero_terminated()? == NATIVE_PASSWORD.as_bytes()
        } else {
            true
        };
        Ok(Self { capabilities, user, proof: proof.to_vec(), database, native })
    }
}

/// A name that a client gave, if it gave one.
pub(super) fn non_empty(name: &[u8]) -> Option<String> {
    (!name.is_empty()).then(|| String::from_utf8_lossy(name).into_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_bytes_can_panic_it(packet: Vec<u8>, filler in 0..80usize) {
            let _ = HandshakeResponse::parse(&packet);
            let mut likely = (capability::OURS).to_le_bytes().to_vec();
            likely.resize(4 + 28, 0);
            likely.resize(likely.len() + filler, b'x');
            likely.extend(packet);
            let _ = HandshakeResponse::parse(&likely);
        }
    }
}
