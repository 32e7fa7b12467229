//! `adit doctor`: what could keep this node from doing its work, and what to do about it.

use std::collections::BTreeSet;
use std::time::Duration;

use adit_model::Accept;
use adit_net::{Multiaddr, Reach};

use super::shared::Shared;
use crate::config::IpfsBackend;
use crate::view::{Check, EnclaveStatus, Verdict};

/// Free disk space below which results may soon not be stored.
const LITTLE_DISK: u64 = 1 << 30;
/// How long the enclave may take to come up before it counts as down.
const PATIENCE: Duration = Duration::from_secs(5);

/// All checks, in the order in which trouble is best looked for.
pub(crate) async fn examine(shared: &Shared) -> Vec<Check> {
    let mut checks = vec![
        enclave(shared).await,
        landlock(),
        seccomp(),
        ports(shared),
        reach(
            &shared.net.reach(),
            &shared.net.listen_addrs(),
            shared.net.peers().iter().filter(|peer| peer.connected).count(),
        ),
        peers(shared),
        disk(shared).await,
        backend(shared).await,
        clock(shared),
        accept(shared),
    ];
    checks.extend(alias(shared));
    checks
}

fn check(name: &str, verdict: Verdict, found: impl Into<String>, advice: Option<&str>) -> Check {
    Check { name: name.into(), verdict, found: found.into(), advice: advice.map(Into::into) }
}

async fn enclave(shared: &Shared) -> Check {
    match shared.enclave.settled(PATIENCE).await {
        EnclaveStatus::Up { runtime, restarts: 0, .. } => {
            check("enclave", Verdict::Ok, format!("up, runtime {runtime}"), None)
        }
        EnclaveStatus::Up { restarts, .. } => check(
            "enclave",
            Verdict::Warn,
            format!("up, after {restarts} restarts"),
            Some("the daemon's log says why it ended"),
        ),
        EnclaveStatus::Starting { reason } => check(
            "enclave",
            Verdict::Fail,
            reason.unwrap_or_else(|| "still starting".into()),
            Some("no job can run here until it is up; the daemon's log says more"),
        ),
        EnclaveStatus::Down { reason } => check(
            "enclave",
            Verdict::Fail,
            reason,
            Some("build and install adit-enclave beside adit, or set enclave.program"),
        ),
    }
}

/// The jail of workers rests on Landlock; without it the enclave refuses to run guests.
fn landlock() -> Check {
    // SAFETY: with a null attribute and the version flag the call reads and writes no memory.
    let version =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0usize, 1u32) };
    if version >= 1 {
        check("landlock", Verdict::Ok, format!("available, ABI {version}"), None)
    } else {
        check(
            "landlock",
            Verdict::Fail,
            "the kernel does not offer it",
            Some("use Linux 5.13 or later with landlock among the active security modules (lsm=)"),
        )
    }
}

fn seccomp() -> Check {
    match std::fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail") {
        Ok(actions) if actions.contains("kill_process") => {
            check("seccomp", Verdict::Ok, "filters can end a process", None)
        }
        _ => check(
            "seccomp",
            Verdict::Fail,
            "the kernel offers no filters that end a process",
            Some("use a kernel with CONFIG_SECCOMP_FILTER"),
        ),
    }
}

fn ports(shared: &Shared) -> Check {
    let listening = shared.net.listen_addrs();
    if listening.is_empty() {
        let advice = "set swarm.listen; nobody can reach this node";
        return check("ports", Verdict::Fail, "the swarm listens nowhere", Some(advice));
    }
    check("ports", Verdict::Ok, format!("listening on {} addresses", listening.len()), None)
}

/// Whether others can begin a connection with this node, and if not, what to do.
fn reach(reach: &Reach, listening: &[Multiaddr], connected: usize) -> Check {
    let ports: BTreeSet<u16> = listening.iter().filter_map(port).collect();
    let ports = ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let forward = format!(
        "forward TCP and UDP port {ports} to this machine on your router and open it in the firewall; if others still \
         do not confirm it within minutes, name the outer address in the setting swarm.external"
    );
    match reach {
        Reach::Local => {
            check("reachability", Verdict::Ok, "a local network: whoever is on it reaches this node", None)
        }
        Reach::Direct(at) => {
            check("reachability", Verdict::Ok, format!("others reach this node at {}", join(at)), None)
        }
        Reach::Relayed(at) => check(
            "reachability",
            Verdict::Warn,
            format!("nobody can dial this node; relays pass a first contact on: {}", join(at)),
            Some(&forward),
        ),
        Reach::Unknown if connected == 0 => check(
            "reachability",
            Verdict::Warn,
            "not known: no peer is connected that could try",
            Some("see `peers`; once some are connected, they try within a minute or two"),
        ),
        Reach::Unknown => check(
            "reachability",
            Verdict::Warn,
            "nobody has confirmed that this node can be dialled, and no relay passes contacts on yet",
            Some(&forward),
        ),
    }
}

