//! `wasi:http` for functions: one request, the response to it, and requests to others on the way.
//!
//! The node does all HTTP; what is here are its words as WASI has them ([`fields`], [`incoming`], [`outgoing`]), and one
//! place where a function waits. Bodies come by pieces, each asked for, so nothing piles up here. What a function
//! writes as its response is kept until there is enough to be worth a frame, or until it waits, or is done: a short
//! answer is one frame, head, body and last word together. Bodies of requests to others leave when they are finished.

// `bindgen!` re-exports the types that stand for resources, which it can only do with public ones.
#![expect(unreachable_pub)]

mod fields;
mod incoming;
mod outgoing;

pub(crate) use adit_wire::http::{Done, End, Request};
pub use fields::Fields;
pub use incoming::{FutureResponse, FutureTrailers, IncomingBody, IncomingRequest, IncomingResponse};
pub use outgoing::{OutgoingBody, OutgoingRequest, OutgoingResponse, Outparam, RequestOptions};

use super::{
    Host,
    function_bindings::wasi::http::types::{self, ErrorCode},
    stop::Stop,
    streams::{Failure, StreamError},
    time::{On, Pollable},
};
use crate::fault::{Fault, FaultKind, LimitKind};
use adit_wire::{
    Channel, Inbox, Message,
    http::{
        FromFunction, Lines, MAX_NOTES, MAX_PIECE, Piece, REQUEST_BODY, RequestHead, ResponseHead, Then,
        ToFunction, Trouble,
    },
};
use bytes::Bytes;
use std::{collections::BTreeMap, sync::Arc};
use wasmtime::{Result, component::Resource};

/// A response's bytes leave when there are so many.
const ENOUGH: usize = 16 << 10;

/// Most bytes of one frame of the response: its head and trailers have to fit beside them.
const ANSWER_PIECE: usize = 32 << 10;

/// Longest body of a request to somebody else, and most that is kept of a response that has no head yet.
const MAX_KEPT: usize = 4 << 20;

/// How a call of `wasi:http` fails.
#[derive(Debug)]
pub enum HttpError {
    Code(ErrorCode),
    Stop(wasmtime::Error),
}

impl<E: Into<wasmtime::Error>> From<E> for HttpError {
    fn from(error: E) -> Self {
        HttpError::Stop(error.into())
    }
}

/// What the node told of a request, and what is known of everything that came of it.
pub(crate) struct Function {
    channel: Arc<Channel>,
    inbox: Inbox,
    frame: Vec<u8>,
    /// When the request came, in nanoseconds since 1970.
    began: u64,
    coming: BTreeMap<u32, Coming>,
    responses: BTreeMap<u32, Waited>,
    going: BTreeMap<u32, Going>,
    /// The response was given: its body's number, if it has one.
    answer: Option<u32>,
    /// Not sent yet.
    head: Option<ResponseHead>,
    /// The end of the response's body is on its way.
    ended: bool,
    last_number: u32,
    asleep_until: Option<u64>,
    notes: Vec<u8>,
}

/// A body on its way to the guest.
struct Coming {
    bytes: Bytes,
    end: Option<Result<Lines, Trouble>>,
    pulled: bool,
}

/// A response on its way to the guest.
enum Waited {
    /// The request's body is not finished.
    Unsent {
        head: Box<RequestHead>,
        patience: u64,
    },
    Sent,
    Here(Result<ResponseHead, Trouble>),
    Taken,
}

/// A body that the guest writes.
#[derive(Default)]
struct Going {
    bytes: Vec<u8>,
    end: Option<Lines>,
}

impl Function {
    /// Takes on a request; the head is for the guest.
    pub(crate) fn new(channel: Arc<Channel>, now: u64, body: Piece) -> Self {
        let mut function = Function {
            channel,
            inbox: Inbox::new(),
            frame: Vec::new(),
            began: now,
            coming: BTreeMap::new(),
            responses: BTreeMap::new(),
            going: BTreeMap::new(),
            answer: None,
            head: None,
            ended: false,
            last_number: REQUEST_BODY,
            asleep_until: None,
            notes: Vec::new(),
        };
        function.coming.insert(REQUEST_BODY, Coming::new());
        function.take(REQUEST_BODY, body);
        function
    }

