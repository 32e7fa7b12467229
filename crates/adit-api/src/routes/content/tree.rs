//! A tar stream into a UnixFS tree, as it arrives.
//!
//! Entries of a directory must stand together, as every archiver writes them: then only the directories on the way to
//! the present entry are open, and memory is bounded by their entries. An archive that comes back to a directory it
//! has left is refused, because its directory has been built.

use crate::error::{ApiError, Code};
use crate::tar::{self, Kind, Reader};
use crate::types::Added;
use adit_store::BlockStore;
use adit_unixfs::build::{Built, DirectoryBuilder, DirectoryError, FileBuilder, symlink};
use adit_unixfs::data::{Metadata, Mtime};
use adit_unixfs::{Block, Profile};
use bytes::BytesMut;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Read and hashed at a time: one leaf of the default profile.
const PIECE: usize = 1 << 20;
/// Handed to the store at a time.
const PUT_BYTES: usize = 4 << 20;

/// A directory that is not finished.
struct Open {
    name: String,
    builder: DirectoryBuilder,
}

struct Importer<'a> {
    store: &'a Arc<dyn BlockStore>,
    profile: Profile,
    preserve: bool,
    /// From the root down to the directory of the present entry.
    open: Vec<Open>,
    /// Whether the archive has an entry for its root.
    has_root: bool,
    /// What stands at the top level: the name of the last entry, what it became, and how many there were.
    top: Option<(Built, usize)>,
    blocks: Vec<Block>,
    pending: usize,
    bytes: u64,
    files: u64,
    directories: u64,
}

/// Imports a tar stream; durable when this returns.
pub(super) async fn import(
    store: &Arc<dyn BlockStore>,
    stream: impl AsyncRead + Unpin,
    profile: Profile,
    preserve: bool,
) -> Result<Added, ApiError> {
    let root = Open { name: String::new(), builder: DirectoryBuilder::new(profile, Metadata::NONE) };
    let mut importer = Importer {
        store,
        profile,
        preserve,
        open: vec![root],
        has_root: false,
        top: None,
        blocks: Vec::new(),
        pending: 0,
        bytes: 0,
        files: 0,
        directories: 0,
    };
    let mut reader = Reader::new(stream);
    while let Some(entry) = reader.next().await? {
        importer.entry(entry, &mut reader).await?;
    }
    importer.finish().await
}

