//! Host and Origin checks: the API is for programs, and for the web pages that the operator names.
//!
//! A browser sends requests for any page that asks it to, also to loopback addresses. Two headers that pages cannot
//! forge tell such requests apart. `Host` must name this server: after DNS rebinding, a page's own domain leads here,
//! but the header still names that domain. `Origin`, where there is one, must be on the operator's list: by default
//! no page may call.

use crate::error::{ApiError, Code};
use axum::http::header::{HOST, HeaderMap, HeaderValue, ORIGIN};
use std::net::{IpAddr, SocketAddr};

/// The names under which this server may be called, and the pages that may call it.
#[derive(Debug, Clone)]
pub struct Guard {
    hosts: Vec<String>,
    origins: Vec<String>,
}

impl Guard {
    /// Loopback names and the address that is listened on are allowed always; `hosts` and `origins` are the operator's.
    pub fn new(listen: SocketAddr, hosts: &[String], origins: &[String]) -> Self {
        let mut allowed: Vec<String> = hosts.iter().map(|host| host.to_ascii_lowercase()).collect();
        if !listen.ip().is_unspecified() {
            allowed.push(match listen.ip() {
                IpAddr::V4(ip) => ip.to_string(),
                IpAddr::V6(ip) => format!("[{ip}]"),
            });
        }
        Self { hosts: allowed, origins: origins.iter().map(|o| o.trim_end_matches('/').to_owned()).collect() }
    }

    /// Refuses a request that was addressed to somebody else, or that an unknown page sent.
    pub fn check(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        let mut hosts = headers.get_all(HOST).iter();
        let host = match (hosts.next(), hosts.next()) {
            (Some(host), None) => host.to_str().unwrap_or_default(),
            _ => return Err(ApiError::new(Code::ForbiddenHost, "the request needs exactly one Host header")),
        };
        if !self.is_our_name(without_port(host)) {
            return Err(ApiError::new(
                Code::ForbiddenHost,
                "this server is not known under the Host of this request",
            )
            .hint("add the name with `adit config set api.hosts NAME` if it is yours"));
        }
        match headers.get(ORIGIN) {
            Some(origin) if !self.allows_origin(origin) => {
                Err(ApiError::new(Code::ForbiddenOrigin, "web pages of this Origin may not call this server")
                    .hint("add the origin with `adit config set api.origins ORIGIN` if you trust the page"))
            }
            _ => Ok(()),
        }
    }

    /// Whether a browser may show this origin's pages our answers.
    pub fn allows_origin(&self, origin: &HeaderValue) -> bool {
        origin.to_str().is_ok_and(|origin| self.origins.iter().any(|allowed| allowed == origin))
    }

    fn is_our_name(&self, name: &str) -> bool {
        const LOOPBACK: [&str; 3] = ["127.0.0.1", "localhost", "[::1]"];
        LOOPBACK.iter().any(|known| name.eq_ignore_ascii_case(known))
            || self.hosts.iter().any(|known| name.eq_ignore_ascii_case(known))
    }
}

/// The name in a Host header: everything before the port, brackets of IPv6 included.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard() -> Guard {
        Guard::new(
            "10.0.0.7:4713".parse().unwrap(),
            &["node.example".to_owned()],
            &["https://dash.example/".to_owned()],
        )
    }

    fn verdict(pairs: &[(&'static str, &'static str)]) -> Result<(), Code> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        guard().check(&headers).map_err(|error| error.code())
    }

    #[test]
    fn names_of_this_server_pass() {
        let ours =
            ["127.0.0.1:4713", "localhost", "LOCALHOST:80", "[::1]:4713", "10.0.0.7:4713", "node.example"];
        for host in ours {
            assert_eq!(verdict(&[("host", host)]), Ok(()), "{host}");
        }
    }

    #[test]
    fn a_rebound_name_or_a_missing_one_is_refused() {
        let others =
            ["evil.example:4713", "127.0.0.1.evil.example", "localhost.evil.example", "", "[::1]evil:1"];
        for host in others {
            assert_eq!(verdict(&[("host", host)]), Err(Code::ForbiddenHost), "{host}");
        }
        assert_eq!(verdict(&[]), Err(Code::ForbiddenHost));
        assert_eq!(verdict(&[("host", "localhost"), ("host", "evil.example")]), Err(Code::ForbiddenHost));
    }

    #[test]
    fn only_named_pages_may_call() {
        let from = |origin| verdict(&[("host", "localhost"), ("origin", origin)]);
        assert_eq!(from("https://dash.example"), Ok(()));
        for origin in ["https://evil.example", "null", "http://dash.example", "http://localhost:4713"] {
            assert_eq!(from(origin), Err(Code::ForbiddenOrigin), "{origin}");
        }
    }
}
