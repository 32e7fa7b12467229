//! The public IPLD codec fixtures (<https://github.com/ipld/codec-fixtures>): each directory holds one
//! value in several codecs, each file named by the CID of its bytes.
//!
//! They are looked for in `$ADIT_VECTORS/ipld`; without that variable the tests skip by name, except in
//! CI (`CI=true`), where their absence is a failure.

use std::path::{Path, PathBuf};

use adit_unixfs::block::{self, DAG_CBOR, DAG_JSON, DAG_PB};
use adit_unixfs::codec;
use cid::Cid;

fn vectors(test: &str) -> Option<PathBuf> {
    match std::env::var_os("ADIT_VECTORS").map(|dir| Path::new(&dir).join("ipld")) {
        Some(dir) if dir.is_dir() => Some(dir),
        _ if std::env::var("CI").as_deref() == Ok("true") => panic!("ADIT_VECTORS has no ipld directory"),
        _ => {
            eprintln!(
                "SKIPPED {test}: set ADIT_VECTORS to a directory with the IPLD codec fixtures in ipld/"
            );
            None
        }
    }
}

fn codec_of(extension: &str) -> u64 {
    match extension {
        "dag-pb" => DAG_PB,
        "dag-cbor" => DAG_CBOR,
        "dag-json" => DAG_JSON,
        other => panic!("a fixture of codec {other}, which this test does not know"),
    }
}

#[test]
fn every_fixture_decodes_and_re_encodes_across_codecs_to_the_cid_in_its_name() {
    let Some(dir) = vectors("codec fixtures") else { return };
    let mut values = 0;
    for entry in std::fs::read_dir(dir.join("fixtures")).unwrap() {
        let directory = entry.unwrap().path();
        if !directory.is_dir() {
            continue;
        }
        values += 1;
        let files: Vec<(Cid, u64, Vec<u8>)> = std::fs::read_dir(&directory)
            .unwrap()
            .map(|file| file.unwrap().path())
            .map(|file| {
                let cid = file.file_stem().unwrap().to_str().unwrap().parse().unwrap();
                let codec = codec_of(file.extension().unwrap().to_str().unwrap());
                (cid, codec, std::fs::read(&file).unwrap())
            })
            .collect();
        assert!(files.len() >= 2, "{directory:?} has too few files to compare");
        for (cid, codec, bytes) in &files {
            block::verify(cid, bytes).unwrap();
            assert_eq!(cid.codec(), *codec);
            let value = codec::decode(*codec, bytes).unwrap_or_else(|error| panic!("{directory:?}: {error}"));
            for (other_cid, other_codec, other_bytes) in &files {
                let encoded = codec::encode(*other_codec, &value).unwrap();
                assert_eq!(&encoded, other_bytes, "{directory:?}: 0x{codec:x} to 0x{other_codec:x}");
                assert_eq!(&block::cid_v1(*other_codec, &encoded), other_cid);
            }
            // The walk that only looks for links agrees with the tree, as far as it can be compared.
            adit_unixfs::links(cid, bytes).unwrap();
        }
    }
    assert_eq!(values, 128, "the fixture set is complete");
}

fn negative(dir: &Path, name: &str) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(dir.join("negative-fixtures").join(name)).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn every_negative_decoding_fixture_is_refused() {
    let Some(dir) = vectors("negative decoding fixtures") else { return };
    for (name, codec) in [
        ("dag-cbor/decode/duplicate-keys.json", DAG_CBOR),
        ("dag-json/decode/duplicate-keys.json", DAG_JSON),
        ("dag-pb/decode/edges.json", DAG_PB),
    ] {
        for case in negative(&dir, name) {
            let bytes = data_encoding::HEXLOWER.decode(case["hex"].as_str().unwrap().as_bytes()).unwrap();
            assert!(codec::decode(codec, &bytes).is_err(), "{name}: {}", case["name"]);
        }
    }
}

#[test]
fn every_negative_encoding_fixture_is_refused() {
    let Some(dir) = vectors("negative encoding fixtures") else { return };
    for name in ["dag-pb/encode/basic-datamodel-kinds.json", "dag-pb/encode/invalid-forms.json"] {
        let cases = negative(&dir, name);
        assert!(!cases.is_empty());
        for case in cases {
            let value = codec::decode(DAG_JSON, case["dag-json"].to_string().as_bytes()).unwrap();
            assert!(codec::encode(DAG_PB, &value).is_err(), "{name}: {}", case["name"]);
        }
    }
}
