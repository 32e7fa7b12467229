//! Reading fixed layouts from untrusted bytes.

use crate::Reason;

/// What is left to read of some bytes. Every read is checked; nothing is allocated by a length that was read.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    what: &'static str,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8], what: &'static str) -> Self {
        Self { rest: bytes, what }
    }

    pub(crate) fn take(&mut self, size: usize) -> Result<&'a [u8], Reason> {
        let (head, tail) = self.rest.split_at_checked(size).ok_or(Reason::Truncated(self.what))?;
        self.rest = tail;
        Ok(head)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Reason> {
        Ok(self.take(N)?.try_into().expect("taken to size"))
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Reason> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) fn u16_le(&mut self) -> Result<u16, Reason> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(crate) fn u32_le(&mut self) -> Result<u32, Reason> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(crate) fn u64_le(&mut self) -> Result<u64, Reason> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(crate) fn u16_be(&mut self) -> Result<u16, Reason> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    pub(crate) fn u32_be(&mut self) -> Result<u32, Reason> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    pub(crate) fn u64_be(&mut self) -> Result<u64, Reason> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    /// Bytes behind their size in two bytes, as TPMs write them.
    pub(crate) fn sized(&mut self, most: usize) -> Result<&'a [u8], Reason> {
        let size = self.u16_be()?.into();
        if size > most { Err(Reason::TooLarge(self.what)) } else { self.take(size) }
    }

    /// What was not read yet.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Refuses bytes that nobody reads: what is not read is not checked.
    pub(crate) fn end(self) -> Result<(), Reason> {
        if self.rest.is_empty() { Ok(()) } else { Err(Reason::TrailingBytes(self.what)) }
    }
}
