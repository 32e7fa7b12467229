//! The output file, dealt out in pages.
//!
//! Everything that a guest writes (files, stdout, stderr) goes straight into the memory file that the enclave will
//! read it from: nothing is copied when the job ends, and a quota is a number of pages, the same on every host.

use crate::worker_wire::{PAGE, Run};
use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
    ptr, slice,
};

const SIZE: usize = PAGE as usize;

/// No page is left: the quota is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

/// A writable shared mapping of the whole output file.
struct Memory {
    start: *mut u8,
    length: usize,
}

// SAFETY: plain memory that belongs to no thread; access goes through `&self` and `&mut self`.
unsafe impl Send for Memory {}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: exactly the range that `Pages::new` mapped; no reference into it outlives `self`.
        unsafe { libc::munmap(self.start.cast(), self.length) };
    }
}

pub(crate) struct Pages {
    memory: Memory,
    /// Pages of this job that were given back.
    free: Vec<u32>,
    /// Pages below this number have been dealt out in this job.
    next: u32,
    /// Pages below this number have been dealt out in some job, and hold its bytes.
    soiled: u32,
    in_use: u32,
    quota: u32,
}

impl Pages {
    /// Maps the output file, which is `length` bytes long and cannot shrink.
    pub(crate) fn new(file: BorrowedFd<'_>, length: u64) -> io::Result<Self> {
        let pages = u32::try_from(length / PAGE).map_err(|_| io::ErrorKind::InvalidInput)?;
        let length = pages as usize * SIZE;
        if length == 0 {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // SAFETY: a new mapping at an address of the kernel's choice touches nothing that exists.
        let start = unsafe {
            let protection = libc::PROT_READ | libc::PROT_WRITE;
            libc::mmap(ptr::null_mut(), length, protection, libc::MAP_SHARED, file.as_raw_fd(), 0)
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let memory = Memory { start: start.cast(), length };
        Ok(Pages { memory, free: Vec::new(), next: 0, soiled: 0, in_use: 0, quota: pages })
    }

    /// How many pages the file has.
    pub(crate) fn room(&self) -> u32 {
        (self.memory.length / SIZE) as u32
    }

    /// Takes all pages back for a new job, which gets `quota` of them at most.
    pub(crate) fn reset(&mut self, quota: u32) {
        self.soiled = self.soiled.max(self.next);
        self.free.clear();
        self.next = 0;
        self.in_use = 0;
        self.quota = quota.min(self.room());
    }

    pub(crate) fn left(&self) -> u32 {
        self.quota - self.in_use
    }

    /// A page of zeros.
    fn take(&mut self) -> Result<u32, Full> {
        if self.in_use >= self.quota {
            return Err(Full);
        }
        let (page, dirty) = match self.free.pop() {
            Some(page) => (page, true),
            None => {
                self.next += 1;
                (self.next - 1, self.next <= self.soiled)
            }
        };
        self.in_use += 1;
        if dirty {
            self.page_mut(page).fill(0);
        }
        Ok(page)
    }

    fn give_back(&mut self, page: u32) {
        self.in_use -= 1;
        self.free.push(page);
    }

    fn page(&self, page: u32) -> &[u8] {
        let at = page as usize * SIZE;
        assert!(at + SIZE <= self.memory.length, "pages come from `take`");
        // SAFETY: inside the mapping (checked above), which lives as long as `self`. The enclave only reads it.
        unsafe { slice::from_raw_parts(self.memory.start.add(at), SIZE) }
    }

    fn page_mut(&mut self, page: u32) -> &mut [u8] {
        let at = page as usize * SIZE;
        assert!(at + SIZE <= self.memory.length, "pages come from `take`");
        // SAFETY: as in `page`, and `&mut self` makes this the only reference.
        unsafe { slice::from_raw_parts_mut(self.memory.start.add(at), SIZE) }
    }
}

/// The bytes of one file, in pages.
#[derive(Debug, Default)]
pub(crate) struct FileData {
    pages: Vec<u32>,
    length: u64,
}

impl FileData {
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Makes the file as long as said; what is new reads as zeros.
    pub(crate) fn set_length(&mut self, pages: &mut Pages, length: u64) -> Result<(), Full> {
        let needed = length.div_ceil(PAGE);
        if needed > self.pages.len() as u64 {
            // All or nothing, and refused before the first page is touched.
            if needed - self.pages.len() as u64 > u64::from(pages.left()) {
                return Err(Full);
            }
            while (self.pages.len() as u64) < needed {
                self.pages.push(pages.take()?);
            }
        }
        for page in self.pages.drain(needed as usize..) {
            pages.give_back(page);
        }
        if length < self.length && !length.is_multiple_of(PAGE) {
            // What is cut off must not come back when the file grows again.
            pages.page_mut(self.pages[(length / PAGE) as usize])[(length % PAGE) as usize..].fill(0);
        }
        self.length = length;
        Ok(())
    }

    /// Writes all of `bytes` or nothing.
    pub(crate) fn write(&mut self, pages: &mut Pages, offset: u64, bytes: &[u8]) -> Result<(), Full> {
        if bytes.is_empty() {
            return Ok(());
        }
        let end = offset.checked_add(bytes.len() as u64).ok_or(Full)?;
        if end > self.length {
            self.set_length(pages, end)?;
        }
        let mut at = offset;
        let mut rest = bytes;
        while !rest.is_empty() {
            let within = (at % PAGE) as usize;
            let (now, later) = rest.split_at(rest.len().min(SIZE - within));
            let page = self.pages[(at / PAGE) as usize];
            pages.page_mut(page)[within..within + now.len()].copy_from_slice(now);
            at += now.len() as u64;
            rest = later;
        }
        Ok(())
    }

    /// Up to `length` bytes from `offset`, fewer only at the end of the file.
    pub(crate) fn read(&self, pages: &Pages, offset: u64, length: u64) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.available(offset, length) as usize);
        self.read_to(pages, offset, length, |data| bytes.extend_from_slice(data));
        bytes
    }

