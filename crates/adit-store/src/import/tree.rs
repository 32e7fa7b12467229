//! Directory trees, a few entries at a time.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use adit_unixfs::{
    build::{Built, DirectoryBuilder, symlink},
    data::Metadata as NodeMetadata,
    limits,
};
use futures::{FutureExt, StreamExt, TryStreamExt, future::BoxFuture, stream};
use parking_lot::Mutex;

use super::{
    Hidden, ImportError, ImportOptions, Imported, Skipped,
    entry::{Kind, node_metadata},
    file, put,
};
use crate::BlockStore;

/// Entries of one directory that are imported at a time; mostly small files waiting for a disk.
const ENTRIES_AHEAD: usize = 8;
/// Directories within directories. Paths on Linux end long before.
const DEPTH_MAX: usize = 1024;

/// An import of a tree under way.
pub(crate) struct Tree {
    store: Arc<dyn BlockStore>,
    options: ImportOptions,
    files: AtomicU64,
    directories: AtomicU64,
    content: AtomicU64,
    skipped: Mutex<Vec<Skipped>>,
}

impl Tree {
    pub(crate) fn new(store: Arc<dyn BlockStore>, options: ImportOptions) -> Self {
        Self {
            store,
            options,
            files: AtomicU64::new(0),
            directories: AtomicU64::new(0),
            content: AtomicU64::new(0),
            skipped: Mutex::default(),
        }
    }

    pub(crate) fn finish(self, built: Built) -> Imported {
        let mut skipped = self.skipped.into_inner();
        skipped.sort_by(|a, b| a.path.cmp(&b.path));
        Imported {
            root: built.cid,
            content: self.content.into_inner(),
            tsize: built.tsize,
            files: self.files.into_inner(),
            directories: self.directories.into_inner(),
            skipped,
        }
    }

    /// Imports what was named directly: anything but a special file.
    pub(crate) async fn any(&self, path: PathBuf) -> Result<Built, ImportError> {
        let looked = look(path.clone()).await?;
        match looked.kind {
            Kind::Special(reason) => Err(ImportError::Special { path, reason }),
            _ => self.entry(path, looked, 0).await,
        }
    }

    /// Imports an entry that is no special file.
    fn entry(
        &self,
        path: PathBuf,
        looked: Looked,
        depth: usize,
    ) -> BoxFuture<'_, Result<Built, ImportError>> {
        async move {
            match looked.kind {
                Kind::Directory => self.directory(path, &looked.metadata, depth).await,
                Kind::Symlink => self.symlink(path, &looked).await,
                _ => {
                    let built = file::regular(&self.store, &path, &self.options).await?;
                    self.files.fetch_add(1, Ordering::Relaxed);
                    self.content.fetch_add(built.content, Ordering::Relaxed);
                    Ok(built)
                }
            }
        }
        .boxed()
    }

    async fn directory(
        &self,
        path: PathBuf,
        metadata: &fs::Metadata,
        depth: usize,
    ) -> Result<Built, ImportError> {
        if depth >= DEPTH_MAX {
            return Err(ImportError::TooDeep { path, limit: DEPTH_MAX });
        }
        let mut builder = DirectoryBuilder::new(self.options.layout, self.node_metadata(metadata));
        let children = stream::iter(list(path.clone(), self.options.hidden).await?)
            .map(|(name, path)| async move {
                let looked = look(path.clone()).await?;
                if let Kind::Special(reason) = looked.kind {
                    self.skipped.lock().push(Skipped { path, reason });
                    return Ok(None);
                }
                Ok::<_, ImportError>(Some((name, self.entry(path, looked, depth + 1).await?)))
            })
            .buffered(ENTRIES_AHEAD);
        tokio::pin!(children);
        while let Some(child) = children.try_next().await? {
            let Some((name, built)) = child else { continue };
            builder
                .add(name, &built)
                .map_err(|source| ImportError::Directory { path: path.clone(), source })?;
        }
        let mut blocks = Vec::new();
        let built = builder.finish(&mut blocks).map_err(|source| ImportError::Directory { path, source })?;
        put(&self.store, &mut blocks).await?;
        self.directories.fetch_add(1, Ordering::Relaxed);
        Ok(built)
    }

    async fn symlink(&self, path: PathBuf, looked: &Looked) -> Result<Built, ImportError> {
        let target = looked.target.clone().and_then(|target| target.into_os_string().into_string().ok());
        let target = target.filter(|target| target.len() <= limits::SYMLINK_TARGET);
        let target = target.ok_or(ImportError::SymlinkTarget { path })?;
        let (block, built) = symlink(self.options.layout, &target, self.node_metadata(&looked.metadata));
        self.store.put(vec![block]).await?;
        Ok(built)
    }

    fn node_metadata(&self, metadata: &fs::Metadata) -> NodeMetadata {
        node_metadata(metadata, self.options.preserve)
    }
}

struct Looked {
    kind: Kind,
    metadata: fs::Metadata,
    /// Of a symlink.
    target: Option<PathBuf>,
}

async fn look(path: PathBuf) -> Result<Looked, ImportError> {
    blocking(move || {
        let look = |path: &Path| {
            let metadata = fs::symlink_metadata(path)?;
            let kind = Kind::of(&metadata);
            let target = if kind == Kind::Symlink { Some(fs::read_link(path)?) } else { None };
            Ok(Looked { kind, metadata, target })
        };
        look(&path).map_err(|source| ImportError::Read { path, source })
    })
    .await
}

/// A directory's entries, sorted, as far as they are to be imported.
async fn list(path: PathBuf, hidden: Hidden) -> Result<Vec<(String, PathBuf)>, ImportError> {
    blocking(move || {
        let names = || -> io::Result<Vec<OsString>> {
            fs::read_dir(&path)?.map(|entry| Ok(entry?.file_name())).collect()
        };
        let names = names().map_err(|source| ImportError::Read { path: path.clone(), source })?;
        let mut entries = Vec::with_capacity(names.len());
        for name in names {
            let full = path.join(&name);
            let name = name.into_string().map_err(|_| ImportError::Name { path: full.clone() })?;
            if hidden == Hidden::Include || !name.starts_with('.') {
                entries.push((name, full));
            }
        }
        entries.sort();
        Ok(entries)
    })
    .await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ImportError> + Send + 'static,
) -> Result<T, ImportError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| ImportError::Interrupted)?
}
