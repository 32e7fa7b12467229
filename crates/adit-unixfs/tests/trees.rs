//! What the builders write, the readers read: files at every offset, directories by name and as lists.

use std::collections::HashMap;

use adit_unixfs::block::Block;
use adit_unixfs::build::{Built, DirectoryBuilder, FileBuilder, FileLayout, leaf, symlink};
use adit_unixfs::data::{Metadata, Mtime};
use adit_unixfs::read::{
    Entry, FileReader, FileStep, Lister, ReadError, ResolveStep, Resolver, Stat, StatKind, Visit, sorted,
};
use adit_unixfs::{IpfsPath, Profile};
use bytes::Bytes;
use cid::Cid;
use proptest::prelude::*;

#[derive(Default)]
struct Blocks {
    by_cid: HashMap<Cid, Bytes>,
    fetched: Vec<Cid>,
}

impl Blocks {
    fn add(&mut self, blocks: Vec<Block>) {
        for block in blocks {
            block.verify().unwrap();
            self.by_cid.insert(block.cid, block.data);
        }
    }

    fn get(&mut self, cid: &Cid) -> Bytes {
        self.fetched.push(*cid);
        self.by_cid[cid].clone()
    }

    fn file(&mut self, profile: Profile, metadata: Metadata, parts: &[&[u8]]) -> Built {
        let mut out = Vec::new();
        let mut builder = FileBuilder::new(profile, metadata);
        for part in parts {
            builder.push(Bytes::copy_from_slice(part), &mut out);
        }
        let built = builder.finish(&mut out);
        self.add(out);
        built
    }

    fn read(&mut self, reader: &mut FileReader, mut offset: u64, len: usize) -> Vec<u8> {
        let mut content = Vec::new();
        while content.len() < len {
            match reader.seek(offset).unwrap() {
                FileStep::End => break,
                FileStep::Need(want) => {
                    let block = self.get(&want.cid);
                    if let Visit::Data(bytes) = reader.visit(&want, &block).unwrap() {
                        assert!(!bytes.is_empty());
                        let take = bytes.len().min(len - content.len());
                        content.extend_from_slice(&bytes[..take]);
                        offset += take as u64;
                    }
                }
            }
        }
        content
    }

    fn open(&mut self, cid: Cid) -> FileReader {
        let block = self.get(&cid);
        FileReader::open(cid, &block).unwrap()
    }

    fn list(&mut self, directory: Cid) -> Vec<Entry> {
        let mut lister = Lister::new(directory);
        let mut entries = Vec::new();
        while let Some(cid) = lister.want() {
            let block = self.get(&cid);
            entries.extend(lister.supply(&block).unwrap());
        }
        sorted(entries)
    }

    fn resolve(&mut self, root: Cid, path: &str) -> Result<Cid, ReadError> {
        let mut resolver = Resolver::new(IpfsPath::below(root, path).unwrap());
        let mut step = resolver.step();
        loop {
            match step {
                ResolveStep::Done(cid) => return Ok(cid),
                ResolveStep::Need(cid) => step = resolver.supply(&self.get(&cid))?,
            }
        }
    }
}

fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .collect()
}

const METADATA: Metadata =
    Metadata { mode: Some(0o640), mtime: Some(Mtime { seconds: 1_700_000_000, nanos: 5 }) };

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_range_of_any_file_reads_back_and_the_cut_into_pushes_does_not_matter(
        len in prop_oneof![0usize..100, 250_000usize..530_000, 1_040_000usize..2_200_000],
        cuts in proptest::collection::vec(0usize..2_200_000, 0..5),
        legacy: bool,
        with_metadata: bool,
        offset in 0usize..2_200_000,
        want in 0usize..1_500_000,
    ) {
        let profile = if legacy { Profile::Legacy } else { Profile::UnixfsV1_2025 };
        let metadata = if with_metadata { METADATA } else { Metadata::NONE };
        let content = noise(len);
        let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(len)).collect();
        cuts.extend([0, len]);
        cuts.sort_unstable();
        let parts: Vec<_> = cuts.windows(2).map(|cut| &content[cut[0]..cut[1]]).collect();

        let mut blocks = Blocks::default();
        let built = blocks.file(profile, metadata, &parts);
        prop_assert_eq!(built, Blocks::default().file(profile, metadata, &[&content]));
        prop_assert_eq!(built.content, len as u64);

        let mut reader = blocks.open(built.cid);
        prop_assert_eq!(reader.size(), len as u64);
        prop_assert_eq!(reader.metadata(), metadata);
        let end = len.min(offset.saturating_add(want));
        prop_assert_eq!(blocks.read(&mut reader, offset as u64, want), &content[offset.min(end)..end]);
    }

    #[test]
    fn directories_of_any_names_list_and_resolve(
        names in proptest::collection::btree_set("[^/\0]{1,20}", 0..40),
        legacy: bool,
    ) {
        let profile = if legacy { Profile::Legacy } else { Profile::UnixfsV1_2025 };
        let mut blocks = Blocks::default();
        let mut directory = DirectoryBuilder::new(profile, METADATA);
        let mut expected = Vec::new();
        for name in names.iter().filter(|name| !matches!(name.as_str(), "." | "..")) {
            let file = blocks.file(profile, Metadata::NONE, &[name.as_bytes()]);
            directory.add(name.as_str(), &file).unwrap();
            expected.push(Entry { name: name.clone(), cid: file.cid, tsize: file.tsize });
        }
        let mut out = Vec::new();
        let built = directory.finish(&mut out).unwrap();
        blocks.add(out);
        for entry in &expected {
            prop_assert_eq!(blocks.resolve(built.cid, &entry.name), Ok(entry.cid));
        }
        prop_assert_eq!(blocks.list(built.cid), sorted(expected));
    }
}

