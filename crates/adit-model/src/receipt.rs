//! Receipt: who computed an outcome, for whom, when, and why that should be believed.

use crate::dagcbor::{DecodeError, Reader, Value, Writer, map_record};
use crate::ids::{AccountId, JobKey, NodeId};
use crate::names::{EndorsementCid, InvocationCid, OutcomeCid, ReceiptCid, TaskCid};
use crate::rules::{Invalid, at_most, label, limits};
use crate::signed::{Signable, Signed};
use cid::Cid;
use serde::{Deserialize, Serialize};

/// The statement of an enclave that it computed an outcome. Signed by its job key, in an
/// [`Envelope`](crate::Envelope).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Receipt {
    /// What was computed.
    pub outcome: OutcomeCid,
    /// For which request.
    pub invocation: InvocationCid,
    /// The task of both.
    pub task: TaskCid,
    /// The operator's account.
    pub host: AccountId,
    /// Unix time in seconds, by the host's clock.
    pub time: u64,
    /// Why the job key should be believed.
    pub evidence: Evidence,
    /// The policies that allowed it. Empty until sealed jobs exist.
    #[serde(with = "crate::text::cid::list")]
    pub policies: Vec<Cid>,
    /// The key releases that it used. Empty until sealed jobs exist.
    #[serde(with = "crate::text::cid::list")]
    pub releases: Vec<Cid>,
}

map_record! {
    Receipt as "receipt", version 1;
    req "host" => host,
    req "task" => task,
    req "time" => time,
    req "outcome" => outcome,
    req "evidence" => evidence,
    req "policies" => policies,
    req "releases" => releases,
    req "invocation" => invocation,
}

crate::rules::block!(Receipt named ReceiptCid);

impl Receipt {
    /// Checks counts, and that nothing is claimed that this release cannot check.
    pub fn check(&self) -> Result<(), Invalid> {
        at_most("policies", self.policies.len(), limits::RECEIPT_LINKS)?;
        at_most("releases", self.releases.len(), limits::RECEIPT_LINKS)?;
        self.evidence.endorsement().body().check()
    }

    /// Everything the receipt names, in the order in which an envelope repeats it.
    pub fn links(&self) -> Vec<Cid> {
        let mut links = vec![self.outcome.to_cid(), self.invocation.to_cid(), self.task.to_cid()];
        links.extend(&self.policies);
        links.extend(&self.releases);
        links
    }
}

/// What vouches for the job key. Version 1 names the kinds `none`, `dev`, `tpm2`, `sev-snp`, `tdx`, `sgx` and
/// `nitro`; all but the first are refused for now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Evidence {
    /// Nothing but the node's own word: `{kind: "none", endorsement}`.
    None { endorsement: Box<Signed<Endorsement>> },
}

/// The kind of an [`Evidence`], by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EvidenceKind {
    /// The node's word only.
    None,
    /// A devnet's simulated attester.
    Dev,
    /// A TPM 2.0 quote over the measured boot.
    Tpm2,
    /// An attestation report of AMD SEV-SNP.
    SevSnp,
    /// A quote of Intel TDX.
    Tdx,
    /// A quote of Intel SGX.
    Sgx,
    /// An attestation document of AWS Nitro Enclaves.
    Nitro,
}

crate::dagcbor::text_enum! {
    EvidenceKind as "evidence kind";
    None => "none",
    Dev => "dev",
    Tpm2 => "tpm2",
    SevSnp => "sev-snp",
    Tdx => "tdx",
    Sgx => "sgx",
    Nitro => "nitro",
}

impl EvidenceKind {
    /// Whether it is that of a trusted execution environment: one that keeps data from the machine's own software and
    /// administrator.
    pub const fn is_tee(&self) -> bool {
        matches!(self, Self::SevSnp | Self::Tdx | Self::Sgx | Self::Nitro)
    }
}

impl Evidence {
    /// Its kind.
    pub fn kind(&self) -> EvidenceKind {
        let Self::None { .. } = self;
        EvidenceKind::None
    }

    /// The node's endorsement of the job key.
    pub fn endorsement(&self) -> &Signed<Endorsement> {
        let Self::None { endorsement } = self;
        endorsement
    }
}

impl Value for Evidence {
    fn write(&self, w: &mut Writer) {
        let Self::None { endorsement } = self;
        w.map(2);
        w.str("kind");
        EvidenceKind::None.write(w);
        w.str("endorsement");
        endorsement.write(w);
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (mut kind, mut endorsement) = (None, None);
        r.map(|key, r| {
            match key {
                // "kind" is the shorter key and comes first, so a kind of the future is refused by its name
                // before anything unknown in it is met.
                "kind" => match EvidenceKind::read(r)? {
                    EvidenceKind::None => kind = Some(()),
                    _ => {
                        return Err(DecodeError::NotImplemented {
                            what: "evidence of a kind other than `none`",
                        });
                    }
                },
                "endorsement" => endorsement = Some(Signed::read(r)?),
                other => return Err(DecodeError::unknown_field("evidence", other)),
            }
            Ok(())
        })?;
        let missing = |field| DecodeError::MissingField { record: "evidence", field };
        kind.ok_or(missing("kind"))?;
        Ok(Self::None { endorsement: Box::new(endorsement.ok_or(missing("endorsement"))?) })
    }
}

/// A node's word that a job key belongs to its own enclave. Signed by the node's identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endorsement {
    /// The key.
    pub job_key: JobKey,
    /// The node, which signs.
    pub node: NodeId,
    /// What runs in the enclave.
    pub runtime: String,
    /// Unix time in seconds from which it holds.
    pub issued: u64,
    /// Unix time in seconds at which it ends.
    pub expires: u64,
}

map_record! {
    Endorsement as "endorsement", version 1;
    req "node" => node,
    req "issued" => issued,
    req "expires" => expires,
    req "job_key" => job_key,
    req "runtime" => runtime,
}

impl Endorsement {
    /// Checks lengths and that it holds for some time at all.
    pub fn check(&self) -> Result<(), Invalid> {
        label("the runtime", &self.runtime, limits::RUNTIME_BYTES)?;
        if self.issued >= self.expires {
            return Err(Invalid::EmptyInterval { what: "the endorsement" });
        }
        Ok(())
    }

    /// Whether it holds at this Unix time.
    pub fn holds_at(&self, time: u64) -> bool {
        (self.issued..self.expires).contains(&time)
    }
}

impl Signable for Endorsement {
    type Signer = NodeId;
    type Name = EndorsementCid;
    const TAG: &'static str = "adit/endorsement/1";

    fn signer(&self) -> NodeId {
        self.node
    }
    fn validate(&self) -> Result<(), Invalid> {
        self.check()
    }
    fn name(block: &[u8]) -> EndorsementCid {
        EndorsementCid::of_block(block)
    }
}
