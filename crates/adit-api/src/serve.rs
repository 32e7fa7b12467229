//! Serving: connections, their bounds, and an orderly end.
//!
//! One task per connection drives hyper's HTTP/1 directly over the router; a warm `POST /run` passes no layer that
//! allocates. Bounds: [`Limits::connections`] at once (more wait in the kernel's queue), a header within
//! [`Limits::header_timeout`], a JSON body within [`crate::routes::JSON_LIMIT`] and
//! [`crate::routes::BODY_TIMEOUT`]. Shutdown stops accepting, lets requests that are under way end within a grace
//! period, and closes what remains.

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What one server takes on.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at once. Each costs some 20 KiB and, while it waits for a job, little else.
    pub connections: usize,
    /// How long a client may take to send a request's header; a kept connection may be idle as long.
    pub header_timeout: Duration,
    /// How long requests may go on after shutdown was asked for.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 1024, header_timeout: Duration::from_secs(60), grace: Duration::from_secs(5) }
    }
}

/// A server that runs until it is told to stop.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: CancellationToken,
    accepting: tokio::task::JoinHandle<()>,
}

impl Server {
    /// Starts serving. The listener is bound by the caller, who knows the address before anything can ask it.
    pub fn start(listener: TcpListener, router: Router, limits: Limits) -> std::io::Result<Self> {
        let address = listener.local_addr()?;
        let stop = CancellationToken::new();
        let accepting = tokio::spawn(accept(listener, router, limits, stop.clone()));
        Ok(Self { address, stop, accepting })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops accepting, waits for requests under way within the grace period, then closes what remains.
    pub async fn shutdown(self) {
        self.stop.cancel();
        let _ = self.accepting.await;
    }
}

async fn accept(listener: TcpListener, router: Router, limits: Limits, stop: CancellationToken) {
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
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of descriptors, mostly. The pause keeps this from becoming a busy loop.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let connection = serve_connection(stream, router.clone(), limits, stop.clone());
        connections.spawn(async move {
            connection.await;
            drop(slot);
        });
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(limits.grace, connections.wait()).await.is_err() {
        tracing::warn!(open = connections.len(), "closing connections whose requests did not end in time");
    }
}

async fn serve_connection(stream: TcpStream, router: Router, limits: Limits, stop: CancellationToken) {
    // Answers are small and awaited: never wait for more bytes to fill a segment.
    let _ = stream.set_nodelay(true);
    let service = TowerToHyperService::new(router);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_headers(64)
        .max_buf_size(256 << 10)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => {
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection ended early");
            }
        }
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let _ = tokio::time::timeout(limits.grace, connection).await;
        }
    }
}
