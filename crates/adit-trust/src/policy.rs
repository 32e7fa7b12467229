//! What the relying party asks of evidence.

use std::collections::BTreeSet;

use crate::{ActivatedKey, Kind, LastSeen, TcbStatus};

/// A relying party's conditions. The default is strict: everything that can be checked must hold.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The kinds that are accepted.
    pub kinds: BTreeSet<Kind>,
    /// What the evidence must be bound to: at most 64 bytes, padded with zeros where the field is longer.
    pub report_data: Option<Vec<u8>>,
    /// The nonce that it must answer, for kinds that carry one apart from report data.
    pub nonce: Option<Vec<u8>>,
    /// The oldest that evidence with a time of its own may be, in seconds.
    pub max_age: Option<u64>,
    /// Whether what runs must be one of the reference values. Without it nothing is claimed to be confidential.
    pub software: Software,
    /// What happens where no revocation list is at hand.
    pub revocation: Revocation,
    /// For `sev-snp`.
    pub snp: SnpPolicy,
    /// For `tdx` and `sgx`.
    pub dcap: DcapPolicy,
    /// For `tpm2`.
    pub tpm: TpmPolicy,
    /// The devnet that this process belongs to. Nothing that is read from outside can set it.
    pub devnet: Option<DevnetRoot>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            kinds: Kind::ALL.into_iter().filter(|kind| !matches!(kind, Kind::None | Kind::Dev)).collect(),
            report_data: None,
            nonce: None,
            max_age: None,
            software: Software::Known,
            revocation: Revocation::Required,
            snp: SnpPolicy::default(),
            dcap: DcapPolicy::default(),
            tpm: TpmPolicy::default(),
            devnet: None,
        }
    }
}

/// Whether it matters what runs inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Software {
    /// Only what a reference value names.
    Known,
    /// Anything: only the hardware is asked about.
    Any,
}

/// What happens where no revocation list is at hand. One that is at hand counts always.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revocation {
    /// Refuse.
    Required,
    /// Go on, and say so.
    IfGiven,
}

/// Conditions on SEV-SNP reports. Debugging and migration are refused always.
#[derive(Clone, Debug)]
pub struct SnpPolicy {
    /// The least trusted privilege level (VMPL) that may have asked for the report.
    pub max_vmpl: u32,
    /// Whether a key that AMD made for a cloud provider (VLEK) is accepted.
    pub provider_keys: bool,
    /// The oldest firmware that is accepted, for each product that is accepted at all. Empty: any.
    pub minimum_tcb: Vec<(crate::snp::Product, crate::snp::Tcb)>,
    /// Bits of the guest policy that must be set.
    pub guest_policy_set: u64,
    /// Bits of the guest policy that must be clear.
    pub guest_policy_clear: u64,
}

impl Default for SnpPolicy {
    fn default() -> Self {
        Self {
            max_vmpl: 0,
            provider_keys: true,
            minimum_tcb: Vec::new(),
            guest_policy_set: 0,
            guest_policy_clear: 0,
        }
    }
}

/// Conditions on quotes of TPMs.
#[derive(Clone, Debug, Default)]
pub struct TpmPolicy {
    /// The makers that are believed: SHA-256 of their roots' certificates. Nothing is pinned by itself here.
    pub roots: Vec<[u8; 32]>,
    /// Attestation keys that were seen to live in a TPM.
    pub activated: Vec<ActivatedKey>,
    /// What TPMs' counters were before. For a key that is not among them nobody asks.
    pub last_seen: Vec<LastSeen>,
}

/// The Ed25519 public key of a devnet's simulated attester. The devnet makes it and hands it to its child processes;
/// it has no text or serial form here, so that no flag, file or variable can bring one in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DevnetRoot(pub(crate) [u8; 32], pub(crate) Option<[u8; 32]>);

impl DevnetRoot {
    /// The root with this public key. For the devnet's own processes.
    pub fn of_this_devnet(key: [u8; 32]) -> Self {
        Self(key, None)
    }

    /// Also the maker of the devnet's software TPMs: SHA-256 of its root's certificate. What they say counts as `dev`.
    #[must_use]
    pub fn with_tpm_maker(self, root: [u8; 32]) -> Self {
        Self(self.0, Some(root))
    }
}

/// Conditions on Intel's quotes. Debugging, migration and revoked platforms are refused always.
#[derive(Clone, Debug)]
pub struct DcapPolicy {
    /// What Intel may say of the versions of platform, quoting enclave and module.
    pub statuses: BTreeSet<TcbStatus>,
    /// Advisories, as in `INTEL-SA-00615`, that must not apply.
    pub refused_advisories: BTreeSet<String>,
    /// The oldest evaluation that the collateral may be of.
    pub minimum_evaluation: u32,
    /// Bits of a trust domain's attributes that must be set.
    pub attributes_set: u64,
    /// Bits of a trust domain's attributes that must be clear.
    pub attributes_clear: u64,
}

impl Default for DcapPolicy {
    fn default() -> Self {
        Self {
            statuses: [TcbStatus::UpToDate].into(),
            refused_advisories: BTreeSet::new(),
            minimum_evaluation: 0,
            attributes_set: 0,
            attributes_clear: 0,
        }
    }
}
