//! Tools that were made for Kubo, on an Adit node: Kubo's own `ipfs --api`, and npm's kubo-rpc-client.

use crate::{noise, programs};
use adit_tests::{Connection, Kubo, Node, peer};
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The real `ipfs`, speaking to one Adit node.
pub(crate) struct Ipfs {
    program: PathBuf,
    /// A repository of its own, which no daemon uses: for what it computes by itself.
    home: tempfile::TempDir,
    remote: Vec<String>,
}

impl Ipfs {
    pub(crate) fn at(program: &Path, address: std::net::SocketAddr, token: Option<&str>) -> Result<Self> {
        let home = tempfile::Builder::new().prefix("adit-ipfs-").tempdir()?;
        let mut remote = vec![format!("--api=/ip4/{}/tcp/{}", address.ip(), address.port())];
        remote.extend(token.map(|token| format!("--api-auth=bearer:{token}")));
        let ipfs = Self { program: program.to_owned(), home, remote };
        let made = ipfs.command(&["init", "--profile=test"]).output()?;
        ensure!(made.status.success(), "ipfs init: {}", String::from_utf8_lossy(&made.stderr));
        Ok(ipfs)
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.env_clear().env("IPFS_PATH", self.home.path()).env("IPFS_TELEMETRY", "off");
        command.env("HOME", self.home.path()).env("PATH", "/usr/bin:/bin");
        command.args(words).stdin(Stdio::null());
        command
    }

    fn output(&self, words: &[&str]) -> Result<Output> {
        let remote = self.remote.iter().map(String::as_str);
        Ok(self.command(&remote.chain(words.iter().copied()).collect::<Vec<_>>()).output()?)
    }

    /// A command that must succeed, sent to the node.
    pub(crate) fn bytes(&self, words: &[&str]) -> Result<Vec<u8>> {
        let output = self.output(words)?;
        if !output.status.success() {
            bail!("`ipfs {}`: {}", words.join(" "), String::from_utf8_lossy(&output.stderr));
        }
        Ok(output.stdout)
    }

    pub(crate) fn line(&self, words: &[&str]) -> Result<String> {
        Ok(String::from_utf8(self.bytes(words)?)?.trim_end().to_owned())
    }

