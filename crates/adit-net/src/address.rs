//! Which addresses are worth keeping.

use libp2p::{Multiaddr, multiaddr::Protocol};

/// Whether whoever dials this address comes through another peer.
pub(crate) fn is_relayed(address: &Multiaddr) -> bool {
    address.iter().any(|part| part == Protocol::P2pCircuit)
}

/// Whether an address can be dialled from anywhere: a name, a public IP address, or a relay's.
pub(crate) fn is_global(address: &Multiaddr) -> bool {
    match address.iter().next() {
        Some(Protocol::Ip4(ip)) => {
            let shared = ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64;
            !(ip.is_private()
                || ip.is_loopback()
                || ip.is_link_local()
                || ip.is_unspecified()
                || ip.is_broadcast()
                || ip.is_multicast()
                || ip.is_documentation()
                || shared)
        }
        Some(Protocol::Ip6(ip)) => {
            let mapped = ip.to_ipv4_mapped().is_some();
            let unique_local = ip.segments()[0] & 0xfe00 == 0xfc00;
            let link_local = ip.segments()[0] & 0xffc0 == 0xfe80;
            !(ip.is_loopback()
                || ip.is_unspecified()
                || ip.is_multicast()
                || mapped
                || unique_local
                || link_local)
        }
        Some(Protocol::Dns(name) | Protocol::Dns4(name) | Protocol::Dns6(name)) => {
            !(name == "localhost" || name.ends_with(".localhost") || name.ends_with(".local"))
        }
        Some(Protocol::Dnsaddr(_)) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_addresses_are_told_from_public_ones() {
        for (text, global) in [
            ("/ip4/1.1.1.1/tcp/1", true),
            ("/ip4/127.0.0.1/tcp/1", false),
            ("/ip4/192.168.1.1/udp/1/quic-v1", false),
            ("/ip4/100.64.0.1/tcp/1", false),
            ("/ip4/100.128.0.1/tcp/1", true),
            ("/ip6/2606:4700::1/tcp/1", true),
            ("/ip6/fe80::1/tcp/1", false),
            ("/ip6/fd00::1/tcp/1", false),
            ("/ip6/::ffff:10.0.0.1/tcp/1", false),
            ("/dns4/example.org/tcp/1", true),
            ("/dns4/localhost/tcp/1", false),
            ("/p2p/QmNnooDu7bfjPFoTZYxMNLWUQJyrVwtbZg5gBMjTezGAJN/p2p-circuit", false),
        ] {
            assert_eq!(is_global(&text.parse().unwrap()), global, "{text}");
        }
    }
}
