//! One HTTP function in one worker: what the node and the jailed process say to each other.
//!
//! The enclave loads the code, makes this channel, gives one end to each of them, and from then on only watches: a
//! request costs no hop through it. Nothing here speaks of keys, blocks or receipts. One request at a time:
//!
//! ```text
//! node   → worker   Request (head, and the body or its first piece)
//! worker → node     Pull, Send, Sleep … and as answers Piece, Response, Woken …
//! worker → node     Answer …, the last one with `done`
//! ```
//!
//! The worker holds a stranger's program, so the node believes nothing: it asks for at most one piece of each body at
//! a time, a piece has a length limit, and so has a head. What the node sends after `done` is passed over, since the
//! next thing that matters to the worker is a `Request`. Closing the channel ends the worker.
//!
//! Each frame from the node says what time it is. That is the only clock that a function has: it stands still while
//! the function computes.

use crate::codec::{DecodeError, Message, Reader, Writer};
use bytes::Bytes;

/// Most header lines (or trailers) of one message.
pub const MAX_LINES: usize = 128;

/// Longest name and value together, over all lines of one message.
pub const MAX_HEAD: usize = 32 << 10;

/// Longest path with query, and longest authority.
pub const MAX_TARGET: usize = 8 << 10;

/// Longest piece of a body in one frame.
pub const MAX_PIECE: usize = 64 << 10;

/// Longest method.
pub const MAX_METHOD: usize = 64;

/// What a function may write to stdout and stderr for one request; the rest is dropped.
pub const MAX_NOTES: usize = 4 << 10;

/// Requests that one request may lead to.
pub const MAX_EXCHANGES: u32 = 64;

/// The number of the request's own body; exchanges count from 1.
pub const REQUEST_BODY: u32 = 0;

/// Names and values, names in lower case.
pub type Lines = Vec<(String, Bytes)>;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestHead {
    pub method: String,
    pub https: bool,
    pub authority: String,
    /// Path and query.
    pub target: String,
    pub lines: Lines,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResponseHead {
    pub status: u16,
    pub lines: Lines,
}

/// What a function may use for one request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Allowance {
    /// WebAssembly operators and host work, as for jobs.
    pub fuel: u64,
    /// Bytes of linear memory.
    pub memory: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Nanoseconds since 1970.
    pub now: u64,
    /// Seeds the function's randomness.
    pub seed: [u8; 32],
    pub allowance: Allowance,
    pub head: RequestHead,
    pub body: Piece,
}

/// Part of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    pub bytes: Bytes,
    pub then: Then,
}

/// What comes after a piece.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Then {
    More,
    /// The body was whole; these are its trailers.
    End(Lines),
    /// It broke off.
    Broken(Trouble),
}

/// Why an exchange did not succeed: those of WASI's error codes that the node can mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// The host is not on both lists.
    Denied,
    /// The name leads to an address that functions may not reach.
    AddressProhibited,
    NameTimeout,
    NameUnknown,
    Refused,
    Terminated,
    ConnectTimeout,
    ReadTimeout,
    Tls,
    InvalidTarget,
    TooManyExchanges,
    BodyTooLong,
    HeadTooLong,
    Incomplete,
    Protocol,
    Internal,
}

const TROUBLES: [Trouble; 16] = [
    Trouble::Denied,
    Trouble::AddressProhibited,
    Trouble::NameTimeout,
    Trouble::NameUnknown,
    Trouble::Refused,
    Trouble::Terminated,
    Trouble::ConnectTimeout,
    Trouble::ReadTimeout,
    Trouble::Tls,
    Trouble::InvalidTarget,
    Trouble::TooManyExchanges,
    Trouble::BodyTooLong,
    Trouble::HeadTooLong,
    Trouble::Incomplete,
    Trouble::Protocol,
    Trouble::Internal,
];

/// Node → worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToFunction {
    Request(Box<Request>),
    /// Answer to `Pull`.
    Piece {
        stream: u32,
        now: u64,
        piece: Piece,
    },
    /// Answer to `Send`.
    Response {
        exchange: u32,
        now: u64,
        response: Result<ResponseHead, Trouble>,
    },
    /// Answer to `Sleep`.
    Woken {
        now: u64,
    },
}

