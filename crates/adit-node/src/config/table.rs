//! The table of settings, and the layers that give each its value.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use adit_model::Accept;
use cid::Cid;
use serde::Serialize;

use super::{ByteSize, Config, ConfigFile, ConfigFileError, Dht, Hours, IpfsBackend, LoopbackAddress, Span};

/// Where a value came from, strongest last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// `config.toml` of the repository.
    File,
    /// The named environment variable.
    Env(String),
    /// The command line.
    Flag,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File => f.write_str("file"),
            Origin::Env(name) => write!(f, "env {name}"),
            Origin::Flag => f.write_str("flag"),
        }
    }
}

/// One thing that can be set.
pub struct Setting {
    /// Its name in the file and in `config get|set`.
    pub key: &'static str,
    /// What it means, in one line.
    pub what: &'static str,
    pub(super) get: fn(&Config) -> toml_edit::Value,
    pub(super) text: fn(&Config) -> String,
    pub(super) set: fn(&mut Config, &str) -> Result<(), String>,
}

impl Setting {
    /// Its environment variable: `host.keep-results` is `ADIT_HOST_KEEP_RESULTS`.
    pub fn env(&self) -> String {
        format!("ADIT_{}", self.key.to_ascii_uppercase().replace(['.', '-'], "_"))
    }

    /// The setting of this name.
    pub fn find(key: &str) -> Result<&'static Setting, SettingError> {
        SETTINGS.iter().find(|setting| setting.key == key).ok_or_else(|| SettingError::Unknown {
            key: key.into(),
            nearest: SETTINGS
                .iter()
                .map(|s| s.key)
                .min_by_key(|known| distance(known, key))
                .unwrap_or_default(),
        })
    }

    /// Checks a new value without keeping it, and gives the form in which the file stores it.
    pub(super) fn parse(&self, text: &str) -> Result<toml_edit::Value, SettingError> {
        let mut config = Config::default();
        (self.set)(&mut config, text).map_err(|reason| SettingError::Invalid {
            key: self.key,
            origin: Origin::Flag,
            reason,
        })?;
        Ok((self.get)(&config))
    }
}

/// A value of a setting: read from text, shown as text, stored as TOML.
trait Value: Sized {
    fn parse(text: &str) -> Result<Self, String>;
    fn text(&self) -> String;
    fn toml(&self) -> toml_edit::Value {
        self.text().into()
    }
}

macro_rules! value_by_from_str {
    ($($name:ty),*) => {$(
        impl Value for $name {
            fn parse(text: &str) -> Result<Self, String> { text.parse() }
            fn text(&self) -> String { self.to_string() }
        }
    )*};
}
value_by_from_str!(ByteSize, Dht, Hours, IpfsBackend, LoopbackAddress, Span);

impl Value for Accept {
    fn parse(text: &str) -> Result<Self, String> {
        text.trim().parse().map_err(|_| format!("`{text}` is not one of self, allowlist, anyone"))
    }
    fn text(&self) -> String {
        self.to_string()
    }
}

impl Value for String {
    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.trim().to_owned())
    }
    fn text(&self) -> String {
        self.clone()
    }
}

impl Value for PathBuf {
    fn parse(text: &str) -> Result<Self, String> {
        Ok(PathBuf::from(text))
    }
    fn text(&self) -> String {
        self.display().to_string()
    }
}

impl Value for Cid {
    fn parse(text: &str) -> Result<Self, String> {
        text.trim().parse().map_err(|e| format!("`{text}` is not a CID: {e}"))
    }
    fn text(&self) -> String {
        self.to_string()
    }
}

impl Value for SocketAddr {
    fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        // DNS's port is the only one that goes without saying: nothing else is named by such addresses.
        text.parse()
            .or_else(|_| text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53)))
            .map_err(|_| format!("`{text}` is not an address such as 192.0.2.1 or 192.0.2.1:53"))
    }
    fn text(&self) -> String {
        self.to_string()
    }
}

impl Value for bool {
    fn parse(text: &str) -> Result<Self, String> {
        match text.trim() {
            "true" | "on" | "yes" => Ok(true),
            "false" | "off" | "no" => Ok(false),
            other => Err(format!("`{other}` is not true or false")),
        }
    }
    fn text(&self) -> String {
        self.to_string()
    }
    fn toml(&self) -> toml_edit::Value {
        (*self).into()
    }
}

