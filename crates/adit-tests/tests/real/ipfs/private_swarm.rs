//! A private swarm of Adit and Kubo nodes with one key, and who is kept out of it.

use crate::{noise, programs};
use adit_tests::{Node, PrivateKubo};
use anyhow::{Context, Result, ensure};
use std::{fs, process::Stdio};

fn key(digit: char) -> String {
    format!("/key/swarm/psk/1.0.0/\n/base16/\n{}\n", digit.to_string().repeat(64))
}

/// The address that contains `transport`.
fn address(all: &[String], transport: &str) -> Result<String> {
    let fits = |a: &&String| a.contains(transport) && (transport == "/ws" || !a.contains("/ws"));
    all.iter().find(fits).cloned().with_context(|| format!("no {transport} among {all:?}"))
}

#[test]
fn adit_and_kubo_share_a_private_swarm_and_others_stay_outside() -> Result<()> {
    if !PrivateKubo::is_here()? {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("swarm.key");
    fs::write(&file, key('5'))?;
    let file = file.to_str().context("text")?;
    let listen = "/ip4/127.0.0.1/tcp/0,/ip4/127.0.0.1/tcp/0/ws";
    let adit = Node::start(
        &programs(),
        &[("swarm.key-file", file), ("swarm.dht", "lan"), ("swarm.listen", listen)],
    )?;
    let kubo = PrivateKubo::start(&[], Some(&key('5')))?;

    // Kubo dials, by TCP and by WebSocket, and bytes cross both ways.
    for transport in ["/tcp/", "/ws"] {
        let at = address(&adit.addresses()?, transport)?;
        kubo.ipfs(&["swarm", "connect", &at])?;
        let content = noise(1_000_000, transport.len() as u64);
        let path = adit.repository().with_extension("input");
        fs::write(&path, &content)?;
        let cid = adit.add(&path)?;
        let fetched = kubo.folder().join(cid.clone());
        kubo.ipfs(&["get", "-o", fetched.to_str().context("text")?, &cid])?;
        ensure!(fs::read(fetched)? == content, "to Kubo by {transport}");
        let content = noise(1_000_000, 10 + transport.len() as u64);
        let cid = kubo.add(&content)?;
        ensure!(adit.adit(&["cat", &cid])?.expect(0)?.stdout == content, "from Kubo by {transport}");
        kubo.ipfs(&["swarm", "disconnect", &at])?;
    }

    // Adit dials.
    let second = Node::start(&programs(), &[("swarm.key-file", file), ("swarm.dht", "lan")])?;
    second.adit(&["swarm", "connect", &address(&kubo.addresses()?, "/tcp/")?])?.expect(0)?;

    // Without the key, or with another: neither program gets in, nor is one inside led out.
    let open = Node::start(&programs(), &[("swarm.dht", "lan")])?;
    let foreign = PrivateKubo::start(&[], Some(&key('6')))?;
    let plain = PrivateKubo::start(&[], None)?;
    let inside = address(&adit.addresses()?, "/tcp/")?;
    ensure!(open.adit(&["swarm", "connect", &inside])?.code != 0);
    for outsider in [&foreign, &plain] {
        ensure!(!outsider.command(&["swarm", "connect", &inside]).stderr(Stdio::null()).status()?.success());
        let at = address(&outsider.addresses()?, "/tcp/")?;
        ensure!(adit.adit(&["swarm", "connect", &at])?.code != 0);
    }
    ensure!(!adit.log().contains(&"5".repeat(64)), "the key is nobody's business");
    Ok(())
}

#[test]
fn quic_and_bad_keys_are_refused_at_the_start_in_words() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (good, bad) = (folder.path().join("good"), folder.path().join("bad"));
    fs::write(&good, key('5'))?;
    fs::write(&bad, "/key/swarm/psk/1.0.0/\n/base16/\nnot hexadecimal\n")?;
    let quic = "/ip4/127.0.0.1/udp/0/quic-v1";
    let tcp = "/ip4/127.0.0.1/tcp/0";
    for (file, listen, words) in [
        (&good, quic, "QUIC has no place for it"),
        (&bad, tcp, "it is not a swarm key"),
        (&folder.path().join("missing"), tcp, "swarm.key-file"),
    ] {
        let file = file.to_str().context("text")?;
        let Err(error) = Node::start(&programs(), &[("swarm.key-file", file), ("swarm.listen", listen)])
        else {
            anyhow::bail!("a daemon started with {file} and {listen}");
        };
        let said = format!("{error:#}");
        ensure!(said.contains(words) && !said.contains("not hexadecimal"), "{said}");
    }
    Ok(())
}
