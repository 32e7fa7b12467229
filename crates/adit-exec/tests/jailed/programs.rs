//! Real programs, unchanged: built from C, Rust and Go, and SQLite, which nobody here wrote.

use crate::{
    content::Content,
    enclave::{Worker, code, distinct, guest, job, job_on, run},
};
use std::process::Command;

crate::tests![
    c_counts_lines_over_many_blocks,
    c_gets_arguments_environment_stdin_and_every_exit_code,
    c_seeks_and_only_the_blocks_it_needs_are_fetched,
    c_walks_a_tree,
    rust_audits_packages,
    go_counts_words_and_fails_without_them,
    go_collects_its_garbage_while_its_memory_grows,
    sqlite_makes_a_database_in_out_and_in_memory,
];

fn c_counts_lines_over_many_blocks() {
    let mut content = Content::default();
    let bytes = "0123456789\n".repeat(500_000);
    let data = content.file(bytes);
    let ran = run(&code(guest("lines")), job_on(data.cid, &["lines"]), &content);
    assert_eq!((ran.exit(), ran.text()), (0, "500000 /in/data\n"));
    assert_eq!(distinct(&ran), content.blocks.len());
    assert_eq!(ran.done.blocks_read as usize, content.blocks.len(), "each block came once");
    assert!(ran.want_frames < content.blocks.len(), "blocks are asked for together");
}

fn c_gets_arguments_environment_stdin_and_every_exit_code() {
    let mut content = Content::default();
    let stdin = content.file(vec![7; 2_500_000]);
    let code = code(guest("echo"));
    let mut worker = Worker::loaded(&code);
    let mut asked = job(&["echo", "one", "zwei drei", "err=hello"]);
    asked.env = vec![("KEY".into(), "value = ☃".into())];
    asked.stdin = Some(stdin.cid);
    let ran = worker.run(asked, &content);
    assert_eq!(ran.exit(), 0);
    assert_eq!(ran.text(), "arg one\narg zwei drei\nenv KEY=value = ☃\nstdin 2500000 bytes\n");
    assert_eq!(ran.errors(), "hello\n");
    for exit in [0, 1, 2, 3, 100, 125, 127, 200, 255] {
        let ran = worker.run(job(&["echo", &format!("exit={exit}")]), &content);
        assert_eq!(ran.exit(), exit);
    }
}

fn c_seeks_and_only_the_blocks_it_needs_are_fetched() {
    let mut content = Content::default();
    let bytes: Vec<u8> = (0..100 << 20_u32).map(|at: u32| (at >> 12) as u8 ^ (at >> 20) as u8).collect();
    let sum: u32 = bytes[70_000_000..70_000_010].iter().map(|byte| u32::from(*byte)).sum();
    let data = content.file(bytes);
    let code = code(guest("seek"));
    let mut worker = Worker::loaded(&code);
    let ran = worker.run(job_on(data.cid, &["seek", "10", "70000000"]), &content);
    assert_eq!((ran.exit(), ran.text()), (0, &*format!("70000000 10 {sum}\n")));
    assert_eq!(ran.wanted.len(), 2, "the root and one leaf of {}", content.blocks.len());
    let ran = worker.run(job_on(data.cid, &["seek", "10", "70000000", "0", "99999999", "5"]), &content);
    assert_eq!(ran.exit(), 0);
    assert_eq!(ran.wanted.len(), 4, "the root and three leaves");
}

fn c_walks_a_tree() {
    let mut content = Content::default();
    let small = content.file(vec![1; 100]);
    let large = content.file(vec![2; 3 << 20]);
    let inner = content.directory(&[("a", small), ("b", large)]);
    let names: Vec<String> = (0..9000).map(|n| format!("entry-with-a-rather-long-name-{n:06}")).collect();
    let many = content.directory(&names.iter().map(|name| (name.as_str(), small)).collect::<Vec<_>>());
    let root = content.directory(&[("inner", inner), ("many", many), ("top", small)]);
    let ran = run(&code(guest("du")), job_on(root.cid, &["du", "/in/data"]), &content);
    assert_eq!(ran.exit(), 0, "{}", ran.errors());
    assert!(ran.text().contains("9003"), "{}", ran.text());
    assert!(ran.text().contains(&(9002 * 100 + (3 << 20)).to_string()), "{}", ran.text());
}

