//! Real programs run unchanged: built from C, Rust and Go, and one that nobody here wrote.

use crate::{guest, programs, repository};
use adit_tests::Node;
use anyhow::Result;
use std::{collections::HashMap, fs};

#[test]
fn a_rust_program_audits_a_tree() -> Result<()> {
    let node = Node::start(&programs(), &[])?;
    let folder = tempfile::tempdir()?;
    let package = folder.path().join("demo-1.0.0");
    fs::create_dir_all(package.join("src"))?;
    fs::write(package.join("Cargo.toml"), "[package]\nname = \"demo\"\nlicense = \"MIT\"\n")?;
    fs::write(package.join("src/lib.rs"), "pub fn f() { unsafe { } } // unsafe\n")?;
    let cid = node.add(folder.path())?;
    let out = folder.path().join("out");
    let words = ["run", &guest("audit"), "--in", &format!("/in/data={cid}"), "-o", out.to_str().unwrap()];
    let ran = node.adit(&words)?.expect(0)?;
    assert!(ran.text().contains("1 packages, 2 files"), "{}", ran.text());
    let lines = fs::read_to_string(out.join("packages.tsv"))?;
    assert!(lines.ends_with("demo-1.0.0\tMIT\t2\t76\t1\t1\tfalse\tfalse\n"), "{lines}");
    Ok(())
}

/// Counted here by other means, and the report that the program leaves is the one that it prints.
#[test]
fn a_go_program_counts_words() -> Result<()> {
    let node = Node::start(&programs(), &[])?;
    let missing = node.adit(&["run", &guest("words")])?.expect(3)?;
    assert_eq!(missing.text(), "");

    let text = fs::read_to_string(repository("ARCHITECTURE.md"))?.repeat(40);
    let mut counts = HashMap::new();
    for word in text.split(|letter: char| !letter.is_alphabetic()).filter(|word| !word.is_empty()) {
        *counts.entry(word.to_lowercase()).or_insert(0) += 1;
    }
    let mut sorted: Vec<(&String, &usize)> = counts.iter().collect();
    sorted.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
    let mut expected = format!("{} different words\n", sorted.len());
    for (word, count) in &sorted[..20] {
        expected += &format!("{count:>8} {word}\n");
    }

    let folder = tempfile::tempdir()?;
    let input = folder.path().join("text");
    fs::write(&input, &text)?;
    let cid = node.add(&input)?;
    let out = folder.path().join("out");
    let data = format!("/in/data={cid}");
    let words = ["run", &guest("words"), "--in", &data, "-o", out.to_str().unwrap(), "--", "20"];
    let ran = node.adit(&words)?.expect(0)?;
    assert_eq!(ran.text(), expected);
    assert_eq!(fs::read_to_string(out.join("words.txt"))?, expected);
    Ok(())
}

/// Go's collector at work in a memory that grows to several times what is kept.
#[test]
fn a_go_program_that_allocates_a_lot_loses_nothing() -> Result<()> {
    let node = Node::start(&programs(), &[])?;
    let ran = node.adit(&["run", &guest("garbage"), "--memory", "512MiB", "--", "64"])?.expect(0)?;
    assert_eq!(ran.text(), "64 MiB kept, collected true\n");
    Ok(())
}

/// The database is made by SQLite itself in one job, and read by CID in another.
#[test]
fn sqlites_shell_works_on_a_database_by_its_cid() -> Result<()> {
    let node = Node::start(&programs(), &[])?;
    let out = node.repository().with_extension("out");
    let make = "create table t(n, square); \
        with recursive c(n) as (select 1 union all select n + 1 from c where n < 50000) insert into t select n, n * n from c; \
        create index by_square on t(square); select count(*) from t;";
    let words = ["run", &guest("sqlite3"), "-o", out.to_str().unwrap(), "--", "/out/numbers.db", make];
    assert_eq!(node.adit(&words)?.expect(0)?.text(), "50000\n");
    let cid = node.add(&out.join("numbers.db"))?;
    let words = [
        "run",
        &guest("sqlite3"),
        "--in",
        &format!("/in/numbers.db={cid}"),
        "--",
        "-readonly",
        "file:/in/numbers.db?immutable=1",
        "select n from t where square = 1522756;",
    ];
    assert_eq!(node.adit(&words)?.expect(0)?.text(), "1234\n");
    Ok(())
}

/// A directory that is a hash trie, read by a guest: names from one node, the content of all of them from another.
#[test]
fn a_directory_of_ten_thousand_entries_is_read_lazily_by_a_guest() -> Result<()> {
    let node = Node::start(&programs(), &[])?;
    let folder = tempfile::tempdir()?;
    let tree = folder.path().join("tree");
    fs::create_dir(&tree)?;
    for number in 0..10_000 {
        fs::write(tree.join(format!("a file with a name that is not short, number {number}")), "12345")?;
    }
    let cid = node.add(&tree)?;
    assert_eq!(node.json(&["stat", &cid])?["sharded"], true, "spread over several blocks");
    let input = format!("/in/data={cid}");
    let counted = node.adit(&["run", &guest("du"), "--in", &input])?.expect(0)?;
    assert!(counted.text().starts_with("10000 files in 1 folders, 50000 bytes\n"), "{}", counted.text());
    // One name is one look-up, not a listing.
    let path = "cat /in/data/a file with a name that is not short, number 9999";
    let reply = node.json(&["run", &guest("fs"), "--in", &input, "--", path])?;
    let listing = node.json(&["run", &guest("du"), "--in", &input, "--fresh"])?;
    let read = |reply: &serde_json::Value| reply["job"]["stats"]["bytes_read"].as_u64().unwrap_or_default();
    assert!(read(&reply) * 5 < read(&listing), "{} of {} bytes", read(&reply), read(&listing));
    Ok(())
}
