//! An Adit node beside a Kubo, which keeps the content: `ipfs.backend = kubo=URL`.

use super::{kubo, kubo_cat};
use crate::{noise, programs, rpc::Ipfs};
use adit_tests::{Kubo, Node, eventually, on_a_small_disk};
use anyhow::{Context, Result, ensure};
use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// A node that sits beside whatever answers there.
fn beside(rpc: SocketAddr, patience: &str) -> Result<Node> {
    let backend = format!("kubo=http://{rpc}");
    Node::start(
        &programs(),
        &[("swarm.listen", "/ip4/127.0.0.1/tcp/0"), ("ipfs.backend", &backend), ("ipfs.patience", patience)],
    )
}

fn file(folder: &Path, length: usize, seed: u64) -> Result<std::path::PathBuf> {
    let path = folder.join(format!("file-{seed}"));
    fs::write(&path, noise(length, seed))?;
    Ok(path)
}

fn pinned(kubo: &Kubo) -> Result<String> {
    kubo.line(&["pin", "ls", "--type=recursive", "--quiet"])
}

#[test]
fn what_is_added_lives_in_kubo_and_pins_are_one() -> Result<()> {
    let Some(program) = kubo()? else { return Ok(()) };
    let kubo = Kubo::start(&program, &[], &[])?;
    let node = beside(kubo.api()?, "20s")?;
    let folder = tempfile::tempdir()?;

    let cid = node.add(&file(folder.path(), 5_000_000, 1)?)?;
    ensure!(pinned(&kubo)?.contains(&cid), "{}", pinned(&kubo)?);
    ensure!(kubo_cat(&kubo, &cid, 30)? == noise(5_000_000, 1));

    // The copy here was only on its way: it goes, and Kubo's is what is read.
    node.adit(&["repo", "gc"])?.expect(0)?;
    let stat = node.json(&["repo", "stat"])?;
    ensure!(stat["blocks"] == 0, "{stat}");
    ensure!(stat["backend"]["blocks"].as_u64() > Some(4), "{stat}");
    ensure!(node.adit(&["cat", &cid])?.expect(0)?.stdout == noise(5_000_000, 1));
    ensure!(kubo_cat(&kubo, &cid, 30)? == noise(5_000_000, 1));

    // Pins of either side are the same pins.
    let theirs = kubo.add(&file(folder.path(), 300_000, 2)?, &["--cid-version=1"])?;
    ensure!(node.json(&["pin", "ls"])?.to_string().contains(&theirs));
    node.adit(&["pin", "rm", &theirs])?.expect(0)?;
    ensure!(!pinned(&kubo)?.contains(&theirs));
    kubo.ipfs(&["pin", "rm", &cid])?;
    ensure!(!node.json(&["pin", "ls"])?.to_string().contains(&cid));
    node.adit(&["pin", "add", &theirs, "--name", "again"])?.expect(0)?;
    ensure!(kubo.line(&["pin", "ls", "--names", "--type=recursive"])?.contains("again"));

    // CARs, and what checks and tells.
    let car = node.adit(&["dag", "export", &theirs])?.expect(0)?.stdout;
    node.adit(&["pin", "rm", &theirs])?.expect(0)?;
    node.adit(&["repo", "gc"])?.expect(0)?;
    ensure!(kubo.command(&["--offline", "block", "stat", &theirs]).output()?.status.code() != Some(0));
    let path = folder.path().join("car");
    fs::write(&path, car)?;
    node.adit(&["dag", "import", path.to_str().context("text")?])?.expect(0)?;
    ensure!(pinned(&kubo)?.contains(&theirs));
    let verified = node.json(&["repo", "verify"])?;
    ensure!(verified["corrupt"] == serde_json::json!([]), "{verified}");
    let found = node.json(&["doctor"]).map(|checks| checks.to_string());
    let found = found.or_else(|_| Ok::<_, anyhow::Error>(node.adit(&["--json", "doctor"])?.text()))?;
    ensure!(found.contains("answers, version 0."), "{found}");
    Ok(())
}

