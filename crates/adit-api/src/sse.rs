//! Server-sent events, both ways: job events as `text/event-stream`, and back.
//!
//! Each event is one `data:` line of JSON; its kind stands inside (`event`), and also as the event's name for
//! browsers. Lines that begin with a colon keep the connection alive.

use crate::types::JobEventBody;
use bytes::{Buf, Bytes, BytesMut};

/// The longest event that [`Decoder`] takes: a chunk of log twice over, for base64 and escapes, and a job with all
/// attempts.
const MAX_EVENT: usize = 4 << 20;

/// What a server sends when nothing happens, so that neither end takes the other for gone.
pub(crate) const KEEP_ALIVE: Bytes = Bytes::from_static(b":\n\n");

/// One event as it is sent.
pub(crate) fn encode(event: &JobEventBody) -> Bytes {
    let name = match event {
        JobEventBody::Started { .. } => "started",
        JobEventBody::State { .. } => "state",
        JobEventBody::Attempt { .. } => "attempt",
        JobEventBody::Log { .. } => "log",
        JobEventBody::Skipped { .. } => "skipped",
        JobEventBody::Done { .. } => "done",
        JobEventBody::Error { .. } => "error",
    };
    let mut out = format!("event: {name}\ndata: ").into_bytes();
    serde_json::to_writer(&mut out, event).expect("job events are JSON");
    out.extend(b"\n\n");
    out.into()
}

/// Why a stream of events could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SseError {
    #[error("an event is longer than {MAX_EVENT} bytes")]
    TooLong,
    #[error("an event is not what this version of the API sends")]
    Json(#[from] serde_json::Error),
}

/// Reads events from bytes as they come.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: BytesMut,
    /// Where the search for the end of the event goes on, so that slow bytes do not make it quadratic.
    searched: usize,
}

impl Decoder {
    /// Takes bytes from the connection.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next complete event, if there is one.
    pub fn next_event(&mut self) -> Result<Option<JobEventBody>, SseError> {
        loop {
            let from = self.searched.saturating_sub(1);
            let Some(end) = self.buffer[from..].windows(2).position(|pair| pair == b"\n\n") else {
                self.searched = self.buffer.len();
                return if self.buffer.len() > MAX_EVENT { Err(SseError::TooLong) } else { Ok(None) };
            };
            let event = self.buffer.split_to(from + end);
            self.buffer.advance(2);
            self.searched = 0;
            let mut data =
                event[..].split(|byte| *byte == b'\n').filter_map(|line| line.strip_prefix(b"data: "));
            if let Some(data) = data.next() {
                return Ok(Some(serde_json::from_slice(data)?));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Content, JobState, LogStream};

    #[test]
    fn events_come_back_whole_however_they_are_cut() {
        let events = [
            JobEventBody::State { state: JobState::Running },
            JobEventBody::Log {
                stream: LogStream::Stdout,
                offset: 7,
                content: Content::from(&b"two\nlines\n\ndata: and tricks\r\n"[..]),
            },
            JobEventBody::Log {
                stream: LogStream::Stderr,
                offset: 0,
                content: Content::from(&[0xff, 0xfe][..]),
            },
        ];
        let mut sent = KEEP_ALIVE.to_vec();
        events.iter().for_each(|event| sent.extend(encode(event)));
        sent.extend(KEEP_ALIVE);
        for chunk in 1..sent.len() {
            let mut decoder = Decoder::default();
            let mut got = Vec::new();
            for bytes in sent.chunks(chunk) {
                decoder.feed(bytes);
                while let Some(event) = decoder.next_event().unwrap() {
                    got.push(event);
                }
            }
            assert_eq!(got, events);
        }
    }

    #[test]
    fn an_endless_event_is_refused() {
        let mut decoder = Decoder::default();
        decoder.feed(&vec![b'x'; MAX_EVENT + 1]);
        assert!(matches!(decoder.next_event(), Err(SseError::TooLong)));
    }
}
