//! `baton policy keygen` and `baton policy sign`: who vouches for a component.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use baton_policy_host::signature::{INTERFACE, SecretKey, verify};
use serde::{Deserialize, Serialize};

use crate::ask::{load, write_whole};
use crate::error::{PolicyToolError, io};
use crate::report::Report;

/// What lies beside a component: who vouches for it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct SignatureFile {
    pub(crate) name: String,
    pub(crate) version: String,
    interface: String,
    /// SHA-256 of the component, as 64 hexadecimal digits.
    pub(crate) hash: String,
    /// The public key, as 64 hexadecimal digits.
    pub(crate) key: String,
    /// 128 hexadecimal digits.
    pub(crate) signature: String,
}

impl SignatureFile {
    /// Reads one, which must be good for this component.
    pub(crate) fn read(path: &Path, name: &str, hash: &str) -> Result<Self, PolicyToolError> {
        let bad = |why: String| PolicyToolError::BadSignature { path: path.to_owned(), why };
        let text = fs::read_to_string(path).map_err(io("read", path))?;
        let file: Self = serde_json::from_str(&text).map_err(|error| bad(error.to_string()))?;
        if file.hash != hash {
            return Err(bad(format!(
                "it is for a component with SHA-256 {}, and this one has {hash}",
                file.hash
            )));
        }
        verify(name, hash, &file.key, &file.signature).map_err(|error| bad(error.to_string()))?;
        Ok(file)
    }
}

/// The file of signatures beside a component.
pub(crate) fn beside(component: &Path) -> PathBuf {
    let mut name = component.file_name().unwrap_or_default().to_owned();
    name.push(".sig");
    component.with_file_name(name)
}

#[derive(Serialize)]
struct Made<'a> {
    file: &'a Path,
    key: String,
}

pub(crate) fn keygen(report: &Report, path: &Path) -> Result<(), PolicyToolError> {
    let secret = SecretKey::generate()?;
    // Nobody else reads it, from the first byte on, and no key that is there is lost.
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = file.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => PolicyToolError::Exists(path.to_owned()),
        _ => io("make", path)(error),
    })?;
    let written = writeln!(file, "{}", secret.to_hex()).and_then(|()| file.sync_all());
    written.map_err(io("write", path))?;
    let made = Made { file: path, key: secret.public() };
    report.result(&made, || {
        format!(
            "{} is a secret key: keep it where policies are signed\npublic key {}",
            path.display(),
            made.key
        )
    });
    report.progress(&format!("next: SET GLOBAL policy_trusted_keys = '{}', on the cluster", made.key));
    Ok(())
}

#[derive(Serialize)]
struct Signed<'a> {
    file: &'a Path,
    #[serde(flatten)]
    signature: &'a SignatureFile,
}

pub(crate) fn sign(report: &Report, component: &Path, key: &Path) -> Result<(), PolicyToolError> {
    let secret = SecretKey::from_hex(&fs::read_to_string(key).map_err(io("read", key))?)
        .map_err(|error| PolicyToolError::BadSignature { path: key.to_owned(), why: error.to_string() })?;
    let (module, _) = load(component)?;
    let signature = SignatureFile {
        name: module.name().to_owned(),
        version: module.manifest().version.clone(),
        interface: INTERFACE.to_owned(),
        hash: module.hash().to_owned(),
        key: secret.public(),
        signature: secret.sign(module.name(), module.hash()),
    };
    let path = beside(component);
    let mut text = serde_json::to_string_pretty(&signature).unwrap_or_default();
    text.push('\n');
    write_whole(&path, text.as_bytes())?;
    report.result(&Signed { file: &path, signature: &signature }, || {
        let SignatureFile { name, version, hash, key, .. } = &signature;
        format!("{}: {name} {version}, signed by {key}\nsha256 {hash}", path.display())
    });
    report.progress(&format!("next: baton policy install {}", component.display()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_written_once_and_for_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        keygen(&Report { json: true }, &path).unwrap();
        let written = fs::read_to_string(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(keygen(&Report { json: true }, &path), Err(PolicyToolError::Exists(_))));
        assert_eq!(fs::read_to_string(&path).unwrap(), written);
    }

    #[test]
    fn a_signature_is_for_the_component_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let (component, key) = (folder.path().join("swift.wasm"), folder.path().join("key"));
        let builtin = baton_policy_host::BUILTINS.iter().find(|builtin| builtin.name == "swift").unwrap();
        fs::write(&component, builtin.bytes).unwrap();
        keygen(&Report { json: true }, &key).unwrap();
        sign(&Report { json: true }, &component, &key).unwrap();
        let file = SignatureFile::read(&beside(&component), "swift", builtin.hash()).unwrap();
        assert_eq!((file.name.as_str(), file.interface.as_str()), ("swift", INTERFACE));
        assert!(SignatureFile::read(&beside(&component), "classic", builtin.hash()).is_err());
        assert!(SignatureFile::read(&beside(&component), "swift", &"0".repeat(64)).is_err());
        assert!(sign(&Report { json: true }, &component, &component).is_err(), "a component is no key");
    }
}
