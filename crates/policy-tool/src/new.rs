//! `baton policy new`: a crate to begin with.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use crate::error::{PolicyToolError, io};
use crate::report::Report;

/// Bytes of a name, at most.
const NAME_BYTES_MAX: usize = 64;
/// Names that a crate cannot have, because Rust or the policy's own code means something else by them.
const TAKEN: [&str; 63] = [
    "abstract",
    "alloc",
    "as",
    "async",
    "await",
    "baton-policy-sdk",
    "become",
    "box",
    "break",
    "const",
    "continue",
    "core",
    "crate",
    "do",
    "dyn",
    "else",
    "enum",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "let",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "override",
    "policy",
    "priv",
    "proc-macro",
    "pub",
    "ref",
    "return",
    "self",
    "static",
    "std",
    "struct",
    "super",
    "test",
    "tests",
    "trait",
    "true",
    "try",
    "type",
    "typeof",
    "union",
    "unsafe",
    "unsized",
    "use",
    "views",
    "virtual",
    "where",
    "while",
    "yield",
    "build",
    "deps",
];

/// The files, each with what is in it. `{{name}}`, `{{Type}}`, `{{crate}}` and `{{sdk}}` are filled in.
const FILES: [(&str, &str); 8] = [
    ("Cargo.toml", include_str!("template/Cargo.toml.txt")),
    (".gitignore", include_str!("template/gitignore.txt")),
    ("README.md", include_str!("template/README.md.txt")),
    ("src/lib.rs", include_str!("template/lib.rs.txt")),
    ("tests/views.rs", include_str!("template/views.rs.txt")),
    ("views/answers.json", include_str!("template/answers.json")),
    ("views/refused.json", include_str!("template/refused.json")),
    ("views/silent.json", include_str!("template/silent.json")),
];

#[derive(Serialize)]
struct Begun {
    folder: PathBuf,
    files: Vec<&'static str>,
}

pub(crate) fn new(report: &Report, name: &str, sdk: &Path) -> Result<(), PolicyToolError> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let begins_well = name.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
    if !begins_well || name.len() > NAME_BYTES_MAX || !name.bytes().all(plain) || name.ends_with('-') {
        return Err(PolicyToolError::BadName(name.to_owned()));
    }
    if TAKEN.contains(&name) {
        return Err(PolicyToolError::TakenName(name.to_owned()));
    }
    let folder = PathBuf::from(name);
    if folder.exists() {
        return Err(PolicyToolError::Exists(folder));
    }
    // What JSON quotes, TOML reads.
    let sdk = Value::from(sdk_folder(sdk)?.to_string_lossy());
    let sdk = format!("{{ path = {sdk} }}");
    // Made beside it, and there as a whole or not at all.
    let part = PathBuf::from(format!("{name}.{}.part", std::process::id()));
    let made = fill(&part, name, &sdk).and_then(|()| fs::rename(&part, &folder).map_err(io("make", &folder)));
    if let Err(error) = made {
        let _ = fs::remove_dir_all(&part);
        return Err(error);
    }
    let begun = Begun { folder, files: FILES.map(|(path, _)| path).to_vec() };
    report.result(&begun, || {
        format!(
            "{name} begins in {name}/: src/lib.rs decides, views/ are questions with the verdicts it gives"
        )
    });
    report.progress(&format!("next: cd {name} && baton policy test"));
    Ok(())
}

fn fill(folder: &Path, name: &str, sdk: &str) -> Result<(), PolicyToolError> {
    for (path, template) in FILES {
        let path = folder.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(io("make", parent))?;
        }
        let text = template
            .replace("{{name}}", name)
            .replace("{{Type}}", &type_name(name))
            .replace("{{crate}}", &name.replace('-', "_"))
            .replace("{{sdk}}", sdk);
        fs::write(&path, text).map_err(io("write", &path))?;
    }
    Ok(())
}

/// The folder of the SDK, as an absolute path.
fn sdk_folder(path: &Path) -> Result<PathBuf, PolicyToolError> {
    let no_sdk = || PolicyToolError::NoSdk(path.to_owned());
    let manifest = fs::read_to_string(path.join("Cargo.toml")).map_err(|_| no_sdk())?;
    if !manifest.contains("name = \"baton-policy-sdk\"") {
        return Err(no_sdk());
    }
    fs::canonicalize(path).map_err(io("find", path))
}

/// `my-policy` is the type `MyPolicy`; another name has the word at its end, so that it is not that of another type.
fn type_name(name: &str) -> String {
    let capital = |word: &str| {
        let mut letters = word.chars();
        letters
            .next()
            .map_or_else(String::new, |first| first.to_ascii_uppercase().to_string() + letters.as_str())
    };
    let mut made: String = name.split('-').map(capital).collect();
    if !made.ends_with("Policy") {
        made.push_str("Policy");
    }
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_becomes_a_type() {
        assert_eq!(type_name("my-policy"), "MyPolicy");
        assert_eq!(type_name("a--b2"), "AB2Policy");
        assert_eq!(type_name("health"), "HealthPolicy");
    }
}
