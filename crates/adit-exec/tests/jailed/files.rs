//! The guest's file system, call by call, through a C program that does what its arguments say.

use crate::{
    content::Content,
    enclave::{Ran, Worker, code, guest, job},
};
use adit_exec::{fault::FaultKind, worker_wire::OutputKind};
use adit_unixfs::{
    Block,
    block::DAG_PB,
    build::Built,
    codec::dag_pb::{self, PbLink, PbNode},
    data::{Data, Kind},
};
use cid::Cid;

crate::tests![
    paths_stay_inside,
    symlinks_are_followed_inside_their_tree_only,
    writing_works_as_on_any_unix,
    inputs_can_be_mounted_anywhere_and_never_written,
    broken_and_cyclic_inputs_are_the_inputs_fault,
    directories_of_every_kind_are_listed_in_order,
];

/// `fs`: each argument is one call; it prints what came of it (see `guests/c/fs.c`).
fn fs(content: &Content, inputs: &[(&str, Cid)], calls: &[&str]) -> Ran {
    thread_local! {
        static CODE: crate::enclave::Code = code(guest("fs"));
    }
    CODE.with(|code| {
        let mut asked = job(&[&["fs"], calls].concat());
        asked.inputs = inputs.iter().map(|(path, root)| ((*path).into(), *root)).collect();
        Worker::loaded(code).run(asked, content)
    })
}

#[track_caller]
fn check(content: &Content, inputs: &[(&str, Cid)], calls: &[(&str, &str)]) -> Ran {
    let words: Vec<&str> = calls.iter().map(|(call, _)| *call).collect();
    let ran = fs(content, inputs, &words);
    assert_eq!(ran.exit(), 0, "{}", ran.errors());
    let expected: String = calls.iter().map(|(call, answer)| format!("{call}: {answer}\n")).collect();
    assert_eq!(ran.text(), expected);
    ran
}

fn paths_stay_inside() {
    let mut content = Content::default();
    let file = content.file("hello");
    let root = content.directory(&[("file", file)]);
    check(
        &content,
        &[("/in/data", root.cid)],
        &[
            ("cat /in/data/file", "hello"),
            ("cat in/data/../data/./file", "hello"),
            ("cat /in/data/file/", "ENOTDIR"),
            ("cat /in/data/file/x", "ENOTDIR"),
            ("cat /in/data/none", "ENOENT"),
            ("cat /in/data", "EBADF"),
            ("cat /../etc/passwd", "EPERM"),
            ("cat /in/../../etc/passwd", "EPERM"),
            ("cat /etc/passwd", "ENOENT"),
            ("cat /proc/self/mem", "ENOENT"),
            ("stat /", "directory 0"),
            ("stat /in/data/file", "file 5"),
            ("ls /", "in out tmp"),
            ("ls /in", "data"),
            ("ls /in/data", "file"),
            ("ls /in/data/file", "ENOTDIR"),
        ],
    );
}

fn symlinks_are_followed_inside_their_tree_only() {
    let mut content = Content::default();
    let file = content.file("hello");
    let links = [
        ("good", "sub/file"),
        ("up", "sub/../file"),
        ("out", "../other/file"),
        ("far", "../../../../etc/passwd"),
        ("absolute", "/in/other/file"),
        ("circle", "circle"),
        ("dangling", "nothing"),
    ];
    let mut entries: Vec<(&str, Built)> =
        links.iter().map(|(name, target)| (*name, content.symlink(target))).collect();
    let back = content.symlink("../file");
    let over = content.symlink("../../other/file");
    let sub = content.directory(&[("file", file), ("back", back), ("over", over)]);
    entries.extend([("sub", sub), ("file", file)]);
    let root = content.directory(&entries);
    let other = content.directory(&[("file", file)]);
    check(
        &content,
        &[("/in/data", root.cid), ("/in/other", other.cid)],
        &[
            ("cat /in/data/good", "hello"),
            ("cat /in/data/up", "hello"),
            ("cat /in/data/sub/back", "hello"),
            ("cat /in/data/sub/over", "EPERM"),
            ("cat /in/data/out", "EPERM"),
            ("cat /in/data/far", "EPERM"),
            ("cat /in/data/absolute", "EPERM"),
            ("cat /in/data/circle", "ELOOP"),
            ("cat /in/data/dangling", "ENOENT"),
            ("readlink /in/data/out", "../other/file"),
            ("stat /in/data/good", "file 5"),
            ("lstat /in/data/good", "symlink 8"),
            ("cat /in/data/../other/file", "hello"),
        ],
    );
}