#[test]
fn jobs_read_what_kubo_holds_without_a_second_copy() -> Result<()> {
    let Some(program) = kubo()? else { return Ok(()) };
    let kubo = Kubo::start(&program, &[], &[])?;
    let node = beside(kubo.api()?, "20s")?;
    let folder = tempfile::tempdir()?;
    let content: String = (0..1_000_000).map(|n| format!("line {n}\n")).collect();
    let path = folder.path().join("lines");
    fs::write(&path, &content)?;
    let held = kubo.add(&path, &["--cid-version=1"])?;
    let used =
        |node: &Node| -> Result<u64> { node.json(&["repo", "stat"])?["used"].as_u64().context("used") };
    let before = used(&node)?;
    let data = format!("/in/data={held}");
    let ran = node.adit(&["run", &crate::guest("lines"), "--in", &data])?.expect(0)?;
    ensure!(ran.text() == "1000000 /in/data\n", "{}", ran.text());
    let more = used(&node)? - before;
    ensure!(more < 2_000_000, "{more} bytes came to lie here beside {}", content.len());
    // Its receipt and result are there all the same.
    let reply = node.json(&["run", &crate::guest("lines"), "--in", &data, "--fresh"])?;
    node.adit(&["receipt", "verify", reply["job"]["receipt"].as_str().context("a receipt")?])?.expect(0)?;
    Ok(())
}

