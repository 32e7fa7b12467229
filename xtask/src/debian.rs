//! Programs of Debian's own that tests use, installed by apt where they are missing. Needs root, or sudo without a
//! question.

use anyhow::{Context, Result, bail};
use std::{
    path::Path,
    process::{Command, Stdio},
};

/// A program, and the package that has it.
pub(crate) type Tool = (&'static str, &'static str);

/// What the test suites use.
pub(crate) const TESTS: &[Tool] =
    &[("npm", "npm"), ("systemd-socket-activate", "systemd"), ("setpriv", "util-linux"), ("git", "git")];
/// What the tests of sealing and of evidence compare with, or speak with.
pub(crate) const SEALING: &[Tool] =
    &[("age", "age"), ("swtpm", "swtpm"), ("swtpm_setup", "swtpm-tools"), ("tpm2_quote", "tpm2-tools")];
/// What the soak tests use beside it: networks of their own, with routers between them.
pub(crate) const SOAK: &[Tool] = &[("ip", "iproute2"), ("nft", "nftables")];
/// What Go from PyPI needs, where the machine has none that is new enough.
pub(crate) const PYTHON: &[Tool] = &[("python3", "python3-venv")];

/// Installs the packages of those programs that are missing. Where that fails, the tests say themselves what they miss.
pub(crate) fn install(tools: &[Tool]) -> Result<()> {
    let mut packages: Vec<&str> =
        tools.iter().filter(|(program, _)| !is_here(program)).map(|(_, package)| *package).collect();
    packages.dedup();
    if packages.is_empty() {
        return Ok(());
    }
    println!("installing {}", packages.join(" "));
    // The lists may be missing or old; an update that fails (a mirror that is away) need not matter.
    let _ = apt(&["update", "-q"])?;
    let mut words = vec!["install", "-y", "-q", "--no-install-recommends"];
    words.extend(&packages);
    if !apt(&words)? {
        bail!("apt-get cannot install {}", packages.join(" "));
    }
    Ok(())
}

fn apt(words: &[&str]) -> Result<bool> {
    let (program, first): (_, &[&str]) = match is_root() {
        true => ("apt-get", &[]),
        false => ("sudo", &["-n", "apt-get"]),
    };
    let mut command = Command::new(program);
    command.args(first).args(words).env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
    Ok(command.status().with_context(|| format!("cannot start {program}"))?.success())
}

fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ids = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    ids.and_then(|ids| ids.split_whitespace().nth(1)) == Some("0")
}

/// Whether a program lies where a shell, or an administrator's shell, would find it.
fn is_here(program: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':').chain(["/usr/sbin", "/sbin"]).any(|folder| Path::new(folder).join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_here_is_not_installed() {
        assert!(is_here("sh") && !is_here("no program has this name"));
        install(&[("sh", "no package has this name")]).unwrap();
    }
}
