//! Fetching from gateways over HTTP: Kubo's, another node's, a liar's; alone, beside peers, and as the node's own store.

use super::{adit_cat, assert_same, kubo, over};
use crate::{guest, noise, programs};
use adit_tests::{Kubo, Node, eventually};
use anyhow::{Context, Result};
use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    process::Stdio,
    time::Duration,
};

/// A Kubo whose gateway answers from what it holds.
fn server(program: &std::path::Path) -> Result<Kubo> {
    let settings = [("Addresses.Gateway", r#""/ip4/127.0.0.1/tcp/0""#), ("Gateway.NoFetch", "true")];
    Kubo::start(program, &[], &settings)
}

/// A node that knows this gateway.
fn reader(gateway: &str) -> Result<Node> {
    Node::start(&programs(), &[("retrieval.gateways", gateway)])
}

fn from(node: &Node, what: &str, gateway: &str) -> Result<u64> {
    node.metric(&format!("adit_retrieval_{what}_total{{gateway=\"{gateway}\"}}"))
}

#[test]
fn kubos_gateway_alone_gives_a_file() -> Result<()> {
    let Some(program) = kubo()? else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("file");
    let content = noise(20_000_000, 51);
    fs::write(&path, &content)?;
    let server = server(&program)?;
    let cid = server.add(&path, &["--cid-version=1", "--raw-leaves"])?;
    let gateway = server.gateway()?;
    let node = reader(&gateway)?;
    assert_same(&adit_cat(&node, &cid, 60)?, &content, "from Kubo's gateway");
    assert_eq!(node.json(&["swarm", "peers"])?.as_array().context("a list")?.len(), 0, "no bitswap");
    let bytes = from(&node, "bytes", &gateway)?;
    let most = content.len() as u64 * 102 / 100;
    assert!((content.len() as u64..most).contains(&bytes), "{bytes} bytes: each block came once");

    // The operator may well call it localhost, where Kubo sends browsers on to subdomains.
    let node = reader(&gateway.replace("127.0.0.1", "localhost"))?;
    assert_same(&adit_cat(&node, &cid, 60)?, &content, "from localhost");

    let absent = "bafkreifzjut3te7nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e";
    let failed = node.adit(&["cat", absent])?;
    assert!(failed.code != 0 && failed.stderr.contains("not found"), "{failed:?}");
    Ok(())
}

#[test]
fn another_nodes_gateway_gives_a_tree() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let tree = folder.path().join("tree");
    fs::create_dir_all(tree.join("deep/er"))?;
    for (name, size, seed) in
        [("a", 3_000_000, 1), ("deep/b", 10, 2), ("deep/er/c", 300_000, 3), ("deep/d", 0, 4)]
    {
        fs::write(tree.join(name), noise(size, seed))?;
    }
    let holder = Node::start(&programs(), &[("gateway.fetch", "false")])?;
    let cid = holder.add(&tree)?;
    let node = reader(&holder.gateway()?)?;
    let out = folder.path().join("out");
    node.adit(&["get", &cid, "-o", out.to_str().context("text")?])?.expect(0)?;
    super::assert_same_tree(&out, &tree)
}

/// A peer and a gateway serve the same transfer; one dies, then the other has to do.
#[test]
fn a_gateway_and_a_peer_share_a_transfer_and_one_dies_midway() -> Result<()> {
    const CHUNK: u64 = 262_144;
    let Some(program) = kubo()? else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("file");
    let content = noise(80_000_000, 52);
    fs::write(&path, &content)?;
    for gateway_dies in [true, false] {
        let options = ["--cid-version=1", "--raw-leaves", "--chunker=size-262144"];
        let (mut http, mut peer) = (server(&program)?, Kubo::start(&program, &[], &[])?);
        let cid = http.add(&path, &options)?;
        assert_eq!(peer.add(&path, &options)?, cid);
        let gateway = http.gateway()?;
        let node = reader(&gateway)?;
        node.adit(&["swarm", "connect", &over(&peer.addresses()?, "tcp")?])?.expect(0)?;
        let mut cat = node.command(&["cat", &cid]);
        let mut child = cat.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let mut stdout = child.stdout.take().context("a pipe")?;
        // What is not read is not fetched much further. So it is read by pieces, until the peer, which has to be asked
        // before it says what it has, takes part too.
        let by_peer = || node.json(&["swarm", "peers"])?[0]["bytes_in"].as_u64().context("bytes_in");
        let mut fetched = Vec::new();
        while fetched.len() < content.len() / 2 && (fetched.is_empty() || by_peer()? <= CHUNK) {
            let more = fetched.len() + 2_000_000;
            fetched.resize(more, 0);
            stdout.read_exact(&mut fetched[more - 2_000_000..])?;
        }
        let (by_http, all) = (from(&node, "bytes", &gateway)?, fetched.len() as u64);
        // How they share is their speed's business, and changes with what else the machine does.
        assert!(by_http > CHUNK, "the gateway is used: {by_http}");
        let by_peer = by_peer()?;
        assert!(by_peer > CHUNK, "the peer is used: {by_peer}");
        // What was read ahead counts too.
        assert!(by_http + by_peer < all * 5 / 4 + (32 << 20), "{by_http} + {by_peer} for {all}");
        let dying = if gateway_dies { &mut http } else { &mut peer };
        dying.kill()?;
        let rest = std::thread::spawn(move || stdout.read_to_end(&mut fetched).map(|_| fetched));
        eventually("the transfer ends", Duration::from_secs(60), || Ok(rest.is_finished().then_some(())))?;
        let output = child.wait_with_output()?;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_same(&rest.join().expect("no panic")?, &content, "from a gateway and a peer");
    }
    Ok(())
}

/// Answers every request with bytes of its own making.
fn liar() -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}", listener.local_addr()?);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let mut lines = BufReader::new(&stream).lines();
                while let Some(Ok(line)) = lines.next() {
                    if line.is_empty() {
                        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nbelieveme";
                        if (&stream).write_all(answer).is_err() {
                            return;
                        }
                    }
                }
            });
        }
    });
    Ok(url)
}

