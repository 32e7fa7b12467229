//! Evidence and endorsements, as they come from outside.

use serde::Deserialize;

use crate::{Kind, Reason, TpmEvidence, dcap, dev::DevEvidence, nitro, snp};

/// The largest file of evidence that is looked at.
pub const MAX_EVIDENCE: usize = 4 << 20;
/// The largest file of endorsements that is looked at.
pub const MAX_ENDORSEMENT: usize = 4 << 20;
/// The most certificates, and the most revocation lists.
pub const MAX_CERTIFICATES: usize = 64;
/// The most platforms' collateral.
const MAX_COLLATERAL: usize = 8;
/// The largest certificate.
pub const MAX_CERTIFICATE: usize = 16 << 10;

/// What an attester says of itself. Nothing in it is believed before it is appraised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// The node's own word.
    None,
    /// A devnet's simulation.
    Dev(DevEvidence),
    /// An attestation report, 1184 bytes, as the AMD secure processor signs it.
    SevSnp { report: Vec<u8> },
    /// A quote over a trust domain's report: version 4 or 5.
    Tdx { quote: Vec<u8> },
    /// A quote over an enclave's report: version 3, 4 or 5.
    Sgx { quote: Vec<u8> },
    /// An attestation document: COSE_Sign1, tagged or not.
    Nitro { document: Vec<u8> },
    /// A TPM's quote.
    Tpm2(Box<TpmEvidence>),
}

impl Evidence {
    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self {
            Evidence::None => Kind::None,
            Evidence::Dev(_) => Kind::Dev,
            Evidence::SevSnp { .. } => Kind::SevSnp,
            Evidence::Tdx { .. } => Kind::Tdx,
            Evidence::Sgx { .. } => Kind::Sgx,
            Evidence::Nitro { .. } => Kind::Nitro,
            Evidence::Tpm2(_) => Kind::Tpm2,
        }
    }

    /// Reads evidence that is said to be of a kind: the maker's own bytes, a TPM's as JSON, a devnet's as
    /// [`DevEvidence::to_bytes`].
    ///
    /// # Errors
    /// Too large or malformed; `none` has no bytes.
    pub fn of_kind(kind: Kind, bytes: &[u8]) -> Result<Self, Reason> {
        if bytes.len() > MAX_EVIDENCE {
            return Err(Reason::TooLarge("the evidence"));
        }
        Ok(match kind {
            Kind::None => return Err(Reason::UnknownEvidence),
            Kind::Dev => Evidence::Dev(DevEvidence::from_bytes(bytes)?),
            Kind::SevSnp => Evidence::SevSnp { report: bytes.to_vec() },
            Kind::Tdx => Evidence::Tdx { quote: bytes.to_vec() },
            Kind::Sgx => Evidence::Sgx { quote: bytes.to_vec() },
            Kind::Nitro => Evidence::Nitro { document: bytes.to_vec() },
            Kind::Tpm2 => Evidence::Tpm2(TpmEvidence::from_json(bytes)?.into()),
        })
    }

    /// Tells the kind of raw evidence from its first bytes.
    ///
    /// # Errors
    /// Too large, or none of the kinds.
    pub fn detect(bytes: &[u8]) -> Result<Self, Reason> {
        if bytes.len() > MAX_EVIDENCE {
            return Err(Reason::TooLarge("the evidence"));
        }
        if bytes.len() == snp::REPORT_SIZE && bytes[1..4] == [0; 3] {
            return Ok(Evidence::SevSnp { report: bytes.to_vec() });
        }
        if bytes.first() == Some(&b'{') {
            return TpmEvidence::from_json(bytes).map(|evidence| Evidence::Tpm2(evidence.into()));
        }
        if nitro::is_document(bytes) {
            return Ok(Evidence::Nitro { document: bytes.to_vec() });
        }
        match dcap::is_tdx(bytes) {
            Some(true) => Ok(Evidence::Tdx { quote: bytes.to_vec() }),
            Some(false) => Ok(Evidence::Sgx { quote: bytes.to_vec() }),
            None => Err(Reason::UnknownEvidence),
        }
    }
}

/// What others say of the attester's platform: its maker's certificates and revocation lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endorsements {
    /// X.509 certificates, DER.
    pub certificates: Vec<Vec<u8>>,
    /// X.509 revocation lists, DER.
    pub revocation_lists: Vec<Vec<u8>>,
    /// Collateral of Intel platforms.
    pub collateral: Vec<DcapCollateral>,
}

/// The collateral of one Intel platform, as Intel's provisioning service answers: PEM chains, hexadecimal DER lists
/// and signatures, and the signed JSON documents to the byte. The fields' names are those that quote libraries use.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct DcapCollateral {
    /// Of the PCK's revocation list.
    pub pck_crl_issuer_chain: String,
    /// Of the root.
    pub root_ca_crl: String,
    /// Of the CA that issued the PCK.
    pub pck_crl: String,
    /// Of the TCB info.
    pub tcb_info_issuer_chain: String,
    /// Signed JSON.
    pub tcb_info: String,
    /// `r ‖ s`.
    pub tcb_info_signature: String,
    /// Of the quoting enclave's identity.
    pub qe_identity_issuer_chain: String,
    /// Signed JSON.
    pub qe_identity: String,
    /// `r ‖ s`.
    pub qe_identity_signature: String,
}

impl Endorsements {
    /// Adds what a file holds: certificates or revocation lists, as PEM (any number) or DER (one), or the collateral
    /// of an Intel platform, as JSON.
    ///
    /// # Errors
    /// Too large, too many, or none of these.
    pub fn add(&mut self, file: &[u8]) -> Result<(), Reason> {
        if file.len() > MAX_ENDORSEMENT {
            return Err(Reason::TooLarge("a file of endorsements"));
        }
        if file.first() == Some(&0x30) {
            return self.add_der(file.to_vec());
        }
        let text = std::str::from_utf8(file).map_err(|_| Reason::Malformed("a file of endorsements"))?;
        if text.trim_start().starts_with('{') {
            if self.collateral.len() == MAX_COLLATERAL {
                return Err(Reason::TooLarge("the list of endorsements"));
            }
            let collateral = serde_json::from_str(text).map_err(|_| Reason::Malformed("the collateral"))?;
            self.collateral.push(collateral);
            return Ok(());
        }
        if text.contains("-----BEGIN ") {
            self.add_pem(text)
        } else {
            Err(Reason::Malformed("a file of endorsements"))
        }
    }

    pub(crate) fn add_pem(&mut self, text: &str) -> Result<(), Reason> {
        for block in x509_parser::pem::Pem::iter_from_buffer(text.as_bytes()) {
            let block = block.map_err(|_| Reason::Malformed("a PEM file"))?;
            match block.label.as_str() {
                "CERTIFICATE" | "X509 CRL" => self.add_der(block.contents)?,
                _ => return Err(Reason::Malformed("a PEM file")),
            }
        }
        Ok(())
    }

    fn add_der(&mut self, der: Vec<u8>) -> Result<(), Reason> {
        let list = if crate::x509::is_revocation_list(&der) {
            &mut self.revocation_lists
        } else if crate::x509::Certificate::parse(&der).is_ok() {
            &mut self.certificates
        } else {
            return Err(Reason::CertificateMalformed);
        };
        if list.len() == MAX_CERTIFICATES {
            return Err(Reason::TooLarge("the list of endorsements"));
        }
        list.push(der);
        Ok(())
    }
}
