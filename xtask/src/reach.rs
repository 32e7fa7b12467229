//! What must not be reachable from what: invariants of absence that the dependency tree shows.

use crate::build::root;
use anyhow::{Result, bail};
use std::process::Command;

/// From a crate, never to these: with the reason that a person is told.
const NEVER: &[(&str, &[&str], &str)] = &[
    ("adit-node", &["adit-seal", "wasmtime"], "the daemon opens nothing sealed and runs no guest"),
    ("adit-api", &["adit-seal", "wasmtime"], "the daemon opens nothing sealed and runs no guest"),
    ("adit-rpc", &["adit-seal", "wasmtime"], "the daemon opens nothing sealed and runs no guest"),
    (
        "adit-enclave",
        &["libp2p", "hyper", "rustls", "adit-net", "adit-node", "adit-store"],
        "the enclave opens no network socket",
    ),
    (
        "adit-holderd",
        &["libp2p", "wasmtime", "adit-net", "adit-node", "adit-store"],
        "a holder has no network of its own, no blocks and no guests",
    ),
    ("adit-seal", &["tokio", "adit-node", "adit-net", "libp2p"], "sealing does no I/O"),
];

/// Checks all of them, each crate with the features that it has when it is built alone.
pub(crate) fn check() -> Result<()> {
    for (from, never, why) in NEVER {
        let linked = linked(from)?;
        if let Some(found) = linked.iter().find(|name| never.contains(&name.as_str())) {
            bail!("{from} reaches {found}, and must not: {why}");
        }
    }
    Ok(())
}

/// The names of the crates that this one links, itself among them; not what only tests or build scripts use.
fn linked(package: &str) -> Result<Vec<String>> {
    let words =
        ["tree", "--locked", "--edges", "normal", "--prefix", "none", "--format", "{lib}", "--package"];
    let output = Command::new("cargo").current_dir(root()).args(words).arg(package).output()?;
    if !output.status.success() {
        bail!("cargo cannot list what {package} links:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().map(|line| line.trim_end_matches(" (*)").replace('_', "-")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_reaches_what_it_must_not() {
        check().unwrap();
    }

    #[test]
    fn what_is_linked_somewhere_below_is_found() {
        let linked = linked("adit-seal").unwrap();
        assert!(
            ["x25519-dalek", "curve25519-dalek", "ring"]
                .iter()
                .all(|name| linked.iter().any(|one| one == name))
        );
        assert!(!linked.iter().any(|name| name == "proptest"));
    }
}