impl Value for u32 {
    fn parse(text: &str) -> Result<Self, String> {
        text.trim().parse().map_err(|_| format!("`{text}` is not a whole number"))
    }
    fn text(&self) -> String {
        self.to_string()
    }
    fn toml(&self) -> toml_edit::Value {
        i64::from(*self).into()
    }
}

impl Value for u64 {
    fn parse(text: &str) -> Result<Self, String> {
        // TOML's whole numbers have a sign.
        let number: Result<i64, _> = text.trim().parse();
        let number = number.ok().and_then(|number| u64::try_from(number).ok());
        number.ok_or_else(|| format!("`{text}` is not a whole number from 0 to {}", i64::MAX))
    }
    fn text(&self) -> String {
        self.to_string()
    }
    fn toml(&self) -> toml_edit::Value {
        i64::try_from(*self).unwrap_or(i64::MAX).into()
    }
}

impl<T: Value> Value for Vec<T> {
    fn parse(text: &str) -> Result<Self, String> {
        text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(T::parse).collect()
    }
    fn text(&self) -> String {
        self.iter().map(T::text).collect::<Vec<_>>().join(",")
    }
    fn toml(&self) -> toml_edit::Value {
        toml_edit::Value::Array(self.iter().map(T::toml).collect())
    }
}

macro_rules! settings {
    ($($key:literal => $($field:ident).+ : $what:literal;)*) => {
        /// All settings, in the order in which they are shown.
        pub static SETTINGS: &[Setting] = &[$(Setting {
            key: $key,
            what: $what,
            get: |config| Value::toml(&config.$($field).+),
            text: |config| Value::text(&config.$($field).+),
            set: |config, text| { config.$($field).+ = Value::parse(text)?; Ok(()) },
        }),*];
    };
}

