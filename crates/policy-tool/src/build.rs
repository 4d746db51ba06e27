//! `baton policy build`: a crate becomes a component.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use baton_policy::DecisionPoint;
use baton_policy_build::{Build, StandardLibrary, c_bindings, component};
use serde::Serialize;
use serde_json::Value;

use crate::ask::load;
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

    /// Where its component goes.
    pub(crate) fn component(&self) -> PathBuf {
        self.folder.join(format!("{}.wasm", self.package))
    }

    /// Compiles it, makes its component, and loads that as a node would: what is written is a policy.
    pub(crate) fn build(&self) -> Result<Inspected, PolicyToolError> {
        let library = StandardLibrary::find(&self.root)?;
        let built = Build {
            root: &self.root,
            root_name: "/policy",
            packages: &[&self.package],
            target_dir: &self.target_dir,
            library,
        }
        .run()?;
        write_component(&built.join(&self.module), &self.component())
    }
}

/// Makes a component of a core module, and loads it as a node would: what is written is a policy.
fn write_component(module: &Path, to: &Path) -> Result<Inspected, PolicyToolError> {
    let bytes = component(&fs::read(module).map_err(io("read", module))?)?;
    fs::write(to, &bytes).map_err(io("write", to))?;
    match load(to) {
        Ok((module, bytes)) => Inspected::of(&module, &bytes),
        Err(error) => {
            // Nobody is to install it by mistake.
            fs::remove_file(to).map_err(io("remove", to))?;
            Err(error)
        }
    }
}

#[derive(Serialize)]
struct Built {
    component: PathBuf,
    #[serde(flatten)]
    inspected: Inspected,
}

pub(crate) fn build(report: &Report, folder: &Path) -> Result<(), PolicyToolError> {
    let policy = Crate::open(folder)?;
    report.progress("building; the first time takes about half a minute");
    let built = Built { inspected: policy.build()?, component: policy.component() };
    report.result(&built, || {
        format!("{}\n\n{}", built.component.display(), built.inspected.lines())
    });
    report.progress("next: baton policy test");
    Ok(())
}

/// `baton policy component`.
pub(crate) fn encode(report: &Report, module: &Path, to: &Path) -> Result<(), PolicyToolError> {
    let built = Built { inspected: write_component(module, to)?, component: to.to_owned() };
    report.result(&built, || format!("{}\n\n{}", built.component.display(), built.inspected.lines()));
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
        fs::write(&path, bytes).map_err(io("write", &path))?;
        written.push(path);
    }
    report.result(&written, || written.iter().map(|path| format!("{}\n", path.display())).collect());
    report.progress("next: compile them with the policy, then baton policy component CORE.wasm --out POLICY.wasm");
    Ok(())
}
