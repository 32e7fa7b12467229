//! What an operator can set, and where each value came from.
//!
//! A value is taken from a flag, else from the environment, else from `config.toml`, else from the
//! default. [`Settings`] keeps the origin of each, so that `adit config show --origin` can answer
//! "why is it so?". All settings stand in one table ([`table::SETTINGS`]): key, environment
//! variable and meaning; adding one means adding a field and a line there.
//!
//! Secrets never stand here: keys and tokens have files of their own (see [`crate::identity`]).

mod backend;
mod file;
mod table;
mod units;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use adit_model::Accept;
use cid::Cid;

pub use backend::IpfsBackend;
pub use file::{ConfigFile, ConfigFileError};
pub use table::{Origin, SETTINGS, Setting, SettingError, Settings};
pub use units::{ByteSize, Hours, LoopbackAddress, Span};

/// The name of the settings file in a repository.
pub const FILE_NAME: &str = "config.toml";

/// Everything that can be set, with its types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Which network this node belongs to: `ipfs` is the public one; any other name is private.
    pub network: String,
    /// The libp2p swarm.
    pub swarm: SwarmConfig,
    /// The HTTP API.
    pub api: ApiConfig,
    /// The IPFS gateway.
    pub gateway: GatewayConfig,
    /// Gateways of others, to fetch from.
    pub retrieval: RetrievalConfig,
    /// IPNS and DNSLink.
    pub names: NamesConfig,
    /// Kubo's RPC without tokens.
    pub rpc: RpcConfig,
    /// HTTP functions.
    pub http: HttpConfig,
    /// What this node does for others.
    pub host: HostConfig,
    /// How this node runs its own jobs.
    pub jobs: JobsConfig,
    /// Copies of pins: for others, and elsewhere.
    pub pins: PinsConfig,
    /// The block store.
    pub store: StoreConfig,
    /// Who else holds blocks.
    pub ipfs: IpfsConfig,
    /// What is not to be served or used.
    pub deny: DenyConfig,
    /// The enclave process.
    pub enclave: EnclaveConfig,
}

/// Where the swarm listens and whom it knows first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SwarmConfig {
    /// Multiaddresses to listen on.
    pub listen: Vec<String>,
    /// Multiaddresses dialled at start; empty means the network's own list.
    pub bootstrap: Vec<String>,
    /// Whether to look for other nodes on the local network.
    pub mdns: bool,
    /// Whose DHT to take part in.
    pub dht: Dht,
    /// The file of a private swarm's key; empty for a swarm that is open to all.
    pub key_file: PathBuf,
    /// Whether to relay, within limits, for nodes that nobody can dial.
    pub relay_server: bool,
    /// How long others get to confirm that this node can be dialled before it asks for a relay.
    pub relay_after: Span,
    /// Addresses under which the operator knows this node to be reachable.
    pub external: Vec<String>,
}

/// Whose DHT a node takes part in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dht {
    /// That of the network: IPFS's in the public one, else one of Adit nodes alone.
    Auto,
    /// IPFS's own among public addresses.
    Ipfs,
    /// The one that Kubo nodes use among private addresses.
    Lan,
}

impl std::str::FromStr for Dht {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.trim() {
            "auto" => Ok(Dht::Auto),
            "ipfs" => Ok(Dht::Ipfs),
            "lan" => Ok(Dht::Lan),
            other => Err(format!("`{other}` is not one of auto, ipfs, lan")),
        }
    }
}

impl std::fmt::Display for Dht {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Dht::Auto => "auto",
            Dht::Ipfs => "ipfs",
            Dht::Lan => "lan",
        })
    }
}

/// Where the API listens and which browsers may use it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiConfig {
    /// `address:port`; port 0 takes a free one, written to `api.json`.
    pub listen: String,
    /// Host names, beyond the loopback ones, that a request may name.
    pub hosts: Vec<String>,
    /// Origins that a browser's request may come from; none by default.
    pub origins: Vec<String>,
}

/// Where the gateway listens, and what it does for whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayConfig {
    /// `address:port`; port 0 takes a free one, written to `api.json`; empty for no gateway.
    pub listen: String,
    /// Host names whose subdomains are origins of their own.
    pub hosts: Vec<String>,
    /// Whether files and pages are served, or only what the asker can verify.
    pub deserialized: bool,
    /// Whether content that is not here is fetched from the network.
    pub fetch: bool,
}

/// Gateways of others, asked for blocks beside the swarm's peers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RetrievalConfig {
    /// Trustless gateways that are asked for everything that is missing.
    pub gateways: Vec<String>,
    /// Servers of `/routing/v1` that are asked which gateways have something that no peer has.
    pub routers: Vec<String>,
}

/// How names are resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamesConfig {
    /// A file of lines `DOMAIN PATH`, which are taken before a domain's DNSLink; empty for none.
    pub dnslink: PathBuf,
    /// DNS servers that are asked for DNSLinks; empty for the system's.
    pub dns: Vec<SocketAddr>,
}

