//! What a guest has written so far, as much of it as is kept in memory.

use std::collections::VecDeque;

use bytes::Bytes;

/// Bytes kept of each stream of each job. A follower that is not further behind misses nothing;
/// the whole stream is content of its own once the job has finished.
pub(crate) const KEPT: usize = 256 * 1024;

/// The newest bytes of one stream.
#[derive(Debug, Default)]
pub(crate) struct LogBuffer {
    chunks: VecDeque<Bytes>,
    bytes: usize,
    /// Position of the first kept byte in the whole stream.
    start: u64,
}

/// What a follower gets next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// It has everything there is.
    Nothing,
    /// These bytes follow.
    Bytes(Bytes),
    /// Everything up to here is gone.
    SkipTo(u64),
}

impl LogBuffer {
    /// The guest wrote.
    pub(crate) fn push(&mut self, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        self.bytes += bytes.len();
        self.chunks.push_back(bytes);
        while self.bytes > KEPT
            && let Some(oldest) = self.chunks.pop_front()
        {
            self.bytes -= oldest.len();
            self.start += oldest.len() as u64;
        }
    }

    /// What follows after `offset` bytes.
    pub(crate) fn after(&self, offset: u64) -> Next {
        if offset < self.start {
            return Next::SkipTo(self.start);
        }
        let mut at = self.start;
        for chunk in &self.chunks {
            let end = at + chunk.len() as u64;
            if offset < end {
                return Next::Bytes(chunk.slice((offset - at) as usize..));
            }
            at = end;
        }
        Next::Nothing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_follower_gets_everything_and_a_late_one_learns_what_it_missed() {
        let mut buffer = LogBuffer::default();
        buffer.push(Bytes::from_static(b"hello "));
        buffer.push(Bytes::new());
        buffer.push(Bytes::from_static(b"world"));
        assert_eq!(buffer.after(0), Next::Bytes(Bytes::from_static(b"hello ")));
        assert_eq!(buffer.after(8), Next::Bytes(Bytes::from_static(b"rld")));
        assert_eq!(buffer.after(11), Next::Nothing);
        for _ in 0..64 {
            buffer.push(Bytes::from(vec![b'x'; 32 * 1024]));
        }
        assert!(buffer.bytes <= KEPT);
        let Next::SkipTo(start) = buffer.after(0) else { panic!("the beginning is gone") };
        assert_eq!(start + buffer.bytes as u64, 11 + 64 * 32 * 1024);
        assert!(matches!(buffer.after(start), Next::Bytes(_)));
    }
}
