//! Tokens: made from randomness, shown once, kept as hashes.
//!
//! `api.token` holds the node's own token in the clear, readable by the operator only: it is how `adit` commands on the
//! same machine get in. All other tokens are shown when they are made; `api-tokens.json` keeps their SHA-256, which is
//! enough because a token has 256 bits of randomness: there is nothing to guess.

use super::Scope;
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use utoipa::ToSchema;

/// How many tokens a node keeps. A table that grows without end is somebody's mistake.
const MAX_TOKENS: usize = 1000;
/// How long a token's name may be.
const MAX_NAME: usize = 100;

const LOCAL_FILE: &str = "api.token";
const HASHES_FILE: &str = "api-tokens.json";

/// What is known about a token, without the token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenView {
    /// Its first characters, enough to tell tokens apart.
    pub id: String,
    /// What its owner called it.
    pub name: String,
    /// What it allows.
    pub scope: Scope,
    /// When it was made, in Unix seconds.
    pub created: u64,
}

/// A token just made: the only time that it is shown.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct IssuedToken {
    /// The token.
    pub token: String,
    /// What is known about it afterwards.
    #[serde(flatten)]
    pub view: TokenView,
}

impl std::fmt::Debug for IssuedToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IssuedToken").field("view", &self.view).finish_non_exhaustive()
    }
}

/// Why a token could not be kept or made.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error("cannot read or write {path}")]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{path} is not a table of tokens")]
    Table {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    #[error("the system gave no random bytes")]
    NoRandomness,
    #[error("a token's name has 1 to {MAX_NAME} bytes")]
    Name,
    #[error("there are {MAX_TOKENS} tokens already; revoke some")]
    TooMany,
    #[error("no token has the id {0}")]
    Unknown(String),
}

#[derive(Serialize, Deserialize)]
struct Stored {
    sha256: String,
    #[serde(flatten)]
    view: TokenView,
}

/// The tokens of one node.
pub struct Tokens {
    path: PathBuf,
    local: [u8; 32],
    issued: RwLock<HashMap<[u8; 32], Arc<TokenView>>>,
}

impl Tokens {
    /// Opens the tokens of the repository in `dir`, and makes the node's own token when there is none.
    pub fn open(dir: &Path) -> Result<Self, TokenError> {
        let local_path = dir.join(LOCAL_FILE);
        let local = match std::fs::read_to_string(&local_path) {
            Ok(text) if text.trim().len() >= 32 => text.trim().to_owned(),
            Ok(_) => new_local(&local_path)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => new_local(&local_path)?,
            Err(source) => return Err(TokenError::File { path: local_path, source }),
        };
        let path = dir.join(HASHES_FILE);
        let issued = match std::fs::read(&path) {
            Ok(bytes) => {
                let stored: Vec<Stored> = serde_json::from_slice(&bytes)
                    .map_err(|source| TokenError::Table { path: path.clone(), source })?;
                stored
                    .into_iter()
                    .filter_map(|row| {
                        let hash = data_encoding::HEXLOWER.decode(row.sha256.as_bytes()).ok()?;
                        Some((hash.try_into().ok()?, Arc::new(row.view)))
                    })
                    .collect()
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => HashMap::new(),
            Err(source) => return Err(TokenError::File { path, source }),
        };
        Ok(Self { path, local: hash(&local), issued: RwLock::new(issued) })
    }

    /// What a token allows, and which one it is; `None` for a token that is not known.
    ///
    /// Tokens are looked up by their hash, so the time this takes says nothing about other tokens.
    pub fn check(&self, token: &str) -> Option<(Scope, Option<Arc<TokenView>>)> {
        let hash = hash(token);
        if hash == self.local {
            return Some((Scope::Admin, None));
        }
        let issued = self.issued.read();
        issued.get(&hash).map(|view| (view.scope, Some(view.clone())))
    }

    /// Makes a token.
    pub fn issue(&self, name: &str, scope: Scope) -> Result<IssuedToken, TokenError> {
        if name.is_empty() || name.len() > MAX_NAME {
            return Err(TokenError::Name);
        }
        let token = new_token()?;
        let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let view = TokenView { id: token[5..13].to_owned(), name: name.to_owned(), scope, created };
        let mut issued = self.issued.write();
        if issued.len() >= MAX_TOKENS {
            return Err(TokenError::TooMany);
        }
        let mut changed = issued.clone();
        changed.insert(hash(&token), Arc::new(view.clone()));
        self.store(&changed)?;
        *issued = changed;
        Ok(IssuedToken { token, view })
    }

    /// Forgets a token: it stops working at once.
    pub fn revoke(&self, id: &str) -> Result<(), TokenError> {
        let mut issued = self.issued.write();
        let mut changed = issued.clone();
        changed.retain(|_, view| view.id != id);
        if changed.len() == issued.len() {
            return Err(TokenError::Unknown(id.chars().take(20).collect()));
        }
        self.store(&changed)?;
        *issued = changed;
        Ok(())
    }

    /// All tokens but the node's own, oldest first.
    pub fn list(&self) -> Vec<TokenView> {
        let mut views: Vec<_> = self.issued.read().values().map(|view| TokenView::clone(view)).collect();
        views.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
        views
    }

    fn store(&self, issued: &HashMap<[u8; 32], Arc<TokenView>>) -> Result<(), TokenError> {
        let rows: Vec<Stored> = issued
            .iter()
            .map(|(hash, view)| Stored {
                sha256: data_encoding::HEXLOWER.encode(hash),
                view: TokenView::clone(view),
            })
            .collect();
        let bytes = serde_json::to_vec_pretty(&rows).expect("a list of plain structs is JSON");
        write_private(&self.path, &bytes)
    }
}

fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

fn new_token() -> Result<String, TokenError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|_| TokenError::NoRandomness)?;
    Ok(format!("adit_{}", data_encoding::BASE32_NOPAD.encode(&bytes).to_ascii_lowercase()))
}

