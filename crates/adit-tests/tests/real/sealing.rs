//! Sealed content: what the node is given, who can open it, and what happens to those who change it.

use crate::{noise, programs};
use adit_tests::{Finished, Node};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A person with keys of its own, at somebody's node.
struct Person<'a> {
    node: &'a Node,
    keys: PathBuf,
}

impl<'a> Person<'a> {
    fn new(node: &'a Node, folder: &Path, name: &str) -> Result<(Self, String)> {
        let person = Self { node, keys: folder.join(name) };
        let recipient = person.adit(&["key", "new"], b"")?.expect(0)?.line();
        Ok((person, recipient))
    }

    fn adit(&self, words: &[&str], input: &[u8]) -> Result<Finished> {
        use std::io::Write;
        let mut command = self.node.command(words);
        command.env("ADIT_KEYS", &self.keys);
        command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        let mut child = command.stderr(std::process::Stdio::piped()).spawn()?;
        // A command that does not want its input may be gone already.
        let _ = child.stdin.take().context("a pipe")?.write_all(input);
        Ok(Finished::of(&command, child.wait_with_output()?))
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}

#[test]
fn a_sealed_file_opens_for_its_recipients_and_the_node_never_sees_it() -> Result<()> {
    let node = Node::start(&programs(), &[])?;
    let folder = tempfile::tempdir()?;
    let (owner, _) = Person::new(&node, folder.path(), "owner")?;
    let (reader, to) = Person::new(&node, folder.path(), "reader")?;
    let (stranger, _) = Person::new(&node, folder.path(), "stranger")?;
    let plain = folder.path().join("plain");
    for (length, seed) in [(0, 1), (10, 2), (2_500_000, 3)] {
        fs::write(&plain, noise(length, seed))?;
        let sealed = owner.adit(&["--json", "seal", text(&plain), "--to", &to], b"")?.expect(0)?.json()?;
        let cid = sealed["cid"].as_str().context("a CID")?.to_owned();
        assert_eq!(reader.adit(&["unseal", &cid], b"")?.expect(0)?.stdout, noise(length, seed));
        for other in [&owner, &stranger] {
            let refused = other.adit(&["unseal", &cid], b"")?.expect(5)?;
            assert!(refused.stdout.is_empty() && refused.stderr.contains("sealed to somebody else"));
        }
        // What lies in the node is an age file, and the header stands in a block of its own.
        let stored = node.adit(&["cat", &cid])?.expect(0)?.stdout;
        assert!(sealed["size"].as_u64() > Some(stored.len() as u64));
        assert!(stored.starts_with(b"age-encryption.org/v1\n-> X25519 "));
        if length > 100 {
            let marker = &noise(length, seed)[1000..1032];
            assert!(!stored.windows(32).any(|window| window == marker));
            let range = ["unseal", &cid, "--offset", "983030", "--length", "100"];
            assert_eq!(reader.adit(&range, b"")?.expect(0)?.stdout, noise(length, seed)[983_030..983_130]);
        }
        // It was pinned: a collection leaves it.
        node.adit(&["repo", "gc"])?.expect(0)?;
        assert_eq!(reader.adit(&["unseal", &cid], b"")?.expect(0)?.stdout.len(), length);
    }
    Ok(())
}

#[test]
fn ages_own_program_and_ours_open_each_others_files() -> Result<()> {
    let found = Command::new("age").arg("--version").output().is_ok();
    if !found && std::env::var_os("CI").is_none() {
        eprintln!("SKIPPED: the program age is not installed (Debian package age)");
        return Ok(());
    }
    let node = Node::start(&programs(), &[])?;
    let folder = tempfile::tempdir()?;
    let (owner, to) = Person::new(&node, folder.path(), "owner")?;
    let at = |name: &str| folder.path().join(name);
    fs::write(at("plain"), noise(200_000, 1))?;
    fs::write(at("identity"), owner.adit(&["key", "export", "--secret"], b"")?.expect(0)?.stdout)?;
    // Without --to it is sealed to oneself.
    let cid = owner.adit(&["seal", text(&at("plain"))], b"")?.expect(0)?.line();
    let cid = cid.split(' ').next().context("a CID")?;
    fs::write(at("stored"), node.adit(&["cat", cid])?.expect(0)?.stdout)?;
    owner.adit(&["seal", text(&at("plain")), "-o", text(&at("local"))], b"")?.expect(0)?;
    for sealed in ["stored", "local"] {
        let age = Command::new("age").arg("-d").arg("-i").arg(at("identity")).arg(at(sealed)).output()?;
        ensure!(
            age.stdout == noise(200_000, 1),
            "age opens {sealed}: {}",
            String::from_utf8_lossy(&age.stderr)
        );
    }
    let status = Command::new("age").args(["-r", &to, "-o"]).arg(at("theirs")).arg(at("plain")).status()?;
    ensure!(status.success());
    owner.adit(&["unseal", text(&at("theirs")), "-o", text(&at("back"))], b"")?.expect(0)?;
    assert_eq!(fs::read(at("back"))?, noise(200_000, 1));
    let (stranger, _) = Person::new(&node, folder.path(), "stranger")?;
    let (theirs, identity) = (at("theirs"), at("identity"));
    let named = ["unseal", text(&theirs), "-i", text(&identity)];
    assert_eq!(stranger.adit(&named, b"")?.expect(0)?.stdout, noise(200_000, 1));
    Ok(())
}

#[test]
fn what_was_changed_or_cut_is_not_opened_and_leaves_no_file() -> Result<()> {
    let node = Node::start(&programs(), &[])?;
    let folder = tempfile::tempdir()?;
    let (owner, _) = Person::new(&node, folder.path(), "owner")?;
    let at = |name: &str| folder.path().join(name);
    fs::write(at("plain"), noise(1_200_000, 1))?;
    owner.adit(&["seal", text(&at("plain")), "-o", text(&at("sealed"))], b"")?.expect(0)?;
    let sealed = fs::read(at("sealed"))?;
    let mut changed = sealed.clone();
    changed[1_100_000] ^= 1;
    // Whole chunks are left, so that only the mark of the last one can tell.
    let cut = &sealed[..sealed.len() - 1_200_000 % 65536 - 16];
    for (name, bytes) in [("changed", &changed[..]), ("cut", cut)] {
        let cid = {
            fs::write(at(name), bytes)?;
            node.add(&at(name))?
        };
        for from in [text(&at(name)), &cid] {
            let refused = owner.adit(&["unseal", from, "-o", text(&at("out"))], b"")?.expect(5)?;
            assert!(
                refused.stderr.contains("damaged, moved, or the content was cut short"),
                "{}",
                refused.stderr
            );
            assert!(!at("out").exists());
        }
    }
    Ok(())
}

#[test]
fn one_phrase_restores_a_persons_keys_and_says_nothing_unasked() -> Result<()> {
    let node = Node::start(&programs(), &[])?;
    let folder = tempfile::tempdir()?;
    let (owner, to) = Person::new(&node, folder.path(), "owner")?;
    fs::write(folder.path().join("plain"), "the secret")?;
    let sealed = owner.adit(&["seal", text(&folder.path().join("plain"))], b"")?.expect(0)?.line();
    let cid = sealed.split(' ').next().context("a CID")?;
    let phrase = owner.adit(&["key", "backup"], b"")?.expect(0)?.line();
    assert_eq!(phrase.split(' ').count(), 24);
    let again = owner.adit(&["key", "new"], b"")?.expect(1)?;
    let shown = owner.adit(&["--json", "key", "export"], b"")?.expect(0)?;
    for said in [&again, &shown] {
        let said = format!("{}{}", said.text(), said.stderr);
        assert!(!said.contains(&phrase[..20]) && !said.contains("AGE-SECRET"));
    }
    let restored = Person { node: &node, keys: folder.path().join("elsewhere") };
    assert!(restored.adit(&["unseal", cid], b"")?.expect(3)?.stderr.contains("adit key restore"));
    let wrong = phrase.replacen(' ', " wrong ", 1);
    let refused = restored.adit(&["key", "restore"], wrong.as_bytes())?.expect(2)?;
    assert!(!refused.stderr.contains("wrong "), "the words are not repeated: {}", refused.stderr);
    assert_eq!(restored.adit(&["key", "restore"], phrase.as_bytes())?.expect(0)?.line(), to);
    assert_eq!(restored.adit(&["unseal", cid], b"")?.expect(0)?.stdout, b"the secret");

    use std::os::unix::fs::PermissionsExt;
    let file = restored.keys.join("recovery-phrase");
    assert_eq!(fs::metadata(&file)?.permissions().mode() & 0o777, 0o600);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644))?;
    assert!(restored.adit(&["unseal", cid], b"")?.expect(5)?.stderr.contains("can be read by others"));
    Ok(())
}

