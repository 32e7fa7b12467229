//! Content through the API: what goes in comes out, is kept, moves as CAR and tar; what is hostile is refused.

use crate::stand_in::{make_tree, serve, within};
use adit_api::Code;
use adit_api::client::{Client, ClientError, tar_of_path};
use adit_api::tar::{self, Kind, unpack};
use adit_api::types::*;
use adit_model::{Envelope, EnvelopeCid};
use adit_store::import::{self, Hidden, ImportOptions};
use bytes::Bytes;
use cid::Cid;
use futures::StreamExt;
use std::io;
use std::path::Path;
use tokio::io::AsyncReadExt;

async fn read(stream: adit_api::client::ByteStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    within(stream.reader().read_to_end(&mut bytes)).await.unwrap();
    bytes
}

fn code(result: Result<impl std::fmt::Debug, ClientError>) -> Code {
    result.unwrap_err().api().expect("an error of the API").code
}

/// Adds an archive of these entries.
async fn add(client: &Client, entries: Vec<(tar::Entry, Vec<u8>)>) -> Result<Added, ClientError> {
    let mut bytes = Vec::new();
    for (entry, data) in &entries {
        bytes.extend(tar::header(entry));
        bytes.extend(data);
        bytes.extend(tar::padding(data.len() as u64));
    }
    bytes.extend(tar::END);
    client.add_tar(futures::stream::iter([Ok(Bytes::from(bytes))]), &AddQuery::default()).await
}

fn file(path: &str, data: &[u8]) -> (tar::Entry, Vec<u8>) {
    let kind = Kind::File { size: data.len() as u64 };
    (tar::Entry { path: path.into(), kind, mode: 0o644, mtime: 0 }, data.to_vec())
}

#[tokio::test]
async fn a_file_comes_back_whole_and_in_parts() {
    let served = serve().await;
    let client = served.client();
    let data: Vec<u8> = (0..5_000_000u32).map(|n| (n % 251) as u8).collect();
    let path = served.path("data");
    std::fs::write(&path, &data).unwrap();
    let added = client.add_path(&path, &AddQuery::default()).await.unwrap();
    assert_eq!((added.bytes, added.files), (5_000_000, 1));
    let cid = added.cid.to_string();
    assert_eq!(read(client.cat(&cid, &RangeQuery::default()).await.unwrap()).await, data);
    let part = RangeQuery { offset: Some(1_048_570), length: Some(20) };
    assert_eq!(read(client.cat(&cid, &part).await.unwrap()).await, &data[1_048_570..1_048_590]);
    let beyond = RangeQuery { offset: Some(6_000_000), length: None };
    assert_eq!(code(client.cat(&cid, &beyond).await.map(drop)), Code::BadRequest);
    let stat = client.stat(&cid).await.unwrap();
    assert_eq!((stat.kind.as_str(), stat.size), ("file", 5_000_000));

    let token = Client::local_token(served.dir.path()).unwrap();
    let head = format!(
        "GET /api/v1/cat/{cid} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nauthorization: Bearer {token}\r\n"
    );
    let answer = served.raw(&format!("{head}range: bytes=0-9\r\n\r\n")).await;
    assert!(
        answer.starts_with("HTTP/1.1 206") && answer.contains("content-range: bytes 0-9/5000000"),
        "{answer:.300}"
    );
}

#[tokio::test]
async fn a_tree_has_the_cid_that_a_local_import_gives_and_comes_back_equal() {
    let served = serve().await;
    let client = served.client();
    let tree = served.path("tree");
    make_tree(&tree);
    let added = client.add_path(&tree, &AddQuery::default()).await.unwrap();
    let options = ImportOptions { hidden: Hidden::Include, ..ImportOptions::default() };
    let imported = import::path(&served.repo.blocks(), &tree, &options).await.unwrap();
    assert_eq!(added.cid, imported.root);
    assert_eq!((added.bytes, added.directories), (imported.content, imported.directories));

    let root = added.cid.to_string();
    let names: Vec<String> = client.ls(&root).await.unwrap().into_iter().map(|entry| entry.name).collect();
    assert_eq!(names, ["a.txt", "docs", "empty", "link"]);
    assert_eq!(client.stat(&format!("{root}/link")).await.unwrap().target.as_deref(), Some("a.txt"));
    let deep = client.cat(&format!("{root}/docs/deep/ünï"), &RangeQuery::default()).await.unwrap();
    assert_eq!(read(deep).await, b"u");

    let copy = served.path("copy");
    unpack(client.get(&root).await.unwrap().reader(), &copy).await.unwrap();
    let again = import::path(&served.repo.blocks(), &copy, &options).await.unwrap();
    assert_eq!(again.root, added.cid);

    // A single file comes as itself.
    let one = served.path("one");
    unpack(client.get(&format!("{root}/a.txt")).await.unwrap().reader(), &one).await.unwrap();
    assert_eq!(std::fs::read(one).unwrap(), b"alpha");
}

