//! A real process is killed with SIGKILL, again and again, while it adds, pins and collects. What
//! it said was done is there afterwards, and the repo opens within the stated five seconds.
//!
//! The test starts itself as the child: the environment variable tells which it is.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use adit_store::{Block, OnCorrupt, PinOptions, Repo, RepoOptions, export, import};
use cid::Cid;

const CHILD: &str = "ADIT_STORE_KILL_TEST_DIR";
const ROUNDS: u64 = 12;

/// Content that is different for each round and step, and partly shared.
fn content(round: u64, step: u64) -> Vec<u8> {
    let mut data = vec![(step % 7) as u8; 200_000];
    data.extend((round * 1_000_000 + step).to_le_bytes().repeat(if step.is_multiple_of(10) {
        200_000
    } else {
        300
    }));
    data
}

/// Never returns: works until it is killed, and says on stdout what is done.
async fn child(dir: &Path, round: u64) -> ! {
    let repo = Arc::new(Repo::open(dir, RepoOptions::default()).unwrap());
    let collector = repo.clone();
    tokio::spawn(async move {
        loop {
            collector.gc().await.unwrap();
        }
    });
    let mut step = 0;
    loop {
        step += 1;
        let lease = repo.lease("add");
        let imported = import::bytes(&lease.store(), content(round, step), &import::ImportOptions::default())
            .await
            .unwrap();
        repo.pin_leased(&imported.root, &lease, PinOptions::default()).await.unwrap();
        drop(lease);
        println!("pinned {step} {}", imported.root);
        if step.is_multiple_of(3) {
            println!("unpinning {}", imported.root);
            repo.unpin(&imported.root, None).await.unwrap();
        }
        // Unpinned small blocks for the collector.
        let small = (0..200u64).map(|i| Block::new(0x55, (step * 1000 + i).to_le_bytes().to_vec())).collect();
        repo.blocks().put(small).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_moment_it_keeps_its_word() {
    if let Ok(value) = std::env::var(CHILD) {
        let (round, dir) = value.split_once(' ').unwrap();
        child(Path::new(dir), round.parse().unwrap()).await;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut pinned: Vec<(u64, u64, Cid)> = Vec::new();
    for round in 0..ROUNDS {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "killed_at_any_moment_it_keeps_its_word", "--nocapture"])
            .env(CHILD, format!("{round} {}", dir.path().display()))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(process.stdout.take().unwrap());
        let reader = std::thread::spawn(move || stdout.lines().map_while(Result::ok).collect::<Vec<_>>());
        // Not for luck: each round is cut at another moment, and any moment must do.
        std::thread::sleep(Duration::from_millis(150 + round * 97));
        process.kill().unwrap();
        process.wait().unwrap();
        for line in reader.join().unwrap() {
            let words: Vec<_> = line.split(' ').collect();
            match words[..] {
                ["pinned", step, cid] => pinned.push((round, step.parse().unwrap(), cid.parse().unwrap())),
                ["unpinning", cid] => pinned.retain(|(_, _, pin)| pin.to_string() != cid),
                _ => {}
            }
        }

        let opened = Instant::now();
        let repo = Repo::open(dir.path(), RepoOptions::default()).unwrap();
        assert!(opened.elapsed() < Duration::from_secs(5), "opening took {:?}", opened.elapsed());
        let store = repo.blocks();
        for (round, step, root) in &pinned {
            assert!(repo.is_pinned(root).await.unwrap(), "the pin of round {round} step {step} is lost");
            let data = export::read(&store, root, 1 << 24).await.unwrap();
            assert!(data == content(*round, *step), "round {round} step {step}");
        }
        let report = repo.verify(OnCorrupt::Report).await.unwrap();
        assert_eq!((report.corrupt.len(), report.incomplete.len()), (0, 0), "{report:?}");
    }
    assert!(pinned.len() > 20, "only {} adds were seen: the test proves little", pinned.len());
}
