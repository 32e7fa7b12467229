//! Which gateway a request's host asks for.
//!
//! `Host`, or the authority of an absolute target; `X-Forwarded-Host` before both, for gateways behind a proxy.
//! Either way only hosts that the operator configured, and domains that have a DNSLink, get other answers than a
//! path gateway gives: a forged header can lead its sender astray, and nobody else, since answers that depend on it
//! say so in `Vary`.

use std::net::IpAddr;

use adit_names::{IpnsName, Name, name};
use cid::Cid;
use cid::multibase::Base;
use hyper::header::HeaderValue;
use hyper::{HeaderMap, Uri};

use crate::ask::Space;
use crate::refusal::Refusal;

/// Longest label of a host name (RFC 1035).
const LABEL: usize = 63;

/// What the host is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// Nothing special: `/ipfs/…` and `/ipns/…` are answered.
    Path,
    /// A configured host: `/ipfs/…` and `/ipns/…` are redirected to origins of their own.
    Subdomains {
        /// As it was sent, with its port.
        gateway: String,
    },
    /// `LABEL.ipfs.HOST` or `LABEL.ipns.HOST` of a configured host.
    Origin {
        /// The part of the host that names the root; may have dots in it (`example.org.ipns.HOST`).
        label: String,
        /// Which kind of root.
        space: Space,
        /// HOST, as it was sent, with its port.
        gateway: String,
    },
    /// Some domain, which may have a DNSLink.
    Domain(String),
}

/// How a request reached us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reached {
    /// Which gateway.
    pub host: Host,
    /// `http` or `https`, as far as the client sees it.
    pub scheme: &'static str,
    /// Whether a forwarding header had a say.
    pub forwarded: bool,
}

/// Reads the host of a request. `known` are configured host names, without port, in lower case.
pub fn reached(uri: &Uri, headers: &HeaderMap, known: &[String]) -> Reached {
    let text = |name: &str| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let forwarded_host =
        text("x-forwarded-host").map(|list| list.split(',').next().unwrap_or_default().trim());
    let forwarded_proto = text("x-forwarded-proto");
    let scheme = match forwarded_proto {
        Some("https") => "https",
        _ => "http",
    };
    let host = forwarded_host
        .or_else(|| uri.authority().map(|authority| authority.as_str()))
        .or_else(|| text("host"))
        .unwrap_or_default();
    Reached {
        host: of(host, known),
        scheme,
        forwarded: forwarded_host.is_some() || forwarded_proto.is_some(),
    }
}

fn of(host: &str, known: &[String]) -> Host {
    // What cannot be a host is none: it must not get into a redirect or a page.
    let sound = host
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b':' | b'[' | b']'));
    if !sound || host.len() > 512 {
        return Host::Path;
    }
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => (name, &host[name.len()..]),
        _ => (host, ""),
    };
    let lower = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    if known.contains(&lower) {
        return Host::Subdomains { gateway: format!("{lower}{port}") };
    }
    for gateway in known {
        let Some(rest) = lower.strip_suffix(gateway.as_str()).and_then(|rest| rest.strip_suffix('.')) else {
            continue;
        };
        for space in [Space::Ipfs, Space::Ipns] {
            let label = rest.strip_suffix(space.text()).and_then(|rest| rest.strip_suffix('.'));
            if let Some(label) = label.filter(|label| !label.is_empty()) {
                let gateway = format!("{gateway}{port}");
                return Host::Origin { label: label.to_owned(), space, gateway };
            }
        }
    }
    let address = lower.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok();
    match name::domain(&lower) {
        Some(domain) if !address => Host::Domain(domain),
        _ => Host::Path,
    }
}

