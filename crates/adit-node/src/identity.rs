//! The node's keys: who it is on the network, and whose account it asks and answers with.
//!
//! Two files below `identity/` in the repository, readable by their owner only, made by
//! `adit init` and never written again: `node.key` (Ed25519, the libp2p identity) and
//! `account.key` (secp256k1, with which the operator signs Acceptances and the requester
//! Invocations). Each is the hexadecimal text of 32 bytes. Secrets never reach a log: their types
//! print only whose they are.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use adit_model::{AccountId, AccountSecret, NodeId, NodeSecret, SignatureError};
use zeroize::Zeroizing;

/// The node's keys.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The node's own key.
    pub node: NodeSecret,
    /// The account of its operator and requester.
    pub account: AccountSecret,
}

/// Why keys could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// There is none.
    #[error("no identity in {0}: run `adit init` first")]
    Missing(PathBuf),
    /// There is one already, and keys are never overwritten.
    #[error("{0} holds an identity already; remove it by hand if you mean to lose it")]
    Exists(PathBuf),
    /// Others can read it.
    #[error("{path} can be read by others (mode {mode:o}): `chmod 600` it, and consider the key known")]
    Readable {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Its content is not a key.
    #[error("{0} does not hold a key (64 hexadecimal digits)")]
    Malformed(PathBuf),
    /// The file system refused.
    #[error("cannot {op} {path}")]
    Io {
        /// What was tried.
        op: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// No key could be made.
    #[error("no key could be made")]
    Generate(#[from] SignatureError),
}

const NODE_FILE: &str = "node.key";
const ACCOUNT_FILE: &str = "account.key";

impl Identity {
    /// Makes new keys and stores them below `repo`, durably.
    pub fn create(repo: &Path) -> Result<Self, IdentityError> {
        let dir = repo.join("identity");
        let identity = Identity { node: NodeSecret::generate()?, account: AccountSecret::generate()? };
        let io = |op, path: &Path| {
            let path = path.to_owned();
            move |source| IdentityError::Io { op, path, source }
        };
        if dir.join(NODE_FILE).exists() || dir.join(ACCOUNT_FILE).exists() {
            return Err(IdentityError::Exists(dir));
        }
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir).map_err(io("create", &dir))?;
        write_key(&dir.join(ACCOUNT_FILE), &identity.account.to_bytes())?;
        write_key(&dir.join(NODE_FILE), &identity.node.to_bytes())?;
        std::fs::File::open(&dir).and_then(|d| d.sync_all()).map_err(io("sync", &dir))?;
        Ok(identity)
    }

    /// Reads the keys below `repo`.
    pub fn load(repo: &Path) -> Result<Self, IdentityError> {
        let dir = repo.join("identity");
        let node = NodeSecret::from_bytes(&*read_key(&dir.join(NODE_FILE))?);
        let path = dir.join(ACCOUNT_FILE);
        let account =
            AccountSecret::from_bytes(&*read_key(&path)?).map_err(|_| IdentityError::Malformed(path))?;
        Ok(Identity { node, account })
    }

    /// Reads the keys, or makes them when there are none.
    pub fn load_or_create(repo: &Path) -> Result<Self, IdentityError> {
        match Self::load(repo) {
            Err(IdentityError::Missing(_)) => Self::create(repo),
            other => other,
        }
    }

    /// The node's name.
    pub fn node_id(&self) -> NodeId {
        self.node.node()
    }

    /// The account's name.
    pub fn account_id(&self) -> AccountId {
        self.account.account()
    }
}

pub(crate) fn write_key(path: &Path, secret: &Zeroizing<[u8; 32]>) -> Result<(), IdentityError> {
    let mut text = Zeroizing::new(String::with_capacity(65));
    for byte in secret.iter() {
        for nibble in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(nibble), 16).expect("a nibble is a digit"));
        }
    }
    text.push('\n');
    let write = || {
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(|source| IdentityError::Io { op: "write", path: path.to_owned(), source })
}

pub(crate) fn read_key(path: &Path) -> Result<Zeroizing<[u8; 32]>, IdentityError> {
    let io = |source| IdentityError::Io { op: "read", path: path.to_owned(), source };
    let mut file = match std::fs::File::open(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(IdentityError::Missing(path.to_owned()));
        }
        other => other.map_err(io)?,
    };
    let mode = file.metadata().map_err(io)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(IdentityError::Readable { path: path.to_owned(), mode });
    }
    // Reserved up front: a buffer that grew would leave copies of the key behind.
    let mut text = Zeroizing::new(String::with_capacity(256));
    (&mut file).take(200).read_to_string(&mut text).map_err(io)?;
    let malformed = || IdentityError::Malformed(path.to_owned());
    let digits = text.trim_end().as_bytes();
    if digits.len() != 64 {
        return Err(malformed());
    }
    let mut key = Zeroizing::new([0u8; 32]);
    for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
        let nibble = |digit: u8| (digit as char).to_digit(16).map(|d| d as u8).ok_or_else(malformed);
        *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_private_files_and_read_back() {
        let repo = tempfile::tempdir().unwrap();
        assert!(matches!(Identity::load(repo.path()), Err(IdentityError::Missing(_))));
        let made = Identity::create(repo.path()).unwrap();
        for file in [NODE_FILE, ACCOUNT_FILE] {
            let mode =
                std::fs::metadata(repo.path().join("identity").join(file)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        let read = Identity::load(repo.path()).unwrap();
        assert_eq!((read.node_id(), read.account_id()), (made.node_id(), made.account_id()));
        assert!(matches!(Identity::create(repo.path()), Err(IdentityError::Exists(_))));
    }

    #[test]
    fn keys_that_others_can_read_are_refused() {
        let repo = tempfile::tempdir().unwrap();
        Identity::create(repo.path()).unwrap();
        let path = repo.path().join("identity").join(NODE_FILE);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(Identity::load(repo.path()), Err(IdentityError::Readable { .. })));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&path, "not a key").unwrap();
        assert!(matches!(Identity::load(repo.path()), Err(IdentityError::Malformed(_))));
    }

    #[test]
    fn debug_output_shows_no_secret() {
        let identity = Identity {
            node: NodeSecret::from_bytes(&[7; 32]),
            account: AccountSecret::from_bytes(&[7; 32]).unwrap(),
        };
        let text = format!("{identity:?}");
        assert!(!text.contains("0707") && !text.contains("7, 7"), "{text}");
    }
}
