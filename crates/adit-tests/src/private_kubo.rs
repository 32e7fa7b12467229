//! A real Kubo node on the loopback interface, in a network of its own: for tests of the DHT and of names.

use crate::{http::Connection, process::eventually};
use anyhow::{Context, Result, bail, ensure};
use std::{
    fs::{self, File},
    io::Write,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

const PATIENCE: Duration = Duration::from_secs(60);

/// A Kubo daemon that knows nobody but its first contacts, speaks the LAN's DHT over loopback addresses, and is gone
/// when dropped.
pub struct PrivateKubo {
    program: PathBuf,
    folder: tempfile::TempDir,
    daemon: Option<Child>,
}

impl PrivateKubo {
    /// Whether the tests were given a Kubo; without one they are skipped by name, except in CI.
    pub fn is_here() -> Result<bool> {
        let here = std::env::var_os("ADIT_KUBO").is_some();
        ensure!(here || std::env::var("CI").as_deref() != Ok("true"), "ADIT_KUBO is not set");
        if !here {
            let test = std::thread::current().name().unwrap_or_default().to_owned();
            // Not with a macro: their output is swallowed when a test passes.
            writeln!(std::io::stderr(), "test {test} ... SKIPPED, ADIT_KUBO is not set")?;
        }
        Ok(here)
    }

    /// Starts one of the program that `ADIT_KUBO` names, with a swarm key if there is one.
    pub fn start(bootstrap: &[String], swarm_key: Option<&str>) -> Result<Self> {
        let program = std::env::var_os("ADIT_KUBO")
            .context("ADIT_KUBO is not set: run the tests with `cargo xtask test real`")?;
        let folder = tempfile::Builder::new().prefix("adit-kubo-").tempdir()?;
        let mut kubo = PrivateKubo { program: program.into(), folder, daemon: None };
        kubo.ipfs(&["init", "--profile=test,autoconf-off"])?;
        kubo.ipfs(&["config", "Routing.Type", "dht"])?;
        kubo.ipfs(&["config", "--json", "Routing.LoopbackAddressesOnLanDHT", "true"])?;
        kubo.ipfs(&["bootstrap", "rm", "--all"])?;
        for address in bootstrap {
            kubo.ipfs(&["bootstrap", "add", address])?;
        }
        if let Some(key) = swarm_key {
            fs::write(kubo.folder.path().join("swarm.key"), key)?;
        }
        kubo.launch()?;
        Ok(kubo)
    }

    fn launch(&mut self) -> Result<()> {
        let log = File::create(self.folder.path().join("daemon.log"))?;
        let mut command = self.command(&["daemon", "--enable-pubsub-experiment=false"]);
        command.stdout(log.try_clone()?).stderr(log).stdin(Stdio::null());
        self.daemon = Some(command.spawn().context("cannot start ipfs")?);
        eventually("Kubo becomes ready", PATIENCE, || {
            if let Some(status) = self.daemon.as_mut().and_then(|d| d.try_wait().transpose()).transpose()? {
                bail!("Kubo ended with {status}:\n{}", self.log());
            }
            Ok(self.log().contains("Daemon is ready").then_some(()))
        })
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("daemon.log")).unwrap_or_default()
    }

    /// `ipfs` on this node's repository, not started yet.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.env_clear().env("IPFS_PATH", self.folder.path()).env("HOME", self.folder.path());
        command.env("IPFS_TELEMETRY", "off").env("PATH", "/usr/bin:/bin").args(words);
        command
    }

    /// Runs a command that must succeed; its standard output.
    pub fn ipfs(&self, words: &[&str]) -> Result<String> {
        let output = self.command(words).stdin(Stdio::null()).output().context("cannot start ipfs")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(
            output.status.success(),
            "`ipfs {}`: {}\n{}",
            words.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(text)
    }

    /// Adds content and returns its CID.
    pub fn add(&self, content: &[u8]) -> Result<String> {
        let path = self.folder.path().join("input");
        File::create(&path)?.write_all(content)?;
        let path = path.to_str().context("a path that is not text")?;
        Ok(self.ipfs(&["add", "-Q", "--cid-version=1", path])?.trim().to_owned())
    }

    pub fn peer_id(&self) -> Result<String> {
        Ok(self.ipfs(&["config", "Identity.PeerID"])?.trim().to_owned())
    }

    /// Its addresses, each with its peer id.
    pub fn addresses(&self) -> Result<Vec<String>> {
        let listed = self.ipfs(&["id", "--format=<addrs>"])?;
        Ok(listed.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect())
    }

    /// Where its RPC is.
    pub fn api(&self) -> Result<SocketAddr> {
        let text = fs::read_to_string(self.folder.path().join("api"))?;
        // `/ip4/127.0.0.1/tcp/PORT`
        let port = text.trim().rsplit('/').next().context("no port")?.parse()?;
        Ok(SocketAddr::from(([127, 0, 0, 1], port)))
    }

    /// A kept connection to its RPC.
    pub fn rpc(&self) -> Result<Connection> {
        Connection::open(self.api()?)
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// `kill -9`.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.kill()?;
            daemon.wait()?;
        }
        Ok(())
    }
}

impl Drop for PrivateKubo {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}