/// Kubo's command line, speaking to the node, finds what the Kubo below it keeps.
#[test]
fn tools_made_for_kubo_work_on_a_node_beside_a_kubo() -> Result<()> {
    let Some(program) = kubo()? else { return Ok(()) };
    let kubo = Kubo::start(&program, &[], &[])?;
    let node = beside(kubo.api()?, "20s")?;
    let ipfs = Ipfs::at(&program, node.api()?, Some(&node.token()?))?;
    let folder = tempfile::tempdir()?;
    let text = |path: &Path| path.to_str().map(str::to_owned).context("text");
    let (mine, theirs) = (file(folder.path(), 700_000, 1)?, file(folder.path(), 400_000, 2)?);

    let added = ipfs.line(&["add", "-Q", "--cid-version=1", &text(&mine)?])?;
    let held = kubo.add(&theirs, &["--cid-version=1"])?;
    for (cid, seed, length) in [(&added, 1, 700_000), (&held, 2, 400_000)] {
        ensure!(pinned(&kubo)?.contains(cid));
        ensure!(ipfs.line(&["pin", "ls", "--type=recursive", "-q"])?.contains(cid));
        ensure!(ipfs.bytes(&["cat", cid])? == noise(length, seed));
        ensure!(ipfs.line(&["dag", "stat", "--progress=false", cid])?.contains(cid));
    }
    let block = ipfs.line(&["refs", &held])?.lines().next().context("a block")?.to_owned();
    ensure!(ipfs.bytes(&["block", "get", &block])? == kubo.ipfs(&["block", "get", &block])?);
    let car = ipfs.bytes(&["dag", "export", "-p=false", &held])?;
    ensure!(ipfs.line(&["pin", "rm", &held])?.contains("unpinned"));
    ensure!(!pinned(&kubo)?.contains(&held));
    ipfs.bytes(&["repo", "gc"])?;
    ensure!(kubo.command(&["--offline", "block", "stat", &block]).output()?.status.code() != Some(0));
    let path = folder.path().join("held.car");
    fs::write(&path, car)?;
    ensure!(ipfs.line(&["dag", "import", &text(&path)?])?.contains(&held));
    ensure!(pinned(&kubo)?.contains(&held));
    ensure!(ipfs.line(&["repo", "verify"])?.contains("verify complete"));

    // A block by itself, and a value of IPLD.
    let json = folder.path().join("value");
    fs::write(&json, format!(r#"{{"data": {{"/": "{held}"}}}}"#))?;
    let value = ipfs.line(&["dag", "put", "--pin", &text(&json)?])?;
    ensure!(pinned(&kubo)?.contains(&value));
    ensure!(ipfs.line(&["dag", "resolve", &format!("{value}/data")])? == held);
    Ok(())
}

/// Another node's copies live in the Kubo too.
#[test]
fn copies_kept_for_others_lie_in_kubo() -> Result<()> {
    let Some(program) = kubo()? else { return Ok(()) };
    let kubo = Kubo::start(&program, &[], &[])?;
    let owner = Node::start(&programs(), &[("pins.check", "1s"), ("pins.lease", "60s")])?;
    let backend = format!("kubo=http://{}", kubo.api()?);
    let contact = owner.addresses()?.join(",");
    let keeper = Node::start(
        &programs(),
        &[("ipfs.backend", &backend), ("pins.accept", "anyone"), ("swarm.bootstrap", &contact)],
    )?;
    let folder = tempfile::tempdir()?;
    let cid = owner.add(&file(folder.path(), 3_000_000, 1)?)?;
    let placed = || Ok(owner.json(&["pin", "show", &cid])?[0]["replicas"]["placed"] == 2);
    owner.json(&["pin", "add", &cid, "--replicas", "2"])?;
    eventually("the copy is placed", Duration::from_secs(60), || placed().map(|is| is.then_some(())))?;
    ensure!(pinned(&kubo)?.contains(&cid));
    keeper.adit(&["repo", "gc"])?.expect(0)?;
    drop(owner.adit(&["pin", "rm", &cid])?.expect(0)?);
    eventually("Kubo keeps it no more", Duration::from_secs(60), || {
        Ok((!pinned(&kubo)?.contains(&cid)).then_some(()))
    })?;
    Ok(())
}

/// A port that nobody else is given while its owner is away: outside of those that the system hands out.
fn port_to_come_back_to() -> Result<u16> {
    let first = 20_000 + (std::process::id() as u16 % 1000) * 10;
    let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    (first..first + 1000).step_by(7).find(free).context("no free port")
}

/// Kubo is killed and started again, again and again, while files are added: whatever was acknowledged is there.
#[test]
fn a_kubo_that_restarts_under_load_loses_nothing_that_was_acknowledged() -> Result<()> {
    let Some(program) = kubo()? else { return Ok(()) };
    let port = port_to_come_back_to()?;
    let api = format!("\"/ip4/127.0.0.1/tcp/{port}\"");
    let mut kubo = Kubo::start(&program, &[], &[("Addresses.API", &api)])?;
    let node = beside(kubo.api()?, "30s")?;
    let folder = tempfile::tempdir()?;
    let done = AtomicBool::new(false);
    let acknowledged = std::thread::scope(|scope| -> Result<Vec<(String, u64)>> {
        let adders: Vec<_> = (0..2u64)
            .map(|adder| {
                let (node, folder, done) = (&node, folder.path(), &done);
                scope.spawn(move || -> Result<Vec<(String, u64)>> {
                    let mut added = Vec::new();
                    for round in 0..200 {
                        if done.load(Ordering::Relaxed) {
                            break;
                        }
                        let seed = 1000 * (adder + 1) + round;
                        // A failure is allowed here, as long as it is one.
                        if let Ok(cid) = node.add(&file(folder, 2_000_000, seed)?) {
                            added.push((cid, seed));
                        }
                    }
                    Ok(added)
                })
            })
            .collect();
        for _ in 0..3 {
            std::thread::sleep(Duration::from_millis(400));
            kubo.kill()?;
            let _ = fs::remove_file(kubo.repository().join("daemon.log"));
            kubo.launch()?;
        }
        done.store(true, Ordering::Relaxed);
        let added = adders.into_iter().map(|adder| adder.join().expect("an adder does not panic"));
        Ok(added.collect::<Result<Vec<_>>>()?.concat())
    })?;
    ensure!(acknowledged.len() > 3, "only {} adds were acknowledged", acknowledged.len());
    kubo.kill()?;
    let _ = fs::remove_file(kubo.repository().join("daemon.log"));
    kubo.launch()?;
    let pins = pinned(&kubo)?;
    for (cid, seed) in &acknowledged {
        ensure!(pins.contains(cid), "{cid} is not pinned any more");
        ensure!(kubo_cat(&kubo, cid, 30)? == noise(2_000_000, *seed), "{cid}");
    }
    Ok(())
}

/// Passes connections on, and every answer of the other side only after this delay.
fn behind(delay: Duration, rpc: SocketAddr) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let here = listener.local_addr()?;
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok((near, far)) = stream.and_then(|near| Ok((near, TcpStream::connect(rpc)?))) else {
                return;
            };
            let asked = Arc::new(AtomicBool::new(false));
            let pass = |mut from: TcpStream, mut to: TcpStream, asked: Arc<AtomicBool>, answers: bool| {
                std::thread::spawn(move || {
                    let mut piece = vec![0; 64 << 10];
                    while let Ok(length @ 1..) = from.read(&mut piece) {
                        // The first bytes after a question begin an answer.
                        match answers {
                            false => asked.store(true, Ordering::Relaxed),
                            true if asked.swap(false, Ordering::Relaxed) => std::thread::sleep(delay),
                            true => {}
                        }
                        if to.write_all(&piece[..length]).is_err() {
                            break;
                        }
                    }
                    let _ = to.shutdown(std::net::Shutdown::Both);
                });
            };
            let (Ok(near2), Ok(far2)) = (near.try_clone(), far.try_clone()) else { return };
            pass(near, far, asked.clone(), false);
            pass(far2, near2, asked, true);
        }
    });
    Ok(here)
}

