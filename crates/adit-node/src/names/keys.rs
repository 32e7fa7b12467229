//! The keys that names are published under: the node's own, called `self`, and others by names that their owner chose.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use adit_model::NodeSecret;
use adit_names::{IpnsName, Keypair};

use crate::identity::{IdentityError, read_key, write_key};

/// What the node's own key is called.
pub const SELF: &str = "self";
/// Most keys of one node.
const MOST: usize = 1000;
const SUFFIX: &str = ".key";

/// Why a key cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The text is no key's name.
    #[error("a key's name is 1 to 64 of a-z, 0-9, '-' and '_', not {0:?}")]
    Name(String),
    /// There is one already.
    #[error("there is a key {0} already")]
    Exists(String),
    /// There is none.
    #[error("there is no key {0}")]
    Missing(String),
    /// There are too many.
    #[error("there are {MOST} keys, which is the limit")]
    Full,
    /// It cannot be read or written.
    #[error(transparent)]
    File(#[from] IdentityError),
}

/// Ed25519 keys, each a file of its own beside the node's, readable by their owner only.
#[derive(Debug)]
pub struct KeyRing {
    dir: PathBuf,
    node: NodeSecret,
}

impl KeyRing {
    pub(super) fn new(repo: &Path, node: NodeSecret) -> Self {
        Self { dir: repo.join("identity").join("names"), node }
    }

    fn path(&self, key: &str) -> Result<PathBuf, KeyError> {
        let plain = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
        if !(1..=64).contains(&key.len()) || !key.bytes().all(plain) {
            return Err(KeyError::Name(key.chars().take(64).collect()));
        }
        Ok(self.dir.join(format!("{key}{SUFFIX}")))
    }

    /// All names, the node's own first.
    pub fn list(&self) -> Result<Vec<(String, IpnsName)>, KeyError> {
        let mut names = Vec::new();
        let io = |source| IdentityError::Io { op: "list", path: self.dir.clone(), source };
        match std::fs::read_dir(&self.dir) {
            Ok(entries) => {
                for entry in entries {
                    let file = entry.map_err(io)?.file_name();
                    names.extend(file.to_str().and_then(|f| f.strip_suffix(SUFFIX)).map(str::to_owned));
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(io(error).into()),
        }
        names.sort();
        names.insert(0, SELF.to_owned());
        let named = |key: String| Ok((key.clone(), IpnsName::of(&self.pair(&key)?.public())));
        names.into_iter().map(named).collect()
    }

    /// Makes a key, durably.
    pub fn create(&self, key: &str) -> Result<IpnsName, KeyError> {
        let path = self.path(key)?;
        if key == SELF || path.exists() {
            return Err(KeyError::Exists(key.to_owned()));
        }
        if self.list()?.len() >= MOST {
            return Err(KeyError::Full);
        }
        let io = |op| {
            let path = self.dir.clone();
            move |source| IdentityError::Io { op, path, source }
        };
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.dir).map_err(io("create"))?;
        let secret = NodeSecret::generate().map_err(IdentityError::Generate)?;
        write_key(&path, &secret.to_bytes())?;
        std::fs::File::open(&self.dir).and_then(|dir| dir.sync_all()).map_err(io("sync"))?;
        Ok(IpnsName::of(&pair(&secret).public()))
    }

    /// The key of this name.
    pub(super) fn pair(&self, key: &str) -> Result<Keypair, KeyError> {
        if key == SELF {
            return Ok(pair(&self.node));
        }
        match read_key(&self.path(key)?) {
            Ok(seed) => Ok(pair(&NodeSecret::from_bytes(&seed))),
            Err(IdentityError::Missing(_)) => Err(KeyError::Missing(key.to_owned())),
            Err(error) => Err(error.into()),
        }
    }
}

fn pair(secret: &NodeSecret) -> Keypair {
    // The library clears the copy it is given.
    let mut seed = secret.to_bytes();
    Keypair::ed25519_from_bytes(&mut seed[..]).expect("32 bytes are always a seed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_made_once_and_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let node = NodeSecret::from_bytes(&[3; 32]);
        let ring = KeyRing::new(dir.path(), node.clone());
        let own = ring.list().unwrap();
        assert_eq!((own.len(), own[0].0.as_str()), (1, SELF));
        assert_eq!(
            own[0].1.to_peer_id().to_string(),
            node.node().to_string(),
            "the node's own name is its peer id"
        );
        let name = ring.create("blog").unwrap();
        let again = KeyRing::new(dir.path(), node);
        assert_eq!(again.list().unwrap()[1], ("blog".to_owned(), name));
        assert!(matches!(ring.create("blog"), Err(KeyError::Exists(_))));
        assert!(matches!(ring.create(SELF), Err(KeyError::Exists(_))));
        assert!(matches!(ring.pair("shop"), Err(KeyError::Missing(_))));
        for bad in ["", "../node", "A", "a/b", &"x".repeat(65)] {
            assert!(matches!(ring.create(bad), Err(KeyError::Name(_))), "{bad}");
        }
    }
}