#[test]
fn a_deep_tree_reads_few_blocks_on_a_seek_and_announces_what_comes_next() {
    // 174 × 174 × 2 chunks of the same content: three levels of internal nodes, 15.9 GB, one leaf block.
    let profile = Profile::Legacy;
    let chunk = Bytes::from(noise(profile.chunk_size()));
    let (block, built) = leaf(profile, chunk.clone());
    let mut blocks = Blocks::default();
    let mut out = vec![block];
    let mut layout = FileLayout::new(profile, Metadata::NONE);
    for _ in 0..174 * 174 * 2 {
        layout.leaf(built, &mut out);
        blocks.add(std::mem::take(&mut out));
    }
    let file = layout.finish(&mut out);
    blocks.add(out);

    let mut reader = blocks.open(file.cid);
    assert_eq!(reader.size(), 174 * 174 * 2 * profile.chunk_size() as u64);
    blocks.fetched.clear();
    let offset = reader.size() - 1000;
    assert_eq!(blocks.read(&mut reader, offset, 5000), &chunk[chunk.len() - 1000..]);
    assert!(blocks.fetched.len() <= 4, "{} blocks for one seek", blocks.fetched.len());

    let chunk_len = chunk.len() as u64;
    blocks.read(&mut reader, 0, 1);
    assert_eq!(
        reader.ahead(chunk_len, 5),
        vec![built.cid; 1],
        "an unread dag-pb child may be a node: stop there"
    );
}

#[test]
fn read_ahead_lists_raw_leaves_in_order_across_nodes() {
    let profile = Profile::UnixfsV1_2025;
    let mut blocks = Blocks::default();
    let mut out = Vec::new();
    let mut layout = FileLayout::new(profile, Metadata::NONE);
    // 1,500 leaves under two internal nodes; sizes are claims here, only their order is asked.
    let leaves: Vec<Built> = (0..1500u32)
        .map(|i| Built {
            content: 1 << 20,
            tsize: 1 << 20,
            ..leaf(profile, Bytes::copy_from_slice(&i.to_le_bytes())).1
        })
        .collect();
    for leaf in &leaves {
        layout.leaf(*leaf, &mut out);
    }
    let file = layout.finish(&mut out);
    blocks.add(out);
    let mut reader = blocks.open(file.cid);
    // Until the first inner node is read, only that is known.
    assert_eq!(reader.ahead(0, 4).len(), 1);
    for offset in [0, 1200 << 20] {
        let FileStep::Need(want) = reader.seek(offset).unwrap() else { panic!() };
        assert_eq!(reader.visit(&want, &blocks.get(&want.cid)).unwrap(), Visit::Descend);
    }
    let expected: Vec<Cid> = leaves[1022..1026].iter().map(|leaf| leaf.cid).collect();
    assert_eq!(reader.ahead((1022 << 20) + 7, 4), expected);
    assert_eq!(reader.ahead(1499 << 20, 4), [leaves[1499].cid]);
    assert!(reader.ahead(1500 << 20, 4).is_empty());
}

fn directory_of(profile: Profile, count: usize, blocks: &mut Blocks) -> (Built, Built) {
    let file = blocks.file(profile, Metadata::NONE, &[b"x"]);
    let mut directory = DirectoryBuilder::new(profile, METADATA);
    for i in 0..count {
        directory.add(format!("entry-{i:06}"), &file).unwrap();
    }
    let mut out = Vec::new();
    let built = directory.finish(&mut out).unwrap();
    blocks.add(out);
    (built, file)
}

