//! Sealed content: what the node is given, who can open it, and what happens to those who change it.

use crate::{noise, programs};
use adit_tests::{Finished, Node, peak_memory};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

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

    fn command(&self, words: &[&str]) -> Command {
        let mut command = self.node.command(words);
        command.env("ADIT_KEYS", &self.keys);
        command
    }

    /// Checks that a command takes little memory, and gives what it prints.
    fn small(&self, words: &[&str]) -> Result<String> {
        let mut child = self.command(words).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let mut peak = 0;
        let ended = loop {
            // Nothing is there to be read once it has ended.
            peak = peak_memory(child.id()).unwrap_or_default().max(peak);
            if let Some(ended) = child.try_wait()? {
                break ended;
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        println!("adit {}: {} KiB at most", words[0], peak >> 10);
        ensure!(ended.success(), "adit {}: {ended}", words.join(" "));
        ensure!((1 << 20..48 << 20).contains(&peak), "adit {} took {} KiB", words[0], peak >> 10);
        Ok(std::io::read_to_string(child.stdout.take().context("a pipe")?)?)
    }

    fn adit(&self, words: &[&str], input: &[u8]) -> Result<Finished> {
        use std::io::Write;
        let mut command = self.command(words);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::piped()).spawn()?;
        // A command that does not want its input may be gone already.
        let _ = child.stdin.take().context("a pipe")?.write_all(input);
        Ok(Finished::of(&command, child.wait_with_output()?))
    }
}

fn mode(path: &Path) -> Result<u32> {
    use std::os::unix::fs::PermissionsExt;
    Ok(fs::metadata(path)?.permissions().mode() & 0o777)
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
    owner.adit(&["key", "export", "--secret", "-o", text(&at("identity"))], b"")?.expect(0)?;
    assert_eq!(mode(&at("identity"))?, 0o600);
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
    assert_eq!(mode(&at("back"))?, 0o600, "what was opened is for one person");
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
    assert_eq!(mode(&file)?, 0o600);
    let backup = folder.path().join("backup");
    restored.adit(&["key", "backup", "-o", text(&backup)], b"")?.expect(0)?;
    assert_eq!((mode(&backup)?, fs::read_to_string(&backup)?.trim_end()), (0o600, &phrase[..]));
    restored.adit(&["key", "backup", "-o", text(&backup)], b"")?.expect(1)?;
    // Listed beside the node's; alone, where no node answers.
    let listed = restored.adit(&["--json", "key", "ls"], b"")?.expect(0)?.json()?;
    assert_eq!((&listed[0]["key"], &listed[1]["recipient"]), (&"self".into(), &to[..].into()));
    let alone = ["--api", "http://127.0.0.1:1", "key", "ls"];
    assert!(restored.adit(&alone, b"")?.expect(0)?.text().contains(&to));
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
    assert_eq!(
        [mode(&back)?, mode(&back.join("a b"))?, mode(&back.join("a/hidden-name/data"))?],
        [0o700, 0o700, 0o600]
    );
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
fn directories_that_are_no_sealed_trees_are_refused_and_leave_nothing() -> Result<()> {
    let node = Node::start(&programs(), &[])?;
    let folder = tempfile::tempdir()?;
    let (owner, _) = Person::new(&node, folder.path(), "owner")?;
    let (tree, plain) = (folder.path().join("tree"), folder.path().join("plain"));
    let refused = |name: &str, code: i32, why: &str| -> Result<()> {
        let cid = node.add(&tree)?;
        let out = folder.path().join("out");
        let said = owner.adit(&["unseal", &cid, "-o", text(&out)], b"")?.expect(code)?.stderr;
        ensure!(said.contains(why) && !out.exists(), "{name}: {said}");
        Ok(fs::remove_file(tree.join(name))?)
    };
    fs::create_dir(&tree)?;
    fs::write(tree.join("other"), "text")?;
    refused("other", 2, "it has no `manifest`")?;
    fs::write(tree.join("manifest"), "text")?;
    refused("manifest", 2, "not in the age format")?;
    // Both are sealed to the one who opens them: by a stranger, who knows the recipient.
    for (len, why) in [(1 << 10, "no manifest of a sealed tree"), ((64 << 20) + 1, "manifest is too long")] {
        fs::File::create(&plain)?.set_len(len)?;
        owner.adit(&["seal", text(&plain), "-o", text(&tree.join("manifest"))], b"")?.expect(0)?;
        refused("manifest", 5, why)?;
    }
    Ok(())
}

#[test]
fn a_large_file_is_sealed_and_opened_in_little_memory() -> Result<()> {
    const LEN: u64 = 128 << 20;
    let node = Node::start(&programs(), &[])?;
    let folder = tempfile::tempdir()?;
    let (owner, to) = Person::new(&node, folder.path(), "owner")?;
    let at = |name: &str| folder.path().join(name);
    fs::File::create(at("plain"))?.set_len(LEN)?;
    let (plain, local, back) = (at("plain"), at("local"), at("back"));
    let sealed = owner.small(&["seal", text(&plain)])?;
    let cid = sealed.split(' ').next().context("a CID")?;
    owner.small(&["seal", text(&plain), "-o", text(&local)])?;
    owner.small(&["seal", "rotate", cid, "--to", &to])?;
    owner.small(&["unseal", cid, "-o", text(&back)])?;
    ensure!(fs::metadata(&back)?.len() == LEN);
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
