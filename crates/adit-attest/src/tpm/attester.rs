//! From a TPM to evidence.

use std::collections::BTreeSet;

use adit_trust::{Credential, TpmEvidence};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tpm2_protocol::TpmUnmarshal as _;
use tpm2_protocol::basic::{TpmBuffer, TpmHandle};
use tpm2_protocol::data::TpmtPublic;
use zeroize::Zeroizing;

use super::device::{Tpm, TpmError, marshalled};
use super::endorsement::{self, Template};

/// The registers that firmware, boot loader and kernel measure into, 0 to 15. Those from 16 on can be reset.
pub const BOOT_REGISTERS: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
/// The most bytes that a quote can be bound to on every TPM, also on one that knows no longer hash than SHA-256.
pub const REPORT_DATA: usize = 32;
/// How often registers are read again because something extended them before they were quoted.
const READINGS: usize = 16;
/// The largest kept key that is looked at.
const MAX_KEY: usize = 16 << 10;

/// An attestation key as it is kept outside of its TPM: encrypted by it, of no use elsewhere, and no secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrappedKey {
    /// TPMT_PUBLIC.
    #[serde(with = "hex_bytes")]
    public: Vec<u8>,
    /// The content of a TPM2B_PRIVATE.
    #[serde(with = "hex_bytes")]
    private: Vec<u8>,
}

impl WrappedKey {
    /// Reads `{"public", "private"}`, both hexadecimal.
    ///
    /// # Errors
    /// [`TpmError::ForeignKey`] where that is something else.
    pub fn from_json(json: &[u8]) -> Result<Self, TpmError> {
        if json.len() > MAX_KEY {
            return Err(TpmError::ForeignKey);
        }
        serde_json::from_slice(json).map_err(|_| TpmError::ForeignKey)
    }

    /// What [`WrappedKey::from_json`] reads.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("two texts are JSON")
    }
}

/// A TPM with its endorsement key and an attestation key beside it, both loaded. They are flushed at the end.
#[derive(Debug)]
pub struct TpmAttester {
    tpm: Tpm,
    template: Template,
    certificate: Vec<u8>,
    endorsement: TpmHandle,
    attestation: Option<TpmHandle>,
    key: WrappedKey,
}

impl TpmAttester {
    /// Finds the endorsement key that has a certificate and loads `kept`, or makes an attestation key where there is
    /// none. A key that is kept can be recognised: who has seen it proved need not ask again, and notices when the TPM's
    /// counters go back.
    ///
    /// # Errors
    /// [`TpmError::NoCertificate`], [`TpmError::OtherKey`], [`TpmError::ForeignKey`], and whatever the TPM refuses.
    pub fn start(mut tpm: Tpm, kept: Option<&WrappedKey>) -> Result<Self, TpmError> {
        let mut found = Err(TpmError::NoCertificate);
        for template in Template::ALL {
            let Some(certificate) = template.certificate(&mut tpm)? else { continue };
            let (endorsement, public) = tpm.create_endorsement(template)?;
            if endorsement::certifies(&certificate, &public) {
                found = Ok((template, certificate, endorsement));
                break;
            }
            // A maker may have used a template of its own for this one.
            tpm.flush(endorsement)?;
            found = Err(TpmError::OtherKey);
        }
        let (template, certificate, endorsement) = found?;
        let empty = WrappedKey { public: Vec::new(), private: Vec::new() };
        // From here on `Drop` flushes what is loaded.
        let mut attester = Self { tpm, template, certificate, endorsement, attestation: None, key: empty };
        attester.key = match kept {
            Some(key) => key.clone(),
            None => attester.new_key()?,
        };
        attester.load()?;
        Ok(attester)
    }

    fn new_key(&mut self) -> Result<WrappedKey, TpmError> {
        const NAME: &str = "TPM2_Create";
        let (private, public) = self.tpm.create_attestation_key(self.template, self.endorsement)?;
        Ok(WrappedKey { public: marshalled(NAME, &public)?, private: private.to_vec() })
    }

