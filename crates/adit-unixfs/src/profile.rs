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