    /// What time it is, so long after the request came.
    pub(super) fn wall(&self, elapsed: u64) -> u64 {
        self.began.saturating_add(elapsed)
    }

    /// Keeps the beginning of what is written to stdout and stderr.
    pub(super) fn note(&mut self, bytes: &[u8]) {
        let room = MAX_NOTES - self.notes.len();
        self.notes.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn number(&mut self) -> u32 {
        self.last_number += 1;
        self.last_number
    }

    fn send(&mut self, message: &FromFunction) -> Result<(), Stop> {
        message.encode(&mut self.frame);
        let sent = self.channel.send(&self.frame, &[]);
        sent.map_err(|error| Stop::Host(format!("the node is gone: {error}")))
    }

    fn take(&mut self, stream: u32, piece: Piece) {
        // A body that the guest has let go of is not waited for.
        let Some(coming) = self.coming.get_mut(&stream) else { return };
        coming.bytes = piece.bytes;
        coming.pulled = false;
        coming.end = match piece.then {
            Then::More => None,
            Then::End(trailers) => Some(Ok(trailers)),
            Then::Broken(trouble) => Some(Err(trouble)),
        };
    }

    /// One frame of the node. `None`: there is none, and it was not to be waited for. Else the time since the beginning.
    fn hear(&mut self, wait: bool) -> Result<Option<u64>, Stop> {
        let received = match wait {
            true => self.channel.receive(&mut self.inbox),
            false => self.channel.try_receive(&mut self.inbox),
        };
        let frame = match received {
            Err(error) if !wait && error.kind() == std::io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(Stop::Host(format!("the node is gone: {error}"))),
            Ok(None) => return Err(Stop::Host("the node is gone".into())),
            Ok(Some(frame)) => frame,
        };
        let message = ToFunction::decode(frame.bytes, frame.descriptors.len());
        let message = message.map_err(|error| Stop::Host(format!("a malformed frame: {error}")))?;
        let now = match message {
            ToFunction::Request(_) => {
                return Err(Stop::Host("a request before the last one was done".into()));
            }
            ToFunction::Piece { stream, now, piece } => {
                self.take(stream, piece);
                now
            }
            ToFunction::Response { exchange, now, response } => {
                if let Some(waited @ Waited::Sent) = self.responses.get_mut(&exchange) {
                    *waited = Waited::Here(response);
                }
                now
            }
            ToFunction::Woken { now } => {
                let target = self.asleep_until.take().unwrap_or(0);
                now.max(self.wall(target))
            }
        };
        Ok(Some(now.saturating_sub(self.began)))
    }

    fn is_ready(&self, on: On) -> bool {
        match on {
            On::Nothing => true,
            On::Body(number) => {
                self.coming.get(&number).is_none_or(|c| !c.bytes.is_empty() || c.end.is_some())
            }
            On::Response(number) => {
                !matches!(self.responses.get(&number), Some(Waited::Sent | Waited::Unsent { .. }))
            }
        }
    }

    /// Asks for what is waited for. False: it will never come.
    fn ask(&mut self, on: On) -> Result<bool, Stop> {
        match on {
            On::Nothing => Ok(true),
            On::Response(number) => Ok(matches!(self.responses.get(&number), Some(Waited::Sent))),
            On::Body(stream) => {
                let Some(coming) = self.coming.get_mut(&stream) else { return Ok(true) };
                if !std::mem::replace(&mut coming.pulled, true) {
                    self.send(&FromFunction::Pull { stream })?;
                }
                Ok(true)
            }
        }
    }

    /// Sends what there is of the response.
    fn flush(&mut self) -> Result<(), Stop> {
        if let Some(message) = self.next_answer()? {
            self.send(&message)?;
        }
        Ok(())
    }

    /// Sends all of the response but what fits into one last frame, and gives that.
    fn next_answer(&mut self) -> Result<Option<FromFunction>, Stop> {
        let Some(number) = self.answer else { return Ok(None) };
        if self.ended {
            return Ok(None);
        }
        let going = self.going.entry(number).or_default();
        let (bytes, end) = (Bytes::from(std::mem::take(&mut going.bytes)), going.end.take());
        let last = bytes.len().saturating_sub(1) / ANSWER_PIECE * ANSWER_PIECE;
        for at in (0..last).step_by(ANSWER_PIECE) {
            let piece = Piece { bytes: bytes.slice(at..at + ANSWER_PIECE), then: Then::More };
            let head = self.head.take();
            self.send(&FromFunction::Answer { head, piece: Some(piece), done: None })?;
        }
        self.ended = end.is_some();
        if bytes.is_empty() && end.is_none() && self.head.is_none() {
            return Ok(None);
        }
        let piece = Piece { bytes: bytes.slice(last..), then: end.map_or(Then::More, Then::End) };
        Ok(Some(FromFunction::Answer { head: self.head.take(), piece: Some(piece), done: None }))
    }

    /// The last word, with what is left of the response.
    pub(crate) fn finish(&mut self, mut done: Done) -> Result<(), Stop> {
        done.notes = std::mem::take(&mut self.notes).into();
        let (head, piece) = match self.next_answer()? {
            Some(FromFunction::Answer { head, piece, .. }) => (head, piece),
            _ => (None, None),
        };
        self.send(&FromFunction::Answer { head, piece, done: Some(Box::new(done)) })
    }

    /// Whether the guest has given a response.
    pub(crate) fn has_answered(&self) -> bool {
        self.answer.is_some()
    }

    /// Sends a request whose body is whole.
    fn dispatch(&mut self, number: u32) -> Result<(), Stop> {
        let Some(waited) = self.responses.get_mut(&number) else { return Ok(()) };
        if !matches!(waited, Waited::Unsent { .. }) {
            return Ok(());
        }
        let Waited::Unsent { head, patience } = std::mem::replace(waited, Waited::Sent) else {
            return Ok(());
        };
        let body = Bytes::from(self.going.remove(&number).unwrap_or_default().bytes);
        // The head has to fit into the frame with the first piece.
        let first = body.len().min(ANSWER_PIECE);
        let more = first < body.len();
        let exchange = number;
        self.send(&FromFunction::Send { exchange, head: *head, body: body.slice(..first), more, patience })?;
        let mut at = first;
        while at < body.len() {
            let end = (at + MAX_PIECE).min(body.len());
            let more = end < body.len();
            self.send(&FromFunction::SendMore { exchange, body: body.slice(at..end), more })?;
            at = end;
        }
        Ok(())
    }
}

impl Coming {
    fn new() -> Self {
        Coming { bytes: Bytes::new(), end: None, pulled: false }
    }
}

/// The next request; `None` when the node has hung up. What is late from the last one is passed over.
pub(crate) fn next_request(channel: &Channel, inbox: &mut Inbox) -> std::io::Result<Option<Request>> {
    while let Some(frame) = channel.receive(inbox)? {
        if let ToFunction::Request(request) = ToFunction::decode(frame.bytes, frame.descriptors.len())? {
            return Ok(Some(*request));
        }
    }
    Ok(None)
}

fn none_waits() -> wasmtime::Error {
    let detail = "the function waits for something that cannot come";
    Stop::Fault(Fault::new(FaultKind::Trap, detail)).into()
}

impl Host {
    fn http(&mut self) -> Result<&mut Function, Stop> {
        let none = || Stop::Host("HTTP without a request".into());
        self.function.as_deref_mut().ok_or_else(none)
    }

