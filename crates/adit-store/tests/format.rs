//! The repo in `tests/fixtures/repo-1` was written by the first version of format 1 and is never
//! made again: every later version must open it, and migrate it once there is a format 2.

use std::{
    fs,
    path::{Path, PathBuf},
};

use adit_store::{FORMAT, OnCorrupt, PinKind, PinOptions, Repo, RepoOptions, export, import};

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/repo-1")
}

const SMALL: &str = "a small file in the fixture\n";

fn big() -> Vec<u8> {
    (0..150_000u32).flat_map(|i| (i / 100).to_le_bytes()).collect()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to.join(entry.file_name())),
            false => drop(fs::copy(entry.path(), to.join(entry.file_name())).unwrap()),
        }
    }
}

async fn check(repo: &Repo) {
    let store = repo.blocks();
    let pins = repo.pins().await.unwrap();
    assert_eq!(pins.len(), 2);
    let by_name = |name: &str| pins.iter().find(|pin| pin.name == name).unwrap();
    assert_eq!((by_name("big").kind, by_name("").kind), (PinKind::Recursive, PinKind::Direct));
    assert!(export::read(&store, &by_name("big").cid, 1 << 20).await.unwrap() == big());
    assert_eq!(export::read(&store, &by_name("").cid, 100).await.unwrap(), SMALL);
    let report = repo.verify(OnCorrupt::Report).await.unwrap();
    assert_eq!((report.corrupt.len(), report.incomplete.len()), (0, 0));
    assert_eq!(report.blocks, 3, "two files and one piece of garbage");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_repo_of_format_1_opens() {
    assert_eq!(FORMAT, 1);
    let dir = tempfile::tempdir().unwrap();
    copy(&fixture(), dir.path());
    let repo = Repo::open(dir.path(), RepoOptions::default()).unwrap();
    check(&repo).await;
    assert_eq!(repo.gc().await.unwrap().blocks_deleted, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_opens_without_its_index_too() {
    for damage in ["missing", "damaged"] {
        let dir = tempfile::tempdir().unwrap();
        copy(&fixture(), dir.path());
        let index = dir.path().join("index.redb");
        match damage {
            "missing" => fs::remove_file(index).unwrap(),
            _ => fs::write(index, vec![0x5a; 8192]).unwrap(),
        }
        check(&Repo::open(dir.path(), RepoOptions::default()).unwrap()).await;
    }
}

/// Made the fixture, once. It writes into the source tree, so whoever runs ignored tests does not run it by accident.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "for a new format's fixture only, with ADIT_MAKE_FIXTURE set"]
async fn make_the_fixture() {
    if std::env::var_os("ADIT_MAKE_FIXTURE").is_none() {
        eprintln!("SKIPPED make_the_fixture: ADIT_MAKE_FIXTURE is not set");
        return;
    }
    let dir = fixture();
    assert!(!dir.exists(), "fixtures are never made again");
    let repo = Repo::open(&dir, RepoOptions::default()).unwrap();
    let store = repo.blocks();
    let options = import::ImportOptions::default();
    let big = import::bytes(&store, big(), &options).await.unwrap();
    let named = PinOptions { name: "big".into(), ..PinOptions::default() };
    repo.pin(&big.root, &store, named).await.unwrap();
    let small = import::bytes(&store, SMALL, &options).await.unwrap();
    let direct = PinOptions { kind: PinKind::Direct, ..PinOptions::default() };
    repo.pin(&small.root, &store, direct).await.unwrap();
    import::bytes(&store, "garbage", &options).await.unwrap();
    repo.close().await;
    drop((store, repo));
    fs::remove_file(dir.join("ballast")).unwrap();
    fs::remove_file(dir.join("lock")).unwrap();
}
