//! Helia nodes, by the drivers in `xtask/peers/helia`.

use anyhow::{Context, Result, bail};
use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// The folder that `ADIT_HELIA` names: Node, its packages and the drivers.
pub struct Helia(pub PathBuf);

/// A Helia node that serves one file until it is dropped.
pub struct Serving {
    pub cid: String,
    pub addresses: Vec<String>,
    child: Child,
}

impl Helia {
    /// Starts a node that adds this file, in chunks of so many bytes, and serves it.
    pub fn serve(&self, file: &Path, chunk: usize) -> Result<Serving> {
        let mut command = self.node("serve.mjs");
        command.arg(file).arg(chunk.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("cannot start node")?;
        let stdout = child.stdout.take().context("no pipe")?;
        let mut serving = Serving { cid: String::new(), addresses: Vec::new(), child };
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let told: serde_json::Value =
            serde_json::from_str(&line).with_context(|| format!("serve.mjs said {line:?}"))?;
        serving.cid = told["cid"].as_str().context("no cid")?.to_owned();
        let addresses = told["addresses"].as_array().context("no addresses")?;
        serving.addresses = addresses.iter().filter_map(|text| text.as_str().map(str::to_owned)).collect();
        Ok(serving)
    }

    /// Fetches a file from the node at this address alone, within so many seconds.
    pub fn fetch(&self, address: &str, cid: &str, file: &Path, seconds: u64) -> Result<()> {
        let mut command = self.node("fetch.mjs");
        let output = command.args([address, cid]).arg(file).arg(seconds.to_string()).output()?;
        if !output.status.success() {
            bail!("Helia fetched no {cid}: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }

    fn node(&self, driver: &str) -> Command {
        let mut command = Command::new(self.0.join("node"));
        command.arg(self.0.join(driver)).stdin(Stdio::null());
        command
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