fn rust_audits_packages() {
    let mut content = Content::default();
    let manifest = content.file("[package]\nname = \"a\"\nversion = \"1.0.0\"\nlicense = \"MIT\"\n");
    let source = content.file("fn f() { unsafe { } }\n");
    let src = content.directory(&[("lib.rs", source)]);
    let package = content.directory(&[("Cargo.toml", manifest), ("src", src)]);
    let root = content.directory(&[("a-1.0.0", package)]);
    let ran = run(&code(guest("audit")), job_on(root.cid, &["audit", "/in/data"]), &content);
    assert_eq!(ran.exit(), 0, "{}{}", ran.text(), ran.errors());
    assert!(ran.text().contains("MIT"), "{}", ran.text());
}

fn go_counts_words_and_fails_without_them() {
    let mut content = Content::default();
    let text: String = (0..60_000).map(|n| format!("tree {} Adit\n", ["in", "out", "in"][n % 3])).collect();
    let data = content.file(text);
    let code = code(guest("words"));
    let mut worker = Worker::loaded(&code);
    let ran = worker.run(job(&["words"]), &content);
    assert_eq!((ran.exit(), ran.text()), (3, ""));
    assert_eq!(ran.errors(), "open /in/data: No such file or directory\n");
    let ran = worker.run(job_on(data.cid, &["words", "3"]), &content);
    assert_eq!(ran.exit(), 0, "{}", ran.errors());
    assert_eq!(ran.text(), "4 different words\n   60000 adit\n   60000 tree\n   40000 in\n");
    assert_eq!(ran.file("words.txt").unwrap(), &ran.stdout[..]);
    let again = worker.run(job_on(data.cid, &["words", "3"]), &content);
    assert_eq!((again.done.fuel, again.stdout), (ran.done.fuel, ran.stdout), "Go's own scheduler included");
}

/// Go believes that all that its memory grows by is its own: whatever else grew it would be overwritten.
fn go_collects_its_garbage_while_its_memory_grows() {
    let code = code(guest("garbage"));
    let mut asked = job(&["garbage", "128"]);
    asked.limits.memory = 1 << 30;
    let ran = run(&code, asked, &Content::default());
    assert_eq!((ran.exit(), ran.text()), (0, "128 MiB kept, collected true\n"), "{}", ran.errors());
}

/// A database made by the very program that will read it, taken from `/out`.
fn database(worker: &mut Worker, rows: u32) -> Vec<u8> {
    let script = format!(
        "create table t(id integer primary key, name text, n int);
         with recursive c(i) as (select 1 union all select i+1 from c where i < {rows})
         insert into t select i, 'name ' || i, i * 7 % 1000 from c; create index t_n on t(n);"
    );
    let ran = worker.run(job(&["sqlite3", "/out/made.db", &script]), &Content::default());
    assert_eq!(ran.exit(), 0, "{}", ran.errors());
    ran.file("made.db").expect("a database").to_vec()
}

fn sqlite_makes_a_database_in_out_and_in_memory() {
    let code = code(guest("sqlite3"));
    let mut worker = Worker::loaded(&code);
    let bytes = database(&mut worker, 1000);
    assert!(bytes.starts_with(b"SQLite format 3\0"));
    let ran = worker.run(job(&["sqlite3", ":memory:", "select 6 * 7"]), &Content::default());
    assert_eq!((ran.exit(), ran.text()), (0, "42\n"));
    // Journals come and go: a transaction that is rolled back leaves nothing.
    let script = "create table t(a); begin; insert into t values(1); rollback; select count(*) from t;";
    let ran = worker.run(job(&["sqlite3", "/out/x.db", script]), &Content::default());
    assert_eq!((ran.exit(), ran.text()), (0, "0\n"), "{}", ran.errors());
    assert_eq!(ran.paths(), ["x.db"]);
    // And if this machine has SQLite, it agrees that the file is sound.
    let path = std::env::temp_dir().join(format!("adit-{}.db", std::process::id()));
    std::fs::write(&path, bytes).unwrap();
    if let Ok(output) = Command::new("sqlite3").arg(&path).arg("pragma integrity_check").output() {
        assert_eq!(output.stdout, b"ok\n");
    }
    std::fs::remove_file(path).unwrap();
}