/// A root as the label of a host: CIDv1 in base32, or base36 where only that is short enough; names with
/// their dots replaced.
///
/// # Errors
/// What does not fit into a label.
pub fn label(space: Space, root: &str) -> Result<String, Refusal> {
    let label = match space {
        Space::Ipfs => {
            let cid: Cid = root.parse().map_err(|_| invalid(space, root))?;
            let cid =
                if cid.codec() == name::LIBP2P_KEY { cid } else { Cid::new_v1(cid.codec(), *cid.hash()) };
            let base32 = cid.to_string_of_base(Base::Base32Lower).map_err(|_| invalid(space, root))?;
            if base32.len() <= LABEL {
                base32
            } else {
                cid.to_string_of_base(Base::Base36Lower).map_err(|_| invalid(space, root))?
            }
        }
        Space::Ipns => match root.parse::<Name>().map_err(|_| invalid(space, root))? {
            Name::Key(key) => key.to_string(),
            Name::Domain(domain) => inline(&domain),
        },
    };
    if label.len() > LABEL {
        return Err(too_long(&label));
    }
    Ok(label)
}

/// The refusal of a label that DNS could not carry.
pub fn too_long(label: &str) -> Refusal {
    Refusal::bad(format!("CID incompatible with DNS label length limit of {LABEL}: {label:.200}"))
}

/// Whether a label fits into DNS.
pub fn fits(label: &str) -> bool {
    label.split('.').all(|part| part.len() <= LABEL)
}

/// The refusal of a root that is none.
pub fn invalid(space: Space, root: &str) -> Refusal {
    let kind = if space == Space::Ipfs { "a CID" } else { "an IPNS name or a domain with DNSLink" };
    Refusal::bad(format!("invalid path \"/{}/{}\": not {kind}", space.text(), crate::ask::short(root)))
}

/// A domain as one label: `-` becomes `--`, `.` becomes `-`.
pub fn inline(domain: &str) -> String {
    domain.replace('-', "--").replace('.', "-")
}

/// The domain that a label stands for; the inverse of [`inline`].
pub fn uninline(label: &str) -> String {
    label.replace("--", "\0").replace('-', ".").replace('\0', "-")
}

/// The key that a label names, and whether it is spelled as it has to be for an origin.
pub fn key(label: &str) -> Option<(IpnsName, bool)> {
    let key: IpnsName = label.parse().ok()?;
    let canonical = key.to_string() == label;
    Some((key, canonical))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> Host {
        of(text, &["localhost".into(), "gw.example.com".into()])
    }

    #[test]
    fn configured_hosts_are_told_from_others() {
        assert_eq!(host("localhost:4714"), Host::Subdomains { gateway: "localhost:4714".into() });
        assert_eq!(host("GW.example.com"), Host::Subdomains { gateway: "gw.example.com".into() });
        assert_eq!(
            host("a.b.ipns.localhost:80"),
            Host::Origin { label: "a.b".into(), space: Space::Ipns, gateway: "localhost:80".into() }
        );
        assert_eq!(host("evilgw.example.com"), Host::Domain("evilgw.example.com".into()));
        for path in
            ["127.0.0.1:4714", "[::1]:4714", "", "somebody", "a b", "a<b>.example.com", "x\"y.localhost"]
        {
            assert_eq!(host(path), Host::Path, "{path}");
        }
        assert_eq!(host("ipfs.localhost"), Host::Domain("ipfs.localhost".into()));
    }

    #[test]
    fn a_forged_forwarded_host_names_no_host_of_its_own() {
        let mut headers = HeaderMap::new();
        headers.insert("host", "127.0.0.1".parse().unwrap());
        headers.insert("x-forwarded-host", "evil.example, localhost".parse().unwrap());
        headers.insert("x-forwarded-proto", "javascript".parse().unwrap());
        let reached = reached(&"/".parse().unwrap(), &headers, &["localhost".into()]);
        assert_eq!(reached.host, Host::Domain("evil.example".into()));
        assert_eq!(reached.scheme, "http");
        assert!(reached.forwarded);
    }

    #[test]
    fn labels_fit_or_say_so() {
        assert_eq!(uninline(&inline("en.wikipedia-on-ipfs.org")), "en.wikipedia-on-ipfs.org");
        assert_eq!(inline("en.wikipedia-on-ipfs.org"), "en-wikipedia--on--ipfs-org");
        let v0 = "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn";
        assert!(label(Space::Ipfs, v0).unwrap().starts_with("bafybei"));
        assert!(label(Space::Ipfs, "QmInvalidCID").unwrap_err().message.contains("invalid path"));
    }
}
