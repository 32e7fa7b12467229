//! The table of descriptors, and what can be asked about one.
//!
//! 0 to 2 are the standard streams and 3 is `/`; the rest are opened by the program, which always gets the lowest
//! number that is free.

use super::{
    Call,
    errno::{Answer, Errno},
};
use crate::guest::{
    Host,
    bindings::wasi::{
        clocks::wall_clock::Datetime,
        filesystem::types::{DescriptorStat, DescriptorType},
    },
    files::{Descriptor, identity, set_times},
    listing::Entries,
    resolve::Place,
};

/// What the preopened directory is called.
const ROOT: &str = "/";

const PREOPENED_DIRECTORY: u8 = 0;

/// Rights that decide anything: the others are kept and told, as every current host does.
pub(super) const READ: u64 = 1 << 1;
pub(super) const WRITE: u64 = 1 << 6;

/// Rights that make sense for a file, for a directory, and all that there are.
const FILE_RIGHTS: u64 = 0x08e0_01ff;
const DIRECTORY_RIGHTS: u64 = 0x0fbf_fe19;
const ALL_RIGHTS: u64 = (1 << 30) - 1;

/// Flags of a descriptor: writing goes to the end, and two that can be changed later.
pub(super) const APPEND: u16 = 1;
const CHANGEABLE: u16 = 1 | 1 << 2;
const ALL_FLAGS: u32 = 0x1f;

/// Most entries of directories that are kept for programs in the middle of reading them, in all.
const MAX_LISTED: usize = 200_000;

pub(super) enum Thing {
    Stdin,
    Stdout,
    Stderr,
    File {
        descriptor: Descriptor,
        offset: u64,
    },
    Directory {
        descriptor: Descriptor,
        preopened: bool,
        /// What is being read, from its beginning on.
        entries: Option<Entries>,
    },
}

pub(super) struct Open {
    pub(super) thing: Thing,
    pub(super) flags: u16,
    pub(super) rights: u64,
    inheriting: u64,
}

#[derive(Default)]
pub(super) struct Table(Vec<Option<Open>>);

impl Table {
    /// Gives the program what it has open from the start.
    pub(super) fn fill(host: &mut Host) {
        let descriptor = host.open_root();
        let root = Thing::Directory { descriptor, preopened: true, entries: None };
        let open = |thing, rights, inheriting| Some(Open { thing, flags: 0, rights, inheriting });
        let stream = FILE_RIGHTS & !(READ | WRITE | 1 << 2 | 1 << 5);
        host.preview1.table.0 = vec![
            open(Thing::Stdin, stream | READ, 0),
            open(Thing::Stdout, stream | WRITE, 0),
            open(Thing::Stderr, stream | WRITE, 0),
            open(root, DIRECTORY_RIGHTS, ALL_RIGHTS),
        ];
    }

    pub(super) fn get(&mut self, fd: u32) -> Answer<&mut Open> {
        Ok(self.0.get_mut(fd as usize).and_then(Option::as_mut).ok_or(Errno::Badf)?)
    }

    /// Bounded by the number of files that may be open.
    fn insert(&mut self, open: Open) -> u32 {
        let free = self.0.iter().position(Option::is_none).unwrap_or_else(|| {
            self.0.push(None);
            self.0.len() - 1
        });
        self.0[free] = Some(open);
        free as u32
    }

    fn remove(&mut self, fd: u32) -> Answer<Open> {
        Ok(self.0.get_mut(fd as usize).and_then(Option::take).ok_or(Errno::Badf)?)
    }

    /// Keeps what a directory has been found to hold. Programs that read very many at once may lose what was kept for
    /// the others, which are then read anew.
    pub(super) fn keep(&mut self, fd: u32, found: &Entries) {
        let mut listed = found.len();
        for (number, open) in self.0.iter_mut().enumerate() {
            let Some(Open { thing: Thing::Directory { entries, .. }, .. }) = open else { continue };
            if number == fd as usize {
                *entries = Some(found.clone());
            } else if let Some(others) = entries {
                listed += others.len();
                if listed > MAX_LISTED {
                    *entries = None;
                }
            }
        }
    }
}

pub(super) fn filetype(kind: DescriptorType) -> u8 {
    match kind {
        DescriptorType::BlockDevice => 1,
        DescriptorType::CharacterDevice => 2,
        DescriptorType::Directory => 3,
        DescriptorType::RegularFile => 4,
        DescriptorType::Socket => 6,
        DescriptorType::SymbolicLink => 7,
        DescriptorType::Unknown | DescriptorType::Fifo => 0,
    }
}

