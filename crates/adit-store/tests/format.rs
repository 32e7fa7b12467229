//! The repos in `tests/fixtures` were written by the first program of each format and are never made again: every
//! later program must open them, and upgrade those of earlier formats.

use std::{
    fs,
    path::{Path, PathBuf},
};

use adit_store::{FORMAT, OnCorrupt, PinKind, PinOptions, Repo, RepoOptions, export, import};

/// The repo that the first program of a format wrote.
fn fixture(format: u32) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/repo-{format}"))
}

/// A copy of it that may be changed.
fn copy_of(format: u32) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    copy(&fixture(format), dir.path());
    dir
}

fn format_of(dir: &Path) -> String {
    fs::read_to_string(dir.join("format")).unwrap()
}

fn open(dir: &Path) -> Repo {
    Repo::open(dir, RepoOptions::default()).unwrap()
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
    check_pinned(repo).await;
    let report = repo.verify(OnCorrupt::Report).await.unwrap();
    assert_eq!((report.corrupt.len(), report.incomplete.len()), (0, 0));
    assert_eq!(report.blocks, 3, "two files and one piece of garbage");
}

async fn check_pinned(repo: &Repo) {
    let store = repo.blocks();
    let pins = repo.pins().await.unwrap();
    assert_eq!(pins.len(), 2);
    let by_name = |name: &str| pins.iter().find(|pin| pin.name == name).unwrap();
    assert_eq!((by_name("big").kind, by_name("").kind), (PinKind::Recursive, PinKind::Direct));
    assert!(export::read(&store, &by_name("big").cid, 1 << 20).await.unwrap() == big());
    assert_eq!(export::read(&store, &by_name("").cid, 100).await.unwrap(), SMALL);
}

#[tokio::test(flavor = "multi_thread")]
async fn repos_of_every_format_open_and_have_this_one_afterwards() {
    for format in 1..=FORMAT {
        let dir = copy_of(format);
        assert_eq!(format_of(dir.path()), format!("adit-store {format}\n"));
        for _ in 0..2 {
            let repo = open(dir.path());
            assert_eq!(repo.stat().await.unwrap().format, FORMAT);
            check(&repo).await;
            repo.close().await;
            assert_eq!(format_of(dir.path()), format!("adit-store {FORMAT}\n"));
        }
        let repo = open(dir.path());
        assert_eq!(repo.gc().await.unwrap().blocks_deleted, 1);
        check_pinned(&repo).await;
        assert_eq!(repo.unpin(&repo.pins().await.unwrap()[0].cid, None).await.unwrap(), 1);
        assert_eq!(repo.pins().await.unwrap().len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_goes_on_where_it_was_cut_off() {
    let interrupted = format!("adit-store {FORMAT} from 1\n");
    // Before the first step, and after the last.
    for done in [false, true] {
        let dir = copy_of(1);
        if done {
            open(dir.path()).close().await;
        }
        fs::write(dir.path().join("format"), &interrupted).unwrap();
        check(&open(dir.path())).await;
        assert_eq!(format_of(dir.path()), format!("adit-store {FORMAT}\n"));
    }
    // It cannot be done at all: nothing is lost, and the next opening tries again.
    let dir = copy_of(1);
    let pins = fs::read(dir.path().join("pins.redb")).unwrap();
    fs::write(dir.path().join("pins.redb"), vec![0x5a; 8192]).unwrap();
    let error = Repo::open(dir.path(), RepoOptions::default()).unwrap_err();
    assert!(error.to_string().contains("upgrade the pins"), "{error}");
    assert_eq!(format_of(dir.path()), interrupted);
    fs::write(dir.path().join("pins.redb"), pins).unwrap();
    check(&open(dir.path())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn they_open_without_their_index_too() {
    for format in 1..=FORMAT {
        for damage in ["missing", "damaged"] {
            let dir = copy_of(format);
            let index = dir.path().join("index.redb");
            match damage {
                "missing" => fs::remove_file(index).unwrap(),
                _ => fs::write(index, vec![0x5a; 8192]).unwrap(),
            }
            check(&open(dir.path())).await;
        }
    }
}

/// Made the fixtures, each once. It writes into the source tree, so whoever runs ignored tests does not run it by accident.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "for a new format's fixture only, with ADIT_MAKE_FIXTURE set"]
async fn make_the_fixture() {
    if std::env::var_os("ADIT_MAKE_FIXTURE").is_none() {
        eprintln!("SKIPPED make_the_fixture: ADIT_MAKE_FIXTURE is not set");
        return;
    }
    let dir = fixture(FORMAT);
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
