//! The packages of the workspace, from cargo's metadata.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

/// The workspace.
#[derive(Debug, Deserialize)]
pub struct Workspace {
    /// Its packages.
    pub packages: Vec<Package>,
}

/// A package.
#[derive(Debug, Deserialize)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its dependencies, of every kind.
    pub dependencies: Vec<Dependency>,
    /// Its targets.
    pub targets: Vec<Target>,
}

/// A dependency of a package.
#[derive(Debug, Deserialize)]
pub struct Dependency {
    /// Its name.
    pub name: String,
    /// Its folder, if it is a package of ours.
    pub path: Option<PathBuf>,
}

/// A library, a program, a test.
#[derive(Debug, Deserialize)]
pub struct Target {
    /// `lib`, `bin`, `test`, `bench`, ...
    pub kind: Vec<String>,
    /// The file of its root.
    pub src_path: PathBuf,
}

impl Workspace {
    /// Reads the workspace in that folder.
    ///
    /// # Errors
    /// Cargo's error.
    pub fn read(folder: &Path) -> Result<Self, String> {
        let metadata = cargo(folder, &["metadata", "--no-deps", "--offline", "--format-version", "1"])?;
        serde_json::from_str(&metadata).map_err(|error| format!("`cargo metadata` cannot be read: {error}"))
    }

    /// The roots of all libraries and programs.
    pub fn roots(&self) -> impl Iterator<Item = &Path> {
        let targets = self.packages.iter().flat_map(|package| &package.targets);
        let built = targets.filter(|target| target.kind.iter().any(|kind| kind == "lib" || kind == "bin"));
        built.map(|target| target.src_path.as_path())
    }
}

/// The output of cargo, run in that folder.
///
/// # Errors
/// Cargo's error output.
pub fn cargo(folder: &Path, arguments: &[&str]) -> Result<String, String> {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(program)
        .current_dir(folder)
        .args(arguments)
        .output()
        .map_err(|error| format!("cargo cannot be started: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("`cargo {}`: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim()))
}

/// Dependencies between packages of ours that `allowed` does not name: for each package, those that it may depend on.
#[must_use]
pub fn forbidden(packages: &[Package], allowed: &[(&str, &[&str])]) -> Vec<String> {
    let mut forbidden = Vec::new();
    for Package { name, dependencies, .. } in packages {
        let Some((_, may)) = allowed.iter().find(|(package, _)| package == name) else {
            forbidden.push(format!("nothing says what {name} may depend on"));
            continue;
        };
        let ours = dependencies.iter().filter(|dependency| dependency.path.is_some());
        let others = ours.filter(|dependency| !may.contains(&dependency.name.as_str()));
        forbidden.extend(others.map(|dependency| format!("{name} -> {}", dependency.name)));
    }
    forbidden
}