/// A `filestat`. The device tells apart what can have equal inodes: virtual directories, written files, inputs.
pub(super) fn filestat(place: &Place, stat: &DescriptorStat) -> [u8; 64] {
    let device: u64 = match place {
        Place::Mount(_) => 1,
        Place::Written(_) => 2,
        Place::Input(_) => 3,
    };
    let nanoseconds = |time: Option<Datetime>| {
        time.map_or(0, |time| {
            time.seconds.saturating_mul(1_000_000_000).saturating_add(time.nanoseconds.into())
        })
    };
    let mut bytes = [0; 64];
    let numbers = [
        (0, device),
        (8, identity(place).lower),
        (24, stat.link_count),
        (32, stat.size),
        (40, nanoseconds(stat.data_access_timestamp)),
        (48, nanoseconds(stat.data_modification_timestamp)),
        (56, nanoseconds(stat.status_change_timestamp)),
    ];
    for (at, number) in numbers {
        bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
    }
    bytes[16] = filetype(stat.type_);
    bytes
}

/// Whether times are asked for that can be set at all: each either to a moment or to now.
pub(super) fn check_times(which: u32) -> Answer {
    let both = |bits: u32| which & bits == bits;
    if which > 0xf || both(0b11) || both(0b1100) { Err(Errno::Inval.into()) } else { Ok(()) }
}

/// The flags of a descriptor, as a program gives them.
pub(super) fn flags(flags: u32) -> Answer<u16> {
    if flags & !ALL_FLAGS != 0 { Err(Errno::Inval.into()) } else { Ok(flags as u16) }
}

