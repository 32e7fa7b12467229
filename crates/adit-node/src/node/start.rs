//! How a node starts: the order in which its parts come up.

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use adit_kubo::Kubo;
use adit_net::{DhtOf, Multiaddr, Net, NetConfig, NetworkName, SwarmKey};
use adit_store::{Backend, DiskOptions, Repo, RepoOptions};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use zeroize::Zeroizing;

use super::fetch::Budget;
use super::keeper::{self, Keeping};
use super::replicate::{self, Replicas};
use super::shared::Shared;
use super::{Node, StartError, beside, directory, serve};
use crate::clock::Clock;
use crate::config::{Config, Dht, IpfsBackend, Origin, Settings, Span};
use crate::deny::{self, Guarded};
use crate::enclave::{self, Enclave, EnclaveOptions, Slots};
use crate::functions::Functions;
use crate::gateways::Gateways;
use crate::host::Rules;
use crate::identity::Identity;
use crate::jobs::Jobs;
use crate::names::NameService;
use crate::replicas::giving::Giving;
use crate::replicas::shelf::Shelf;

/// Memory for compiled code in the enclave. A C program takes some 100 KB, a Python ten MB.
const CODE_CACHE: u64 = 256 << 20;
/// Outcomes that the enclave remembers: each takes about 400 bytes.
const REMEMBERED: u32 = 16_384;
/// How long a job is assumed to take before any has run.
const FIRST_JOB_US: u64 = 250_000;
/// After this the enclave lets idle workers go.
const IDLE: Duration = Duration::from_secs(20);

impl Node {
    /// Starts a node on the repository in `dir`, which `adit init` has made.
    ///
    /// Order: keys, repository (whose lock keeps a second daemon out), history, network, enclave.
    /// The enclave comes up in the background: what is stored can be read before guests can run.
    pub async fn start(dir: &Path, settings: Settings) -> Result<Node, StartError> {
        let config = settings.config().clone();
        let identity = Identity::load(dir)?;
        let rules = Rules::new(&config, identity.account_id())?;
        let giving = Giving::new(&config, identity.account_id())?;
        let origin = enclave::Origin::of(&config.enclave)?;
        let net_config = net_config(&settings, &identity, dir)?;
        let gateways = Gateways::new(&config, net_config.scope)?;
        let kubo = kubo(&config, dir)?;
        let backend = kubo.clone().map(|kubo| kubo as Arc<dyn Backend>).or_else(|| gateways.below());
        let (repo, jobs) = open(dir, &config, backend).await?;
        let file = dir.join("replicas.redb");
        let opening = tokio::task::spawn_blocking(move || Shelf::open(&file)).await;
        let (shelf, sets, kept) = opening.map_err(|_| StartError::Interrupted)??;
        let store = repo.blocks();
        let lists = config.deny.files.clone();
        let lists = tokio::task::spawn_blocking(move || deny::Files::open(lists));
        let (lists, denials) = lists.await.map_err(|_| StartError::Interrupted)??;
        let served = Arc::new(Guarded::new(Arc::clone(&store), denials.clone()));
        let (net, events) = Net::start(net_config, served).await.map_err(StartError::Net)?;

        gateways.attach(&net);

        let names = NameService::open(dir, &identity, &net, &config.names)
            .map_err(|source| StartError::Directory { path: dir.join("net").join("names"), source })?;

        let functions = Functions::open(dir)
            .map_err(|source| StartError::Directory { path: dir.join("functions.toml"), source })?;

        let stop = CancellationToken::new();
        let options = EnclaveOptions {
            origin,
            host: identity.account_id(),
            slots: config.slots(),
            functions: config.http.sessions(),
            memory: config.host.memory.0,
            output: config.host.scratch.0,
            remembered: if config.jobs.remember { REMEMBERED } else { 0 },
            code_cache: CODE_CACHE,
            idle: IDLE,
        };
        let (enclave, supervisor) = Enclave::start(options, identity.node.clone(), stop.clone());
        let shared = Arc::new(Shared {
            dir: dir.to_owned(),
            identity,
            clock: Clock::default(),
            repo,
            kubo,
            beside: Default::default(),
            store,
            net,
            denials,
            names: Arc::new(names),
            gateways,
            functions: Arc::new(functions),
            enclave,
            slots: Slots::new(rules),
            jobs: jobs.clone(),
            counters: Default::default(),
            programs: Default::default(),
            surveyor: Default::default(),
            directory: Default::default(),
            streams: Default::default(),
            replays: Default::default(),
            keeping: Keeping::new(giving, kept),
            replicas: Replicas::new(shelf, sets),
            bandwidth: Budget::new(config.host.bandwidth.0),
            job_us: FIRST_JOB_US.into(),
            disk_low: Default::default(),
            draining: CancellationToken::new(),
            stop: stop.clone(),
            tasks: TaskTracker::new(),
            failed: watch::Sender::new(None),
            settings,
        });
        shared.critical("enclave supervisor", supervisor);
        shared.critical("denylists", lists.watch(stop.clone()));
        let Span(keep) = config.jobs.keep_history;
        shared.critical("job history", jobs.keep_history(keep, stop));
        shared.critical("job streams", serve::accept(Arc::clone(&shared), events));
        shared.critical("published names", Arc::clone(&shared.names).keep(shared.stop.clone()));
        shared.critical("copies for others", keeper::tidy(Arc::clone(&shared)));
        shared.critical("copies elsewhere", replicate::look_after(Arc::clone(&shared)));
        shared.critical("alias", beside::keep(Arc::clone(&shared)));
        shared.critical("directory", directory::keep(Arc::clone(&shared)));
        Ok(Node { shared })
    }
}

