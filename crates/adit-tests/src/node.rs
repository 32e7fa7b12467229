//! One node: `adit daemon` in a repository of its own, on free ports of the loopback interface.

use crate::{
    http::Connection,
    process::{Finished, Programs, eventually},
};
use anyhow::{Context, Result, bail};
use std::{
    fs::{self, File},
    io::Write,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

/// How long a daemon may take to become ready, and to end when asked to.
const PATIENCE: Duration = Duration::from_secs(30);

/// Settings as `adit config set` takes them, handed over by the environment.
pub type Settings<'a> = &'a [(&'a str, &'a str)];

pub struct Node {
    programs: Programs,
    repository: PathBuf,
    settings: Vec<(String, String)>,
    daemon: Option<Child>,
    /// Kept for as long as the node: removes the repository.
    _folder: Option<tempfile::TempDir>,
}

impl Node {
    /// Makes a repository in a temporary folder and starts a daemon on it.
    pub fn start(programs: &Programs, settings: Settings<'_>) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("adit-test-").tempdir()?;
        let mut node = Self::start_in(programs, &folder.path().join("repo"), settings)?;
        node._folder = Some(folder);
        Ok(node)
    }

    /// The same in a folder that stays.
    pub fn start_in(programs: &Programs, repository: &Path, settings: Settings<'_>) -> Result<Self> {
        let standard = [
            ("network", "test"),
            ("swarm.listen", "/ip4/127.0.0.1/tcp/0"),
            ("swarm.mdns", "false"),
            ("api.listen", "127.0.0.1:0"),
            ("gateway.listen", "127.0.0.1:0"),
            ("host.accept", "anyone"),
        ];
        let given = settings.iter().map(|(key, value)| (key.to_string(), value.to_string()));
        let standard = standard.into_iter().filter(|(key, _)| settings.iter().all(|(given, _)| given != key));
        let settings = standard.map(|(key, value)| (key.to_owned(), value.to_owned())).chain(given).collect();
        let mut node = Node {
            programs: programs.clone(),
            repository: repository.to_owned(),
            settings,
            daemon: None,
            _folder: None,
        };
        if !repository.join("config.toml").exists() {
            node.adit(&["init"])?.expect(0)?;
        }
        node.launch()?;
        Ok(node)
    }

    /// Starts the daemon and waits until it is ready.
    pub fn launch(&mut self) -> Result<()> {
        let _ = fs::remove_file(self.repository.join("api.json"));
        let log = File::options().create(true).append(true).open(self.log_path())?;
        let mut command = self.command(&["daemon"]);
        command.stdout(Stdio::null()).stderr(log);
        self.daemon = Some(command.spawn().context("cannot start adit")?);
        eventually("the daemon becomes ready", PATIENCE, || {
            if let Some(status) =
                self.daemon.as_mut().and_then(|child| child.try_wait().transpose()).transpose()?
            {
                bail!("the daemon ended with {status}:\n{}", self.log());
            }
            let Ok(address) = self.api() else { return Ok(None) };
            let Ok(mut connection) = Connection::open(address) else { return Ok(None) };
            let ready = connection.get("/readyz").is_ok_and(|reply| reply.status == 200);
            Ok(ready.then_some(()))
        })
        .with_context(|| format!("log:\n{}", self.log()))
    }

    /// A command of this node's user, not started yet.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = self.programs.adit(&self.repository);
        for (key, value) in &self.settings {
            command.env(format!("ADIT_{}", key.to_ascii_uppercase().replace(['.', '-'], "_")), value);
        }
        command.args(words);
        command
    }

    /// Runs a command to its end.
    pub fn adit(&self, words: &[&str]) -> Result<Finished> {
        let mut command = self.command(words);
        let output = command.output().context("cannot start adit")?;
        Ok(Finished::of(&command, output))
    }

    /// Runs a command to its end, with this on its standard input.
    pub fn adit_with(&self, words: &[&str], input: &[u8]) -> Result<Finished> {
        let mut command = self.command(words);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context("cannot start adit")?;
        let mut pipe = child.stdin.take().context("no pipe")?;
        let input = input.to_vec();
        let writer = std::thread::spawn(move || {
            // A command may well end before it has read everything.
            let _ = pipe.write_all(&input);
        });
        let output = child.wait_with_output()?;
        let _ = writer.join();
        Ok(Finished::of(&command, output))
    }

    /// Runs a command that must succeed, and reads its `--json`.
    pub fn json(&self, words: &[&str]) -> Result<serde_json::Value> {
        let words = [&["--json"], words].concat();
        self.adit(&words)?.expect(0)?.json()
    }

    /// Adds a file or folder and returns its CID.
    pub fn add(&self, path: &Path) -> Result<String> {
        let path = path.to_str().context("a path that is not text")?;
        let added = self.json(&["add", path])?;
        added["cid"].as_str().map(str::to_owned).with_context(|| format!("no cid in {added}"))
    }

    /// The address of its API.
    pub fn api(&self) -> Result<SocketAddr> {
        let text = fs::read_to_string(self.repository.join("api.json"))?;
        let value: serde_json::Value = serde_json::from_str(&text)?;
        let address = value["address"].as_str().context("api.json names no address")?;
        let address = address.trim_start_matches("http://").trim_end_matches('/');
        address.parse().with_context(|| format!("api.json names {address}"))
    }

    /// The URL of its gateway.
    pub fn gateway(&self) -> Result<String> {
        let text = fs::read_to_string(self.repository.join("api.json"))?;
        let value: serde_json::Value = serde_json::from_str(&text)?;
        value["gateway"].as_str().map(str::to_owned).context("api.json names no gateway")
    }

    /// One of its counters; 0 where it does not exist.
    pub fn metric(&self, name: &str) -> Result<u64> {
        let reply = self.http()?.get("/metrics")?;
        let text = String::from_utf8(reply.body)?;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map_or(Ok(0), |value| Ok(value.trim().parse()?))
    }

    /// The token that its own user's commands use.
    pub fn token(&self) -> Result<String> {
        Ok(fs::read_to_string(self.repository.join("api.token"))?.trim().to_owned())
    }

    /// A kept connection to its API, with its token.
    pub fn http(&self) -> Result<Connection> {
        let mut connection = Connection::open(self.api()?)?;
        connection.bearer = Some(self.token()?);
        Ok(connection)
    }

    /// Its addresses, as another node's `swarm connect` or `swarm.bootstrap` takes them.
    pub fn addresses(&self) -> Result<Vec<String>> {
        let id = self.json(&["id"])?;
        let addresses = id["addresses"].as_array().context("`adit id` lists no addresses")?;
        Ok(addresses.iter().filter_map(|address| address.as_str().map(str::to_owned)).collect())
    }

    pub fn peer_id(&self) -> Result<String> {
        let id = self.json(&["id"])?;
        id["node"].as_str().map(str::to_owned).with_context(|| format!("no peer id in {id}"))
    }

    pub fn pid(&self) -> u32 {
        self.daemon.as_ref().map_or(0, Child::id)
    }

    pub fn repository(&self) -> &Path {
        &self.repository
    }

    fn log_path(&self) -> PathBuf {
        self.repository.with_extension("log")
    }

    /// What the daemon wrote so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// `kill -9`.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.kill()?;
            daemon.wait()?;
        }
        Ok(())
    }

    /// Asks it to end, as a service manager would, and waits.
    pub fn stop(&mut self) -> Result<()> {
        let Some(mut daemon) = self.daemon.take() else { return Ok(()) };
        // SAFETY: a signal to a child that has not been waited for, so the number is still its own.
        unsafe { libc::kill(daemon.id() as libc::pid_t, libc::SIGTERM) };
        let ended = eventually("the daemon ends when asked to", PATIENCE, || Ok(daemon.try_wait()?));
        if ended.is_err() {
            daemon.kill()?;
            daemon.wait()?;
        }
        let status = ended?;
        if !status.success() {
            bail!("the daemon ended with {status}:\n{}", self.log());
        }
        Ok(())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}