#[test]
fn a_sealed_tree_hides_its_names_and_comes_back_whole_or_file_by_file() -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let node = Node::start(&programs(), &[])?;
    let folder = tempfile::tempdir()?;
    let (owner, _) = Person::new(&node, folder.path(), "owner")?;
    let (stranger, _) = Person::new(&node, folder.path(), "stranger")?;
    let tree = folder.path().join("tree");
    fs::create_dir_all(tree.join("a/hidden-name"))?;
    fs::create_dir(tree.join("empty"))?;
    fs::write(tree.join("a/hidden-name/data"), noise(1_500_000, 1))?;
    fs::write(tree.join("a b"), "next to it")?;
    fs::set_permissions(tree.join("a b"), fs::Permissions::from_mode(0o755))?;
    let sealed = owner.adit(&["seal", text(&tree)], b"")?.expect(0)?.line();
    let cid = sealed.split(' ').next().context("a CID")?;

    let back = folder.path().join("back");
    owner.adit(&["unseal", cid, "-o", text(&back)], b"")?.expect(0)?;
    assert_eq!(fs::read(back.join("a/hidden-name/data"))?, noise(1_500_000, 1));
    assert_eq!(fs::read(back.join("a b"))?, b"next to it");
    assert_ne!(fs::metadata(back.join("a b"))?.permissions().mode() & 0o100, 0);
    assert!(back.join("empty").is_dir() && fs::read_dir(back.join("empty"))?.next().is_none());
    let part = ["unseal", cid, "--file", "a/hidden-name/data", "--offset", "1400000", "--length", "9"];
    assert_eq!(owner.adit(&part, b"")?.expect(0)?.stdout, noise(1_500_000, 1)[1_400_000..1_400_009]);
    owner.adit(&["unseal", cid, "--file", "a/none"], b"")?.expect(3)?;
    owner.adit(&["unseal", cid], b"")?.expect(2)?;
    stranger.adit(&["unseal", cid, "-o", text(&folder.path().join("out"))], b"")?.expect(5)?;

    // All that the node holds of it: two kinds of names, and no word of ours.
    let entries = node.json(&["ls", cid])?;
    let names: Vec<_> = entries.as_array().context("a list")?.iter().map(|entry| &entry["name"]).collect();
    assert_eq!(names, ["manifest", "pack-000000"]);
    let car = node.adit(&["dag", "export", cid])?.expect(0)?.stdout;
    for word in ["hidden-name", "next to it", "empty"] {
        assert!(!car.windows(word.len()).any(|window| window == word.as_bytes()), "{word}");
    }

    // A link would lead out of the tree, or change what it means: it is refused by name.
    std::os::unix::fs::symlink("/etc", tree.join("link"))?;
    assert!(owner.adit(&["seal", text(&tree)], b"")?.expect(2)?.stderr.contains("link"));
    Ok(())
}