#[test]
fn a_slow_kubo_is_used_all_the_same() -> Result<()> {
    let Some(program) = kubo()? else { return Ok(()) };
    let kubo = Kubo::start(&program, &[], &[])?;
    let node = beside(behind(Duration::from_millis(300), kubo.api()?)?, "20s")?;
    let folder = tempfile::tempdir()?;
    let timed = |what: &str, most: u64, act: &mut dyn FnMut() -> Result<()>| -> Result<()> {
        let begun = Instant::now();
        act()?;
        ensure!(begun.elapsed() < Duration::from_secs(most), "{what} took {:?}", begun.elapsed());
        Ok(())
    };
    let path = file(folder.path(), 10_000_000, 1)?;
    let mut cid = String::new();
    timed("add", 20, &mut || {
        cid = node.add(&path)?;
        Ok(())
    })?;
    // Nothing of it lies here any more: all is read from there.
    node.adit(&["repo", "gc"])?.expect(0)?;
    timed("cat", 20, &mut || {
        ensure!(node.adit(&["cat", &cid])?.expect(0)?.stdout == noise(10_000_000, 1));
        Ok(())
    })?;
    let theirs = kubo.add(&file(folder.path(), 10_000_000, 2)?, &["--cid-version=1", "--pin=false"])?;
    timed("pin", 20, &mut || node.adit(&["pin", "add", &theirs])?.expect(0).map(drop))?;
    ensure!(pinned(&kubo)?.contains(&theirs));
    let data = format!("/in/data={theirs}");
    timed("run", 15, &mut || {
        node.adit(&["run", &crate::guest("lines"), "--in", &data])?.expect(0).map(drop)
    })?;
    Ok(())
}

/// While Kubo is down for good, only the first to find out waits; what lies here is served; it is used as soon as it is back.
#[test]
fn a_kubo_that_is_down_is_waited_for_once_and_used_when_it_is_back() -> Result<()> {
    let Some(program) = kubo()? else { return Ok(()) };
    let port = port_to_come_back_to()?;
    let api = format!("\"/ip4/127.0.0.1/tcp/{port}\"");
    let mut kubo = Kubo::start(&program, &[], &[("Addresses.API", &api)])?;
    let node = beside(kubo.api()?, "4s")?;
    let folder = tempfile::tempdir()?;
    let held = kubo.add(&file(folder.path(), 100_000, 1)?, &["--cid-version=1"])?;
    let data = format!("/in/data={held}");
    let ran = node.json(&["run", &crate::guest("lines"), "--in", &data])?;
    let result = ran["job"]["result"]["stdout"].as_str().context("its output")?;
    let output = node.adit(&["cat", result])?.expect(0)?.stdout;
    kubo.kill()?;
    let ask = || node.adit(&["cat", &held]);
    let begun = Instant::now();
    ensure!(ask()?.code != 0);
    ensure!(begun.elapsed() > Duration::from_secs(2), "it was not waited for: {:?}", begun.elapsed());
    eventually("it counts as away", Duration::from_secs(20), || {
        Ok(node.json(&["node", "status"])?["kubo"]["silent_s"].is_u64().then_some(()))
    })?;
    let begun = Instant::now();
    for _ in 0..5 {
        let asked = ask()?;
        ensure!(asked.code != 0 && asked.stderr.contains("has not answered for"), "{}", asked.stderr);
    }
    let doctor = || Ok::<_, anyhow::Error>(node.adit(&["--json", "doctor"])?.text());
    ensure!(doctor()?.contains("has not answered for"), "{}", doctor()?);
    ensure!(node.adit(&["cat", result])?.expect(0)?.stdout == output);
    // Five that wait would take 20 s.
    ensure!(begun.elapsed() < Duration::from_secs(16), "{:?}", begun.elapsed());
    let _ = fs::remove_file(kubo.repository().join("daemon.log"));
    kubo.launch()?;
    eventually("it is used again", Duration::from_secs(30), || {
        Ok((node.adit(&["cat", &held])?.code == 0).then_some(()))
    })?;
    ensure!(!doctor()?.contains("has not answered for"), "{}", doctor()?);
    Ok(())
}

