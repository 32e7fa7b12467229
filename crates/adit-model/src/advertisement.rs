//! Advertisement: what a node offers, signed and short-lived.

use crate::alias::Alias;
use crate::dagcbor::{map_record, text_enum};
use crate::ids::{AccountId, NodeId};
use crate::names::AdvertisementCid;
use crate::receipt::EvidenceKind;
use crate::rules::{Invalid, a_set, at_most, label, limits};
use crate::signed::Signable;
use crate::task::{Abi, Profile};
use serde::{Deserialize, Serialize};

/// What a node tells the network about itself. Signed by its identity.
///
/// Version 1 also names `prices` and `certificate` (of trust); they are refused for now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Advertisement {
    /// The node, which signs.
    pub node: NodeId,
    /// The IPFS node that it stands beside, by that node's own word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<Alias>,
    /// The account of its operator, which will sign acceptances.
    pub operator: AccountId,
    /// The network it belongs to, such as `ipfs` or `devnet`.
    pub network: String,
    /// Where it can be reached, as multiaddresses without the peer id.
    #[serde(default)]
    pub addresses: Vec<String>,
    /// What it can do.
    pub abilities: Abilities,
    /// Unix time in seconds; of two advertisements the later one counts.
    pub issued: u64,
    /// Unix time in seconds after which it is forgotten.
    pub expires: u64,
}

map_record! {
    Advertisement as "advertisement", version 1, refuses ["prices", "certificate"];
    req "node" => node,
    opt "alias" => alias,
    req "issued" => issued,
    req "expires" => expires,
    req "network" => network,
    req "operator" => operator,
    req "abilities" => abilities,
    req "addresses" => addresses,
}

/// What a node can do. The lists are sets: sorted, without repetition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Abilities {
    /// Whose jobs it takes.
    pub accept: Accept,
    /// The ABIs it runs.
    pub abis: Vec<Abi>,
    /// The profiles it offers.
    pub profiles: Vec<Profile>,
    /// The kinds of evidence that its receipts can carry.
    pub evidence: Vec<EvidenceKind>,
    /// What its outcomes will name as their runtime.
    pub runtime: String,
    /// Jobs that it runs at the same time.
    pub workers: u32,
    /// The most memory in bytes that it gives one job.
    pub memory: u64,
    /// The most output in bytes that it gives one job.
    pub output: u64,
}

map_record! {
    Abilities as "abilities";
    req "abis" => abis,
    req "accept" => accept,
    req "memory" => memory,
    req "output" => output,
    req "runtime" => runtime,
    req "workers" => workers,
    req "evidence" => evidence,
    req "profiles" => profiles,
}

/// Whose jobs a node takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Accept {
    /// Its own operator's only.
    #[default]
    Own,
    /// Those of the requesters on its list.
    Allowlist,
    /// Anyone's.
    Anyone,
}

text_enum! {
    Accept as "accept";
    Own => "self",
    Allowlist => "allowlist",
    Anyone => "anyone",
}

impl Advertisement {
    /// Checks counts, lengths, and that it holds for some time at all.
    pub fn check(&self) -> Result<(), Invalid> {
        label("the network's name", &self.network, limits::NETWORK_BYTES)?;
        at_most("addresses", self.addresses.len(), limits::ADDRESSES)?;
        for address in &self.addresses {
            label("an address", address, limits::ADDRESS_BYTES)?;
        }
        label("the runtime", &self.abilities.runtime, limits::RUNTIME_BYTES)?;
        at_most("abis", self.abilities.abis.len(), limits::ABILITIES)?;
        at_most("profiles", self.abilities.profiles.len(), limits::ABILITIES)?;
        at_most("kinds of evidence", self.abilities.evidence.len(), limits::ABILITIES)?;
        a_set("abis", &self.abilities.abis)?;
        a_set("profiles", &self.abilities.profiles)?;
        a_set("kinds of evidence", &self.abilities.evidence)?;
        if self.issued >= self.expires {
            return Err(Invalid::EmptyInterval { what: "the advertisement" });
        }
        self.alias.as_ref().map_or(Ok(()), |alias| alias.check(self.issued, self.expires))
    }

    /// Whether it may be relied on at this Unix time.
    pub fn holds_at(&self, time: u64) -> bool {
        (self.issued..self.expires).contains(&time)
    }
}

impl Signable for Advertisement {
    type Signer = NodeId;
    type Name = AdvertisementCid;
    const TAG: &'static str = "adit/advertisement/1";

    fn signer(&self) -> NodeId {
        self.node
    }
    fn validate(&self) -> Result<(), Invalid> {
        self.check()
    }
    fn name(block: &[u8]) -> AdvertisementCid {
        AdvertisementCid::of_block(block)
    }
}
