//! One gateway: asking it for blocks, and what it was like so far.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use adit_unixfs::{block, limits::BLOCK};
use bytes::{Bytes, BytesMut};
use cid::Cid;
use http_body_util::{BodyExt as _, Empty};
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    body::Incoming,
    header::{ACCEPT, CACHE_CONTROL, CONTENT_LENGTH, HOST, RETRY_AFTER, USER_AGENT},
};
use hyper_util::client::legacy;
use parking_lot::Mutex;

use crate::{
    Client, Endpoint, FetchError, Limits, Trust,
    connect::{Http, NotPublic},
    limits::REFUSAL_BYTES,
};

const RAW: &str = "application/vnd.ipld.raw";
const AGENT: &str = concat!("adit/", env!("CARGO_PKG_VERSION"));
/// The longest pause that a busy gateway may ask for.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(60);

/// What a gateway may do for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Look for the block wherever it can.
    Fetch,
    /// Answer from what it holds (`Cache-Control: only-if-cached`). Some servers ignore it.
    IfHeld,
}

/// Whether a gateway says that it holds a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// It does not.
    No,
    /// It does.
    Yes {
        /// How long the block is, if it says so.
        len: Option<u64>,
    },
}

/// What came from one gateway so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Its URL.
    pub gateway: String,
    /// Blocks that were right, and their bytes.
    pub blocks: u64,
    pub bytes: u64,
    /// Requests for blocks that it does not have.
    pub absent: u64,
    /// Requests that failed.
    pub failed: u64,
    /// Answers that were something other than the block.
    pub lies: u64,
    /// Why it is not asked at the moment, if it is not.
    pub paused: Option<String>,
}

impl Tally {
    /// Counts another gateway's with this one's.
    pub fn add(&mut self, other: &Tally) {
        self.blocks += other.blocks;
        self.bytes += other.bytes;
        self.absent += other.absent;
        self.failed += other.failed;
        self.lies += other.lies;
    }
}

/// A trustless gateway. Share it in an `Arc`.
#[derive(Debug)]
pub struct Gateway {
    endpoint: Endpoint,
    http: Http,
    limits: Limits,
    blocks: AtomicU64,
    bytes: AtomicU64,
    absent: AtomicU64,
    failed: AtomicU64,
    lies: AtomicU64,
    /// Bytes of bodies, finished or not.
    arrived: AtomicU64,
    health: Mutex<Health>,
}

#[derive(Debug, Default)]
struct Health {
    failures: u32,
    /// Pauses in a row, each longer than the one before.
    pauses: u32,
    until: Option<(Instant, String)>,
}

impl Gateway {
    /// A gateway that somebody named. Nothing is sent yet.
    pub fn new(client: &Client, endpoint: Endpoint, trust: Trust) -> Self {
        Self {
            endpoint,
            http: client.http(trust).clone(),
            limits: client.limits,
            blocks: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            absent: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            lies: AtomicU64::new(0),
            arrived: AtomicU64::new(0),
            health: Mutex::default(),
        }
    }

    /// Where it is.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Requests that it may be sent at the same time.
    pub fn parallel(&self) -> usize {
        self.limits.parallel
    }

    /// Bytes of answers so far, also of those that are not whole yet: a sign of life.
    pub fn arrived(&self) -> u64 {
        self.arrived.load(Relaxed)
    }

    /// Whether it is worth asking at the moment.
    pub fn is_ready(&self) -> bool {
        self.paused().is_none()
    }

    /// What came from it so far.
    pub fn tally(&self) -> Tally {
        Tally {
            gateway: self.endpoint.to_string(),
            blocks: self.blocks.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            absent: self.absent.load(Relaxed),
            failed: self.failed.load(Relaxed),
            lies: self.lies.load(Relaxed),
            paused: self.paused(),
        }
    }

    fn paused(&self) -> Option<String> {
        let health = self.health.lock();
        health.until.as_ref().filter(|(until, _)| Instant::now() < *until).map(|(_, why)| why.clone())
    }

