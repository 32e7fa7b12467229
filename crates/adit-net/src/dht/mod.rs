//! The DHT's keeping: records of others, and what this node announces, when. No I/O but the log.

mod announcer;
mod provided;
mod records;

pub(crate) use announcer::{Announcer, Key};
pub(crate) use provided::ProvidedLog;
pub(crate) use records::ProviderRecords;
