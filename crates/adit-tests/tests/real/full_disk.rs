//! A full disk: a clear error, a daemon that lives on, and nothing lost that was acknowledged.

use crate::{noise, programs};
use adit_tests::{Finished, Node, eventually, on_a_small_disk};
use anyhow::{Context, Result, ensure};
use std::{fs, path::Path, time::Duration};

const MIB: u64 = 1 << 20;
/// The store leaves 64 MiB alone and holds 8 MiB of ballast: some 50 MiB are left for blocks.
const DISK: u64 = 128 * MIB;

/// Runs a test whose node has its repository on a small disk. Where that cannot be mounted, the test is skipped by
/// name, except in CI (`CI=true`).
fn on_a_full_disk(test: &str, work: impl FnOnce(Node) -> Result<()> + Send) -> Result<()> {
    let done = on_a_small_disk(DISK, |disk| {
        // The log is written beside the repository.
        work(Node::start_in(&programs(), &disk.join("repo"), &[])?)
    })?;
    if done.is_none() {
        ensure!(std::env::var("CI").as_deref() != Ok("true"), "in CI a tmpfs can be mounted");
        eprintln!("SKIPPED {test}: mounting a tmpfs is not permitted");
    }
    Ok(())
}

/// Adds files of `length` bytes until one does not fit; gives what was acknowledged, and how the last one failed.
fn fill(node: &Node, folder: &Path, length: usize) -> Result<(Vec<(String, u64)>, Finished)> {
    let mut acknowledged = Vec::new();
    for seed in 0.. {
        let path = folder.join("file");
        fs::write(&path, noise(length, seed))?;
        let added = node.adit(&["--json", "add", path.to_str().context("text")?])?;
        if added.code != 0 {
            return Ok((acknowledged, added));
        }
        let cid = added.json()?["cid"].as_str().context("a cid")?.to_owned();
        acknowledged.push((cid, seed));
    }
    unreachable!("a disk without end")
}

fn all_is_there(node: &Node, acknowledged: &[(String, u64)], length: usize) -> Result<()> {
    let mut api = node.http()?;
    for (cid, seed) in acknowledged {
        let reply = api.get(&format!("/api/v1/cat/{cid}"))?;
        ensure!(reply.body == noise(length, *seed), "{cid} is not what was added: {}", reply.status);
    }
    Ok(())
}

fn is_sound(node: &Node) -> Result<()> {
    let verified = node.json(&["repo", "verify"])?;
    ensure!(verified["corrupt"] == serde_json::json!([]), "{verified}");
    ensure!(verified["incomplete"] == serde_json::json!([]), "{verified}");
    Ok(())
}

#[test]
fn adds_fail_clearly_and_what_was_acknowledged_survives_even_a_kill() -> Result<()> {
    on_a_full_disk("a full disk", |mut node| {
        const LENGTH: usize = 3_000_000;
        let folder = tempfile::tempdir()?;
        let (mut acknowledged, failed) = fill(&node, folder.path(), LENGTH)?;
        ensure!(acknowledged.len() >= 5, "only {} files fitted", acknowledged.len());
        ensure!(failed.code == 1, "{}: {}", failed.code, failed.stderr);
        ensure!(failed.stderr.contains("full") && failed.stderr.contains("repo gc"), "{}", failed.stderr);

        // The daemon answers, and has all that it said it has.
        node.adit(&["id"])?.expect(0)?;
        all_is_there(&node, &acknowledged, LENGTH)?;
        node.kill()?;
        node.launch()?;
        all_is_there(&node, &acknowledged, LENGTH)?;
        is_sound(&node)?;

        // Something goes, and there is room again.
        for (dropped, _) in acknowledged.drain(..3) {
            node.adit(&["pin", "rm", &dropped])?.expect(0)?;
        }
        let collected = node.json(&["repo", "gc"])?;
        ensure!(collected["bytes_freed"].as_u64() >= Some(8_000_000), "{collected}");
        let path = folder.path().join("file");
        fs::write(&path, noise(LENGTH, 1000))?;
        acknowledged.push((node.add(&path)?, 1000));
        node.kill()?;
        node.launch()?;
        all_is_there(&node, &acknowledged, LENGTH)?;
        is_sound(&node)
    })
}

