//! What both kinds of program can do to files: inputs (read-only, by CID) and the trees that the guest writes.
//!
//! [`filesystem`](super::filesystem) says it in the words of WASI 0.2, [`preview1`](super::preview1) in those of
//! preview 1. Whatever is allowed or refused is decided here, once.

// `bindgen!` re-exports the types that stand for resources, which it can only do with public ones.
#![expect(unreachable_pub)]

use super::{
    Host,
    bindings::wasi::{
        clocks::wall_clock::Datetime,
        filesystem::types::{DescriptorStat, DescriptorType, ErrorCode, MetadataHashValue, OpenFlags},
    },
    inputs::{Kind, Opened},
    resolve::{Last, Place, Target},
    stop::Stop,
    tree::{Body, NewBody, NodeId, Refused},
};
use crate::worker_wire::{MAX_PATH, PAGE};
use adit_unixfs::block::RAW;
use cid::Cid;
use sha2::{Digest, Sha256};
use std::sync::{Arc, Mutex};
use wasmtime::component::ResourceTableError;

/// Most files and directories open at once. The next one is refused politely.
pub(crate) const MAX_OPEN: usize = 1024;

/// How a call fails.
pub enum FsError {
    Code(ErrorCode),
    Stop(wasmtime::Error),
}

pub(crate) type FsResult<T> = Result<T, FsError>;

impl From<ErrorCode> for FsError {
    fn from(code: ErrorCode) -> Self {
        FsError::Code(code)
    }
}

impl From<Stop> for FsError {
    fn from(stop: Stop) -> Self {
        FsError::Stop(stop.into())
    }
}

impl From<ResourceTableError> for FsError {
    fn from(error: ResourceTableError) -> Self {
        FsError::Stop(error.into())
    }
}

impl From<wasmtime::Error> for FsError {
    fn from(error: wasmtime::Error) -> Self {
        FsError::Stop(error)
    }
}

impl From<Refused> for FsError {
    fn from(refused: Refused) -> Self {
        FsError::Code(match refused {
            Refused::Full => ErrorCode::InsufficientSpace,
            Refused::Exists => ErrorCode::Exist,
            Refused::NotDirectory => ErrorCode::NotDirectory,
            Refused::IsDirectory => ErrorCode::IsDirectory,
            Refused::NotEmpty => ErrorCode::NotEmpty,
            Refused::NoEntry => ErrorCode::NoEntry,
            Refused::Invalid => ErrorCode::Invalid,
            Refused::NameTooLong => ErrorCode::NameTooLong,
        })
    }
}

/// Something that the guest has open.
#[derive(Clone)]
pub struct Descriptor {
    pub(crate) place: Place,
    /// The reader, of an input file.
    pub(crate) input: Option<Arc<Mutex<Opened>>>,
    pub(crate) write: bool,
}

impl Descriptor {
    /// The file to change, if this one may.
    pub(crate) fn written_file(&self) -> FsResult<NodeId> {
        match &self.place {
            Place::Written(node) if self.write => Ok(*node),
            _ => Err(ErrorCode::BadDescriptor.into()),
        }
    }
}

impl Host {
    /// `/`, which every guest has open from the start.
    pub(crate) fn open_root(&mut self) -> Descriptor {
        self.open_files += 1;
        Descriptor { place: Place::Mount(0), input: None, write: false }
    }

    fn open(&mut self, place: Place, write: bool) -> FsResult<Descriptor> {
        self.room_to_open()?;
        let input = match &place {
            Place::Input(cid) if self.kind(&place)? == DescriptorType::RegularFile => {
                Some(Arc::new(Mutex::new(Opened::open(&mut self.blocks, cid)?)))
            }
            _ => None,
        };
        if let Place::Written(node) = place {
            self.tree.acquire(node);
        }
        self.open_files += 1;
        Ok(Descriptor { place, input, write })
    }

    fn room_to_open(&self) -> FsResult<()> {
        if self.open_files >= MAX_OPEN { Err(ErrorCode::InsufficientMemory.into()) } else { Ok(()) }
    }

    pub(crate) fn close(&mut self, descriptor: &Descriptor) {
        self.open_files -= 1;
        if let Place::Written(node) = descriptor.place {
            self.tree.release(node);
        }
    }

    /// Follows a path from a directory.
    pub(crate) fn follow(&mut self, start: &Place, path: &str, last: Last) -> FsResult<Target> {
        self.require_directory(start)?;
        self.resolve(start, path, last)
    }

