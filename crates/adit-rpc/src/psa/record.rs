//! A request to pin, and filters over requests. No I/O, no clock.

use adit_names::{format_rfc3339, parse_rfc3339};
use cid::Cid;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const MAX_NAME: usize = 255;
const MAX_ORIGINS: usize = 20;
const MAX_ORIGIN: usize = 1024;
const MAX_META: usize = 1000;
/// Keys and values of `meta` together, in bytes.
const MAX_META_BYTES: usize = 64 << 10;
/// CIDs that one filter may name.
const MAX_CIDS: usize = 10;
const DEFAULT_LIMIT: usize = 10;
const MAX_LIMIT: usize = 1000;

/// How far a request has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    Queued,
    Pinning,
    Pinned,
    Failed,
}

impl Status {
    fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Pinning => "pinning",
            Self::Pinned => "pinned",
            Self::Failed => "failed",
        }
    }

    fn of(name: &str) -> Option<Self> {
        [Self::Queued, Self::Pinning, Self::Pinned, Self::Failed]
            .into_iter()
            .find(|status| status.name() == name)
    }

    /// Whether there is still something to do.
    pub(crate) fn is_open(self) -> bool {
        matches!(self, Self::Queued | Self::Pinning)
    }
}

/// What somebody wants to have kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pin {
    pub(crate) cid: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    /// Multiaddresses of nodes that have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) origins: Option<Vec<String>>,
    /// The client's own notes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) meta: Option<BTreeMap<String, String>>,
}

impl Pin {
    /// The root; a text says what is wrong with the request instead.
    pub(crate) fn check(&self) -> Result<Cid, String> {
        if self.name.as_ref().is_some_and(|name| name.len() > MAX_NAME) {
            return Err(format!("`name` has at most {MAX_NAME} bytes"));
        }
        let origins = self.origins.as_deref().unwrap_or_default();
        if origins.len() > MAX_ORIGINS || origins.iter().any(|origin| origin.len() > MAX_ORIGIN) {
            return Err(format!("`origins` has at most {MAX_ORIGINS} addresses of {MAX_ORIGIN} bytes"));
        }
        if let Some(meta) = &self.meta {
            let bytes: usize = meta.iter().map(|(key, value)| key.len() + value.len()).sum();
            if meta.len() > MAX_META || bytes > MAX_META_BYTES {
                return Err(format!("`meta` has at most {MAX_META} keys and {MAX_META_BYTES} bytes"));
            }
        }
        self.cid.parse().map_err(|error| format!("`cid` is not a CID: {error}"))
    }
}

/// A request as it is kept. Version 1 on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) id: String,
    pub(crate) status: Status,
    /// Milliseconds since 1970.
    pub(crate) created: u64,
    pub(crate) pin: Pin,
    /// Why it failed.
    #[serde(default)]
    pub(crate) details: String,
}

impl Record {
    /// As the specification's `PinStatus`.
    pub(crate) fn view(&self, delegates: &[String]) -> Value {
        let mut info = Map::new();
        if !self.details.is_empty() {
            info.insert("status_details".into(), self.details.clone().into());
        }
        json!({
            "requestid": self.id,
            "status": self.status.name(),
            "created": format_rfc3339(moment(self.created)),
            "pin": self.pin,
            "delegates": delegates,
            "info": info,
        })
    }
}

fn moment(millis: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(millis)
}

/// How a name is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Match {
    Exact,
    IExact,
    Partial,
    IPartial,
}

/// Which requests somebody asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Filter {
    cids: Vec<Cid>,
    name: Option<String>,
    matching: Match,
    statuses: Vec<Status>,
    before: Option<SystemTime>,
    after: Option<SystemTime>,
    meta: BTreeMap<String, String>,
    pub(crate) limit: usize,
}

impl Filter {
    /// From a query. Without a status, only what is pinned is meant.
    pub(crate) fn parse(pairs: &[(String, String)]) -> Result<Self, String> {
        let mut filter = Self {
            cids: Vec::new(),
            name: None,
            matching: Match::Exact,
            statuses: Vec::new(),
            before: None,
            after: None,
            meta: BTreeMap::new(),
            limit: DEFAULT_LIMIT,
        };
        let time =
            |text: &str| parse_rfc3339(text).ok_or_else(|| format!("{text:.40?} is not an RFC 3339 time"));
        for (key, value) in pairs {
            match key.as_str() {
                "cid" => {
                    for text in value.split(',').filter(|text| !text.is_empty()) {
                        filter.cids.push(
                            text.parse().map_err(|error| format!("{text:.100?} is not a CID: {error}"))?,
                        );
                    }
                }
                "name" => filter.name = Some(value.clone()),
                "match" => {
                    filter.matching = match value.as_str() {
                        "exact" => Match::Exact,
                        "iexact" => Match::IExact,
                        "partial" => Match::Partial,
                        "ipartial" => Match::IPartial,
                        other => return Err(format!("`match` cannot be {other:.40?}")),
                    }
                }
                "status" => {
                    for text in value.split(',').filter(|text| !text.is_empty()) {
                        let status =
                            Status::of(text).ok_or_else(|| format!("there is no status {text:.40?}"))?;
                        filter.statuses.push(status);
                    }
                }
                "before" => filter.before = Some(time(value)?),
                "after" => filter.after = Some(time(value)?),
                "limit" => {
                    let limit = value.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
                    filter.limit = limit.ok_or_else(|| format!("`limit` is 1 to {MAX_LIMIT}"))?;
                }
                "meta" => {
                    filter.meta = serde_json::from_str(value)
                        .map_err(|error| format!("`meta` is no map of texts: {error}"))?;
                }
                // Clients of later versions may send more.
                _ => {}
            }
        }
        if filter.cids.len() > MAX_CIDS {
            return Err(format!("at most {MAX_CIDS} CIDs can be asked for at once"));
        }
        if filter.statuses.is_empty() {
            filter.statuses.push(Status::Pinned);
        }
        Ok(filter)
    }

