//! Two nodes behind two NATs, and one in the open: separate network namespaces, joined by a bridge, with real masquerading.

use crate::{noise, programs};
use adit_tests::eventually;
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

const PATIENCE: Duration = Duration::from_secs(90);

/// A network namespace, for as long as the process that holds it lives.
struct Namespace(Child);

impl Namespace {
    fn new() -> Result<Self> {
        let mut child = Command::new("unshare")
            .args(["--net", "sh", "-c", "echo ready; exec sleep 600"])
            .stdout(Stdio::piped())
            .spawn()?;
        let mut said = [0; 6];
        std::io::Read::read_exact(&mut child.stdout.take().context("a pipe")?, &mut said)?;
        Ok(Namespace(child))
    }

    fn pid(&self) -> String {
        self.0.id().to_string()
    }

    /// Runs a script within.
    fn run(&self, script: &str) -> Result<()> {
        let words = ["-t", &self.pid(), "-n", "sh", "-ec", script];
        let output = Command::new("nsenter").args(words).output()?;
        ensure!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A daemon within a namespace. Its API answers there only, so every command goes there too.
struct Node {
    folder: tempfile::TempDir,
    namespace: String,
    settings: Vec<(String, String)>,
    daemon: Option<Child>,
}

impl Node {
    fn start(namespace: &Namespace, settings: &[(&str, &str)]) -> Result<Self> {
        let settings = settings.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
        let folder = tempfile::Builder::new().prefix("adit-nat-").tempdir()?;
        let mut node = Node { folder, namespace: namespace.pid(), settings, daemon: None };
        node.adit(&["init"])?;
        let log = File::create(node.path("log"))?;
        node.daemon = Some(node.command(&["daemon"]).stdout(Stdio::null()).stderr(log).spawn()?);
        eventually("the daemon answers", PATIENCE, || Ok(node.adit(&["--json", "id"]).ok()))
            .with_context(|| node.log())?;
        Ok(node)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    fn command(&self, words: &[&str]) -> Command {
        let plain = programs().adit(&self.path("repo"));
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.namespace, "-n"]).arg(plain.get_program()).args(words).env_clear();
        for (key, value) in plain.get_envs() {
            command.env(key, value.unwrap_or_default());
        }
        let standard = [("network", "test"), ("swarm.mdns", "false"), ("api.listen", "127.0.0.1:4713")];
        let given = self.settings.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        for (key, value) in standard.into_iter().chain(given) {
            command.env(format!("ADIT_{}", key.to_ascii_uppercase().replace(['.', '-'], "_")), value);
        }
        command.env("ADIT_LOG", "info,adit_net=debug").stdin(Stdio::null());
        command
    }

    fn adit(&self, words: &[&str]) -> Result<Vec<u8>> {
        let output = self.command(words).output()?;
        if !output.status.success() {
            bail!("{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(output.stdout)
    }

    fn json(&self, words: &[&str]) -> Result<Value> {
        Ok(serde_json::from_slice(&self.adit(&[&["--json"], words].concat())?)?)
    }

    fn peer_id(&self) -> Result<String> {
        Ok(self.json(&["id"])?["node"].as_str().context("a node")?.to_owned())
    }

    /// What `adit doctor` says of reachability: the verdict and the advice. Some other check may well fail.
    fn doctor(&self) -> Result<(String, String)> {
        let output = self.command(&["--json", "doctor"]).output()?;
        let checks: Value = serde_json::from_slice(&output.stdout)?;
        let check = checks.as_array().context("checks")?.iter().find(|c| c["name"] == "reachability");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let check = check.context("no such check")?;
        Ok((text(&check["verdict"]), format!("{} {}", text(&check["found"]), text(&check["advice"]))))
    }

    /// How it is connected with a peer.
    fn transports(&self, peer: &str) -> Result<Vec<String>> {
        let peers = self.json(&["swarm", "peers"])?;
        let found = peers.as_array().context("peers")?.iter().find(|p| p["peer"] == peer).cloned();
        let all = found.map(|p| p["transports"].clone()).unwrap_or_default();
        Ok(all.as_array().into_iter().flatten().filter_map(|t| t.as_str().map(str::to_owned)).collect())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(daemon) = &mut self.daemon {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}

/// A router whose outer address is `outer`, and a host behind it, which sees nothing of the world but by the router's
/// masquerading. What comes from outside without having been asked for is dropped, as home routers do.
fn behind_nat(open: &Namespace, number: u8, outer: &str) -> Result<(Namespace, Namespace)> {
    let (router, host) = (Namespace::new()?, Namespace::new()?);
    let inner = format!("10.{number}.0");
    open.run(&format!(
        "ip link add out{number} type veth peer name wan netns {0}; ip link set out{number} master internet up",
        router.pid()
    ))?;
    router.run(&format!(
        "ip link set lo up; ip addr add {outer}/24 dev wan; ip link set wan up;
         ip link add lan type veth peer name eth netns {}; ip addr add {inner}.1/24 dev lan; ip link set lan up;
         echo 1 > /proc/sys/net/ipv4/ip_forward;
         nft 'add table ip nat; add chain ip nat post {{ type nat hook postrouting priority 100; }};
              add rule ip nat post oifname \"wan\" masquerade;
              add table ip filter;
              add chain ip filter inward {{ type filter hook input priority 0; policy accept; }};
              add rule ip filter inward iifname \"wan\" ct state new drop;
              add chain ip filter through {{ type filter hook forward priority 0; policy accept; }};
              add rule ip filter through iifname \"wan\" ct state new drop'",
        host.pid()
    ))?;
    host.run(&format!(
        "ip link set lo up; ip addr add {inner}.2/24 dev eth; ip link set eth up; ip route add default via {inner}.1"
    ))?;
    Ok((router, host))
}

fn write(path: &Path, content: &[u8]) -> Result<()> {
    Ok(File::create(path)?.write_all(content)?)
}

/// Why this cannot run here, if so.
fn missing() -> Option<String> {
    let all = "ip link add va type veth peer name vb && ip link add bb type bridge && nft list ruleset";
    match Command::new("unshare").args(["--net", "sh", "-ec", all]).output() {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Some(error.to_string()),
    }
}

#[test]
#[ignore = "soak: in network namespaces, as root, with nft"]
fn soak_two_nodes_behind_two_nats_meet_by_a_relay_and_then_directly() -> Result<()> {
    if let Some(why) = missing() {
        ensure!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "no namespaces with NAT: {why}");
        writeln!(std::io::stderr(), "SKIPPED, no namespaces with NAT: {why}")?;
        return Ok(());
    }
    let open = Namespace::new()?;
    open.run(
        "ip link set lo up; ip link add internet type bridge; ip addr add 45.0.0.1/24 dev internet;
         ip link set internet up",
    )?;
    let (_router1, host1) = behind_nat(&open, 1, "45.0.0.11")?;
    let (_router2, host2) = behind_nat(&open, 2, "45.0.0.12")?;

    let listen = "/ip4/45.0.0.1/tcp/4711,/ip4/45.0.0.1/udp/4711/quic-v1";
    let relay = Node::start(
        &open,
        &[("swarm.listen", listen), ("swarm.external", listen), ("swarm.relay-server", "true")],
    )?;
    let relay_id = relay.peer_id()?;
    let contact = format!("/ip4/45.0.0.1/tcp/4711/p2p/{relay_id}");
    let (verdict, found) = relay.doctor()?;
    ensure!(verdict == "ok" && found.contains("/ip4/45.0.0.1/tcp/4711"), "{verdict}: {found}");

    let hidden = |host: &Namespace| {
        let settings = [
            ("swarm.listen", "/ip4/0.0.0.0/tcp/4711,/ip4/0.0.0.0/udp/4711/quic-v1"),
            ("swarm.bootstrap", &contact),
            ("swarm.relay-after", "5s"),
        ];
        Node::start(host, &settings)
    };
    let (first, second) = (hidden(&host1)?, hidden(&host2)?);
    let (first_id, second_id) = (first.peer_id()?, second.peer_id()?);

    // Neither can be dialled; each knows it, asks the relay by itself, and its doctor says what to do.
    for node in [&first, &second] {
        eventually("a reservation", PATIENCE, || {
            let (verdict, found) = node.doctor()?;
            ensure!(verdict == "warn", "nobody can dial it: {found}");
            Ok((found.contains("p2p-circuit") && found.contains("port 4711")).then_some(()))
        })
        .with_context(|| node.log())?;
    }

    // Found in the DHT by content alone, fetched from behind one NAT to behind the other.
    let content = noise(5_000_000, 7);
    write(&first.path("input"), &content)?;
    let added = first.json(&["add", first.path("input").to_str().context("text")?])?;
    let cid = added["cid"].as_str().context("a cid")?.to_owned();
    eventually("the other one finds the provider", PATIENCE, || {
        let found = second.json(&["routing", "findprovs", &cid]).unwrap_or_default();
        let named = found.as_array().is_some_and(|all| all.iter().any(|p| p["peer"] == first_id.as_str()));
        Ok(named.then_some(()))
    })
    .with_context(|| second.log())?;
    let fetched = second.adit(&["cat", &cid])?;
    ensure!(fetched == content, "{} bytes", fetched.len());

    // Five megabytes don't fit through the relay: the way is a direct one, which both ends know.
    for (node, other) in [(&first, &second_id), (&second, &first_id)] {
        eventually("a direct connection", PATIENCE, || {
            let by = node.transports(other)?;
            Ok(by.iter().any(|t| t == "tcp" || t == "quic").then_some(()))
        })
        .with_context(|| node.log())?;
    }
    // And it outlives the relay.
    drop(relay);
    let more = noise(1_000_000, 8);
    write(&second.path("input"), &more)?;
    let added = second.json(&["add", second.path("input").to_str().context("text")?])?;
    ensure!(first.adit(&["cat", added["cid"].as_str().context("a cid")?])? == more);
    Ok(())
}
