//! Which blocks a job may see: its roots, and what the blocks that it was given link to. Nothing else, so a
//! guest that got hold of some CID cannot have the node fetch it, and learns nothing from trying.

use adit_unixfs::block::{DAG_PB, RAW, SHA2_256};
use cid::{Cid, Version};
use sha2::{Digest, Sha256};
use std::collections::HashMap;

/// Most blocks that one job may come to know of, 1 TiB of files in 1 MiB blocks. The table takes about 48 bytes
/// for each.
pub(super) const MAX_KNOWN: usize = 1 << 20;

/// A CID in 33 bytes: a table of a million stays small.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Name {
    codec: u8,
    digest: [u8; 32],
}

/// For CIDs that are not sha2-256 under a one-byte codec: the digest is that of the CID itself.
const OTHER: u8 = 0xff;

impl Name {
    fn of(cid: &Cid) -> Self {
        let codec = if cid.version() == Version::V0 { DAG_PB } else { cid.codec() };
        let plain = cid.hash().code() == SHA2_256 && codec < u64::from(OTHER);
        match cid.hash().digest().try_into() {
            Ok(digest) if plain => Name { codec: codec as u8, digest },
            _ => Name { codec: OTHER, digest: Sha256::digest(cid.to_bytes()).into() },
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Standing {
    Unknown,
    /// It may have it, and has not had it yet.
    Known,
    /// It was served before: its links are known.
    Served,
}

/// The job links to more blocks than [`MAX_KNOWN`].
#[derive(Debug)]
pub(super) struct TooManyBlocks;

#[derive(Default)]
pub(super) struct Rights {
    blocks: HashMap<Name, bool>,
    /// Distinct blocks that were served, and their bytes.
    pub(super) served: u64,
    pub(super) bytes: u64,
}

impl Rights {
    pub(super) fn allow(&mut self, cid: &Cid) -> Result<(), TooManyBlocks> {
        if self.blocks.len() >= MAX_KNOWN {
            return Err(TooManyBlocks);
        }
        self.blocks.entry(Name::of(cid)).or_insert(false);
        Ok(())
    }

    pub(super) fn standing(&self, cid: &Cid) -> Standing {
        match self.blocks.get(&Name::of(cid)) {
            None => Standing::Unknown,
            Some(false) => Standing::Known,
            Some(true) => Standing::Served,
        }
    }

    /// Notes that a verified block was handed over, and allows what it links to.
    ///
    /// A block that cannot be parsed has no links: it is what its CID says, so it is served, and whoever reads it
    /// finds out, on every host in the same way.
    pub(super) fn serve(&mut self, cid: &Cid, block: &[u8]) -> Result<(), TooManyBlocks> {
        if self.blocks.insert(Name::of(cid), true) == Some(true) {
            return Ok(());
        }
        self.served += 1;
        self.bytes += block.len() as u64;
        if cid.codec() == RAW {
            return Ok(());
        }
        for link in adit_unixfs::links(cid, block).unwrap_or_default() {
            self.allow(&link)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use adit_unixfs::Block;

    #[test]
    fn only_roots_and_links_of_served_blocks_are_allowed() {
        let leaf = Block::new(RAW, &b"leaf"[..]);
        let stranger = Block::new(RAW, &b"stranger"[..]);
        // A dag-pb node with one link: {Links: [{Hash: leaf, Name: "", Tsize: 4}], Data: UnixFS file}.
        let hash = leaf.cid.to_bytes();
        let mut link = vec![0x0a, hash.len() as u8];
        link.extend_from_slice(&hash);
        link.extend_from_slice(&[0x12, 0, 0x18, 4]);
        let mut node = vec![0x12, link.len() as u8];
        node.extend_from_slice(&link);
        node.extend_from_slice(&[0x0a, 6, 0x08, 2, 0x18, 4, 0x20, 4]);
        let root = Block::new(DAG_PB, node);

        let mut rights = Rights::default();
        rights.allow(&root.cid).unwrap();
        assert_eq!(rights.standing(&leaf.cid), Standing::Unknown);
        rights.serve(&root.cid, &root.data).unwrap();
        rights.serve(&root.cid, &root.data).unwrap();
        assert_eq!(rights.standing(&root.cid), Standing::Served);
        assert_eq!(rights.standing(&leaf.cid), Standing::Known);
        assert_eq!(rights.standing(&stranger.cid), Standing::Unknown);
        assert_eq!((rights.served, rights.bytes), (1, root.data.len() as u64), "distinct blocks are counted");
        // The same block under CIDv0, and the same digest under another codec.
        let hash = *root.cid.hash();
        assert_eq!(rights.standing(&Cid::new_v0(hash).unwrap()), Standing::Served);
        assert_eq!(rights.standing(&Cid::new_v1(RAW, hash)), Standing::Unknown);
    }

    #[test]
    fn a_broken_block_is_served_and_allows_nothing() {
        let broken = Block::new(DAG_PB, &b"\xff\xff\xff"[..]);
        let mut rights = Rights::default();
        rights.allow(&broken.cid).unwrap();
        rights.serve(&broken.cid, &broken.data).unwrap();
        assert_eq!(rights.blocks.len(), 1);
    }
}
