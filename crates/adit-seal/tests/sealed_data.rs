//! The checked-in test vectors of `docs/spec/sealed-data.md`: a change of any byte of the format shows here.
//! `ADIT_WRITE_VECTORS=1 cargo test -p adit-seal --test sealed_data` writes them anew.

use adit_seal::Random;
use adit_seal::age::{FileKey, Header, Identity, Opener, PayloadNonce};
use adit_seal::file::FileWriter;
use adit_seal::phrase::RecoveryPhrase;
use adit_seal::tree::{Manifest, ManifestError, PACK, TreeWriter, padded};
use adit_unixfs::Block;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::path::Path;

const WORDS: &str = "test test test test test test test test test test test junk";

/// SHA-256 of a name and a number, again and again. Never for anything but vectors.
#[derive(Clone)]
struct Fixed(&'static str, u64);

impl Random for Fixed {
    fn fill(&mut self, bytes: &mut [u8]) {
        for part in bytes.chunks_mut(32) {
            let block = Sha256::digest(format!("adit vector {} {}", self.0, self.1));
            part.copy_from_slice(&block[..part.len()]);
            self.1 += 1;
        }
    }
}

/// What is sealed: byte number i is the lowest byte of 31·i.
fn content(len: usize) -> Vec<u8> {
    (0..len).map(|i| (31 * i) as u8).collect()
}

fn file(name: &'static str, len: usize, me: &Identity) -> Value {
    let mut random = Fixed(name, 0);
    let key = FileKey::generate(&mut random);
    let other = Identity::generate(&mut random).recipient();
    let header = Header::write(&key, &[me.recipient(), other], &mut random).unwrap();
    let nonce = PayloadNonce::generate(&mut random);
    let mut blocks = Vec::new();
    let mut writer = FileWriter::new(&key, &header, nonce, &mut blocks);
    writer.push(&content(len), &mut blocks);
    let root = writer.finish(&mut blocks);
    // Nodes of the file's graph hold links and no content; the others are its leaves, in order.
    let leaves = |block: &&Block| block.cid.codec() == 0x55;
    let whole: Vec<u8> = blocks.iter().filter(leaves).flat_map(|block| block.data.to_vec()).collect();

    // Whoever has the identity gets the content back.
    let read = Header::parse(&whole).unwrap().unwrap();
    let mut opener = Opener::new(&read.unwrap(std::slice::from_ref(me)).unwrap(), nonce);
    let mut opened = Vec::new();
    opener.update(&whole[read.as_bytes().len() + 16..], &mut opened).unwrap();
    opener.finish(&mut opened).unwrap();
    assert!(opened == content(len));

    json!({
        "content_bytes": len,
        "file_key": hex::encode(key.expose()),
        "header": String::from_utf8(header.as_bytes().to_vec()).unwrap(),
        "nonce": hex::encode(nonce.0),
        "sealed_sha256": hex::encode(Sha256::digest(&whole)),
        "leaves": blocks.iter().filter(leaves).map(|block| json!([block.cid.to_string(), block.data.len()])).collect::<Vec<_>>(),
        "cid": root.cid.to_string(),
    })
}

fn tree(me: &Identity) -> (Value, Vec<u8>) {
    let mut random = Fixed("tree", 0);
    let key = FileKey::generate(&mut random);
    let header = Header::write(&key, &[me.recipient()], &mut random).unwrap();
    let nonces = Fixed("nonces", 0);
    let mut writer = TreeWriter::new(key.clone(), header.clone(), nonces.clone());
    let mut blocks = Vec::new();
    let entries =
        [("a", None), ("a/b.txt", Some(5)), ("a b", Some(0)), ("run.sh", Some(100_000)), ("z", None)];
    for (path, len) in entries {
        match len {
            None => writer.directory(path).unwrap(),
            Some(len) => {
                writer.file(path, path.ends_with(".sh")).unwrap();
                writer.content(&content(len), &mut blocks).unwrap();
            }
        }
    }
    let root = writer.finish(&mut blocks).unwrap();
    let named = blocks.last().unwrap();
    assert_eq!(named.cid, root.cid, "the root comes last");

    // The manifest's ciphertext is the block behind the one that begins as its file does.
    let mut nonce_of = nonces;
    let [pack, manifest] = [(), ()].map(|()| PayloadNonce::generate(&mut nonce_of));
    let starts = |nonce: PayloadNonce| [header.as_bytes(), &nonce.0].concat();
    let at = blocks.iter().position(|block| block.data[..] == starts(manifest)).unwrap();
    let mut opener = Opener::new(&key, manifest);
    let mut opened = Vec::new();
    opener.update(&blocks[at + 1].data, &mut opened).unwrap();
    opener.finish(&mut opened).unwrap();
    let read = Manifest::decode(&opened).unwrap();
    assert_eq!(read.packs(), [pack]);
    let used = opened.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let shown = json!({
        "entries": entries.map(|(path, len)| json!({"path": path, "bytes": len, "executable": path.ends_with(".sh")})),
        "file_key": hex::encode(key.expose()),
        "header": String::from_utf8(header.as_bytes().to_vec()).unwrap(),
        "manifest_without_its_zeros": hex::encode(&opened[..used]),
        "manifest_bytes": opened.len(),
        "manifest_nonce": hex::encode(manifest.0),
        "pack_nonces": [hex::encode(pack.0)],
        "pack_bytes": [read.pack_len(0)],
        "cid": root.cid.to_string(),
    });
    (shown, opened)
}

/// Manifests that a hostile sealer could write: that of the tree, changed at one place.
fn refused(right: &[u8]) -> Vec<Value> {
    let stream = 19;
    let count = stream + 8 + 4 + 16;
    let name = b"a/b.txt";
    let b = right.windows(name.len()).position(|window| window == name).unwrap();
    let cases: [(&str, usize, &[u8]); 15] = [
        ("another version", 17, b"2"),
        ("more packs than the stream takes", stream + 8, &2u32.to_le_bytes()),
        ("a stream of 2^63 bytes", stream, &(1u64 << 63).to_le_bytes()),
        ("2^32 - 1 entries", count, &[0xff; 4]),
        ("fewer entries than there are", count, &4u32.to_le_bytes()),
        ("a path that leads out", b, b"../.txt"),
        ("a control character in a name", b, b"a/b\x1btxt"),
        ("an entry in no directory", b, b"q/b.txt"),
        ("a name that is not UTF-8", b, b"a/b\xfftxt"),
        ("entries out of order", b - 4, b"b"),
        ("a kind that version 1 lacks", b - 3, &[3]),
        ("a path longer than what follows", b - 2, &[0xff; 2]),
        ("a file longer than the stream", b + 7, &[0xff; 8]),
        ("a file shorter than was said", b + 7, &[4]),
        ("padding that is not zero", right.len() - 1, &[1]),
    ];
    let show = |(name, at, put): (&str, usize, &[u8])| {
        let mut bytes = right.to_vec();
        bytes[at..at + put.len()].copy_from_slice(put);
        let error: ManifestError = Manifest::decode(&bytes).expect_err(name);
        json!({"name": name, "at": at, "put": hex::encode(put), "error": error.to_string()})
    };
    cases.into_iter().map(show).collect()
}

#[test]
fn the_vectors_are_current() {
    let phrase = RecoveryPhrase::parse(WORDS).unwrap();
    let me = phrase.identity();
    let (tree, manifest) = tree(&me);
    let lengths = [0, 1, 65_536, 65_537, 100_000, 1_000_000, PACK, 1 << 30, (1 << 40) + 1];
    let current = json!({
        "note": "docs/spec/sealed-data.md says what all of this is; never seal anything to these keys",
        "keys": {
            "words": WORDS,
            "account_secp256k1": hex::encode(*phrase.account_secret()),
            "identity": me.to_secret_text().as_str(),
            "recipient": me.recipient().to_string(),
        },
        "padded": lengths.map(|len| json!([len, padded(len)])),
        "content": "byte number i is the lowest byte of 31 times i",
        "files": [
            file("empty", 0, &me),
            file("short", 11, &me),
            file("one chunk", 65_536, &me),
            file("two blocks", 1_000_000, &me),
        ],
        "tree": tree,
        "refused_manifests": refused(&manifest),
    });
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/sealed-data.json");
    let text = serde_json::to_string_pretty(&current).unwrap() + "\n";
    if std::env::var_os("ADIT_WRITE_VECTORS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    assert_eq!(
        std::fs::read_to_string(&path).unwrap(),
        text,
        "the format writes other bytes than are checked in"
    );
}
