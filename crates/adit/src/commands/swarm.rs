//! `adit swarm`: connections to other peers, Adit or not.

use crate::context::Context;
use crate::exit::Failure;
use crate::output::{Table, bytes, micros};

/// Subcommands of `adit swarm`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Swarm {
    /// List connected peers
    Peers,
    /// Connect to a peer
    Connect {
        /// A multiaddress that ends in /p2p/PEER
        address: String,
    },
}

/// Lists peers or connects to one.
pub(crate) async fn swarm(context: &Context, command: Swarm) -> Result<(), Failure> {
    let client = context.client()?;
    match command {
        Swarm::Peers => {
            let peers = client.peers().await?;
            if context.out.json() {
                return Ok(context.out.document(&peers)?);
            }
            let mut table = Table::new(
                ["peer", "by", "rtt", "received", "sent", "agent", "address"],
                "No peer is connected.",
            );
            for peer in peers {
                table.row([
                    peer.peer,
                    peer.transports.join(","),
                    peer.rtt_us.map_or_else(|| "-".to_owned(), micros),
                    bytes(peer.bytes_in),
                    bytes(peer.bytes_out),
                    peer.agent.unwrap_or_else(|| "-".to_owned()),
                    peer.addresses.into_iter().next().unwrap_or_default(),
                ]);
            }
            Ok(table.print(&context.out)?)
        }
        Swarm::Connect { address } => {
            let peer = client.connect(&address).await?;
            context.out.either(&peer, |out, peer| out.line(format!("connected to {peer}")))?;
            Ok(())
        }
    }
}