#[test]
fn large_directories_become_hamts_that_list_and_resolve_without_loading_all() {
    for profile in [Profile::UnixfsV1_2025, Profile::Legacy] {
        let mut blocks = Blocks::default();
        let (built, file) = directory_of(profile, 20_000, &mut blocks);
        let stat = Stat::of(&built.cid, &blocks.get(&built.cid)).unwrap();
        assert_eq!(stat.kind, StatKind::Directory { hamt: true });
        assert_eq!(stat.metadata, METADATA);

        blocks.fetched.clear();
        assert_eq!(blocks.resolve(built.cid, "entry-012345"), Ok(file.cid));
        assert!(blocks.fetched.len() <= 4);
        assert!(matches!(blocks.resolve(built.cid, "entry-x"), Err(ReadError::NotFound { .. })));

        let entries = blocks.list(built.cid);
        assert_eq!(entries.len(), 20_000);
        assert!(entries.iter().enumerate().all(|(i, entry)| entry.name == format!("entry-{i:06}")));

        let mut small = Lister::with_max_entries(built.cid, 100);
        let error = loop {
            let cid = small.want().expect("the limit comes before the end");
            if let Err(error) = small.supply(&blocks.get(&cid)) {
                break error;
            }
        };
        assert_eq!(error, ReadError::TooMany { what: "entries", limit: 100 });
    }
}

#[test]
fn the_threshold_is_exact() {
    // One byte of name decides. 2025: the block's own size; legacy: names and CIDs only.
    for (profile, per_entry, fixed) in [
        // Link: 2 + (2+36) + (2+12) + (1+1) = 56 bytes; Data: 2 + 2.
        (Profile::UnixfsV1_2025, 56, 4),
        (Profile::Legacy, 12 + 34, 0),
    ] {
        let fill = |extra: usize| {
            let mut blocks = Blocks::default();
            let file = blocks.file(profile, Metadata::NONE, &[b"x"]);
            let mut directory = DirectoryBuilder::new(profile, Metadata::NONE);
            let count = (256 * 1024 - fixed) / per_entry;
            let rest = 256 * 1024 - fixed - count * per_entry;
            for i in 0..count {
                let pad = if i == 0 { rest + extra } else { 0 };
                directory.add(format!("entry-{i:06}{}", "p".repeat(pad)), &file).unwrap();
            }
            let mut out = Vec::new();
            let built = directory.finish(&mut out).unwrap();
            let root = out.last().unwrap();
            assert_eq!(root.cid, built.cid);
            (Stat::of(&root.cid, &root.data).unwrap().kind, root.data.len())
        };
        let (kind, len) = fill(0);
        assert_eq!(kind, StatKind::Directory { hamt: false });
        assert!(profile == Profile::Legacy || len == 256 * 1024, "{len}");
        assert_eq!(fill(1).0, StatKind::Directory { hamt: true });
    }
}

#[test]
fn symlinks_and_metadata_survive_and_symlinks_are_not_followed() {
    let mut blocks = Blocks::default();
    let (block, link) = symlink(Profile::UnixfsV1_2025, "../../etc/passwd", METADATA);
    blocks.add(vec![block]);
    let mut directory = DirectoryBuilder::new(Profile::UnixfsV1_2025, Metadata::NONE);
    directory.add("link", &link).unwrap();
    let mut out = Vec::new();
    let root = directory.finish(&mut out).unwrap();
    blocks.add(out);
    let stat = Stat::of(&link.cid, &blocks.get(&link.cid)).unwrap();
    assert_eq!(stat.kind, StatKind::Symlink { target: "../../etc/passwd".to_owned() });
    assert_eq!(stat.metadata, METADATA);
    assert_eq!(blocks.resolve(root.cid, "link"), Ok(link.cid));
    assert!(matches!(blocks.resolve(root.cid, "link/x"), Err(ReadError::Symlink { .. })));
}

#[test]
fn one_small_file_with_metadata_shares_its_leaf_with_the_plain_one() {
    let mut blocks = Blocks::default();
    let plain = blocks.file(Profile::UnixfsV1_2025, Metadata::NONE, &[b"same"]);
    let dressed = blocks.file(Profile::UnixfsV1_2025, METADATA, &[b"same"]);
    assert_ne!(plain.cid, dressed.cid);
    let links = adit_unixfs::links(&dressed.cid, &blocks.get(&dressed.cid)).unwrap();
    assert_eq!(links, [plain.cid]);
}