#[test]
fn parts_of_a_sealed_tree_cannot_stand_for_each_other() -> Result<()> {
    let node = Node::start(&programs(), &[])?;
    let folder = tempfile::tempdir()?;
    let (owner, _) = Person::new(&node, folder.path(), "owner")?;
    let tree = folder.path().join("tree");
    fs::create_dir(&tree)?;
    fs::write(tree.join("data"), noise(1000, 1))?;
    let seal = || -> Result<String> {
        let line = owner.adit(&["seal", text(&tree)], b"")?.expect(0)?.line();
        Ok(line.split(' ').next().context("a CID")?.to_owned())
    };
    let (one, two) = (seal()?, seal()?);
    let mixed = folder.path().join("mixed");
    let swap = |manifest: &str, pack: &str| -> Result<String> {
        let _ = fs::remove_dir_all(&mixed);
        fs::create_dir(&mixed)?;
        fs::write(mixed.join("manifest"), node.adit(&["cat", manifest])?.expect(0)?.stdout)?;
        fs::write(mixed.join("pack-000000"), node.adit(&["cat", pack])?.expect(0)?.stdout)?;
        node.add(&mixed)
    };
    let right = swap(&format!("{one}/manifest"), &format!("{one}/pack-000000"))?;
    owner.adit(&["unseal", &right, "--file", "data"], b"")?.expect(0)?;
    for (manifest, pack) in [
        (format!("{one}/manifest"), format!("{two}/pack-000000")),
        (format!("{one}/manifest"), format!("{one}/manifest")),
        (format!("{one}/pack-000000"), format!("{one}/pack-000000")),
    ] {
        let wrong = swap(&manifest, &pack)?;
        owner.adit(&["unseal", &wrong, "--file", "data"], b"")?.expect(5)?;
    }
    Ok(())
}

