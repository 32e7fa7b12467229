//! What handles ask of the task.

use adit_model::{Advertisement, Verified};
use adit_names::{IpnsName, IpnsRecord};
use cid::Cid;
use libp2p::{Multiaddr, PeerId};

use super::{Depth, Reply, Task};
use crate::{
    advert::AdvertError,
    dht::Announcer,
    error::{ConnectError, LookupError},
};

#[derive(Debug)]
pub(crate) enum Command {
    /// Dial one address.
    Connect {
        address: Multiaddr,
        reply: Reply<Result<PeerId, ConnectError>>,
    },
    /// Connect with a peer wherever it is.
    Dial {
        peer: PeerId,
        reply: Reply<Result<(), ConnectError>>,
    },
    /// Close all connections with a peer.
    Disconnect {
        peer: PeerId,
    },
    /// Stay connected with a peer.
    Keep {
        peer: PeerId,
        address: Multiaddr,
    },
    /// Announce a root from now on, or no longer.
    Announce {
        root: Cid,
    },
    /// Announce a root at once, and from now on; whether anybody was there to hear it.
    AnnounceNow {
        root: Cid,
        reply: Reply<bool>,
    },
    Unannounce {
        root: Cid,
    },
    /// Tell the network what this node offers.
    Advertise {
        advert: Box<Verified<Advertisement>>,
        reply: Reply<Result<(), AdvertError>>,
    },
    /// Who provides a root.
    FindProviders {
        root: Cid,
        limit: usize,
        depth: Depth,
        reply: Reply<Result<Vec<PeerId>, LookupError>>,
    },
    /// The best record of a name.
    FindRecord {
        name: IpnsName,
        reply: Reply<Result<Option<IpnsRecord>, LookupError>>,
    },
    /// Store a record with the nodes nearest to its name; how many took it.
    PublishRecord {
        name: IpnsName,
        value: Vec<u8>,
        reply: Reply<Result<usize, LookupError>>,
    },
    /// Where a peer is.
    FindPeer {
        peer: PeerId,
        reply: Reply<Result<Vec<Multiaddr>, LookupError>>,
    },
}

impl Task {
    pub(super) fn on_command(&mut self, command: Command) {
        let now = std::time::Instant::now();
        match command {
            Command::Connect { address, reply } => self.connect(address, reply),
            Command::Dial { peer, reply } => self.dial(peer, reply),
            Command::Disconnect { peer } => {
                let _ = self.swarm.disconnect_peer_id(peer);
            }
            Command::Keep { peer, address } => {
                self.state.book.write().learn(peer, [address.clone()], now);
                self.redial.want(peer, address, now);
                if self.swarm.is_connected(&peer) {
                    self.redial.on_connected(&peer);
                }
            }
            Command::Announce { root } => Announcer::add(&mut self.announcer, *root.hash(), now),
            Command::AnnounceNow { root, reply } => {
                self.announcer.again(*root.hash(), now);
                self.announced.entry(*root.hash()).or_default().push(reply);
            }
            Command::Unannounce { root } => self.unannounce(*root.hash()),
            Command::Advertise { advert, reply } => drop(reply.send(self.advertise(*advert))),
            Command::FindProviders { root, limit, depth, reply } => {
                self.find_providers(*root.hash(), limit, depth, reply);
            }
            Command::FindRecord { name, reply } => self.find_record(name, reply),
            Command::PublishRecord { name, value, reply } => self.publish_record(&name, value, reply),
            Command::FindPeer { peer, reply } => self.find_peer(peer, reply),
        }
    }
}
