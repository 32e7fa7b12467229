//! One request, from its head to the worker's last word.
//!
//! Bodies are pulled piece by piece, by whoever is to have them, so neither end can fill the other's memory. What the
//! worker says is a stranger's word: whatever makes no sense ends the worker, and nothing else. Until the response's
//! head is known everything can still become a 502 or 504; afterwards the body breaks off.

use std::{
    collections::HashMap,
    convert::Infallible,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use adit_node::functions::Counts;
use adit_wire::{
    codec::Message as _,
    http::{
        Allowance, Done, End, FromFunction, Lines, MAX_EXCHANGES, MAX_PIECE, Piece, REQUEST_BODY,
        RequestHead, ResponseHead, Then, ToFunction, Trouble,
    },
};
use bytes::{Bytes, BytesMut};
use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use http_body_util::{BodyExt as _, Full, combinators::UnsyncBoxBody};
use hyper::{
    Response, StatusCode,
    body::{Body as _, Frame, Incoming},
};
use tokio::sync::mpsc;

use crate::{
    head,
    outgoing::{Allowed, MAX_RECEIVED, MAX_SENT, Outgoing},
    pool::Lent,
};

/// What a response's body is.
pub(crate) type Body = UnsyncBoxBody<Bytes, BrokenOff>;

/// A body of a function that ended before its end.
#[derive(Debug)]
pub(crate) struct BrokenOff;

impl std::fmt::Display for BrokenOff {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the function did not finish its response")
    }
}

impl std::error::Error for BrokenOff {}

/// A body of up to this size comes before a worker is taken, and goes with the request.
pub(crate) const TAKEN_ALONG: usize = 32 << 10;
/// Longest response.
const MAX_RESPONSE: u64 = 1 << 30;
/// How long a client may take to take a piece of a response.
const CLIENT_PATIENCE: Duration = Duration::from_secs(30);
/// Requests to others that one request may have under way.
const AT_ONCE: usize = 8;

/// What a request may use, and whom it may ask.
pub(crate) struct Terms {
    pub(crate) allowance: Allowance,
    pub(crate) until: Instant,
    pub(crate) max_body: u64,
    pub(crate) allowed: Allowed,
    pub(crate) outgoing: Outgoing,
}

/// Where figures of this request go.
pub(crate) trait Tally: Send + Sync + 'static {
    fn counts(&self) -> &Counts;
    fn name(&self) -> String;
}

