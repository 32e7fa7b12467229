//! Connections, and where they may go.
//!
//! Provider records come from strangers. A stranger who could make this node send requests to `10.0.0.1` would use it
//! as a proxy into its operator's network. So the *resolved* addresses are checked, and the connection goes to that very
//! address: a name that resolves to something else a moment later changes nothing.

use std::{
    future::Future,
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Empty;
use hyper::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy,
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use tokio::net::TcpStream;

use crate::limits::{ADDRESSES, HEAD_BYTES, HEAD_LINES, Limits};

/// How long an unused connection is kept.
const KEPT: Duration = Duration::from_secs(30);

pub(crate) type Http = legacy::Client<HttpsConnector<Dialler>, Empty<Bytes>>;

/// Who named a gateway, which decides where it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// The operator: it may be anywhere.
    Operator,
    /// Somebody on the network: only public addresses are connected with.
    Stranger,
}

impl Trust {
    /// Whether a gateway may be at this address.
    pub fn allows(self, ip: IpAddr) -> bool {
        self == Trust::Operator || is_public(ip)
    }
}

/// Connections to gateways. Cheap to clone; clones share them.
#[derive(Clone, Debug)]
pub struct Client {
    operator: Http,
    stranger: Http,
    pub(crate) limits: Limits,
}

impl Client {
    /// Nothing is connected yet.
    pub fn new(limits: Limits) -> Self {
        // Two pools: a connection that the operator's trust allowed must not serve a stranger's name.
        Self { operator: http(Trust::Operator, &limits), stranger: http(Trust::Stranger, &limits), limits }
    }

    pub(crate) fn http(&self, trust: Trust) -> &Http {
        match trust {
            Trust::Operator => &self.operator,
            Trust::Stranger => &self.stranger,
        }
    }
}

fn http(trust: Trust, limits: &Limits) -> Http {
    let dialler = Dialler { trust, timeout: limits.connect };
    // The provider is named because this process may link two: libp2p brings its own.
    let tls = HttpsConnectorBuilder::new()
        .with_provider_and_webpki_roots(rustls::crypto::ring::default_provider())
        .expect("ring offers the default protocol versions")
        .https_or_http()
        .enable_http1()
        .wrap_connector(dialler);
    legacy::Client::builder(TokioExecutor::new())
        .pool_idle_timeout(KEPT)
        .pool_timer(TokioTimer::new())
        .pool_max_idle_per_host(limits.parallel)
        .http1_max_buf_size(HEAD_BYTES)
        .http1_max_headers(HEAD_LINES)
        .build(tls)
}

/// The name leads nowhere that is allowed.
#[derive(Debug, thiserror::Error)]
#[error("not a public address")]
pub(crate) struct NotPublic;

/// Opens TCP connections to allowed addresses.
#[derive(Clone, Debug)]
pub(crate) struct Dialler {
    trust: Trust,
    timeout: Duration,
}

impl tower::Service<Uri> for Dialler {
    type Response = TokioIo<TcpStream>;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let dialler = self.clone();
        Box::pin(async move { dialler.dial(&uri).await.map(TokioIo::new) })
    }
}

impl Dialler {
    async fn dial(&self, uri: &Uri) -> Result<TcpStream, Box<dyn std::error::Error + Send + Sync>> {
        let host = uri.host().unwrap_or("").trim_start_matches('[').trim_end_matches(']');
        let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
        let found: Vec<SocketAddr> = match host.parse::<IpAddr>() {
            Ok(ip) => vec![(ip, port).into()],
            Err(_) => {
                tokio::time::timeout(self.timeout, tokio::net::lookup_host((host, port))).await??.collect()
            }
        };
        let allowed: Vec<_> = found.iter().filter(|a| self.trust.allows(a.ip())).take(ADDRESSES).collect();
        if allowed.is_empty() && !found.is_empty() {
            return Err(NotPublic.into());
        }
        let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in allowed {
            match tokio::time::timeout(self.timeout, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    stream.set_nodelay(true)?;
                    return Ok(stream);
                }
                Ok(Err(error)) => failure = error,
                Err(_) => failure = io::ErrorKind::TimedOut.into(),
            }
        }
        Err(failure.into())
    }
}

/// Whether an address belongs to the public internet. Whatever embeds an IPv4 address is what that address is.
fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            let special = matches!(
                (a, b, c),
                (0 | 10 | 127, ..)
                    | (100, 64..=127, _)
                    | (192, 0, 0)
                    | (192, 88, 99)
                    | (198, 18 | 19, _)
                    | (240.., ..)
            );
            !(special
                || ip.is_private()
                || ip.is_link_local()
                || ip.is_multicast()
                || ip.is_documentation()
                || ip.is_broadcast())
        }
        IpAddr::V6(ip) => {
            if let Some(inner) = embedded(ip) {
                return is_public(inner);
            }
            let [first, second, ..] = ip.segments();
            // Only what is assigned to the internet at all (2000::/3), without documentation, Teredo and ORCHID.
            first & 0xe000 == 0x2000
                && !(first == 0x2001 && (second == 0xdb8 || second < 0x200))
                && first != 0x3fff
        }
    }
}

/// The IPv4 address inside of mapped, translated (NAT64) and 6to4 addresses.
fn embedded(ip: Ipv6Addr) -> Option<IpAddr> {
    let s = ip.segments();
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Some(IpAddr::from([a, b, c, d]))
    };
    match s {
        [0, 0, 0, 0, 0, 0xffff | 0, high, low] if high != 0 => v4(high, low),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => v4(high, low),
        [0x2002, high, low, ..] => v4(high, low),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_may_name_public_addresses_alone() {
        for (text, public) in [
            ("1.1.1.1", true),
            ("9.9.9.9", true),
            ("100.128.0.1", true),
            ("172.32.0.1", true),
            ("127.0.0.1", false),
            ("0.0.0.0", false),
            ("10.1.2.3", false),
            ("172.16.0.1", false),
            ("192.168.0.1", false),
            ("169.254.169.254", false),
            ("100.64.0.1", false),
            ("224.0.0.1", false),
            ("240.0.0.1", false),
            ("255.255.255.255", false),
            ("198.18.0.1", false),
            ("192.0.2.1", false),
            ("2606:4700::1111", true),
            ("::1", false),
            ("::", false),
            ("fe80::1", false),
            ("fd00::1", false),
            ("ff02::1", false),
            ("2001:db8::1", false),
            ("::ffff:127.0.0.1", false),
            ("::ffff:1.1.1.1", true),
            ("64:ff9b::a00:1", false),
            ("64:ff9b::101:101", true),
            ("2002:7f00:1::", false),
            ("::7f00:1", false),
            ("2001::1", false),
            ("fec0::1", false),
        ] {
            let ip = text.parse().unwrap();
            assert_eq!(Trust::Stranger.allows(ip), public, "{text}");
            assert!(Trust::Operator.allows(ip));
        }
    }
}