/// A port of its own for tools that know Kubo's RPC and no tokens.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct RpcConfig {
    /// Where it listens, if the operator wants it at all.
    pub listen: LoopbackAddress,
}

/// Programs that answer HTTP requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpConfig {
    /// `address:port` at which functions are served; port 0 takes a free one; empty for none.
    pub listen: String,
    /// Host names, beyond `localhost` and addresses, under which functions may be asked.
    pub hosts: Vec<String>,
    /// Workers for functions: requests that are answered at the same time.
    pub workers: u32,
    /// Memory for one request.
    pub memory: ByteSize,
    /// Fuel for one request.
    pub fuel: u64,
    /// Longest time for one request.
    pub timeout: Span,
    /// Longest body of a request.
    pub max_body: ByteSize,
    /// Hosts that functions may send requests to, if their publisher lists them too.
    pub allow_hosts: Vec<String>,
    /// Whether such hosts may be at private addresses; for networks of one's own.
    pub allow_private_hosts: bool,
    /// Whether functions that others published run here when asked for by CID.
    pub run: bool,
}

impl HttpConfig {
    /// Sessions of the enclave that functions take.
    pub fn sessions(&self) -> usize {
        if self.listen.is_empty() { 0 } else { self.workers as usize }
    }
}

/// What the operator gives, and to whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostConfig {
    /// Whose jobs are accepted.
    pub accept: Accept,
    /// Jobs that run at the same time; 0 means one for each processor.
    pub cpus: u32,
    /// Memory for all guests together.
    pub memory: ByteSize,
    /// Space for the output that jobs are writing, together.
    pub scratch: ByteSize,
    /// Bytes a second that a job's missing data may be fetched with; 0 means no limit.
    pub bandwidth: ByteSize,
    /// Accepted jobs that may wait for a free slot.
    pub queue: u32,
    /// When other people's jobs are accepted.
    pub hours: Hours,
    /// Longest wall time granted to one job.
    pub longest: Span,
    /// Accounts accepted under `allowlist`.
    pub allow_requesters: Vec<String>,
    /// Accounts never accepted.
    pub deny_requesters: Vec<String>,
    /// If not empty, only these programs run for others.
    pub allow_code: Vec<Cid>,
    /// Programs that never run here.
    pub deny_code: Vec<Cid>,
    /// How long results of other people's jobs are kept.
    pub keep_results: Span,
}

/// How this node's own jobs are run and remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobsConfig {
    /// Whether outcomes of pure public jobs are remembered instead of computed again.
    pub remember: bool,
    /// How long results of this node's own jobs are kept unless pinned.
    pub keep_results: Span,
    /// How long the history of jobs is kept.
    pub keep_history: Span,
    /// How long a job may wait for missing blocks before it fails.
    pub fetch_timeout: Span,
    /// Whether content added here is announced in the DHT.
    pub provide: bool,
}

/// What is kept for other nodes, and how this node's own copies elsewhere are looked after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinsConfig {
    /// Whose copies are kept here.
    pub accept: Accept,
    /// Accounts whose copies are kept under `allowlist`.
    pub allow_requesters: Vec<String>,
    /// Accounts for which nothing is kept.
    pub deny_requesters: Vec<String>,
    /// Bytes kept for others together.
    pub max_bytes: ByteSize,
    /// Bytes kept for one account.
    pub max_bytes_each: ByteSize,
    /// For how long others are asked to keep copies; renewed at every check.
    pub lease: Span,
    /// How often those who keep copies are asked to go on and to show that they have them.
    pub check: Span,
    /// How long one of them may not answer before another takes its place.
    pub grace: Span,
}

/// The block store's limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreConfig {
    /// Disk space for blocks; 0 means all that is free.
    pub disk: ByteSize,
}

/// The IPFS node that this one sits beside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IpfsConfig {
    /// Which one.
    pub backend: IpfsBackend,
    /// A file with the value of the Authorization header that it wants; empty for none.
    pub authorization_file: PathBuf,
    /// How long it may be away or silent before what needs it fails.
    pub patience: Span,
}

/// What the operator does not want served or used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DenyConfig {
    /// Denylists (IPIP-383), or folders of `.deny` files; later ones win.
    pub files: Vec<PathBuf>,
}

