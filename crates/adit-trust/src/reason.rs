//! Why evidence is refused.

use serde::{Serialize, Serializer, ser::SerializeStruct};

use crate::Kind;

/// One reason to refuse. [`Reason::name`] is stable; the text is for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    // The bytes.
    #[error("{0} ends too early")]
    Truncated(&'static str),
    #[error("{0} is followed by bytes that belong to nothing")]
    TrailingBytes(&'static str),
    #[error("{0} is malformed")]
    Malformed(&'static str),
    #[error("{0} is larger than is accepted")]
    TooLarge(&'static str),
    #[error("{0} of version {1} is not understood")]
    UnsupportedVersion(&'static str, u32),
    #[error("this is no evidence of a kind that is known")]
    UnknownEvidence,
    #[error("the policy does not accept evidence of the kind {0}")]
    KindNotAccepted(Kind),

    // Certificates.
    #[error("no certificate of the attesting key was given ({0})")]
    KeyCertificateMissing(&'static str),
    #[error("a certificate is malformed")]
    CertificateMalformed,
    #[error("the certificate {0} is not valid yet")]
    CertificateNotYetValid(String),
    #[error("the certificate {0} has expired")]
    CertificateExpired(String),
    #[error("the certificate {0} was revoked by its issuer")]
    CertificateRevoked(String),
    #[error("the certificate {0} is not signed by the issuer that it names")]
    CertificateSignature(String),
    #[error("no certificate of {0} was given")]
    IssuerMissing(String),
    #[error("the certificate {0} ends the chain, and is not a root that is pinned")]
    RootNotPinned(String),
    #[error("the certificate {0} may not issue others")]
    NotACertificateAuthority(String),
    #[error("the chain of certificates is too long")]
    ChainTooLong,
    #[error("the certificate {0} has a critical extension that is not understood")]
    CriticalExtension(String),
    #[error("a key or signature algorithm is not supported")]
    Algorithm,
    #[error("no valid revocation list of {0} was given")]
    RevocationUnknown(String),
    #[error("the revocation list of {0} is out of date")]
    RevocationListExpired(String),
    #[error("the revocation list of {0} is not signed by it")]
    RevocationListSignature(String),

    // Signatures and what they bind.
    #[error("the evidence is not signed by the key that it names")]
    Signature,
    #[error("the evidence carries other report data than was asked for")]
    ReportData,
    #[error("the evidence answers another nonce, or none")]
    Nonce,
    #[error("evidence of the kind {0} has no nonce apart from its report data")]
    NoNonceField(Kind),
    #[error("the evidence is from {0} s before the time of appraisal")]
    Stale(u64),
    #[error("the evidence is from the future")]
    FromTheFuture,
    #[error("no reference values for this kind of evidence were given")]
    NoReferenceValues,
    #[error("the measurements are none of the reference values")]
    Measurement,

    // SEV-SNP.
    #[error("the report says that it is signed by {0}, its certificate says otherwise")]
    SigningKey(&'static str),
    #[error("keys of cloud providers (VLEK) are not accepted by the policy")]
    ProviderKey,
    #[error("the processor's product is not that of the certificate")]
    Product,
    #[error("the report's TCB is not the one that the key was made for")]
    TcbMismatch,
    #[error("the report's TCB versions contradict each other")]
    TcbInconsistent,
    #[error("the TCB is older than the policy accepts ({0})")]
    TcbTooOld(String),
    #[error("the certificate is another processor's")]
    HardwareId,
    #[error("the host may read and change the guest (debug)")]
    Debug,
    #[error("the guest may be migrated")]
    Migratable,
    #[error("the report is from privilege level {0}")]
    PrivilegeLevel(u32),
    #[error("the guest's policy is not what was asked for (bits {0:#x})")]
    GuestPolicy(u64),

    // TDX and SGX.
    #[error("no collateral (TCB info, identity of the quoting enclave, revocation lists) was given")]
    CollateralMissing,
    #[error("the collateral is of another platform or kind")]
    CollateralOfAnother,
    #[error("{0} is not signed by Intel's certificate for it")]
    CollateralSignature(&'static str),
    #[error("{0} is not in force at this time")]
    CollateralOutOfDate(&'static str),
    #[error("the quoting enclave is not the one that Intel describes")]
    QuotingEnclave,
    #[error("the TDX module is not Intel's")]
    TdxModule,
    #[error("Intel names no level for the versions of this {0}")]
    TcbUnknown(&'static str),
    #[error("Intel says of the versions: {0:?}")]
    TcbStatus(crate::TcbStatus),
    #[error("the advisory {0} applies")]
    Advisory(String),

    // TPMs.
    #[error("the certificate is not one of an endorsement key")]
    NotAnEndorsementKey,
    #[error("the TPM is software, and counts in its own devnet only")]
    SoftwareTpm,
    #[error("the attestation key is not restricted to the TPM that made it, or to what the TPM itself says")]
    AttestationKey,
    #[error("the attestation key was not seen to live in this TPM")]
    NotActivated,
    #[error("this is no quote that a TPM composed")]
    NotAQuote,
    #[error("the quote or log is not over the SHA-256 registers alone")]
    PcrBank,
    #[error("the registers' values are not the quoted ones")]
    Registers,
    #[error("the event log does not lead to the value of register {0}")]
    EventLog(u8),
    #[error("the TPM's counters are behind what was seen of it")]
    ClockBehind,

    // Development.
    #[error("simulated evidence counts only inside the devnet that made it")]
    NoDevnet,
}

impl Reason {
    /// A name that stays the same, for programs.
    pub fn name(&self) -> &'static str {
        match self {
            Reason::Truncated(_) => "truncated",
            Reason::TrailingBytes(_) => "trailing-bytes",
            Reason::Malformed(_) => "malformed",
            Reason::TooLarge(_) => "too-large",
            Reason::UnsupportedVersion(..) => "unsupported-version",
            Reason::UnknownEvidence => "unknown-evidence",
            Reason::KindNotAccepted(_) => "kind-not-accepted",
            Reason::KeyCertificateMissing(_) => "key-certificate-missing",
            Reason::CertificateMalformed => "certificate-malformed",
            Reason::CertificateNotYetValid(_) => "certificate-not-yet-valid",
            Reason::CertificateExpired(_) => "certificate-expired",
            Reason::CertificateRevoked(_) => "certificate-revoked",
            Reason::CertificateSignature(_) => "certificate-signature",
            Reason::IssuerMissing(_) => "issuer-missing",
            Reason::RootNotPinned(_) => "root-not-pinned",
            Reason::NotACertificateAuthority(_) => "not-a-certificate-authority",
            Reason::ChainTooLong => "chain-too-long",
            Reason::CriticalExtension(_) => "critical-extension",
            Reason::Algorithm => "algorithm",
            Reason::RevocationUnknown(_) => "revocation-unknown",
            Reason::RevocationListExpired(_) => "revocation-list-expired",
            Reason::RevocationListSignature(_) => "revocation-list-signature",
            Reason::Signature => "signature",
            Reason::ReportData => "report-data",
            Reason::Nonce => "nonce",
            Reason::NoNonceField(_) => "no-nonce-field",
            Reason::Stale(_) => "stale",
            Reason::FromTheFuture => "from-the-future",
            Reason::NoReferenceValues => "no-reference-values",
            Reason::Measurement => "measurement",
            Reason::SigningKey(_) => "signing-key",
            Reason::ProviderKey => "provider-key",
            Reason::Product => "product",
            Reason::TcbMismatch => "tcb-mismatch",
            Reason::TcbInconsistent => "tcb-inconsistent",
            Reason::TcbTooOld(_) => "tcb-too-old",
            Reason::HardwareId => "hardware-id",
            Reason::Debug => "debug",
            Reason::Migratable => "migratable",
            Reason::PrivilegeLevel(_) => "privilege-level",
            Reason::GuestPolicy(_) => "guest-policy",
            Reason::CollateralMissing => "collateral-missing",
            Reason::CollateralOfAnother => "collateral-of-another",
            Reason::CollateralSignature(_) => "collateral-signature",
            Reason::CollateralOutOfDate(_) => "collateral-out-of-date",
            Reason::QuotingEnclave => "quoting-enclave",
            Reason::TdxModule => "tdx-module",
            Reason::TcbUnknown(_) => "tcb-unknown",
            Reason::TcbStatus(_) => "tcb-status",
            Reason::Advisory(_) => "advisory",
            Reason::NotAnEndorsementKey => "not-an-endorsement-key",
            Reason::SoftwareTpm => "software-tpm",
            Reason::AttestationKey => "attestation-key",
            Reason::NotActivated => "not-activated",
            Reason::NotAQuote => "not-a-quote",
            Reason::PcrBank => "pcr-bank",
            Reason::Registers => "registers",
            Reason::EventLog(_) => "event-log",
            Reason::ClockBehind => "clock-behind",
            Reason::NoDevnet => "no-devnet",
        }
    }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut out = to.serialize_struct("Reason", 2)?;
        out.serialize_field("name", self.name())?;
        out.serialize_field("text", &self.to_string())?;
        out.end()
    }
}