    /// Waits until one of these is ready, and tells which are.
    pub(super) fn wait_for_any(&mut self, waited: &[Pollable]) -> Result<Vec<u32>> {
        loop {
            let now = self.clock.now;
            let function = self.http()?;
            let is_ready = |pollable: &Pollable| pollable.from <= now && function.is_ready(pollable.on);
            let ready: Vec<u32> = (0..)
                .zip(waited)
                .filter(|(_, pollable)| is_ready(pollable))
                .map(|(index, _)| index)
                .collect();
            if !ready.is_empty() {
                return Ok(ready);
            }
            function.flush()?;
            let mut hope = false;
            for pollable in waited {
                if pollable.on != On::Nothing {
                    hope |= function.ask(pollable.on)?;
                }
            }
            let moments = waited.iter().filter(|pollable| pollable.on == On::Nothing).map(|p| p.from);
            if let Some(moment) = moments.min() {
                hope = true;
                if function.asleep_until != Some(moment) {
                    function.asleep_until = Some(moment);
                    function.send(&FromFunction::Sleep { nanos: moment - now })?;
                }
            }
            if !hope {
                return Err(none_waits());
            }
            if let Some(now) = function.hear(true)? {
                self.clock.advance(now);
            }
            self.meter.charge(0)?;
        }
    }

