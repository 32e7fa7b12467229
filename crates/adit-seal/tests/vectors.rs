//! age's own test vectors, and age's own program.

use adit_seal::OsRandom;
use adit_seal::age::{
    CHUNK, FileKey, Header, HeaderError, Identity, Opener, PayloadNonce, SEALED_CHUNK, Sealer,
};
use sha2::{Digest, Sha256};
use std::path::Path;
use std::process::Command;

#[derive(Debug, PartialEq)]
enum Ended {
    Success,
    NoMatch,
    Hmac,
    Header,
    Payload,
}

/// Opens a whole file, a few bytes at a time, and gives what came out before it ended.
fn open(file: &[u8], identities: &[Identity]) -> (Ended, Vec<u8>) {
    let mut plain = Vec::new();
    let header = match Header::parse(file) {
        Ok(Some(header)) => header,
        Ok(None) | Err(_) => return (Ended::Header, plain),
    };
    let key = match header.unwrap(identities) {
        Ok(key) => key,
        Err(HeaderError::NotForUs) => return (Ended::NoMatch, plain),
        Err(HeaderError::Mac) => return (Ended::Hmac, plain),
        Err(_) => return (Ended::Header, plain),
    };
    let payload = &file[header.as_bytes().len()..];
    let Some((nonce, payload)) = payload.split_first_chunk() else { return (Ended::Header, plain) };
    let mut opener = Opener::new(&key, PayloadNonce(*nonce));
    for piece in payload.chunks(10_007) {
        if opener.update(piece, &mut plain).is_err() {
            return (Ended::Payload, plain);
        }
    }
    let ended = if opener.finish(&mut plain).is_ok() { Ended::Success } else { Ended::Payload };
    (ended, plain)
}

#[test]
fn the_vectors_of_age_end_as_they_should() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/age");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some() {
            continue;
        }
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let bytes = std::fs::read(&path).unwrap();
        let split = bytes.windows(2).position(|pair| pair == b"\n\n").unwrap();
        let (head, mut file) = (std::str::from_utf8(&bytes[..split]).unwrap(), bytes[split + 2..].to_vec());
        let value = |key: &str| head.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(": "));
        if value("compressed") == Some("zlib") {
            file = miniz_oxide::inflate::decompress_to_vec_zlib(&file).unwrap();
        }
        let identities: Vec<_> = head.lines().filter_map(|line| line.strip_prefix("identity: ")).collect();
        let identities: Vec<_> = identities.iter().map(|text| Identity::parse(text).unwrap()).collect();
        let (ended, plain) = open(&file, &identities);
        let expected = match value("expect").unwrap() {
            "success" => Ended::Success,
            "no match" => Ended::NoMatch,
            "HMAC failure" => Ended::Hmac,
            "header failure" => Ended::Header,
            "payload failure" => Ended::Payload,
            other => panic!("{name} expects {other}"),
        };
        assert_eq!(ended, expected, "{name}");
        if let Some(hash) = value("payload") {
            let got = data_encoding::HEXLOWER.encode(&Sha256::digest(&plain));
            // We may give less than the reference when the end is wrong, never anything else.
            let allowed = got == hash || (ended == Ended::Payload && plain.len() % CHUNK == 0);
            assert!(allowed, "{name}: {} bytes came out", plain.len());
        }
        count += 1;
    }
    assert!(count >= 60, "only {count} vectors were found");
}

fn seal(plain: &[u8], identity: &Identity, piece: usize) -> Vec<u8> {
    let key = FileKey::generate(&mut OsRandom);
    let header = Header::write(&key, &[identity.recipient()], &mut OsRandom).unwrap();
    let nonce = PayloadNonce::generate(&mut OsRandom);
    let mut file = [header.as_bytes(), &nonce.0].concat();
    let mut sealer = Sealer::new(&key, nonce);
    plain.chunks(piece).for_each(|piece| sealer.update(piece, &mut file));
    sealer.finish(&mut file);
    file
}

const SIZES: [usize; 7] = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 10_000_000];

fn content(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i ^ i >> 8 ^ i >> 16) as u8).collect()
}

#[test]
fn what_is_sealed_opens_and_cut_or_changed_it_does_not() {
    let identity = Identity::generate(&mut OsRandom);
    for len in SIZES {
        let plain = content(len);
        let file = seal(&plain, &identity, 77_777);
        let identities = [identity.clone()];
        assert_eq!(open(&file, &identities), (Ended::Success, plain.clone()), "{len} bytes");
        let payload = Header::parse(&file).unwrap().unwrap().as_bytes().len() + PayloadNonce::LEN;
        let boundaries = (payload..file.len()).step_by(SEALED_CHUNK);
        // Of the long file only the first boundaries, each of which costs an opening.
        for boundary in boundaries.take(5).chain([file.len() - 1]) {
            let (ended, part) = open(&file[..boundary], &identities);
            assert!(ended == Ended::Payload && plain.starts_with(&part), "{len} bytes cut at {boundary}");
        }
        for at in (payload - PayloadNonce::LEN..file.len()).step_by(file.len() / 10 + 1) {
            let mut bad = file.clone();
            bad[at] ^= 0x10;
            let (ended, part) = open(&bad, &identities);
            assert!(ended == Ended::Payload && plain.starts_with(&part), "{len} bytes changed at {at}");
        }
        let (ended, _) = open(&[&file[..], b"x"].concat(), &identities);
        assert_eq!(ended, Ended::Payload, "{len} bytes and one more");
    }
}

/// Debian's `age`, installed by `cargo xtask test`. Elsewhere the test says that it is skipped; in CI that is an error.
fn age() -> Option<Command> {
    let found = Command::new("age").arg("--version").output().is_ok_and(|output| output.status.success());
    assert!(found || std::env::var_os("CI").is_none(), "the program age is missing");
    if !found {
        eprintln!("SKIPPED: the program age is not installed (Debian package age)");
    }
    found.then(|| Command::new("age"))
}

#[test]
fn ages_own_program_opens_ours_and_we_open_its() {
    if age().is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let identity = Identity::generate(&mut OsRandom);
    let (key, ours, theirs, back) = (
        folder.path().join("key.txt"),
        folder.path().join("ours.age"),
        folder.path().join("theirs.age"),
        folder.path().join("plain"),
    );
    std::fs::write(&key, identity.to_secret_text().as_bytes()).unwrap();
    for len in SIZES {
        let plain = content(len);
        std::fs::write(&ours, seal(&plain, &identity, 1 << 20)).unwrap();
        let status = age().unwrap().arg("-d").arg("-i").arg(&key).arg("-o").arg(&back).arg(&ours).status();
        // age makes no file where there is nothing to write.
        let opened = std::fs::read(&back).unwrap_or_default();
        assert!(status.unwrap().success() && opened == plain, "age opens {len} bytes");
        std::fs::write(&back, &plain).unwrap();
        let to = identity.recipient().to_string();
        let status = age().unwrap().args(["-r", &to, "-o"]).arg(&theirs).arg(&back).status();
        assert!(status.unwrap().success(), "age seals {len} bytes");
        let file = std::fs::read(&theirs).unwrap();
        assert_eq!(
            open(&file, std::slice::from_ref(&identity)),
            (Ended::Success, plain),
            "we open {len} bytes of age's"
        );
    }
}
