//! Sealing a tree: entries and contents are pushed in order, blocks come out.

use super::manifest::{
    Entry, Kind, MAX_ENTRIES, MAX_MANIFEST, MAX_STREAM, Manifest, ManifestError, check_order,
};
use super::{MANIFEST, PACK, pack_name, padded};
use crate::age::{FileKey, Header, PayloadNonce};
use crate::file::FileWriter;
use crate::random::Random;
use adit_unixfs::build::{Built, DirectoryBuilder, DirectoryError};
use adit_unixfs::data::Metadata;
use adit_unixfs::{Block, Profile};

/// What cannot be sealed.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// A path that may not be, or in the wrong order.
    #[error(transparent)]
    Entry(#[from] ManifestError),
    /// The tree's directory cannot be built.
    #[error("cannot build the sealed tree's directory")]
    Directory(#[from] DirectoryError),
}

/// Seals a tree into blocks. Holds one block, and the names of all files.
///
/// Entries come sorted by their paths, name by name, each directory before what is in it; the content of a file right
/// behind it. The blocks that each call pushes to `out` are the caller's to store before it calls again.
pub struct TreeWriter<R: Random> {
    key: FileKey,
    header: Header,
    random: R,
    entries: Vec<Entry>,
    open: Vec<String>,
    /// Bytes that the entries take in the manifest.
    names: u64,
    stream: u64,
    pack: Option<FileWriter>,
    nonces: Vec<PayloadNonce>,
    built: Vec<Built>,
}

impl<R: Random> TreeWriter<R> {
    /// An empty tree, under this key and header.
    pub fn new(key: FileKey, header: Header, random: R) -> Self {
        Self {
            key,
            header,
            random,
            entries: Vec::new(),
            open: Vec::new(),
            names: 0,
            stream: 0,
            pack: None,
            nonces: Vec::new(),
            built: Vec::new(),
        }
    }

    /// The next entry is a directory.
    pub fn directory(&mut self, path: &str) -> Result<(), TreeError> {
        self.entry(path, Kind::Directory)
    }

    /// The next entry is a file; its content follows.
    pub fn file(&mut self, path: &str, executable: bool) -> Result<(), TreeError> {
        self.entry(path, Kind::File { stream: self.stream..self.stream, executable })
    }

    fn entry(&mut self, path: &str, kind: Kind) -> Result<(), TreeError> {
        let last = self.entries.last().map_or("", |entry| &entry.path);
        check_order(&mut self.open, last, path, kind == Kind::Directory)?;
        self.names += path.len() as u64 + 11;
        if self.entries.len() == MAX_ENTRIES {
            return Err(ManifestError::TooMany("more entries").into());
        }
        // Half of the manifest is for names, a quarter for the packs' nonces: see `content`.
        if self.names > MAX_MANIFEST / 2 {
            return Err(ManifestError::TooMany("longer names").into());
        }
        self.entries.push(Entry { path: path.to_owned(), kind });
        Ok(())
    }

    /// Content of the file that came last. Nothing, if a directory did.
    pub fn content(&mut self, plain: &[u8], out: &mut Vec<Block>) -> Result<(), TreeError> {
        let Some(Entry { kind: Kind::File { stream, .. }, .. }) = self.entries.last_mut() else {
            return Err(ManifestError::Lengths.into());
        };
        stream.end += plain.len() as u64;
        if stream.end > MAX_STREAM || stream.end / PACK * 16 > MAX_MANIFEST / 4 {
            return Err(ManifestError::TooMany("longer files").into());
        }
        self.push(plain, out);
        Ok(())
    }

    fn push(&mut self, mut plain: &[u8], out: &mut Vec<Block>) {
        while !plain.is_empty() {
            let room = PACK - self.stream % PACK;
            let part = room.min(plain.len() as u64) as usize;
            let pack = match &mut self.pack {
                Some(pack) => pack,
                none => {
                    let nonce = PayloadNonce::generate(&mut self.random);
                    self.nonces.push(nonce);
                    none.insert(FileWriter::new(&self.key, &self.header, nonce, out))
                }
            };
            pack.push(&plain[..part], out);
            self.stream += part as u64;
            plain = &plain[part..];
            if self.stream.is_multiple_of(PACK) {
                self.built.extend(self.pack.take().map(|pack| pack.finish(out)));
            }
        }
    }

    /// Ends the tree and returns its root, which is the last block.
    pub fn finish(mut self, out: &mut Vec<Block>) -> Result<Built, TreeError> {
        let stream = self.stream;
        let zeros = [0; 1 << 16];
        let mut missing = padded(stream) - stream;
        while missing > 0 {
            let part = missing.min(zeros.len() as u64);
            self.push(&zeros[..part as usize], out);
            missing -= part;
        }
        self.built.extend(self.pack.take().map(|pack| pack.finish(out)));
        let manifest = Manifest::new(self.entries, self.nonces, stream).encode();
        let nonce = PayloadNonce::generate(&mut self.random);
        let mut writer = FileWriter::new(&self.key, &self.header, nonce, out);
        writer.push(&manifest, out);
        let manifest = writer.finish(out);
        let mut directory = DirectoryBuilder::new(Profile::UnixfsV1_2025, Metadata::NONE);
        directory.add(MANIFEST, &manifest)?;
        for (index, pack) in self.built.into_iter().enumerate() {
            directory.add(pack_name(index as u64), &pack)?;
        }
        Ok(directory.finish(out)?)
    }
}
