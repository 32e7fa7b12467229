//! Requests to Kubo's RPC: kept connections, limits, patience.
//!
//! Whatever only asks is tried again while Kubo is away, until the patience is over: a restart of Kubo is a pause, not an error.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use adit_store::{BackendError, BackendFailure};
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Empty, combinators::UnsyncBoxBody};
use hyper::{
    Request, Response, Uri,
    body::{Body, Frame, Incoming},
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue},
};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use tokio::sync::Semaphore;

use crate::{
    circuit::{Away, Circuit},
    upload,
};

pub(crate) type Cause = Box<dyn std::error::Error + Send + Sync>;
pub(crate) type SendBody = UnsyncBoxBody<Bytes, Cause>;

/// Requests at a time. More would only wait within Kubo.
const PARALLEL: usize = 32;
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(200);
/// Between two questions to a Kubo that is away whether it is back.
const PROBE: Duration = Duration::from_millis(500);
/// How long each of them waits for an answer, and the first, on which it depends whether it counts as away.
const PROBE_PATIENCE: Duration = Duration::from_secs(10);
const FIRST_PROBE_PATIENCE: Duration = Duration::from_secs(2);
/// How long an unused connection is kept.
const KEPT: Duration = Duration::from_secs(30);
/// The longest line of a stream of JSON values.
const LINE: usize = 64 << 10;
/// The most lines of one answer: a pin or a collected block each.
const LINES: usize = 1 << 26;
/// What of a refusal is read.
const REFUSAL: usize = 16 << 10;
/// What of Kubo's words is passed on, in bytes.
const QUOTED: usize = 300;

/// How to reach a Kubo.
#[derive(Clone, Default)]
pub struct Options {
    /// `http://HOST:PORT` or `https://HOST`.
    pub url: String,
    /// The whole value of the Authorization header, such as `Bearer …`.
    pub authorization: Option<String>,
    /// How long Kubo may be away or silent before a request fails.
    pub patience: Duration,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options").field("url", &self.url).finish_non_exhaustive()
    }
}

/// The options do not lead to a Kubo.
#[derive(Debug, PartialEq, Eq)]
pub enum InvalidKubo {
    Url(String),
    Authorization,
}

impl fmt::Display for InvalidKubo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(url) => write!(f, "{url:?} is not the URL of a Kubo's RPC: http://HOST:PORT"),
            Self::Authorization => f.write_str("the authorization for Kubo has to be one line of ASCII"),
        }
    }
}

impl std::error::Error for InvalidKubo {}

/// What Kubo said to a command.
pub(crate) enum Said {
    Done(Bytes),
    /// It could not or would not, and these are its words.
    No(String),
}

pub(crate) struct Client {
    base: String,
    pub(crate) name: String,
    authorization: Option<HeaderValue>,
    http: legacy::Client<HttpsConnector<HttpConnector>, SendBody>,
    pub(crate) patience: Duration,
    slots: Semaphore,
    circuit: Circuit,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Client {
    pub(crate) fn new(options: Options) -> Result<Self, InvalidKubo> {
        let base = options.url.trim().trim_end_matches('/').to_owned();
        let uri: Uri = base.parse().map_err(|_| InvalidKubo::Url(options.url.clone()))?;
        let known = matches!(uri.scheme_str(), Some("http" | "https"));
        let plain = uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
        if !known || !plain || uri.path() != "/" || uri.query().is_some() {
            return Err(InvalidKubo::Url(options.url));
        }
        let secret = |text: String| -> Result<HeaderValue, InvalidKubo> {
            let mut value = HeaderValue::from_str(text.trim()).map_err(|_| InvalidKubo::Authorization)?;
            value.set_sensitive(true);
            Ok(value)
        };
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(options.patience.min(Duration::from_secs(10))));
        // The provider is named because this process may link two: libp2p brings its own.
        let connector = HttpsConnectorBuilder::new()
            .with_provider_and_webpki_roots(rustls::crypto::ring::default_provider())
            .expect("ring offers the default protocol versions")
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        let http = legacy::Client::builder(TokioExecutor::new())
            .pool_idle_timeout(KEPT)
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(PARALLEL)
            .build(connector);
        Ok(Self {
            name: format!("the Kubo at {base}"),
            base,
            authorization: options.authorization.map(secret).transpose()?,
            http,
            patience: options.patience,
            slots: Semaphore::new(PARALLEL),
            circuit: Circuit::new(options.patience),
        })
    }

    pub(crate) fn error(&self, failure: BackendFailure, reason: impl Into<String>) -> BackendError {
        BackendError { backend: self.name.clone(), failure, reason: reason.into() }
    }

    fn silent(&self, patience: Duration) -> BackendError {
        self.error(BackendFailure::Unreachable, format!("did not answer within {} s", patience.as_secs_f32()))
    }

