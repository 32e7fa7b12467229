//! Requests of functions to others.
//!
//! A host must be on the operator's list and on the publisher's. A name is resolved here, each address is looked at,
//! and the connection goes to one that passed: what the name means a moment later changes nothing. Redirects are
//! answers like any other: following one is a new request, judged anew.

use std::{
    error::Error,
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use adit_node::functions::HostRule;
use adit_retrieval::Trust;
use adit_wire::http::{MAX_HEAD, MAX_LINES, RequestHead, ResponseHead, Trouble};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, Request, Uri, body::Incoming, http::uri::Authority};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy,
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use tokio::net::TcpStream;

use crate::head;

/// How long an unused connection is kept.
const KEPT: Duration = Duration::from_secs(15);
/// How long a name may take to resolve, and how long a connection to be made.
const CONNECT: Duration = Duration::from_secs(5);
/// Addresses of one name that are tried.
const ADDRESSES: usize = 4;
/// Longest body of a request of a function.
pub(crate) const MAX_SENT: usize = 4 << 20;
/// Longest body of an answer to one.
pub(crate) const MAX_RECEIVED: u64 = 64 << 20;

/// The way out. Cheap to clone; clones share connections.
#[derive(Clone)]
pub(crate) struct Outgoing {
    client: legacy::Client<HttpsConnector<Dialler>, Full<Bytes>>,
}

/// Whom a function may ask.
#[derive(Clone, Default)]
pub(crate) struct Allowed {
    operator: Vec<HostRule>,
    publisher: Vec<HostRule>,
}

impl Allowed {
    pub(crate) fn new(operator: &[String], publisher: &[String]) -> Self {
        let rules = |list: &[String]| list.iter().filter_map(|rule| HostRule::parse(rule)).collect();
        Allowed { operator: rules(operator), publisher: rules(publisher) }
    }

    /// Where such a request would go.
    fn judge(&self, head: &RequestHead) -> Result<Uri, Trouble> {
        let authority: Authority = head.authority.parse().map_err(|_| Trouble::InvalidTarget)?;
        // A user before the host is how a host is disguised.
        if head.authority.contains('@') || authority.host().is_empty() || !head.target.starts_with('/') {
            return Err(Trouble::InvalidTarget);
        }
        // Not by `Authority::port`, to which a port that is no number is none.
        let port =
            match authority.as_str().strip_prefix(authority.host()).and_then(|rest| rest.strip_prefix(':')) {
                Some(port) => port.parse().map_err(|_| Trouble::InvalidTarget)?,
                None if head.https => 443,
                None => 80,
            };
        let host = authority.host().to_ascii_lowercase();
        let host = host.strip_suffix('.').unwrap_or(&host);
        let listed = |rules: &[HostRule]| rules.iter().any(|rule| rule.allows(host, port));
        if !listed(&self.operator) || !listed(&self.publisher) {
            return Err(Trouble::Denied);
        }
        let scheme = if head.https { "https" } else { "http" };
        let uri = Uri::builder().scheme(scheme).authority(authority).path_and_query(&*head.target).build();
        uri.map_err(|_| Trouble::InvalidTarget)
    }
}

impl Outgoing {
    pub(crate) fn new(private: bool) -> Self {
        // The provider is named because this process may link two: libp2p brings its own.
        let tls = HttpsConnectorBuilder::new()
            .with_provider_and_webpki_roots(rustls::crypto::ring::default_provider())
            .expect("ring offers the default protocol versions")
            .https_or_http()
            .enable_http1()
            .wrap_connector(Dialler { trust: if private { Trust::Operator } else { Trust::Stranger } });
        let client = legacy::Client::builder(TokioExecutor::new())
            .pool_idle_timeout(KEPT)
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(16)
            .http1_max_buf_size(4 * MAX_HEAD)
            .http1_max_headers(MAX_LINES)
            .build(tls);
        Outgoing { client }
    }

    /// Sends a request, if it is allowed. The body of the answer is still to come.
    pub(crate) async fn send(
        &self,
        allowed: &Allowed,
        head: RequestHead,
        body: Bytes,
    ) -> Result<(ResponseHead, Incoming), Trouble> {
        let uri = allowed.judge(&head)?;
        let method = Method::from_bytes(head.method.as_bytes()).map_err(|_| Trouble::InvalidTarget)?;
        if method == Method::CONNECT {
            return Err(Trouble::Denied);
        }
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        let mut headers = head::headers(head.lines);
        // It follows from the body.
        headers.remove("content-length");
        *request.headers_mut() = headers;
        let response = self.client.request(request).await.map_err(|error| trouble_of(&error))?;
        let lines = head::lines(response.headers()).ok_or(Trouble::HeadTooLong)?;
        Ok((ResponseHead { status: response.status().as_u16(), lines }, response.into_body()))
    }
}