pub(crate) fn plain(status: StatusCode, text: &str) -> Response<Body> {
    let mut response = Response::new(full(format!("{text}\n").into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert("content-type", hyper::header::HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert("x-content-type-options", hyper::header::HeaderValue::from_static("nosniff"));
    response
}

fn full(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never: Infallible| match never {}).boxed_unsync()
}

/// The beginning of a request's body: all of it, if it is short and its length is known. The error is the answer.
pub(crate) async fn first_piece(body: &mut Incoming, until: Instant) -> Result<Piece, StatusCode> {
    if body.is_end_stream() {
        return Ok(Piece::last(Bytes::new()));
    }
    if body.size_hint().exact().is_none_or(|length| length > TAKEN_ALONG as u64) {
        return Ok(Piece { bytes: Bytes::new(), then: Then::More });
    }
    let collected = tokio::time::timeout_at(until.into(), body.collect()).await;
    let collected =
        collected.map_err(|_| StatusCode::REQUEST_TIMEOUT)?.map_err(|_| StatusCode::BAD_REQUEST)?;
    Ok(Piece::last(collected.to_bytes()))
}

/// A body on its way to the worker.
struct Coming {
    body: Incoming,
    /// What came and did not fit into a piece.
    rest: Bytes,
    /// How many bytes may still come.
    left: u64,
}

enum Event {
    Piece(u32, Option<Box<Coming>>, Piece),
    Response(u32, Result<(ResponseHead, Incoming), Trouble>),
}

/// One conversation.
pub(crate) struct Exchange {
    lent: Lent,
    terms: Terms,
    tally: Arc<dyn Tally>,
    began: Instant,
    coming: HashMap<u32, Box<Coming>>,
    open: FuturesUnordered<BoxFuture<'static, Event>>,
    /// Requests whose bodies are still collected.
    sending: HashMap<u32, (RequestHead, BytesMut, u64)>,
    sent: u32,
    under_way: usize,
    sleep: Option<Pin<Box<tokio::time::Sleep>>>,
    answered: u64,
    over: bool,
}

/// What the worker says of its response.
struct Part {
    head: Option<ResponseHead>,
    piece: Option<Piece>,
    done: Option<Box<Done>>,
}

/// Why a conversation ended early.
enum Broken {
    Late,
    Worker(String),
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos() as u64)
}

impl Exchange {
    pub(crate) fn new(lent: Lent, terms: Terms, tally: Arc<dyn Tally>) -> Self {
        Exchange {
            lent,
            terms,
            tally,
            began: Instant::now(),
            coming: HashMap::new(),
            open: FuturesUnordered::new(),
            sending: HashMap::new(),
            sent: 0,
            under_way: 0,
            sleep: None,
            answered: 0,
            over: false,
        }
    }

    /// Leads the worker through a request as far as the head of the response. A body that is not whole by then goes on
    /// by itself.
    pub(crate) async fn answer(mut self, head: RequestHead, first: Piece, body: Incoming) -> Response<Body> {
        let only_head = head.method == "HEAD";
        let left = self.terms.max_body.saturating_sub(first.bytes.len() as u64);
        self.count_in(first.bytes.len());
        if first.then == Then::More {
            self.coming.insert(REQUEST_BODY, Box::new(Coming { body, rest: Bytes::new(), left }));
        }
        let mut seed = [0; 32];
        if getrandom::fill(&mut seed).is_err() {
            return self.fail("the node has no randomness");
        }
        let allowance = self.terms.allowance;
        let request = adit_wire::http::Request { now: now(), seed, allowance, head, body: first };
        if let Err(broken) = self.send(&ToFunction::Request(Box::new(request))).await {
            return self.refuse(broken);
        }
        let part = match self.next_part().await {
            Ok(part) if part.head.is_none() && part.done.is_none() => {
                return self.fail("a body without a head");
            }
            Ok(part) => part,
            Err(broken) => return self.refuse(broken),
        };
        let Part { head, piece, done } = part;
        let Some(head) = head else {
            let status = match done.as_ref().map(|done| &done.end) {
                Some(End::OutOfFuel) => StatusCode::GATEWAY_TIMEOUT,
                _ => StatusCode::BAD_GATEWAY,
            };
            if let Some(done) = done {
                self.finish(*done, true);
            }
            let text = match status {
                StatusCode::GATEWAY_TIMEOUT => "the function computed for too long",
                _ => "the function failed",
            };
            return plain(status, text);
        };
        let status = StatusCode::from_u16(head.status).unwrap_or(StatusCode::BAD_GATEWAY);
        let mut headers = head::headers(head.lines);
        let piece = piece.unwrap_or(Piece { bytes: Bytes::new(), then: Then::More });
        let whole = matches!(&piece.then, Then::End(trailers) if trailers.is_empty());
        let mut response = if let (true, Some(done)) = (whole, done.as_ref()) {
            self.count_out(piece.bytes.len());
            let failed = done.end != End::Returned;
            self.finish(Done::clone(done), failed);
            if !only_head {
                headers.remove("content-length");
            }
            Response::new(full(piece.bytes))
        } else {
            let length = headers.get("content-length").and_then(|value| value.to_str().ok());
            if length.is_some_and(|length| length.parse::<u64>().is_err()) {
                headers.remove("content-length");
            }
            let (pieces, receive) = mpsc::channel(2);
            tokio::spawn(self.go_on(pieces, piece, done));
            let stream = futures::stream::unfold(receive, async |mut receive| {
                receive.recv().await.map(|frame: Result<Frame<Bytes>, BrokenOff>| (frame, receive))
            });
            Response::new(http_body_util::StreamBody::new(stream).boxed_unsync())
        };
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response
    }

    /// Carries the rest of a response to whoever reads it.
    async fn go_on(
        mut self,
        pieces: mpsc::Sender<Result<Frame<Bytes>, BrokenOff>>,
        mut piece: Piece,
        mut done: Option<Box<Done>>,
    ) {
        let mut ended = false;
        loop {
            self.answered += piece.bytes.len() as u64;
            self.count_out(piece.bytes.len());
            let mut frames = Vec::with_capacity(2);
            if !piece.bytes.is_empty() {
                frames.push(Ok(Frame::data(piece.bytes)));
            }
            match piece.then {
                Then::More => {}
                Then::End(trailers) if !ended => {
                    ended = true;
                    if !trailers.is_empty() {
                        frames.push(Ok(Frame::trailers(head::headers(trailers))));
                    }
                }
                Then::End(_) | Then::Broken(_) => frames.push(Err(BrokenOff)),
            }
            if self.answered > MAX_RESPONSE {
                frames.push(Err(BrokenOff));
            }
            for frame in frames {
                let broken = frame.is_err();
                // A client that takes nothing, or that has gone: the worker is ended with us.
                let sent = tokio::time::timeout(CLIENT_PATIENCE, pieces.send(frame)).await;
                if broken || !matches!(sent, Ok(Ok(()))) {
                    return self.failed();
                }
            }
            if let Some(done) = done {
                let failed = done.end != End::Returned || !ended;
                self.finish(*done, failed);
                if !ended {
                    let _ = tokio::time::timeout(CLIENT_PATIENCE, pieces.send(Err(BrokenOff))).await;
                }
                return;
            }
            let next = tokio::select! {
                next = self.next_part() => next,
                () = pieces.closed(), if !ended => return self.failed(),
            };
            match next {
                Ok(part) if part.head.is_none() => {
                    piece = part.piece.unwrap_or(Piece { bytes: Bytes::new(), then: Then::More });
                    done = part.done;
                }
                _ => {
                    let _ = tokio::time::timeout(CLIENT_PATIENCE, pieces.send(Err(BrokenOff))).await;
                    return self.failed();
                }
            }
        }
    }

    /// The next part of the response. Everything else that happens is attended to meanwhile.
    async fn next_part(&mut self) -> Result<Part, Broken> {
        enum Heard {
            Frame(FromFunction),
            Event(Event),
            Woken,
        }
        loop {
            let until = tokio::time::Instant::from_std(self.terms.until);
            let worker = self.lent.worker();
            let heard = tokio::select! {
                biased;
                frame = worker.process.channel.receive(&mut worker.inbox) => {
                    let frame = frame.map_err(|error| Broken::Worker(error.to_string()))?;
                    let frame = frame.ok_or_else(|| Broken::Worker("its process ended".into()))?;
                    let message = FromFunction::decode(frame.bytes, frame.descriptors.len());
                    Heard::Frame(message.map_err(|error| Broken::Worker(format!("a malformed frame: {error}")))?)
                }
                Some(event) = self.open.next(), if !self.open.is_empty() => Heard::Event(event),
                () = async { if let Some(sleep) = &mut self.sleep { sleep.await } }, if self.sleep.is_some() => {
                    Heard::Woken
                }
                () = tokio::time::sleep_until(until) => return Err(Broken::Late),
            };
            match heard {
                Heard::Frame(FromFunction::Answer { head, piece, done }) => {
                    return Ok(Part { head, piece, done });
                }
                Heard::Frame(other) => self.hear(other).await?,
                Heard::Event(event) => self.happen(event).await?,
                Heard::Woken => {
                    self.sleep = None;
                    self.send(&ToFunction::Woken { now: now() }).await?;
                }
            }
        }
    }

    async fn hear(&mut self, message: FromFunction) -> Result<(), Broken> {
        match message {
            FromFunction::Answer { .. } => Ok(()),
            FromFunction::Pull { stream } => match self.coming.remove(&stream) {
                Some(coming) => {
                    self.open.push(next_piece(stream, coming).boxed());
                    Ok(())
                }
                None => Err(Broken::Worker("a body that is not there, or already pulled".into())),
            },
            FromFunction::Sleep { nanos } => {
                let until =
                    Instant::now().checked_add(Duration::from_nanos(nanos)).unwrap_or(self.terms.until);
                self.sleep = Some(Box::pin(tokio::time::sleep_until(until.into())));
                Ok(())
            }
            FromFunction::Send { exchange, head, body, more, patience } => {
                self.sent += 1;
                if exchange == REQUEST_BODY || self.sending.contains_key(&exchange) {
                    return Err(Broken::Worker("an exchange's number twice".into()));
                }
                if more {
                    if self.sending.len() >= AT_ONCE {
                        return Err(Broken::Worker("too many requests with unfinished bodies".into()));
                    }
                    self.sending.insert(exchange, (head, BytesMut::from(&*body), patience));
                    return Ok(());
                }
                self.go_out(exchange, head, body, patience).await
            }
            FromFunction::SendMore { exchange, body, more } => {
                let Some((head, mut collected, patience)) = self.sending.remove(&exchange) else {
                    return Err(Broken::Worker("more of a request that was not begun".into()));
                };
                collected.extend_from_slice(&body);
                if collected.len() > MAX_SENT {
                    return Err(Broken::Worker("a request's body that is too long".into()));
                }
                if more {
                    self.sending.insert(exchange, (head, collected, patience));
                    return Ok(());
                }
                self.go_out(exchange, head, collected.freeze(), patience).await
            }
        }
    }

    /// Sends a request to somebody else.
    async fn go_out(
        &mut self,
        exchange: u32,
        head: RequestHead,
        body: Bytes,
        patience: u64,
    ) -> Result<(), Broken> {
        if self.sent > MAX_EXCHANGES || self.under_way >= AT_ONCE {
            let response = Err(Trouble::TooManyExchanges);
            return self.send(&ToFunction::Response { exchange, now: now(), response }).await;
        }
        self.under_way += 1;
        let (outgoing, allowed) = (self.terms.outgoing.clone(), self.terms.allowed.clone());
        let patience = if patience == 0 { Duration::from_secs(3600) } else { Duration::from_nanos(patience) };
        self.open.push(
            async move {
                let sent = tokio::time::timeout(patience, outgoing.send(&allowed, head, body)).await;
                Event::Response(exchange, sent.unwrap_or(Err(Trouble::ReadTimeout)))
            }
            .boxed(),
        );
        Ok(())
    }

    async fn happen(&mut self, event: Event) -> Result<(), Broken> {
        let now = now();
        match event {
            Event::Piece(stream, coming, piece) => {
                if stream == REQUEST_BODY {
                    self.count_in(piece.bytes.len());
                }
                if let Some(coming) = coming {
                    self.coming.insert(stream, coming);
                }
                self.send(&ToFunction::Piece { stream, now, piece }).await
            }
            Event::Response(exchange, response) => {
                self.under_way -= 1;
                let counts = self.tally.counts();
                let denied = matches!(response, Err(Trouble::Denied | Trouble::AddressProhibited));
                Counts::add(if denied { &counts.denied } else { &counts.sent }, 1);
                let response = response.map(|(head, body)| {
                    let coming = Coming { body, rest: Bytes::new(), left: MAX_RECEIVED };
                    self.coming.insert(exchange, Box::new(coming));
                    head
                });
                self.send(&ToFunction::Response { exchange, now, response }).await
            }
        }
    }

    /// The worker reads while it waits; one that does not is ended when the time is up.
    async fn send(&mut self, message: &ToFunction) -> Result<(), Broken> {
        let until = self.terms.until;
        let worker = self.lent.worker();
        message.encode(&mut worker.frame);
        let sent = worker.process.channel.send(&worker.frame, &[]);
        match tokio::time::timeout_at(until.into(), sent).await {
            Err(_) => Err(Broken::Late),
            Ok(sent) => sent.map_err(|error| Broken::Worker(error.to_string())),
        }
    }

    fn count_in(&self, bytes: usize) {
        Counts::add(&self.tally.counts().bytes_in, bytes as u64);
    }

    fn count_out(&self, bytes: usize) {
        Counts::add(&self.tally.counts().bytes_out, bytes as u64);
    }

    /// The worker's last word: it is free for the next request.
    fn finish(mut self, done: Done, failed: bool) {
        self.over = true;
        let counts = self.tally.counts();
        Counts::add(&counts.requests, 1);
        Counts::add(&counts.failed, failed.into());
        Counts::add(&counts.fuel, done.fuel.min(self.terms.allowance.fuel));
        Counts::add(&counts.micros, self.began.elapsed().as_micros() as u64);
        counts.memory.fetch_max(done.memory.min(self.terms.allowance.memory), Ordering::Relaxed);
        if failed {
            let reason = match &done.end {
                End::Returned => "it did not finish its response",
                End::OutOfFuel => "its fuel is used up",
                End::Fault(detail) | End::Host(detail) => detail,
            };
            tracing::info!(function = self.tally.name(), ?reason, "a request failed");
        }
        if !done.notes.is_empty() {
            // Debug form: what a guest wrote does not reach the operator's terminal as it is.
            let notes = String::from_utf8_lossy(&done.notes);
            tracing::info!(function = self.tally.name(), ?notes, "a function wrote");
        }
        if !matches!(done.end, End::Host(_)) {
            self.give_back();
        }
    }

    fn give_back(self) {
        // The futures of this request go first: nothing of it may reach the worker after its end.
        let Exchange { lent, open, .. } = self;
        drop(open);
        lent.give_back();
    }

    fn failed(self) {
        let counts = self.tally.counts();
        Counts::add(&counts.requests, 1);
        Counts::add(&counts.failed, 1);
        Counts::add(&counts.micros, self.began.elapsed().as_micros() as u64);
    }

    fn refuse(self, broken: Broken) -> Response<Body> {
        match broken {
            Broken::Late => {
                tracing::info!(function = self.tally.name(), "a request took too long");
                self.failed();
                plain(StatusCode::GATEWAY_TIMEOUT, "the function took too long")
            }
            Broken::Worker(reason) => self.fail(&reason),
        }
    }

    fn fail(self, reason: &str) -> Response<Body> {
        tracing::warn!(function = self.tally.name(), ?reason, "a function's worker was ended");
        self.failed();
        plain(StatusCode::BAD_GATEWAY, "the function failed")
    }
}

/// The next piece of a body, and the body if there may be more.
async fn next_piece(stream: u32, mut coming: Box<Coming>) -> Event {
    let mut trailers: Lines = Vec::new();
    while coming.rest.is_empty() {
        match coming.body.frame().await {
            None => {
                return Event::Piece(stream, None, Piece { bytes: Bytes::new(), then: Then::End(trailers) });
            }
            Some(Err(_)) => {
                let then = Then::Broken(Trouble::Incomplete);
                return Event::Piece(stream, None, Piece { bytes: Bytes::new(), then });
            }
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => coming.rest = data,
                Err(frame) => {
                    let map = frame.into_trailers().unwrap_or_default();
                    trailers = head::lines(&map).unwrap_or_default();
                }
            },
        }
    }
    let piece = coming.rest.split_to(coming.rest.len().min(MAX_PIECE));
    match coming.left.checked_sub(piece.len() as u64) {
        Some(left) => coming.left = left,
        None => {
            let then = Then::Broken(Trouble::BodyTooLong);
            return Event::Piece(stream, None, Piece { bytes: Bytes::new(), then });
        }
    }
    let whole = coming.rest.is_empty() && coming.body.is_end_stream();
    let then = if whole { Then::End(Vec::new()) } else { Then::More };
    Event::Piece(stream, (!whole).then_some(coming), Piece { bytes: piece, then })
}