    /// Bytes from `offset` to the end of the file, no more than `length`: what a read will find.
    pub(crate) fn available(&self, offset: u64, length: u64) -> u64 {
        self.length.saturating_sub(offset).min(length)
    }

    /// Hands these bytes to `take`, piece by piece as they lie in their pages.
    pub(crate) fn read_to(&self, pages: &Pages, offset: u64, length: u64, mut take: impl FnMut(&[u8])) {
        let end = offset.saturating_add(length).min(self.length);
        let mut at = offset;
        while at < end {
            let within = (at % PAGE) as usize;
            let count = (end - at).min(PAGE - within as u64) as usize;
            take(&pages.page(self.pages[(at / PAGE) as usize])[within..within + count]);
            at += count as u64;
        }
    }

    /// Gives all pages back.
    pub(crate) fn clear(&mut self, pages: &mut Pages) {
        self.pages.drain(..).for_each(|page| pages.give_back(page));
        self.length = 0;
    }

    /// The pages as runs of neighbours.
    pub(crate) fn runs(&self) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        for page in &self.pages {
            match runs.last_mut() {
                Some(run) if run.first + run.count == *page => run.count += 1,
                _ => runs.push(Run { first: *page, count: 1 }),
            }
        }
        runs
    }
}

/// Moves pages so that each of the files, in this order, lies in one run. For outputs too scattered to describe.
pub(crate) fn compact(pages: &mut Pages, files: &mut [&mut FileData]) {
    // `place[p]` is where the content that belongs to page `p` of the new order lies now, and `holds` its inverse.
    let order: Vec<u32> = files.iter().flat_map(|file| file.pages.iter().copied()).collect();
    let mut place = order.clone();
    let mut holds: Vec<Option<u32>> = vec![None; pages.next as usize];
    for (target, at) in place.iter().enumerate() {
        holds[*at as usize] = Some(target as u32);
    }
    let mut spare = vec![0; SIZE];
    for target in 0..place.len() {
        let at = place[target];
        if at as usize == target {
            continue;
        }
        // Swap the pages `target` and `at`; whoever had content in `target` now has it in `at`.
        spare.copy_from_slice(pages.page(target as u32));
        let moved = pages.page(at).to_vec();
        pages.page_mut(target as u32).copy_from_slice(&moved);
        pages.page_mut(at).copy_from_slice(&spare);
        let displaced = holds[target];
        holds.swap(target, at as usize);
        place[target] = target as u32;
        if let Some(displaced) = displaced {
            place[displaced as usize] = at;
        }
    }
    let mut next = 0;
    for file in files {
        for page in &mut file.pages {
            *page = next;
            next += 1;
        }
    }
    pages.free = (next..pages.next).collect();
}