    /// What a command that must fail says.
    fn refused(&self, words: &[&str]) -> Result<String> {
        let output = self.output(words)?;
        ensure!(!output.status.success(), "`ipfs {}` succeeded", words.join(" "));
        Ok(String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// A command that `ipfs` does by itself, without any node.
    fn alone(&self, words: &[&str]) -> Result<String> {
        let output = self.command(words).output()?;
        ensure!(
            output.status.success(),
            "`ipfs {}`: {}",
            words.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}

/// A small tree with everything that has a way of its own: empty, small and large files, names that need escapes, a
/// symlink, an empty directory.
fn tree(folder: &Path) -> Result<PathBuf> {
    let top = folder.join("top dir+");
    fs::create_dir_all(top.join("sub/empty"))?;
    fs::write(top.join("empty"), "")?;
    fs::write(top.join("ä b+c&d=e%20.txt"), "small")?;
    fs::write(top.join("sub/large"), noise(700_000, 5))?;
    std::os::unix::fs::symlink("sub/large", top.join("link"))?;
    Ok(top)
}

#[test]
fn the_ipfs_command_adds_and_reads_and_gives_the_cids_it_would_give_by_itself() -> Result<()> {
    let Some(program) = peer("ADIT_KUBO")? else { return Ok(()) };
    let node = Node::start(&programs(), &[])?;
    let ipfs = Ipfs::at(&program, node.api()?, Some(&node.token()?))?;
    ensure!(ipfs.line(&["id", "-f=<id>"])? == node.peer_id()?);
    ensure!(!ipfs.line(&["version", "-n"])?.is_empty());

    let folder = tempfile::tempdir()?;
    let file = folder.path().join("file");
    let content = noise(3_000_000, 4);
    fs::write(&file, &content)?;
    let choices: [&[&str]; 6] = [
        &[],
        &["--cid-version=1"],
        &["--raw-leaves"],
        &["--cid-version=1", "--raw-leaves=false"],
        &["--chunker=size-65536"],
        &["--cid-version=1", "--chunker=size-1048576"],
    ];
    let tree = tree(folder.path())?;
    for options in choices {
        for path in [&file, &tree] {
            for wrap in [&[][..], &["-w"]] {
                let words = [&["add", "-r", "-Q"], options, wrap, &[text(path)]].concat();
                let expected = ipfs.alone(&[&words[..], &["--only-hash"]].concat())?;
                ensure!(ipfs.line(&words)? == expected, "{words:?}");
                ensure!(
                    ipfs.line(&[&words[..], &["--only-hash"]].concat())? == expected,
                    "{words:?}, hashed only"
                );
            }
        }
    }
    // All lines, not only the last.
    let lines = ipfs.line(&["add", "-r", text(&tree)])?;
    let mut expected: Vec<_> =
        ipfs.alone(&["add", "-r", "-n", text(&tree)])?.lines().map(str::to_owned).collect();
    let mut lines: Vec<_> = lines.lines().map(str::to_owned).collect();
    lines.sort();
    expected.sort();
    ensure!(lines == expected, "{lines:?} is not {expected:?}");

    let cid = ipfs.line(&["add", "-Q", text(&file)])?;
    ensure!(ipfs.bytes(&["cat", &cid])? == content);
    ensure!(ipfs.bytes(&["cat", "-o", "1000000", "-l", "17", &cid])? == content[1_000_000..1_000_017]);
    ensure!(node.adit(&["cat", &cid])?.expect(0)?.stdout == content, "Adit's own command reads it too");

    let root = ipfs.line(&["add", "-r", "-Q", text(&tree)])?;
    let listed = ipfs.line(&["ls", &root])?;
    let names: Vec<_> =
        listed.lines().filter_map(|line| line.splitn(3, ' ').nth(2)).map(str::trim_start).collect();
    ensure!(names == ["empty", "link", "sub/", "ä b+c&d=e%20.txt"], "{listed}");
    ensure!(listed.contains(" 700000 ") || ipfs.line(&["ls", &format!("{root}/sub")])?.contains("700000"));
    ensure!(ipfs.bytes(&["cat", &format!("/ipfs/{root}/sub/large")])? == noise(700_000, 5));
    for (options, word) in [
        (&["--chunker=rabin"][..], "chunker"),
        (&["--trickle"], "trickle"),
        (&["--hash=blake3", "--cid-version=1"], "hash"),
        (&["--inline"], "inline"),
    ] {
        let refused = ipfs.refused(&[&["add", "-Q"], options, &[text(&file)]].concat())?;
        ensure!(refused.contains(word), "{options:?}: {refused}");
    }
    ensure!(ipfs.refused(&["cat", &root])?.contains("directory"));
    ensure!(
        ipfs.refused(&["config", "show"]).is_ok_and(|said| !said.is_empty()),
        "no settings over this API"
    );
    Ok(())
}

#[test]
fn the_ipfs_command_works_with_blocks_dags_pins_and_the_repository() -> Result<()> {
    let Some(program) = peer("ADIT_KUBO")? else { return Ok(()) };
    let node = Node::start(&programs(), &[])?;
    let ipfs = Ipfs::at(&program, node.api()?, Some(&node.token()?))?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("block");
    fs::write(&file, "a block")?;
    let block = ipfs.line(&["block", "put", text(&file)])?;
    ensure!(ipfs.bytes(&["block", "get", &block])? == b"a block");
    ensure!(ipfs.line(&["block", "stat", &block])?.contains("Size: 7"));
    ensure!(ipfs.refused(&["block", "put", "--mhtype=sha3-224", text(&file)])?.contains("mhtype"));

    fs::write(&file, format!(r#"{{ "z": [1, {{"/": "{block}"}}], "a": "b" }}"#))?;
    let dag = ipfs.line(&["dag", "put", text(&file)])?;
    ensure!(dag == ipfs.alone(&["dag", "put", text(&file)])?, "the value's CID is Kubo's");
    ensure!(ipfs.line(&["dag", "get", &format!("{dag}/a")])? == "\"b\"");
    ensure!(ipfs.line(&["dag", "resolve", &format!("{dag}/z/1")])? == block);
    ensure!(ipfs.line(&["dag", "resolve", &format!("{dag}/z/0")])? == format!("{dag}/z/0"));
    let stat = ipfs.line(&["dag", "stat", "--progress=false", &dag])?;
    ensure!(stat.contains(&dag) && stat.contains("Unique Blocks: 2"), "{stat}");

    // A CAR goes out, and into another node; Kubo reads it as well.
    let car = folder.path().join("dag.car");
    fs::write(&car, ipfs.bytes(&["dag", "export", "-p=false", &dag])?)?;
    let other = Node::start(&programs(), &[])?;
    let remote = Ipfs::at(&program, other.api()?, Some(&other.token()?))?;
    let said = remote.line(&["dag", "import", "--stats", text(&car)])?;
    ensure!(said.contains(&dag) && said.contains("success") && said.contains("Imported 2 blocks"), "{said}");
    ensure!(ipfs.alone(&["dag", "import", text(&car)])?.contains("success"));
    ensure!(remote.line(&["pin", "ls", "--type=recursive", "-q"])? == dag);

    ensure!(remote.line(&["pin", "ls", "--type=indirect", "-q"])? == block);
    ensure!(remote.refused(&["block", "rm", &block])?.contains("pinned"));
    ensure!(remote.line(&["pin", "verify", "--verbose"])?.contains("ok"));
    ensure!(remote.line(&["pin", "rm", &dag])?.contains("unpinned"));
    ensure!(remote.refused(&["pin", "rm", &dag])?.contains("not pinned"));
    ensure!(remote.line(&["pin", "add", "--name=kept", &dag])?.contains("pinned"));
    ensure!(remote.line(&["pin", "ls", "--names", &dag])?.contains("kept"));
    ensure!(remote.line(&["pin", "update", &dag, &block])?.contains("updated"));
    ensure!(remote.line(&["pin", "ls", "--type=recursive", "-q"])? == block);
    remote.bytes(&["repo", "gc"])?;
    ensure!(remote.bytes(&["block", "get", &block])? == b"a block", "pinned blocks stay");
    ensure!(remote.line(&["refs", "local"])? == block, "the rest is gone");
    remote.bytes(&["pin", "rm", &block])?;
    ensure!(remote.line(&["block", "rm", &block])?.contains("removed"));
    ensure!(remote.line(&["repo", "stat"])?.contains("NumObjects: 0"));
    ensure!(remote.line(&["repo", "verify"])?.contains("verify complete"));

    // Two nodes, brought together by `ipfs`.
    let address = node.addresses()?.into_iter().next().context("an address")?;
    ensure!(remote.line(&["swarm", "connect", &address])?.contains("success"));
    ensure!(remote.line(&["swarm", "peers"])?.contains(&node.peer_id()?));
    ensure!(remote.bytes(&["cat", &block])? == b"a block", "fetched from the other node");
    ensure!(remote.line(&["refs", "-r", &dag])? == block);
    ensure!(remote.line(&["resolve", &format!("/ipfs/{dag}/z/1")])? == format!("/ipfs/{block}"));
    Ok(())
}

#[test]
fn without_a_token_only_a_port_that_the_operator_opened_answers() -> Result<()> {
    let Some(program) = peer("ADIT_KUBO")? else { return Ok(()) };
    let mut node = Node::start(&programs(), &[])?;
    let said = Ipfs::at(&program, node.api()?, None)?.refused(&["id"])?;
    ensure!(said.contains("token"), "{said}");
    let said = Ipfs::at(&program, node.api()?, Some("adit_wrong"))?.refused(&["id"])?;
    ensure!(said.contains("not known"), "{said}");
    // A token for reading reads, and does not write.
    let issued = node.http()?.post_json("/api/v1/tokens", br#"{"name": "tool", "scope": "read"}"#)?.json()?;
    let reader = Ipfs::at(&program, node.api()?, Some(issued["token"].as_str().context("a token")?))?;
    reader.bytes(&["id"])?;
    ensure!(reader.refused(&["repo", "gc"])?.contains("scope"));
    let mut http = Connection::open(node.api()?)?;
    ensure!(http.get("/api/v0/id")?.status == 405, "POST only");
    http.headers = vec!["Origin: http://evil.example".into()];
    ensure!(http.request("POST", "/api/v0/id", None, b"")?.status == 403, "no page may call");

    node.stop()?;
    let mut daemon = node.command(&["--json", "daemon", "--set", "rpc.listen=127.0.0.1:0"]);
    let mut child = daemon.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let opened = opened(&mut child);
    let result = opened.and_then(|address| {
        let ipfs = Ipfs::at(&program, address, None)?;
        ensure!(ipfs.line(&["id", "-f=<id>"])?.starts_with("12D3"));
        let mut http = Connection::open(address)?;
        http.headers = vec!["Origin: http://evil.example".into()];
        ensure!(http.request("POST", "/api/v0/id", None, b"")?.status == 403, "no page may call");
        ensure!(http.get("/api/v1/id")?.status != 200, "nothing but /api/v0 is open");
        Ok(())
    });
    let _ = child.kill();
    child.wait()?;
    result?;
    let refused = node.adit(&["daemon", "--set", "rpc.listen=0.0.0.0:4715"])?;
    ensure!(refused.code != 0 && refused.stderr.contains("other machines"), "{}", refused.stderr);
    Ok(())
}

/// The address that a starting daemon says is open.
fn opened(child: &mut std::process::Child) -> Result<std::net::SocketAddr> {
    use std::io::{BufRead, BufReader};
    let mut told = String::new();
    let mut reader = BufReader::new(child.stdout.take().context("no pipe")?);
    // Until the lines so far are one value.
    while reader.read_line(&mut told)? > 0 {
        if let Ok(up) = serde_json::from_str::<Value>(&told) {
            let url = up["rpc"].as_str().context("no address of the open port")?;
            return Ok(url.trim_start_matches("http://").parse()?);
        }
    }
    bail!("the daemon ended: {told}")
}

#[test]
fn the_ipfs_command_gets_trees_publishes_names_and_asks_the_network() -> Result<()> {
    let Some(program) = peer("ADIT_KUBO")? else { return Ok(()) };
    let node = Node::start(&programs(), &[])?;
    let other = Node::start(&programs(), &[("swarm.bootstrap", &node.addresses()?.join(","))])?;
    let at = |node: &Node| Ipfs::at(&program, node.api()?, Some(&node.token()?));
    let (ipfs, elsewhere) = (at(&node)?, at(&other)?);
    let folder = tempfile::tempdir()?;
    let tree = tree(folder.path())?;
    let cid = ipfs.line(&["add", "-r", "-Q", text(&tree)])?;

    let got = folder.path().join("got");
    elsewhere.bytes(&["get", "-o", text(&got), &cid])?;
    let differs = Command::new("diff").args(["-r", "--no-dereference"]).args([&tree, &got]).output()?;
    ensure!(differs.status.success(), "{}", String::from_utf8_lossy(&differs.stdout));

    let published = ipfs.line(&["name", "publish", &format!("/ipfs/{cid}")])?;
    let name = published.strip_prefix("Published to ").and_then(|rest| rest.split_once(':'));
    let name = name.with_context(|| published.clone())?.0;
    ensure!(elsewhere.line(&["name", "resolve", name])? == format!("/ipfs/{cid}"));
    let named = format!("/ipns/{name}");
    ensure!(elsewhere.line(&["resolve", &named])? == format!("/ipfs/{cid}"));
    ensure!(elsewhere.line(&["ls", &named])? == elsewhere.line(&["ls", &cid])?);
    ensure!(elsewhere.line(&["dag", "get", &named])? == elsewhere.line(&["dag", "get", &cid])?);

    ipfs.bytes(&["routing", "provide", &cid])?;
    let (me, my_addresses) = (node.peer_id()?, node.addresses()?);
    let found = elsewhere.line(&["routing", "findprovs", &cid])?;
    ensure!(found.lines().any(|line| line == me), "{found}");
    let address = my_addresses[0].split("/p2p/").next().unwrap_or_default().to_owned();
    let found = elsewhere.line(&["routing", "findpeer", &me])?;
    ensure!(found.contains(&address), "{found} lacks {address}");

    elsewhere.bytes(&["swarm", "disconnect", &format!("/p2p/{me}")])?;
    elsewhere.bytes(&["swarm", "connect", &my_addresses[0]])?;
    ensure!(elsewhere.line(&["swarm", "peers"])?.contains(&me));
    Ok(())
}

#[test]
fn kubo_rpc_client_from_npm_works_as_with_kubo() -> Result<()> {
    let Some(folder) = peer("ADIT_HELIA")? else { return Ok(()) };
    let node = Node::start(&programs(), &[])?;
    let output = Command::new(folder.join("node"))
        .arg(folder.join("rpc.mjs"))
        .args([format!("http://{}", node.api()?), node.token()?])
        .stdin(Stdio::null())
        .output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let added: Value = serde_json::from_slice(&output.stdout)?;
    let file = added["file"].as_str().context("a CID")?;
    ensure!(node.adit(&["cat", file])?.expect(0)?.stdout.len() == 700_000);
    Ok(())
}

/// `ipfs pin remote` of a real Kubo, with an Adit node as its pinning service.
#[test]
fn a_kubo_node_has_an_adit_node_keep_what_it_pins_remotely() -> Result<()> {
    let Some(program) = peer("ADIT_KUBO")? else { return Ok(()) };
    let mut service = Node::start(&programs(), &[])?;
    let holder = Node::start(&programs(), &[])?;
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("file"), noise(2_000_000, 9))?;
    let cid = holder.add(&folder.path().join("file"))?;
    // `ipfs pin remote` talks to the service itself, but wants a daemon for its own addresses: one that knows nobody.
    let kubo = Kubo::start(&program, &[], &[])?;
    let url = format!("http://{}/psa/v1", service.api()?);
    kubo.line(&["pin", "remote", "service", "add", "adit", &url, &service.token()?])?;
    ensure!(kubo.line(&["pin", "remote", "service", "ls", "--stat"])?.contains("adit"));
    service.adit(&["swarm", "connect", &holder.addresses()?[0]])?.expect(0)?;
    let said = kubo.line(&["pin", "remote", "add", "--service=adit", "--name=Photos", &cid])?;
    ensure!(said.contains("pinned") && said.contains(&cid), "{said}");
    holder_is_gone(holder)?;
    ensure!(service.adit(&["cat", &cid])?.expect(0)?.stdout == noise(2_000_000, 9));

    let list = |words: &[&str]| kubo.line(&[&["pin", "remote", "ls", "--service=adit"], words].concat());
    ensure!(list(&[])?.contains(&cid));
    ensure!(list(&["--name=Photos"])?.contains(&cid));
    ensure!(!list(&["--name=Other"])?.contains(&cid));
    ensure!(!list(&["--status=failed,queued"])?.contains(&cid));

    // What nobody has is queued in the background, and still there after a crash.
    let nowhere = "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy";
    kubo.line(&["pin", "remote", "add", "--service=adit", "--background", "--name=gone", nowhere])?;
    service.kill()?;
    service.launch()?;
    let moved = format!("http://{}/psa/v1", service.api()?);
    kubo.line(&["pin", "remote", "service", "rm", "adit"])?;
    kubo.line(&["pin", "remote", "service", "add", "adit", &moved, &service.token()?])?;
    ensure!(list(&["--status=queued,pinning,failed"])?.contains(nowhere), "acknowledged is never lost");
    ensure!(list(&[])?.contains(&cid));

    kubo.line(&["pin", "remote", "rm", "--service=adit", "--name=Photos"])?;
    ensure!(!list(&[])?.contains(&cid));
    service.adit(&["repo", "gc"])?.expect(0)?;
    let mut http = service.http()?;
    let stat = http.request("POST", "/api/v0/pin/ls?type=recursive", None, b"")?.json()?;
    ensure!(stat["Keys"].as_object().is_none_or(|keys| !keys.contains_key(&cid)), "{stat}");

    http.bearer = Some("wrong".into());
    ensure!(http.get("/psa/v1/pins")?.status == 401);
    http.bearer = Some(service.token()?);
    ensure!(http.get("/psa/v1/pins/nothing")?.status == 404);
    ensure!(http.get("/psa/v1/pins?limit=0")?.status == 400);
    let refused = http.post_json("/psa/v1/pins", br#"{"cid": "nonsense"}"#)?;
    ensure!(refused.status == 400 && refused.json()?["error"]["reason"] == "BAD_REQUEST");
    Ok(())
}

fn holder_is_gone(mut holder: Node) -> Result<()> {
    holder.stop()
}