    /// Whether it is ready now; if not, it is asked for.
    pub(super) fn look_at(&mut self, on: On) -> Result<bool> {
        while let Some(now) = self.http()?.hear(false)? {
            self.clock.advance(now);
        }
        let function = self.http()?;
        if function.is_ready(on) {
            return Ok(true);
        }
        function.flush()?;
        function.ask(on)?;
        Ok(false)
    }

    /// What has come of a body. Nothing, if the next piece is still on its way.
    pub(super) fn read_body(&mut self, number: u32, length: u64) -> Result<Vec<u8>, StreamError> {
        self.charge(0)?;
        if !self.look_at(On::Body(number)).map_err(StreamError::Stop)? {
            return Ok(Vec::new());
        }
        let function = self.http()?;
        let Some(coming) = function.coming.get_mut(&number) else { return Err(StreamError::Closed) };
        if coming.bytes.is_empty() {
            return Err(match coming.end {
                Some(Err(trouble)) => StreamError::Failed(Failure::Http(trouble)),
                _ => StreamError::Closed,
            });
        }
        let count = usize::try_from(length).unwrap_or(usize::MAX).min(coming.bytes.len());
        let bytes = coming.bytes.split_to(count);
        if coming.bytes.is_empty() && coming.end.is_none() {
            // The node can get it while the guest works on this one.
            function.ask(On::Body(number))?;
        }
        self.meter.pay(count as u64)?;
        Ok(bytes.into())
    }

    /// Adds to a body that goes out. Paid for by the caller.
    pub(super) fn write_body(&mut self, number: u32, bytes: &[u8]) -> Result<(), Stop> {
        let function = self.http()?;
        let going = function.going.entry(number).or_default();
        going.bytes.extend_from_slice(bytes);
        let (length, is_answer) = (going.bytes.len(), function.answer == Some(number));
        if is_answer && length >= ENOUGH {
            return function.flush();
        }
        if !is_answer && length > MAX_KEPT {
            let detail =
                "a body of more than 4 MiB: of a request to another server, or before the response was given";
            return Err(Stop::limit(LimitKind::Resources, detail));
        }
        Ok(())
    }
}

/// WASI's word for it.
pub(super) fn code_of(trouble: Trouble) -> ErrorCode {
    match trouble {
        Trouble::Denied => ErrorCode::HttpRequestDenied,
        Trouble::AddressProhibited => ErrorCode::DestinationIpProhibited,
        Trouble::NameTimeout => ErrorCode::DnsTimeout,
        Trouble::NameUnknown => {
            ErrorCode::DnsError(types::DnsErrorPayload { rcode: Some("NXDOMAIN".into()), info_code: None })
        }
        Trouble::Refused => ErrorCode::ConnectionRefused,
        Trouble::Terminated => ErrorCode::ConnectionTerminated,
        Trouble::ConnectTimeout => ErrorCode::ConnectionTimeout,
        Trouble::ReadTimeout => ErrorCode::HttpResponseTimeout,
        Trouble::Tls => ErrorCode::TlsProtocolError,
        Trouble::InvalidTarget => ErrorCode::HttpRequestUriInvalid,
        Trouble::TooManyExchanges => ErrorCode::ConnectionLimitReached,
        Trouble::BodyTooLong => ErrorCode::HttpResponseBodySize(None),
        Trouble::HeadTooLong => ErrorCode::HttpResponseHeaderSectionSize(None),
        Trouble::Incomplete => ErrorCode::HttpResponseIncomplete,
        Trouble::Protocol => ErrorCode::HttpProtocolError,
        Trouble::Internal => ErrorCode::InternalError(None),
    }
}

impl types::Host for Host {
    fn convert_error_code(&mut self, error: HttpError) -> Result<ErrorCode> {
        match error {
            HttpError::Code(code) => Ok(code),
            HttpError::Stop(error) => Err(error),
        }
    }

    fn http_error_code(&mut self, failure: Resource<Failure>) -> Result<Option<ErrorCode>> {
        self.charge(0)?;
        Ok(match self.table.get(&failure)? {
            Failure::Http(trouble) => Some(code_of(*trouble)),
            _ => None,
        })
    }
}
