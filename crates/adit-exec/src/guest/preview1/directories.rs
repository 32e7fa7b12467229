//! Reading directories.

use super::{
    Call,
    descriptors::{Thing, filetype},
    errno::{Answer, Errno},
};
use crate::guest::{
    bindings::wasi::filesystem::types::DescriptorType, files::identity, listing::Entries, resolve::Place,
    streams::LONGEST,
};

/// What stands before each name: where to go on, the inode, the name's length, the type.
const HEADER: usize = 24;

/// `.` and `..` come first, and have the cookies 0 and 1.
const DOTS: u64 = 2;

impl Call<'_> {
    /// Fills a buffer with entries from `cookie` on. An entry that does not fit is cut off, which tells the program
    /// that there is more.
    pub(super) fn fd_readdir(&mut self, fd: u32, buffer: u32, size: u32, cookie: u64, out: u32) -> Answer {
        self.memory.require(buffer, size)?;
        self.memory.require(out, 4)?;
        let size = u64::from(size).min(LONGEST) as u32;
        let (place, entries) = self.listing(fd, cookie)?;
        let (mut used, mut at) = (0, cookie);
        while used < size as usize {
            let Some((kind, inode, name)) = self.entry(&place, &entries, at)? else { break };
            let Some(next) = at.checked_add(1) else { break };
            let mut header = [0; HEADER];
            header[..8].copy_from_slice(&next.to_le_bytes());
            header[8..16].copy_from_slice(&inode.to_le_bytes());
            header[16..20].copy_from_slice(&(name.len() as u32).to_le_bytes());
            header[20] = filetype(kind);
            let into = self.memory.bytes_mut(buffer, size)?;
            for part in [&header[..], name.as_bytes()] {
                let fits = part.len().min(into.len() - used);
                into[used..used + fits].copy_from_slice(&part[..fits]);
                used += fits;
            }
            at = next;
        }
        self.memory.write_u32(out, used as u32)
    }

    /// What the directory holds: as it was when the program began to read it.
    fn listing(&mut self, fd: u32, cookie: u64) -> Answer<(Place, Entries)> {
        let Thing::Directory { descriptor, entries, .. } = &self.open(fd)?.thing else {
            return Err(Errno::Notdir.into());
        };
        let place = descriptor.place.clone();
        let entries = match entries {
            Some(entries) if cookie > 0 => entries.clone(),
            _ => {
                let entries = self.host.entries_of(&place)?;
                self.host.preview1.table.keep(fd, &entries);
                entries
            }
        };
        Ok((place, entries))
    }

    fn entry<'a>(
        &mut self,
        place: &Place,
        entries: &'a Entries,
        at: u64,
    ) -> Answer<Option<(DescriptorType, u64, &'a str)>> {
        let Some(at) = at.checked_sub(DOTS) else {
            return Ok(Some(match at {
                0 => (DescriptorType::Directory, identity(place).lower, "."),
                // Whose inode that would be depends on how one came here.
                _ => (DescriptorType::Directory, 0, ".."),
            }));
        };
        let Ok(at) = usize::try_from(at) else { return Ok(None) };
        let Some(kind) = self.host.entry_kind(entries, at)? else { return Ok(None) };
        Ok(entries.get(at).map(|(name, place)| (kind, identity(&place).lower, name)))
    }
}
