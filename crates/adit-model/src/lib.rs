//! The records that travel between Adit's processes and nodes, and the signatures that make them count.
//!
//! A [`Task`] is the work, pure. An [`Invocation`] is a requester's signed wish to have it done, an
//! [`Acceptance`] an operator's signed promise to do it. An [`Outcome`] is what came of the task, the same on
//! every honest node; a [`Receipt`], signed twice by the enclave's job key inside an [`Envelope`], says who
//! computed it, when, and on what evidence. An [`Endorsement`] lets a node's identity vouch for a job key, and
//! an [`Advertisement`] tells the network what a node offers, and by an [`Alias`] which Kubo it stands beside. A [`KeepOrder`] asks another node for a copy of content.
//! A [`Grant`] says to whom the key of sealed data is shared out, a [`Policy`] what its owner allows to be done with it, and
//! a [`PolicyHead`] which policy is in force. A [`SessionQuote`] binds an enclave's job key to its evidence, and a [`KeyRequest`],
//! signed by that key, asks holders for the keys of one job.
//!
//! Every record is canonical DAG-CBOR with a version, and is named by the CID of its bytes. One record has one
//! encoding: unknown fields, other encodings and oversized input are refused ([`DecodeError`] says which).
//! What version 1 names but this release does not implement is refused by name.
//!
//! This crate never does I/O, never looks at a clock, never starts a task, and holds no policy about whom to
//! believe: it says what was signed by whom. It compiles to wasm32, where secret keys are brought by the
//! caller instead of generated.
//!
//! Start reading at `task.rs` for the shape of a record, `signed.rs` for what a signature covers,
//! `envelope.rs` for receipts, and `verify.rs` for what a requester checks before believing a result.
//! `vectors/` holds every record with its bytes, CID and signatures, for other implementations.

mod advertisement;
mod alias;
mod cose;
mod dagcbor;
mod eip712;
mod envelope;
mod grant;
mod ids;
mod invocation;
mod keep;
mod names;
mod outcome;
mod policy;
mod receipt;
mod rules;
mod session;
mod sign;
mod signed;
mod task;
pub mod text;
mod verify;

pub use advertisement::{Abilities, Accept, Advertisement};
pub use alias::{Alias, KuboId};
pub use dagcbor::{DecodeError, MAX_RECORD_BYTES};
pub use envelope::{Envelope, ReceiptError, VerifiedReceipt};
pub use grant::{Grant, Holder, PolicyHead, SealKey};
pub use ids::{AccountId, Amount, IdError, JobKey, NodeId};
pub use invocation::{Acceptance, Invocation, Nonce};
pub use keep::KeepOrder;
pub use names::{
    AcceptanceCid, AdvertisementCid, EndorsementCid, EnvelopeCid, GrantCid, InvocationCid, KeepOrderCid,
    KeyRequestCid, NameError, OutcomeCid, PolicyCid, PolicyHeadCid, ReceiptCid, SessionQuoteCid, TaskCid,
};
pub use outcome::{ErrorKind, Fault, Outcome, OutcomeResult};
pub use policy::{
    EvidenceTerms, Inputs, LESS_THAN_A_TEE, Policy, Programs, Recipients, Requesters, Rule, TextPattern,
};
pub use receipt::{Endorsement, Evidence, EvidenceKind, Receipt};
pub use rules::{Invalid, limits};
pub use session::{GrantUse, KeyRequest, QuoteNonce, SessionQuote, report_data};
pub use sign::{AccountSecret, JobSecret, NodeSecret, SignatureError, SignerId};
pub use signed::{Signable, Signed, Verified};
pub use task::{Abi, Input, Limits, Profile, Task, check_guest_path};
pub use verify::{Expected, JobProof, VerifyError, verify_job};

pub use cid::Cid;
