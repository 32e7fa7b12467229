//! A sealed tree: files and directories whose names, structure and sizes nobody sees but those who can open it.
//!
//! The contents of all files, in the order of their paths, are one long stream. It is padded, cut into packs of one
//! size, and each pack is sealed as an age file. The manifest, sealed likewise, says what the tree's files are called and
//! how long they are; so where each lies follows. All have the same file key and the same header, so a tree is opened once,
//! and each part opens with age's own programs too. In IPFS it is a directory:
//!
//! ```text
//! manifest       who is who, padded
//! pack-000000    64 blocks of the stream
//! pack-000001    … the last one shorter, padded
//! ```
//!
//! What a stranger learns: that it is a sealed tree, for how many recipients, and the lengths of stream and manifest, each
//! rounded up to one of a few hundred ([`padded`]). The manifest names each pack's nonce, so a pack can't stand for
//! another one.
//!
//! Symbolic links and modes are not kept, but for whether a file is executable.

mod manifest;
mod write;

pub use manifest::{Entry, Kind, MAX_ENTRIES, MAX_MANIFEST, Manifest, ManifestError, PathError, check_path};
pub use write::{TreeError, TreeWriter};

use crate::file::LEAF;
use std::ops::Range;

/// Bytes of the stream in each pack but the last.
pub const PACK: u64 = 64 * LEAF;
/// The name of the manifest in the tree's directory.
pub const MANIFEST: &str = "manifest";

/// The name of a pack in the tree's directory.
pub fn pack_name(index: u64) -> String {
    format!("pack-{index:06}")
}

/// The length that is shown for content of this length: one of few (Padmé, by Nikitin and others, 2019), and at least
/// one chunk.
pub fn padded(len: u64) -> u64 {
    let len = len.max(crate::age::CHUNK as u64);
    let exponent = len.ilog2();
    let low_bits = exponent - (exponent.ilog2() + 1);
    let mask = (1 << low_bits) - 1;
    // No stream comes near 2^64: the sum of all files is checked where they are counted.
    (len + mask) & !mask
}

/// A range of one pack's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Which pack.
    pub pack: u64,
    /// Which bytes of it.
    pub range: Range<u64>,
}

/// Where a range of the stream lies: in one pack after the other.
pub fn parts(range: Range<u64>) -> impl Iterator<Item = Part> {
    let mut at = range.start;
    std::iter::from_fn(move || {
        (at < range.end).then(|| {
            let pack = at / PACK;
            let end = range.end.min((pack + 1) * PACK);
            let part = Part { pack, range: at - pack * PACK..end - pack * PACK };
            at = end;
            part
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::OsRandom;
    use crate::age::{FileKey, Header, Identity, Opener, PayloadNonce};
    use adit_unixfs::Block;
    use adit_unixfs::read::{FileReader, FileStep, ResolveStep, Resolver, Visit};
    use std::collections::HashMap;

    type Store = HashMap<cid::Cid, bytes::Bytes>;

    fn opened(store: &Store, root: cid::Cid, name: &str, identity: &Identity) -> (PayloadNonce, Vec<u8>) {
        let mut resolver = Resolver::new(format!("{root}/{name}").parse().unwrap());
        let file = loop {
            match resolver.step() {
                ResolveStep::Need(cid) => drop(resolver.supply(&store[&cid]).unwrap()),
                ResolveStep::Done(cid) => break cid,
            }
        };
        let mut reader = FileReader::open(file, &store[&file]).unwrap();
        let mut sealed = Vec::new();
        while let FileStep::Need(want) = reader.seek(sealed.len() as u64).unwrap() {
            if let Visit::Data(bytes) = reader.visit(&want, &store[&want.cid]).unwrap() {
                sealed.extend_from_slice(bytes);
            }
        }
        let header = Header::parse(&sealed).unwrap().unwrap();
        let key = header.unwrap(std::slice::from_ref(identity)).unwrap();
        let (nonce, payload) = sealed[header.as_bytes().len()..].split_first_chunk().unwrap();
        let mut plain = Vec::new();
        let mut opener = Opener::new(&key, PayloadNonce(*nonce));
        opener.update(payload, &mut plain).unwrap();
        opener.finish(&mut plain).unwrap();
        (PayloadNonce(*nonce), plain)
    }

    #[test]
    fn a_tree_comes_back_from_its_packs_and_shows_no_name() {
        let identity = Identity::generate(&mut OsRandom);
        let key = FileKey::generate(&mut OsRandom);
        let header = Header::write(&key, &[identity.recipient()], &mut OsRandom).unwrap();
        let content = |len: usize, seed: usize| -> Vec<u8> {
            (0..len).map(|i| ((i * 31) ^ (i >> 9) ^ seed) as u8).collect()
        };
        // The second file lies in both packs.
        let files = [("d/small-name", 5), ("large-name", PACK as usize), ("x-empty", 0)];
        let mut blocks: Vec<Block> = Vec::new();
        let mut writer = TreeWriter::new(key, header, OsRandom);
        assert!(writer.content(b"x", &mut blocks).is_err());
        writer.directory("d").unwrap();
        for (at, (path, len)) in files.into_iter().enumerate() {
            writer.file(path, at == 0).unwrap();
            content(len, at).chunks(1 << 20).for_each(|piece| writer.content(piece, &mut blocks).unwrap());
        }
        assert!(writer.file("e", false).is_err(), "not in order");
        let root = writer.finish(&mut blocks).unwrap().cid;
        for block in &blocks {
            for marker in ["small-name", "large-name", "x-empty"] {
                assert!(!block.data.windows(marker.len()).any(|window| window == marker.as_bytes()));
            }
        }
        let store: Store = blocks.into_iter().map(|block| (block.cid, block.data)).collect();
        let (_, manifest) = opened(&store, root, MANIFEST, &identity);
        let manifest = Manifest::decode(&manifest).unwrap();
        let packs: Vec<_> = (0..2).map(|pack| opened(&store, root, &pack_name(pack), &identity)).collect();
        for (pack, nonce) in packs.iter().zip(manifest.packs()) {
            assert_eq!(pack.0, *nonce);
        }
        assert!((0..2).all(|pack| packs[pack as usize].1.len() as u64 == manifest.pack_len(pack)));
        for (at, (path, len)) in files.into_iter().enumerate() {
            let Kind::File { stream, executable } = &manifest.find(path).unwrap().kind else {
                panic!("{path}")
            };
            assert_eq!(*executable, at == 0);
            let part =
                |part: Part| &packs[part.pack as usize].1[part.range.start as usize..part.range.end as usize];
            assert!(
                parts(stream.clone()).map(part).collect::<Vec<_>>().concat() == content(len, at),
                "{path}"
            );
        }
        assert_eq!(manifest.entries().len(), 4);
    }
}
