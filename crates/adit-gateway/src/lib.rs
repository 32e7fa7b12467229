//! The IPFS HTTP gateway: content for browsers and tools that speak HTTP and nothing else.
//!
//! One [`Gateway`] answers trustless requests (blocks, CARs, IPNS records, which the asker verifies), path requests
//! (`/ipfs/…`, `/ipns/…`: files, listings, DAG views), the same for a whole origin (`CID.ipfs.HOST`, DNSLink
//! domains, with `_redirects`), and delegated routing under `/routing/v1`. [`Server`] puts it on a listener.
//!
//! - [`host`]: which of these a request's host asks for; [`ask`]: path, query and wanted format.
//! - [`walk`]: from a root and path to a CID, through UnixFS and IPLD; [`blocks`]: where blocks come from.
//! - [`answer`]: the order in which a request is judged; then one file for each form of answer: [`file`],
//!   [`listing`], [`dag`], [`car`], [`redirects`], [`routing`].
//! - [`serve`]: connections and their limits.
//!
//! What it never does: write to the store, follow a symlink, run or trust what it serves, or believe a header
//! beyond what its operator configured: `X-Forwarded-Host` chooses among configured hosts, no others. Names of files
//! go into HTML, headers and redirects escaped. Answers stream, block by block, at the speed of the reader.
//!
//! Specifications: <https://specs.ipfs.tech/http-gateways/>, <https://specs.ipfs.tech/routing/http-routing-v1/>.

pub mod answer;
pub mod ask;
pub mod blocks;
pub mod body;
pub mod car;
pub mod dag;
pub mod escape;
pub mod file;
pub mod host;
pub mod limits;
pub mod listing;
pub mod media;
pub mod ranges;
pub mod redirects;
pub mod refusal;
pub mod routing;
pub mod serve;
pub mod walk;

pub use answer::{Gateway, Parts, Settings};
pub use refusal::Refusal;
pub use routing::{PeerRecord, Routing};
pub use serve::{Limits, Server};
