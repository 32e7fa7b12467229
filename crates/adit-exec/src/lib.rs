//! Running WebAssembly on content-addressed data.
//!
//! The crate has two halves that never share a process. The *enclave* half decides: it checks blocks, keeps
//! compiled code, starts and stops processes, signs what happened. The *jailed* half runs inside those
//! processes and is not trusted with anything: [`compile`] turns WebAssembly into machine code and ends,
//! [`worker`] runs one guest at a time. Between them is [`worker_wire`], and that is all there is: a jailed
//! process has one socket, no files, no network, no keys, and what it says is checked like a stranger's word.
//!
//! A guest sees WASI, 0.2 if it is a component and preview 1 if it is a core module: `/in` and other mounts read
//! lazily by CID, `/out` and `/tmp` to write to, stdio, arguments, seeded randomness and a clock that counts. Every
//! host call completes at once or waits on that one socket, so there is no event loop, no async runtime and no second
//! thread in the worker.
//!
//! What the jailed half never does: open a file or a socket, verify a block (the enclave has), sign, or decide
//! whether a fault is the host's. Start reading at [`worker_wire`], then [`worker`], then [`jail`].

pub mod compile;
pub mod enclave;
pub mod engine;
mod entry;
pub mod fault;
mod guest;
mod inspect;
pub mod jail;
pub mod worker;
pub mod worker_wire;
pub use entry::ProcessError;
pub use inspect::MAX_CODE;
