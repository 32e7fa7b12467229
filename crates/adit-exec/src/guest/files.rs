//! `wasi:filesystem` over inputs (read-only, by CID) and the trees that the guest writes.

// `bindgen!` re-exports the types that stand for resources, which it can only do with public ones.
#![expect(unreachable_pub)]

use super::{
    Host,
    bindings::wasi::{
        clocks::wall_clock::Datetime,
        filesystem::{
            preopens,
            types::{
                self, Advice, DescriptorFlags, DescriptorStat, DescriptorType, DirectoryEntry, ErrorCode,
                MetadataHashValue, NewTimestamp, OpenFlags, PathFlags,
            },
        },
    },
    inputs::{Kind, Opened},
    resolve::{Last, Place, Target},
    stop::Stop,
    streams::{Failure, LONGEST, Sink, Source},
    tree::{Body, NewBody, NodeId, Refused},
};
use crate::worker_wire::MAX_PATH;
use adit_unixfs::{
    block::{DAG_PB, RAW},
    read::Entry,
};
use cid::Cid;
use sha2::{Digest, Sha256};
use std::sync::{Arc, Mutex, PoisonError};
use wasmtime::{
    Result,
    component::{Resource, ResourceTableError},
};

/// Most files and directories open at once. The next one is refused politely.
const MAX_OPEN: usize = 1024;

/// How a call fails.
pub enum FsError {
    Code(ErrorCode),
    Stop(wasmtime::Error),
}

pub(crate) type FsResult<T> = std::result::Result<T, FsError>;

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
    place: Place,
    /// The reader, of an input file.
    input: Option<Arc<Mutex<Opened>>>,
    write: bool,
}

/// A directory being listed.
pub enum Entries {
    Known(std::vec::IntoIter<DirectoryEntry>),
    Input { entries: Arc<Vec<Entry>>, next: usize },
}

impl Host {
    fn descriptor(&self, descriptor: &Resource<Descriptor>) -> FsResult<Descriptor> {
        Ok(self.table.get(descriptor)?.clone())
    }

    /// The start of a path, paid for.
    fn start(&mut self, descriptor: &Resource<Descriptor>) -> FsResult<Place> {
        self.charge(0)?;
        let place = self.table.get(descriptor)?.place.clone();
        self.require_directory(&place)?;
        Ok(place)
    }

    fn follow(
        &mut self,
        descriptor: &Resource<Descriptor>,
        flags: PathFlags,
        path: &str,
    ) -> FsResult<Target> {
        let start = self.start(descriptor)?;
        let last = if flags.contains(PathFlags::SYMLINK_FOLLOW) { Last::Follow } else { Last::Keep };
        self.resolve(&start, path, last)
    }

    /// The directory under `/out` or `/tmp` that a path's last name is in, and that name.
    fn writable_name(
        &mut self,
        descriptor: &Resource<Descriptor>,
        path: &str,
    ) -> FsResult<(NodeId, String, Target)> {
        let mut target = self.follow(descriptor, PathFlags::empty(), path)?;
        match target.name.take() {
            Some((Place::Written(parent), name)) => Ok((parent, name, target)),
            Some(_) => Err(ErrorCode::ReadOnly.into()),
            // `.`, `..` and the roots have no name that could be changed.
            None => Err(ErrorCode::Invalid.into()),
        }
    }

    fn written_file(&self, descriptor: &Resource<Descriptor>) -> FsResult<NodeId> {
        let descriptor = self.table.get(descriptor)?;
        match &descriptor.place {
            Place::Written(_) if !descriptor.write => Err(ErrorCode::BadDescriptor.into()),
            Place::Written(node) => Ok(*node),
            _ => Err(ErrorCode::BadDescriptor.into()),
        }
    }

