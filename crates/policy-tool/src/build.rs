//! `baton policy build`: a crate becomes a component.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use baton_policy::DecisionPoint;
use baton_policy_build::{Build, StandardLibrary, c_bindings, component};
use serde::Serialize;
use serde_json::Value;

use crate::ask::{load_bytes, write_whole};
use crate::error::{PolicyToolError, io};
use crate::inspect::Inspected;
use crate::report::Report;

/// A policy's crate.
pub(crate) struct Crate {
    pub(crate) folder: PathBuf,
    /// The root of its workspace.
    root: PathBuf,
    target_dir: PathBuf,
    package: String,
    /// The file that cargo makes of it, without its folder.
    module: String,
}

impl Crate {
    /// Looks at the crate in a folder.
    pub(crate) fn open(folder: &Path) -> Result<Self, PolicyToolError> {
        let folder = fs::canonicalize(folder).map_err(io("open", folder))?;
        let no = |why: &str| PolicyToolError::NoPolicy { folder: folder.clone(), why: why.to_owned() };
        let manifest = folder.join("Cargo.toml");
        if !manifest.is_file() {
            return Err(no("it has no Cargo.toml; `baton policy new NAME` begins a policy"));
        }
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo)
            .args(["metadata", "--no-deps", "--format-version", "1"])
            .current_dir(&folder)
            .stderr(Stdio::inherit())
            .output()
            .map_err(io("start cargo in", &folder))?;
        if !output.status.success() {
            return Err(no("cargo cannot read its Cargo.toml, see above"));
        }
        let said: Value = serde_json::from_slice(&output.stdout).map_err(|error| no(&error.to_string()))?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let packages = said["packages"].as_array().map(Vec::as_slice).unwrap_or_default();
        let package = packages
            .iter()
            .find(|package| package["manifest_path"].as_str().is_some_and(|path| Path::new(path) == manifest))
            .ok_or_else(|| no("it is a workspace, not a crate"))?;
        let targets = package["targets"].as_array().map(Vec::as_slice).unwrap_or_default();
        let is_cdylib = |target: &&Value| {
            target["kind"].as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind == "cdylib"))
        };
        let library = targets
            .iter()
            .find(is_cdylib)
            .and_then(|target| text(&target["name"]))
            .ok_or_else(|| no("its Cargo.toml must say `[lib] crate-type = [\"cdylib\", \"rlib\"]`"))?;
        let unsaid = || no("cargo metadata does not say where it builds");
        Ok(Self {
            root: text(&said["workspace_root"]).ok_or_else(unsaid)?.into(),
            target_dir: text(&said["target_directory"]).ok_or_else(unsaid)?.into(),
            package: text(&package["name"]).ok_or_else(unsaid)?,
            module: format!("{}.wasm", library.replace('-', "_")),
            folder,
        })
    }

    /// Compiles it and makes its component, `NAME.wasm` in its folder; answers with that file, and what it is.
    pub(crate) fn build(&self) -> Result<Built, PolicyToolError> {
        let library = StandardLibrary::find(&self.root)?;
        let built = Build {
            root: &self.root,
            root_name: "/policy",
            packages: &[&self.package],
            target_dir: &self.target_dir,
            library,
        }
        .run()?;
        write_component(&built.join(&self.module), |name| self.folder.join(format!("{name}.wasm")))
    }
}

/// Makes a component of a core module, and loads it as a node would: what is written is a policy. Where it goes may
/// depend on its name.
fn write_component(module: &Path, to: impl FnOnce(&str) -> PathBuf) -> Result<Built, PolicyToolError> {
    let bytes = component(&fs::read(module).map_err(io("read", module))?)?;
    let policy = load_bytes(module, &bytes)?;
    let component = to(policy.name());
    write_whole(&component, &bytes)?;
    Ok(Built { inspected: Inspected::of(&policy, &bytes)?, component })
}

/// What was built, and where it is.
#[derive(Serialize)]
pub(crate) struct Built {
    pub(crate) component: PathBuf,
    #[serde(flatten)]
    inspected: Inspected,
}

impl Built {
    fn lines(&self) -> String {
        format!("{}\n\n{}", self.component.display(), self.inspected.lines())
    }
}

pub(crate) fn build(report: &Report, folder: &Path) -> Result<(), PolicyToolError> {
    let policy = Crate::open(folder)?;
    report.progress("building; the first time takes about half a minute");
    let built = policy.build()?;
    report.result(&built, || built.lines());
    report.progress("next: baton policy test");
    Ok(())
}

/// `baton policy component`.
pub(crate) fn encode(report: &Report, module: &Path, to: &Path) -> Result<(), PolicyToolError> {
    let built = write_component(module, |_| to.to_owned())?;
    report.result(&built, || built.lines());
    Ok(())
}

/// `baton policy bindings`.
pub(crate) fn bindings(report: &Report, points: &[DecisionPoint], to: &Path) -> Result<(), PolicyToolError> {
    let names: Vec<String> = points.iter().map(ToString::to_string).collect();
    let files = c_bindings(&names)?;
    fs::create_dir_all(to).map_err(io("make", to))?;
    let mut written = Vec::new();
    for (name, bytes) in files {
        let path = to.join(name);
        write_whole(&path, &bytes)?;
        written.push(path);
    }
    report.result(&written, || written.iter().map(|path| format!("{}\n", path.display())).collect());
    report.progress(
        "next: compile them with the policy, then baton policy component CORE.wasm --out POLICY.wasm",
    );
    Ok(())
}