    /// The block's bytes, hashed.
    ///
    /// # Errors
    /// Whatever the gateway did instead; failures and lies also count against it.
    pub async fn block(&self, cid: &Cid, ask: Ask) -> Result<Bytes, FetchError> {
        let got = self.fetch(cid, ask).await;
        if let Ok(data) = &got {
            self.blocks.fetch_add(1, Relaxed);
            self.bytes.fetch_add(data.len() as u64, Relaxed);
        }
        self.judge(got)
    }

    /// Whether it holds a block. Asks without fetching, and believes the answer, as nothing shows that it is true.
    pub async fn holds(&self, cid: &Cid) -> Result<Held, FetchError> {
        let held = match self.request(Method::HEAD, cid, Ask::IfHeld).await {
            Ok(answer) => match length(answer.headers()) {
                Some(len) if len > BLOCK as u64 => Err(FetchError::TooLong { limit: BLOCK }),
                len => Ok(Held::Yes { len }),
            },
            Err(FetchError::Absent(_)) => Ok(Held::No),
            Err(error) => Err(error),
        };
        self.judge(held)
    }

    async fn fetch(&self, cid: &Cid, ask: Ask) -> Result<Bytes, FetchError> {
        let answer = self.request(Method::GET, cid, ask).await?;
        if length(answer.headers()).is_some_and(|len| len > BLOCK as u64) {
            return Err(FetchError::TooLong { limit: BLOCK });
        }
        let data = self.read(answer, BLOCK).await?;
        block::verify_hash(cid, &data).map_err(|_| FetchError::Wrong)?;
        Ok(data)
    }

    async fn request(&self, method: Method, cid: &Cid, ask: Ask) -> Result<Response<Incoming>, FetchError> {
        if let Some(why) = self.paused() {
            return Err(FetchError::Paused(why));
        }
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, hyper::header::HeaderValue::from_static(RAW));
        if ask == Ask::IfHeld {
            headers.insert(CACHE_CONTROL, hyper::header::HeaderValue::from_static("only-if-cached"));
        }
        let path = format!("/ipfs/{cid}?format=raw");
        let answer = send(&self.http, &self.endpoint, &self.limits, method.clone(), &path, headers).await?;
        let status = answer.status();
        if status == StatusCode::OK {
            return Ok(answer);
        }
        let refusal = match status.as_u16() {
            400 | 403 | 404 | 410 | 412 | 451 | 504 => FetchError::Absent(status.as_u16()),
            code if status.is_redirection() => FetchError::Redirect(code),
            code @ (429 | 503) => FetchError::Busy { status: code, after: retry_after(answer.headers()) },
            code => FetchError::Status(code),
        };
        if method != Method::HEAD {
            // A connection can be used again when its answer was read.
            let _ = self.read(answer, REFUSAL_BYTES).await;
        }
        Err(refusal)
    }

    /// Reads a body of at most `limit` bytes, at a decent pace.
    async fn read(&self, answer: Response<Incoming>, limit: usize) -> Result<Bytes, FetchError> {
        let capacity = length(answer.headers()).map_or(0, |len| len.min(limit as u64) as usize);
        let mut arrived = |len: usize| {
            self.arrived.fetch_add(len as u64, Relaxed);
        };
        read(answer.into_body(), capacity, limit, &self.limits, &mut arrived).await
    }

    /// Counts what came of a request, and leaves a gateway alone that keeps failing.
    fn judge<T>(&self, result: Result<T, FetchError>) -> Result<T, FetchError> {
        let error = match result {
            Ok(fine) => {
                let mut health = self.health.lock();
                (health.failures, health.pauses) = (0, 0);
                return Ok(fine);
            }
            Err(FetchError::Paused(why)) => return Err(FetchError::Paused(why)),
            Err(FetchError::Absent(status)) => {
                self.absent.fetch_add(1, Relaxed);
                self.health.lock().failures = 0;
                return Err(FetchError::Absent(status));
            }
            Err(error) => error,
        };
        let mut health = self.health.lock();
        let limits = &self.limits;
        let pause = if error.is_lie() {
            self.lies.fetch_add(1, Relaxed);
            tracing::warn!(gateway = %self.endpoint, %error, "a gateway lies; it is not asked for {:?}", limits.penalty);
            Some(limits.penalty)
        } else if let FetchError::Busy { after, .. } = error {
            self.failed.fetch_add(1, Relaxed);
            Some(after.unwrap_or(limits.pause).min(LONGEST_RETRY_AFTER))
        } else {
            self.failed.fetch_add(1, Relaxed);
            health.failures += 1;
            let enough = health.failures >= limits.failures || matches!(error, FetchError::NotPublic);
            enough.then(|| {
                health.failures = 0;
                let pause = limits.pause * 2u32.pow(health.pauses.min(10));
                health.pauses += 1;
                tracing::info!(gateway = %self.endpoint, %error, "a gateway keeps failing; it is not asked for a while");
                pause.min(limits.longest_pause)
            })
        };
        if let Some(pause) = pause {
            let until = Instant::now() + pause;
            // Several requests may fail at once: the longest pause counts.
            if health.until.as_ref().is_none_or(|(before, _)| *before < until) {
                health.until = Some((until, error.to_string()));
            }
        }
        Err(error)
    }
}