fn writing_works_as_on_any_unix() {
    let ran = check(
        &Content::default(),
        &[],
        &[
            ("write /out/a hello", "5"),
            ("append /out/a !", "1"),
            ("cat /out/a", "hello!"),
            ("mkdir /out/d", "0"),
            ("mkdir /out/d", "EEXIST"),
            ("mkdir /out/x/y", "ENOENT"),
            ("write /out/d/b world", "5"),
            ("rename /out/a /out/d/a", "0"),
            ("ls /out/d", "a b"),
            ("rmdir /out/d", "ENOTEMPTY"),
            ("unlink /out/d", "EISDIR"),
            ("unlink /out/d/", "EISDIR"),
            ("unlink /out/d/a/", "ENOTDIR"),
            ("unlink /out/none/", "ENOENT"),
            ("symlink a /out/d/new/", "ENOENT"),
            ("truncate /out/d/a 3", "0"),
            ("cat /out/d/a", "hel"),
            ("exclusive /out/d/a", "EEXIST"),
            ("symlink a /out/d/link", "0"),
            ("cat /out/d/link", "hel"),
            ("readlink /out/d/link", "a"),
            ("symlink /etc/passwd /out/d/bad", "EPERM"),
            ("rename /out/d /out/d/self", "EINVAL"),
            ("rename /out/d/b /out/d/a", "0"),
            ("cat /out/d/a", "world"),
            ("unlink /out/d/none", "ENOENT"),
            ("write /tmp/scratch x", "1"),
            ("write /elsewhere x", "EROFS"),
            ("write /in/x x", "EROFS"),
            ("mkdir /new", "EROFS"),
            ("stat /out/d/a", "file 5"),
            ("write /out/empty ", "0"),
            ("mkdir /out/void", "0"),
        ],
    );
    let kinds: Vec<(&str, bool)> = ran
        .nodes
        .iter()
        .map(|node| (node.path.as_str(), matches!(node.kind, OutputKind::Directory)))
        .collect();
    let expected = [("d", true), ("d/a", false), ("d/link", false), ("empty", false), ("void", true)];
    assert_eq!(kinds, expected, "/tmp stays behind");
    assert_eq!(ran.file("d/a"), Some(&b"world"[..]));
    assert_eq!(ran.file("empty"), Some(&b""[..]));
}

fn inputs_can_be_mounted_anywhere_and_never_written() {
    let mut content = Content::default();
    let file = content.file("hello");
    let tree = content.directory(&[("file", file)]);
    check(
        &content,
        &[("/in/data", file.cid), ("/in/deep/er/tree", tree.cid), ("/usr/lib/x", tree.cid)],
        &[
            ("cat /in/data", "hello"),
            ("ls /in", "data deep"),
            ("cat /in/deep/er/tree/file", "hello"),
            ("cat /usr/lib/x/file", "hello"),
            ("ls /", "in out tmp usr"),
            ("write /in/data x", "EROFS"),
            ("append /in/data x", "EROFS"),
            ("truncate /in/data 0", "EROFS"),
            ("unlink /in/data", "EROFS"),
            ("unlink /usr/lib/x/file", "EROFS"),
            ("rename /in/data /out/data", "EROFS"),
            ("rename /usr/lib/x/file /out/file", "EROFS"),
            ("symlink a /usr/lib/x/link", "EROFS"),
            ("mkdir /usr/lib/x/d", "EROFS"),
            ("write /usr/lib/x/new x", "EROFS"),
            ("cat /in/data", "hello"),
        ],
    );
    let ran = fs(&content, &[("/in/a", file.cid), ("/in/a", tree.cid)], &[]);
    assert_eq!(ran.kind(), FaultKind::Malformed);
}

fn node(content: &mut Content, links: Vec<PbLink<'_>>, data: &Data<'_>) -> Cid {
    let bytes = dag_pb::encode(&PbNode { links, data: Some(&data.encode()) });
    content.put(Block::new(DAG_PB, bytes))
}

fn broken_and_cyclic_inputs_are_the_inputs_fault() {
    let mut content = Content::default();
    let file = content.file("hello");
    let garbage = content.put(Block::new(DAG_PB, &b"\xff\xff\xff"[..]));
    // A file whose root promises more than its leaf has.
    let link = |cid| PbLink { cid, name: None, tsize: None };
    let liar = node(
        &mut content,
        vec![link(file.cid)],
        &Data { blocksizes: vec![500], filesize: Some(500), ..Data::new(Kind::File) },
    );
    // Files nested far deeper than any tool makes them: as near to a cycle as hashes let one come.
    let mut deep = file.cid;
    for _ in 0..100 {
        let data = Data { blocksizes: vec![5], filesize: Some(5), ..Data::new(Kind::File) };
        deep = node(&mut content, vec![link(deep)], &data);
    }
    for (what, root) in [("garbage", garbage), ("liar", liar), ("deep", deep)] {
        let ran = fs(&content, &[("/in/data", root)], &["cat /in/data"]);
        assert_eq!(ran.kind(), FaultKind::Malformed, "{what}");
        assert!(ran.fault().detail.starts_with("malformed input"), "{}", ran.fault());
    }
    // What is not touched does no harm.
    let mut entries = vec![PbLink { cid: garbage, name: Some("bad"), tsize: None }];
    entries.push(PbLink { cid: file.cid, name: Some("good"), tsize: None });
    let root = node(&mut content, entries, &Data::new(Kind::Directory));
    check(&content, &[("/in/data", root)], &[("cat /in/data/good", "hello")]);
}

fn directories_of_every_kind_are_listed_in_order() {
    let mut content = Content::default();
    let file = content.file("x");
    let names: Vec<String> = (0..6000).map(|n| format!("a-name-long-enough-to-make-a-trie-{n}")).collect();
    let entries: Vec<_> = names.iter().map(|name| (name.as_str(), file)).collect();
    let trie = content.directory(&entries);
    let ran = fs(
        &content,
        &[("/in/data", trie.cid)],
        &["ls /in/data", "cat /in/data/a-name-long-enough-to-make-a-trie-77"],
    );
    assert_eq!(ran.exit(), 0, "{}", ran.errors());
    let mut sorted = names.clone();
    sorted.sort();
    let (listing, rest) = ran.text().split_once('\n').unwrap();
    assert_eq!(listing, format!("ls /in/data: {}", sorted.join(" ")));
    assert!(rest.ends_with(": x\n"));
    let missing = fs(&content, &[("/in/data", trie.cid)], &["cat /in/data/none"]);
    assert_eq!(missing.text(), "cat /in/data/none: ENOENT\n");
}
