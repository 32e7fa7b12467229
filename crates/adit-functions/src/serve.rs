//! The listener: connections, and what becomes of each request before a function sees it.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use adit_node::{
    Node,
    config::Span,
    functions::{Counts, Function, Functions},
};
use adit_wire::http::{Allowance, MAX_TARGET, RequestHead};
use cid::Cid;
use hyper::{
    Method, Request, Response, StatusCode, body::Body as _, body::Incoming, server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    exchange::{Body, Exchange, Tally, Terms, first_piece, plain},
    head,
    outgoing::{Allowed, Outgoing},
    pool::{IDLE, Pool},
    route::{self, Route},
};

/// Connections at once; more wait in the kernel's queue.
const CONNECTIONS: usize = 4096;
/// Requests at once, those that wait for a worker among them.
const REQUESTS: usize = 1024;
/// How long a client may take to send a request's head, and how long a kept connection may rest.
const HEAD_PATIENCE: Duration = Duration::from_secs(30);
/// How long answers may go on after shutdown was asked for.
const GRACE: Duration = Duration::from_secs(3);

/// Functions on a listener, until told to stop.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: CancellationToken,
    accepting: tokio::task::JoinHandle<()>,
}

impl Server {
    /// Serves what the node has published.
    ///
    /// # Errors
    /// The listener has no address.
    pub fn start(listener: TcpListener, node: Node) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let stop = CancellationToken::new();
        let config = &node.settings().config().http;
        let edge = Arc::new(Edge {
            pool: Pool::new(node.clone(), config.sessions()),
            outgoing: Outgoing::new(config.allow_private_hosts),
            requests: Semaphore::new(REQUESTS),
            node,
        });
        let accepting = tokio::spawn(accept(listener, edge, stop.clone()));
        Ok(Server { address, stop, accepting })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops accepting, waits a little for answers under way, then closes what remains.
    pub async fn shutdown(self) {
        self.stop.cancel();
        let _ = self.accepting.await;
    }
}

struct Edge {
    node: Node,
    pool: Pool,
    outgoing: Outgoing,
    requests: Semaphore,
}

/// Figures of a function published here.
struct Own(Arc<Function>);
/// Figures of all others.
struct Foreign(Arc<Functions>, Cid);

impl Tally for Own {
    fn counts(&self) -> &Counts {
        &self.0.counts
    }
    fn name(&self) -> String {
        self.0.publication.path.clone()
    }
}

impl Tally for Foreign {
    fn counts(&self) -> &Counts {
        &self.0.foreign
    }
    fn name(&self) -> String {
        self.1.to_string()
    }
}

async fn accept(listener: TcpListener, edge: Arc<Edge>, stop: CancellationToken) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    let connections = TaskTracker::new();
    let mut tidy = tokio::time::interval(IDLE / 4);
    loop {
        let slot = tokio::select! {
            () = stop.cancelled() => break,
            slot = Arc::clone(&slots).acquire_owned() => slot,
        };
        let accepted = loop {
            tokio::select! {
                () = stop.cancelled() => break None,
                accepted = listener.accept() => break Some(accepted),
                _ = tidy.tick() => edge.pool.tidy(),
            }
        };
        match accepted {
            None => break,
            Some(Ok((stream, _))) => {
                let _ = stream.set_nodelay(true);
                let (edge, stop) = (Arc::clone(&edge), stop.clone());
                connections.spawn(async move {
                    connection(stream, edge, stop).await;
                    drop(slot);
                });
            }
            Some(Err(error)) => {
                // Out of descriptors, mostly. The pause keeps this from becoming a busy loop.
                tracing::warn!(%error, "functions cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    drop(listener);
    connections.close();
    let _ = tokio::time::timeout(GRACE + Duration::from_secs(1), connections.wait()).await;
}

async fn connection(stream: tokio::net::TcpStream, edge: Arc<Edge>, stop: CancellationToken) {
    let service = service_fn(move |request| {
        let edge = Arc::clone(&edge);
        async move { Ok::<_, Infallible>(edge.answer(request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .max_headers(adit_wire::http::MAX_LINES)
        .max_buf_size(128 << 10)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => {
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection to a function ended early");
            }
        }
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let _ = tokio::time::timeout(GRACE, connection).await;
        }
    }
}

impl Edge {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let config = &self.node.settings().config().http;
        let Ok(_room) = self.requests.try_acquire() else {
            let mut busy = plain(StatusCode::SERVICE_UNAVAILABLE, "too many requests at once");
            busy.headers_mut().insert("retry-after", hyper::header::HeaderValue::from_static("1"));
            return busy;
        };
        let (parts, mut body) = request.into_parts();
        if parts.method == Method::CONNECT {
            return plain(StatusCode::METHOD_NOT_ALLOWED, "functions make no tunnels");
        }
        let Some(authority) = route::host(&parts.uri, &parts.headers, &config.hosts) else {
            return plain(
                StatusCode::MISDIRECTED_REQUEST,
                "functions are not served under this host name (the setting http.hosts names more)",
            );
        };
        let (tally, code, publisher, target): (Arc<dyn Tally>, _, _, _) =
            match route::route(&self.node, &parts.uri) {
                Route::Published(function, target) => {
                    let (code, hosts) = (function.publication.code, function.publication.hosts.clone());
                    (Arc::new(Own(function)), code, hosts, target)
                }
                Route::Foreign(code, target) => {
                    let tally = Foreign(Arc::clone(self.node.functions()), code);
                    // Who published it elsewhere, and for which hosts, is nothing that a CID says.
                    (Arc::new(tally), code, Vec::new(), target)
                }
                Route::Nothing => return plain(StatusCode::NOT_FOUND, "no function is published here"),
                Route::Malformed => return plain(StatusCode::BAD_REQUEST, "this path is not plain"),
            };
        let Some(lines) = head::lines(&parts.headers) else {
            return plain(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "the headers are too long");
        };
        if target.len() > MAX_TARGET || authority.len() > MAX_TARGET {
            return plain(StatusCode::URI_TOO_LONG, "the path is too long");
        }
        if parts.method.as_str().len() > adit_wire::http::MAX_METHOD {
            return plain(StatusCode::NOT_IMPLEMENTED, "no such method");
        }
        if body.size_hint().lower() > config.max_body.0 {
            return plain(StatusCode::PAYLOAD_TOO_LARGE, "the body is too long");
        }
        let Span(timeout) = config.timeout;
        let until = Instant::now() + timeout;
        let first = match first_piece(&mut body, until).await {
            Ok(first) => first,
            Err(status) => return plain(status, "the body did not come"),
        };
        let lent = match tokio::time::timeout_at(until.into(), self.pool.take(code, timeout)).await {
            Err(_) => return plain(StatusCode::SERVICE_UNAVAILABLE, "no worker was free in time"),
            Ok(Err(reason)) => {
                tracing::warn!(%code, reason, "a function cannot be served");
                return plain(StatusCode::BAD_GATEWAY, "the function cannot be served");
            }
            Ok(Ok(lent)) => lent,
        };
        let head =
            RequestHead { method: parts.method.as_str().to_owned(), https: false, authority, target, lines };
        let terms = Terms {
            allowance: Allowance { fuel: config.fuel, memory: config.memory.0 },
            until,
            max_body: config.max_body.0,
            allowed: Allowed::new(&config.allow_hosts, &publisher),
            outgoing: self.outgoing.clone(),
        };
        Exchange::new(lent, terms, tally).answer(head, first, body).await
    }
}