settings! {
    "network" => network: "the network this node belongs to: ipfs (public), or a name of your own";
    "swarm.listen" => swarm.listen: "multiaddresses the swarm listens on";
    "swarm.bootstrap" => swarm.bootstrap: "multiaddresses dialled at start; empty: the network's own";
    "swarm.mdns" => swarm.mdns: "look for other nodes on the local network";
    "swarm.dht" => swarm.dht: "whose DHT: auto, ipfs (as Kubo among public addresses) or lan (as Kubo among private ones)";
    "swarm.key-file" => swarm.key_file: "key of a private swarm (swarm.key as Kubo has it): no public first contacts, no QUIC";
    "swarm.external" => swarm.external: "multiaddresses at which others reach this node, if you forward a port";
    "swarm.relay-server" => swarm.relay_server: "while reachable, relay a little for nodes that are not";
    "swarm.relay-after" => swarm.relay_after: "how long nobody may have confirmed to reach this node before it asks for a relay";
    "api.listen" => api.listen: "address and port of the HTTP API; port 0 takes a free one";
    "api.hosts" => api.hosts: "host names, beyond loopback, that requests may name";
    "api.origins" => api.origins: "web origins that may call the API from a browser";
    "gateway.listen" => gateway.listen: "address and port of the IPFS gateway; port 0 takes a free one, empty: no gateway";
    "gateway.hosts" => gateway.hosts: "host names whose subdomains are origins of their own (CID.ipfs.HOST)";
    "gateway.deserialized" => gateway.deserialized: "serve files and pages; false: only blocks, CARs and records";
    "gateway.fetch" => gateway.fetch: "fetch from the network what the gateway is asked for and is not here";
    "retrieval.gateways" => retrieval.gateways: "URLs of trustless gateways that are asked for missing blocks, beside the swarm's peers";
    "retrieval.routers" => retrieval.routers: "URLs of delegated routers (/routing/v1) that know gateways for what no peer has";
    "names.dnslink" => names.dnslink: "a file of lines DOMAIN PATH, taken before a domain's DNSLink; empty: none";
    "names.dns" => names.dns: "DNS servers (IP:PORT) that are asked for DNSLinks; empty: the system's";
    "rpc.listen" => rpc.listen: "loopback address and port of Kubo's /api/v0 without tokens; empty: none";
    "http.listen" => http.listen: "address and port at which HTTP functions are served; port 0 takes a free one, empty: none";
    "http.hosts" => http.hosts: "host names, beyond localhost and addresses, under which functions may be asked";
    "http.workers" => http.workers: "requests that functions answer at the same time";
    "http.memory" => http.memory: "memory of a function for one request";
    "http.fuel" => http.fuel: "what a function may compute for one request, in units of fuel (about one an instruction)";
    "http.timeout" => http.timeout: "longest time of a function for one request";
    "http.max-body" => http.max_body: "longest body of a request to a function";
    "http.allow-hosts" => http.allow_hosts: "hosts (HOST, *.HOST, HOST:PORT) that functions may ask, if their publisher lists them too";
    "http.allow-private-hosts" => http.allow_private_hosts: "such hosts may be at private addresses; not in the public network";
    "http.run" => http.run: "run functions that others published when asked for by CID (/fn/CID)";
    "host.accept" => host.accept: "whose jobs run here: self, allowlist or anyone";
    "host.cpus" => host.cpus: "jobs that run at the same time; 0: one for each processor";
    "host.memory" => host.memory: "memory for all guests together";
    "host.scratch" => host.scratch: "space for what running jobs write, together";
    "host.bandwidth" => host.bandwidth: "bytes a second for fetching jobs' data; 0: no limit";
    "host.queue" => host.queue: "accepted jobs that may wait for a free slot";
    "host.hours" => host.hours: "when others' jobs are accepted: always, or UTC times such as 22:00-06:00";
    "host.longest" => host.longest: "longest wall time granted to one job";
    "host.allow-requesters" => host.allow_requesters: "accounts accepted under allowlist";
    "host.deny-requesters" => host.deny_requesters: "accounts never accepted";
    "host.allow-code" => host.allow_code: "if not empty, the only programs run for others";
    "host.deny-code" => host.deny_code: "programs that never run here";
    "host.keep-results" => host.keep_results: "how long results of others' jobs are kept";
    "jobs.remember" => jobs.remember: "remember outcomes of pure public jobs";
    "jobs.keep-results" => jobs.keep_results: "how long results of own jobs are kept unless pinned";
    "jobs.keep-history" => jobs.keep_history: "how long the history of jobs is kept";
    "jobs.fetch-timeout" => jobs.fetch_timeout: "how long a job waits for a missing block";
    "jobs.provide" => jobs.provide: "announce added content in the DHT";
    "pins.accept" => pins.accept: "whose copies are kept here: self, allowlist or anyone";
    "pins.allow-requesters" => pins.allow_requesters: "accounts whose copies are kept under allowlist";
    "pins.deny-requesters" => pins.deny_requesters: "accounts for which no copies are kept";
    "pins.max-bytes" => pins.max_bytes: "bytes of copies kept for others, together";
    "pins.max-bytes-each" => pins.max_bytes_each: "bytes of copies kept for one account";
    "pins.lease" => pins.lease: "for how long other nodes are asked to keep this node's copies, each time";
    "pins.check" => pins.check: "how often they are asked to go on and to show that they have them";
    "pins.grace" => pins.grace: "how long one may not answer before another node takes its place";
    "store.disk" => store.disk: "disk space for blocks; 0: all that is free";
    "ipfs.backend" => ipfs.backend: "who keeps content: embedded (this node's store), kubo=URL (that Kubo, by its RPC), or gateway=URL (this node's store beside what that gateway holds)";
    "ipfs.authorization-file" => ipfs.authorization_file: "file with the Authorization header that the backend wants; empty: none";
    "ipfs.patience" => ipfs.patience: "how long the backend may be away or silent before what needs it fails";
    "deny.files" => deny.files: "denylists (IPIP-383) or folders of .deny files; read again when they change";
    "enclave.program" => enclave.program: "the enclave's program; empty: adit-enclave beside this one";
    "enclave.socket" => enclave.socket: "socket of an enclave that runs as a user of its own; empty: start one";
}

