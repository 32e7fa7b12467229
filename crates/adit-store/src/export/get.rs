//! A tree written to disk.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use adit_unixfs::read::{Stat, StatKind};
use bytes::Bytes;
use cid::Cid;
use futures::StreamExt;

use super::{
    ExportError, Range, cat, ls,
    place::{Place, set_metadata, stays_inside},
};
use crate::BlockSource;

/// Bounds for a tree that a stranger made. A few blocks can describe directories without end.
#[derive(Debug, Clone, Copy)]
pub struct GetOptions {
    pub max_bytes: u64,
    pub max_entries: u64,
    /// Directories within directories.
    pub max_depth: usize,
}

impl Default for GetOptions {
    fn default() -> Self {
        Self { max_bytes: u64::MAX, max_entries: 1 << 24, max_depth: 256 }
    }
}

/// What was written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Got {
    pub files: u64,
    pub directories: u64,
    pub symlinks: u64,
    pub bytes: u64,
    /// Symlinks that point out of the tree, which were not made.
    pub omitted: Vec<Omitted>,
}

/// A symlink that was not made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Omitted {
    /// Relative to the tree's top.
    pub path: PathBuf,
    pub target: String,
}

/// Writing a tree failed; what was written so far stays.
#[derive(Debug, thiserror::Error)]
pub enum GetError {
    #[error(transparent)]
    Export(#[from] ExportError),
    /// Existing files are never replaced.
    #[error("cannot write {path}: {source}")]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the tree has more than {limit} {what}")]
    TooLarge { what: &'static str, limit: u64 },
}

/// Writes a file, directory or symlink to `path`. A directory is made if it is missing and
/// filled if it is there; no file is replaced, no symlink followed, nothing lands outside.
pub async fn get(
    source: &dyn BlockSource,
    cid: &Cid,
    path: &Path,
    options: GetOptions,
) -> Result<Got, GetError> {
    let mut job = Job { source, options, path, got: Got::default(), entries: 0 };
    let stat = job.stat(cid).await?;
    let failed = |source| GetError::Write { path: path.to_owned(), source };
    match &stat.kind {
        StatKind::Directory { .. } => {
            let top = Place::open(path).map_err(failed)?;
            job.tree(cid, top, stat).await?;
        }
        StatKind::File => {
            let place = Place::parent_of(path).map_err(failed)?;
            let name = path.file_name().ok_or_else(|| failed(io::ErrorKind::InvalidInput.into()))?;
            let file = place.file(name).map_err(failed)?;
            job.file(cid, file, &stat, Path::new("")).await?;
        }
        StatKind::Symlink { target } => {
            job.got.omitted.push(Omitted { path: PathBuf::new(), target: target.clone() })
        }
    }
    Ok(job.got)
}

struct Job<'a> {
    source: &'a dyn BlockSource,
    options: GetOptions,
    path: &'a Path,
    got: Got,
    entries: u64,
}

/// Something in a directory that still has to be written.
struct Todo {
    parent: Arc<Place>,
    name: String,
    cid: Cid,
    /// Relative to the top.
    path: PathBuf,
    /// Directories above it, the top not counted.
    depth: usize,
}

impl Job<'_> {
    async fn stat(&self, cid: &Cid) -> Result<Stat, GetError> {
        Ok(super::stat(self.source, cid).await?)
    }

    fn failed(&self, path: &Path) -> impl FnOnce(io::Error) -> GetError {
        let path = self.path.join(path);
        move |source| GetError::Write { path, source }
    }

    async fn tree(&mut self, root: &Cid, top: Place, stat: Stat) -> Result<(), GetError> {
        let top = Arc::new(top);
        self.got.directories += 1;
        // Metadata of directories is set at the end, when nothing is written into them any more.
        let mut finished = vec![(top.clone(), stat, PathBuf::new())];
        let mut todo = Vec::new();
        self.list(root, &top, Path::new(""), 0, &mut todo).await?;
        while let Some(Todo { parent, name, cid, path, depth }) = todo.pop() {
            let stat = self.stat(&cid).await?;
            match &stat.kind {
                StatKind::Directory { .. } => {
                    if depth >= self.options.max_depth {
                        let limit = self.options.max_depth as u64;
                        return Err(GetError::TooLarge { what: "levels of directories", limit });
                    }
                    let place = Arc::new(parent.directory(&name).map_err(self.failed(&path))?);
                    self.got.directories += 1;
                    self.list(&cid, &place, &path, depth + 1, &mut todo).await?;
                    if !stat.metadata.is_none() {
                        finished.push((place, stat, path));
                    }
                }
                StatKind::File => {
                    let file = parent.file(name.as_str()).map_err(self.failed(&path))?;
                    self.file(&cid, file, &stat, &path).await?;
                }
                StatKind::Symlink { target } if stays_inside(target, depth) => {
                    parent.symlink(&name, target, stat.metadata).map_err(self.failed(&path))?;
                    self.got.symlinks += 1;
                }
                StatKind::Symlink { target } => {
                    self.got.omitted.push(Omitted { path, target: target.clone() });
                }
            }
        }
        for (place, stat, path) in finished.into_iter().rev() {
            place.set_metadata(stat.metadata).map_err(self.failed(&path))?;
        }
        Ok(())
    }

    async fn list(
        &mut self,
        cid: &Cid,
        place: &Arc<Place>,
        path: &Path,
        depth: usize,
        todo: &mut Vec<Todo>,
    ) -> Result<(), GetError> {
        let left = self.options.max_entries - self.entries;
        let entries = ls(self.source, cid, usize::try_from(left).unwrap_or(usize::MAX)).await?;
        self.entries += entries.len() as u64;
        // The last one is taken first.
        todo.extend(entries.into_iter().rev().map(|entry| Todo {
            parent: place.clone(),
            path: path.join(&entry.name),
            name: entry.name,
            cid: entry.cid,
            depth,
        }));
        Ok(())
    }

    async fn file(
        &mut self,
        cid: &Cid,
        file: std::fs::File,
        stat: &Stat,
        path: &Path,
    ) -> Result<(), GetError> {
        if stat.size > self.options.max_bytes - self.got.bytes {
            return Err(GetError::TooLarge { what: "bytes", limit: self.options.max_bytes });
        }
        let file = Arc::new(file);
        let mut content = cat(self.source, cid, Range::ALL).await?.content;
        while let Some(bytes) = content.next().await {
            let bytes = bytes?;
            self.got.bytes += bytes.len() as u64;
            write(&file, bytes).await.map_err(self.failed(path))?;
        }
        set_metadata(&*file, stat.metadata).map_err(self.failed(path))?;
        self.got.files += 1;
        Ok(())
    }
}

async fn write(file: &Arc<std::fs::File>, bytes: Bytes) -> io::Result<()> {
    use std::io::Write;
    let file = file.clone();
    let written = tokio::task::spawn_blocking(move || (&*file).write_all(&bytes)).await;
    written.unwrap_or_else(|_| Err(io::ErrorKind::Interrupted.into()))
}