    fn load(&mut self) -> Result<(), TpmError> {
        let private = TpmBuffer::try_from(&self.key.private[..]).map_err(|_| TpmError::ForeignKey)?;
        let (public, rest) = TpmtPublic::unmarshal(&self.key.public).map_err(|_| TpmError::ForeignKey)?;
        if !rest.is_empty() {
            return Err(TpmError::ForeignKey);
        }
        // Format 1: what was wrong with the parameters; the two low octets without the parameter's number.
        const INTEGRITY: u32 = 0x9f;
        const BINDING: u32 = 0xa5;
        let loaded = self.tpm.load(self.template, self.endorsement, private, public);
        let handle = loaded.map_err(|error| match error {
            TpmError::Refused { code, .. } if matches!(code & 0xbf, INTEGRITY | BINDING) => {
                TpmError::ForeignKey
            }
            other => other,
        })?;
        self.attestation = Some(handle);
        Ok(())
    }

    /// The attestation key, to be kept.
    pub fn key(&self) -> &WrappedKey {
        &self.key
    }

    /// The attestation key's public area, TPMT_PUBLIC: what a verifier makes a credential for.
    pub fn public(&self) -> &[u8] {
        &self.key.public
    }

    /// The endorsement key's certificate, DER.
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// Certificates of those above that certificate's issuer, DER, where the TPM keeps any.
    ///
    /// # Errors
    /// Whatever the TPM refuses.
    pub fn chain(&mut self) -> Result<Vec<Vec<u8>>, TpmError> {
        endorsement::chain(&mut self.tpm)
    }

    /// Opens a credential (TPM2_ActivateCredential): what only the TPM can that has both keys.
    ///
    /// # Errors
    /// The TPM refuses credentials for other keys.
    pub fn activate(&mut self, credential: &Credential) -> Result<Zeroizing<Vec<u8>>, TpmError> {
        let key = self.loaded();
        self.tpm.activate(self.template, self.endorsement, key, credential)
    }

    /// A quote over registers of the SHA-256 bank, bound to `report_data` (at most [`REPORT_DATA`] bytes), without logs.
    ///
    /// # Errors
    /// [`TpmError::ReportData`], [`TpmError::Selection`], [`TpmError::NoBank`], [`TpmError::Unsteady`], and whatever the
    /// TPM refuses.
    pub fn quote(
        &mut self,
        report_data: &[u8],
        registers: impl IntoIterator<Item = u8>,
    ) -> Result<TpmEvidence, TpmError> {
        let selected: BTreeSet<u8> = registers.into_iter().collect();
        let selected: Vec<u8> = selected.into_iter().collect();
        if selected.last().is_none_or(|last| *last > 23) {
            return Err(TpmError::Selection);
        }
        if report_data.len() > REPORT_DATA {
            return Err(TpmError::ReportData);
        }
        let key = self.loaded();
        for _ in 0..READINGS {
            let values = self.tpm.registers(&selected)?;
            let pcrs: Vec<u8> = values.values().flatten().copied().collect();
            let (quote, signature) = self.tpm.quote(key, report_data, &selected)?;
            // The kernel may extend register 10 at any time; a quote ends with the digest of what it is over.
            if quote.ends_with(&Sha256::digest(&pcrs)) {
                return Ok(TpmEvidence {
                    ek_certificate: self.certificate.clone(),
                    ak_public: self.key.public.clone(),
                    quote,
                    signature,
                    pcrs,
                    event_log: Vec::new(),
                });
            }
        }
        Err(TpmError::Unsteady)
    }

    fn loaded(&self) -> TpmHandle {
        self.attestation.expect("an attester that was started has its key loaded")
    }
}

impl Drop for TpmAttester {
    fn drop(&mut self) {
        // Where this fails, the TPM forgets them at its next start.
        for handle in self.attestation.into_iter().chain([self.endorsement]) {
            let _ = self.tpm.flush(handle);
        }
    }
}

mod hex_bytes {
    use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&HEXLOWER.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(from)?;
        HEXLOWER_PERMISSIVE.decode(text.as_bytes()).map_err(D::Error::custom)
    }
}
