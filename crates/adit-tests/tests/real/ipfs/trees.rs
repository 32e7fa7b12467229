//! Directories between Adit and Kubo: a big one, a deep one, and many small files.

use super::{adit, assert_same_tree, kubo, over, within};
use crate::noise;
use adit_tests::{Kubo, Node};
use anyhow::Result;
use std::{fs, os::unix::fs::symlink, path::Path};

/// Kubo's tree goes to Adit, and Adit's own of the same files to another Kubo.
fn there_and_back(program: &Path, tree: &Path) -> Result<()> {
    let (giver, adit) = (Kubo::start(program, &["unixfs-v1-2025"], &[])?, adit()?);
    let cid = giver.add(tree, &[])?;
    adit.adit(&["swarm", "connect", &over(&giver.addresses()?, "tcp")?])?.expect(0)?;
    let folder = tempfile::tempdir()?;
    let back = folder.path().join("adit");
    within(120, adit.command(&["get", &cid, "-o", back.to_str().unwrap()]))?.expect(0)?;
    assert_same_tree(&back, tree)?;
    drop((giver, adit));
    adit_gives(program, tree, &cid)
}

fn adit_gives(program: &Path, tree: &Path, cid: &str) -> Result<()> {
    let (adit, taker): (Node, _) = (adit()?, Kubo::start(program, &[], &[])?);
    assert_eq!(adit.add(tree)?, cid, "the same tree has the same CID");
    taker.ipfs(&["swarm", "connect", &over(&adit.addresses()?, "quic-v1")?])?;
    let folder = tempfile::tempdir()?;
    let back = folder.path().join("kubo");
    // `ipfs get` alone fetches one small file after the other, 20 ms each, from Kubo as well; `pin add` fetches many.
    within(120, taker.command(&["pin", "add", cid]))?.expect(0)?;
    within(120, taker.command(&["get", cid, "-o", back.to_str().unwrap()]))?.expect(0)?;
    assert_same_tree(&back, tree)
}

#[test]
fn a_directory_of_ten_thousand_entries() -> Result<()> {
    let Some(program) = kubo()? else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let tree = folder.path().join("tree");
    fs::create_dir(&tree)?;
    for number in 0..10_000 {
        fs::write(tree.join(format!("entry number {number:05}")), number.to_string())?;
    }
    there_and_back(&program, &tree)
}

#[test]
fn a_deep_tree() -> Result<()> {
    let Some(program) = kubo()? else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let tree = folder.path().join("tree");
    let mut deep = tree.clone();
    for level in 0..60 {
        deep = deep.join(format!("level{level}"));
        fs::create_dir_all(&deep)?;
        fs::write(deep.join("here"), noise(level * 100, level as u64))?;
    }
    symlink("level0/here", tree.join("link"))?;
    there_and_back(&program, &tree)
}

#[test]
fn many_small_files() -> Result<()> {
    let Some(program) = kubo()? else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let tree = folder.path().join("tree");
    for number in 0..2_000 {
        let folder = tree.join(format!("{}/{}", number % 7, number % 31));
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(number.to_string()), noise(number * 3 % 9_000, number as u64))?;
    }
    fs::create_dir(tree.join("empty"))?;
    there_and_back(&program, &tree)
}
