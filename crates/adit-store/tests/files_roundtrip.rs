//! Files and trees go in and come out the same: import, resolve, list, read ranges, write to
//! disk, CAR. And what must not get in or out does not.

use std::{
    fs,
    os::unix::{
        ffi::OsStrExt,
        fs::{PermissionsExt, symlink},
    },
    path::Path,
    sync::Arc,
};

use adit_store::{
    Block, BlockSource, BlockStore, MemoryStore, SourceError,
    car::{self, CarExportError, CarImportError},
    export::{self, ExportError, GetError, GetOptions, Range},
    import::{self, Hidden, ImportError, ImportOptions, Preserve, Reason},
};
use adit_unixfs::{
    IpfsPath, Profile,
    block::DAG_PB,
    build::{Built, DirectoryBuilder, FileBuilder},
    data::Metadata,
    read::StatKind,
};
use bytes::Bytes;
use cid::Cid;
use futures::TryStreamExt;

fn store() -> Arc<dyn BlockStore> {
    Arc::new(MemoryStore::new())
}

fn content(len: usize) -> Vec<u8> {
    (0..len as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

async fn read_range(store: &Arc<dyn BlockStore>, cid: &Cid, from: u64, len: Option<u64>) -> Vec<u8> {
    let file = export::cat(store.clone(), cid, Range { from, len }).await.unwrap();
    let expected = file.len;
    let parts: Vec<Bytes> = file.content.try_collect().await.unwrap();
    let bytes = parts.concat();
    assert_eq!(bytes.len() as u64, expected);
    bytes
}

/// Every way in gives the CID that the pure builder gives, and every range comes out right.
#[tokio::test(flavor = "multi_thread")]
async fn files_of_all_sizes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    for profile in [Profile::UnixfsV1_2025, Profile::Legacy] {
        let options = ImportOptions { layout: profile.into(), ..ImportOptions::default() };
        let chunk = profile.chunk_size();
        for len in [0, 1, 1000, chunk - 1, chunk, chunk + 1, 4 * chunk, 9 * chunk + 17] {
            let data = content(len);
            let mut builder = FileBuilder::new(profile, Metadata::NONE);
            let mut blocks = Vec::new();
            builder.push(data.clone().into(), &mut blocks);
            let expected = builder.finish(&mut blocks);

            fs::write(&path, &data).unwrap();
            let (by_path, by_reader, by_bytes) = (store(), store(), store());
            let imported = import::path(&by_path, &path, &options).await.unwrap();
            assert_eq!((imported.root, imported.content), (expected.cid, len as u64), "{profile} {len}");
            let streamed = import::reader(&by_reader, &data[..], &options).await.unwrap();
            assert_eq!(streamed.root, expected.cid, "{profile} {len} as a stream");
            let at_once = import::bytes(&by_bytes, data.clone(), &options).await.unwrap();
            assert_eq!(at_once.root, expected.cid, "{profile} {len} at once");

            for store in [by_path, by_reader] {
                assert!(read_range(&store, &expected.cid, 0, None).await == data, "{profile} {len}");
            }
            for (from, count) in [(0, 10), (len / 2, 100), (chunk - 3, 7), (len, 5), (chunk, 3 * chunk)] {
                if from <= len {
                    let part = read_range(&by_bytes, &expected.cid, from as u64, Some(count as u64)).await;
                    assert!(part == data[from..(from + count).min(len)], "{profile} {len} {from}+{count}");
                }
            }
            let beyond = Range { from: len as u64 + 1, len: None };
            let error = export::cat(by_bytes, &expected.cid, beyond).await.map(|_| ()).unwrap_err();
            assert!(matches!(error, ExportError::Range { .. }), "{error}");
        }
    }
}

/// A tree with everything a tree can have.
fn make_tree(top: &Path) {
    fs::create_dir_all(top.join("sub/deeper")).unwrap();
    fs::create_dir(top.join("empty")).unwrap();
    fs::write(top.join("a.txt"), "hello\n").unwrap();
    fs::write(top.join("sub/big"), content(3_000_000)).unwrap();
    fs::write(top.join("sub/deeper/ä ö"), "umlauts").unwrap();
    fs::write(top.join(".hidden"), "not by default").unwrap();
    fs::create_dir(top.join(".git")).unwrap();
    fs::write(top.join(".git/config"), "x").unwrap();
    symlink("../a.txt", top.join("sub/link")).unwrap();
    fs::set_permissions(top.join("a.txt"), fs::Permissions::from_mode(0o750)).unwrap();
    let made = std::process::Command::new("mkfifo").arg(top.join("pipe")).status().unwrap();
    assert!(made.success());
    let mtime = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::new(1_700_000_000, 5);
    fs::File::options().write(true).open(top.join("a.txt")).unwrap().set_modified(mtime).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_comes_back_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path().join("top");
    make_tree(&top);
    let store = store();
    let options = ImportOptions {
        hidden: Hidden::Include,
        preserve: Preserve { mode: true, mtime: true },
        ..ImportOptions::default()
    };
    let imported = import::path(&store, &top, &options).await.unwrap();
    assert_eq!((imported.files, imported.directories), (5, 5));
    assert_eq!(imported.skipped.len(), 1);
    assert_eq!((&imported.skipped[0].path, imported.skipped[0].reason), (&top.join("pipe"), Reason::Pipe));

    let out = dir.path().join("out");
    let got = export::get(&store, &imported.root, &out, GetOptions::default()).await.unwrap();
    assert_eq!((got.files, got.directories, got.symlinks), (5, 5, 1));
    assert_eq!(fs::read(out.join("sub/big")).unwrap(), content(3_000_000));
    assert_eq!(fs::read_to_string(out.join("sub/deeper/ä ö")).unwrap(), "umlauts");
    assert_eq!(fs::read_link(out.join("sub/link")).unwrap(), Path::new("../a.txt"));
    assert_eq!(fs::read_dir(out.join("empty")).unwrap().count(), 0);
    let metadata = fs::metadata(out.join("a.txt")).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o777, 0o750);
    let mtime = metadata.modified().unwrap().duration_since(std::time::UNIX_EPOCH).unwrap();
    assert_eq!((mtime.as_secs(), mtime.subsec_nanos()), (1_700_000_000, 5));

    // The same tree gives the same root, and a second `get` replaces nothing.
    assert_eq!(import::path(&store, &top, &options).await.unwrap().root, imported.root);
    let error = export::get(&store, &imported.root, &out, GetOptions::default()).await.unwrap_err();
    assert!(matches!(error, GetError::Write { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_lead_to_what_they_name() {
    let dir = tempfile::tempdir().unwrap();
    make_tree(dir.path());
    let store = store();
    let root = import::path(&store, dir.path(), &ImportOptions::default()).await.unwrap().root;
    let names: Vec<_> =
        export::ls(&store, &root, 100).await.unwrap().into_iter().map(|entry| entry.name).collect();
    assert_eq!(names, ["a.txt", "empty", "sub"], "hidden names and pipes are left out");
    assert!(export::ls(&store, &root, 2).await.is_err(), "a longer list is an error, not cut");

    let resolve = async |path: &str| {
        let path: IpfsPath = format!("{root}/{path}").parse().unwrap();
        export::resolve(&store, &path).await
    };
    let file = resolve("sub/deeper/ä ö").await.unwrap();
    assert_eq!(export::read(&store, &file, 100).await.unwrap(), "umlauts");
    assert!(matches!(export::read(&store, &file, 3).await, Err(ExportError::TooLarge { size: 7, .. })));
    let big = resolve("sub/big").await.unwrap();
    let stat = export::stat(&store, &big).await.unwrap();
    assert_eq!((stat.kind, stat.size), (StatKind::File, 3_000_000));
    for missing in ["nothing", "sub/nothing", "a.txt/below", "sub/link/below"] {
        assert!(matches!(resolve(missing).await, Err(ExportError::Read(_))), "{missing}");
    }
    let absent = Block::new(DAG_PB, &b"absent"[..]).cid;
    let error = export::stat(&store, &absent).await.unwrap_err();
    assert!(matches!(error, ExportError::Source(SourceError::NotFound(cid)) if cid == absent));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_imported_says_so() {
    let dir = tempfile::tempdir().unwrap();
    make_tree(dir.path());
    let store = store();
    let options = ImportOptions::default();
    let error = import::path(&store, &dir.path().join("pipe"), &options).await.unwrap_err();
    assert!(matches!(error, ImportError::Special { reason: Reason::Pipe, .. }), "{error}");
    let error = import::path(&store, &dir.path().join("missing"), &options).await.unwrap_err();
    assert!(matches!(error, ImportError::Read { .. }), "{error}");
    let name = std::ffi::OsStr::from_bytes(b"sub/not\xffutf8");
    fs::write(dir.path().join(name), "x").unwrap();
    let error = import::path(&store, dir.path(), &options).await.unwrap_err();
    assert!(matches!(error, ImportError::Name { .. }), "{error}");
    // A symlink is imported as one, even where it is named directly and leads nowhere.
    symlink("/nowhere", dir.path().join("dangling")).unwrap();
    let link = import::path(&store, &dir.path().join("dangling"), &options).await.unwrap();
    let stat = export::stat(&store, &link.root).await.unwrap();
    assert_eq!(stat.kind, StatKind::Symlink { target: "/nowhere".into() });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_of_ten_thousand_files_is_a_trie() {
    let dir = tempfile::tempdir().unwrap();
    for i in 0..10_000 {
        fs::write(dir.path().join(format!("file-{i:05}")), i.to_string()).unwrap();
    }
    let store = store();
    let root = import::path(&store, dir.path(), &ImportOptions::default()).await.unwrap().root;
    assert_eq!(export::stat(&store, &root).await.unwrap().kind, StatKind::Directory { hamt: true });
    assert_eq!(export::ls(&store, &root, 10_000).await.unwrap().len(), 10_000);
    let path: IpfsPath = format!("{root}/file-07777").parse().unwrap();
    let file = export::resolve(&store, &path).await.unwrap();
    assert_eq!(export::read(&store, &file, 10).await.unwrap(), "7777");
}

async fn put_directory(store: &Arc<dyn BlockStore>, entries: &[(&str, Built)]) -> Built {
    let mut builder = DirectoryBuilder::new(Profile::UnixfsV1_2025, Metadata::NONE);
    for (name, built) in entries {
        builder.add(*name, built).unwrap();
    }
    let mut blocks = Vec::new();
    let built = builder.finish(&mut blocks).unwrap();
    store.put(blocks).await.unwrap();
    built
}

async fn put_link(store: &Arc<dyn BlockStore>, target: &str) -> Built {
    let (block, built) = adit_unixfs::build::symlink(Profile::UnixfsV1_2025, target, Metadata::NONE);
    store.put(vec![block]).await.unwrap();
    built
}

async fn put_file(store: &Arc<dyn BlockStore>, data: &str) -> Built {
    let (block, built) =
        adit_unixfs::build::leaf(Profile::UnixfsV1_2025, Bytes::copy_from_slice(data.as_bytes()));
    store.put(vec![block]).await.unwrap();
    built
}

/// A hostile tree: links out of it, and a link in the way of a directory.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_written_outside() {
    let dir = tempfile::tempdir().unwrap();
    let store = store();
    let file = put_file(&store, "evil").await;
    let inner = put_directory(&store, &[("file", file), ("up", put_link(&store, "../..").await)]).await;
    let root = put_directory(
        &store,
        &[
            ("absolute", put_link(&store, "/etc/passwd").await),
            ("climbs", put_link(&store, "../outside").await),
            ("inside", put_link(&store, "sub/file").await),
            ("sub", inner),
        ],
    )
    .await;
    let out = dir.path().join("out");
    let got = export::get(&store, &root.cid, &out, GetOptions::default()).await.unwrap();
    assert_eq!(got.symlinks, 1);
    let omitted: Vec<_> = got.omitted.iter().map(|omitted| omitted.path.to_str().unwrap()).collect();
    assert_eq!(omitted, ["absolute", "climbs", "sub/up"]);

    // Somebody planted a link where a directory will be made.
    let outside = dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    let second = dir.path().join("second");
    fs::create_dir(&second).unwrap();
    symlink(&outside, second.join("sub")).unwrap();
    let error = export::get(&store, &root.cid, &second, GetOptions::default()).await.unwrap_err();
    assert!(matches!(error, GetError::Write { .. }), "{error}");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}

/// Ten blocks that describe ten billion files, a tree without a bottom, and too many bytes.
#[tokio::test(flavor = "multi_thread")]
async fn bombs_are_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let store = store();
    let mut wide = put_directory(&store, &[("x", put_file(&store, "x").await)]).await;
    for _ in 0..10 {
        let names: Vec<_> = (0..10).map(|i| i.to_string()).collect();
        let entries: Vec<_> = names.iter().map(|name| (name.as_str(), wide)).collect();
        wide = put_directory(&store, &entries).await;
    }
    let options = GetOptions { max_entries: 500, ..GetOptions::default() };
    let error = export::get(&store, &wide.cid, &dir.path().join("wide"), options).await.unwrap_err();
    assert!(error.to_string().contains("entries"), "{error}");

    let mut deep = put_directory(&store, &[]).await;
    for _ in 0..2000 {
        deep = put_directory(&store, &[("d", deep)]).await;
    }
    let error =
        export::get(&store, &deep.cid, &dir.path().join("deep"), GetOptions::default()).await.unwrap_err();
    assert!(matches!(error, GetError::TooLarge { what: "levels of directories", limit: 256 }), "{error}");

    let file = put_file(&store, "0123456789").await;
    let twice = put_directory(&store, &[("a", file), ("b", file)]).await;
    let options = GetOptions { max_bytes: 15, ..GetOptions::default() };
    let error = export::get(&store, &twice.cid, &dir.path().join("big"), options).await.unwrap_err();
    assert!(matches!(error, GetError::TooLarge { what: "bytes", limit: 15 }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_car_carries_a_tree_to_another_store() {
    let dir = tempfile::tempdir().unwrap();
    make_tree(dir.path());
    let store_a = store();
    let root = import::path(&store_a, dir.path(), &ImportOptions::default()).await.unwrap().root;
    let parts: Vec<Bytes> = car::export(store_a.clone(), vec![root]).try_collect().await.unwrap();
    let bytes = parts.concat();

    let store_b = store();
    let imported = car::import(&*store_b, &bytes[..]).await.unwrap();
    assert_eq!(imported.roots, [root]);
    assert_eq!(imported.blocks as usize, store_a.list().try_collect::<Vec<_>>().await.unwrap().len());
    let path: IpfsPath = format!("{root}/sub/big").parse().unwrap();
    let file = export::resolve(&store_b, &path).await.unwrap();
    assert!(export::read(&store_b, &file, 1 << 22).await.unwrap() == content(3_000_000));
    let again: Vec<Bytes> = car::export(store_b.clone(), vec![root]).try_collect().await.unwrap();
    assert!(again.concat() == bytes, "the order of blocks is fixed");

    // A flipped bit anywhere in a block is found, and a cut one too.
    let mut bent = bytes.clone();
    let last = bent.len() - 1;
    bent[last] ^= 1;
    assert!(matches!(car::import(&*store(), &bent[..]).await, Err(CarImportError::Car(_))));
    assert!(matches!(car::import(&*store(), &bytes[..last]).await, Err(CarImportError::Car(_))));

    let absent = Block::new(DAG_PB, &b"absent"[..]).cid;
    let result = car::export(store_b, vec![root, absent]).try_collect::<Vec<_>>().await;
    assert!(matches!(result, Err(CarExportError::Source(SourceError::NotFound(cid))) if cid == absent));
}

/// `cat` asks for blocks ahead, and stops where one cannot be had.
#[tokio::test(flavor = "multi_thread")]
async fn a_missing_block_ends_the_stream_at_its_place() {
    let store = store();
    let data = content(6 << 20);
    let imported = import::bytes(&store, data.clone(), &ImportOptions::default()).await.unwrap();
    let gone = Block::new(adit_unixfs::block::RAW, data[3 << 20..4 << 20].to_vec()).cid;
    store.delete(&gone).await.unwrap();
    let source: Arc<dyn BlockSource> = Arc::new(store);
    let mut file = export::cat(source, &imported.root, Range::ALL).await.unwrap().content;
    let mut read = Vec::new();
    let error = loop {
        match file.try_next().await {
            Ok(part) => read.extend_from_slice(&part.expect("the stream does not end")),
            Err(error) => break error,
        }
    };
    assert!(read == data[..3 << 20]);
    assert!(matches!(error, ExportError::Source(SourceError::NotFound(cid)) if cid == gone), "{error}");
}