    /// The directory under `/out` or `/tmp` that a path's last name is in, and that name.
    fn writable_name(&mut self, start: &Place, path: &str) -> FsResult<(NodeId, String, Target)> {
        let mut target = self.follow(start, path, Last::Keep)?;
        match target.name.take() {
            Some((Place::Written(parent), name)) => Ok((parent, name, target)),
            Some(_) => Err(ErrorCode::ReadOnly.into()),
            // `.`, `..` and the roots have no name that could be changed.
            None => Err(ErrorCode::Invalid.into()),
        }
    }

    pub(crate) fn kind(&mut self, place: &Place) -> FsResult<DescriptorType> {
        Ok(match place {
            Place::Mount(_) => DescriptorType::Directory,
            Place::Input(cid) => self.input_kind(cid, &[])?,
            Place::Written(node) => match self.tree.body(*node) {
                Some(Body::File(_)) => DescriptorType::RegularFile,
                Some(Body::Symlink(_)) => DescriptorType::SymbolicLink,
                _ => DescriptorType::Directory,
            },
        })
    }

    /// What an input's node is. Only its block tells, unless it is a raw one; `ahead` will be asked for next.
    pub(crate) fn input_kind(&mut self, cid: &Cid, ahead: &[Cid]) -> Result<DescriptorType, Stop> {
        if cid.codec() == RAW {
            return Ok(DescriptorType::RegularFile);
        }
        Ok(kind_of(&self.inputs.describe(&mut self.blocks, cid, ahead)?.kind))
    }

    pub(crate) fn stat_of(&mut self, place: &Place) -> FsResult<DescriptorStat> {
        let mut time = Datetime { seconds: 0, nanoseconds: 0 };
        let (type_, size) = match place {
            Place::Mount(_) => (DescriptorType::Directory, 0),
            Place::Input(cid) => {
                let described = self.inputs.describe(&mut self.blocks, cid, &[])?;
                if let Some((seconds, nanoseconds)) = described.mtime {
                    time = Datetime { seconds, nanoseconds };
                }
                let size = match &described.kind {
                    Kind::File { size } => *size,
                    Kind::Directory => 0,
                    Kind::Symlink { target } => target.len() as u64,
                };
                (kind_of(&described.kind), size)
            }
            Place::Written(node) => match self.tree.body(*node) {
                Some(Body::File(data)) => (DescriptorType::RegularFile, data.length()),
                Some(Body::Symlink(target)) => (DescriptorType::SymbolicLink, target.len() as u64),
                _ => (DescriptorType::Directory, 0),
            },
        };
        let time = Some(time);
        Ok(DescriptorStat {
            type_,
            link_count: 1,
            size,
            data_access_timestamp: time,
            data_modification_timestamp: time,
            status_change_timestamp: time,
        })
    }

    pub(crate) fn set_size(&mut self, file: &Descriptor, size: u64) -> FsResult<()> {
        let file = file.written_file()?;
        let (data, _) = self.tree.file(file)?;
        let more = size.saturating_sub(data.length());
        // What cannot fit anyway costs no more than trying.
        let room = u64::from(self.tree.pages.left()) * PAGE;
        self.charge(more.min(room))?;
        let (data, pages) = self.tree.file(file)?;
        Ok(data.set_length(pages, size).map_err(Refused::from)?)
    }

    pub(crate) fn create_directory(&mut self, start: &Place, path: &str) -> FsResult<()> {
        let target = self.follow(start, path, Last::Keep)?;
        match (target.place, target.name) {
            (Some(_), _) => Err(ErrorCode::Exist.into()),
            (None, Some((Place::Written(parent), name))) => {
                self.tree.create(parent, &name, NewBody::Directory)?;
                Ok(())
            }
            _ => Err(ErrorCode::ReadOnly.into()),
        }
    }

