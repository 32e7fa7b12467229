//! Import profiles: the choices that decide which CID the same bytes get.

/// Which CIDs a builder gives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Profile {
    /// `unixfs-v1-2025` of IPIP-499: CIDv1, raw leaves, 1 MiB chunks, 1024 links a node; a directory
    /// becomes a HAMT when its block would be larger than 256 KiB.
    #[default]
    UnixfsV1_2025,
    /// `legacy`: what `ipfs add` gave for ten years: CIDv0, dag-pb leaves, 256 KiB chunks, 174
    /// links a node; a directory becomes a HAMT when its names and CIDs add up to more than 256 KiB.
    Legacy,
}

impl Profile {
    /// Bytes of file content in one leaf.
    pub const fn chunk_size(self) -> usize {
        match self {
            Profile::UnixfsV1_2025 => 1024 * 1024,
            Profile::Legacy => 256 * 1024,
        }
    }

    /// Links in one internal file node.
    pub const fn links_per_node(self) -> usize {
        match self {
            Profile::UnixfsV1_2025 => 1024,
            Profile::Legacy => 174,
        }
    }

    /// Slots in one HAMT node.
    pub const fn hamt_fanout(self) -> usize {
        256
    }

    /// A directory whose estimated size is above this becomes a HAMT.
    pub const fn directory_threshold(self) -> usize {
        256 * 1024
    }

    /// The name used in configuration and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Profile::UnixfsV1_2025 => "unixfs-v1-2025",
            Profile::Legacy => "legacy",
        }
    }
}

/// Not one of the names in [`Profile::name`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown import profile {0:?}; the profiles are unixfs-v1-2025 and legacy")]
pub struct UnknownProfile(pub String);

impl std::str::FromStr for Profile {
    type Err = UnknownProfile;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        [Profile::UnixfsV1_2025, Profile::Legacy]
            .into_iter()
            .find(|profile| profile.name() == name)
            .ok_or_else(|| UnknownProfile(name.to_owned()))
    }
}

impl std::fmt::Display for Profile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Every choice that decides which CID the same bytes get, one by one: a [`Profile`], or what a tool that is used to
/// `ipfs add` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Layout {
    /// Whether dag-pb nodes are named by CIDv0.
    pub cid_v0: bool,
    /// Whether leaves are raw blocks; else they are dag-pb nodes.
    pub raw_leaves: bool,
    /// Bytes of file content in one leaf; at least 1, and small enough for a block.
    pub chunk_size: usize,
    /// Links in one internal file node; at least 2.
    pub links_per_node: usize,
    /// Whether a directory's size is that of its block, rather than that of its names and CIDs.
    pub exact_directory_size: bool,
    /// A directory above this size becomes a HAMT.
    pub directory_threshold: usize,
    /// Slots in one HAMT node: a power of two.
    pub hamt_fanout: usize,
}

/// The largest [`Layout::chunk_size`]: a leaf with its frame still fits into a block that peers take.
pub const MAX_CHUNK: usize = 2 * 1024 * 1024 - 256;

impl From<Profile> for Layout {
    fn from(profile: Profile) -> Self {
        let modern = profile == Profile::UnixfsV1_2025;
        Layout {
            cid_v0: !modern,
            raw_leaves: modern,
            chunk_size: profile.chunk_size(),
            links_per_node: profile.links_per_node(),
            exact_directory_size: modern,
            directory_threshold: profile.directory_threshold(),
            hamt_fanout: profile.hamt_fanout(),
        }
    }
}

impl Default for Layout {
    fn default() -> Self {
        Profile::default().into()
    }
}