/// Worker → node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromFunction {
    /// Part of the response: its head once, then pieces; whatever fits goes in one frame.
    Answer {
        head: Option<ResponseHead>,
        piece: Option<Piece>,
        done: Option<Box<Done>>,
    },
    /// The next piece of a body is wanted.
    Pull {
        stream: u32,
    },
    /// A request to somebody else. Its body follows in `SendMore` while `more`.
    Send {
        exchange: u32,
        head: RequestHead,
        body: Bytes,
        more: bool,
        /// Nanoseconds to wait for the response's head; 0: as long as the node likes.
        patience: u64,
    },
    SendMore {
        exchange: u32,
        body: Bytes,
        more: bool,
    },
    /// Wake me after so many nanoseconds. Replaces an earlier one.
    Sleep {
        nanos: u64,
    },
}

/// The last word about a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    pub end: End,
    pub fuel: u64,
    /// Bytes of linear memory at their most.
    pub memory: u64,
    /// The beginning of what it wrote to stdout and stderr.
    pub notes: Bytes,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    Returned,
    /// The fuel is used up.
    OutOfFuel,
    /// It trapped, ran into another limit, or gave no response.
    Fault(String),
    /// This host could not do it.
    Host(String),
}

fn write_lines(w: &mut Writer<'_>, lines: &Lines) {
    w.each(lines, |w, (name, value)| {
        w.text(name).bytes(value);
    });
}

fn read_lines(r: &mut Reader<'_>) -> Result<Lines, DecodeError> {
    let mut length = 0;
    let lines = r.each("header lines", MAX_LINES, |r| {
        let line = (r.text("name", MAX_HEAD)?, r.owned("value", MAX_HEAD)?);
        length += line.0.len() + line.1.len();
        Ok(line)
    })?;
    if length > MAX_HEAD {
        return Err(DecodeError::TooMany { what: "header bytes", length, limit: MAX_HEAD });
    }
    Ok(lines)
}

impl RequestHead {
    fn write(&self, w: &mut Writer<'_>) {
        w.text(&self.method).bool(self.https).text(&self.authority).text(&self.target);
        write_lines(w, &self.lines);
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(RequestHead {
            method: r.text("method", MAX_METHOD)?,
            https: r.bool("scheme")?,
            authority: r.text("authority", MAX_TARGET)?,
            target: r.text("target", MAX_TARGET)?,
            lines: read_lines(r)?,
        })
    }
}

impl ResponseHead {
    fn write(&self, w: &mut Writer<'_>) {
        w.u32(self.status.into());
        write_lines(w, &self.lines);
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let value = r.u32("status")?;
        let status = u16::try_from(value).ok().filter(|status| (100..1000).contains(status));
        let unknown = DecodeError::Unknown { what: "status", value: value.into() };
        Ok(ResponseHead { status: status.ok_or(unknown)?, lines: read_lines(r)? })
    }
}

impl Trouble {
    fn write(self, w: &mut Writer<'_>) {
        w.u8(TROUBLES.iter().position(|other| *other == self).unwrap_or(TROUBLES.len() - 1) as u8);
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let value = r.u8("trouble")?;
        let known = TROUBLES.get(usize::from(value)).copied();
        known.ok_or(DecodeError::Unknown { what: "trouble", value: value.into() })
    }
}

impl Piece {
    /// A body's end, without trailers.
    pub fn last(bytes: Bytes) -> Self {
        Piece { bytes, then: Then::End(Vec::new()) }
    }

    fn write(&self, w: &mut Writer<'_>) {
        w.bytes(&self.bytes);
        match &self.then {
            Then::More => {
                w.u8(0);
            }
            Then::End(lines) => {
                w.u8(1);
                write_lines(w, lines);
            }
            Then::Broken(trouble) => {
                w.u8(2);
                trouble.write(w);
            }
        }
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let bytes = r.owned("piece", MAX_PIECE)?;
        let then = match r.u8("end")? {
            0 => Then::More,
            1 => Then::End(read_lines(r)?),
            2 => Then::Broken(Trouble::read(r)?),
            value => return Err(DecodeError::Unknown { what: "end", value: value.into() }),
        };
        Ok(Piece { bytes, then })
    }
}

