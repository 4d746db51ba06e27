//! What a client can ask for once it is in.

use super::bytes::{Malformed, Take};
use super::handshake::{NATIVE_PASSWORD, non_empty};

/// One command packet, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command<'a> {
    Quit,
    UseDatabase(&'a [u8]),
    Query(&'a [u8]),
    FieldList,
    Statistics,
    Debug,
    Ping,
    ChangeUser(ChangeUser),
    Prepare(&'a [u8]),
    Execute { statement: u32, values: &'a [u8] },
    LongData { statement: u32, parameter: u16, data: &'a [u8] },
    CloseStatement(u32),
    ResetStatement(u32),
    SetOption(u16),
    ResetConnection,
    Unknown(u8),
}

/// Another user for the same connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ChangeUser {
    pub(crate) user: String,
    pub(crate) proof: Vec<u8>,
    pub(crate) database: Option<String>,
    /// Whether `proof` was made for `mysql_native_password`.
    pub(crate) native: bool,
}

impl<'a> Command<'a> {
    pub(crate) fn parse(packet: &'a [u8]) -> Result<Self, Malformed> {
        let mut take = Take::new(packet, "command");
        let code = take.u8()?;
        Ok(match code {
            0x01 => Self::Quit,
            0x02 => Self::UseDatabase(take.rest()),
            0x03 => Self::Query(take.rest()),
            0x04 => Self::FieldList,
            0x09 => Self::Statistics,
            0x0d => Self::Debug,
            0x0e => Self::Ping,
            0x11 => Self::ChangeUser(ChangeUser::parse(take.rest())?),
            0x16 => Self::Prepare(take.rest()),
            0x17 => {
                let statement = take.u32()?;
                // Flags ask for a cursor, which a server need not open; the count of iterations is always 1.
                take.bytes(1 + 4)?;
                Self::Execute { statement, values: take.rest() }
            }
            0x18 => Self::LongData { statement: take.u32()?, parameter: take.u16()?, data: take.rest() },
            0x19 => Self::CloseStatement(take.u32()?),
            0x1a => Self::ResetStatement(take.u32()?),
            0x1b => Self::SetOption(take.u16()?),
            0x1f => Self::ResetConnection,
            unknown => Self::Unknown(unknown),
        })
    }
}

impl ChangeUser {
    fn parse(packet: &[u8]) -> Result<Self, Malformed> {
        let mut take = Take::new(packet, "COM_CHANGE_USER");
        let user = String::from_utf8_lossy(take.zero_terminated()?).into_owned();
        let length = take.u8()?;
        let proof = take.bytes(length.into())?.to_vec();
        let database = non_empty(take.zero_terminated()?);
        let native = if take.is_empty() {
            true
        } else {
            // The character set.
            take.bytes(2)?;
            take.is_empty() || take.zero_terminated()? == NATIVE_PASSWORD.as_bytes()
        };
        Ok(Self { user, proof, database, native })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_bytes_can_panic_it(code: u8, rest: Vec<u8>) {
            let packet: Vec<u8> = std::iter::once(code).chain(rest).collect();
            let _ = Command::parse(&packet);
        }
    }

    #[test]
    fn an_empty_packet_is_no_command() {
        assert!(Command::parse(&[]).is_err());
        assert_eq!(Command::parse(&[0x0e]), Ok(Command::Ping));
    }
}
