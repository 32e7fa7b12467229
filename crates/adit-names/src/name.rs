//! What stands behind `/ipns/`: a key's hash or a domain.

use std::fmt;
use std::str::FromStr;

use cid::{Cid, multibase::Base};
use libp2p_identity::{PeerId, PublicKey};
use multihash::Multihash;

use crate::limits;

/// Multicodec of a libp2p key.
pub const LIBP2P_KEY: u64 = 0x72;

const DAG_PB: u64 = 0x70;
const IDENTITY: u64 = 0;
const SHA2_256: u64 = 0x12;

/// An IPNS name: the multihash of a public key, which is the key itself where that is short (Ed25519).
///
/// Read from any CIDv1 with codec libp2p-key and from the older base58 forms (`12D3Koo…`, `Qm…`); shown as
/// CIDv1 in base36, which fits into a DNS label.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IpnsName(Multihash<64>);

/// Why a text is not a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameSyntax {
    /// Neither a CID nor a peer id.
    #[error(
        "{0:?} is not an IPNS name (a libp2p-key CID such as k51…, or a peer id such as 12D3Koo… or Qm…)"
    )]
    NotAKey(String),
    /// A CID of content.
    #[error("{0} is the CID of content, not of a key")]
    Codec(Cid),
    /// The multihash is neither an inlined key nor a SHA2-256.
    #[error("the multihash is neither an inlined key nor a SHA2-256 of one")]
    Hash,
    /// Neither a key nor a domain.
    #[error("{0:?} is neither an IPNS name nor a domain")]
    NotAName(String),
    /// A path that is not `/ipfs/…` or `/ipns/…`.
    #[error("{0:?} is not a path of the form /ipfs/CID/… or /ipns/NAME/…")]
    NotAPath(String),
    /// Longer than [`limits::VALUE`].
    #[error("longer than {} bytes", limits::VALUE)]
    TooLong,
}

fn short(text: &str) -> String {
    text.chars().take(100).collect()
}

impl IpnsName {
    /// The name of a key.
    pub fn of(key: &PublicKey) -> Self {
        Self(*PeerId::from_public_key(key).as_ref())
    }

    /// From a key's multihash.
    pub fn from_multihash(hash: Multihash<64>) -> Result<Self, NameSyntax> {
        match (hash.code(), hash.size()) {
            (IDENTITY, 1..=42) | (SHA2_256, 32) => Ok(Self(hash)),
            _ => Err(NameSyntax::Hash),
        }
    }

    /// From the CID of a key. One of codec dag-pb is taken too: that is how a peer id looks which somebody
    /// took for a CIDv0 and converted.
    pub fn from_cid(cid: &Cid) -> Result<Self, NameSyntax> {
        match cid.codec() {
            LIBP2P_KEY | DAG_PB => Self::from_multihash(*cid.hash()),
            _ => Err(NameSyntax::Codec(*cid)),
        }
    }

    /// The multihash.
    pub fn multihash(&self) -> Multihash<64> {
        self.0
    }

    /// As a CIDv1 of codec libp2p-key.
    pub fn to_cid(&self) -> Cid {
        Cid::new_v1(LIBP2P_KEY, self.0)
    }

    /// As the peer id that has this key.
    pub fn to_peer_id(&self) -> PeerId {
        PeerId::from_multihash(self.0).expect("checked when it was made")
    }

    /// The key under which the DHT keeps this name's record.
    pub fn routing_key(&self) -> Vec<u8> {
        let mut key = b"/ipns/".to_vec();
        key.extend_from_slice(&self.0.to_bytes());
        key
    }

    /// The name whose record a DHT key speaks of.
    pub fn from_routing_key(key: &[u8]) -> Option<Self> {
        let hash = Multihash::from_bytes(key.strip_prefix(b"/ipns/")?).ok()?;
        Self::from_multihash(hash).ok()
    }

    /// The public key, where the name carries it.
    pub fn inlined_key(&self) -> Option<PublicKey> {
        (self.0.code() == IDENTITY).then(|| PublicKey::try_decode_protobuf(self.0.digest()).ok()).flatten()
    }
}

impl FromStr for IpnsName {
    type Err = NameSyntax;

    fn from_str(text: &str) -> Result<Self, NameSyntax> {
        let not_a_key = || NameSyntax::NotAKey(short(text));
        if text.len() > limits::DOMAIN {
            return Err(not_a_key());
        }
        if text.starts_with("Qm") || text.starts_with('1') {
            let peer: PeerId = text.parse().map_err(|_| not_a_key())?;
            return Self::from_multihash(*peer.as_ref());
        }
        let cid: Cid = text.parse().map_err(|_| not_a_key())?;
        Self::from_cid(&cid)
    }
}

impl fmt::Display for IpnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_cid().to_string_of_base(Base::Base36Lower).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for IpnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IpnsName({self})")
    }
}

/// What can stand behind `/ipns/`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Name {
    /// A key, whose records are signed.
    Key(IpnsName),
    /// A domain with DNSLink, in lower case, without the root's dot.
    Domain(String),
}

impl FromStr for Name {
    type Err = NameSyntax;

