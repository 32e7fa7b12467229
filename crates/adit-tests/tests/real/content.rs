//! Content in and out by its CID, on one node.

use crate::{noise, programs};
use adit_tests::Node;
use anyhow::{Context, Result};
use std::{fs, os::unix::fs::symlink, path::Path};

#[test]
fn a_file_comes_back_as_it_went_in() -> Result<()> {
    let node = Node::start(&programs(), &[])?;
    let folder = tempfile::tempdir()?;
    for (length, seed) in [(0, 1), (1, 2), (100_000, 3), (5_000_000, 4)] {
        let path = folder.path().join("file");
        fs::write(&path, noise(length, seed))?;
        let cid = node.add(&path)?;
        assert_eq!(node.adit(&["cat", &cid])?.expect(0)?.stdout, noise(length, seed));
        assert_eq!(node.add(&path)?, cid, "the same content has the same CID");
    }
    Ok(())
}

#[test]
fn a_tree_comes_back_as_it_went_in() -> Result<()> {
    let node = Node::start(&programs(), &[])?;
    let folder = tempfile::tempdir()?;
    let tree = folder.path().join("tree");
    fs::create_dir_all(tree.join("a/b"))?;
    fs::write(tree.join("a/b/deep.txt"), "deep\n")?;
    fs::write(tree.join("top.txt"), "top\n")?;
    fs::create_dir(tree.join("empty"))?;
    symlink("a/b/deep.txt", tree.join("link"))?;
    let cid = node.add(&tree)?;

    let list = node.json(&["ls", &cid])?;
    let names: Vec<_> =
        list.as_array().expect("a list").iter().map(|entry| entry["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["a", "empty", "link", "top.txt"]);
    assert_eq!(node.adit(&["cat", &format!("{cid}/a/b/deep.txt")])?.expect(0)?.stdout, b"deep\n");
    assert_eq!(node.json(&["stat", &format!("{cid}/top.txt")])?["size"], 4);

    let back = folder.path().join("back");
    node.adit(&["get", &cid, "-o", back.to_str().unwrap()])?.expect(0)?;
    assert_eq!(fs::read(back.join("a/b/deep.txt"))?, b"deep\n");
    assert_eq!(fs::read_link(back.join("link"))?.to_str(), Some("a/b/deep.txt"));
    assert!(back.join("empty").is_dir());
    Ok(())
}

#[test]
fn what_is_not_pinned_is_collected_and_what_is_stays() -> Result<()> {
    let node = Node::start(&programs(), &[])?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("file");
    fs::write(&path, noise(3_000_000, 1))?;
    let kept = node.add(&path)?;
    fs::write(&path, noise(3_000_000, 2))?;
    let dropped = node.add(&path)?;
    node.adit(&["pin", "rm", &dropped])?.expect(0)?;
    let collected = node.json(&["repo", "gc"])?;
    assert!(collected["bytes_freed"].as_u64() >= Some(2_900_000), "{collected}");
    assert_eq!(node.adit(&["cat", &kept])?.expect(0)?.stdout, noise(3_000_000, 1));
    let verified = node.json(&["repo", "verify"])?;
    assert_eq!(verified["corrupt"], serde_json::json!([]), "{verified}");
    let gone = node.adit(&["cat", &dropped])?;
    assert_eq!(gone.code, 3, "not found: {}", gone.stderr);
    Ok(())
}

#[test]
fn a_car_carries_a_tree_to_another_node() -> Result<()> {
    let (here, there) = (Node::start(&programs(), &[])?, Node::start(&programs(), &[])?);
    let folder = tempfile::tempdir()?;
    fs::create_dir(folder.path().join("tree"))?;
    for file in 0..50 {
        fs::write(folder.path().join(format!("tree/{file}")), noise(10_000 + file, file as u64))?;
    }
    let cid = here.add(&folder.path().join("tree"))?;
    let car = here.adit(&["dag", "export", &cid])?.expect(0)?.stdout;
    let path = folder.path().join("tree.car");
    fs::write(&path, &car)?;
    there.adit(&["dag", "import", path.to_str().unwrap()])?.expect(0)?;
    assert_eq!(there.adit(&["cat", &format!("{cid}/7")])?.expect(0)?.stdout, noise(10_007, 7));

    // One wrong byte in a block: refused, and nothing of it is kept.
    let mut wrong = car;
    let last = wrong.len() - 1;
    wrong[last] ^= 1;
    fs::write(&path, &wrong)?;
    let refused = there.adit(&["dag", "import", path.to_str().unwrap()])?;
    assert_ne!(refused.code, 0, "{}", refused.text());
    Ok(())
}

#[test]
fn mistakes_are_told_apart_by_their_exit_codes() -> Result<()> {
    let mut node = Node::start(&programs(), &[])?;
    assert_eq!(node.adit(&["cat", "not-a-cid"])?.code, 2);
    assert_eq!(node.adit(&["frobnicate"])?.code, 2);
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("file"), "x")?;
    let cid = node.add(folder.path())?;
    assert_eq!(node.adit(&["cat", &format!("{cid}/nothing")])?.code, 3);
    assert_eq!(node.adit(&["cat", &cid])?.code, 2, "a folder is no file");
    node.stop()?;
    let offline = node.adit(&["cat", &cid])?;
    assert_eq!(offline.code, 4, "{}", offline.stderr);
    assert!(offline.stderr.contains("adit daemon"), "says what to do: {}", offline.stderr);
    Ok(())
}

#[test]
fn a_node_upgrades_a_repo_of_an_earlier_format_and_loses_nothing() -> Result<()> {
    let mut node = Node::start(&programs(), &[])?;
    node.stop()?;
    let store = node.repository().join("store");
    fs::remove_dir_all(&store)?;
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/../adit-store/tests/fixtures/repo-1");
    for name in ["", "segments"] {
        fs::create_dir(store.join(name))?;
        for entry in fs::read_dir(Path::new(fixture).join(name))? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                fs::copy(entry.path(), store.join(name).join(entry.file_name()))?;
            }
        }
    }
    node.launch()?;
    let stat = node.json(&["repo", "stat"])?;
    assert_eq!(
        (&stat["format"], &stat["pins"], &stat["blocks"]),
        (&2.into(), &2.into(), &3.into()),
        "{stat}"
    );
    node.adit(&["repo", "gc"])?.expect(0)?;
    node.stop()?;
    node.launch()?;
    let pins = node.json(&["pin", "ls"])?;
    let pins = pins.as_array().context("a list")?;
    assert_eq!(pins.len(), 2, "{pins:?}");
    let sizes = pins.iter().map(|pin| {
        let cid = pin["cid"].as_str().context("a CID")?;
        Ok(node.adit(&["cat", cid])?.expect(0)?.stdout.len())
    });
    let mut sizes = sizes.collect::<Result<Vec<_>>>()?;
    sizes.sort_unstable();
    assert_eq!(sizes, [28, 600_000]);
    Ok(())
}
