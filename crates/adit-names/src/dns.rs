//! TXT entries from DNS, and from a table.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::RData;
use std::time::Instant;

use crate::limits;
use crate::name::{NamePath, domain};
use crate::system::{Txt, TxtAnswer};

/// DNS, by the servers that the operating system is set up with, or others.
pub struct Dns(TokioResolver);

impl Dns {
    /// Reads the system's settings.
    ///
    /// # Errors
    /// A text where they cannot be read.
    pub fn of_system() -> Result<Self, String> {
        let builder = TokioResolver::builder_tokio().map_err(|error| error.to_string())?;
        builder.build().map(Self).map_err(|error| error.to_string())
    }

    /// Asks these servers, over UDP, and over TCP what is too long for that.
    ///
    /// # Errors
    /// A text where a resolver cannot be made.
    pub fn of_servers(servers: &[SocketAddr]) -> Result<Self, String> {
        let server = |at: &SocketAddr| {
            let mut server = NameServerConfig::udp_and_tcp(at.ip());
            server.connections.iter_mut().for_each(|connection| connection.port = at.port());
            server
        };
        let config = ResolverConfig::from_name_servers(servers.iter().map(server).collect());
        let builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        builder.build().map(Self).map_err(|error| error.to_string())
    }
}

#[async_trait]
impl Txt for Dns {
    async fn txt(&self, domain: &str) -> Result<TxtAnswer, String> {
        // The root's dot: no search domains.
        let lookup = match self.0.txt_lookup(format!("{domain}.")).await {
            Ok(lookup) => lookup,
            Err(error) if error.is_no_records_found() => return Ok(TxtAnswer::default()),
            Err(error) => return Err(error.to_string()),
        };
        let ttl = lookup.valid_until().saturating_duration_since(Instant::now());
        let texts = lookup.answers().iter().filter_map(|record| match &record.data {
            RData::TXT(txt) => Some(txt.txt_data.concat()),
            _ => None,
        });
        let texts = texts
            .take(limits::TXT_ENTRIES)
            .filter(|text| text.len() <= limits::VALUE + "dnslink=".len())
            .filter_map(|text| String::from_utf8(text).ok())
            .collect();
        Ok(TxtAnswer { texts, ttl: Some(ttl) })
    }
}

/// Nobody to ask: every domain is without entries.
pub struct NoDns;

#[async_trait]
impl Txt for NoDns {
    async fn txt(&self, _: &str) -> Result<TxtAnswer, String> {
        Ok(TxtAnswer::default())
    }
}

/// Links that an operator wrote down, as `/etc/hosts` does for addresses; other domains go to DNS.
pub struct TxtTable {
    links: HashMap<String, String>,
    behind: Arc<dyn Txt>,
}

impl TxtTable {
    /// Reads lines `DOMAIN PATH`; `#` begins a comment.
    ///
    /// # Errors
    /// The line that is wrong, and why.
    pub fn parse(text: &str, behind: Arc<dyn Txt>) -> Result<Self, String> {
        let mut links = HashMap::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            let wrong = |why: &str| {
                format!("line {}: {why}; write DOMAIN /ipfs/CID or DOMAIN /ipns/NAME", number + 1)
            };
            let (name, path) = line.split_once(char::is_whitespace).ok_or_else(|| wrong("no path"))?;
            let name = domain(name).ok_or_else(|| wrong("not a domain"))?;
            let path: NamePath = path.trim().parse().map_err(|error| wrong(&format!("{error}")))?;
            links.insert(name, format!("dnslink={path}"));
        }
        Ok(Self { links, behind })
    }
}

#[async_trait]
impl Txt for TxtTable {
    async fn txt(&self, domain: &str) -> Result<TxtAnswer, String> {
        let written = domain.strip_prefix("_dnslink.").and_then(|domain| self.links.get(domain));
        match written {
            Some(text) => Ok(TxtAnswer { texts: vec![text.clone()], ttl: None }),
            None => self.behind.txt(domain).await,
        }
    }
}
