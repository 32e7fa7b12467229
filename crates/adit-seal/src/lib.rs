//! Sealing: content that goes into public IPFS as ciphertext, and opens only for those that its owner named.
//!
//! A file is sealed in the age format ([`age`]), so that age's own programs open it too, and any range of it can be
//! read without the rest. [`file`] cuts a sealed file into blocks of IPFS. A tree is sealed as packs under one key
//! ([`tree`]): names, structure and sizes are hidden. `phrase` is the one recovery phrase that a
//! person's keys come from (not on wasm32).
//!
//! This crate does no I/O, looks at no clock and starts no task: bytes are pushed in and come out, and readers say which
//! ciphertext they need. It compiles to wasm32. Secrets are cleared when dropped, and `Debug` does not show them.
//!
//! The daemon never links this crate past the command line's own commands: nothing that `adit-node` or `adit-api` reach
//! can open anything (a test checks the dependency tree). Bytes that are opened come from strangers: every length,
//! count and depth is limited, and nothing unchecked is handed out.
//!
//! Start reading at `age/mod.rs`.

mod aead;
pub mod age;
pub mod file;
#[cfg(not(target_arch = "wasm32"))]
pub mod phrase;
mod random;
pub mod tree;

#[cfg(not(target_arch = "wasm32"))]
pub use random::OsRandom;
pub use random::Random;
