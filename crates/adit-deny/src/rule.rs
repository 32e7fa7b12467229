//! One line of a list.

use cid::{Cid, multihash::Multihash};
use data_encoding::HEXLOWER_PERMISSIVE;
use percent_encoding::percent_decode_str;

/// Why a line is no rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RuleError {
    /// It begins with none of `/ipfs/`, `/ipns/` and `//`.
    #[error("a rule begins with /ipfs/, /ipns/ or //, after a ! where it is an exception")]
    Kind,
    /// What follows `/ipfs/` is no CID.
    #[error("what follows /ipfs/ is not a CID")]
    Cid,
    /// What follows `/ipns/` is neither a key nor a name.
    #[error("what follows /ipns/ is neither a key nor a domain name")]
    Name,
    /// The path is not UTF-8 once decoded.
    #[error("the path is not text")]
    Path,
    /// A double hash is neither a multihash in base58 nor a SHA-256 in hexadecimal.
    #[error("a double hash is a multihash in base58btc or a SHA-256 in hexadecimal")]
    DoubleHash,
    /// A double hash by a function that requests are not hashed with.
    #[error("double hashes are SHA-256 or BLAKE3, not function {0:#x}")]
    HashFunction(u64),
}

/// What paths start at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Root {
    /// A multihash: content of any codec.
    Content(Box<[u8]>),
    /// A key's multihash.
    Key(Box<[u8]>),
    /// A domain, in lower case.
    Domain(Box<str>),
}

impl Root {
    pub(crate) fn content(cid: &Cid) -> Self {
        Root::Content(cid.hash().to_bytes().into())
    }

    /// A name below `/ipns`: a key in any of its forms, or a domain, also one that is written as a single label.
    pub(crate) fn named(name: &str) -> Option<Self> {
        if let Some(key) = key_of(name) {
            return Some(Root::Key(key.hash().to_bytes().into()));
        }
        domain_of(name).map(|domain| Root::Domain(domain.into()))
    }
}

/// A CID, or the multihash in base58 that libp2p calls a peer id.
pub(crate) fn key_of(name: &str) -> Option<Cid> {
    const LIBP2P_KEY: u64 = 0x72;
    if let Ok(cid) = Cid::try_from(name) {
        return Some(cid);
    }
    let bytes = bs58::decode(name).into_vec().ok()?;
    Some(Cid::new_v1(LIBP2P_KEY, Multihash::from_bytes(&bytes).ok()?))
}

pub(crate) fn domain_of(name: &str) -> Option<String> {
    let name = name.to_ascii_lowercase();
    let is_domain_letter = |c: char| !c.is_ascii() || c.is_ascii_alphanumeric() || "-._".contains(c);
    if name.is_empty() || name.len() > 253 || !name.chars().all(is_domain_letter) {
        return None;
    }
    if name.contains('.') {
        return Some(name);
    }
    // As subdomain gateways write it in one label: `-` for each dot, `--` for each `-`.
    Some(name.replace("--", "\0").replace('-', ".").replace('\0', "-"))
}

/// What a line denies or allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    /// A path, without slashes at its ends; with `prefix`, everything that begins so.
    Path { root: Root, path: Box<str>, prefix: bool },
    /// The multihash of what is denied.
    Doubled(Box<[u8]>),
    /// The older form, SHA-256 of a CID or domain, a slash, and a path.
    Legacy([u8; 32]),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) allow: bool,
    /// More than one where it can't be told which is meant.
    pub(crate) items: Vec<Item>,
}

/// Reads a line; `None`: it says nothing.
pub(crate) fn read(line: &str) -> Result<Option<Rule>, RuleError> {
    // Hints follow after a space; none is known here.
    let Some(word) = line.split_ascii_whitespace().next().filter(|word| !word.starts_with('#')) else {
        return Ok(None);
    };
    let (allow, word) = match word.strip_prefix('!') {
        Some(word) => (true, word),
        None => (false, word),
    };
    let items = if let Some(hash) = word.strip_prefix("//") {
        doubled(hash)?
    } else if let Some(rest) = word.strip_prefix("/ipfs/") {
        let (name, path) = rest.split_once('/').unwrap_or((rest, ""));
        let cid = key_of(name).ok_or(RuleError::Cid)?;
        vec![path_rule(Root::content(&cid), path)?]
    } else if let Some(rest) = word.strip_prefix("/ipns/") {
        let (name, path) = rest.split_once('/').unwrap_or((rest, ""));
        vec![path_rule(Root::named(name).ok_or(RuleError::Name)?, path)?]
    } else {
        return Err(RuleError::Kind);
    };
    Ok(Some(Rule { allow, items }))
}

fn path_rule(root: Root, path: &str) -> Result<Item, RuleError> {
    let (path, prefix) = match path.strip_suffix('*') {
        Some(path) => (path, true),
        None => (path, false),
    };
    let path = percent_decode_str(path).decode_utf8().map_err(|_| RuleError::Path)?;
    Ok(Item::Path { root, path: path.trim_matches('/').into(), prefix })
}

pub(crate) const SHA2_256: u64 = 0x12;
pub(crate) const BLAKE3: u64 = 0x1e;

fn doubled(text: &str) -> Result<Vec<Item>, RuleError> {
    let mut items = Vec::new();
    let digest = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok();
    if let Some(digest) = digest.and_then(|digest| <[u8; 32]>::try_from(digest).ok()) {
        items.push(Item::Legacy(digest));
    }
    let bytes = bs58::decode(text).into_vec().unwrap_or_default();
    if let Ok(hash) = Multihash::<64>::from_bytes(&bytes) {
        if ![SHA2_256, BLAKE3].contains(&hash.code()) {
            return Err(RuleError::HashFunction(hash.code()));
        }
        items.push(Item::Doubled(bytes.into()));
    }
    if items.is_empty() { Err(RuleError::DoubleHash) } else { Ok(items) }
}