    pub(crate) fn open_path(
        &mut self,
        start: &Place,
        path: &str,
        last: Last,
        open: OpenFlags,
        write: bool,
    ) -> FsResult<Descriptor> {
        if open.contains(OpenFlags::CREATE) && open.contains(OpenFlags::DIRECTORY) {
            return Err(ErrorCode::Invalid.into());
        }
        let target = self.follow(start, path, last)?;
        let Some(place) = target.place else {
            if !open.contains(OpenFlags::CREATE) {
                return Err(ErrorCode::NoEntry.into());
            }
            if target.directory {
                return Err(ErrorCode::IsDirectory.into());
            }
            return match target.name {
                Some((Place::Written(parent), name)) => {
                    self.room_to_open()?;
                    let node = self.tree.create(parent, &name, NewBody::File)?;
                    self.open(Place::Written(node), write)
                }
                _ => Err(ErrorCode::ReadOnly.into()),
            };
        };
        if open.contains(OpenFlags::EXCLUSIVE) {
            return Err(ErrorCode::Exist.into());
        }
        match self.kind(&place)? {
            DescriptorType::SymbolicLink => return Err(ErrorCode::Loop.into()),
            DescriptorType::Directory if write || open.contains(OpenFlags::TRUNCATE) => {
                return Err(ErrorCode::IsDirectory.into());
            }
            DescriptorType::Directory => {}
            _ if open.contains(OpenFlags::DIRECTORY) => return Err(ErrorCode::NotDirectory.into()),
            _ if write || open.contains(OpenFlags::TRUNCATE) => match &place {
                Place::Written(node) if open.contains(OpenFlags::TRUNCATE) => {
                    let (data, pages) = self.tree.file(*node)?;
                    data.clear(pages);
                }
                Place::Written(_) => {}
                _ => return Err(ErrorCode::ReadOnly.into()),
            },
            _ => {}
        }
        self.open(place, write)
    }

    pub(crate) fn read_link(&mut self, start: &Place, path: &str) -> FsResult<Arc<str>> {
        let place = self.follow(start, path, Last::Keep)?.existing()?;
        match self.symlink(&place)? {
            // As everywhere, an absolute target is not told: the guest could do nothing with it.
            Some(target) if target.starts_with('/') => Err(ErrorCode::NotPermitted.into()),
            Some(target) => Ok(target),
            None => Err(ErrorCode::Invalid.into()),
        }
    }

    pub(crate) fn remove_directory(&mut self, start: &Place, path: &str) -> FsResult<()> {
        let (parent, name, _) = self.writable_name(start, path)?;
        Ok(self.tree.remove_directory(parent, &name)?)
    }

    pub(crate) fn rename(
        &mut self,
        start: &Place,
        path: &str,
        new_start: &Place,
        new_path: &str,
    ) -> FsResult<()> {
        let (parent, name, old) = self.writable_name(start, path)?;
        let (new_parent, new_name, new) = self.writable_name(new_start, new_path)?;
        if let Some(place) = &old.place
            && new.directory
        {
            self.require_directory(place)?;
        }
        Ok(self.tree.rename((parent, &name), (new_parent, &new_name))?)
    }

    pub(crate) fn create_symlink(&mut self, target: &str, start: &Place, path: &str) -> FsResult<()> {
        let (parent, name, found) = self.writable_name(start, path)?;
        if found.place.is_some() {
            return Err(ErrorCode::Exist.into());
        }
        if found.directory {
            return Err(ErrorCode::NoEntry.into());
        }
        if target.len() > MAX_PATH {
            return Err(ErrorCode::NameTooLong.into());
        }
        if target.is_empty() || target.contains('\0') {
            return Err(ErrorCode::Invalid.into());
        }
        if target.starts_with('/') {
            return Err(ErrorCode::NotPermitted.into());
        }
        self.tree.create(parent, &name, NewBody::Symlink(target.into()))?;
        Ok(())
    }

    pub(crate) fn unlink(&mut self, start: &Place, path: &str) -> FsResult<()> {
        let (parent, name, target) = self.writable_name(start, path)?;
        if target.directory && target.place.is_some() {
            return Err(ErrorCode::IsDirectory.into());
        }
        Ok(self.tree.unlink(parent, &name)?)
    }
}

/// Nothing under `/out` carries times: they would make equal outputs differ.
pub(crate) fn set_times(place: &Place) -> FsResult<()> {
    match place {
        Place::Written(_) => Ok(()),
        _ => Err(ErrorCode::ReadOnly.into()),
    }
}

fn kind_of(kind: &Kind) -> DescriptorType {
    match kind {
        Kind::File { .. } => DescriptorType::RegularFile,
        Kind::Directory => DescriptorType::Directory,
        Kind::Symlink { .. } => DescriptorType::SymbolicLink,
    }
}

/// What programs take for the inode: equal for equal content, the same on every host.
pub(crate) fn identity(place: &Place) -> MetadataHashValue {
    match place {
        Place::Mount(mount) => MetadataHashValue { lower: *mount as u64, upper: 1 },
        Place::Written(node) => MetadataHashValue { lower: *node, upper: 2 },
        Place::Input(cid) => {
            let digest = Sha256::digest(cid.to_bytes());
            let (lower, upper) = digest[..16].split_at(8);
            let number = |half: &[u8]| half.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
            MetadataHashValue { lower: number(lower), upper: number(upper) }
        }
    }
}