/// Why a setting was refused.
#[derive(Debug, thiserror::Error)]
pub enum SettingError {
    /// No setting has this name.
    #[error("there is no setting `{key}`; did you mean `{nearest}`? (`adit config show` lists all)")]
    Unknown {
        /// What was asked for.
        key: String,
        /// The most similar name.
        nearest: &'static str,
    },
    /// The value does not fit.
    #[error("setting `{key}` (from {origin}): {reason}")]
    Invalid {
        /// The setting.
        key: &'static str,
        /// Who gave the value.
        origin: Origin,
        /// What is wrong and what to write instead.
        reason: String,
    },
    /// The settings file could not be read.
    #[error(transparent)]
    File(#[from] ConfigFileError),
}

/// A resolved configuration and the origin of every value.
#[derive(Clone, Debug)]
pub struct Settings {
    config: Config,
    origins: BTreeMap<&'static str, Origin>,
}

impl Settings {
    /// Lays the default, the file, the environment and the flags over each other and checks the
    /// result. `env` looks a variable up, so that tests need not touch the process's own.
    pub fn resolve(
        file: Option<&ConfigFile>,
        env: impl Fn(&str) -> Option<String>,
        flags: &[(String, String)],
    ) -> Result<Settings, SettingError> {
        let mut config = Config::default();
        let mut origins: BTreeMap<_, _> = SETTINGS.iter().map(|s| (s.key, Origin::Default)).collect();
        let mut apply = |setting: &'static Setting, text: &str, origin: Origin| {
            (setting.set)(&mut config, text).map_err(|reason| SettingError::Invalid {
                key: setting.key,
                origin: origin.clone(),
                reason,
            })?;
            origins.insert(setting.key, origin);
            Ok::<(), SettingError>(())
        };
        if let Some(file) = file {
            for (key, text) in file.values()? {
                apply(Setting::find(&key)?, &text, Origin::File)?;
            }
        }
        for setting in SETTINGS {
            if let Some(text) = env(&setting.env()) {
                apply(setting, &text, Origin::Env(setting.env()))?;
            }
        }
        for (key, text) in flags {
            apply(Setting::find(key)?, text, Origin::Flag)?;
        }
        config.check().map_err(|(key, reason)| SettingError::Invalid {
            key,
            origin: origins[key].clone(),
            reason,
        })?;
        Ok(Settings { config, origins })
    }

    /// The values.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Where the value of this setting came from.
    pub fn origin(&self, key: &str) -> Result<&Origin, SettingError> {
        Ok(&self.origins[Setting::find(key)?.key])
    }

    /// Every setting with its value as text and its origin, in the table's order.
    pub fn rows(&self) -> impl Iterator<Item = (&'static Setting, String, &Origin)> {
        SETTINGS.iter().map(|setting| (setting, (setting.text)(&self.config), &self.origins[setting.key]))
    }

    /// One setting's value as text.
    pub fn get(&self, key: &str) -> Result<String, SettingError> {
        Ok((Setting::find(key)?.text)(&self.config))
    }
}

/// Edit distance, for "did you mean". Keys are short, so the plain quadratic form does.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, right) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(left != *right);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn no_env(_: &str) -> Option<String> {
        None
    }

    #[test]
    fn flag_beats_env_beats_file_beats_default() {
        let file = ConfigFile::parse("[host]\naccept = \"anyone\"\ncpus = 3\nqueue = 9\n").unwrap();
        let env = |name: &str| match name {
            "ADIT_HOST_CPUS" => Some("4".to_owned()),
            "ADIT_HOST_QUEUE" => Some("8".to_owned()),
            _ => None,
        };
        let flags = [("host.queue".to_owned(), "7".to_owned())];
        let settings = Settings::resolve(Some(&file), env, &flags).unwrap();
        let config = settings.config();
        assert_eq!((config.host.accept, config.host.cpus, config.host.queue), (Accept::Anyone, 4, 7));
        let origin = |key: &str| settings.rows().find(|(s, ..)| s.key == key).unwrap().2.clone();
        assert_eq!(origin("host.accept"), Origin::File);
        assert_eq!(origin("host.cpus"), Origin::Env("ADIT_HOST_CPUS".into()));
        assert_eq!(origin("host.queue"), Origin::Flag);
        assert_eq!(origin("network"), Origin::Default);
    }

    #[test]
    fn every_default_reads_back_from_its_text_and_from_the_file() {
        let mut file = ConfigFile::parse("").unwrap();
        let defaults = Settings::resolve(None, no_env, &[]).unwrap();
        for (setting, text, _) in defaults.rows() {
            file.set(setting.key, &text).unwrap();
        }
        let again = Settings::resolve(Some(&file), no_env, &[]).unwrap();
        assert_eq!(again.config(), &Config::default());
    }

    #[test]
    fn unknown_keys_and_bad_values_say_what_to_write() {
        let wrong =
            Settings::resolve(Some(&ConfigFile::parse("[host]\nacept = \"self\"\n").unwrap()), no_env, &[]);
        assert!(wrong.unwrap_err().to_string().contains("did you mean `host.accept`"));
        let wrong = Settings::resolve(None, no_env, &[("host.memory".into(), "lots".into())]);
        assert!(wrong.unwrap_err().to_string().contains("such as 256MiB"));
        let wrong = Settings::resolve(None, no_env, &[("host.accept".into(), "allowlist".into())]);
        assert!(wrong.unwrap_err().to_string().contains("host.allow-requesters"));
    }
}