impl Message for ToFunction {
    fn write(&self, w: &mut Writer<'_>) {
        match self {
            ToFunction::Request(request) => {
                w.u8(0).u64(request.now).raw(&request.seed);
                w.u64(request.allowance.fuel).u64(request.allowance.memory);
                request.head.write(w);
                request.body.write(w);
            }
            ToFunction::Piece { stream, now, piece } => {
                w.u8(1).u32(*stream).u64(*now);
                piece.write(w);
            }
            ToFunction::Response { exchange, now, response } => {
                w.u8(2).u32(*exchange).u64(*now).bool(response.is_ok());
                match response {
                    Ok(head) => head.write(w),
                    Err(trouble) => trouble.write(w),
                }
            }
            ToFunction::Woken { now } => {
                w.u8(3).u64(*now);
            }
        }
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match r.u8("tag")? {
            0 => ToFunction::Request(Box::new(Request {
                now: r.u64("time")?,
                seed: r.array("seed")?,
                allowance: Allowance { fuel: r.u64("fuel")?, memory: r.u64("memory")? },
                head: RequestHead::read(r)?,
                body: Piece::read(r)?,
            })),
            1 => ToFunction::Piece { stream: r.u32("stream")?, now: r.u64("time")?, piece: Piece::read(r)? },
            2 => ToFunction::Response {
                exchange: r.u32("exchange")?,
                now: r.u64("time")?,
                response: match r.bool("response")? {
                    true => Ok(ResponseHead::read(r)?),
                    false => Err(Trouble::read(r)?),
                },
            },
            3 => ToFunction::Woken { now: r.u64("time")? },
            value => return Err(DecodeError::Unknown { what: "message", value: value.into() }),
        })
    }
}

impl Message for FromFunction {
    fn write(&self, w: &mut Writer<'_>) {
        match self {
            FromFunction::Answer { head, piece, done } => {
                w.u8(0);
                w.optional(head.as_ref(), |w, head| head.write(w));
                w.optional(piece.as_ref(), |w, piece| piece.write(w));
                w.optional(done.as_ref(), |w, done| {
                    match &done.end {
                        End::Returned => w.u8(0),
                        End::OutOfFuel => w.u8(1),
                        End::Fault(detail) => w.u8(2).detail(detail),
                        End::Host(detail) => w.u8(3).detail(detail),
                    };
                    w.u64(done.fuel).u64(done.memory).bytes(&done.notes);
                });
            }
            FromFunction::Pull { stream } => {
                w.u8(1).u32(*stream);
            }
            FromFunction::Send { exchange, head, body, more, patience } => {
                w.u8(2).u32(*exchange);
                head.write(w);
                w.bytes(body).bool(*more).u64(*patience);
            }
            FromFunction::SendMore { exchange, body, more } => {
                w.u8(3).u32(*exchange).bytes(body).bool(*more);
            }
            FromFunction::Sleep { nanos } => {
                w.u8(4).u64(*nanos);
            }
        }
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match r.u8("tag")? {
            0 => FromFunction::Answer {
                head: r.optional("head", ResponseHead::read)?,
                piece: r.optional("piece", Piece::read)?,
                done: r.optional("done", |r| {
                    let end = match r.u8("end")? {
                        0 => End::Returned,
                        1 => End::OutOfFuel,
                        2 => End::Fault(r.detail()?),
                        3 => End::Host(r.detail()?),
                        value => return Err(DecodeError::Unknown { what: "end", value: value.into() }),
                    };
                    let (fuel, memory) = (r.u64("fuel")?, r.u64("memory")?);
                    Ok(Box::new(Done { end, fuel, memory, notes: r.owned("notes", MAX_NOTES)? }))
                })?,
            },
            1 => FromFunction::Pull { stream: r.u32("stream")? },
            2 => FromFunction::Send {
                exchange: r.u32("exchange")?,
                head: RequestHead::read(r)?,
                body: r.owned("body", MAX_PIECE)?,
                more: r.bool("more")?,
                patience: r.u64("patience")?,
            },
            3 => FromFunction::SendMore {
                exchange: r.u32("exchange")?,
                body: r.owned("body", MAX_PIECE)?,
                more: r.bool("more")?,
            },
            4 => FromFunction::Sleep { nanos: r.u64("time")? },
            value => return Err(DecodeError::Unknown { what: "message", value: value.into() }),
        })
    }
}

