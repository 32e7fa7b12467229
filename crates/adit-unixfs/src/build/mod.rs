//! Building files, directories and symlinks: bytes and names go in, blocks come out, and the CIDs equal
//! Kubo's for the same [`Profile`](crate::Profile), or for the same [`Layout`].

mod directory;
mod file;

pub use directory::{DirectoryBuilder, DirectoryError};
pub use file::{FileBuilder, FileLayout, leaf};

use cid::Cid;

use crate::block::Block;
use crate::codec::dag_pb::{self, PbLink, PbNode};
use crate::data::{Data, Kind, Metadata};
use crate::profile::Layout;

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
pub fn symlink(choices: impl Into<Layout>, target: &str, metadata: Metadata) -> (Block, Built) {
    let data = Data { data: Some(target.as_bytes()), metadata, ..Data::new(Kind::Symlink) };
    node(choices.into(), Vec::new(), &data, 0)
}

/// Encodes a dag-pb node and names it as the layout says.
fn node(choices: Layout, links: Vec<PbLink<'_>>, data: &Data<'_>, content: u64) -> (Block, Built) {
    let below: u64 = links.iter().filter_map(|link| link.tsize).sum();
    let bytes = dag_pb::encode(&PbNode { links, data: Some(&data.encode()) });
    let tsize = below + bytes.len() as u64;
    let block = if choices.cid_v0 { Block::new_v0(bytes) } else { Block::new(crate::block::DAG_PB, bytes) };
    let built = Built { cid: block.cid, tsize, content };
    (block, built)
}
