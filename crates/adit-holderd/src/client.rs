//! Asking holders.

use std::path::PathBuf;

use adit_holder::Reservation;
use adit_holder::protocol::{
    Commit, Enrol, Given, Hello, LogAsked, LogPage, Message, Refused, Said, Welcome, Wish,
};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::sync::Mutex;

use crate::Status;

/// Most bytes of a holder's status: some hundred bytes for each object.
const MOST_STATUS: usize = 64 << 20;

/// Why a holder gives no answer that counts.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error("the holder at {} can't be reached", path.display())]
    Unreachable { path: PathBuf, source: std::io::Error },
    #[error("the connection to the holder failed")]
    Broken(#[source] hyper::Error),
    #[error("the holder refuses: {0}")]
    Refused(Refused),
    #[error("the holder answers strangely: {0}")]
    Strange(String),
}

/// One holder, at its socket. Questions go over one connection, one after the other; it is opened again when it broke.
pub struct Client {
    path: PathBuf,
    connection: Mutex<Option<SendRequest<Full<Bytes>>>>,
}

impl Client {
    /// The holder at this socket. Nothing is opened yet.
    pub fn new(path: PathBuf) -> Self {
        Self { path, connection: Mutex::new(None) }
    }

    /// A nonce, and how the grant stands there.
    ///
    /// # Errors
    /// See [`AskError`]; so for all of these.
    pub async fn hello(&self, hello: &Hello) -> Result<Welcome, AskError> {
        self.message("hello", hello).await
    }

    /// A reservation, if everything speaks for the wish.
    ///
    /// # Errors
    /// As for [`hello`](Self::hello).
    pub async fn wish(&self, wish: &Wish) -> Result<Reservation, AskError> {
        self.message("wish", wish).await
    }

    /// The share.
    ///
    /// # Errors
    /// As for [`hello`](Self::hello).
    pub async fn commit(&self, commit: &Commit) -> Result<Given, AskError> {
        self.message("commit", commit).await
    }

    /// Part of a log.
    ///
    /// # Errors
    /// As for [`hello`](Self::hello).
    pub async fn log(&self, asked: &LogAsked) -> Result<LogPage, AskError> {
        self.message("log", asked).await
    }

    /// Keeps a share there.
    ///
    /// # Errors
    /// As for [`hello`](Self::hello).
    pub async fn enrol(&self, enrol: &Enrol) -> Result<(), AskError> {
        self.post("enrol", enrol.encode().into(), 0).await.map(drop)
    }

    /// Tells it an owner's word.
    ///
    /// # Errors
    /// As for [`hello`](Self::hello).
    pub async fn said(&self, said: &Said) -> Result<(), AskError> {
        self.post("words", said.encode().into(), 0).await.map(drop)
    }

    /// Hands it another holder's packet.
    ///
    /// # Errors
    /// As for [`hello`](Self::hello).
    pub async fn packet(&self, packet: Bytes) -> Result<(), AskError> {
        self.post("packet", packet, 0).await.map(drop)
    }

    /// What it says of itself.
    ///
    /// # Errors
    /// As for [`hello`](Self::hello).
    pub async fn status(&self) -> Result<Status, AskError> {
        let body = self.send(Method::GET, "status", Bytes::new(), MOST_STATUS).await?;
        serde_json::from_slice(&body).map_err(|error| AskError::Strange(error.to_string()))
    }

    async fn message<Q: Message, A: Message>(&self, what: &str, question: &Q) -> Result<A, AskError> {
        let body = self.post(what, question.encode().into(), A::MOST_BYTES).await?;
        A::decode(&body).map_err(|error| AskError::Strange(error.to_string()))
    }

    async fn post(&self, what: &str, body: Bytes, most: usize) -> Result<Bytes, AskError> {
        self.send(Method::POST, what, body, most).await
    }

    async fn send(&self, method: Method, what: &str, body: Bytes, most: usize) -> Result<Bytes, AskError> {
        let mut connection = self.connection.lock().await;
        // One that is dropped in the middle of a question is not used again.
        let mut sender = match connection.take().filter(|sender| !sender.is_closed()) {
            Some(sender) => sender,
            None => self.connect().await?,
        };
        if sender.ready().await.is_err() {
            // The holder had closed it meanwhile; nothing was asked yet.
            sender = self.connect().await?;
        }
        let request = Request::builder()
            .method(method)
            .uri(format!("/v1/{what}"))
            .header(HOST, "holder")
            .header(CONTENT_TYPE, crate::CONTENT_TYPE)
            .body(Full::new(body))
            .expect("a sound request");
        let response = sender.send_request(request).await.map_err(AskError::Broken)?;
        let status = response.status();
        let most = if status.is_success() { most } else { Refused::MOST_BYTES };
        let body = Limited::new(response.into_body(), most).collect().await;
        let body = body.map_err(|error| AskError::Strange(error.to_string()))?.to_bytes();
        *connection = Some(sender);
        match status {
            StatusCode::OK | StatusCode::NO_CONTENT => Ok(body),
            StatusCode::FORBIDDEN => match Refused::decode(&body) {
                Ok(refused) => Err(AskError::Refused(refused)),
                Err(error) => Err(AskError::Strange(error.to_string())),
            },
            other => {
                let words: String = String::from_utf8_lossy(&body).chars().take(200).collect();
                Err(AskError::Strange(format!("{other}: {}", words.escape_debug())))
            }
        }
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, AskError> {
        let stream = UnixStream::connect(&self.path)
            .await
            .map_err(|source| AskError::Unreachable { path: self.path.clone(), source })?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(AskError::Broken)?;
        // Ends with the sender, or when the holder closes; whoever sends is told.
        tokio::spawn(async move { drop(connection.await) });
        Ok(sender)
    }
}
