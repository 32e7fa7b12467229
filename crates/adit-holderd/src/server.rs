//! Connections: their bounds, and which message goes where.
//!
//! | | |
//! |---|---|
//! | `POST /v1/hello`, `wish`, `commit`, `log` | 200 and the answer, or 403 and a [`Refused`] |
//! | `POST /v1/enrol`, `words`, `packet` | 204, or 403 and a [`Refused`] |
//! | `GET /v1/status` | 200 and JSON |
//!
//! Messages are DAG-CBOR ([`adit_holder::protocol`]). Bounds: 64 connections at once (more wait in the kernel's queue), ten
//! seconds for a header and for a body, each message's own length, four long packets and two wishes that are weighed at
//! once.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use adit_holder::protocol::{Commit, Enrol, Hello, LogAsked, Message, Refused, Said, Wish};
use adit_holder::{Answer, Ask, Grounds, Id, MOST_PACKET_BYTES, Nonces, Objection, weigh};
use adit_model::{InvocationCid, JobKey};
use adit_trust::{DevnetRoot, ReferenceValues};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

use crate::now;
use crate::office::{Closed, Office};

const CONNECTIONS: usize = 64;
const PATIENCE: Duration = Duration::from_secs(10);
/// A packet of 64 MiB takes longer than a message.
const PACKET_PATIENCE: Duration = Duration::from_secs(60);
/// Long packets in memory at once: of holders that lost all.
const LONG_PACKETS: usize = 4;
const LONG: u64 = 1 << 20;
/// Each takes some milliseconds of one core.
const WEIGHED_AT_ONCE: usize = 2;

/// What every connection needs.
pub struct Server {
    office: Office,
    nonces: Arc<Nonces>,
    references: ReferenceValues,
    devnet: Option<DevnetRoot>,
    long: Semaphore,
    weighed: Arc<Semaphore>,
}

impl Server {
    /// Over an open desk, whose nonces these are.
    pub fn new(
        office: Office,
        nonces: Arc<Nonces>,
        references: ReferenceValues,
        devnet: Option<DevnetRoot>,
    ) -> Self {
        let (long, weighed) = (Semaphore::new(LONG_PACKETS), Arc::new(Semaphore::new(WEIGHED_AT_ONCE)));
        Self { office, nonces, references, devnet, long, weighed }
    }

