//! The verifier: says what evidence of a trusted environment is worth. Terms are those of RFC 9334.
//!
//! [`appraise()`] takes [`Evidence`] (what an attester says of itself), [`Endorsements`] (what its maker says of the
//! platform), [`ReferenceValues`] (what software the relying party knows), a [`Policy`] (what it asks for) and the
//! time, and returns an [`Appraisal`]: every check with what came of it, and the [`Claims`] that may be made. There
//! is no score: claims say from whom data is kept, and what that rests on. No claim is above the ceiling of the kind of
//! evidence, and nothing at all is claimed confidential where it is not known what software runs.
//!
//! This crate never does I/O and never looks at a clock: certificates, revocation lists and the time are inputs, so an
//! appraisal can be repeated years later from what was stored. It compiles to wasm32. The makers' roots are pinned
//! by fingerprint (`roots.rs`); no input can add one. Simulated evidence counts only under the root of the devnet that
//! this process belongs to.
//!
//! Start reading at `claims.rs` for what can be claimed, `appraise.rs` for the verifier's way, and a kind's own
//! folder (`snp/`, `dcap/`, `nitro/`, `tpm2/`) for what is checked.

mod appraisal;
mod appraise;
mod claims;
mod common;
mod crypto;
mod dcap;
mod der;
mod dev;
mod evidence;
#[cfg(test)]
mod forge;
mod nitro;
mod policy;
mod reader;
mod reason;
mod reference;
mod roots;
pub mod snp;
mod tpm2;
mod x509;

pub use appraisal::{Appraisal, Check, Fact, Finding, Step};
pub use appraise::appraise;
pub use claims::{Adversary, Assurance, Claims, Kind};
pub use dcap::{TcbStatus, unix_seconds};
pub use dev::DevEvidence;
pub use evidence::{
    DcapCollateral, Endorsements, Evidence, MAX_CERTIFICATE, MAX_CERTIFICATES, MAX_ENDORSEMENT, MAX_EVIDENCE,
};
pub use policy::{DcapPolicy, DevnetRoot, Policy, Revocation, SnpPolicy, Software, TpmPolicy};
pub use reason::Reason;
pub use reference::{ReferenceValue, ReferenceValues};
pub use tpm2::{ActivatedKey, Challenge, Credential, LastSeen, TpmEvidence};
