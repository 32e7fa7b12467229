//! The framing of job streams, without I/O.
//!
//! ```text
//! frame = kind: u8, length: unsigned varint, payload: [u8; length]
//! kind  = 0 message (length ≤ 4 MiB) | 1 end (length 0) | 2 refused (a reason, ≤ 256 bytes UTF-8)
//! ```
//!
//! The end is a frame of its own because a stream that a peer merely drops looks like a clean end
//! of file over QUIC, and over yamux too: without it, a truncated answer would pass for a whole one.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// The largest message, in bytes.
pub const MAX_MESSAGE: usize = 4 << 20;
/// The longest reason for a refusal, in bytes.
pub(super) const MAX_REASON: usize = 256;
/// Kind and the longest varint that can stand for a permitted length.
pub(super) const MAX_HEADER: usize = 1 + 4;
/// Messages up to this size are copied out of the receive buffer: a kept 20-byte message must not
/// hold on to a buffer of many KiB.
const COPY_BELOW: usize = 2048;

const MESSAGE: u8 = 0;
const END: u8 = 1;
const REFUSED: u8 = 2;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame {
    Message(Bytes),
    End,
    Refused(String),
}

/// What the decoder wants before it can go on.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decoded {
    Frame(Frame),
    /// The buffer holds the beginning of a frame (or nothing): at least `missing` more bytes must
    /// come, of a frame with `size` bytes in all.
    Need {
        missing: usize,
        size: usize,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// More than [`MAX_MESSAGE`].
    #[error("a frame of {0} bytes is over the limit")]
    TooLong(u64),
    /// Not one of the kinds above.
    #[error("unknown frame kind {0}")]
    Kind(u8),
    /// Not the shortest form, or longer than any permitted length.
    #[error("malformed frame length")]
    Length,
    /// The refusal's reason is no UTF-8.
    #[error("malformed refusal")]
    Reason,
}

pub(super) fn put_message(out: &mut BytesMut, message: &[u8]) {
    put(out, MESSAGE, message);
}

pub(super) fn put_end(out: &mut BytesMut) {
    put(out, END, &[]);
}

pub(super) fn refusal(reason: &str) -> Bytes {
    let mut end = reason.len().min(MAX_REASON);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let mut out = BytesMut::with_capacity(MAX_HEADER + end);
    put(&mut out, REFUSED, &reason.as_bytes()[..end]);
    out.freeze()
}

fn put(out: &mut BytesMut, kind: u8, payload: &[u8]) {
    out.reserve(MAX_HEADER + payload.len());
    out.put_u8(kind);
    let mut space = unsigned_varint::encode::u64_buffer();
    out.put_slice(unsigned_varint::encode::u64(payload.len() as u64, &mut space));
    out.put_slice(payload);
}

