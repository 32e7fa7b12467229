//! A disk in memory that can lose power at any operation, run full, and that remembers what was
//! synced: the medium of the crash tests.
//!
//! After a crash each file is what its last sync left, plus any of the 512-byte sectors written
//! since, chosen by a seed: a write may be torn, lost, or overtaken by a later one.

use std::{collections::BTreeMap, fs::File, io, sync::Arc};

use parking_lot::Mutex;
use redb::{Database, StorageBackend};

use super::medium::{Medium, SegmentFile};

const SECTOR: usize = 512;

#[derive(Debug, Clone, Default)]
pub(crate) struct SimulatedDisk {
    disk: Arc<Mutex<Disk>>,
}

#[derive(Debug, Default)]
struct Disk {
    files: BTreeMap<String, Content>,
    /// Removed since the start; a crash may bring them back.
    removed: BTreeMap<String, Content>,
    operations: u64,
    crash_at: Option<u64>,
    /// Nothing works any more.
    down: bool,
    capacity: Option<usize>,
    /// Says that segments are synced and does nothing.
    lies: bool,
}

#[derive(Debug, Default, Clone)]
struct Content {
    /// As programs see it.
    now: Vec<u8>,
    /// As of the last sync.
    synced: Vec<u8>,
    /// Sectors written since, in order.
    unsynced: Vec<Change>,
}

#[derive(Debug, Clone)]
enum Change {
    Sector { offset: usize, bytes: Vec<u8> },
    Len(usize),
}

impl SimulatedDisk {
    pub(crate) fn crash_at(&self, operation: u64) {
        self.disk.lock().crash_at = Some(operation);
    }

    /// From now on syncs of segments do nothing, as on a disk that ignores them. The databases'
    /// are honoured, so that it is this crate's promises that break.
    pub(crate) fn lie(&self) {
        self.disk.lock().lies = true;
    }

    pub(crate) fn set_capacity(&self, bytes: Option<usize>) {
        self.disk.lock().capacity = bytes;
    }

    pub(crate) fn operations(&self) -> u64 {
        self.disk.lock().operations
    }

    pub(crate) fn used(&self) -> usize {
        self.disk.lock().used()
    }

    /// What a restart finds after power was lost.
    pub(crate) fn after_power_loss(&self, seed: u64) -> Self {
        let disk = self.disk.lock();
        let mut random = Random(seed);
        let mut files = BTreeMap::new();
        for (name, content) in &disk.files {
            files.insert(name.clone(), content.after_power_loss(&mut random));
        }
        for (name, content) in &disk.removed {
            if random.coin() {
                files.entry(name.clone()).or_insert_with(|| content.after_power_loss(&mut random));
            }
        }
        Self { disk: Arc::new(Mutex::new(Disk { files, ..Disk::default() })) }
    }

    /// What a restart finds after the process was killed: everything that was written.
    pub(crate) fn after_kill(&self) -> Self {
        let disk = self.disk.lock();
        let files = disk.files.clone();
        Self { disk: Arc::new(Mutex::new(Disk { files, ..Disk::default() })) }
    }

    fn change<T>(&self, change: impl FnOnce(&mut Disk, Fate) -> io::Result<T>) -> io::Result<T> {
        let mut disk = self.disk.lock();
        if disk.down {
            return Err(io::Error::other("the power is off"));
        }
        disk.operations += 1;
        let fate = if disk.crash_at == Some(disk.operations) { Fate::Crash } else { Fate::Live };
        let result = change(&mut disk, fate);
        if fate == Fate::Crash {
            disk.down = true;
            return Err(io::Error::other("the power went off"));
        }
        result
    }

    fn look<T>(&self, name: &str, look: impl FnOnce(&Content) -> io::Result<T>) -> io::Result<T> {
        let disk = self.disk.lock();
        if disk.down {
            return Err(io::Error::other("the power is off"));
        }
        // Like an open file, a removed one can still be read.
        let content = disk.files.get(name).or_else(|| disk.removed.get(name));
        look(content.ok_or(io::ErrorKind::NotFound)?)
    }

    fn write(&self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.change(|disk, fate| {
            let offset = offset as usize;
            let grows = (offset + bytes.len()).saturating_sub(disk.file(name)?.now.len());
            if disk.capacity.is_some_and(|capacity| disk.used() + grows > capacity) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            // The operation at which the power goes may get any part of its bytes out.
            let bytes = if fate == Fate::Crash { &bytes[..bytes.len() / 2] } else { bytes };
            disk.file(name)?.write(offset, bytes);
            Ok(())
        })
    }

    fn set_len(&self, name: &str, len: u64) -> io::Result<()> {
        self.change(|disk, _| {
            let len = len as usize;
            let grows = len.saturating_sub(disk.file(name)?.now.len());
            if disk.capacity.is_some_and(|capacity| disk.used() + grows > capacity) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let file = disk.file(name)?;
            file.now.resize(len, 0);
            file.unsynced.push(Change::Len(len));
            Ok(())
        })
    }

    fn sync(&self, name: &str) -> io::Result<()> {
        self.change(|disk, fate| {
            let lie = disk.lies && name.starts_with("segments/");
            if fate == Fate::Live && !lie {
                let file = disk.file(name)?;
                file.synced = file.now.clone();
                file.unsynced.clear();
            }
            Ok(())
        })
    }

