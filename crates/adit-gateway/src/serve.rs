//! Connections: how many, how long they may idle, and their end.
//!
//! One task for each connection drives hyper's HTTP/1 over the gateway. A client that does not take what it asked for
//! within [`Limits::idle`] is cut off, and so is one that takes as long to send a request's head. `CONNECT` opens a
//! tunnel to this gateway and nowhere else, for clients that have it as their HTTP proxy.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::answer::{Gateway, plain};
use crate::body::Body;

/// What one server takes on.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at once, each with one request at a time; more wait in the kernel's queue.
    pub connections: usize,
    /// How long a client may take to send a request's head or to take a piece of an answer, and how long a kept
    /// connection may rest.
    pub idle: Duration,
    /// How long answers may go on after shutdown was asked for.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 4096, idle: Duration::from_secs(30), grace: Duration::from_secs(3) }
    }
}

/// A gateway on a listener, until it is told to stop.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: CancellationToken,
    accepting: tokio::task::JoinHandle<()>,
}

impl Server {
    /// Starts serving.
    ///
    /// # Errors
    /// The listener has no address.
    pub fn start(listener: TcpListener, gateway: Gateway, limits: Limits) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let stop = CancellationToken::new();
        let accepting = tokio::spawn(accept(listener, gateway, limits, stop.clone()));
        Ok(Self { address, stop, accepting })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops accepting, waits for answers under way within the grace period, then closes what remains.
    pub async fn shutdown(self) {
        self.stop.cancel();
        let _ = self.accepting.await;
    }
}

async fn accept(listener: TcpListener, gateway: Gateway, limits: Limits, stop: CancellationToken) {
    let slots = Arc::new(Semaphore::new(limits.connections));
    let connections = TaskTracker::new();
    loop {
        let slot = tokio::select! {
            () = stop.cancelled() => break,
            slot = slots.clone().acquire_owned() => slot.expect("the semaphore is never closed"),
        };
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let _ = stream.set_nodelay(true);
                let served = Served {
                    gateway: gateway.clone(),
                    limits,
                    stop: stop.clone(),
                    slots: slots.clone(),
                    tunnels: connections.clone(),
                };
                connections.spawn(served.connection(
                    TokioIo::new(Patient::new(stream, limits.idle)),
                    slot,
                    true,
                ));
            }
            Err(error) => {
                // Out of descriptors, mostly. The pause keeps this from becoming a busy loop.
                tracing::warn!(%error, "the gateway cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(limits.grace, connections.wait()).await.is_err() {
        tracing::info!(
            open = connections.len(),
            "the gateway closes connections whose answers did not end in time"
        );
    }
}

#[derive(Clone)]
struct Served {
    gateway: Gateway,
    limits: Limits,
    stop: CancellationToken,
    slots: Arc<Semaphore>,
    tunnels: TaskTracker,
}

impl Served {
    async fn connection<I>(self, stream: I, slot: OwnedSemaphorePermit, tunnels: bool)
    where
        I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    {
        let served = self.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let served = served.clone();
            async move {
                if request.method() == Method::CONNECT {
                    return Ok::<_, Infallible>(served.tunnel(request, tunnels));
                }
                Ok(served.gateway.answer(request).await)
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.idle)
            .max_headers(64)
            .max_buf_size(256 << 10)
            .serve_connection(stream, service)
            .with_upgrades();
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a gateway's connection ended early");
                }
            }
            () = self.stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                let _ = tokio::time::timeout(self.limits.grace, connection).await;
            }
        }
        drop(slot);
    }

    /// Answers `CONNECT`: whatever host it names, the tunnel ends here.
    fn tunnel(&self, request: Request<Incoming>, allowed: bool) -> Response<Body> {
        if !allowed {
            return plain(StatusCode::BAD_REQUEST, "no tunnel within a tunnel");
        }
        let Ok(slot) = self.slots.clone().try_acquire_owned() else {
            return plain(StatusCode::SERVICE_UNAVAILABLE, "too many connections");
        };
        let served = self.clone();
        self.tunnels.spawn(async move {
            let upgraded = tokio::time::timeout(served.limits.idle, hyper::upgrade::on(request)).await;
            if let Ok(Ok(stream)) = upgraded {
                // Boxed: a tunnel's task would otherwise be a type that contains itself.
                let tunnel: Pin<Box<dyn Future<Output = ()> + Send>> =
                    Box::pin(served.connection(stream, slot, false));
                tunnel.await;
            }
        });
        Response::new(Body::empty())
    }
}

/// A stream that fails when its peer takes nothing for too long.
struct Patient<S> {
    stream: S,
    patience: Duration,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl<S> Patient<S> {
    fn new(stream: S, patience: Duration) -> Self {
        Self { stream, patience, waiting: None }
    }

    /// Passes on what a write gave, and counts how long there was nothing.
    fn judged<T>(&mut self, result: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.waiting = None;
            return result;
        }
        let patience = self.patience;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        match waiting.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.judged(result, context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_write_vectored(context, slices);
        this.judged(result, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_flush(context);
        this.judged(result, context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}