impl Call<'_> {
    pub(super) fn open(&mut self, fd: u32) -> Answer<&mut Open> {
        self.host.preview1.table.get(fd)
    }

    /// A file and where it is read next. Whatever else has that number is no such thing.
    pub(super) fn file(&mut self, fd: u32) -> Answer<(&Descriptor, &mut u64)> {
        match &mut self.open(fd)?.thing {
            Thing::File { descriptor, offset } => Ok((descriptor, offset)),
            Thing::Directory { .. } => Err(Errno::Badf.into()),
            _ => Err(Errno::Spipe.into()),
        }
    }

    /// Where the paths begin that are relative to `fd`.
    pub(super) fn start(&mut self, fd: u32) -> Answer<Place> {
        match &self.open(fd)?.thing {
            Thing::Directory { descriptor, .. } => Ok(descriptor.place.clone()),
            _ => Err(Errno::Notdir.into()),
        }
    }

    pub(super) fn insert(&mut self, descriptor: Descriptor, flags: u16, rights: [u64; 2]) -> Answer<u32> {
        let [rights, inheriting] = rights;
        let (thing, sensible) = match self.host.kind(&descriptor.place)? {
            DescriptorType::Directory => {
                (Thing::Directory { descriptor, preopened: false, entries: None }, DIRECTORY_RIGHTS)
            }
            _ => (Thing::File { descriptor, offset: 0 }, FILE_RIGHTS),
        };
        let (rights, inheriting) = (rights & sensible, inheriting & ALL_RIGHTS);
        Ok(self.host.preview1.table.insert(Open { thing, flags, rights, inheriting }))
    }

    fn forget(&mut self, open: &Open) {
        if let Thing::File { descriptor, .. } | Thing::Directory { descriptor, .. } = &open.thing {
            self.host.close(descriptor);
        }
    }

    pub(super) fn fd_close(&mut self, fd: u32) -> Answer {
        let open = self.host.preview1.table.remove(fd)?;
        self.forget(&open);
        Ok(())
    }

    /// Both must be open: a number out of nowhere would let a table grow without anything in it.
    pub(super) fn fd_renumber(&mut self, from: u32, to: u32) -> Answer {
        self.open(from)?;
        self.open(to)?;
        if from != to {
            let moved = self.host.preview1.table.remove(from)?;
            let replaced = std::mem::replace(self.open(to)?, moved);
            self.forget(&replaced);
        }
        Ok(())
    }

    pub(super) fn fd_fdstat_get(&mut self, fd: u32, out: u32) -> Answer {
        let open = self.open(fd)?;
        let filetype = match open.thing {
            Thing::File { .. } => filetype(DescriptorType::RegularFile),
            Thing::Directory { .. } => filetype(DescriptorType::Directory),
            // Not a terminal.
            _ => 0,
        };
        let mut bytes = [0; 24];
        bytes[0] = filetype;
        bytes[2..4].copy_from_slice(&open.flags.to_le_bytes());
        bytes[8..16].copy_from_slice(&open.rights.to_le_bytes());
        bytes[16..24].copy_from_slice(&open.inheriting.to_le_bytes());
        self.memory.write(out, &bytes)
    }

    pub(super) fn fd_fdstat_set_flags(&mut self, fd: u32, new: u32) -> Answer {
        let new = flags(new)?;
        let open = self.open(fd)?;
        // Syncing is decided when a file is opened, and changes nothing here.
        if (new ^ open.flags) & !CHANGEABLE != 0 {
            return Err(Errno::Notsup.into());
        }
        open.flags = new;
        Ok(())
    }

    /// Rights can only be given up.
    pub(super) fn fd_fdstat_set_rights(&mut self, fd: u32, base: u64, inheriting: u64) -> Answer {
        let open = self.open(fd)?;
        if base & !open.rights != 0 || inheriting & !open.inheriting != 0 {
            return Err(Errno::Notcapable.into());
        }
        (open.rights, open.inheriting) = (base, inheriting);
        Ok(())
    }

    pub(super) fn fd_filestat_get(&mut self, fd: u32, out: u32) -> Answer {
        let bytes = match &self.open(fd)?.thing {
            Thing::File { descriptor, .. } | Thing::Directory { descriptor, .. } => {
                let place = descriptor.place.clone();
                filestat(&place, &self.host.stat_of(&place)?)
            }
            _ => {
                let mut bytes = [0; 64];
                bytes[24] = 1;
                bytes
            }
        };
        self.memory.write(out, &bytes)
    }

    pub(super) fn fd_filestat_set_size(&mut self, fd: u32, size: u64) -> Answer {
        let file = self.writable(fd)?;
        Ok(self.host.set_size(&file, size)?)
    }

    /// Makes room, which here is the same as making the file longer.
    pub(super) fn fd_allocate(&mut self, fd: u32, offset: u64, length: u64) -> Answer {
        let file = self.writable(fd)?;
        if length == 0 {
            return Err(Errno::Inval.into());
        }
        let end = offset.checked_add(length).ok_or(Errno::Fbig)?;
        if end > self.host.stat_of(&file.place)?.size {
            self.host.set_size(&file, end)?;
        }
        Ok(())
    }

    /// A file that may be changed through this descriptor.
    pub(super) fn writable(&mut self, fd: u32) -> Answer<Descriptor> {
        let open = self.open(fd)?;
        match &open.thing {
            Thing::File { descriptor, .. } if open.rights & WRITE != 0 => Ok(descriptor.clone()),
            _ => Err(Errno::Badf.into()),
        }
    }

    pub(super) fn fd_filestat_set_times(&mut self, fd: u32, _: u64, _: u64, which: u32) -> Answer {
        check_times(which)?;
        match &self.open(fd)?.thing {
            Thing::File { descriptor, .. } | Thing::Directory { descriptor, .. } => {
                Ok(set_times(&descriptor.place)?)
            }
            _ => Err(Errno::Badf.into()),
        }
    }

    pub(super) fn fd_prestat_get(&mut self, fd: u32, out: u32) -> Answer {
        self.preopened(fd)?;
        let mut bytes = [0; 8];
        bytes[0] = PREOPENED_DIRECTORY;
        bytes[4..].copy_from_slice(&(ROOT.len() as u32).to_le_bytes());
        self.memory.write(out, &bytes)
    }

    pub(super) fn fd_prestat_dir_name(&mut self, fd: u32, name: u32, size: u32) -> Answer {
        self.preopened(fd)?;
        if (size as usize) < ROOT.len() {
            return Err(Errno::Nametoolong.into());
        }
        self.memory.write(name, ROOT.as_bytes())
    }

    fn preopened(&mut self, fd: u32) -> Answer {
        match self.open(fd)?.thing {
            Thing::Directory { preopened: true, .. } => Ok(()),
            _ => Err(Errno::Badf.into()),
        }
    }

    /// How a file will be read is seen from how it is read.
    pub(super) fn fd_advise(&mut self, fd: u32, _: u64, _: u64, advice: u32) -> Answer {
        self.file(fd)?;
        if advice > 5 { Err(Errno::Inval.into()) } else { Ok(()) }
    }

    pub(super) fn fd_sync(&mut self, fd: u32) -> Answer {
        self.open(fd).map(drop)
    }

    pub(super) fn fd_datasync(&mut self, fd: u32) -> Answer {
        self.open(fd).map(drop)
    }
}