    pub(crate) fn fits(&self, record: &Record) -> bool {
        let created = moment(record.created);
        let same_cid = |cid: &Cid| record.pin.cid.parse::<Cid>().is_ok_and(|own| own == *cid);
        self.statuses.contains(&record.status)
            && (self.cids.is_empty() || self.cids.iter().any(same_cid))
            && self.before.is_none_or(|before| created < before)
            && self.after.is_none_or(|after| created > after)
            && self
                .name
                .as_ref()
                .is_none_or(|name| self.named(name, record.pin.name.as_deref().unwrap_or_default()))
            && self
                .meta
                .iter()
                .all(|(key, value)| record.pin.meta.as_ref().and_then(|meta| meta.get(key)) == Some(value))
    }

    fn named(&self, wanted: &str, name: &str) -> bool {
        match self.matching {
            Match::Exact => name == wanted,
            Match::IExact => name.to_lowercase() == wanted.to_lowercase(),
            Match::Partial => name.contains(wanted),
            Match::IPartial => name.to_lowercase().contains(&wanted.to_lowercase()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CID: &str = "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354";

    fn record(name: &str, status: Status, created: u64) -> Record {
        let meta = Some([("app".to_owned(), "a".to_owned())].into());
        let pin = Pin { cid: CID.into(), name: Some(name.into()), origins: None, meta };
        Record { id: created.to_string(), status, created, pin, details: String::new() }
    }

    fn fits(query: &[(&str, &str)], record: &Record) -> bool {
        let pairs: Vec<_> = query.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
        Filter::parse(&pairs).unwrap().fits(record)
    }

    #[test]
    fn filters_are_the_specifications() {
        let pinned = record("My Photos", Status::Pinned, 1_700_000_000_000);
        assert!(fits(&[], &pinned));
        assert!(!fits(&[], &record("x", Status::Queued, 1)), "without a status only what is pinned is meant");
        assert!(fits(&[("status", "queued,failed")], &record("x", Status::Failed, 1)));
        for (name, how, fit) in [
            ("My Photos", "exact", true),
            ("my photos", "exact", false),
            ("my photos", "iexact", true),
            ("Photo", "partial", true),
            ("photo", "partial", false),
            ("photo", "ipartial", true),
        ] {
            assert_eq!(fits(&[("name", name), ("match", how)], &pinned), fit, "{name} {how}");
        }
        // 1_700_000_000 is 2023-11-14T22:13:20Z.
        assert!(fits(&[("after", "2023-11-14T22:13:19Z"), ("before", "2023-11-14T22:13:21Z")], &pinned));
        assert!(!fits(&[("before", "2023-11-14T22:13:20Z")], &pinned));
        assert!(!fits(&[("after", "2023-11-14T22:13:20Z")], &pinned));
        assert!(fits(&[("meta", r#"{"app":"a"}"#)], &pinned));
        assert!(!fits(&[("meta", r#"{"app":"b"}"#)], &pinned));
        assert!(fits(&[("cid", CID)], &pinned));
        assert!(!fits(&[("cid", "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku")], &pinned));
    }

    #[test]
    fn queries_and_pins_over_their_limits_are_refused() {
        let parse = |key: &str, value: &str| Filter::parse(&[(key.to_owned(), value.to_owned())]);
        for (key, value) in [
            ("limit", "0"),
            ("limit", "1001"),
            ("status", "done"),
            ("match", "like"),
            ("before", "today"),
            ("meta", "[]"),
            ("cid", "x"),
        ] {
            assert!(parse(key, value).is_err(), "{key}={value}");
        }
        assert!(parse("cid", &[CID; 11].join(",")).is_err());
        let good = record("x", Status::Queued, 1).pin;
        assert!(good.check().is_ok());
        assert!(Pin { name: Some("n".repeat(256)), ..good.clone() }.check().is_err());
        assert!(Pin { origins: Some(vec![String::new(); 21]), ..good.clone() }.check().is_err());
        assert!(
            Pin { meta: Some([("k".to_owned(), "v".repeat(70_000))].into()), ..good.clone() }
                .check()
                .is_err()
        );
        assert!(Pin { cid: "nonsense".into(), ..good }.check().is_err());
    }
}