#[cfg(test)]
mod tests {
    use super::*;
    use adit_wire::memory;
    use std::os::fd::AsFd;

    fn pages(count: u64) -> Pages {
        let file = memory::scratch(c"test", count * PAGE).unwrap();
        Pages::new(file.as_fd(), count * PAGE).unwrap()
    }

    #[test]
    fn a_file_reads_back_what_was_written_with_zeros_in_between() {
        let mut pages = pages(8);
        let mut file = FileData::default();
        file.write(&mut pages, 5000, b"hello").unwrap();
        assert_eq!(file.length(), 5005);
        assert_eq!(file.read(&pages, 4990, 100), [&[0; 10][..], b"hello"].concat());
        file.set_length(&mut pages, 5002).unwrap();
        file.set_length(&mut pages, 9000).unwrap();
        assert_eq!(file.read(&pages, 5000, 5), b"he\0\0\0", "what was cut off does not come back");
        assert_eq!(file.read(&pages, 9000, 1), b"");
        assert_eq!(file.read(&pages, u64::MAX, u64::MAX), b"");
    }

    #[test]
    fn the_quota_is_exact_and_refuses_before_anything_is_written() {
        let mut pages = pages(8);
        pages.reset(3);
        let mut file = FileData::default();
        assert_eq!(file.write(&mut pages, 3 * PAGE, b"x"), Err(Full));
        assert_eq!(file.write(&mut pages, u64::MAX, b"x"), Err(Full));
        assert_eq!((file.length(), pages.left()), (0, 3));
        file.write(&mut pages, 3 * PAGE - 1, b"x").unwrap();
        assert_eq!(pages.left(), 0);
        file.clear(&mut pages);
        assert_eq!(pages.left(), 3);
    }

    #[test]
    fn the_next_job_sees_none_of_the_last_ones_bytes() {
        let mut pages = pages(2);
        let mut file = FileData::default();
        file.write(&mut pages, 0, &[7; 2 * SIZE]).unwrap();
        pages.reset(2);
        let mut file = FileData::default();
        file.set_length(&mut pages, 2 * PAGE).unwrap();
        assert_eq!(file.read(&pages, 0, 2 * PAGE), [0; 2 * SIZE]);
    }

    #[test]
    fn scattered_files_are_compacted_without_losing_a_byte() {
        let mut pages = pages(64);
        let mut files: Vec<FileData> = (0..3).map(|_| FileData::default()).collect();
        let mut holes = FileData::default();
        for round in 0..10_u8 {
            for (number, file) in files.iter_mut().enumerate() {
                let at = file.length();
                file.write(&mut pages, at, &[round * 3 + number as u8; SIZE]).unwrap();
            }
            let at = holes.length();
            holes.write(&mut pages, at, &[255; SIZE]).unwrap();
        }
        holes.clear(&mut pages);
        assert_eq!(files[1].runs().len(), 10);
        let [a, b, c] = &mut files[..] else { unreachable!() };
        compact(&mut pages, &mut [c, a, b]);
        for (number, file) in files.iter().enumerate() {
            assert_eq!(file.runs().len(), 1);
            for round in 0..10_u8 {
                let page = file.read(&pages, u64::from(round) * PAGE, PAGE);
                assert_eq!(page, [round * 3 + number as u8; SIZE]);
            }
        }
        assert_eq!(files[2].runs()[0].first, 0);
        let mut more = FileData::default();
        more.set_length(&mut pages, 34 * PAGE).unwrap();
        assert_eq!(pages.left(), 0);
    }
}
