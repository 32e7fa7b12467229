//! `wasi:filesystem`: [`files`](super::files) in the words of WASI 0.2.

// `bindgen!` re-exports the types that stand for resources, which it can only do with public ones.
#![expect(unreachable_pub)]

use super::{
    Host,
    bindings::wasi::filesystem::{
        preopens,
        types::{
            self, Advice, DescriptorFlags, DescriptorStat, DescriptorType, DirectoryEntry, ErrorCode,
            MetadataHashValue, NewTimestamp, OpenFlags, PathFlags,
        },
    },
    files::{Descriptor, FsError, FsResult, identity, set_times},
    listing,
    resolve::{Last, Place, Target},
    streams::{Failure, LONGEST, Sink, Source},
    tree::Refused,
};
use std::sync::PoisonError;
use wasmtime::{Result, component::Resource};

/// A directory being listed.
pub struct Entries {
    entries: listing::Entries,
    next: usize,
}

impl Host {
    fn descriptor(&self, descriptor: &Resource<Descriptor>) -> FsResult<Descriptor> {
        Ok(self.table.get(descriptor)?.clone())
    }

    fn place(&self, descriptor: &Resource<Descriptor>) -> FsResult<Place> {
        Ok(self.table.get(descriptor)?.place.clone())
    }

    /// The start of a path, paid for.
    fn start(&mut self, descriptor: &Resource<Descriptor>) -> FsResult<Place> {
        self.charge(0)?;
        self.place(descriptor)
    }

    fn follow_from(
        &mut self,
        descriptor: &Resource<Descriptor>,
        flags: PathFlags,
        path: &str,
    ) -> FsResult<Target> {
        let start = self.start(descriptor)?;
        self.follow(&start, path, last(flags))
    }
}

fn last(flags: PathFlags) -> Last {
    if flags.contains(PathFlags::SYMLINK_FOLLOW) { Last::Follow } else { Last::Keep }
}

impl preopens::Host for Host {
    fn get_directories(&mut self) -> Result<Vec<(Resource<Descriptor>, String)>> {
        self.charge(0)?;
        let root = self.open_root();
        Ok(vec![(self.handle(root)?, "/".into())])
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
            Failure::BadFile | Failure::Http(_) => ErrorCode::BadDescriptor,
        }))
    }
}

impl types::HostDirectoryEntryStream for Host {
    fn read_directory_entry(&mut self, stream: Resource<Entries>) -> FsResult<Option<DirectoryEntry>> {
        let stream = self.table.get_mut(&stream)?;
        let (entries, at) = (stream.entries.clone(), stream.next);
        stream.next += 1;
        let Some(type_) = self.entry_kind(&entries, at)? else { return Ok(None) };
        Ok(entries.get(at).map(|(name, _)| DirectoryEntry { type_, name: name.to_owned() }))
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
        let file = self.descriptor(&file)?.written_file()?;
        self.tree.file(file)?;
        self.tree.acquire(file);
        Ok(self.handle(Sink::Written { file, offset: Some(offset) })?)
    }

    fn append_via_stream(&mut self, file: Resource<Descriptor>) -> FsResult<Resource<Sink>> {
        self.charge(0)?;
        let file = self.descriptor(&file)?.written_file()?;
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
        let place = self.start(&descriptor)?;
        self.kind(&place)
    }

    fn set_size(&mut self, file: Resource<Descriptor>, size: u64) -> FsResult<()> {
        let file = self.descriptor(&file)?;
        Host::set_size(self, &file, size)
    }

    fn set_times(&mut self, file: Resource<Descriptor>, _: NewTimestamp, _: NewTimestamp) -> FsResult<()> {
        let place = self.start(&file)?;
        set_times(&place)
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
        let file = self.descriptor(&file)?.written_file()?;
        let (data, pages) = self.tree.file(file)?;
        data.write(pages, offset, &bytes).map_err(Refused::from)?;
        Ok(bytes.len() as u64)
    }

    fn read_directory(&mut self, directory: Resource<Descriptor>) -> FsResult<Resource<Entries>> {
        let place = self.start(&directory)?;
        let entries = self.entries_of(&place)?;
        Ok(self.handle(Entries { entries, next: 0 })?)
    }

    fn create_directory_at(&mut self, start: Resource<Descriptor>, path: String) -> FsResult<()> {
        let start = self.start(&start)?;
        self.create_directory(&start, &path)
    }

    fn stat(&mut self, descriptor: Resource<Descriptor>) -> FsResult<DescriptorStat> {
        let place = self.start(&descriptor)?;
        self.stat_of(&place)
    }

    fn stat_at(
        &mut self,
        start: Resource<Descriptor>,
        flags: PathFlags,
        path: String,
    ) -> FsResult<DescriptorStat> {
        let place = self.follow_from(&start, flags, &path)?.existing()?;
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
        set_times(&self.follow_from(&start, flags, &path)?.existing()?)
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
        let start = self.start(&start)?;
        let write = flags.contains(DescriptorFlags::WRITE);
        let descriptor = self.open_path(&start, &path, last(path_flags), open, write)?;
        Ok(self.handle(descriptor)?)
    }

    fn readlink_at(&mut self, start: Resource<Descriptor>, path: String) -> FsResult<String> {
        let start = self.start(&start)?;
        Ok(self.read_link(&start, &path)?.to_string())
    }

    fn remove_directory_at(&mut self, start: Resource<Descriptor>, path: String) -> FsResult<()> {
        let start = self.start(&start)?;
        self.remove_directory(&start, &path)
    }

    fn rename_at(
        &mut self,
        start: Resource<Descriptor>,
        path: String,
        new_start: Resource<Descriptor>,
        new_path: String,
    ) -> FsResult<()> {
        let (start, new_start) = (self.start(&start)?, self.place(&new_start)?);
        self.rename(&start, &path, &new_start, &new_path)
    }

    fn symlink_at(&mut self, start: Resource<Descriptor>, target: String, path: String) -> FsResult<()> {
        let start = self.start(&start)?;
        self.create_symlink(&target, &start, &path)
    }

    fn unlink_file_at(&mut self, start: Resource<Descriptor>, path: String) -> FsResult<()> {
        let start = self.start(&start)?;
        self.unlink(&start, &path)
    }

    fn is_same_object(&mut self, a: Resource<Descriptor>, b: Resource<Descriptor>) -> Result<bool> {
        self.charge(0)?;
        Ok(self.table.get(&a)?.place == self.table.get(&b)?.place)
    }

    fn metadata_hash(&mut self, descriptor: Resource<Descriptor>) -> FsResult<MetadataHashValue> {
        Ok(identity(&self.start(&descriptor)?))
    }

    fn metadata_hash_at(
        &mut self,
        start: Resource<Descriptor>,
        flags: PathFlags,
        path: String,
    ) -> FsResult<MetadataHashValue> {
        Ok(identity(&self.follow_from(&start, flags, &path)?.existing()?))
    }

    fn drop(&mut self, descriptor: Resource<Descriptor>) -> Result<()> {
        let descriptor = self.table.delete(descriptor)?;
        self.close(&descriptor);
        Ok(())
    }
}