/// Takes one frame off the front of `buffer`, or says how much is missing. A frame over its limit
/// is refused as soon as its header is there.
pub(super) fn decode(buffer: &mut BytesMut) -> Result<Decoded, FrameError> {
    let Some((&kind, rest)) = buffer.split_first() else { return Ok(Decoded::Need { missing: 2, size: 2 }) };
    let limit = match kind {
        MESSAGE => MAX_MESSAGE,
        END => 0,
        REFUSED => MAX_REASON,
        other => return Err(FrameError::Kind(other)),
    };
    let (length, after) = match unsigned_varint::decode::u64(rest) {
        Ok(found) => found,
        Err(unsigned_varint::decode::Error::Insufficient) if rest.len() < MAX_HEADER => {
            return Ok(Decoded::Need { missing: 1, size: buffer.len() + 1 });
        }
        Err(_) => return Err(FrameError::Length),
    };
    if length > limit as u64 {
        return Err(FrameError::TooLong(length));
    }
    let length = length as usize;
    let header = buffer.len() - after.len();
    if after.len() < length {
        return Ok(Decoded::Need { missing: length - after.len(), size: header + length });
    }
    buffer.advance(header);
    let payload = if length <= COPY_BELOW {
        let copy = Bytes::copy_from_slice(&buffer[..length]);
        buffer.advance(length);
        copy
    } else {
        buffer.split_to(length).freeze()
    };
    Ok(Decoded::Frame(match kind {
        MESSAGE => Frame::Message(payload),
        END => Frame::End,
        _ => Frame::Refused(
            std::str::from_utf8(&payload)
                .map_err(|_| FrameError::Reason)?
                .chars()
                .filter(|c| !c.is_control())
                .collect(),
        ),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Messages come out as they went in, wherever the stream is cut, and `missing` never
        /// asks for more than what is really left.
        #[test]
        fn any_messages_survive_any_cutting(
            messages in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..5000), 0..6),
            cuts in proptest::collection::vec(1usize..700, 1..40),
        ) {
            let mut sent = BytesMut::new();
            for message in &messages {
                put_message(&mut sent, message);
            }
            put_end(&mut sent);
            let (mut buffer, mut got, mut ended) = (BytesMut::new(), Vec::new(), false);
            let mut cuts = cuts.into_iter().cycle();
            while !ended {
                match decode(&mut buffer).unwrap() {
                    Decoded::Frame(Frame::Message(message)) => got.push(message.to_vec()),
                    Decoded::Frame(Frame::End) => ended = true,
                    Decoded::Frame(Frame::Refused(_)) => prop_assert!(false),
                    Decoded::Need { missing, size } => {
                        prop_assert!(missing >= 1 && missing <= sent.len());
                        prop_assert!(size >= buffer.len() + missing);
                        let n = cuts.next().unwrap().min(sent.len());
                        buffer.extend_from_slice(&sent.split_to(n));
                    }
                }
            }
            prop_assert_eq!(got, messages);
            prop_assert!(buffer.is_empty() && sent.is_empty());
        }

        /// Arbitrary bytes never panic and never ask for more than the limit.
        #[test]
        fn any_bytes_are_decoded_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut buffer = BytesMut::from(&bytes[..]);
            for _ in 0..64 {
                match decode(&mut buffer) {
                    Ok(Decoded::Need { missing, size }) => {
                        prop_assert!(missing >= 1 && size <= MAX_HEADER + MAX_MESSAGE);
                        break;
                    }
                    Ok(Decoded::Frame(_)) => {}
                    Err(_) => break,
                }
            }
        }
    }

    #[test]
    fn oversized_frames_are_refused_by_their_header() {
        let mut frame = BytesMut::from(&[MESSAGE][..]);
        let mut space = unsigned_varint::encode::u64_buffer();
        frame.put_slice(unsigned_varint::encode::u64(MAX_MESSAGE as u64 + 1, &mut space));
        assert_eq!(decode(&mut frame), Err(FrameError::TooLong(MAX_MESSAGE as u64 + 1)));
        let mut endless = BytesMut::from(&[MESSAGE, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff][..]);
        assert_eq!(decode(&mut endless), Err(FrameError::Length));
        let mut padded = BytesMut::from(&[MESSAGE, 0x81, 0x00][..]);
        assert_eq!(decode(&mut padded), Err(FrameError::Length));
        assert_eq!(decode(&mut BytesMut::from(&[END, 1][..])), Err(FrameError::TooLong(1)));
        assert_eq!(decode(&mut BytesMut::from(&[9][..])), Err(FrameError::Kind(9)));
    }

    #[test]
    fn reasons_are_cut_and_cleaned() {
        let mut frame = BytesMut::from(&refusal(&"ä\u{1b}".repeat(200))[..]);
        let Ok(Decoded::Frame(Frame::Refused(reason))) = decode(&mut frame) else { panic!() };
        assert!(reason.len() <= MAX_REASON && reason.chars().all(|c| c == 'ä'));
    }
}
