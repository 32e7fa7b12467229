//! The attestation report's layout: SEV-SNP firmware ABI specification (AMD 56860), table 23.

use std::fmt;

use serde::Serialize;

use crate::Reason;
use crate::reader::Reader;

/// Bytes in a report.
pub const REPORT_SIZE: usize = 0x4a0;
/// How many of them are signed.
pub(crate) const SIGNED_SIZE: usize = 0x2a0;
/// ECDSA with P-384 and SHA-384, the only algorithm that there is.
const ECDSA_P384_SHA384: u32 = 1;

/// A generation of processors, as AMD's certificates distinguish them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Product {
    /// 3rd generation EPYC.
    Milan,
    /// 4th generation EPYC, Bergamo and Siena too.
    Genoa,
    /// 5th generation EPYC.
    Turin,
}

impl Product {
    /// By the CPUID family and model that reports from version 3 on carry.
    fn from_cpuid(family: u8, model: u8) -> Option<Self> {
        match (family, model) {
            (0x19, 0x00..=0x0f) => Some(Product::Milan),
            (0x19, 0x10..=0x1f | 0xa0..=0xaf) => Some(Product::Genoa),
            (0x1a, 0x00..=0x1f) => Some(Product::Turin),
            _ => None,
        }
    }
}

impl fmt::Display for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Security versions of the platform's firmware. Turin put one more in front.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Tcb {
    /// The FMC, from Turin on.
    pub fmc: Option<u8>,
    /// The boot loader.
    pub bootloader: u8,
    /// The secure processor's operating system.
    pub tee: u8,
    /// The SNP firmware.
    pub snp: u8,
    /// The microcode.
    pub microcode: u8,
}

impl Tcb {
    pub(crate) fn of(product: Product, raw: [u8; 8]) -> Self {
        match product {
            Product::Milan | Product::Genoa => {
                Tcb { fmc: None, bootloader: raw[0], tee: raw[1], snp: raw[6], microcode: raw[7] }
            }
            Product::Turin => {
                Tcb { fmc: Some(raw[0]), bootloader: raw[1], tee: raw[2], snp: raw[3], microcode: raw[7] }
            }
        }
    }

    /// Whether no part is older than in `other`.
    pub fn at_least(&self, other: &Tcb) -> bool {
        self.fmc.unwrap_or(0) >= other.fmc.unwrap_or(0)
            && self.bootloader >= other.bootloader
            && self.tee >= other.tee
            && self.snp >= other.snp
            && self.microcode >= other.microcode
    }
}

impl fmt::Display for Tcb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(fmc) = self.fmc {
            write!(f, "FMC {fmc}, ")?;
        }
        let Tcb { bootloader, tee, snp, microcode, .. } = self;
        write!(f, "boot loader {bootloader}, TEE {tee}, SNP {snp}, microcode {microcode}")
    }
}

/// Which key signed a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SigningKey {
    /// One that is derived from the chip.
    Vcek,
    /// One that AMD gave to a cloud provider.
    Vlek,
}

impl SigningKey {
    pub(crate) fn name(self) -> &'static str {
        match self {
            SigningKey::Vcek => "a chip's key (VCEK)",
            SigningKey::Vlek => "a provider's key (VLEK)",
        }
    }
}

/// Bits of the guest's launch policy.
pub(crate) mod guest_policy {
    pub(crate) const RESERVED_ONE: u64 = 1 << 17;
    pub(crate) const MIGRATE_MA: u64 = 1 << 18;
    pub(crate) const DEBUG: u64 = 1 << 19;
}