    /// What Kubo refused, in its words.
    pub(crate) fn refused(&self, words: &str) -> BackendError {
        let full =
            ["no space left", "quota exceeded", "maximum storage"].iter().any(|full| words.contains(full));
        match full {
            true => self.error(BackendFailure::Full, format!("it is full ({words})")),
            false => self.error(BackendFailure::Refused, words),
        }
    }

    /// Where Kubo has not answered anything for long: for how long, and why.
    pub(crate) fn away(&self) -> Option<Away> {
        self.circuit.away(Instant::now())
    }

    /// Fails at once where Kubo is known to be away.
    pub(crate) fn expect_it(&self) -> Result<(), BackendError> {
        let Some(away) = self.away() else { return Ok(()) };
        let (silent, reason) = (away.silent.as_secs(), away.reason);
        let words =
            format!("has not answered for {silent} s ({reason}); it is used again as soon as it does");
        Err(self.error(BackendFailure::Unreachable, words))
    }

    /// Notes what a request that began then came to. Where nothing was answered for long, begins to ask whether Kubo is there.
    pub(crate) fn note<T>(self: &Arc<Self>, begun: Instant, done: &Result<T, BackendError>) {
        let Err(error) = done else { return };
        if error.failure != BackendFailure::Unreachable || !self.circuit.failed(begun, Instant::now()) {
            return;
        }
        let (client, reason) = (Arc::downgrade(self), error.reason.clone());
        tokio::spawn(async move {
            let mut patience = FIRST_PROBE_PATIENCE;
            loop {
                let Some(client) = client.upgrade() else { return };
                // Whatever it says, `send` notes that it said something.
                let _ = tokio::time::timeout(patience, client.send("version", None)).await;
                if client.circuit.stop_asking() {
                    tracing::info!("{} answers", client.name);
                    return;
                }
                if client.circuit.said_nothing(&reason) {
                    tracing::warn!(
                        "{} does not answer ({reason}); nothing waits for it any more",
                        client.name
                    );
                }
                drop(client);
                patience = PROBE_PATIENCE;
                tokio::time::sleep(PROBE).await;
            }
        });
    }

    /// A short command that may be repeated, and its whole answer of at most `limit` bytes.
    pub(crate) async fn call(self: &Arc<Self>, command: &str, limit: usize) -> Result<Said, BackendError> {
        self.call_with(command, None, limit).await
    }

    /// The same with a file to send along.
    pub(crate) async fn call_with(
        self: &Arc<Self>,
        command: &str,
        file: Option<Bytes>,
        limit: usize,
    ) -> Result<Said, BackendError> {
        self.expect_it()?;
        let begun = Instant::now();
        let until = tokio::time::Instant::now() + self.patience;
        let patiently = async {
            let _slot = self.slots.acquire().await;
            loop {
                let tried = async {
                    let body = file.clone().map(upload::file);
                    self.whole(self.send(command, body).await?, limit).await
                };
                match tried.await {
                    Err(error)
                        if error.failure == BackendFailure::Unreachable
                            && tokio::time::Instant::now() + PAUSE < until =>
                    {
                        tokio::time::sleep(PAUSE).await;
                    }
                    done => return done,
                }
            }
        };
        let done = tokio::time::timeout_at(until, patiently).await;
        let done = done.unwrap_or_else(|_| Err(self.silent(self.patience)));
        self.note(begun, &done);
        done
    }

    /// A command whose answer is a stream of JSON values, a line each, with at most `quiet` between two pieces. An error that comes
    /// after the beginning is an error all the same.
    pub(crate) async fn lines(
        self: &Arc<Self>,
        command: &str,
        quiet: Duration,
        mut take: impl FnMut(&[u8]) -> Result<(), BackendError> + Send,
    ) -> Result<(), BackendError> {
        self.expect_it()?;
        let begun = Instant::now();
        let answer = tokio::time::timeout(quiet, self.send(command, None)).await;
        let answer = answer.unwrap_or_else(|_| Err(self.silent(quiet)));
        self.note(begun, &answer);
        self.each_line(answer?, quiet, &mut take).await
    }