    fn open(&mut self, place: Place, write: bool) -> FsResult<Resource<Descriptor>> {
        if self.open_files >= MAX_OPEN {
            return Err(ErrorCode::InsufficientMemory.into());
        }
        let input = match &place {
            Place::Input(cid) if self.kind(&place)? == DescriptorType::RegularFile => {
                Some(Arc::new(Mutex::new(Opened::open(&mut self.blocks, cid)?)))
            }
            _ => None,
        };
        let node = place.clone();
        let resource = self.handle(Descriptor { place, input, write })?;
        if let Place::Written(node) = node {
            self.tree.acquire(node);
        }
        self.open_files += 1;
        Ok(resource)
    }

    fn kind(&mut self, place: &Place) -> FsResult<DescriptorType> {
        Ok(match place {
            Place::Mount(_) => DescriptorType::Directory,
            Place::Input(cid) if cid.codec() == RAW => DescriptorType::RegularFile,
            Place::Input(cid) => kind_of(&self.inputs.describe(&mut self.blocks, cid, &[])?.kind),
            Place::Written(node) => match self.tree.body(*node) {
                Some(Body::File(_)) => DescriptorType::RegularFile,
                Some(Body::Symlink(_)) => DescriptorType::SymbolicLink,
                _ => DescriptorType::Directory,
            },
        })
    }