/// What a report says.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    pub(crate) version: u32,
    pub(crate) guest_svn: u32,
    pub(crate) policy: u64,
    pub(crate) vmpl: u32,
    pub(crate) platform_info: u64,
    pub(crate) signing_key: SigningKey,
    pub(crate) chip_key_masked: bool,
    pub(crate) report_data: [u8; 64],
    pub(crate) measurement: [u8; 48],
    pub(crate) host_data: [u8; 32],
    pub(crate) id_key_digest: [u8; 48],
    pub(crate) author_key_digest: [u8; 48],
    pub(crate) current_tcb: [u8; 8],
    pub(crate) reported_tcb: [u8; 8],
    pub(crate) committed_tcb: [u8; 8],
    pub(crate) launch_tcb: [u8; 8],
    pub(crate) chip_id: [u8; 64],
    /// From version 3 on.
    pub(crate) product: Option<Product>,
    /// `r ‖ s`, big-endian, 96 bytes.
    pub(crate) signature: Vec<u8>,
}

impl Report {
    /// Reads a report of version 2, 3, 4 or 5. Of what those versions reserve, nothing may be set.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Reason> {
        const WHAT: &str = "the report";
        let mut from = Reader::new(bytes, WHAT);
        let version = from.u32_le()?;
        if !(2..=5).contains(&version) {
            return Err(Reason::UnsupportedVersion(WHAT, version));
        }
        let guest_svn = from.u32_le()?;
        let policy = from.u64_le()?;
        from.take(32)?; // family and image id: the guest owner's own names
        let vmpl = from.u32_le()?;
        if from.u32_le()? != ECDSA_P384_SHA384 {
            return Err(Reason::Algorithm);
        }
        let current_tcb = from.array()?;
        let platform_info = from.u64_le()?;
        let flags = from.u32_le()?;
        let signing_key = match flags >> 2 & 7 {
            0 => SigningKey::Vcek,
            1 => SigningKey::Vlek,
            _ => return Err(Reason::Algorithm),
        };
        zeros(from.take(4)?)?;
        let report_data = from.array()?;
        let measurement = from.array()?;
        let host_data = from.array()?;
        let id_key_digest = from.array()?;
        let author_key_digest = from.array()?;
        from.take(64)?; // report ids, of this guest and of its migration agent
        let reported_tcb = from.array()?;
        let cpuid: [u8; 3] = from.array()?;
        let product = if version >= 3 {
            Some(Product::from_cpuid(cpuid[0], cpuid[1]).ok_or(Reason::Product)?)
        } else {
            zeros(&cpuid)?;
            None
        };
        zeros(from.take(21)?)?;
        let chip_id = from.array()?;
        let committed_tcb = from.array()?;
        from.take(8)?; // builds of the current and the committed firmware
        let launch_tcb = from.array()?;
        let mitigations = from.take(16)?; // vectors of version 5
        if version < 5 {
            zeros(mitigations)?;
        }
        zeros(from.take(SIGNED_SIZE - 0x208)?)?;
        let [r, s] = [from.array::<72>()?, from.array::<72>()?].map(big_endian);
        zeros(from.take(REPORT_SIZE - SIGNED_SIZE - 144)?)?;
        from.end()?;
        if policy & guest_policy::RESERVED_ONE == 0 {
            return Err(Reason::Malformed("the guest's policy"));
        }
        Ok(Report {
            version,
            guest_svn,
            policy,
            vmpl,
            platform_info,
            signing_key,
            chip_key_masked: flags & 2 != 0,
            report_data,
            measurement,
            host_data,
            id_key_digest,
            author_key_digest,
            current_tcb,
            reported_tcb,
            committed_tcb,
            launch_tcb,
            chip_id,
            product,
            signature: [r?, s?].concat(),
        })
    }
}

fn zeros(bytes: &[u8]) -> Result<(), Reason> {
    if bytes.iter().all(|byte| *byte == 0) { Ok(()) } else { Err(Reason::Malformed("a reserved field")) }
}

/// The lower 48 of 72 little-endian bytes, turned round.
fn big_endian(field: [u8; 72]) -> Result<Vec<u8>, Reason> {
    let (number, above) = field.split_at(48);
    zeros(above)?;
    Ok(number.iter().rev().copied().collect())
}
