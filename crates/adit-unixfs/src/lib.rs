//! What IPFS content looks like: blocks and their CIDs, the IPLD codecs, UnixFS files and directories,
//! and CAR files; encoding and decoding only.
//!
//! Three very different users share this crate: the block store (which imports and exports files), the
//! enclave (which checks that a guest only reaches links of blocks it was served, and chunks its output),
//! and the jailed worker (which reads files lazily, byte range by byte range). So nothing here performs
//! I/O, awaits, spawns, reads a clock or keeps global state. A reader is a small machine that says which
//! CID it needs next and is handed the bytes; a builder is pushed bytes and hands out blocks.
//!
//! Everything that is decoded here comes from strangers. A block is believed only after
//! [`Block::verify`]; sizes that a block claims about *other* blocks are checked when those arrive;
//! every count, length and depth has a limit in [`limits`]. Nothing here panics on hostile bytes.
//!
//! Where to start reading:
//! - [`block`]: `Block`, CIDs, hash verification; [`limits`]: all bounds in one place.
//! - [`codec`]: strict dag-pb, dag-cbor and dag-json; [`links`]: the CIDs a block points to.
//! - [`data`]: the UnixFS protobuf message; [`node`]: one block understood as a file or directory node.
//! - [`build`]: file and directory builders; [`profile`]: which CIDs they give.
//! - [`read`]: path resolution, directory listing, random access to files.
//! - [`car`]: CARv1, read from a stream and written.
//!
//! Specifications: UnixFS <https://specs.ipfs.tech/unixfs/>, profiles IPIP-499, DAG-PB, DAG-CBOR and
//! DAG-JSON <https://ipld.io/specs/codecs/>, CARv1 <https://ipld.io/specs/transport/car/carv1/>.

pub mod block;
pub mod build;
pub mod car;
pub mod codec;
pub mod data;
pub mod limits;
pub mod links;
pub mod murmur3;
pub mod node;
pub mod path;
pub mod profile;
pub mod read;
mod varint;

pub use block::{Block, BlockError};
pub use links::links;
pub use path::IpfsPath;
pub use profile::{Layout, Profile};