/// What failed is not in the way of what fits: a big add leaves megabytes in memory that cannot be written.
#[test]
fn an_add_that_is_far_too_big_leaves_room_for_others() -> Result<()> {
    on_a_full_disk("one big add", |node| {
        let folder = tempfile::tempdir()?;
        let (small, big) = (folder.path().join("small"), folder.path().join("big"));
        fs::write(&small, noise(3_000_000, 1))?;
        let kept = node.add(&small)?;
        fs::write(&big, noise(150_000_000, 2))?;
        let failed = node.adit(&["add", big.to_str().context("text")?])?;
        ensure!(failed.code == 1 && failed.stderr.contains("full"), "{}: {}", failed.code, failed.stderr);
        node.adit(&["repo", "gc"])?.expect(0)?;
        fs::write(&small, noise(3_000_000, 3))?;
        eventually("adds work again after a collection", Duration::from_secs(5), || {
            Ok(node.add(&small).ok())
        })?;
        ensure!(node.adit(&["cat", &kept])?.expect(0)?.stdout == noise(3_000_000, 1), "an older file");
        Ok(())
    })
}

/// Writes so many MiB of noise to its standard output.
fn noisy(mebibytes: u64) -> String {
    format!(
        r#"(module
        (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 18)
        (func (export "_start") (local $at i32) (local $noise i64) (local $written i64)
            (local.set $noise (i64.const 88172645463325252))
            (i32.store (i32.const 0) (i32.const 65536))
            (i32.store (i32.const 4) (i32.const 1048576))
            (loop $pieces
                (local.set $at (i32.const 65536))
                (loop $fill
                    (local.set $noise (i64.xor (local.get $noise) (i64.shl (local.get $noise) (i64.const 13))))
                    (local.set $noise (i64.xor (local.get $noise) (i64.shr_u (local.get $noise) (i64.const 7))))
                    (local.set $noise (i64.xor (local.get $noise) (i64.shl (local.get $noise) (i64.const 17))))
                    (i64.store (local.get $at) (local.get $noise))
                    (local.set $at (i32.add (local.get $at) (i32.const 8)))
                    (br_if $fill (i32.lt_u (local.get $at) (i32.const 1114112))))
                (if (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable))
                (local.set $written (i64.add (local.get $written) (i64.load32_u (i32.const 8))))
                (br_if $pieces (i64.lt_u (local.get $written) (i64.const {}))))))"#,
        mebibytes * MIB
    )
}

/// Runs a program that writes so much noise.
fn run_noisy(node: &Node, mebibytes: u64) -> Result<Finished> {
    let program = node.repository().with_extension("wasm");
    fs::write(&program, wat::parse_str(noisy(mebibytes))?)?;
    let limits = ["--timeout", "30s", "--max-output", "512MiB", "--fuel", "1000000000000"];
    node.adit(&[&["run", program.to_str().context("text")?], &limits[..]].concat())
}

#[test]
fn a_job_whose_output_does_not_fit_fails_clearly() -> Result<()> {
    on_a_full_disk("a job's output", |node| {
        let path = node.repository().with_extension("kept");
        fs::write(&path, noise(3_000_000, 1))?;
        let kept = node.add(&path)?;
        fs::remove_file(&path)?;
        ensure!(run_noisy(&node, 2)?.expect(0)?.stdout.len() as u64 == 2 * MIB);
        let failed = run_noisy(&node, 110)?;
        ensure!(failed.code == 101, "{}: {}", failed.code, failed.stderr);
        ensure!(failed.stderr.contains("full"), "{}", failed.stderr);
        ensure!(node.adit(&["cat", &kept])?.expect(0)?.stdout == noise(3_000_000, 1), "an older file");
        node.adit(&["id"])?.expect(0)?;
        Ok(())
    })
}

#[test]
fn after_such_a_job_and_a_collection_jobs_run_again() -> Result<()> {
    on_a_full_disk("a job's output, collected", |node| {
        run_noisy(&node, 110)?.expect(101)?;
        node.adit(&["repo", "gc"])?.expect(0)?;
        eventually("jobs run again after a collection", Duration::from_secs(5), || {
            Ok(run_noisy(&node, 3).is_ok_and(|ran| ran.code == 0).then_some(()))
        })
    })
}

#[test]
fn a_full_disk_can_be_verified() -> Result<()> {
    on_a_full_disk("verification", |node| {
        let folder = tempfile::tempdir()?;
        fill(&node, folder.path(), 3_000_000)?;
        is_sound(&node)
    })
}
