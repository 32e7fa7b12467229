//! Building files, directories and symlinks: bytes and names go in, blocks come out, and the CIDs equal
//! Kubo's for the same [`Profile`].

mod directory;
mod file;

pub use directory::{DirectoryBuilder, DirectoryError};
pub use file::{FileBuilder, FileLayout, leaf};

use cid::Cid;

use crate::block::Block;
use crate::codec::dag_pb::{self, PbLink, PbNode};
use crate::data::{Data, Kind, Metadata};
use crate::profile::Profile;

/// A finished file, directory, symlink, or a part of one: what a parent needs to link to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Built {
    /// Its root block.
    pub cid: Cid,
    /// Bytes of all blocks below, counting shared ones every time (dag-pb's `Tsize`).
    pub tsize: u64,
    /// Bytes of file content; 0 for directories and symlinks.
    pub content: u64,
}

/// Builds a symbolic link. Targets longer than [`crate::limits::SYMLINK_TARGET`] could not be read back.
pub fn symlink(profile: Profile, target: &str, metadata: Metadata) -> (Block, Built) {
    let data = Data { data: Some(target.as_bytes()), metadata, ..Data::new(Kind::Symlink) };
    node(profile, Vec::new(), &data, 0)
}

/// Encodes a dag-pb node and names it as the profile says.
fn node(profile: Profile, links: Vec<PbLink<'_>>, data: &Data<'_>, content: u64) -> (Block, Built) {
    let below: u64 = links.iter().filter_map(|link| link.tsize).sum();
    let bytes = dag_pb::encode(&PbNode { links, data: Some(&data.encode()) });
    let tsize = below + bytes.len() as u64;
    let block = match profile {
        Profile::UnixfsV1_2025 => Block::new(crate::block::DAG_PB, bytes),
        Profile::Legacy => Block::new_v0(bytes),
    };
    let built = Built { cid: block.cid, tsize, content };
    (block, built)
}
