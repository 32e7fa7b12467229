//! Runs the real programs, as their users do: real processes, real files, the command line and HTTP.
//!
//! Links nothing that it tests. (Its own tests use `adit-unixfs` to write content that no honest tool would.) Start reading at [`Node`]; `cargo xtask demo` and the tests under `tests/real` stand on
//! it. What is measured with it prints ratios and figures, and asserts no time.

mod helia;
mod http;
mod kubo;
mod node;
mod private_kubo;
mod process;
mod small_disk;

pub use helia::{Helia, Serving};
pub use http::{Connection, Reply};
pub use kubo::{Kubo, peer};
pub use node::{Node, Settings};
pub use private_kubo::PrivateKubo;
pub use process::{Finished, Programs, cpu_ticks, eventually, is_busy, peak_memory, processes_below};
pub use small_disk::on_a_small_disk;