#[tokio::test]
async fn preserved_modes_and_times_come_back() {
    let served = serve().await;
    let client = served.client();
    let path = served.path("script");
    std::fs::write(&path, b"#!/bin/sh\n").unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let options = AddQuery { preserve: true, ..AddQuery::default() };
    let added = client.add_path(&path, &options).await.unwrap();
    let stat = client.stat(&added.cid.to_string()).await.unwrap();
    assert_eq!((stat.kind.as_str(), stat.mode), ("file", Some(0o755)));
    assert!(stat.mtime.unwrap() > 1_700_000_000);
    let legacy = AddQuery { profile: Some("legacy".into()), ..AddQuery::default() };
    assert!(client.add_path(&path, &legacy).await.unwrap().cid.to_string().starts_with("Qm"));
    let unknown = AddQuery { profile: Some("other".into()), ..AddQuery::default() };
    assert_eq!(code(client.add_path(&path, &unknown).await), Code::BadRequest);
}

#[tokio::test]
async fn the_reason_for_a_refused_upload_arrives() {
    let served = serve().await;
    let client = served.client();
    let path = served.path("large");
    std::fs::write(&path, vec![7; 5 << 20]).unwrap();
    let unknown = AddQuery { profile: Some("other".into()), ..AddQuery::default() };
    // Had the server closed without reading the rest, some of these would see a broken connection instead.
    for _ in 0..20 {
        assert_eq!(code(client.add_path(&path, &unknown).await), Code::BadRequest);
    }
}

#[tokio::test]
async fn archives_that_lie_are_refused_and_leave_nothing_pinned() {
    let served = serve().await;
    let client = served.client();
    let refused = [
        vec![file("../out", b"x")],
        vec![file("/etc/x", b"x")],
        vec![file("d/a", b"x"), file("e", b"x"), file("d/b", b"x")],
        vec![file("a", b"x"), file("a", b"y")],
        vec![file("a", b"x"), file("a/b", b"y")],
        vec![],
    ];
    for entries in refused {
        let names: Vec<_> = entries.iter().map(|(entry, _)| entry.path.clone()).collect();
        assert_eq!(code(add(&client, entries).await), Code::BadRequest, "{names:?}");
    }
    let broken = futures::stream::iter([Ok(Bytes::from(tar::header(&file("a", &[1; 99]).0)))]);
    assert_eq!(code(client.add_tar(broken, &AddQuery::default()).await), Code::BadRequest);
    assert!(client.pins().await.unwrap().is_empty());

    // One entry at the top is the root itself; several make a directory.
    let one = add(&client, vec![file("dir/a", b"x"), file("dir/b", b"y")]).await.unwrap();
    let two = add(&client, vec![file("a", b"x"), file("b", b"y")]).await.unwrap();
    assert_eq!(one.cid, two.cid);
}

#[tokio::test]
async fn an_upload_that_breaks_off_adds_nothing() {
    let served = serve().await;
    let pieces =
        futures::stream::iter([Ok(Bytes::from(vec![1; 1000])), Err(io::Error::other("the disk is gone"))]);
    let result = served.client().add_tar(pieces, &AddQuery::default()).await;
    assert!(result.is_err());
    assert!(served.client().pins().await.unwrap().is_empty());
    let missing = served.client().add_path(Path::new("/does/not/exist"), &AddQuery::default()).await;
    assert!(missing.is_err());
}

#[tokio::test]
async fn pins_keep_and_garbage_goes() {
    let served = serve().await;
    let client = served.client();
    let no_pin = AddQuery { pin: Some(false), ..AddQuery::default() };
    let garbage = client.add_file(&b"garbage"[..], &no_pin).await.unwrap();
    let kept = client.add_file(&b"kept"[..], &AddQuery::default()).await.unwrap();
    assert_eq!(client.pins().await.unwrap().iter().map(|pin| pin.cid).collect::<Vec<_>>(), [kept.cid]);
    let collected = client.gc().await.unwrap();
    assert_eq!((collected.blocks_deleted, collected.blocks_kept), (1, 1));
    assert_eq!(code(client.block(&garbage.cid).await), Code::ContentUnavailable);
    assert_eq!(client.block(&kept.cid).await.unwrap(), "kept");

    let pinned = client.pin(&kept.cid, Some("twice"), None).await.unwrap();
    assert_eq!((pinned.blocks, pinned.fetched), (1, 0));
    assert_eq!(client.unpin(&kept.cid, Some("twice")).await.unwrap(), 1);
    assert_eq!(client.unpin(&kept.cid, None).await.unwrap(), 1);
    assert_eq!(code(client.unpin(&kept.cid, None).await), Code::NotFound);
    assert_eq!(code(client.pin(&garbage.cid, None, None).await), Code::ContentUnavailable);
    let verified = client.repo_verify(false).await.unwrap();
    assert_eq!((verified.blocks, verified.corrupt.len(), verified.incomplete.len()), (1, 0, 0));
    assert_eq!(client.repo().await.unwrap().blocks, 1);
}

