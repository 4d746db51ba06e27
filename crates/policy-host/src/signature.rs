//! Who vouches for a policy: Ed25519 signatures over what a component is.
//!
//! What is signed is a text of four lines: this purpose, the policy's name, the interface that it is built for, and the
//! SHA-256 of its bytes. The hash stands for everything in the component, its version among it, so a signature can be
//! checked before anything of the component is looked at.
//!
//! * Checked strictly: keys of small order, with which one signature fits many messages, are refused.
//! * The secret key comes from the operating system's randomness and is zeroed when it is dropped.
//!
//! Not here: which keys are trusted (a global variable), and files (the author's tool).

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use thiserror::Error;

/// The interface that the components of this version are built for.
pub const INTERFACE: &str = "baton:policy@0.1.0";
/// The first line of what is signed, so that a signature for something else never fits.
const PURPOSE: &str = "baton policy signature 1";

/// A signature is none, or not by that key.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum SignatureError {
    /// The public key cannot be one.
    #[error("'{0}' is no public key: 64 hexadecimal digits, as `baton policy keygen` prints them")]
    BadKey(String),
    /// The public key fits too many signatures.
    #[error(
        "{0} is a weak key, with which one signature fits many policies; make another one with `baton policy keygen`"
    )]
    WeakKey(String),
    /// The secret key cannot be one.
    #[error("this is no secret key: 64 hexadecimal digits, as `baton policy keygen` writes them")]
    BadSecretKey,
    /// The signature cannot be one.
    #[error("this is no signature: 128 hexadecimal digits, as `baton policy sign` writes them")]
    BadSignature,
    /// The signature is another one's, or for something else.
    #[error(
        "the signature is not by {key} for policy '{name}' with SHA-256 {hash}; sign this very component"
    )]
    NotBy {
        /// The public key, in hexadecimal digits.
        key: String,
        /// The policy's name.
        name: String,
        /// The component's SHA-256, in hexadecimal digits.
        hash: String,
    },
    /// The operating system gives no randomness.
    #[error("the operating system gives no random bytes for a key: {0}")]
    NoRandomness(String),
}

/// A key to sign with.
pub struct SecretKey(SigningKey);

impl std::fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SecretKey of {}", self.public())
    }
}

impl SecretKey {
    /// A new one.
    ///
    /// # Errors
    /// [`SignatureError::NoRandomness`].
    pub fn generate() -> Result<Self, SignatureError> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(|error| SignatureError::NoRandomness(error.to_string()))?;
        Ok(Self(SigningKey::from_bytes(&bytes)))
    }

    /// The one that was written as 64 hexadecimal digits; spaces around them do not count.
    ///
    /// # Errors
    /// [`SignatureError::BadSecretKey`].
    pub fn from_hex(text: &str) -> Result<Self, SignatureError> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text.trim(), &mut bytes).map_err(|_| SignatureError::BadSecretKey)?;
        Ok(Self(SigningKey::from_bytes(&bytes)))
    }

    /// As 64 hexadecimal digits.
    #[must_use]
    pub fn to_hex(&self) -> String {
        hex::encode(self.0.to_bytes())
    }

    /// The public key, as 64 hexadecimal digits.
    #[must_use]
    pub fn public(&self) -> String {
        hex::encode(self.0.verifying_key().to_bytes())
    }

    /// Vouches for the component of this name and SHA-256, the latter as 64 hexadecimal digits. The signature has 128.
    #[must_use]
    pub fn sign(&self, name: &str, hash: &str) -> String {
        hex::encode(self.0.sign(&message(name, hash)).to_bytes())
    }
}

/// What is signed.
fn message(name: &str, hash: &str) -> Vec<u8> {
    format!("{PURPOSE}\n{name}\n{INTERFACE}\n{}\n", hash.to_ascii_lowercase()).into_bytes()
}