impl Importer<'_> {
    async fn entry(
        &mut self,
        entry: tar::Entry,
        reader: &mut Reader<impl AsyncRead + Unpin>,
    ) -> Result<(), ApiError> {
        let metadata = self.metadata(&entry);
        if entry.path.is_empty() {
            if self.has_root || self.top.is_some() || self.open.len() > 1 {
                return Err(ApiError::new(
                    Code::BadRequest,
                    "the entry of the archive's root is not its first",
                ));
            }
            self.has_root = true;
            self.open[0].builder = DirectoryBuilder::new(self.profile, metadata);
            return Ok(());
        }
        let (parent, name) = entry.path.rsplit_once('/').unwrap_or(("", &entry.path));
        self.move_to(parent)?;
        match entry.kind {
            Kind::Directory => {
                let builder = DirectoryBuilder::new(self.profile, metadata);
                self.open.push(Open { name: name.to_owned(), builder });
            }
            Kind::Symlink { target } => {
                let (block, built) = symlink(self.profile, &target, metadata);
                self.blocks.push(block);
                self.files += 1;
                self.add(name, built)?;
            }
            Kind::File { size } => {
                let built = self.file(reader, size, metadata).await?;
                self.files += 1;
                self.bytes += built.content;
                self.add(name, built)?;
            }
        }
        self.put(PUT_BYTES).await
    }

    fn metadata(&self, entry: &tar::Entry) -> Metadata {
        if self.preserve {
            Metadata { mode: Some(entry.mode), mtime: Some(Mtime { seconds: entry.mtime, nanos: 0 }) }
        } else {
            Metadata::NONE
        }
    }

    /// Makes `parent` the innermost open directory: finishes those that were left, opens those that were not named.
    fn move_to(&mut self, parent: &str) -> Result<(), ApiError> {
        let wanted: Vec<&str> = parent.split('/').filter(|name| !name.is_empty()).collect();
        let common =
            self.open[1..].iter().zip(&wanted).take_while(|(open, name)| open.name == **name).count();
        while self.open.len() > 1 + common {
            self.close()?;
        }
        for name in &wanted[common..] {
            let builder = DirectoryBuilder::new(self.profile, Metadata::NONE);
            self.open.push(Open { name: (*name).to_owned(), builder });
        }
        Ok(())
    }

    /// Finishes the innermost open directory.
    fn close(&mut self) -> Result<(), ApiError> {
        let Some(left) = self.open.pop() else { return Ok(()) };
        let built = left.builder.finish(&mut self.blocks).map_err(refuse)?;
        self.directories += 1;
        self.add(&left.name, built)
    }

    fn add(&mut self, name: &str, built: Built) -> Result<(), ApiError> {
        if self.open.len() == 1 {
            let before = self.top.map_or(0, |(_, count)| count);
            self.top = Some((built, before + 1));
        }
        match self.open.last_mut() {
            Some(parent) => parent.builder.add(name, &built).map_err(refuse),
            None => Ok(()),
        }
    }

    async fn file(
        &mut self,
        reader: &mut Reader<impl AsyncRead + Unpin>,
        size: u64,
        metadata: Metadata,
    ) -> Result<Built, ApiError> {
        let mut builder = FileBuilder::new(self.profile, metadata);
        let mut left = size;
        while left > 0 {
            let mut piece = BytesMut::with_capacity(left.min(PIECE as u64) as usize);
            while piece.len() < piece.capacity() {
                let room = piece.capacity() - piece.len();
                let read = (&mut *reader).take(room as u64).read_buf(&mut piece).await;
                let read = read.map_err(|_| ApiError::new(Code::BadRequest, "the archive broke off"))?;
                if read == 0 {
                    return Err(ApiError::new(Code::BadRequest, "the archive broke off"));
                }
            }
            left -= piece.len() as u64;
            let before = self.blocks.len();
            builder.push(piece.freeze(), &mut self.blocks);
            self.pending += self.blocks[before..].iter().map(|block| block.data.len()).sum::<usize>();
            if self.pending >= PUT_BYTES {
                self.put(0).await?;
            }
        }
        Ok(builder.finish(&mut self.blocks))
    }

    /// Hands blocks to the store when there are more than a few.
    async fn put(&mut self, least: usize) -> Result<(), ApiError> {
        self.pending = self.blocks.iter().map(|block| block.data.len()).sum();
        if self.pending < least && self.blocks.len() < 1024 {
            return Ok(());
        }
        self.pending = 0;
        Ok(self.store.put(std::mem::take(&mut self.blocks)).await?)
    }

    async fn finish(mut self) -> Result<Added, ApiError> {
        self.move_to("")?;
        let built = match self.top {
            Some((only, 1)) if !self.has_root => only,
            None if !self.has_root => return Err(ApiError::new(Code::BadRequest, "the archive is empty")),
            _ => {
                let Some(root) = self.open.pop() else {
                    return Err(ApiError::new(Code::Internal, "the root of an import was closed early"));
                };
                self.directories += 1;
                root.builder.finish(&mut self.blocks).map_err(refuse)?
            }
        };
        self.put(0).await?;
        self.store.sync().await?;
        Ok(Added { cid: built.cid, bytes: self.bytes, files: self.files, directories: self.directories })
    }
}

fn refuse(error: DirectoryError) -> ApiError {
    let error_text = error.to_string();
    let refusal = ApiError::new(Code::BadRequest, error_text);
    match error {
        DirectoryError::Duplicate(_) => {
            refusal.hint("entries of one directory must stand together in the archive, each once")
        }
        _ => refusal,
    }
}