#[test]
fn a_lying_gateway_beside_an_honest_peer_is_named_and_left_alone() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("file");
    let content = noise(20_000_000, 53);
    fs::write(&path, &content)?;
    let honest = Node::start(&programs(), &[])?;
    let cid = honest.add(&path)?;
    let liar = liar()?;
    let node = reader(&liar)?;
    node.adit(&["swarm", "connect", &over(&honest.addresses()?, "tcp")?])?.expect(0)?;
    assert_same(&adit_cat(&node, &cid, 60)?, &content, "beside a liar");
    let (lies, bytes) = (from(&node, "lies", &liar)?, from(&node, "bytes", &liar)?);
    // As many as it was asked for at once before the first answer.
    assert!((1..=8).contains(&lies) && bytes == 0, "{lies} lies, {bytes} bytes");
    assert!(node.log().contains(&liar), "the log names it:\n{}", node.log());
    Ok(())
}

/// What an operator's gateway holds is what the node has: placement, jobs and peers see no difference, and there is no
/// second copy.
#[test]
fn a_gateway_below_the_node_gives_jobs_their_data() -> Result<()> {
    let Some(program) = kubo()? else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("file");
    let content = noise(20_000_000, 54);
    fs::write(&path, &content)?;
    let mut server = server(&program)?;
    let cid = server.add(&path, &["--cid-version=1", "--raw-leaves"])?;
    let below = format!("gateway={}", server.gateway()?);
    let host = Node::start(&programs(), &[("ipfs.backend", &below)])?;
    let other = Node::start(&programs(), &[("swarm.bootstrap", &host.addresses()?.join(","))])?;
    eventually("they know each other", Duration::from_secs(30), || {
        let known = other.json(&["node", "ls"])?;
        Ok(known.as_array().is_some_and(|nodes| !nodes.is_empty()).then_some(()))
    })?;
    let reply = other.json(&["run", &guest("lines"), "--in", &format!("/in/data={cid}")])?;
    assert_eq!(reply["job"]["host"], host.peer_id()?.as_str(), "{reply}");
    let stats = &reply["job"]["stats"];
    assert!(stats["bytes_read"].as_u64() >= Some(20_000_000), "{stats}");
    assert!(stats["bytes_moved"].as_u64() < Some(1_000_000), "{stats}");
    let used = host.json(&["repo", "stat"])?["used"].as_u64().context("used")?;
    assert!(used < 4_000_000, "no second copy: {used}");

    // Peers get it here, too.
    assert_same(&adit_cat(&other, &cid, 60)?, &content, "through the node over the gateway");

    // What is added or pinned lies on the node's own disk, and survives the gateway.
    let own = folder.path().join("own");
    fs::write(&own, noise(1_000_000, 55))?;
    let added = host.add(&own)?;
    fs::write(&own, noise(1_000_000, 56))?;
    let pinned = server.add(&own, &["--cid-version=1", "--raw-leaves"])?;
    host.adit(&["pin", "add", &pinned])?.expect(0)?;
    server.kill()?;
    assert_same(&adit_cat(&host, &added, 60)?, &noise(1_000_000, 55), "its own");
    assert_same(&adit_cat(&host, &pinned, 60)?, &noise(1_000_000, 56), "what it pinned");
    // And what was the gateway's comes from whoever has it.
    assert_same(&adit_cat(&host, &cid, 60)?, &content, "from a peer, the gateway being gone");
    Ok(())
}
