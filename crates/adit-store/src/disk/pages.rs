//! A buffer that direct I/O accepts: its bytes start at a page boundary in memory.

use super::layout::PAGE;

/// One disk write. Larger ones were not faster.
const CAPACITY: usize = 4 << 20;

#[derive(Clone, Copy)]
#[repr(C, align(4096))]
struct Page([u8; PAGE]);

/// Bytes that are gathered for one write. Memory is taken as it fills.
pub(crate) struct Pages {
    pages: Vec<Page>,
    len: usize,
}

impl Pages {
    pub(crate) fn new() -> Self {
        Self { pages: Vec::new(), len: 0 }
    }

    /// Takes as much as fits and returns the rest.
    pub(crate) fn fill<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let (now, rest) = bytes.split_at(bytes.len().min(CAPACITY - self.len));
        let end = self.len + now.len();
        if end > self.pages.len() * PAGE {
            self.pages.resize(end.div_ceil(PAGE), Page([0; PAGE]));
        }
        let start = self.len;
        self.all_mut()[start..end].copy_from_slice(now);
        self.len = end;
        rest
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn is_full(&self) -> bool {
        self.len == CAPACITY
    }

    /// Fills the last page up with zeros.
    pub(crate) fn pad(&mut self) {
        let end = self.len.next_multiple_of(PAGE);
        let start = self.len;
        self.all_mut()[start..end].fill(0);
        self.len = end;
    }

    /// Whole pages, after [`Self::pad`] or at capacity.
    pub(crate) fn bytes(&self) -> &[u8] {
        debug_assert_eq!(self.len % PAGE, 0);
        // SAFETY: `pages` is one allocation of `pages.len() * PAGE` initialised bytes (`Page` is
        // an array of PAGE bytes without padding), and `len` never exceeds that.
        unsafe { std::slice::from_raw_parts(self.pages.as_ptr().cast::<u8>(), self.len) }
    }

    fn all_mut(&mut self) -> &mut [u8] {
        let len = self.pages.len() * PAGE;
        // SAFETY: as in `bytes`, and the borrow of `self` is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.pages.as_mut_ptr().cast::<u8>(), len) }
    }

    /// Forgets the bytes.
    pub(crate) fn clear(&mut self) {
        self.len = 0;
    }

    /// Gives the memory back while there is nothing to write.
    pub(crate) fn shrink(&mut self) {
        debug_assert!(self.is_empty());
        self.pages = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_as_they_went_in_padded_and_aligned() {
        let mut pages = Pages::new();
        for round in 0..2u8 {
            assert!(pages.fill(&[round; 5000]).is_empty());
            pages.pad();
            assert_eq!(pages.bytes().len(), 2 * PAGE);
            assert_eq!(pages.bytes().as_ptr() as usize % PAGE, 0);
            assert!(pages.bytes()[..5000].iter().all(|byte| *byte == round));
            assert!(pages.bytes()[5000..].iter().all(|byte| *byte == 0), "old bytes shine through");
            pages.clear();
            assert!(pages.is_empty());
        }
        let big = vec![7; CAPACITY + 3];
        assert_eq!(pages.fill(&big).len(), 3);
        assert!(pages.is_full());
    }
}