/// Sends a request and waits for the head of the answer.
pub(crate) async fn send(
    http: &Http,
    endpoint: &Endpoint,
    limits: &Limits,
    method: Method,
    path: &str,
    headers: HeaderMap,
) -> Result<Response<Incoming>, FetchError> {
    let invalid = |e: hyper::http::Error| FetchError::Unreachable(e.to_string());
    let request = Request::builder()
        .method(method)
        .uri(endpoint.url(path).map_err(invalid)?)
        .header(HOST, endpoint.host_header())
        .header(USER_AGENT, AGENT);
    let mut request = request.body(Empty::new()).map_err(invalid)?;
    request.headers_mut().extend(headers);
    let patience = limits.connect + limits.head;
    match tokio::time::timeout(patience, http.request(request)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(unreachable(&error)),
        Err(_) => Err(FetchError::Silent(patience)),
    }
}

/// Reads a body of at most `limit` bytes, and says of each piece how long it is.
pub(crate) async fn read(
    mut body: Incoming,
    capacity: usize,
    limit: usize,
    limits: &Limits,
    arrived: &mut (dyn FnMut(usize) + Send),
) -> Result<Bytes, FetchError> {
    let mut data = BytesMut::with_capacity(capacity);
    let begun = Instant::now();
    loop {
        let frame = tokio::time::timeout(limits.idle, body.frame()).await.map_err(|_| FetchError::Slow)?;
        let Some(frame) = frame else { return Ok(data.freeze()) };
        let frame = frame.map_err(|e| FetchError::Unreachable(e.to_string()))?;
        let Some(piece) = frame.data_ref() else { continue };
        if data.len() + piece.len() > limit {
            return Err(FetchError::TooLong { limit });
        }
        arrived(piece.len());
        data.extend_from_slice(piece);
        let taken = begun.elapsed();
        if taken > limits.grace && (data.len() as f64) < limits.least_rate as f64 * taken.as_secs_f64() {
            return Err(FetchError::Slow);
        }
    }
}

fn unreachable(error: &legacy::Error) -> FetchError {
    // The outermost error says only that something went wrong while connecting.
    let mut innermost: &(dyn std::error::Error + 'static) = error;
    while let Some(cause) = innermost.source() {
        if innermost.is::<NotPublic>() {
            break;
        }
        innermost = cause;
    }
    match innermost.is::<NotPublic>() {
        true => FetchError::NotPublic,
        false => FetchError::Unreachable(innermost.to_string()),
    }
}

fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}
