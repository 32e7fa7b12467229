//! IPNS records in the DHT: fetched, judged by their signatures, and stored with the nodes nearest to their names.

use std::time::{Duration, Instant, SystemTime};

use adit_names::{IpnsName, IpnsRecord};
use libp2p::kad::{
    GetRecordOk, GetRecordResult, PutRecordError, PutRecordResult, QueryId, Quorum, Record, RecordKey,
};

use super::{Reply, Task, dht::Query};
use crate::{dht::valid, error::LookupError, metrics::Count};

/// Valid answers that are enough to believe that none is newer; Kubo waits for as many.
const ENOUGH: usize = 16;
/// How much longer a search goes on after the first valid answer.
const SETTLE: Duration = Duration::from_secs(1);

/// A search for a name's record.
pub(super) struct Search {
    name: IpnsName,
    best: Option<IpnsRecord>,
    answers: usize,
    /// When it is enough, set by the first valid answer.
    pub(super) settled: Option<Instant>,
    reply: Reply<Result<Option<IpnsRecord>, LookupError>>,
}

impl Search {
    pub(super) fn end(self) {
        let _ = self.reply.send(Ok(self.best));
    }
}

/// A record on its way to others.
pub(super) struct Publication {
    stored: usize,
    reply: Reply<Result<usize, LookupError>>,
}

impl Publication {
    pub(super) fn end(self) {
        let _ = self.reply.send(Ok(self.stored));
    }
}

fn record_key(name: &IpnsName) -> RecordKey {
    RecordKey::new(&name.routing_key())
}

impl Task {
    pub(super) fn find_record(
        &mut self,
        name: IpnsName,
        reply: Reply<Result<Option<IpnsRecord>, LookupError>>,
    ) {
        if self.too_many_lookups() {
            let _ = reply.send(Err(LookupError::Busy));
            return;
        }
        self.state.metrics.lookups.one();
        let id = self.swarm.behaviour_mut().kad.get_record(record_key(&name));
        let search = Search { name, best: None, answers: 0, settled: None, reply };
        self.queries.insert(id, Query::Record(search));
    }

    pub(super) fn publish_record(
        &mut self,
        name: &IpnsName,
        value: Vec<u8>,
        reply: Reply<Result<usize, LookupError>>,
    ) {
        if self.too_many_lookups() {
            let _ = reply.send(Err(LookupError::Busy));
            return;
        }
        let kad = &mut self.swarm.behaviour_mut().kad;
        let key = record_key(name);
        kad.store_mut().own_value(key.clone());
        // All of the nearest are to have it; how many took it is counted, not demanded.
        match kad.put_record(Record::new(key, value), Quorum::All) {
            Ok(id) => drop(self.queries.insert(id, Query::Publish(Publication { stored: 0, reply }))),
            Err(error) => {
                tracing::debug!(%name, %error, "a record of our own is refused");
                let _ = reply.send(Err(LookupError::Refused));
            }
        }
    }

    pub(super) fn on_record(&mut self, id: QueryId, result: GetRecordResult) {
        let Some(Query::Record(search)) = self.queries.get_mut(&id) else { return };
        let Ok(GetRecordOk::FoundRecord(found)) = result else { return };
        let key = search.name.routing_key();
        // Whoever answers with another name's record, or none that holds, has not answered.
        if found.record.key.as_ref() != key {
            return;
        }
        let Some(record) = valid(&key, &found.record.value, SystemTime::now()) else { return };
        search.answers += 1;
        search.settled.get_or_insert_with(|| Instant::now() + SETTLE);
        if search.best.as_ref().is_none_or(|best| record.compare(best).is_gt()) {
            search.best = Some(record);
        }
        if search.answers >= ENOUGH || search.reply.is_closed() {
            self.finish(id);
        }
    }

    pub(super) fn on_published(&mut self, id: QueryId, result: PutRecordResult) {
        let Some(Query::Publish(publication)) = self.queries.get_mut(&id) else { return };
        publication.stored = match result {
            // As many as the DHT wants copies.
            Ok(_) => 20,
            Err(PutRecordError::QuorumFailed { success, .. } | PutRecordError::Timeout { success, .. }) => {
                success.len()
            }
        };
    }
}
