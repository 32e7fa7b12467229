//! Every bound that decoding enforces, in one place.
//!
//! The values are far above what honest tools produce and low enough that reaching one costs a
//! peer's megabytes, not ours.

/// Largest block accepted by default. Bitswap peers in the wild agree on 2 MiB.
pub const BLOCK: usize = 2 * 1024 * 1024;

/// Most links that one block may hold. A 2 MiB dag-pb block of the shortest possible sha2-256 links
/// stays below this, so honest blocks never meet it.
pub const LINKS_PER_BLOCK: usize = 65_536;

/// Longest directory entry name in bytes. Linux allows 255; Kubo lets longer names through, so this
/// refuses only what no file system could take.
pub const NAME: usize = 1024;

/// Longest symlink target in bytes (Linux `PATH_MAX`).
pub const SYMLINK_TARGET: usize = 4096;

/// Longest path text accepted from a user, in bytes.
pub const PATH: usize = 32 * 1024;

/// Most segments in a path.
pub const PATH_SEGMENTS: usize = 1024;

/// Deepest chain of internal nodes in a file. With 174 links a node, 16 levels address 10^35 bytes.
pub const FILE_DEPTH: usize = 16;

/// Deepest nesting of values inside one dag-cbor or dag-json block.
pub const VALUE_DEPTH: usize = 128;

/// Most blocks of one HAMT directory that a listing visits.
pub const SHARDS: usize = 1 << 18;

/// Most entries of one directory that a listing yields.
pub const DIRECTORY_ENTRIES: usize = 1 << 24;

/// Largest CARv1 header in bytes: 10,000 roots and more.
pub const CAR_HEADER: usize = 1024 * 1024;

/// Longest binary CID accepted: version, codec and multihash code varints, and a 64-byte digest.
pub const CID: usize = 128;

/// Most values (scalars, lists, maps) that one dag-cbor or dag-json block may decode into. A value
/// takes up to 100 times its encoded size in memory, which this keeps to tens of megabytes.
pub const VALUES_PER_BLOCK: usize = 1 << 18;
