//! What is done by path. Paths are relative to a directory that the program has open, and never lead out of it.

use super::{
    Call,
    descriptors::{WRITE, check_times, filestat, flags},
    errno::{Answer, Errno},
};
use crate::guest::{
    bindings::wasi::filesystem::types::OpenFlags,
    files::{MAX_OPEN, set_times},
    resolve::{Last, Place},
};

const FOLLOW: u32 = 1;

const CREATE: u32 = 1;
const DIRECTORY: u32 = 1 << 1;
const EXCLUSIVE: u32 = 1 << 2;
const TRUNCATE: u32 = 1 << 3;

fn last(lookup: u32) -> Answer<Last> {
    match lookup {
        0 => Ok(Last::Keep),
        FOLLOW => Ok(Last::Follow),
        _ => Err(Errno::Inval.into()),
    }
}

fn open_flags(open: u32) -> Answer<OpenFlags> {
    let mut flags = OpenFlags::empty();
    let known = [
        (CREATE, OpenFlags::CREATE),
        (DIRECTORY, OpenFlags::DIRECTORY),
        (EXCLUSIVE, OpenFlags::EXCLUSIVE),
        (TRUNCATE, OpenFlags::TRUNCATE),
    ];
    for (bit, flag) in known {
        if open & bit != 0 {
            flags |= flag;
        }
    }
    if open > 0xf { Err(Errno::Inval.into()) } else { Ok(flags) }
}

impl Call<'_> {
    /// What is there at this path.
    fn place_at(&mut self, fd: u32, lookup: u32, path: u32, length: u32) -> Answer<Place> {
        let (last, start) = (last(lookup)?, self.start(fd)?);
        Ok(self.host.follow(&start, self.memory.path(path, length)?, last)?.existing()?)
    }

    // The standard's own parameters.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn path_open(
        &mut self,
        fd: u32,
        lookup: u32,
        path: u32,
        length: u32,
        open: u32,
        base: u64,
        inheriting: u64,
        fdflags: u32,
        out: u32,
    ) -> Answer {
        self.memory.require(out, 4)?;
        let (last, open, fdflags) = (last(lookup)?, open_flags(open)?, flags(fdflags)?);
        let start = self.start(fd)?;
        let path = self.memory.path(path, length)?;
        if self.host.open_files >= MAX_OPEN {
            return Err(Errno::Mfile.into());
        }
        let descriptor = self.host.open_path(&start, path, last, open, base & WRITE != 0)?;
        let opened = self.insert(descriptor, fdflags, [base, inheriting])?;
        self.memory.write_u32(out, opened)
    }

    pub(super) fn path_create_directory(&mut self, fd: u32, path: u32, length: u32) -> Answer {
        let start = self.start(fd)?;
        Ok(self.host.create_directory(&start, self.memory.path(path, length)?)?)
    }

    pub(super) fn path_filestat_get(
        &mut self,
        fd: u32,
        lookup: u32,
        path: u32,
        length: u32,
        out: u32,
    ) -> Answer {
        let place = self.place_at(fd, lookup, path, length)?;
        let stat = self.host.stat_of(&place)?;
        self.memory.write(out, &filestat(&place, &stat))
    }

    // The standard's own parameters.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn path_filestat_set_times(
        &mut self,
        fd: u32,
        lookup: u32,
        path: u32,
        length: u32,
        _: u64,
        _: u64,
        which: u32,
    ) -> Answer {
        check_times(which)?;
        let place = self.place_at(fd, lookup, path, length)?;
        Ok(set_times(&place)?)
    }

    /// UnixFS has no hard links.
    // The standard's own parameters.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn path_link(
        &mut self,
        fd: u32,
        lookup: u32,
        path: u32,
        length: u32,
        new_fd: u32,
        new_path: u32,
        new_length: u32,
    ) -> Answer {
        last(lookup)?;
        self.start(fd)?;
        self.start(new_fd)?;
        self.memory.path(path, length)?;
        self.memory.path(new_path, new_length)?;
        Err(Errno::Notsup.into())
    }

    /// What does not fit is cut off.
    pub(super) fn path_readlink(
        &mut self,
        fd: u32,
        path: u32,
        length: u32,
        buffer: u32,
        size: u32,
        out: u32,
    ) -> Answer {
        self.memory.require(buffer, size)?;
        let start = self.start(fd)?;
        let target = self.host.read_link(&start, self.memory.path(path, length)?)?;
        let fits = target.len().min(size as usize);
        self.memory.write(buffer, &target.as_bytes()[..fits])?;
        self.memory.write_u32(out, fits as u32)
    }

    pub(super) fn path_remove_directory(&mut self, fd: u32, path: u32, length: u32) -> Answer {
        let start = self.start(fd)?;
        Ok(self.host.remove_directory(&start, self.memory.path(path, length)?)?)
    }

    pub(super) fn path_rename(
        &mut self,
        fd: u32,
        path: u32,
        length: u32,
        new_fd: u32,
        new_path: u32,
        new_length: u32,
    ) -> Answer {
        let (start, new_start) = (self.start(fd)?, self.start(new_fd)?);
        let (path, new_path) = (self.memory.path(path, length)?, self.memory.path(new_path, new_length)?);
        Ok(self.host.rename(&start, path, &new_start, new_path)?)
    }

    pub(super) fn path_symlink(
        &mut self,
        target: u32,
        target_length: u32,
        fd: u32,
        path: u32,
        length: u32,
    ) -> Answer {
        let start = self.start(fd)?;
        let (target, path) = (self.memory.path(target, target_length)?, self.memory.path(path, length)?);
        Ok(self.host.create_symlink(target, &start, path)?)
    }

    pub(super) fn path_unlink_file(&mut self, fd: u32, path: u32, length: u32) -> Answer {
        let start = self.start(fd)?;
        Ok(self.host.unlink(&start, self.memory.path(path, length)?)?)
    }
}