/// Opens what lies on disk, off the async threads.
async fn open(
    dir: &Path,
    config: &Config,
    backend: Option<Arc<dyn Backend>>,
) -> Result<(Arc<Repo>, Jobs), StartError> {
    let (dir, limit) = (dir.to_owned(), config.store.disk.0);
    let opening = tokio::task::spawn_blocking(move || {
        let mut disk = DiskOptions::default();
        if limit > 0 {
            disk.limit = limit;
        }
        let repo = Repo::open(&dir.join("store"), RepoOptions { disk, backend }).map_err(StartError::Repo)?;
        let jobs = Jobs::open(&dir.join("jobs.redb"))?;
        Ok((Arc::new(repo), jobs))
    });
    opening.await.map_err(|_| StartError::Interrupted)?
}

fn net_config(settings: &Settings, identity: &Identity, dir: &Path) -> Result<NetConfig, StartError> {
    let config = settings.config();
    let network: NetworkName = config.network.parse()?;
    let public = network.is_ipfs();
    let key = adit_net::Identity::from_seed(&mut identity.node.to_bytes());
    let listen = addresses("swarm.listen", &config.swarm.listen)?;
    let loopback_only = config.swarm.listen.iter().all(|a| a.contains("/127.0.0.1/") || a.contains("/::1/"));
    // A network of our own on loopback, or one among private addresses, needs no reachability checks and no address
    // filters.
    let local = loopback_only && !public || config.swarm.dht == Dht::Lan;
    let mut net = if local { NetConfig::local(key, network) } else { NetConfig::new(key, network) };
    net.dht_of = match config.swarm.dht {
        Dht::Auto => DhtOf::Network,
        Dht::Ipfs => DhtOf::Ipfs,
        Dht::Lan => DhtOf::Lan,
    };
    net.swarm_key = swarm_key(&config.swarm.key_file, dir)?;
    net.listen = listen;
    if net.swarm_key.is_some() && matches!(settings.origin("swarm.listen"), Ok(Origin::Default)) {
        net.listen.retain(|address| !address.to_string().contains("/quic-v1"));
        tracing::info!("a private swarm does without QUIC, which has no place for its key");
    }
    net.external = addresses("swarm.external", &config.swarm.external)?;
    net.relay_server = config.swarm.relay_server;
    net.relay_after = config.swarm.relay_after.0;
    net.bootstrap = addresses("swarm.bootstrap", &config.swarm.bootstrap)?;
    if net.bootstrap.is_empty() && public && !local && net.swarm_key.is_none() {
        net.bootstrap = NetConfig::public_bootstrap();
    }
    net.mdns = config.swarm.mdns;
    net.state_dir = Some(dir.join("net"));
    std::fs::create_dir_all(dir.join("net"))
        .map_err(|source| StartError::Directory { path: dir.join("net"), source })?;
    Ok(net)
}

