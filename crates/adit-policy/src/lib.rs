//! Whether what is asked of sealed data is what its owner allows, and policies as people write and read them.
//!
//! [`judge`] is the rule that every holder applies by itself, and an enclave again: grant, head and policy on one side, Task and
//! Invocation on the other, an appraisal of the environment between them. It answers with what is allowed ([`Permit`]), or
//! with every reason why nothing is ([`Refusal`]). It does not count uses: slots are `adit-release`'s.
//!
//! [`from_toml`] and [`to_toml`] are the form in which owners write policies; [`explain`] says in plain words what one allows
//! and what it cannot prevent.
//!
//! No I/O and no clock: times are passed in. Signatures are checked before anything comes here, as the types say.
//!
//! Start reading at `judge.rs`.

mod explain;
mod judge;
mod refusal;
mod text;

pub use explain::explain;
pub use judge::{Law, Permit, Proven, Wish, judge};
pub use refusal::Refusal;
pub use text::{TextError, from_toml, to_toml};
