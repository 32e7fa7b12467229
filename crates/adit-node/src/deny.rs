//! What this node's operator does not want to serve: where the lists come from, and the places where they count.
//!
//! Blocks that a list denies are absent for peers ([`Guarded`] stands before the store that bitswap serves from), are
//! not fetched for anybody here ([`GuardedSource`]), and jobs that name them are refused. Paths are the gateway's
//! business.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use adit_deny::{Denials, Denylist, MAX_FILE};
use adit_model::Task;
use adit_store::{Block, BlockSource, BlockStore, Location, SourceError, StoreError};
use async_trait::async_trait;
use bytes::Bytes;
use cid::Cid;
use futures::stream::BoxStream;
use tokio_util::sync::CancellationToken;

/// How often files are looked at for changes.
const EVERY: Duration = Duration::from_secs(5);

/// A list that cannot be used. Serving what its author wanted denied would be worse than not starting.
#[derive(Debug, thiserror::Error)]
pub enum DenyError {
    /// The system does not let us read it.
    #[error("cannot read the denylist {path}")]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// It is none.
    #[error("cannot use the denylist {path}")]
    List {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: adit_deny::ListError,
    },
}

/// The files of the setting `deny.files`, and what they were when they were read.
pub(crate) struct Files {
    named: Vec<PathBuf>,
    seen: BTreeMap<PathBuf, (SystemTime, u64)>,
    denials: Denials,
}

impl Files {
    /// Reads all of them.
    pub(crate) fn open(named: Vec<PathBuf>) -> Result<(Self, Denials), DenyError> {
        let denials = Denials::default();
        let mut files = Files { named, seen: BTreeMap::new(), denials: denials.clone() };
        files.read()?;
        Ok((files, denials))
    }

    /// Reads them again whenever one has changed, until the node stops. A list that has become unusable leaves the
    /// rules as they were, and that is said.
    pub(crate) async fn watch(mut self, stop: CancellationToken) {
        if self.named.is_empty() {
            return stop.cancelled().await;
        }
        while stop.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_some() {
            let read = tokio::task::spawn_blocking(move || {
                if let Err(error) = self.read() {
                    tracing::error!(%error, cause = ?std::error::Error::source(&error), "the old rules stay");
                }
                self
            });
            match read.await {
                Ok(files) => self = files,
                Err(_) => return,
            }
        }
    }

    fn read(&mut self) -> Result<(), DenyError> {
        let mut now = BTreeMap::new();
        let mut order = Vec::new();
        for named in &self.named {
            for path in expand(named)? {
                let stat = std::fs::metadata(&path).map_err(|source| unreadable(&path, source))?;
                let modified = stat.modified().map_err(|source| unreadable(&path, source))?;
                now.insert(path.clone(), (modified, stat.len()));
                order.push(path);
            }
        }
        if now == self.seen {
            return Ok(());
        }
        let mut list = Denylist::new();
        for path in order {
            let too_long = now.get(&path).is_some_and(|(_, length)| *length > MAX_FILE as u64);
            let file = match too_long {
                true => Err(std::io::Error::from(std::io::ErrorKind::FileTooLarge)),
                false => std::fs::read(&path),
            };
            let file = file.map_err(|source| unreadable(&path, source))?;
            let problems =
                list.add(&file).map_err(|source| DenyError::List { path: path.clone(), source })?;
            for problem in problems {
                tracing::warn!(list = %path.display(), line = problem.line, "not a rule: {}", problem.what);
            }
        }
        tracing::info!(rules = list.len(), lists = now.len(), "denylists read");
        self.seen = now;
        self.denials.replace(list);
        Ok(())
    }
}

fn unreadable(path: &Path, source: std::io::Error) -> DenyError {
    DenyError::Read { path: path.to_owned(), source }
}

/// A folder stands for its `.deny` files, in alphabetical order.
fn expand(named: &Path) -> Result<Vec<PathBuf>, DenyError> {
    if !named.is_dir() {
        return Ok(vec![named.to_owned()]);
    }
    let listing = std::fs::read_dir(named).map_err(|source| unreadable(named, source))?;
    let mut found = Vec::new();
    for entry in listing {
        let path = entry.map_err(|source| unreadable(named, source))?.path();
        if path.extension().is_some_and(|extension| extension == "deny") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// What a task names that is not to be used here.
pub(crate) fn denied(denials: &Denials, task: &Task) -> Option<Cid> {
    let list = denials.now();
    task.roots().find(|root| list.denies_block(root)).copied()
}

/// A store that does not have what is denied. Writing is not its business.
pub(crate) struct Guarded {
    store: Arc<dyn BlockStore>,
    denials: Denials,
}

impl Guarded {
    pub(crate) fn new(store: Arc<dyn BlockStore>, denials: Denials) -> Self {
        Guarded { store, denials }
    }

    fn denies(&self, cid: &Cid) -> bool {
        self.denials.now().denies_block(cid)
    }
}

#[async_trait]
impl BlockStore for Guarded {
    async fn get(&self, cid: &Cid) -> Result<Option<Bytes>, StoreError> {
        if self.denies(cid) { Ok(None) } else { self.store.get(cid).await }
    }

    async fn has(&self, cid: &Cid) -> Result<bool, StoreError> {
        if self.denies(cid) { Ok(false) } else { self.store.has(cid).await }
    }

    async fn size(&self, cid: &Cid) -> Result<Option<u64>, StoreError> {
        if self.denies(cid) { Ok(None) } else { self.store.size(cid).await }
    }

    async fn sizes(&self, cids: &[Cid]) -> Result<Vec<Option<u64>>, StoreError> {
        let mut sizes = self.store.sizes(cids).await?;
        for (cid, size) in cids.iter().zip(&mut sizes) {
            if self.denies(cid) {
                *size = None;
            }
        }
        Ok(sizes)
    }

    async fn put(&self, blocks: Vec<Block>) -> Result<(), StoreError> {
        self.store.put(blocks).await
    }

    async fn sync(&self) -> Result<(), StoreError> {
        self.store.sync().await
    }

    async fn locate(&self, cid: &Cid) -> Result<Option<Location>, StoreError> {
        if self.denies(cid) { Ok(None) } else { self.store.locate(cid).await }
    }

    async fn delete(&self, cid: &Cid) -> Result<(), StoreError> {
        self.store.delete(cid).await
    }

    fn list(&self) -> BoxStream<'_, Result<(Cid, u64), StoreError>> {
        self.store.list()
    }
}

/// A source that refuses what is denied, before it looks anywhere.
pub(crate) struct GuardedSource<S> {
    pub(crate) source: S,
    pub(crate) denials: Denials,
}

#[async_trait]
impl<S: BlockSource> BlockSource for GuardedSource<S> {
    async fn block(&self, cid: &Cid) -> Result<Bytes, SourceError> {
        if self.denials.now().denies_block(cid) {
            return Err(SourceError::Denied(*cid));
        }
        self.source.block(cid).await
    }

    fn prefetch(&self, cids: &[Cid]) {
        let list = self.denials.now();
        if list.is_empty() {
            return self.source.prefetch(cids);
        }
        let wanted: Vec<Cid> = cids.iter().filter(|cid| !list.denies_block(cid)).copied().collect();
        self.source.prefetch(&wanted);
    }
}