/// The Kubo that this node sits beside, if it does. Whether it answers shows when it is needed: it may start later.
fn kubo(config: &Config, dir: &Path) -> Result<Option<Arc<Kubo>>, StartError> {
    /// A header of 8 KiB is the most that servers take.
    const LONGEST: u64 = 8 << 10;
    let IpfsBackend::Kubo(url) = &config.ipfs.backend else { return Ok(None) };
    let mut authorization = None;
    if !config.ipfs.authorization_file.as_os_str().is_empty() {
        let path = dir.join(&config.ipfs.authorization_file);
        let text: &mut String = authorization.insert(String::new());
        let read = std::fs::File::open(&path).and_then(|file| file.take(LONGEST).read_to_string(text));
        read.map_err(|source| StartError::BackendSecret { path, source })?;
    }
    let options = adit_kubo::Options { url: url.clone(), authorization, patience: config.ipfs.patience.0 };
    Kubo::new(options).map(|kubo| Some(Arc::new(kubo))).map_err(StartError::Backend)
}

/// The key of a private swarm, if there is one. A relative path begins at the repository.
fn swarm_key(path: &Path, dir: &Path) -> Result<Option<SwarmKey>, StartError> {
    /// A key file has 95 bytes.
    const LONGEST: u64 = 1024;
    if path.as_os_str().is_empty() {
        return Ok(None);
    }
    let path = dir.join(path);
    let mut text = Zeroizing::new(String::new());
    let read = std::fs::File::open(&path).and_then(|file| file.take(LONGEST).read_to_string(&mut text));
    read.map_err(|source| StartError::SwarmKeyFile { path: path.clone(), source })?;
    SwarmKey::parse(&text).map(Some).map_err(|source| StartError::SwarmKey { path, source })
}

fn addresses(key: &'static str, texts: &[String]) -> Result<Vec<Multiaddr>, StartError> {
    let parse = |text: &String| {
        text.parse::<Multiaddr>().map_err(|e| StartError::Address {
            key,
            text: text.clone(),
            reason: e.to_string(),
        })
    };
    texts.iter().map(parse).collect()
}

#[cfg(test)]
mod tests {
    use adit_net::Scope;

    use super::*;

    fn config(dir: &Path, flags: &[(&str, &str)]) -> NetConfig {
        let flags: Vec<_> = flags.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
        let settings = Settings::resolve(None, |_| None, &flags).unwrap();
        net_config(&settings, &Identity::load_or_create(dir).unwrap(), dir).unwrap()
    }

    fn has_quic(config: &NetConfig) -> bool {
        config.listen.iter().any(|a| a.to_string().contains("quic"))
    }

    #[test]
    fn the_public_network_is_the_default_and_one_line_leaves_it() {
        let dir = tempfile::tempdir().unwrap();
        let public = config(dir.path(), &[]);
        assert_eq!(public.bootstrap, NetConfig::public_bootstrap());
        assert!(has_quic(&public) && public.scope == Scope::Internet && !public.relay_server);
        assert_eq!(public.kad_protocol(), "/ipfs/kad/1.0.0");

        let key = format!("/key/swarm/psk/1.0.0/\n/base16/\n{}\n", "a".repeat(64));
        std::fs::write(dir.path().join("swarm.key"), key).unwrap();
        let private = config(dir.path(), &[("swarm.key-file", "swarm.key")]);
        assert!(private.swarm_key.is_some() && private.bootstrap.is_empty() && !has_quic(&private));
        assert_eq!(private.listen.len(), public.listen.len() - 1);
        // Whoever asks for QUIC gets the network's own error.
        let quic = "/ip4/0.0.0.0/udp/4711/quic-v1";
        assert!(has_quic(&config(dir.path(), &[("swarm.key-file", "swarm.key"), ("swarm.listen", quic)])));

        let lan = config(dir.path(), &[("swarm.dht", "lan")]);
        assert!(lan.bootstrap.is_empty() && lan.scope == Scope::Local);
        assert_eq!(lan.kad_protocol(), "/ipfs/lan/kad/1.0.0");
    }
}
