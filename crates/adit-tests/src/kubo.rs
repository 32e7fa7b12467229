//! A private Kubo node: a repository in a temporary folder, loopback alone, no bootstrap, no router.

use crate::process::eventually;
use anyhow::{Context, Result, bail};
use std::{
    fs::{self, File},
    io::Write,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

/// How long a daemon may take to become ready.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Kubo {
    program: PathBuf,
    folder: tempfile::TempDir,
    daemon: Option<Child>,
}

/// The peer program that this variable names. None, said aloud, where it can't be had; an error where `CI` is set.
pub fn peer(variable: &str) -> Result<Option<PathBuf>> {
    if let Some(path) = std::env::var_os(variable) {
        return Ok(Some(path.into()));
    }
    if std::env::var_os("CI").is_some() {
        bail!("{variable} is not set: run the tests with `cargo xtask test`, which installs the peers");
    }
    let thread = std::thread::current();
    // Past the test runner, which keeps to itself what a passing test prints.
    let _ = writeln!(std::io::stderr(), "SKIPPED {}: {variable} is not set", thread.name().unwrap_or(""));
    Ok(None)
}

impl Kubo {
    /// Makes a repository with these profiles (beside `test`) and JSON settings, and starts no daemon.
    pub fn init(program: &Path, profiles: &[&str], settings: &[(&str, &str)]) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("adit-kubo-").tempdir()?;
        let kubo = Kubo { program: program.to_owned(), folder, daemon: None };
        let profiles = [&["test"], profiles].concat().join(",");
        kubo.ipfs(&["init", &format!("--profile={profiles}")])?;
        let private = [
            ("Addresses.Swarm", r#"["/ip4/127.0.0.1/tcp/0","/ip4/127.0.0.1/udp/0/quic-v1"]"#),
            ("Routing.Type", r#""none""#),
            ("Provide.Enabled", "false"),
        ];
        for (key, value) in private.iter().chain(settings) {
            kubo.ipfs(&["config", "--json", key, value])?;
        }
        Ok(kubo)
    }

    /// The same, with a daemon that is ready.
    pub fn start(program: &Path, profiles: &[&str], settings: &[(&str, &str)]) -> Result<Self> {
        let mut kubo = Self::init(program, profiles, settings)?;
        kubo.launch()?;
        Ok(kubo)
    }

    /// Starts the daemon and waits until it is ready.
    pub fn launch(&mut self) -> Result<()> {
        let _ = fs::remove_file(self.folder.path().join("api"));
        let log = File::options().create(true).append(true).open(self.folder.path().join("daemon.log"))?;
        let mut command = self.command(&["daemon"]);
        command.stdout(log.try_clone()?).stderr(log);
        self.daemon = Some(command.spawn().context("cannot start ipfs")?);
        eventually("Kubo becomes ready", PATIENCE, || {
            let ended = self.daemon.as_mut().and_then(|child| child.try_wait().transpose()).transpose()?;
            if let Some(status) = ended {
                bail!("Kubo ended with {status}");
            }
            Ok(self.log().contains("Daemon is ready").then_some(()))
        })
        .with_context(|| format!("log:\n{}", self.log()))
    }

    /// A command of this node's user, not started yet.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        // Its telemetry would otherwise talk to a public host.
        command.env_clear().env("IPFS_PATH", self.folder.path()).env("IPFS_TELEMETRY", "off");
        command.env("HOME", self.folder.path()).env("PATH", "/usr/bin:/bin");
        command.args(words).stdin(Stdio::null());
        command
    }

    /// Runs a command that must succeed, and returns what it printed.
    pub fn ipfs(&self, words: &[&str]) -> Result<Vec<u8>> {
        let output = self.command(words).output().context("cannot start ipfs")?;
        if !output.status.success() {
            let error = String::from_utf8_lossy(&output.stderr);
            bail!("`ipfs {}` ended with {}: {error}\nlog:\n{}", words.join(" "), output.status, self.log());
        }
        Ok(output.stdout)
    }

    /// The same, as the text of one line.
    pub fn line(&self, words: &[&str]) -> Result<String> {
        Ok(String::from_utf8(self.ipfs(words)?)?.trim_end().to_owned())
    }

    /// Adds a file or folder with these options and returns its CID.
    pub fn add(&self, path: &Path, options: &[&str]) -> Result<String> {
        let path = path.to_str().context("a path that is not text")?;
        self.line(&[&["add", "--quieter", "--recursive"], options, &[path]].concat())
    }

    /// Its addresses with its peer id.
    pub fn addresses(&self) -> Result<Vec<String>> {
        let id: serde_json::Value = serde_json::from_slice(&self.ipfs(&["id"])?)?;
        let addresses = id["Addresses"].as_array().context("`ipfs id` lists no addresses")?;
        Ok(addresses.iter().filter_map(|address| address.as_str().map(str::to_owned)).collect())
    }

    pub fn peer_id(&self) -> Result<String> {
        self.line(&["id", "--format=<id>"])
    }

    /// The address of its RPC, as its daemon wrote it down.
    pub fn api(&self) -> Result<SocketAddr> {
        let text = fs::read_to_string(self.folder.path().join("api"))?;
        let parts: Vec<_> = text.trim().split('/').collect();
        let ["", "ip4", host, "tcp", port] = parts[..] else { bail!("Kubo's RPC is at {text}") };
        Ok(format!("{host}:{port}").parse()?)
    }

    /// The URL of its gateway, as its daemon says at its start.
    pub fn gateway(&self) -> Result<String> {
        let log = self.log();
        let lines = log.lines().rev();
        let address = lines.filter_map(|line| line.split_once("Gateway server listening on ")).next();
        let address = address.with_context(|| format!("no gateway in Kubo's log:\n{log}"))?.1.trim();
        let parts: Vec<_> = address.split('/').collect();
        let ["", "ip4", host, "tcp", port] = parts[..] else { bail!("Kubo's gateway is at {address}") };
        Ok(format!("http://{host}:{port}"))
    }

    pub fn pid(&self) -> u32 {
        self.daemon.as_ref().map_or(0, Child::id)
    }

    pub fn repository(&self) -> &Path {
        self.folder.path()
    }

    /// What the daemon wrote so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("daemon.log")).unwrap_or_default()
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

impl Drop for Kubo {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}
