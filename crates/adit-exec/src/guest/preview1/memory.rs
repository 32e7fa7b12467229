//! The guest's memory, where every pointer is a claim to be checked.

use super::errno::{Answer, Errno};

/// Most buffers in one call, as on Linux.
const MAX_BUFFERS: u32 = 1024;

/// Longest path that is looked at; `resolve` is stricter about what it follows.
const LONGEST_PATH: u32 = 4096;

/// A program's linear memory, for as long as one call takes.
pub(super) struct Memory<'a>(&'a mut [u8]);

/// A part of the memory that was inside when it was looked at. Memory does not change its size during a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Buffer {
    pub(super) at: u32,
    pub(super) length: u32,
}

impl<'a> Memory<'a> {
    pub(super) fn new(bytes: &'a mut [u8]) -> Self {
        Memory(bytes)
    }

    pub(super) fn bytes(&self, at: u32, length: u32) -> Answer<&[u8]> {
        // Two numbers of 32 bits: no sum of them overflows 64.
        Ok(self.0.get(at as usize..at as usize + length as usize).ok_or(Errno::Fault)?)
    }

    pub(super) fn bytes_mut(&mut self, at: u32, length: u32) -> Answer<&mut [u8]> {
        Ok(self.0.get_mut(at as usize..at as usize + length as usize).ok_or(Errno::Fault)?)
    }

    /// Whether something of that length could be written. Asked before a call does what cannot be undone.
    pub(super) fn require(&self, at: u32, length: u32) -> Answer {
        self.bytes(at, length).map(drop)
    }

    pub(super) fn read<const N: usize>(&self, at: u32) -> Answer<[u8; N]> {
        let mut value = [0; N];
        value.copy_from_slice(self.bytes(at, N as u32)?);
        Ok(value)
    }

    pub(super) fn write(&mut self, at: u32, value: &[u8]) -> Answer {
        let length = u32::try_from(value.len()).map_err(|_| Errno::Fault)?;
        self.bytes_mut(at, length)?.copy_from_slice(value);
        Ok(())
    }

    pub(super) fn write_u32(&mut self, at: u32, value: u32) -> Answer {
        self.write(at, &value.to_le_bytes())
    }

    pub(super) fn write_u64(&mut self, at: u32, value: u64) -> Answer {
        self.write(at, &value.to_le_bytes())
    }

    /// The buffers that a list names, all of them inside the memory. Read once: what a call writes into the list
    /// itself comes too late to matter.
    pub(super) fn buffers(&self, list: u32, count: u32) -> Answer<Vec<Buffer>> {
        if count > MAX_BUFFERS {
            return Err(Errno::Inval.into());
        }
        let buffers = self.bytes(list, count * 8)?.chunks_exact(8).map(|item| {
            let number = |half: &[u8]| u32::from_le_bytes([half[0], half[1], half[2], half[3]]);
            let buffer = Buffer { at: number(&item[..4]), length: number(&item[4..]) };
            self.require(buffer.at, buffer.length)?;
            Ok(buffer)
        });
        buffers.collect()
    }

    pub(super) fn path(&self, at: u32, length: u32) -> Answer<&str> {
        if length > LONGEST_PATH {
            self.require(at, length)?;
            return Err(Errno::Nametoolong.into());
        }
        Ok(std::str::from_utf8(self.bytes(at, length)?).map_err(|_| Errno::Ilseq)?)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::errno::Failure, *};

    fn errno<T>(answer: Answer<T>) -> Option<Errno> {
        match answer {
            Err(Failure::Errno(errno)) => Some(errno),
            _ => None,
        }
    }

    #[test]
    fn what_lies_outside_is_a_fault_whatever_the_numbers() {
        let mut bytes = [0; 64];
        let mut memory = Memory::new(&mut bytes);
        assert!(memory.require(0, 64).is_ok() && memory.require(64, 0).is_ok());
        for (at, length) in
            [(0, 65), (1, 64), (64, 1), (65, 0), (u32::MAX, u32::MAX), (u32::MAX, 1), (60, u32::MAX)]
        {
            assert_eq!(errno(memory.bytes(at, length)), Some(Errno::Fault), "{at} {length}");
            assert_eq!(errno(memory.bytes_mut(at, length)), Some(Errno::Fault), "{at} {length}");
        }
        assert_eq!(errno(memory.write_u64(57, 1)), Some(Errno::Fault));
        assert_eq!(errno(memory.read::<4>(61)), Some(Errno::Fault));
    }

    #[test]
    fn every_buffer_of_a_list_is_looked_at_and_the_list_itself() {
        let mut bytes = [0; 64];
        bytes[..16].copy_from_slice(&[0, 0, 0, 0, 64, 0, 0, 0, 60, 0, 0, 0, 4, 0, 0, 0]);
        let memory = Memory::new(&mut bytes);
        let two = memory.buffers(0, 2).ok().unwrap();
        assert_eq!(two, [Buffer { at: 0, length: 64 }, Buffer { at: 60, length: 4 }]);
        assert_eq!(memory.buffers(64, 0).ok().unwrap(), []);
        assert_eq!(errno(memory.buffers(0, 9)), Some(Errno::Fault), "the list ends outside");
        assert_eq!(errno(memory.buffers(0, 1025)), Some(Errno::Inval));
        assert_eq!(errno(memory.buffers(4, 1)), Some(Errno::Fault), "a buffer ends outside");
        assert_eq!(errno(memory.buffers(u32::MAX, 1024)), Some(Errno::Fault));
    }

    #[test]
    fn paths_are_text_of_a_length_that_makes_sense() {
        let mut bytes = vec![b'a'; 10_000];
        bytes[0] = 0xff;
        let memory = Memory::new(&mut bytes);
        assert_eq!(memory.path(1, 3).ok().unwrap(), "aaa");
        assert_eq!(errno(memory.path(0, 3)), Some(Errno::Ilseq));
        assert_eq!(errno(memory.path(1, 4097)), Some(Errno::Nametoolong));
        assert_eq!(errno(memory.path(1, 10_000)), Some(Errno::Fault));
    }
}