#[tokio::test]
async fn a_car_moves_a_tree_between_nodes() {
    let (here, there) = (serve().await, serve().await);
    let tree = here.path("tree");
    make_tree(&tree);
    let added = here.client().add_path(&tree, &AddQuery::default()).await.unwrap();
    let car = here.client().export(&added.cid).await.unwrap();
    let imported = there.client().import(car, true).await.unwrap();
    assert_eq!(imported.roots, [CidText(added.cid)]);
    assert_eq!(there.client().pins().await.unwrap()[0].cid, added.cid);
    let back = there.client().cat(&format!("{}/a.txt", added.cid), &RangeQuery::default()).await.unwrap();
    assert_eq!(read(back).await, b"alpha");

    // One changed byte of one block: refused, and nothing pinned.
    let third = serve().await;
    let mut bytes = read(here.client().export(&added.cid).await.unwrap()).await;
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    let result = third.client().import(futures::stream::iter([Ok(Bytes::from(bytes))]), true).await;
    assert_eq!(code(result), Code::BadContent);
    assert!(third.client().pins().await.unwrap().is_empty());
}

#[tokio::test]
async fn what_is_absent_or_no_path_is_said_plainly() {
    let served = serve().await;
    let client = served.client();
    let absent = "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy";
    assert_eq!(code(client.cat(absent, &RangeQuery::default()).await.map(drop)), Code::ContentUnavailable);
    assert_eq!(code(client.get(absent).await.map(drop)), Code::ContentUnavailable);
    assert_eq!(code(client.export(&absent.parse().unwrap()).await.map(drop)), Code::ContentUnavailable);
    for text in ["", "nonsense", "bafy", "bafkqaaa/../x"] {
        assert!(matches!(code(client.stat(text).await), Code::BadRequest | Code::NotFound), "{text:?}");
    }
    let file = client.add_file(&b"x"[..], &AddQuery::default()).await.unwrap();
    assert_eq!(code(client.ls(&file.cid.to_string()).await), Code::BadRequest);
    let tree = served.path("tree");
    make_tree(&tree);
    let tree = client.add_path(&tree, &AddQuery::default()).await.unwrap();
    assert_eq!(code(client.stat(&format!("{}/nothing", tree.cid)).await), Code::NotFound);
}

#[tokio::test]
async fn a_walk_whose_reader_goes_away_ends() {
    let dir = tempfile::tempdir().unwrap();
    make_tree(dir.path());
    let mut stream = tar_of_path(dir.path().to_owned());
    assert!(within(stream.next()).await.is_some());
    drop(stream);
}

#[tokio::test]
async fn receipts_are_shown_and_checked() {
    // The envelope of adit-model's test vectors.
    let vectors: serde_json::Value =
        serde_json::from_str(include_str!("../../../adit-model/vectors/records.json")).unwrap();
    let block = |name: &str| {
        data_encoding::HEXLOWER.decode(vectors[name]["block"].as_str().unwrap().as_bytes()).unwrap()
    };
    let served = serve().await;
    let put = async |bytes: Vec<u8>| {
        let cid: Cid = EnvelopeCid::of_block(&bytes).to_cid();
        let block = adit_store::Block::verified(cid, bytes).unwrap();
        served.repo.blocks().put(vec![block]).await.unwrap();
    };
    let envelope = block("envelope");
    let cid = EnvelopeCid::of_block(&envelope);
    put(envelope.clone()).await;
    let shown = served.client().receipt(&cid).await.unwrap();
    assert!(shown.valid && !shown.job_checked, "{shown:?}");
    assert_eq!(shown.evidence, "none");
    for name in ["invocation", "outcome"] {
        put(block(name)).await;
    }
    let shown = served.client().receipt(&cid).await.unwrap();
    assert!(shown.valid && shown.job_checked, "{shown:?}");
    assert_eq!(served.client().receipt_block(&cid).await.unwrap(), envelope);

    let mut forged = Envelope::decode(&envelope).unwrap();
    forged.eip712[3] ^= 1;
    let cid = forged.cid();
    put(forged.encode()).await;
    let shown = served.client().receipt(&cid).await.unwrap();
    assert!(!shown.valid && shown.problem.is_some());
}
