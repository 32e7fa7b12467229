//! Sealed trees: sealing a directory of this machine, and opening one of IPFS.

use std::collections::HashMap;
use std::fs::{DirBuilder, OpenOptions};
use std::io::Write;
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use adit_api::client::Client;
use adit_seal::OsRandom;
use adit_seal::age::{FileKey, Header, Identity};
use adit_seal::file::LEAF;
use adit_seal::tree::{
    Entry, Kind, MANIFEST, MAX_MANIFEST, Manifest, TreeError, TreeWriter, pack_name, padded, parts,
};
use adit_unixfs::build::Built;
use adit_unixfs::{Block, IpfsPath};
use cid::Cid;
use tokio::runtime::Handle;

use super::PRIVATE;
use super::content::{Content, Plain, cannot_read};
use super::source::{By, Found, Opened, Source};
use crate::exit::{Exit, Failure};

/// Mode of directories that were opened.
const PRIVATE_FOLDER: u32 = PRIVATE | 0o100;

/// Seals a directory. `send` takes blocks, and says whether anybody listens.
pub(super) fn seal(
    path: &Path,
    key: FileKey,
    header: Header,
    send: &mut dyn FnMut(Vec<Block>) -> bool,
) -> Result<Built, Failure> {
    let mut walker = Walker {
        writer: TreeWriter::new(key, header, OsRandom),
        send,
        blocks: Vec::new(),
        piece: vec![0; LEAF as usize],
        listening: true,
    };
    walker.directory(path, "")?;
    let Walker { writer, send, mut blocks, .. } = walker;
    let built = writer.finish(&mut blocks).map_err(|error| of_tree(path, &error))?;
    send(blocks);
    Ok(built)
}

struct Walker<'a> {
    writer: TreeWriter<OsRandom>,
    send: &'a mut dyn FnMut(Vec<Block>) -> bool,
    blocks: Vec<Block>,
    piece: Vec<u8>,
    listening: bool,
}

impl Walker<'_> {
    fn directory(&mut self, path: &Path, name: &str) -> Result<(), Failure> {
        let mut children = Vec::new();
        for child in std::fs::read_dir(path).map_err(|error| cannot_read(path, &error))? {
            let child = child.map_err(|error| cannot_read(path, &error))?;
            let name = child
                .file_name()
                .into_string()
                .map_err(|_| Failure::new(Exit::Usage, format!("{} is not UTF-8", child.path().display())))?;
            children.push(name);
        }
        children.sort_unstable();
        for child in children {
            if !self.listening {
                break;
            }
            let below = if name.is_empty() { child.clone() } else { format!("{name}/{child}") };
            self.entry(&path.join(&child), &below)?;
        }
        Ok(())
    }

    fn entry(&mut self, path: &Path, name: &str) -> Result<(), Failure> {
        let meta = std::fs::symlink_metadata(path).map_err(|error| cannot_read(path, &error))?;
        if meta.is_dir() {
            self.writer.directory(name).map_err(|error| of_tree(path, &error))?;
            return self.directory(path, name);
        }
        if !meta.is_file() {
            let what = format!("{} is neither file nor directory", path.display());
            return Err(Failure::new(Exit::Usage, what)
                .hint("symbolic links are not sealed: pack the tree with tar first"));
        }
        let mut content = Plain::open(path)?;
        let executable = meta.permissions().mode() & 0o111 != 0;
        self.writer.file(name, executable).map_err(|error| of_tree(path, &error))?;
        loop {
            let len = content.fill(&mut self.piece)?;
            let pushed = self.writer.content(&self.piece[..len], &mut self.blocks);
            pushed.map_err(|error| of_tree(path, &error))?;
            if !self.blocks.is_empty() {
                self.listening &= (self.send)(std::mem::take(&mut self.blocks));
            }
            if len < self.piece.len() || !self.listening {
                return Ok(());
            }
        }
    }
}

fn of_tree(path: &Path, error: &TreeError) -> Failure {
    Failure::because(Exit::Usage, format!("cannot seal {}", path.display()), error)
}

/// A sealed tree that is open to us.
pub(super) struct Open {
    client: Client,
    root: Cid,
    key: FileKey,
    manifest: Manifest,
    packs: HashMap<u64, Opened>,
}

impl Open {
    /// Opens the tree's manifest.
    pub(super) async fn open(client: Client, root: Cid, identities: &[Identity]) -> Result<Self, Failure> {
        let source = part(&client, root, MANIFEST).await?;
        let mut opened = Opened::open(source, By::Identities(identities)).await?;
        let len = opened.content_len();
        if len > padded(MAX_MANIFEST) {
            return Err(Failure::new(Exit::TrustRefused, "the sealed tree's manifest is too long"));
        }
        let manifest = Manifest::decode(&opened.read(0..len).await?)
            .map_err(|error| Failure::because(Exit::TrustRefused, "cannot open the sealed tree", &error))?;
        Ok(Self { client, root, key: opened.key().clone(), manifest, packs: HashMap::new() })
    }

    /// Where a file lies in the tree's stream.
    pub(super) fn file(&self, path: &str) -> Result<Range<u64>, Failure> {
        match self.manifest.find(path) {
            Some(Entry { kind: Kind::File { stream, .. }, .. }) => Ok(stream.clone()),
            Some(_) => Err(Failure::new(Exit::Usage, format!("{path:?} is a directory"))),
            None => Err(Failure::new(Exit::NotFound, format!("the sealed directory has no file {path:?}"))),
        }
    }