    /// Serves until it is dropped. Connections under way are dropped with it: whatever was answered is durable.
    pub async fn serve(self, listener: UnixListener) {
        let server = Arc::new(self);
        let slots = Arc::new(Semaphore::new(CONNECTIONS));
        let mut connections = tokio::task::JoinSet::new();
        loop {
            let slot = slots.clone().acquire_owned().await.expect("never closed");
            while connections.try_join_next().is_some() {}
            match listener.accept().await {
                Ok((stream, _)) => {
                    let server = server.clone();
                    connections.spawn(async move {
                        server.connection(stream).await;
                        drop(slot);
                    });
                }
                Err(error) => {
                    // Out of descriptors, mostly. The pause keeps this from becoming a busy loop.
                    eprintln!("adit-holder: cannot accept a connection: {error}");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    async fn connection(self: &Arc<Self>, stream: UnixStream) {
        let service = service_fn(|request| {
            let server = self.clone();
            async move { Ok::<_, Infallible>(server.answer(request).await) }
        });
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(PATIENCE).max_headers(32).max_buf_size(64 << 10);
        // One that ends early ends.
        let _ = builder.serve_connection(TokioIo::new(stream), service).await;
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let path = request.uri().path().to_owned();
        let Some(what) = path.strip_prefix("/v1/") else {
            return plain(StatusCode::NOT_FOUND, "there is nothing here");
        };
        if what == "status" && request.method() == Method::GET {
            return match self.office.status().await {
                Ok(status) => {
                    let body = serde_json::to_vec(&status).expect("plain data");
                    response(StatusCode::OK, "application/json", body)
                }
                Err(closed) => ends(closed),
            };
        }
        if request.method() != Method::POST {
            return plain(StatusCode::METHOD_NOT_ALLOWED, "messages are posted");
        }
        if request.headers().get(CONTENT_TYPE).is_none_or(|kind| kind != crate::CONTENT_TYPE) {
            return plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, "messages are DAG-CBOR");
        }
        let most = match what {
            "hello" => Hello::MOST_BYTES,
            "wish" => Wish::MOST_BYTES,
            "commit" => Commit::MOST_BYTES,
            "log" => LogAsked::MOST_BYTES,
            "enrol" => Enrol::MOST_BYTES,
            "words" => Said::MOST_BYTES,
            "packet" => MOST_PACKET_BYTES,
            _ => return plain(StatusCode::NOT_FOUND, "there is no such message"),
        };
        let long = request.body().size_hint().upper().is_none_or(|bytes| bytes > LONG) && what == "packet";
        let _one_of_few = match long {
            true => Some(self.long.acquire().await.expect("never closed")),
            false => None,
        };
        let patience = if long { PACKET_PATIENCE } else { PATIENCE };
        let body = Limited::new(request.into_body(), most).collect();
        let body = match tokio::time::timeout(patience, body).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                return plain(StatusCode::PAYLOAD_TOO_LARGE, "the message is too long");
            }
            Ok(Err(_)) => return plain(StatusCode::BAD_REQUEST, "the message did not arrive"),
            Err(_) => return plain(StatusCode::REQUEST_TIMEOUT, "the message took too long"),
        };
        match self.message(what, body).await {
            Ok(Ok(body)) if body.is_empty() => response(StatusCode::NO_CONTENT, crate::CONTENT_TYPE, body),
            Ok(Ok(body)) => response(StatusCode::OK, crate::CONTENT_TYPE, body),
            Ok(Err(against)) => {
                let refused = Refused::because(&against).encode();
                response(StatusCode::FORBIDDEN, crate::CONTENT_TYPE, refused)
            }
            Err(closed) => ends(closed),
        }
    }

    /// The answer to a message, or everything that stands against it.
    async fn message(&self, what: &str, body: Bytes) -> Result<Result<Vec<u8>, Vec<Objection>>, Closed> {
        let ask = match what {
            "hello" => {
                let hello = match Hello::decode(&body) {
                    Ok(hello) => hello,
                    Err(error) => return Ok(Err(vec![error.into()])),
                };
                let welcome = self.office.welcome(JobKey(hello.session), hello.grant).await?;
                return Ok(welcome.map(|welcome| welcome.encode()).map_err(|why| vec![why]));
            }
            "wish" => match Wish::decode(&body) {
                Ok(wish) => return self.wish(wish).await,
                Err(error) => return Ok(Err(vec![error.into()])),
            },
            "packet" => {
                self.office.tell(Ask::Packet(body)).await?;
                return Ok(Ok(Vec::new()));
            }
            "commit" => Commit::decode(&body).map(Ask::Commit),
            "log" => LogAsked::decode(&body).map(Ask::Log),
            "enrol" => Enrol::decode(&body).map(Ask::Enrol),
            _ => Said::decode(&body).map(Ask::Said),
        };
        match ask {
            Ok(ask) => Ok(answered(self.office.ask(ask).await?)),
            Err(error) => Ok(Err(vec![error.into()])),
        }
    }

    async fn wish(&self, wish: Wish) -> Result<Result<Vec<u8>, Vec<Objection>>, Closed> {
        let (grant_id, invocation) = (wish.grant, InvocationCid::of_block(&wish.invocation));
        let (grant, head) = match self.office.grounds(grant_id).await? {
            Ok(grounds) => grounds,
            Err(objection) => return Ok(Err(vec![objection])),
        };
        let one_of_few = self.weighed.clone().acquire_owned().await.expect("never closed");
        let (nonces, references, devnet) =
            (self.nonces.clone(), self.references.clone(), self.devnet.clone());
        let weighed = tokio::task::spawn_blocking(move || {
            let grounds = Grounds {
                grant: &grant,
                head: &head,
                nonces: &nonces,
                references: &references,
                devnet: devnet.as_ref(),
            };
            let weighed = weigh(&wish, grounds, now());
            drop(one_of_few);
            weighed
        });
        match weighed.await.map_err(|_| Closed)? {
            Ok(good) => Ok(answered(self.office.ask(Ask::Reserve(good)).await?)),
            Err(against) => {
                let reason = against.first().map_or(0, Objection::number);
                let invocation = Id(*invocation.digest());
                self.office.tell(Ask::Refused { grant: grant_id, invocation, reason }).await?;
                Ok(Err(against))
            }
        }
    }
}

fn answered(answer: Answer) -> Result<Vec<u8>, Vec<Objection>> {
    match answer {
        Answer::Reserved(reservation) => Ok(reservation.encode()),
        Answer::Given(given) => Ok(given.encode()),
        Answer::Log(page) => Ok(page.encode()),
        Answer::Done => Ok(Vec::new()),
        Answer::Refused(objection) => Err(vec![objection]),
    }
}

fn response(status: StatusCode, kind: &'static str, body: Vec<u8>) -> Response<Full<Bytes>> {
    let response = Response::builder().status(status).header(CONTENT_TYPE, kind);
    response.body(Full::new(body.into())).expect("a sound response")
}

fn plain(status: StatusCode, words: &'static str) -> Response<Full<Bytes>> {
    response(status, "text/plain; charset=utf-8", words.into())
}

fn ends(closed: Closed) -> Response<Full<Bytes>> {
    let mut response = plain(StatusCode::SERVICE_UNAVAILABLE, "");
    *response.body_mut() = Full::new(closed.to_string().into());
    response
}