/// What the innermost reason means to the function.
fn trouble_of(error: &(dyn Error + 'static)) -> Trouble {
    let mut next = Some(error);
    let mut found = Trouble::Terminated;
    while let Some(error) = next {
        if let Some(DialError(trouble)) = error.downcast_ref() {
            return *trouble;
        }
        if error.is::<rustls::Error>() {
            return Trouble::Tls;
        }
        if let Some(error) = error.downcast_ref::<hyper::Error>() {
            if error.is_parse() {
                found = Trouble::Protocol;
            }
            if error.is_incomplete_message() {
                found = Trouble::Incomplete;
            }
        }
        // What rustls says comes inside of an error of I/O.
        if let Some(inner) = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref)
            && inner.is::<rustls::Error>()
        {
            return Trouble::Tls;
        }
        next = error.source();
    }
    found
}

#[derive(Debug)]
struct DialError(Trouble);

impl std::fmt::Display for DialError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl Error for DialError {}

/// Opens TCP connections to addresses that functions may reach.
#[derive(Clone, Debug)]
struct Dialler {
    trust: Trust,
}

impl tower::Service<Uri> for Dialler {
    type Response = TokioIo<TcpStream>;
    type Error = DialError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let trust = self.trust;
        Box::pin(async move { dial(trust, &uri).await.map(TokioIo::new).map_err(DialError) })
    }
}

async fn dial(trust: Trust, uri: &Uri) -> Result<TcpStream, Trouble> {
    let host = uri.host().unwrap_or("").trim_start_matches('[').trim_end_matches(']');
    let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
    let found: Vec<SocketAddr> = match host.parse::<IpAddr>() {
        Ok(ip) => vec![(ip, port).into()],
        Err(_) => match tokio::time::timeout(CONNECT, tokio::net::lookup_host((host, port))).await {
            Err(_) => return Err(Trouble::NameTimeout),
            Ok(Err(_)) => return Err(Trouble::NameUnknown),
            Ok(Ok(found)) => found.collect(),
        },
    };
    connect(trust, &found).await
}

/// Connects to the first of these addresses that may be reached and can be.
async fn connect(trust: Trust, found: &[SocketAddr]) -> Result<TcpStream, Trouble> {
    if found.is_empty() {
        return Err(Trouble::NameUnknown);
    }
    let mut trouble = Trouble::AddressProhibited;
    for address in found.iter().filter(|address| trust.allows(address.ip())).take(ADDRESSES) {
        match tokio::time::timeout(CONNECT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(_)) => trouble = Trouble::Refused,
            Err(_) => trouble = Trouble::ConnectTimeout,
        }
    }
    Err(trouble)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(authority: &str, https: bool) -> RequestHead {
        RequestHead {
            method: "GET".into(),
            https,
            authority: authority.into(),
            target: "/".into(),
            lines: vec![],
        }
    }

    #[test]
    fn both_lists_must_name_the_host() {
        let lists = |operator: &[&str], publisher: &[&str]| {
            let owned = |list: &[&str]| list.iter().map(|rule| (*rule).to_owned()).collect::<Vec<_>>();
            Allowed::new(&owned(operator), &owned(publisher))
        };
        let both = lists(&["a.example", "b.example"], &["a.example", "c.example"]);
        assert!(both.judge(&ask("a.example", true)).is_ok());
        assert!(both.judge(&ask("A.EXAMPLE.", false)).is_ok());
        for host in ["b.example", "c.example", "d.example", "a.example:81", "127.0.0.1", "xa.example"] {
            assert_eq!(both.judge(&ask(host, true)).unwrap_err(), Trouble::Denied, "{host}");
        }
        for host in ["", "a.example@b.example", "user@a.example", "a.example/x", "a.example:x", "a b"] {
            assert_eq!(both.judge(&ask(host, true)).unwrap_err(), Trouble::InvalidTarget, "{host}");
        }
        assert_eq!(lists(&[], &["a.example"]).judge(&ask("a.example", true)).unwrap_err(), Trouble::Denied);
        assert_eq!(lists(&["a.example"], &[]).judge(&ask("a.example", true)).unwrap_err(), Trouble::Denied);
    }

    /// What a name that is rebound leads to: addresses are judged after the name was resolved.
    #[tokio::test]
    async fn a_listed_name_that_leads_inside_is_refused() {
        for ip in [
            "127.0.0.1",
            "10.0.0.1",
            "169.254.169.254",
            "100.64.0.1",
            "224.0.0.1",
            "::1",
            "fe80::1",
            "fd00::1",
        ] {
            let address = SocketAddr::new(ip.parse().unwrap(), 9);
            let refused = connect(Trust::Stranger, &[address]).await.unwrap_err();
            assert_eq!(refused, Trouble::AddressProhibited, "{ip}");
        }
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        assert!(connect(Trust::Operator, &[address]).await.is_ok());
        assert_eq!(connect(Trust::Stranger, &[address]).await.unwrap_err(), Trouble::AddressProhibited);
    }
}
