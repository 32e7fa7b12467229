//! What is built with what.
//!
//! Cargo unifies the features of everything that one call builds. So the enclave, whose dependencies must be its own
//! and nobody else's, is built and tested in calls that name nothing of the node; and each group below is always
//! named whole, so that its dependencies are compiled once.

use anyhow::{Context, Result, bail};
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// The crates that have few dependencies and are quick to test: the pure ones, and the attester, whose tests want the
/// programs that those of sealing want.
pub(crate) const PURE: &[&str] = &[
    "adit-model",
    "adit-unixfs",
    "adit-wire",
    "adit-seal",
    "adit-trust",
    "adit-attest",
    "adit-release",
    "adit-policy",
    "adit-shares",
    "adit-holder",
];
/// The attested process and what it is made of.
pub(crate) const ENCLAVE: &[&str] = &["adit-exec", "adit-enclave"];
/// Everything that the daemon, the command line and the holder's program are made of.
pub(crate) const NODE: &[&str] = &[
    "adit-deny",
    "adit-names",
    "adit-tar",
    "adit-gateway",
    "adit-store",
    "adit-kubo",
    "adit-retrieval",
    "adit-net",
    "adit-node",
    "adit-functions",
    "adit-api",
    "adit-rpc",
    "adit-holderd",
    "adit",
];
/// The tests of the real programs.
pub(crate) const REAL: &[&str] = &["adit-tests"];

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace").into()
}

/// Where cargo puts release programs, asked rather than guessed: the caller may have moved it.
pub(crate) fn programs() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    root().join(target).join("release")
}

/// A cargo call on this workspace, with the release profile and the checked-in lock file.
pub(crate) fn cargo(subcommand: &str, packages: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root()).args([subcommand, "--release", "--locked"]);
    for package in packages {
        command.args(["-p", package]);
    }
    // What the outer cargo says about xtask is not said to build scripts: some would run, and their crates compile,
    // each time that a call comes from here after one that did not, and the other way round.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_"]
            .iter()
            .any(|start| text.starts_with(start))
        {
            command.env_remove(&name);
        }
    }
    command
}

pub(crate) fn check(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command.status().with_context(|| format!("cannot start {name}"))?;
    if !status.success() {
        let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy()).collect();
        bail!("{name} {} ended with {status}", words.join(" "));
    }
    Ok(())
}

/// Builds `adit-enclave`, alone, then `adit`. Returns the folder that holds both.
pub(crate) fn all_programs() -> Result<PathBuf> {
    check(&mut cargo("build", &["adit-enclave"]))?;
    check(&mut cargo("build", &["adit"]))?;
    Ok(programs())
}
