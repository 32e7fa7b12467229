//! Round trips, agreement with the system's `tar`, and hostile streams.

use super::*;
use tokio::io::AsyncReadExt;

fn file(path: &str, size: u64) -> Entry {
    Entry { path: path.into(), kind: Kind::File { size }, mode: 0o644, mtime: 1_700_000_000 }
}

fn archive(entries: &[(Entry, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (entry, data) in entries {
        out.extend(header(entry));
        out.extend(*data);
        out.extend(padding(data.len() as u64));
    }
    out.extend(END);
    out
}

async fn read_all(bytes: &[u8]) -> Result<Vec<(Entry, Vec<u8>)>, TarError> {
    let mut reader = Reader::new(bytes);
    let mut out = Vec::new();
    while let Some(entry) = reader.next().await? {
        let mut data = Vec::new();
        reader.read_to_end(&mut data).await?;
        out.push((entry, data));
    }
    Ok(out)
}

#[tokio::test]
async fn what_is_written_is_read_back() {
    let long = "d/".repeat(120) + "ü";
    let entries = [
        (Entry { path: String::new(), kind: Kind::Directory, mode: 0o755, mtime: 0 }, &b""[..]),
        (file("a", 5), b"hello"),
        (file("empty", 0), b""),
        (Entry { path: "d".into(), kind: Kind::Directory, mode: 0o755, mtime: -5 }, b""),
        (file(&long, 512), &[7; 512]),
        (
            Entry {
                path: "l".into(),
                kind: Kind::Symlink { target: "x/".repeat(90) },
                mode: 0o777,
                mtime: 1,
            },
            b"",
        ),
    ];
    let read = read_all(&archive(&entries)).await.unwrap();
    assert_eq!(read.len(), entries.len());
    for ((entry, data), (read_entry, read_data)) in entries.iter().zip(&read) {
        assert_eq!((entry, *data), (read_entry, read_data.as_slice()));
    }
}

#[tokio::test]
async fn unread_data_is_skipped() {
    let bytes = archive(&[(file("a", 1000), &[1; 1000]), (file("b", 1), b"b")]);
    let mut reader = Reader::new(bytes.as_slice());
    assert_eq!(reader.next().await.unwrap().unwrap().path, "a");
    assert_eq!(reader.next().await.unwrap().unwrap().path, "b");
    assert!(reader.next().await.unwrap().is_none());
}

#[tokio::test]
async fn a_size_beyond_octal_survives() {
    let mut reader = Reader::new(std::io::Cursor::new(header(&file("big", 1 << 40))));
    assert_eq!(reader.next().await.unwrap().unwrap().kind, Kind::File { size: 1 << 40 });
}

#[tokio::test]
async fn paths_that_leave_are_refused() {
    for path in ["../x", "a/../../x", "/etc/passwd", "a/.."] {
        let bytes = archive(&[(file(path, 0), b"")]);
        assert!(matches!(read_all(&bytes).await, Err(TarError::Path { .. })), "{path}");
    }
}

#[tokio::test]
async fn broken_streams_are_refused() {
    let whole = archive(&[(file("a", 600), &[1; 600])]);
    for cut in [0, 100, 512, 700, 1112, 1535] {
        assert!(read_all(&whole[..cut]).await.is_err(), "cut at {cut}");
    }
    let mut wrong = whole.clone();
    wrong[0] ^= 1;
    assert!(matches!(read_all(&wrong).await, Err(TarError::Malformed(_))));
    for kind in [b'1', b'3', b'4', b'6', b'7', b'L'] {
        let mut special = archive(&[(file("a", 0), b"")]);
        let old = u32::from(special[156]);
        special[156] = kind;
        let sum = u32::from_str_radix(std::str::from_utf8(&special[148..154]).unwrap(), 8).unwrap();
        special[148..154].copy_from_slice(format!("{:06o}", sum - old + u32::from(kind)).as_bytes());
        assert!(read_all(&special).await.is_err());
    }
}

#[tokio::test]
async fn an_extended_header_cannot_make_us_reserve_much() {
    let mut bytes = header(&file("pax", u64::from(u32::MAX)));
    let old = u32::from(bytes[156]);
    bytes[156] = b'x';
    let sum = u32::from_str_radix(std::str::from_utf8(&bytes[148..154]).unwrap(), 8).unwrap();
    bytes[148..154].copy_from_slice(format!("{:06o}", sum - old + u32::from(b'x')).as_bytes());
    assert!(matches!(read_all(&bytes).await, Err(TarError::Malformed(_))));
}

#[tokio::test]
async fn unpacking_never_writes_through_a_link() {
    let dir = tempfile::tempdir().unwrap();
    let outside = dir.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    let link = |target: &str| Entry {
        path: "l".into(),
        kind: Kind::Symlink { target: target.into() },
        mode: 0o777,
        mtime: 0,
    };
    let root = Entry { path: String::new(), kind: Kind::Directory, mode: 0o755, mtime: 0 };
    let escape =
        archive(&[(root.clone(), b""), (link(outside.to_str().unwrap()), b""), (file("l/x", 1), b"x")]);
    let into = dir.path().join("t1");
    assert!(matches!(unpack(escape.as_slice(), &into).await, Err(UnpackError::ThroughLink { .. })));
    assert!(!outside.join("x").exists());

    // A file in the place of a link that leads outside: created anew or not at all.
    let replace =
        archive(&[(root, b""), (link(outside.join("y").to_str().unwrap()), b""), (file("l", 1), b"x")]);
    let into = dir.path().join("t2");
    assert!(matches!(unpack(replace.as_slice(), &into).await, Err(UnpackError::Exists { .. })));
    assert!(!outside.join("y").exists());
}

#[tokio::test]
async fn the_systems_tar_agrees_in_both_directions() {
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("tree");
    std::fs::create_dir_all(tree.join("sub")).unwrap();
    std::fs::write(tree.join("sub/ünïcode"), b"u").unwrap();
    std::fs::write(tree.join("plain"), vec![9; 3000]).unwrap();
    std::os::unix::fs::symlink("plain", tree.join("link")).unwrap();
    let run = |args: &[&str], input: &[u8]| -> Option<Vec<u8>> {
        use std::io::Write;
        let mut child = std::process::Command::new("tar")
            .args(args)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .ok()?;
        child.stdin.take()?.write_all(input).ok()?;
        let output = child.wait_with_output().ok()?;
        output.status.success().then_some(output.stdout)
    };
    let Some(theirs) = run(&["c", "--format=pax", "-C", tree.to_str().unwrap(), "."], b"") else {
        eprintln!("skipped: no `tar` here");
        return;
    };
    let copy = dir.path().join("copy");
    assert_eq!(unpack(theirs.as_slice(), &copy).await.unwrap(), 3001);
    assert_eq!(std::fs::read(copy.join("sub/ünïcode")).unwrap(), b"u");
    assert_eq!(std::fs::read_link(copy.join("link")).unwrap().to_str(), Some("plain"));

    let ours =
        archive(&[(file("one", 3), b"abc"), (file(&("n".repeat(90) + "/" + &"m".repeat(90)), 1), b"z")]);
    let listed = run(&["t"], &ours).expect("tar lists what we wrote");
    assert_eq!(String::from_utf8(listed).unwrap().lines().count(), 2);
}