    /// Reads a range of the stream, block by block.
    pub(super) async fn read(
        &mut self,
        range: Range<u64>,
        mut take: impl FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut at = range.start;
        while at < range.end {
            let piece = self.piece(at..range.end).await?;
            at += piece.len() as u64;
            take(&piece)?;
        }
        Ok(())
    }

    /// The beginning of a range of the stream, as far as it lies in one block; empty if the range is.
    async fn piece(&mut self, range: Range<u64>) -> Result<Vec<u8>, Failure> {
        let Some(part) = parts(range).next() else { return Ok(Vec::new()) };
        let at = part.range.start;
        let next = part.range.end.min((at / LEAF + 1) * LEAF);
        self.pack(part.pack).await?.read(at..next).await
    }

    /// Seals all of it anew, on a thread that may block. `send` takes blocks, and says whether anybody listens.
    pub(super) fn reseal(
        mut self,
        runtime: &Handle,
        key: FileKey,
        header: Header,
        send: &mut dyn FnMut(Vec<Block>) -> bool,
    ) -> Result<Built, Failure> {
        let of_tree = |error: TreeError| Failure::because(Exit::Failed, "cannot seal anew", &error);
        let mut writer = TreeWriter::new(key, header, OsRandom);
        let mut blocks = Vec::new();
        let mut listening = true;
        for entry in self.manifest.entries().to_vec() {
            let Kind::File { stream, executable } = entry.kind else {
                writer.directory(&entry.path).map_err(of_tree)?;
                continue;
            };
            writer.file(&entry.path, executable).map_err(of_tree)?;
            let mut at = stream.start;
            while at < stream.end && listening {
                let piece = runtime.block_on(self.piece(at..stream.end))?;
                at += piece.len() as u64;
                writer.content(&piece, &mut blocks).map_err(of_tree)?;
                listening = send(std::mem::take(&mut blocks));
            }
        }
        let built = writer.finish(&mut blocks).map_err(of_tree)?;
        send(blocks);
        Ok(built)
    }

    async fn pack(&mut self, index: u64) -> Result<&mut Opened, Failure> {
        if !self.packs.contains_key(&index) {
            let wrong = || Failure::new(Exit::TrustRefused, "a pack of the sealed tree has another length");
            let nonce = usize::try_from(index).ok().and_then(|at| self.manifest.packs().get(at));
            let nonce = *nonce.ok_or_else(wrong)?;
            let source = part(&self.client, self.root, &pack_name(index)).await?;
            let opened = Opened::open(source, By::Tree(&self.key, nonce)).await?;
            if opened.content_len() != self.manifest.pack_len(index) {
                return Err(wrong());
            }
            // One after the other is read; more open ones would only keep their last blocks.
            self.packs.clear();
            self.packs.insert(index, opened);
        }
        Ok(self.packs.get_mut(&index).expect("it was put there"))
    }

    /// Writes the whole tree into a new directory, which goes away again if that fails. Gives the bytes of all files.
    pub(super) async fn unpack(&mut self, target: &Path) -> Result<u64, Failure> {
        let made = DirBuilder::new().mode(PRIVATE_FOLDER).create(target);
        made.map_err(|error| cannot_write(target, &error).hint("name another place with -o"))?;
        let unpacked = self.unpack_into(target).await;
        if unpacked.is_err() {
            // Half a tree helps nobody; that it cannot be removed is said by its being there.
            let _ = std::fs::remove_dir_all(target);
        }
        unpacked
    }

    async fn unpack_into(&mut self, target: &Path) -> Result<u64, Failure> {
        let mut written = 0;
        for entry in self.manifest.entries().to_vec() {
            // The manifest has plain names only, and the directory is new: nothing leads out of it.
            let path: PathBuf = target.join(&entry.path);
            match entry.kind {
                Kind::Directory => {
                    let made = DirBuilder::new().mode(PRIVATE_FOLDER).create(&path);
                    made.map_err(|error| cannot_write(&path, &error))?;
                }
                Kind::File { stream, executable } => {
                    let mode = if executable { PRIVATE | 0o100 } else { PRIVATE };
                    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&path);
                    let mut file = file.map_err(|error| cannot_write(&path, &error))?;
                    written += stream.end - stream.start;
                    let write =
                        |piece: &[u8]| file.write_all(piece).map_err(|error| cannot_write(&path, &error));
                    self.read(stream, write).await?;
                }
            }
        }
        Ok(written)
    }
}

async fn part(client: &Client, root: Cid, name: &str) -> Result<Source, Failure> {
    let path = IpfsPath { root, segments: vec![name.to_owned()] };
    match Source::at(client.clone(), path).await {
        Ok(Found::File(source)) => Ok(source),
        Ok(Found::Directory(..)) => Err(Failure::new(Exit::Usage, "this directory is not a sealed one")),
        Err(failure) if failure.exit == Exit::NotFound => {
            Err(Failure::new(Exit::Usage, format!("this directory is not a sealed one: it has no `{name}`")))
        }
        Err(failure) => Err(failure),
    }
}

fn cannot_write(path: &Path, error: &std::io::Error) -> Failure {
    Failure::because(Exit::Failed, format!("cannot write {}", path.display()), error)
}
