//! SessionQuote and KeyRequest: an enclave's evidence for its job key, and what that key asks holders for.

use crate::dagcbor::{DecodeError, Reader, Value, Writer, map_record};
use crate::grant::SealKey;
use crate::ids::JobKey;
use crate::names::{GrantCid, InvocationCid, KeyRequestCid, PolicyCid, SessionQuoteCid, TaskCid};
use crate::receipt::EvidenceKind;
use crate::rules::{Invalid, a_set, at_most, limits};
use crate::signed::Signable;
use bytes::Bytes;
use cid::Cid;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256, Sha512};
use std::fmt;

/// Bytes of what evidence is bound to.
const REPORT_DATA: usize = 64;
/// Bytes of it that a TPM's quote carries.
const TPM_REPORT_DATA: usize = 32;
const TAG: &[u8] = b"adit/session-quote/1\0";

/// Thirty-two random bytes by which whoever wants evidence knows that it was made after he asked.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct QuoteNonce(#[serde(with = "crate::text::hex")] pub [u8; 32]);

impl fmt::Debug for QuoteNonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "QuoteNonce({})", data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl Value for QuoteNonce {
    fn write(&self, w: &mut Writer) {
        self.0.write(w);
    }
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Value::read(r).map(Self)
    }
}

/// Evidence that an enclave has a job key: the one that signs its receipts, and what it asks holders for.
///
/// Not signed: what makes it true is the evidence, bound to everything else here by [`report_data`]. One quote answers
/// any number of relying parties: each looks for its own nonce, and knows that the quote is younger than that. What
/// others' nonces are is no matter to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionQuote {
    /// The enclave's job key.
    pub key: JobKey,
    /// Relying parties' nonces, in any order, 1 to 64.
    pub nonces: Vec<QuoteNonce>,
    /// Where a policy asks for a quote per job: the one request that this quote is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<KeyRequestCid>,
    /// The kind of the evidence. Never `none`: a word binds no key.
    pub kind: EvidenceKind,
    /// The evidence, as the verifier (`adit_trust::Evidence`) reads this kind.
    #[serde(with = "crate::text::hex")]
    pub evidence: Bytes,
}

map_record! {
    SessionQuote as "session quote", version 1;
    req "key" => key,
    req "kind" => kind,
    req "nonces" => nonces,
    opt "request" => request,
    req "evidence" => evidence,
}

crate::rules::block!(SessionQuote named SessionQuoteCid);

impl SessionQuote {
    /// Checks counts, lengths and the kind.
    pub fn check(&self) -> Result<(), Invalid> {
        if self.nonces.is_empty() {
            return Err(Invalid::Empty { what: "the list of a quote's nonces" });
        }
        at_most("nonces", self.nonces.len(), limits::QUOTE_NONCES)?;
        if self.kind == EvidenceKind::None {
            return Err(Invalid::Quote { why: "has no evidence" });
        }
        let (len, max) = (self.evidence.len(), limits::EVIDENCE_BYTES);
        match len {
            0 => Err(Invalid::Empty { what: "a quote's evidence" }),
            _ if len > max => Err(Invalid::TooLong { what: "a quote's evidence", len, max }),
            _ => Ok(()),
        }
    }

    /// What the evidence must be bound to: [`report_data`], as much of it as evidence of this kind carries. That is all
    /// 64 bytes, or the first 32 for `tpm2`, whose quotes carry no more than one digest.
    pub fn report_data(&self) -> Vec<u8> {
        let mut bound = report_data(&self.key, &self.nonces, self.request.as_ref()).to_vec();
        if self.kind == EvidenceKind::Tpm2 {
            bound.truncate(TPM_REPORT_DATA);
        }
        bound
    }
}

/// What an enclave asks its attester to bind evidence to: SHA-512 of `adit/session-quote/1`, a zero byte, the key (33
/// bytes), SHA-256 of all nonces in their order, and, for a quote that is for one request only, that request's digest.
///
/// A TPM is asked to bind its quote to the first 32 bytes.
pub fn report_data(
    key: &JobKey,
    nonces: &[QuoteNonce],
    request: Option<&KeyRequestCid>,
) -> [u8; REPORT_DATA] {
    let mut all = Sha256::new();
    nonces.iter().for_each(|nonce| all.update(nonce.0));
    let mut hash = Sha512::new().chain_update(TAG).chain_update(key.0).chain_update(all.finalize());
    if let Some(request) = request {
        hash.update(request.digest());
    }
    hash.finalize().into()
}

/// One use of one grant that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantUse {
    /// Whose key is wanted.
    pub grant: GrantCid,
    /// The policy that is to allow it.
    pub policy: PolicyCid,
    /// Number of the owner's head that puts the policy in force, as far as the enclave was told.
    pub head: u64,
    /// Which of the policy's uses, from 0.
    pub slot: u32,
}

map_record! {
    GrantUse as "grant use";
    req "head" => head,
    req "slot" => slot,
    req "grant" => grant,
    req "policy" => policy,
}

/// An enclave's statement of what it will do with the keys that it asks for. Signed by its job key, which evidence binds to
/// known software (see [`SessionQuote`]): that is why holders believe what it says of the job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRequest {
    /// The job key, which signs.
    pub session: JobKey,
    /// Whose wish the job is.
    pub invocation: InvocationCid,
    /// The work.
    pub task: TaskCid,
    /// Made for this job, and forgotten with it: what shares are sealed to.
    pub key: SealKey,
    /// Everything among the task's code, standard input and inputs that is sealed, so that its own owner must allow the
    /// job too. Sorted.
    #[serde(with = "crate::text::cid::list")]
    pub sealed: Vec<Cid>,
    /// The uses that are asked for, one of each grant, sorted by grant.
    pub grants: Vec<GrantUse>,
}

map_record! {
    KeyRequest as "key request", version 1;
    req "key" => key,
    req "task" => task,
    req "grants" => grants,
    req "sealed" => sealed,
    req "session" => session,
    req "invocation" => invocation,
}

impl KeyRequest {
    /// Checks counts and order.
    pub fn check(&self) -> Result<(), Invalid> {
        at_most("sealed objects", self.sealed.len(), limits::SEALED)?;
        a_set("sealed objects", &self.sealed)?;
        if self.grants.is_empty() {
            return Err(Invalid::Empty { what: "the list of grants that are asked for" });
        }
        at_most("grants", self.grants.len(), limits::KEY_GRANTS)?;
        let grants: Vec<_> = self.grants.iter().map(|one| one.grant).collect();
        a_set("grants", &grants)
    }

    /// What is asked for of one grant.
    pub fn of_grant(&self, grant: &GrantCid) -> Option<&GrantUse> {
        let at = self.grants.binary_search_by_key(grant, |one| one.grant).ok()?;
        Some(&self.grants[at])
    }
}

impl Signable for KeyRequest {
    type Signer = JobKey;
    type Name = KeyRequestCid;
    const TAG: &'static str = "adit/key-request/1";

    fn signer(&self) -> JobKey {
        self.session
    }
    fn validate(&self) -> Result<(), Invalid> {
        self.check()
    }
    fn name(block: &[u8]) -> KeyRequestCid {
        KeyRequestCid::of_block(block)
    }
}