/// Whether a public key is one that signatures may be checked with.
///
/// # Errors
/// [`SignatureError::BadKey`], [`SignatureError::WeakKey`].
pub fn check_key(key: &str) -> Result<(), SignatureError> {
    public_key(key).map(drop)
}

fn public_key(key: &str) -> Result<VerifyingKey, SignatureError> {
    let bad = || SignatureError::BadKey(key.to_owned());
    let mut bytes = [0; 32];
    hex::decode_to_slice(key, &mut bytes).map_err(|_| bad())?;
    let public = VerifyingKey::from_bytes(&bytes).map_err(|_| bad())?;
    if public.is_weak() {
        return Err(SignatureError::WeakKey(key.to_owned()));
    }
    Ok(public)
}

/// Whether the component of this name and SHA-256 was signed by this key. All but the name are hexadecimal digits.
///
/// # Errors
/// [`SignatureError`], with a sentence for whoever installs it.
pub fn verify(name: &str, hash: &str, key: &str, signature: &str) -> Result<(), SignatureError> {
    let public = public_key(key)?;
    let mut bytes = [0; 64];
    hex::decode_to_slice(signature, &mut bytes).map_err(|_| SignatureError::BadSignature)?;
    let not_by =
        || SignatureError::NotBy { key: key.to_owned(), name: name.to_owned(), hash: hash.to_owned() };
    public.verify_strict(&message(name, hash), &Signature::from_bytes(&bytes)).map_err(|_| not_by())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

    #[test]
    fn a_signature_is_for_one_component_and_one_key() {
        let (mine, other) = (SecretKey::generate().unwrap(), SecretKey::generate().unwrap());
        let again = SecretKey::from_hex(&format!("{}\n", mine.to_hex())).unwrap();
        let signature = again.sign("wary", HASH);
        assert_eq!(verify("wary", HASH, &mine.public(), &signature), Ok(()));
        assert_eq!(verify("wary", &HASH.to_uppercase(), &mine.public().to_uppercase(), &signature), Ok(()));
        let refused = |name: &str, hash: &str, key: &str, signature: &str| {
            matches!(verify(name, hash, key, signature), Err(SignatureError::NotBy { .. }))
        };
        assert!(refused("weary", HASH, &mine.public(), &signature));
        assert!(refused("wary", &HASH.replace("00", "01"), &mine.public(), &signature));
        assert!(refused("wary", HASH, &other.public(), &signature));
        assert!(refused("wary", HASH, &mine.public(), &"0".repeat(128)));
    }

    /// So that what was signed by one version is good for the next. Made with `openssl pkeyutl -sign -rawin`.
    #[test]
    fn what_is_signed_stays_what_it_is() {
        let key = SecretKey::from_hex(&"07".repeat(32)).unwrap();
        assert_eq!(key.public(), "ea4a6c63e29c520abef5507b132ec5f9954776aebebe7b92421eea691446d22c");
        let signature = "a366f26ad530a100dc4221a2a7ed9280fff888ffb174d9adf012767dccdfa522\
                         62cea17e8329b2aedea575934484d88d3600a1ac99c454a0c1a7aae8fb68380a";
        assert_eq!(key.sign("wary", HASH), signature);
    }

    #[test]
    fn what_is_no_key_or_signature_is_refused() {
        let key = SecretKey::generate().unwrap().public();
        assert!(matches!(check_key("abc"), Err(SignatureError::BadKey(_))));
        assert!(matches!(check_key(&"zz".repeat(32)), Err(SignatureError::BadKey(_))));
        // The neutral element: a point of small order.
        assert!(matches!(check_key(&format!("01{}", "00".repeat(31))), Err(SignatureError::WeakKey(_))));
        assert_eq!(verify("wary", HASH, &key, "abc"), Err(SignatureError::BadSignature));
        assert!(matches!(SecretKey::from_hex("abc"), Err(SignatureError::BadSecretKey)));
    }
}