fn join(addresses: &[Multiaddr]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

/// The port of a listening address: its second part.
fn port(address: &Multiaddr) -> Option<u16> {
    let text = address.to_string();
    let mut parts = text.split('/').skip(3);
    match parts.next() {
        Some("tcp" | "udp") => parts.next()?.parse().ok(),
        _ => None,
    }
}

fn peers(shared: &Shared) -> Check {
    let peers = shared.net.peers();
    let connected = peers.iter().filter(|p| p.connected).count();
    let adit = peers.iter().filter(|p| p.connected && p.adit).count();
    let found = format!("connected with {connected} peers, {adit} of them Adit nodes");
    match connected {
        0 => check(
            "peers",
            Verdict::Warn,
            found,
            Some("check the network, swarm.bootstrap, or connect by hand: `adit swarm connect ADDRESS`"),
        ),
        _ => check("peers", Verdict::Ok, found, None),
    }
}

async fn disk(shared: &Shared) -> Check {
    match shared.repo.stat().await {
        Ok(stat) => {
            let room = stat.limit.map_or(stat.free, |limit| limit.saturating_sub(stat.used).min(stat.free));
            let found = format!("{} MB used by blocks, room for {} MB", stat.used >> 20, room >> 20);
            if room < LITTLE_DISK {
                let advice = "free space, collect garbage (`adit repo gc`), or raise store.disk";
                check("disk", Verdict::Warn, found, Some(advice))
            } else {
                check("disk", Verdict::Ok, found, None)
            }
        }
        Err(e) => {
            check("disk", Verdict::Fail, e.to_string(), Some("`adit repo verify` looks at every block"))
        }
    }
}

/// The Kubo that this node sits beside.
async fn backend(shared: &Shared) -> Check {
    let Some(kubo) = &shared.kubo else {
        let found = match &shared.config().ipfs.backend {
            IpfsBackend::Gateway(url) => format!("content is kept by this node, beside what {url} holds"),
            IpfsBackend::Embedded | IpfsBackend::Kubo(_) => "content is kept by this node itself".to_owned(),
        };
        return check("ipfs", Verdict::Ok, found, None);
    };
    let name = adit_store::Backend::name(&**kubo);
    if let Some(away) = kubo.away() {
        let found = format!("{name} has not answered for {} s: {}", away.silent.as_secs(), away.reason);
        let advice = "start it, or correct ipfs.backend; nothing waits for it meanwhile, what only it holds cannot be read, \
                      and nothing can be added or pinned";
        return check("ipfs", Verdict::Fail, found, Some(advice));
    }
    match kubo.version().await {
        Ok(version) => check("ipfs", Verdict::Ok, format!("{name} answers, version {version}"), None),
        Err(e) => {
            let advice =
                "start it, or correct ipfs.backend; until it answers, nothing can be added or pinned";
            check("ipfs", Verdict::Fail, e.to_string(), Some(advice))
        }
    }
}

/// Whether that Kubo has signed that this node stands beside it.
fn alias(shared: &Shared) -> Option<Check> {
    shared.kubo.as_ref()?;
    let advice = "until Kubo signs, a job whose input only Kubo announces may run elsewhere and move the data; Kubo 0.25 or \
                  later can, if its API.Authorizations let this node use `id` and `key/sign`";
    let alias = shared.beside.alias(crate::clock::unix_seconds());
    Some(match (alias, shared.beside.trouble()) {
        (Some(alias), None) => {
            let found = format!("Kubo {} signed that this node stands beside it", alias.peer);
            check("alias", Verdict::Ok, found, None)
        }
        (Some(alias), Some(trouble)) => {
            let found = format!("what Kubo {} signed could not be renewed: {trouble}", alias.peer);
            check("alias", Verdict::Warn, found, Some(advice))
        }
        (None, trouble) => {
            let found = trouble.unwrap_or_else(|| "Kubo has not signed anything yet".to_owned());
            check("alias", Verdict::Warn, found, Some(advice))
        }
    })
}

/// Receipts and invocations carry times; a clock that is far off makes others refuse them.
fn clock(shared: &Shared) -> Check {
    let now = crate::clock::unix_seconds();
    // The newest advertisement of anybody else was issued at most a few minutes ago.
    let newest = super::directory::advertised(shared).iter().map(|a| a.body().issued).max();
    match newest {
        Some(issued) if issued > now + 120 => check(
            "clock",
            Verdict::Warn,
            format!("another node's clock is {} s ahead of ours", issued - now),
            Some("synchronise this machine's clock (NTP)"),
        ),
        _ if now < 1_700_000_000 => {
            check("clock", Verdict::Fail, "the clock is years behind", Some("set this machine's clock (NTP)"))
        }
        _ => check("clock", Verdict::Ok, "plausible", None),
    }
}

fn accept(shared: &Shared) -> Check {
    let accept = shared.config().host.accept;
    let advice = "to work for others: `adit config set host.accept anyone` (or allowlist), then restart";
    match accept {
        Accept::Own => check("accept", Verdict::Ok, "self: only this node's own jobs run here", Some(advice)),
        Accept::Allowlist => {
            check("accept", Verdict::Ok, "allowlist: jobs of the listed accounts run here", None)
        }
        Accept::Anyone => check("accept", Verdict::Ok, "anyone: everybody's jobs run here", None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_cannot_be_reached_is_told_what_to_do() {
        let address = |text: &str| -> Multiaddr { text.parse().unwrap() };
        let listening = [
            address("/ip4/192.168.1.2/tcp/4711"),
            address("/ip4/192.168.1.2/udp/4711/quic-v1"),
            address("/ip4/192.168.1.2/tcp/4712/ws"),
        ];
        let told = |state: &Reach, connected| reach(state, &listening, connected);
        let reached = told(&Reach::Direct(vec![address("/ip4/45.0.0.1/tcp/4711")]), 3);
        assert!(reached.verdict == Verdict::Ok && reached.found.contains("/ip4/45.0.0.1/tcp/4711"));
        for state in [Reach::Unknown, Reach::Relayed(vec![address("/ip4/45.0.0.9/tcp/1/p2p-circuit")])] {
            let check = told(&state, 3);
            let advice = check.advice.unwrap();
            assert!(check.verdict == Verdict::Warn && advice.contains("4711, 4712"), "{advice}");
            assert!(advice.contains("swarm.external"), "{advice}");
        }
        assert!(told(&Reach::Unknown, 0).advice.unwrap().contains("peers"));
        assert_eq!(told(&Reach::Local, 0).verdict, Verdict::Ok);
    }
}
