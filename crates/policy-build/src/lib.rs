//! Builds policies: with cargo for `wasm32-unknown-unknown`, then as components, the same bytes from every checkout with
//! the same compiler. For policies in C it makes the bindings; how they are compiled is their own business.
//!
//! WASI is no choice: a policy imports a line of log and nothing else, and that is checked here.
//! Not here: which policies there are, where their components are kept, and running them (`baton-policy-host`).

mod c;
mod cargo;
mod error;
mod library;

pub use c::c_bindings;
pub use cargo::{Build, PROFILE, TARGET};
pub use error::BuildError;
pub use library::{StandardLibrary, toolchain};

use sha2::{Digest, Sha256};
use wit_component::{ComponentEncoder, DecodedWasm};

/// All that a policy may import, each with any version.
const IMPORTS: [&str; 2] = ["baton:policy/log@", "baton:policy/types@"];

/// Makes a component of a core module that imports what a policy may. What is a component already is only checked.
///
/// # Errors
/// [`BuildError::NoComponent`] and [`BuildError::ForeignImport`].
pub fn component(module: &[u8]) -> Result<Vec<u8>, BuildError> {
    let bytes = if is_component(module) {
        module.to_vec()
    } else {
        ComponentEncoder::default()
            .validate(true)
            .module(module)
            .and_then(|mut encoder| encoder.encode())
            .map_err(|error| BuildError::NoComponent(format!("{error:#}")))?
    };
    check_imports(&bytes)?;
    Ok(bytes)
}

/// The header of a component has a layer of 1 where that of a core module has 0.
fn is_component(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\0asm") && bytes.get(6) == Some(&1)
}

/// Whether a component imports only what a policy may.
///
/// # Errors
/// [`BuildError::ForeignImport`] with the first of the others, [`BuildError::NoComponent`] if it is none.
pub fn check_imports(component: &[u8]) -> Result<(), BuildError> {
    let foreign = imports(component)?
        .into_iter()
        .find(|import| !IMPORTS.iter().any(|allowed| import.starts_with(allowed)));
    foreign.map_or(Ok(()), |import| Err(BuildError::ForeignImport(import)))
}

/// What a component imports.
///
/// # Errors
/// [`BuildError::NoComponent`] if it is none.
pub fn imports(component: &[u8]) -> Result<Vec<String>, BuildError> {
    let decoded =
        wit_component::decode(component).map_err(|error| BuildError::NoComponent(format!("{error:#}")))?;
    let DecodedWasm::Component(resolve, world) = decoded else {
        return Err(BuildError::NoComponent("it is a WIT package".to_owned()));
    };
    Ok(resolve.worlds[world].imports.keys().map(|key| resolve.name_world_key(key)).collect())
}

/// The hash by which policies are known: SHA-256, as 64 hexadecimal digits.
#[must_use]
pub fn hash(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}