/// A Kubo that stands still: an error that says so within the deadline, and all is well after.
#[test]
fn a_kubo_that_is_stuck_is_a_clear_error_and_recovers() -> Result<()> {
    let Some(program) = kubo()? else { return Ok(()) };
    let kubo = Kubo::start(&program, &[], &[])?;
    let node = beside(kubo.api()?, "3s")?;
    let folder = tempfile::tempdir()?;
    let first = node.add(&file(folder.path(), 100_000, 1)?)?;
    // SAFETY: a signal to a child of this process that runs.
    unsafe { libc::kill(kubo.pid() as libc::pid_t, libc::SIGSTOP) };
    let (begun, path) = (Instant::now(), file(folder.path(), 200_000, 2)?);
    let stuck = node.adit(&["add", path.to_str().context("text")?]);
    // SAFETY: as above.
    unsafe { libc::kill(kubo.pid() as libc::pid_t, libc::SIGCONT) };
    let stuck = stuck?;
    ensure!(stuck.code != 0 && stuck.stderr.contains("the Kubo at"), "{}", stuck.stderr);
    ensure!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    eventually("Kubo is itself again", Duration::from_secs(30), || Ok(node.add(&path).ok()))?;
    ensure!(node.adit(&["cat", &first])?.expect(0)?.stdout == noise(100_000, 1));
    Ok(())
}

#[test]
fn a_full_kubo_is_a_clear_error_and_recovers() -> Result<()> {
    const LENGTH: usize = 3_000_000;
    let Some(program) = kubo()? else { return Ok(()) };
    let ran = on_a_small_disk(24 << 20, |disk| {
        let mut kubo = Kubo::init(&program, &[], &[])?;
        let blocks = kubo.repository().join("blocks");
        ensure!(Command::new("cp").arg("-a").arg(&blocks).arg(disk).status()?.success());
        fs::remove_dir_all(&blocks)?;
        std::os::unix::fs::symlink(disk.join("blocks"), &blocks)?;
        kubo.launch()?;
        let node = beside(kubo.api()?, "10s")?;
        let folder = tempfile::tempdir()?;
        let mut acknowledged = Vec::new();
        let failed = loop {
            let seed = acknowledged.len() as u64 + 1;
            let path = file(folder.path(), LENGTH, seed)?;
            let added = node.adit(&["--json", "add", path.to_str().context("text")?])?;
            if added.code != 0 {
                break added;
            }
            acknowledged.push((added.json()?["cid"].as_str().context("a cid")?.to_owned(), seed));
        };
        ensure!(acknowledged.len() > 3, "only {} files fitted: {}", acknowledged.len(), failed.stderr);
        ensure!(failed.stderr.contains("full"), "{}", failed.stderr);
        let pins = pinned(&kubo)?;
        for (cid, seed) in &acknowledged {
            ensure!(pins.contains(cid) && kubo_cat(&kubo, cid, 30)? == noise(LENGTH, *seed), "{cid}");
        }
        // Something goes, and there is room again.
        for (cid, _) in acknowledged.drain(..2) {
            node.adit(&["pin", "rm", &cid])?.expect(0)?;
        }
        node.adit(&["repo", "gc"])?.expect(0)?;
        node.add(&file(folder.path(), LENGTH, 99)?)?;
        Ok(())
    })?;
    ensure!(ran.is_some() || std::env::var("CI").as_deref() != Ok("true"), "in CI a tmpfs can be mounted");
    Ok(())
}
