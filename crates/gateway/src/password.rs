//! `mysql_native_password`: the server keeps SHA1(SHA1(password)), the client proves that it knows SHA1(password)
//! for a salt that is used once.
//!
//! The proof is SHA1(password) XOR SHA1(salt ‖ SHA1(SHA1(password))).
//! An unknown user takes the same path and the same time as a wrong password.

use std::fmt;

use sha1::{Digest, Sha1};

/// Bytes of a SHA1 digest, of a salt, and of a proof.
pub(crate) const DIGEST_BYTES: usize = 20;

/// The salt of one handshake.
pub(crate) type Salt = [u8; DIGEST_BYTES];

/// What the server keeps of a password: SHA1(SHA1(password)), or nothing for the empty password.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PasswordHash(Option<[u8; DIGEST_BYTES]>);

impl PasswordHash {
    /// The empty password's.
    pub const EMPTY: Self = Self(None);

    /// The hash of a password.
    #[must_use]
    pub fn of(password: &str) -> Self {
        if password.is_empty() {
            return Self::EMPTY;
        }
        Self(Some(Sha1::digest(Sha1::digest(password)).into()))
    }

    /// The hash that was kept as these bytes; `None` is the empty password's.
    #[must_use]
    pub const fn from_bytes(bytes: Option<[u8; DIGEST_BYTES]>) -> Self {
        Self(bytes)
    }

    /// The bytes to keep; `None` is the empty password's.
    #[must_use]
    pub const fn to_bytes(self) -> Option<[u8; DIGEST_BYTES]> {
        self.0
    }

    /// Whether `proof`, as a client sent it for `salt`, was made with the password.
    pub(crate) fn admits(self, salt: &Salt, proof: &[u8]) -> bool {
        let Self(Some(hash)) = self else { return proof.is_empty() };
        let Ok(proof) = <&[u8; DIGEST_BYTES]>::try_from(proof) else { return false };
        let mask: [u8; DIGEST_BYTES] = Sha1::new_with_prefix(salt).chain_update(hash).finalize().into();
        let claimed: [u8; DIGEST_BYTES] = std::array::from_fn(|i| proof[i] ^ mask[i]);
        let claimed: [u8; DIGEST_BYTES] = Sha1::digest(claimed).into();
        // Every byte is compared, so that the time says nothing about where they differ.
        claimed.iter().zip(hash).fold(0, |differences, (a, b)| differences | (a ^ b)) == 0
    }
}

/// A hash is no secret to print by accident.
impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "PasswordHash(…)" } else { "PasswordHash(empty)" })
    }
}

/// Whether the proof is the user's. `hash` is `None` for a user who does not exist: never admitted.
pub(crate) fn admits(hash: Option<PasswordHash>, salt: &Salt, proof: &[u8]) -> bool {
    let known = hash.is_some();
    // Nobody's password: no SHA1 of a SHA1 is known to be all zeros.
    let hash = hash.unwrap_or(PasswordHash(Some([0; DIGEST_BYTES])));
    hash.admits(salt, proof) && known
}

/// A salt of printable bytes, since clients read it as a string that ends with a zero byte.
pub(crate) fn fresh_salt() -> Salt {
    std::array::from_fn(|_| rand::random_range(b'!'..=b'~'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proof_of(password: &str, salt: &Salt) -> Vec<u8> {
        let first: [u8; 20] = Sha1::digest(password).into();
        let second: [u8; 20] = Sha1::digest(first).into();
        let mask: [u8; 20] = Sha1::new_with_prefix(salt).chain_update(second).finalize().into();
        (0..20).map(|i| first[i] ^ mask[i]).collect()
    }

    #[test]
    fn the_hash_is_the_one_that_mysql_prints() {
        let hash: String =
            PasswordHash::of("password").to_bytes().unwrap().iter().map(|b| format!("{b:02X}")).collect();
        assert_eq!(hash, "2470C0C06DEE42FD1618BB99005ADCA2EC9D1E19");
    }

    #[test]
    fn only_the_password_is_admitted() {
        let salt = fresh_salt();
        let proof = proof_of("secret", &salt);
        assert!(admits(Some(PasswordHash::of("secret")), &salt, &proof));
        assert!(!admits(Some(PasswordHash::of("Secret")), &salt, &proof));
        assert!(
            !admits(Some(PasswordHash::of("secret")), &fresh_salt(), &proof),
            "a proof is good for one salt"
        );
        assert!(!admits(Some(PasswordHash::of("secret")), &salt, b""));
        assert!(!admits(Some(PasswordHash::of("secret")), &salt, &proof[..19]));
        assert!(!admits(Some(PasswordHash::EMPTY), &salt, &proof));
        assert!(admits(Some(PasswordHash::EMPTY), &salt, b""));
    }

    #[test]
    fn an_unknown_user_is_never_admitted() {
        let salt = fresh_salt();
        assert!(!admits(None, &salt, b""));
        assert!(!admits(None, &salt, &proof_of("", &salt)));
    }
}