    fn stat_of(&mut self, place: &Place) -> FsResult<DescriptorStat> {
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
}

fn kind_of(kind: &Kind) -> DescriptorType {
    match kind {
        Kind::File { .. } => DescriptorType::RegularFile,
        Kind::Directory => DescriptorType::Directory,
        Kind::Symlink { .. } => DescriptorType::SymbolicLink,
    }
}

/// What programs take for the inode: equal for equal content, the same on every host.
fn identity(place: &Place) -> MetadataHashValue {
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

impl preopens::Host for Host {
    fn get_directories(&mut self) -> Result<Vec<(Resource<Descriptor>, String)>> {
        self.charge(0)?;
        self.open_files += 1;
        let root = self.handle(Descriptor { place: Place::Mount(0), input: None, write: false })?;
        Ok(vec![(root, "/".into())])
    }
}

impl types::Host for Host {
    fn convert_error_code(&mut self, error: FsError) -> Result<ErrorCode> {
        match error {
            FsError::Code(code) => Ok(code),
            FsError::Stop(error) => Err(error),
        }
    }

    fn filesystem_error_code(&mut self, failure: Resource<Failure>) -> Result<Option<ErrorCode>> {
        Ok(Some(match self.table.get(&failure)? {
            Failure::OutputFull => ErrorCode::InsufficientSpace,
            Failure::BadFile => ErrorCode::BadDescriptor,
        }))
    }
}

impl types::HostDirectoryEntryStream for Host {
    fn read_directory_entry(&mut self, stream: Resource<Entries>) -> FsResult<Option<DirectoryEntry>> {
        self.charge(64)?;
        let (entry, ahead) = match self.table.get_mut(&stream)? {
            Entries::Known(entries) => return Ok(entries.next()),
            Entries::Input { entries, next } => {
                let Some(entry) = entries.get(*next).cloned() else { return Ok(None) };
                *next += 1;
                // Only a dag-pb block knows what it is, so the kinds of those to come are asked for together.
                let rest = entries[*next..].iter().map(|entry| entry.cid).filter(|cid| cid.codec() == DAG_PB);
                let ahead: Vec<Cid> = match entry.cid.codec() {
                    DAG_PB => rest.take(self.blocks.window()).collect(),
                    _ => Vec::new(),
                };
                (entry, ahead)
            }
        };
        let type_ = match entry.cid.codec() {
            RAW => DescriptorType::RegularFile,
            DAG_PB => kind_of(&self.inputs.describe(&mut self.blocks, &entry.cid, &ahead)?.kind),
            _ => DescriptorType::Unknown,
        };
        Ok(Some(DirectoryEntry { type_, name: entry.name }))
    }

    fn drop(&mut self, stream: Resource<Entries>) -> Result<()> {
        self.table.delete(stream)?;
        Ok(())
    }
}

impl types::HostDescriptor for Host {
    fn read_via_stream(
        &mut self,
        file: Resource<Descriptor>,
        offset: u64,
    ) -> FsResult<Resource<super::streams::Source>> {
        self.charge(0)?;
        let descriptor = self.descriptor(&file)?;
        let source = match (&descriptor.place, descriptor.input) {
            (_, Some(file)) => Source::Input { file, offset },
            (Place::Written(node), _) => {
                self.tree.file(*node)?;
                self.tree.acquire(*node);
                Source::Written { file: *node, offset }
            }
            _ => return Err(ErrorCode::IsDirectory.into()),
        };
        Ok(self.handle(source)?)
    }

    fn write_via_stream(&mut self, file: Resource<Descriptor>, offset: u64) -> FsResult<Resource<Sink>> {
        self.charge(0)?;
        let file = self.written_file(&file)?;
        self.tree.file(file)?;
        self.tree.acquire(file);
        Ok(self.handle(Sink::Written { file, offset: Some(offset) })?)
    }

    fn append_via_stream(&mut self, file: Resource<Descriptor>) -> FsResult<Resource<Sink>> {
        self.charge(0)?;
        let file = self.written_file(&file)?;
        self.tree.file(file)?;
        self.tree.acquire(file);
        Ok(self.handle(Sink::Written { file, offset: None })?)
    }

    fn advise(&mut self, _: Resource<Descriptor>, _: u64, _: u64, _: Advice) -> FsResult<()> {
        Ok(self.charge(0)?)
    }

    fn sync_data(&mut self, _: Resource<Descriptor>) -> FsResult<()> {
        Ok(self.charge(0)?)
    }

    fn sync(&mut self, _: Resource<Descriptor>) -> FsResult<()> {
        Ok(self.charge(0)?)
    }

    fn get_flags(&mut self, descriptor: Resource<Descriptor>) -> FsResult<DescriptorFlags> {
        self.charge(0)?;
        let descriptor = self.descriptor(&descriptor)?;
        let mut flags = DescriptorFlags::READ;
        if descriptor.write {
            flags |= DescriptorFlags::WRITE;
        }
        if let Place::Written(node) = descriptor.place
            && self.tree.is_directory(node)
        {
            flags |= DescriptorFlags::MUTATE_DIRECTORY;
        }
        Ok(flags)
    }

    fn get_type(&mut self, descriptor: Resource<Descriptor>) -> FsResult<DescriptorType> {
        self.charge(0)?;
        let place = self.table.get(&descriptor)?.place.clone();
        self.kind(&place)
    }

    fn set_size(&mut self, file: Resource<Descriptor>, size: u64) -> FsResult<()> {
        let file = self.written_file(&file)?;
        let (data, _) = self.tree.file(file)?;
        let more = size.saturating_sub(data.length());
        // What cannot fit anyway costs no more than trying.
        let room = u64::from(self.tree.pages.left()) * crate::worker_wire::PAGE;
        self.charge(more.min(room))?;
        let (data, pages) = self.tree.file(file)?;
        Ok(data.set_length(pages, size).map_err(Refused::from)?)
    }

    fn set_times(&mut self, file: Resource<Descriptor>, _: NewTimestamp, _: NewTimestamp) -> FsResult<()> {
        self.charge(0)?;
        // Nothing under /out carries times: they would make equal outputs differ.
        match self.table.get(&file)?.place {
            Place::Written(_) => Ok(()),
            _ => Err(ErrorCode::ReadOnly.into()),
        }
    }

    fn read(&mut self, file: Resource<Descriptor>, length: u64, offset: u64) -> FsResult<(Vec<u8>, bool)> {
        let length = length.min(LONGEST);
        self.charge(length)?;
        let descriptor = self.descriptor(&file)?;
        match (&descriptor.place, &descriptor.input) {
            (_, Some(input)) => {
                let mut input = input.lock().unwrap_or_else(PoisonError::into_inner);
                let bytes = input.read(&mut self.blocks, offset, length)?;
                let end = offset.saturating_add(bytes.len() as u64) >= input.size();
                Ok((bytes, end))
            }
            (Place::Written(node), _) => {
                let (data, pages) = self.tree.file(*node)?;
                let bytes = data.read(pages, offset, length);
                let end = offset.saturating_add(bytes.len() as u64) >= data.length();
                Ok((bytes, end))
            }
            _ => Err(ErrorCode::IsDirectory.into()),
        }
    }

    fn write(&mut self, file: Resource<Descriptor>, bytes: Vec<u8>, offset: u64) -> FsResult<u64> {
        self.charge(bytes.len() as u64)?;
        let file = self.written_file(&file)?;
        let (data, pages) = self.tree.file(file)?;
        data.write(pages, offset, &bytes).map_err(Refused::from)?;
        Ok(bytes.len() as u64)
    }

    fn read_directory(&mut self, directory: Resource<Descriptor>) -> FsResult<Resource<Entries>> {
        let place = self.start(&directory)?;
        let known: Vec<(String, Place)> = match &place {
            Place::Input(cid) => {
                let entries = self.inputs.list(&mut self.blocks, cid)?;
                self.charge(entries.len() as u64 * 64)?;
                return Ok(self.handle(Entries::Input { entries, next: 0 })?);
            }
            Place::Mount(mount) => {
                self.mounts.entries(*mount).map(|(name, place)| (name.clone(), place.clone())).collect()
            }
            Place::Written(node) => match self.tree.body(*node) {
                Some(Body::Directory { entries, .. }) => {
                    entries.iter().map(|(name, node)| (name.clone(), Place::Written(*node))).collect()
                }
                _ => return Err(ErrorCode::NotDirectory.into()),
            },
        };
        self.charge(known.len() as u64 * 64)?;
        let known =
            known.into_iter().map(|(name, place)| Ok(DirectoryEntry { type_: self.kind(&place)?, name }));
        let known = known.collect::<FsResult<Vec<_>>>()?;
        Ok(self.handle(Entries::Known(known.into_iter()))?)
    }

    fn create_directory_at(&mut self, start: Resource<Descriptor>, path: String) -> FsResult<()> {
        let target = self.follow(&start, PathFlags::empty(), &path)?;
        match (target.place, target.name) {
            (Some(_), _) => Err(ErrorCode::Exist.into()),
            (None, Some((Place::Written(parent), name))) => {
                self.tree.create(parent, &name, NewBody::Directory)?;
                Ok(())
            }
            _ => Err(ErrorCode::ReadOnly.into()),
        }
    }

    fn stat(&mut self, descriptor: Resource<Descriptor>) -> FsResult<DescriptorStat> {
        self.charge(0)?;
        let place = self.table.get(&descriptor)?.place.clone();
        self.stat_of(&place)
    }

    fn stat_at(
        &mut self,
        start: Resource<Descriptor>,
        flags: PathFlags,
        path: String,
    ) -> FsResult<DescriptorStat> {
        let place = self.follow(&start, flags, &path)?.existing()?;
        self.stat_of(&place)
    }

    fn set_times_at(
        &mut self,
        start: Resource<Descriptor>,
        flags: PathFlags,
        path: String,
        _: NewTimestamp,
        _: NewTimestamp,
    ) -> FsResult<()> {
        match self.follow(&start, flags, &path)?.existing()? {
            Place::Written(_) => Ok(()),
            _ => Err(ErrorCode::ReadOnly.into()),
        }
    }

    fn link_at(
        &mut self,
        _: Resource<Descriptor>,
        _: PathFlags,
        _: String,
        _: Resource<Descriptor>,
        _: String,
    ) -> FsResult<()> {
        // UnixFS has no hard links.
        self.charge(0)?;
        Err(ErrorCode::Unsupported.into())
    }

    fn open_at(
        &mut self,
        start: Resource<Descriptor>,
        path_flags: PathFlags,
        path: String,
        open: OpenFlags,
        flags: DescriptorFlags,
    ) -> FsResult<Resource<Descriptor>> {
        let write = flags.contains(DescriptorFlags::WRITE);
        if open.contains(OpenFlags::CREATE) && open.contains(OpenFlags::DIRECTORY) {
            return Err(ErrorCode::Invalid.into());
        }
        let target = self.follow(&start, path_flags, &path)?;
        let Some(place) = target.place else {
            if !open.contains(OpenFlags::CREATE) {
                return Err(ErrorCode::NoEntry.into());
            }
            if target.directory {
                return Err(ErrorCode::IsDirectory.into());
            }
            return match target.name {
                Some((Place::Written(parent), name)) => {
                    if self.open_files >= MAX_OPEN {
                        return Err(ErrorCode::InsufficientMemory.into());
                    }
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

    fn readlink_at(&mut self, start: Resource<Descriptor>, path: String) -> FsResult<String> {
        let place = self.follow(&start, PathFlags::empty(), &path)?.existing()?;
        match self.symlink(&place)? {
            // As everywhere, an absolute target is not told: the guest could do nothing with it.
            Some(target) if target.starts_with('/') => Err(ErrorCode::NotPermitted.into()),
            Some(target) => Ok(target.to_string()),
            None => Err(ErrorCode::Invalid.into()),
        }
    }

    fn remove_directory_at(&mut self, start: Resource<Descriptor>, path: String) -> FsResult<()> {
        let (parent, name, _) = self.writable_name(&start, &path)?;
        Ok(self.tree.remove_directory(parent, &name)?)
    }

    fn rename_at(
        &mut self,
        start: Resource<Descriptor>,
        path: String,
        new_start: Resource<Descriptor>,
        new_path: String,
    ) -> FsResult<()> {
        let (parent, name, old) = self.writable_name(&start, &path)?;
        let (new_parent, new_name, new) = self.writable_name(&new_start, &new_path)?;
        if let Some(place) = &old.place
            && new.directory
        {
            self.require_directory(place)?;
        }
        Ok(self.tree.rename((parent, &name), (new_parent, &new_name))?)
    }

    fn symlink_at(&mut self, start: Resource<Descriptor>, target: String, path: String) -> FsResult<()> {
        let (parent, name, found) = self.writable_name(&start, &path)?;
        if found.place.is_some() {
            return Err(ErrorCode::Exist.into());
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
        self.tree.create(parent, &name, NewBody::Symlink(target))?;
        Ok(())
    }

    fn unlink_file_at(&mut self, start: Resource<Descriptor>, path: String) -> FsResult<()> {
        let (parent, name, target) = self.writable_name(&start, &path)?;
        if target.directory {
            return Err(ErrorCode::NotDirectory.into());
        }
        Ok(self.tree.unlink(parent, &name)?)
    }

    fn is_same_object(&mut self, a: Resource<Descriptor>, b: Resource<Descriptor>) -> Result<bool> {
        self.charge(0)?;
        Ok(self.table.get(&a)?.place == self.table.get(&b)?.place)
    }

    fn metadata_hash(&mut self, descriptor: Resource<Descriptor>) -> FsResult<MetadataHashValue> {
        self.charge(0)?;
        Ok(identity(&self.table.get(&descriptor)?.place))
    }

    fn metadata_hash_at(
        &mut self,
        start: Resource<Descriptor>,
        flags: PathFlags,
        path: String,
    ) -> FsResult<MetadataHashValue> {
        Ok(identity(&self.follow(&start, flags, &path)?.existing()?))
    }

    fn drop(&mut self, descriptor: Resource<Descriptor>) -> Result<()> {
        self.open_files -= 1;
        if let Place::Written(node) = self.table.delete(descriptor)?.place {
            self.tree.release(node);
        }
        Ok(())
    }
}
