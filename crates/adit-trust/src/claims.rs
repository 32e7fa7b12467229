//! What an appraisal may claim, and the ceiling that each kind of evidence puts on it.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

/// The kinds of evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The node's own word.
    None,
    /// A devnet's simulated attester.
    Dev,
    /// A TPM 2.0 quote over the measured boot.
    Tpm2,
    /// AMD SEV-SNP attestation report.
    SevSnp,
    /// Intel TDX quote.
    Tdx,
    /// Intel SGX quote.
    Sgx,
    /// AWS Nitro Enclaves attestation document.
    Nitro,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 7] =
        [Kind::None, Kind::Dev, Kind::Tpm2, Kind::SevSnp, Kind::Tdx, Kind::Sgx, Kind::Nitro];

    /// The name used in records, on the command line and in documents.
    pub fn name(self) -> &'static str {
        match self {
            Kind::None => "none",
            Kind::Dev => "dev",
            Kind::Tpm2 => "tpm2",
            Kind::SevSnp => "sev-snp",
            Kind::Tdx => "tdx",
            Kind::Sgx => "sgx",
            Kind::Nitro => "nitro",
        }
    }

    /// The most that evidence of this kind can ever support.
    pub fn ceiling(self) -> Claims {
        use Adversary::{HostAdmin, HostSoftware, Network, OtherTenants};
        let (assurance, from): (_, &[Adversary]) = match self {
            Kind::None => (Assurance::HostPromise, &[]),
            Kind::Dev => (Assurance::Dev, &[]),
            Kind::Tpm2 => (Assurance::MeasuredBoot, &[Network, OtherTenants]),
            Kind::SevSnp | Kind::Tdx => {
                (Assurance::ConfidentialVm, &[Network, OtherTenants, HostSoftware, HostAdmin])
            }
            Kind::Sgx | Kind::Nitro => {
                (Assurance::Enclave, &[Network, OtherTenants, HostSoftware, HostAdmin])
            }
        };
        Claims { assurance, confidential_from: from.iter().copied().collect() }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Somebody that data may have to be kept from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Adversary {
    /// Whoever sees or changes traffic.
    Network,
    /// Other customers' programs on the same machine.
    OtherTenants,
    /// The machine's own operating system and hypervisor.
    HostSoftware,
    /// Whoever administers the machine from afar.
    HostAdmin,
    /// Whoever has the machine in hand. No evidence claims this.
    PhysicalOwner,
}

impl Adversary {
    /// Every adversary.
    pub const ALL: [Adversary; 5] = [
        Adversary::Network,
        Adversary::OtherTenants,
        Adversary::HostSoftware,
        Adversary::HostAdmin,
        Adversary::PhysicalOwner,
    ];

    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Adversary::Network => "the network",
            Adversary::OtherTenants => "other tenants of the machine",
            Adversary::HostSoftware => "the host's software",
            Adversary::HostAdmin => "the host's administrator",
            Adversary::PhysicalOwner => "whoever has the machine in hand",
        }
    }
}

/// What the promise rests on. Not a scale: the other axis says from whom data is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Assurance {
    /// A simulation, for development.
    Dev,
    /// The host's word.
    HostPromise,
    /// A TPM's record of what was booted.
    MeasuredBoot,
    /// A virtual machine that the processor isolates from its host.
    ConfidentialVm,
    /// A process or machine part that the processor or hypervisor isolates from its host.
    Enclave,
}

impl Assurance {
    /// The name used in records and documents.
    pub fn name(self) -> &'static str {
        match self {
            Assurance::Dev => "dev",
            Assurance::HostPromise => "host-promise",
            Assurance::MeasuredBoot => "measured-boot",
            Assurance::ConfidentialVm => "confidential-vm",
            Assurance::Enclave => "enclave",
        }
    }
}

/// What an accepted appraisal claims. Made by this crate alone, and never above its kind's ceiling.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Claims {
    assurance: Assurance,
    confidential_from: BTreeSet<Adversary>,
}

impl Claims {
    /// `wanted`, as far as evidence of this kind can support it.
    pub(crate) fn at_most(kind: Kind, wanted: impl IntoIterator<Item = Adversary>) -> Self {
        let ceiling = kind.ceiling();
        let confidential_from =
            wanted.into_iter().filter(|one| ceiling.confidential_from.contains(one)).collect();
        Claims { assurance: ceiling.assurance, confidential_from }
    }

    /// What the promise rests on.
    pub fn assurance(&self) -> Assurance {
        self.assurance
    }

    /// From whom data in use is kept.
    pub fn confidential_from(&self) -> &BTreeSet<Adversary> {
        &self.confidential_from
    }

    /// Whether these claims say no more than `other` does.
    pub fn within(&self, other: &Claims) -> bool {
        self.assurance == other.assurance && self.confidential_from.is_subset(&other.confidential_from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_claim_is_above_the_kinds_ceiling(kind in 0..Kind::ALL.len(), wanted in proptest::bits::u8::ANY) {
            let kind = Kind::ALL[kind];
            let wanted = Adversary::ALL.into_iter().enumerate().filter(|(bit, _)| wanted >> bit & 1 == 1);
            let claims = Claims::at_most(kind, wanted.map(|(_, one)| one));
            prop_assert!(claims.within(&kind.ceiling()));
            prop_assert!(!claims.confidential_from().contains(&Adversary::PhysicalOwner));
        }
    }

    #[test]
    fn the_ceilings_are_those_of_the_design() {
        let names = |kind: Kind| {
            let claims = serde_json::to_value(kind.ceiling()).unwrap();
            let from = claims["confidential_from"].as_array().unwrap().iter();
            let from = from.map(|one| one.as_str().unwrap().to_owned()).collect::<Vec<_>>().join(" ");
            format!("{kind}: {} [{from}]", claims["assurance"].as_str().unwrap())
        };
        let all = Kind::ALL.map(names).join("\n");
        let expected = "\
none: host-promise []
dev: dev []
tpm2: measured-boot [network other_tenants]
sev-snp: confidential-vm [network other_tenants host_software host_admin]
tdx: confidential-vm [network other_tenants host_software host_admin]
sgx: enclave [network other_tenants host_software host_admin]
nitro: enclave [network other_tenants host_software host_admin]";
        assert_eq!(all, expected);
    }
}