// The largest legal parts fit into a frame together.
const _: () = assert!(
    MAX_HEAD + 8 * MAX_LINES + 2 * MAX_TARGET + MAX_METHOD + MAX_PIECE + 256 < crate::channel::MAX_FRAME
);
const _: () = assert!(2 * (MAX_HEAD + 8 * MAX_LINES) < crate::channel::MAX_FRAME - MAX_NOTES - 8192);

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(count: usize, value: usize) -> Lines {
        (0..count).map(|n| (format!("x-{n}"), Bytes::from(vec![b'v'; value]))).collect()
    }

    fn encoded(message: &impl Message) -> Vec<u8> {
        let mut frame = Vec::new();
        message.encode(&mut frame);
        frame
    }

    #[test]
    fn frames_say_what_was_said() {
        let head = RequestHead {
            method: "POST".into(),
            https: true,
            authority: "example.org".into(),
            target: "/a?b".into(),
            lines: lines(3, 5),
        };
        let request = ToFunction::Request(Box::new(Request {
            now: 7,
            seed: [9; 32],
            allowance: Allowance { fuel: 1, memory: 2 },
            head: head.clone(),
            body: Piece { bytes: Bytes::from_static(b"body"), then: Then::Broken(Trouble::Incomplete) },
        }));
        assert_eq!(ToFunction::decode(&encoded(&request), 0).unwrap(), request);
        let response = ResponseHead { status: 204, lines: lines(1, 1) };
        for response in [Ok(response.clone()), Err(Trouble::Internal), Err(Trouble::Denied)] {
            let message = ToFunction::Response { exchange: 3, now: 4, response };
            assert_eq!(ToFunction::decode(&encoded(&message), 0).unwrap(), message);
        }
        let done = Done { end: End::Fault("no".into()), fuel: 1, memory: 2, notes: Bytes::from_static(b"n") };
        let answer = FromFunction::Answer {
            head: Some(response),
            piece: Some(Piece { bytes: Bytes::new(), then: Then::End(lines(2, 2)) }),
            done: Some(Box::new(done)),
        };
        assert_eq!(FromFunction::decode(&encoded(&answer), 0).unwrap(), answer);
        let send = FromFunction::Send { exchange: 1, head, body: Bytes::new(), more: true, patience: 5 };
        assert_eq!(FromFunction::decode(&encoded(&send), 0).unwrap(), send);
    }

    #[test]
    fn a_hostile_worker_exceeds_no_limit() {
        let answer = |status, lines| FromFunction::Answer {
            head: Some(ResponseHead { status, lines }),
            piece: None,
            done: None,
        };
        assert!(FromFunction::decode(&encoded(&answer(200, lines(MAX_LINES, 10))), 0).is_ok());
        for wrong in [
            answer(200, lines(MAX_LINES + 1, 1)),
            answer(200, lines(2, MAX_HEAD / 2)),
            answer(99, lines(0, 0)),
            answer(1000, lines(0, 0)),
            FromFunction::Answer {
                head: None,
                piece: Some(Piece::last(vec![0; MAX_PIECE + 1].into())),
                done: None,
            },
        ] {
            assert!(FromFunction::decode(&encoded(&wrong), 0).is_err(), "{wrong:?}");
        }
        let good = encoded(&answer(200, lines(3, 3)));
        for end in 0..good.len() {
            assert!(FromFunction::decode(&good[..end], 0).is_err());
        }
    }
}
