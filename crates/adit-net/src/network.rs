//! Network names: what keeps the nodes of two networks apart.

use std::{fmt, str::FromStr};

use libp2p::StreamProtocol;
use multihash::Multihash;
use sha2::{Digest, Sha256};

/// The public IPFS network, whose DHT we join under IPFS's own protocol name.
const PUBLIC: &str = "ipfs";
const MAX_LEN: usize = 32;
/// Multicodec of sha2-256.
const SHA2_256: u64 = 0x12;

/// A network's name: 1 to 32 of `a-z`, `0-9` and `-`. Everything that must not mix between
/// networks (DHT protocol, gossip topic, rendezvous key) is derived from it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NetworkName(String);

/// The text is no network name.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a network name is 1 to 32 characters of a-z, 0-9 and '-', not {0:?}")]
pub struct InvalidNetworkName(String);

impl NetworkName {
    /// The public IPFS network.
    pub fn ipfs() -> Self {
        Self(PUBLIC.into())
    }

    /// Whether this is the public IPFS network.
    pub fn is_ipfs(&self) -> bool {
        self.0 == PUBLIC
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `/ipfs/kad/1.0.0` on the public network, `/adit/<name>/kad/1.0.0` on others, so that
    /// routing tables never mix.
    pub fn kad_protocol(&self) -> StreamProtocol {
        if self.is_ipfs() {
            StreamProtocol::new("/ipfs/kad/1.0.0")
        } else {
            protocol(format!("/adit/{}/kad/1.0.0", self.0))
        }
    }

    /// The stream protocol over which peers hand each other advertisements.
    pub fn advert_protocol(&self) -> StreamProtocol {
        protocol(format!("/adit/{}/adverts/1", self.0))
    }

    /// The gossip topic of advertisements.
    pub fn advert_topic(&self) -> String {
        format!("/adit/{}/adverts/1", self.0)
    }

    /// The DHT key which Adit nodes of this network provide, and look up to find each other.
    pub fn rendezvous_key(&self) -> Multihash<64> {
        let digest = Sha256::digest(format!("adit rendezvous 1: {}", self.0));
        Multihash::wrap(SHA2_256, &digest).expect("32 bytes fit into a 64-byte multihash")
    }
}

fn protocol(name: String) -> StreamProtocol {
    StreamProtocol::try_from_owned(name).expect("begins with a slash")
}

impl FromStr for NetworkName {
    type Err = InvalidNetworkName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = (1..=MAX_LEN).contains(&text.len());
        let plain = text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'));
        if fits && plain { Ok(Self(text.into())) } else { Err(InvalidNetworkName(text.into())) }
    }
}

impl fmt::Display for NetworkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        for good in ["ipfs", "devnet", "dev-2", "a"] {
            assert_eq!(good.parse::<NetworkName>().unwrap().as_str(), good);
        }
        for bad in ["", "Dev", "a/b", "ä", &"x".repeat(33), "a b"] {
            assert!(bad.parse::<NetworkName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn networks_share_no_name_on_the_wire() {
        let (a, b): (NetworkName, NetworkName) = ("devnet".parse().unwrap(), "dev".parse().unwrap());
        assert_ne!(a.kad_protocol(), b.kad_protocol());
        assert_ne!(a.advert_topic(), b.advert_topic());
        assert_ne!(a.rendezvous_key(), b.rendezvous_key());
        assert_eq!(NetworkName::ipfs().kad_protocol(), "/ipfs/kad/1.0.0");
        assert_eq!(a.kad_protocol(), "/adit/devnet/kad/1.0.0");
    }
}
