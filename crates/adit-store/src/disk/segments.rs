//! Open segment files, a few at a time.

use std::{collections::HashMap, io, sync::Arc};

use parking_lot::Mutex;

use super::medium::{Medium, SegmentFile};

/// Each is one file descriptor; 64 of them cover 16 GiB of the most recently read data.
const OPEN_MAX: usize = 64;

pub(crate) struct Segments {
    medium: Arc<dyn Medium>,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    files: HashMap<u32, (Arc<dyn SegmentFile>, u64)>,
    clock: u64,
}

impl Segments {
    pub(crate) fn new(medium: Arc<dyn Medium>) -> Self {
        Self { medium, open: Mutex::default() }
    }

    /// The segment, opened for reading.
    pub(crate) fn get(&self, number: u32) -> io::Result<Arc<dyn SegmentFile>> {
        let mut open = self.open.lock();
        open.clock += 1;
        let now = open.clock;
        if let Some((file, used)) = open.files.get_mut(&number) {
            *used = now;
            return Ok(file.clone());
        }
        let file = self.medium.open_segment(number)?;
        if open.files.len() >= OPEN_MAX {
            let oldest = open.files.iter().min_by_key(|(_, (_, used))| *used).map(|(number, _)| *number);
            open.files.remove(&oldest.expect("more than none are open"));
        }
        open.files.insert(number, (file.clone(), now));
        Ok(file)
    }

    /// Closes our handle of a segment that was removed. Whoever holds it reads on.
    pub(crate) fn forget(&self, number: u32) {
        self.open.lock().files.remove(&number);
    }
}
