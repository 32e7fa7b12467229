//! Mutable names of content: IPNS keys and records, DNSLink, and following both to a CID.
//!
//! - [`name`]: [`IpnsName`], the hash of a key, in all spellings that are in use; [`Name`], a key or a domain.
//! - [`record`]: the signed statement "this key now names that path", made, read, verified and compared.
//! - [`dnslink`]: the same statement in a domain's TXT records.
//! - [`system`]: the traits behind which records and TXT entries are had, and [`Names`], which puts them
//!   together with a cache; [`resolve`]: following names to names, bounded, until an `/ipfs/` path is reached.
//! - [`dns`]: TXT entries from the system's resolver, and from a table that an operator wrote.
//!
//! What it never does: speak to the DHT or to other peers (whoever implements [`Records`] does), keep private
//! keys, believe a record that it did not verify itself, or follow names without end. Records and DNS answers
//! come from strangers: lengths and depths have limits, all in [`limits`].
//!
//! Specifications: IPNS <https://specs.ipfs.tech/ipns/ipns-record/>, DNSLink <https://dnslink.dev>.

pub mod dns;
pub mod dnslink;
pub mod limits;
pub mod name;
pub mod record;
pub mod resolve;
pub mod system;
mod time;
mod wire;

pub use libp2p_identity::{Keypair, PublicKey};
pub use name::{IpnsName, Name, NamePath};
pub use record::{Draft, IpnsRecord, RecordError};
pub use resolve::{Resolved, resolve};
pub use system::{NameError, NameSystem, Names, Records, Step, Txt};
pub use time::{format_rfc3339, parse_rfc3339};