fn new_local(path: &Path) -> Result<String, TokenError> {
    let token = new_token()?;
    write_private(path, format!("{token}\n").as_bytes())?;
    Ok(token)
}

/// Replaces a file that only its owner may read: never half-written, never readable by others even for a moment.
fn write_private(path: &Path, bytes: &[u8]) -> Result<(), TokenError> {
    let error = |source| TokenError::File { path: path.to_owned(), source };
    let temporary = path.with_extension("new");
    let _ = std::fs::remove_file(&temporary);
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)
        .map_err(error)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(error)?;
    std::fs::rename(&temporary, path).map_err(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn tokens_survive_a_restart_and_never_stand_on_disk() {
        let dir = tempfile::tempdir().unwrap();
        let tokens = Tokens::open(dir.path()).unwrap();
        let issued = tokens.issue("laptop", Scope::Run).unwrap();
        let local = std::fs::read_to_string(dir.path().join(LOCAL_FILE)).unwrap();

        let again = Tokens::open(dir.path()).unwrap();
        assert_eq!(again.check(&issued.token).map(|(scope, _)| scope), Some(Scope::Run));
        assert_eq!(again.check(local.trim()).map(|(scope, _)| scope), Some(Scope::Admin));
        let stored = std::fs::read_to_string(dir.path().join(HASHES_FILE)).unwrap();
        assert!(!stored.contains(&issued.token[13..]));
        for file in [LOCAL_FILE, HASHES_FILE] {
            let mode = std::fs::metadata(dir.path().join(file)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{file}");
        }
    }

    #[test]
    fn a_revoked_token_stops_working() {
        let dir = tempfile::tempdir().unwrap();
        let tokens = Tokens::open(dir.path()).unwrap();
        let issued = tokens.issue("ci", Scope::Admin).unwrap();
        tokens.revoke(&issued.view.id).unwrap();
        assert!(tokens.check(&issued.token).is_none());
        assert!(Tokens::open(dir.path()).unwrap().check(&issued.token).is_none());
        assert!(matches!(tokens.revoke(&issued.view.id), Err(TokenError::Unknown(_))));
        assert!(tokens.check("").is_none());
    }
}