#[test]
fn rotation_shuts_out_of_what_is_new_and_not_of_what_was() -> Result<()> {
    let node = Node::start(&programs(), &[])?;
    let folder = tempfile::tempdir()?;
    let (owner, me) = Person::new(&node, folder.path(), "owner")?;
    let (reader, to) = Person::new(&node, folder.path(), "reader")?;
    let at = |name: &str| folder.path().join(name);
    let content = noise(2_000_000, 1);
    fs::create_dir(at("tree"))?;
    fs::write(at("tree/one"), &content)?;
    fs::write(at("tree/two"), "2")?;
    let rotate = |by: &Person<'_>, what: &str| by.adit(&["seal", "rotate", what], b"");
    for (path, file) in [("tree/one", None), ("tree", Some("one"))] {
        let path = at(path);
        let seal = ["--json", "seal", text(&path), "--to", &me, "--to", &to];
        let old = owner.adit(&seal, b"")?.expect(0)?.json()?["cid"].as_str().context("a CID")?.to_owned();
        let open = |by: &Person<'_>, cid: &str| {
            by.adit(&[&["unseal", cid][..], file.map_or(&[][..], |_| &["--file", "one"])].concat(), b"")
        };
        let rotated = rotate(&owner, &old)?.expect(0)?;
        assert!(rotated.stderr.contains("whoever could open it still can"), "{}", rotated.stderr);
        let new = rotated.line();
        assert_ne!(new, old);
        assert!(open(&owner, &new)?.expect(0)?.stdout == content);
        assert!(open(&reader, &new)?.expect(5)?.stdout.is_empty());
        assert!(rotate(&reader, &new)?.expect(5)?.stdout.is_empty());
        // The limit: what was sealed to the reader once stays so.
        assert!(open(&reader, &old)?.expect(0)?.stdout == content);
    }
    // From one file of this machine into another, and never half of one.
    owner.adit(&["seal", text(&at("tree/one")), "-o", text(&at("old"))], b"")?.expect(0)?;
    let into = |old: &str, new: &str| {
        owner.adit(&["seal", "rotate", text(&at(old)), "--to", &to, "-o", text(&at(new))], b"")
    };
    into("old", "new")?.expect(0)?;
    assert!(reader.adit(&["unseal", text(&at("new"))], b"")?.expect(0)?.stdout == content);
    let mut damaged = fs::read(at("old"))?;
    damaged[1_500_000] ^= 1;
    fs::write(at("damaged"), damaged)?;
    into("damaged", "none")?.expect(5)?;
    assert!(!at("none").exists());
    Ok(())
}
