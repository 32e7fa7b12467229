//! Where a gateway is: a URL, or a multiaddress as provider records carry it.

use std::{fmt, net::IpAddr, str::FromStr};

use hyper::Uri;
use percent_encoding::percent_decode_str;

/// Longest text that is looked at.
const LONGEST: usize = 1024;

/// The base of a gateway's (or router's) URLs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    https: bool,
    /// An IPv6 address stands in brackets.
    host: String,
    port: u16,
    /// Begins with `/` unless it is empty; does not end with one.
    base: String,
}

/// A text that names no gateway.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{text}` is no gateway ({why}): write http://HOST:PORT, https://HOST, or /dns4/HOST/tcp/443/https")]
pub struct InvalidEndpoint {
    text: String,
    why: &'static str,
}

impl Endpoint {
    /// The host of the URL.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The URL of a path below it. The path begins with `/`.
    pub(crate) fn url(&self, path: &str) -> Result<Uri, hyper::http::Error> {
        let scheme = if self.https { "https" } else { "http" };
        let authority = format!("{}:{}", self.host, self.port);
        Uri::builder()
            .scheme(scheme)
            .authority(authority)
            .path_and_query(format!("{}{path}", self.base))
            .build()
    }

    /// What the `Host` header says. Kubo sends whoever calls it `localhost` on to a subdomain, which is of use to
    /// browsers alone, and serves those who call it by its address.
    pub(crate) fn host_header(&self) -> String {
        let host = if self.host == "localhost" { "127.0.0.1" } else { &self.host };
        match (self.https, self.port) {
            (false, 80) | (true, 443) => host.to_owned(),
            (_, port) => format!("{host}:{port}"),
        }
    }

    fn from_url(text: &str) -> Result<Self, &'static str> {
        let uri: Uri = text.parse().map_err(|_| "it is no URL")?;
        let https = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err("only http and https are spoken"),
        };
        let authority = uri.authority().ok_or("it has no host")?;
        if authority.as_str().contains('@') {
            return Err("a password would end up in logs");
        }
        if uri.query().is_some() {
            return Err("it has a query");
        }
        let port = match authority.port() {
            Some(port) => port.as_str().parse().map_err(|_| "its port is no number")?,
            None if https => 443,
            None => 80,
        };
        Self::new(https, authority.host(), port, uri.path())
    }

    fn new(https: bool, host: &str, port: u16, base: &str) -> Result<Self, &'static str> {
        let host = host.to_ascii_lowercase();
        if host.is_empty() || port == 0 {
            return Err("it has no host or port");
        }
        let base = base.trim_end_matches('/');
        // Some people paste the path under which content lies.
        let base = base.strip_suffix("/ipfs").unwrap_or(base).to_owned();
        let endpoint = Self { https, host, port, base };
        endpoint.url("/").map_err(|_| "it is no URL")?;
        Ok(endpoint)
    }

    /// `/ip4/…/tcp/80/http`, `/dns4/…/tcp/443/https`, `/dns/…/tcp/443/tls/http`, with `/http-path/…` and `/p2p/…` after
    /// it or not.
    fn from_multiaddr(text: &str) -> Result<Self, &'static str> {
        let mut parts = text.trim_start_matches('/').split('/');
        let mut next = || parts.next().unwrap_or("");
        let (kind, host) = (next(), next());
        let host = match kind {
            "ip4" | "ip6" => match host.parse::<IpAddr>().map_err(|_| "its address is none")? {
                IpAddr::V6(ip) => format!("[{ip}]"),
                IpAddr::V4(ip) => ip.to_string(),
            },
            "dns" | "dns4" | "dns6" => host.to_owned(),
            _ => return Err("it begins with neither ip4, ip6 nor dns"),
        };
        if next() != "tcp" {
            return Err("it is not over TCP");
        }
        let port = next().parse().map_err(|_| "its port is no number")?;
        let (mut https, mut http, mut base) = (false, false, String::new());
        loop {
            match next() {
                "" => break,
                "https" => (https, http) = (true, true),
                "tls" => https = true,
                "sni" => drop(next()),
                "http" => http = true,
                "http-path" => {
                    let path = percent_decode_str(next()).decode_utf8().map_err(|_| "its path is no text")?;
                    base = format!("/{}", path.trim_start_matches('/'));
                }
                "p2p" => drop(next()),
                _ => return Err("it is not HTTP"),
            }
        }
        if !http {
            return Err("it is not HTTP");
        }
        Self::new(https, &host, port, &base)
    }
}

impl FromStr for Endpoint {
    type Err = InvalidEndpoint;

    fn from_str(text: &str) -> Result<Self, InvalidEndpoint> {
        let text = text.trim();
        let parsed = match text {
            _ if text.len() > LONGEST => Err("it is too long"),
            _ if text.starts_with('/') => Self::from_multiaddr(text),
            _ => Self::from_url(text),
        };
        parsed.map_err(|why| InvalidEndpoint { text: text.chars().take(100).collect(), why })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.https { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.host)?;
        if self.port != if self.https { 443 } else { 80 } {
            write!(f, ":{}", self.port)?;
        }
        f.write_str(&self.base)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_and_multiaddresses_name_gateways() {
        for (text, url) in [
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("https://Gateway.example/", "https://gateway.example"),
            ("https://example.org:444/a/ipfs/", "https://example.org:444/a"),
            ("http://[::1]:8080", "http://[::1]:8080"),
            ("/ip4/1.2.3.4/tcp/80/http", "http://1.2.3.4"),
            ("/dns4/example.org/tcp/443/https", "https://example.org"),
            ("/dns/example.org/tcp/443/tls/http/p2p/12D3Koo", "https://example.org"),
            ("/dns/example.org/tcp/443/tls/sni/example.org/http", "https://example.org"),
            ("/ip6/2001:db8::1/tcp/81/http/http-path/a%2Fb", "http://[2001:db8::1]:81/a/b"),
        ] {
            let endpoint: Endpoint = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(endpoint.to_string(), url, "{text}");
            assert_eq!(url.parse::<Endpoint>().unwrap(), endpoint, "{text}");
        }
    }

    #[test]
    fn other_texts_are_refused_with_a_reason() {
        for text in [
            "",
            "example.org",
            "ftp://example.org",
            "http://",
            "http://user:secret@example.org",
            "http://a/?x=1",
            "http://a:0",
            "/ip4/1.2.3.4/udp/443/quic-v1",
            "/ip4/1.2.3.4/tcp/4001",
            "/ip4/1.2.3.4/tcp/x/http",
            "/ip4/1.2.3.4/tcp/4001/ws",
            "/p2p/12D3Koo",
            "/dns4/a b/tcp/80/http",
            "/dns4/a@b/tcp/80/http/%00",
        ] {
            let error = text.parse::<Endpoint>().map(|e| panic!("{text} is taken for {e}")).unwrap_err();
            assert!(error.to_string().contains("write http://HOST:PORT"));
        }
        assert!("http://".to_owned().repeat(1000).parse::<Endpoint>().is_err());
    }

    #[test]
    fn kubo_is_called_by_its_address() {
        let endpoint: Endpoint = "http://localhost:8080".parse().unwrap();
        assert_eq!(endpoint.host_header(), "127.0.0.1:8080");
        let endpoint: Endpoint = "https://example.org".parse().unwrap();
        assert_eq!(endpoint.host_header(), "example.org");
    }
}