    fn from_str(text: &str) -> Result<Self, NameSyntax> {
        match text.parse() {
            Ok(key) => Ok(Name::Key(key)),
            Err(error @ (NameSyntax::Codec(_) | NameSyntax::Hash)) => Err(error),
            Err(_) => domain(text).map(Name::Domain).ok_or_else(|| NameSyntax::NotAName(short(text))),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Name::Key(key) => key.fmt(f),
            Name::Domain(domain) => f.write_str(domain),
        }
    }
}

/// A domain in its plain form. It has a dot in it, or it is some machine's name and not a domain's.
pub fn domain(text: &str) -> Option<String> {
    let text = text.strip_suffix('.').unwrap_or(text);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let sound = text.len() <= limits::DOMAIN && text.contains('.') && text.split('.').all(label);
    sound.then(|| text.to_ascii_lowercase())
}

/// A path as records and DNSLinks state it: where to start, and what follows, verbatim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamePath {
    /// `/ipfs/CID/rest`.
    Ipfs(Cid, String),
    /// `/ipns/NAME/rest`.
    Ipns(Name, String),
}

impl NamePath {
    /// What follows the first part: empty, or starting with `/`.
    pub fn rest(&self) -> &str {
        match self {
            NamePath::Ipfs(_, rest) | NamePath::Ipns(_, rest) => rest,
        }
    }
}

impl FromStr for NamePath {
    type Err = NameSyntax;

    fn from_str(text: &str) -> Result<Self, NameSyntax> {
        if text.len() > limits::VALUE {
            return Err(NameSyntax::TooLong);
        }
        let not_a_path = || NameSyntax::NotAPath(short(text));
        let split = |text: &str| {
            let at = text.find('/').unwrap_or(text.len());
            (text[..at].to_owned(), text[at..].to_owned())
        };
        if let Some(path) = text.strip_prefix("/ipfs/") {
            let (cid, rest) = split(path);
            let cid: Cid = cid.parse().map_err(|_| not_a_path())?;
            // `/ipfs/` before a key's CID means the key.
            return match cid.codec() {
                LIBP2P_KEY => Ok(NamePath::Ipns(Name::Key(IpnsName::from_cid(&cid)?), rest)),
                _ => Ok(NamePath::Ipfs(cid, rest)),
            };
        }
        let (name, rest) = split(text.strip_prefix("/ipns/").ok_or_else(not_a_path)?);
        Ok(NamePath::Ipns(name.parse()?, rest))
    }
}

impl fmt::Display for NamePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NamePath::Ipfs(cid, rest) => write!(f, "/ipfs/{cid}{rest}"),
            NamePath::Ipns(name, rest) => write!(f, "/ipns/{name}{rest}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_spellings_of_a_key_are_one_name() {
        let peer = "12D3KooWLQzUv2FHWGVPXTXSZpdHs7oHbXub2G5WC8Tx4NQhyd2d";
        let name: IpnsName = peer.parse().unwrap();
        assert_eq!(name.to_string().parse::<IpnsName>().unwrap(), name);
        assert!(name.to_string().starts_with("k51"));
        let base32 = name.to_cid().to_string();
        assert_eq!(base32.parse::<IpnsName>().unwrap(), name);
        assert_eq!(name.to_peer_id().to_string(), peer);
        assert!(name.inlined_key().is_some());
        assert_eq!(IpnsName::from_routing_key(&name.routing_key()), Some(name));

        let rsa: IpnsName = "QmVujd5Vb7moysJj8itnGufN7MEtPRCNHkKpNuA4onsRa3".parse().unwrap();
        assert_eq!(rsa.inlined_key(), None);
        assert_eq!(rsa.to_string().parse::<IpnsName>().unwrap(), rsa);
    }

    #[test]
    fn content_and_nonsense_are_not_names() {
        let content = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e";
        assert!(matches!(content.parse::<Name>(), Err(NameSyntax::Codec(_))));
        for text in
            ["", "localhost", "a..b", "-a.b", "a.b-", "with space.org", "x/y.z", "é.org", &"a.".repeat(200)]
        {
            assert!(matches!(text.parse::<Name>(), Err(NameSyntax::NotAName(_))), "{text:?}");
        }
        assert_eq!("En.Wikipedia-on-IPFS.org.".parse(), Ok(Name::Domain("en.wikipedia-on-ipfs.org".into())));
    }

    #[test]
    fn paths_keep_what_follows() {
        let path: NamePath = "/ipns/example.org/a%20b//c/".parse().unwrap();
        assert_eq!(path, NamePath::Ipns(Name::Domain("example.org".into()), "/a%20b//c/".into()));
        assert_eq!(path.to_string(), "/ipns/example.org/a%20b//c/");
        for text in ["", "/ipfs/", "/ipfs/nonsense", "/ipld/bafkqaaa", "bafkqaaa", "/ipns/"] {
            assert!(text.parse::<NamePath>().is_err(), "{text:?}");
        }
        let long = format!("/ipfs/bafkqaaa/{}", "a".repeat(limits::VALUE));
        assert_eq!(long.parse::<NamePath>(), Err(NameSyntax::TooLong));
    }
}