    fn read(&self, name: &str, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.look(name, |file| {
            let offset = offset as usize;
            let bytes = file.now.get(offset..offset + buf.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
            buf.copy_from_slice(bytes);
            Ok(())
        })
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Live,
    Crash,
}

impl Disk {
    fn file(&mut self, name: &str) -> io::Result<&mut Content> {
        match self.files.get_mut(name) {
            Some(file) => Ok(file),
            None => self.removed.get_mut(name).ok_or_else(|| io::ErrorKind::NotFound.into()),
        }
    }

    fn used(&self) -> usize {
        self.files.values().map(Content::allocated).sum()
    }
}

impl Content {
    fn write(&mut self, offset: usize, bytes: &[u8]) {
        let end = offset + bytes.len();
        if end > self.now.len() {
            self.now.resize(end, 0);
        }
        self.now[offset..end].copy_from_slice(bytes);
        let mut at = offset;
        while at < end {
            let next = ((at / SECTOR + 1) * SECTOR).min(end);
            self.unsynced.push(Change::Sector { offset: at, bytes: self.now[at..next].to_vec() });
            at = next;
        }
    }

    fn allocated(&self) -> usize {
        // Pages of zeros count as holes.
        self.now.chunks(4096).filter(|page| page.iter().any(|byte| *byte != 0)).count() * 4096
    }

    fn after_power_loss(&self, random: &mut Random) -> Self {
        let mut now = self.synced.clone();
        for change in self.unsynced.iter().filter(|_| random.coin()) {
            match change {
                Change::Len(len) => now.resize(*len, 0),
                Change::Sector { offset, bytes } => {
                    let end = offset + bytes.len();
                    if end > now.len() {
                        now.resize(end, 0);
                    }
                    now[*offset..end].copy_from_slice(bytes);
                }
            }
        }
        Self { synced: now.clone(), now, unsynced: Vec::new() }
    }
}

/// splitmix64.
struct Random(u64);

impl Random {
    fn coin(&mut self) -> bool {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) & 1 == 1
    }
}

fn segment_name(number: u32) -> String {
    format!("segments/{number:08x}.seg")
}

impl Medium for SimulatedDisk {
    fn create_segment(&self, number: u32) -> io::Result<Arc<dyn SegmentFile>> {
        self.change(|disk, _| {
            disk.files.insert(segment_name(number), Content::default());
            Ok(())
        })?;
        self.change_segment(number)
    }

    fn open_segment(&self, number: u32) -> io::Result<Arc<dyn SegmentFile>> {
        let name = segment_name(number);
        if !self.disk.lock().files.contains_key(&name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(Arc::new(SimulatedFile { disk: self.clone(), name }))
    }

    fn change_segment(&self, number: u32) -> io::Result<Arc<dyn SegmentFile>> {
        self.open_segment(number)
    }

    fn remove_segment(&self, number: u32) -> io::Result<()> {
        self.change(|disk, _| {
            let name = segment_name(number);
            let content = disk.files.remove(&name).ok_or(io::ErrorKind::NotFound)?;
            disk.removed.insert(name, content);
            Ok(())
        })
    }

    fn list_segments(&self) -> io::Result<Vec<u32>> {
        let number = |name: &String| {
            u32::from_str_radix(name.strip_prefix("segments/")?.strip_suffix(".seg")?, 16).ok()
        };
        Ok(self.disk.lock().files.keys().filter_map(number).collect())
    }

    fn open_database(&self, name: &str, cache: usize) -> Result<Database, redb::Error> {
        let create = |name: &str| {
            let backend = SimulatedFile { disk: self.clone(), name: name.to_owned() };
            Database::builder().set_cache_size(cache).create_with_backend(backend)
        };
        if !self.disk.lock().files.contains_key(name) {
            let fresh = format!("{name}.new");
            let begin = |disk: &mut Disk, _| {
                disk.files.insert(fresh.clone(), Content::default());
                Ok(())
            };
            self.change(begin).map_err(redb::StorageError::from)?;
            drop(create(&fresh)?);
            self.sync(&fresh).map_err(redb::StorageError::from)?;
            let name_it = |disk: &mut Disk, _| {
                let content = disk.files.remove(&fresh).ok_or(io::ErrorKind::NotFound)?;
                disk.files.insert(name.to_owned(), content);
                Ok(())
            };
            self.change(name_it).map_err(redb::StorageError::from)?;
        }
        Ok(create(name)?)
    }

    fn set_database_aside(&self, name: &str) -> io::Result<()> {
        self.change(|disk, _| {
            disk.files.remove(name).ok_or(io::ErrorKind::NotFound)?;
            Ok(())
        })
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let disk = self.disk.lock();
        Ok(disk.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(disk.used()) as u64))
    }
}

#[derive(Debug)]
struct SimulatedFile {
    disk: SimulatedDisk,
    name: String,
}

impl SegmentFile for SimulatedFile {
    fn write_pages(&self, pages: &[u8], offset: u64) -> io::Result<()> {
        assert!(pages.len().is_multiple_of(4096) && offset.is_multiple_of(4096), "whole pages only");
        self.disk.write(&self.name, offset, pages)
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.disk.read(&self.name, buf, offset)
    }

    fn read_cached_at(&self, _: &mut [u8], _: u64) -> bool {
        false
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.sync(&self.name)
    }

    fn len(&self) -> io::Result<u64> {
        self.disk.look(&self.name, |file| Ok(file.now.len() as u64))
    }

    fn allocated(&self) -> io::Result<u64> {
        self.disk.look(&self.name, |file| Ok(file.allocated() as u64))
    }

    fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        self.disk.change(|disk, _| {
            disk.file(&self.name)?.write(offset as usize, &vec![0; len as usize]);
            Ok(())
        })
    }

    fn file(&self) -> Option<Arc<File>> {
        None
    }
}

impl StorageBackend for SimulatedFile {
    fn len(&self) -> io::Result<u64> {
        SegmentFile::len(self)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.disk.read(&self.name, out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk.set_len(&self.name, len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.sync(&self.name)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.disk.write(&self.name, offset, data)
    }
}
