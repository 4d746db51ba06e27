//! The policies that come with every node, as components built from `policies/` by `cargo xtask policies`.

/// A policy that comes with every node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Builtin {
    /// The name it is bound by.
    pub name: &'static str,
    /// The component.
    pub bytes: &'static [u8],
    /// SHA-256 of the component, as it is kept beside it: 64 hexadecimal digits, the file's name, the toolchain.
    record: &'static str,
}

impl Builtin {
    /// SHA-256 of the component as it was when it was built, as 64 hexadecimal digits.
    #[must_use]
    pub fn hash(&self) -> &'static str {
        self.record.split_whitespace().next().unwrap_or_default()
    }
}

/// All of them, the default first.
pub const BUILTINS: [Builtin; 2] = [
    Builtin {
        name: "classic",
        bytes: include_bytes!("../builtin/classic.wasm"),
        record: include_str!("../builtin/classic.wasm.sha256"),
    },
    Builtin {
        name: "swift",
        bytes: include_bytes!("../builtin/swift.wasm"),
        record: include_str!("../builtin/swift.wasm.sha256"),
    },
];