    pub(crate) async fn each_line(
        &self,
        answer: Response<Incoming>,
        quiet: Duration,
        take: &mut (impl FnMut(&[u8]) -> Result<(), BackendError> + Send),
    ) -> Result<(), BackendError> {
        if !answer.status().is_success() {
            return Err(self.refused(&self.refusal(answer).await?));
        }
        let mut body = answer.into_body();
        let (mut rest, mut lines) = (BytesMut::new(), 0);
        loop {
            let frame = tokio::time::timeout(quiet, self.frame(&mut body)).await;
            let Some(frame) = frame.map_err(|_| self.silent(quiet))?? else { break };
            rest.extend_from_slice(&frame);
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line = rest.split_to(end + 1);
                lines += 1;
                if !line.trim_ascii().is_empty() {
                    take(line.trim_ascii())?;
                }
            }
            if rest.len() > LINE || lines > LINES {
                return Err(self.error(BackendFailure::Wrong, "its answer is longer than it can be"));
            }
        }
        match rest.trim_ascii() {
            [] => Ok(()),
            line => take(line),
        }
    }

    /// Sends one request; its answer's head is what comes back.
    pub(crate) async fn send(
        &self,
        command: &str,
        body: Option<(HeaderValue, SendBody)>,
    ) -> Result<Response<Incoming>, BackendError> {
        let mut request = Request::post(format!("{}/api/v0/{command}", self.base));
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let body = match body {
            Some((kind, body)) => {
                request = request.header(CONTENT_TYPE, kind);
                body
            }
            None => Empty::new().map_err(|never| match never {}).boxed_unsync(),
        };
        let request =
            request.body(body).map_err(|error| self.error(BackendFailure::Wrong, error.to_string()))?;
        let answer = self.http.request(request).await.map_err(|error| self.broken(&error))?;
        self.circuit.heard(Instant::now());
        if answer.status().is_redirection() {
            let words = format!("it redirects (status {}), which is not followed", answer.status().as_u16());
            return Err(self.error(BackendFailure::Wrong, words));
        }
        Ok(answer)
    }

    async fn whole(&self, answer: Response<Incoming>, limit: usize) -> Result<Said, BackendError> {
        if !answer.status().is_success() {
            return Ok(Said::No(self.refusal(answer).await?));
        }
        let expected = usize::try_from(answer.body().size_hint().exact().unwrap_or(0)).unwrap_or(0);
        let mut body = answer.into_body();
        let mut whole = BytesMut::with_capacity(expected.min(limit));
        while let Some(piece) = self.frame(&mut body).await? {
            if whole.len() + piece.len() > limit {
                let words = format!("its answer is longer than {limit} bytes");
                return Err(self.error(BackendFailure::Wrong, words));
            }
            whole.extend_from_slice(&piece);
        }
        Ok(Said::Done(whole.freeze()))
    }

    /// The next piece of a body. Kubo says in a trailer what went wrong after it had begun.
    async fn frame(&self, body: &mut Incoming) -> Result<Option<Bytes>, BackendError> {
        let Some(frame) = body.frame().await else { return Ok(None) };
        let frame: Frame<Bytes> = frame.map_err(|error| self.broken(&error))?;
        if let Some(words) = frame.trailers_ref().and_then(|trailers| trailers.get("x-stream-error")) {
            return Err(self.refused(&quoted(&String::from_utf8_lossy(words.as_bytes()))));
        }
        Ok(Some(frame.into_data().unwrap_or_default()))
    }

    /// Kubo's words for why not.
    async fn refusal(&self, answer: Response<Incoming>) -> Result<String, BackendError> {
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Refusal {
            message: String,
        }
        let status = answer.status();
        let mut body = answer.into_body();
        let mut text = Vec::new();
        while let Some(piece) = self.frame(&mut body).await? {
            text.extend_from_slice(&piece);
            if text.len() > REFUSAL {
                break;
            }
        }
        Ok(match (status.as_u16(), serde_json::from_slice::<Refusal>(&text)) {
            (401 | 403, _) => format!(
                "it does not let this node in (status {}); ipfs.authorization-file names the secret that it wants",
                status.as_u16()
            ),
            (404, _) => {
                "does not know this command (status 404); is that a Kubo's RPC, and not an old one's?"
                    .to_owned()
            }
            (500, Ok(refusal)) => quoted(&refusal.message),
            _ => format!("answered with status {}; is that a Kubo's RPC?", status.as_u16()),
        })
    }

    fn broken(&self, error: &(dyn std::error::Error + 'static)) -> BackendError {
        let mut innermost = error;
        while let Some(cause) = innermost.source() {
            innermost = cause;
        }
        self.error(BackendFailure::Unreachable, quoted(&innermost.to_string()))
    }
}

/// Words of somebody else, short and in one line.
fn quoted(words: &str) -> String {
    let mut end = words.len().min(QUOTED);
    while !words.is_char_boundary(end) {
        end -= 1;
    }
    words[..end].chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Since when nothing has moved.
#[derive(Debug)]
pub(crate) struct Moved(parking_lot::Mutex<Instant>);

impl Moved {
    pub(crate) fn now() -> Self {
        Self(parking_lot::Mutex::new(Instant::now()))
    }

    pub(crate) fn again(&self) {
        *self.0.lock() = Instant::now();
    }

    pub(crate) fn since(&self) -> Instant {
        *self.0.lock()
    }
}