/// How the enclave process is found and sized.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EnclaveConfig {
    /// The program; empty means `adit-enclave` beside this program.
    pub program: PathBuf,
    /// Where an enclave answers that runs as a user of its own; empty means that the node starts one.
    pub socket: PathBuf,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            network: "ipfs".into(),
            swarm: SwarmConfig {
                listen: vec![
                    "/ip4/0.0.0.0/tcp/4711".into(),
                    "/ip4/0.0.0.0/udp/4711/quic-v1".into(),
                    "/ip4/0.0.0.0/tcp/4712/ws".into(),
                ],
                bootstrap: Vec::new(),
                mdns: true,
                dht: Dht::Auto,
                key_file: PathBuf::new(),
                relay_server: false,
                relay_after: Span::seconds(150),
                external: Vec::new(),
            },
            api: ApiConfig { listen: "127.0.0.1:4713".into(), hosts: Vec::new(), origins: Vec::new() },
            gateway: GatewayConfig {
                listen: "127.0.0.1:4714".into(),
                hosts: vec!["localhost".into()],
                deserialized: true,
                fetch: true,
            },
            retrieval: RetrievalConfig::default(),
            names: NamesConfig { dnslink: PathBuf::new(), dns: Vec::new() },
            rpc: RpcConfig::default(),
            http: HttpConfig {
                listen: String::new(),
                hosts: Vec::new(),
                workers: 8,
                memory: ByteSize(128 << 20),
                // Some ten seconds' worth. The time limit ends what waits.
                fuel: 10_000_000_000,
                timeout: Span::seconds(30),
                max_body: ByteSize(64 << 20),
                allow_hosts: Vec::new(),
                allow_private_hosts: false,
                run: false,
            },
            host: HostConfig {
                accept: Accept::Own,
                cpus: 0,
                memory: ByteSize(2 << 30),
                scratch: ByteSize(4 << 30),
                bandwidth: ByteSize(0),
                queue: 64,
                hours: Hours::Always,
                longest: Span::seconds(3600),
                allow_requesters: Vec::new(),
                deny_requesters: Vec::new(),
                allow_code: Vec::new(),
                deny_code: Vec::new(),
                keep_results: Span::seconds(24 * 3600),
            },
            jobs: JobsConfig {
                remember: true,
                keep_results: Span::seconds(7 * 86_400),
                keep_history: Span::seconds(30 * 86_400),
                fetch_timeout: Span::seconds(30),
                provide: true,
            },
            pins: PinsConfig {
                accept: Accept::Own,
                allow_requesters: Vec::new(),
                deny_requesters: Vec::new(),
                max_bytes: ByteSize(20 << 30),
                max_bytes_each: ByteSize(5 << 30),
                lease: Span::seconds(24 * 3600),
                check: Span::seconds(3600),
                grace: Span::seconds(2 * 3600),
            },
            store: StoreConfig { disk: ByteSize(0) },
            ipfs: IpfsConfig {
                backend: IpfsBackend::Embedded,
                authorization_file: PathBuf::new(),
                patience: Span::seconds(20),
            },
            deny: DenyConfig::default(),
            enclave: EnclaveConfig::default(),
        }
    }
}

impl Config {
    /// Job slots after `host.cpus = 0` has been resolved.
    pub fn slots(&self) -> usize {
        match self.host.cpus {
            0 => std::thread::available_parallelism().map_or(1, |n| n.get()),
            n => n as usize,
        }
    }

    /// The rules that span several settings.
    fn check(&self) -> Result<(), (&'static str, String)> {
        if self.host.accept == Accept::Allowlist && self.host.allow_requesters.is_empty() {
            return Err((
                "host.accept",
                "`allowlist` with an empty host.allow-requesters accepts nobody but yourself: \
                 name accounts there, or say `self`"
                    .into(),
            ));
        }
        if self.pins.accept == Accept::Allowlist && self.pins.allow_requesters.is_empty() {
            let reason = "`allowlist` with an empty pins.allow-requesters accepts nobody but yourself: name accounts \
                          there, or say `self`";
            return Err(("pins.accept", reason.into()));
        }
        if self.pins.check.0 < Duration::from_millis(500) {
            return Err(("pins.check", "give 500ms or more".into()));
        }
        if self.pins.lease.0 < 2 * self.pins.check.0 || self.pins.lease.0 < Duration::from_secs(2) {
            let reason = "a lease ends before it is renewed: give 2s or more, and at least twice pins.check";
            return Err(("pins.lease", reason.into()));
        }
        if self.http.workers == 0 || self.http.workers > 64 {
            return Err(("http.workers", "give 1 to 64; no functions at all: an empty http.listen".into()));
        }
        if self.http.fuel == 0 {
            return Err(("http.fuel", "give 1 or more; 10000000000 is some ten seconds' worth".into()));
        }
        if self.http.allow_private_hosts && self.network == "ipfs" {
            return Err((
                "http.allow-private-hosts",
                "functions in the public network must not reach private addresses".into(),
            ));
        }
        if self.host.memory.0 < 64 << 20 {
            return Err((
                "host.memory",
                format!("{} is too little to run a guest: give 64MiB or more", self.host.memory),
            ));
        }
        if self.ipfs.patience.0 < std::time::Duration::from_secs(1) {
            return Err(("ipfs.patience", "give one second or more".into()));
        }
        Ok(())
    }
}
