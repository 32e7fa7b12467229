//! The DHT's keeping: records of others, and what this node announces, when. No I/O but the log.

mod announcer;
mod log;
mod provided;
mod records;
mod values;

pub(crate) use announcer::{Announcer, Key};
pub(crate) use provided::ProvidedLog;
pub(crate) use records::ProviderRecords;
pub(crate) use values::valid;
