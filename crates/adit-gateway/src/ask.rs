//! What a request asks for: path, query, and the format of the answer.

use hyper::HeaderMap;
use hyper::header;

use crate::escape;
use crate::limits;
use crate::refusal::Refusal;

/// Which kind of root a path begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// A CID.
    Ipfs,
    /// A name.
    Ipns,
}

impl Space {
    /// As it stands in paths and host names.
    pub fn text(self) -> &'static str {
        match self {
            Space::Ipfs => "ipfs",
            Space::Ipns => "ipns",
        }
    }
}

/// The form of an answer that was asked for by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One block.
    Raw,
    /// Many blocks.
    Car,
    /// A tree of files.
    Tar,
    /// JSON, whether stored as plain JSON, DAG-JSON, or in a file.
    Json,
    /// The same for CBOR.
    Cbor,
    /// A DAG-JSON block.
    DagJson,
    /// A DAG-CBOR block.
    DagCbor,
    /// A signed IPNS record.
    IpnsRecord,
    /// A page for people, where there is one.
    Html,
}

const FORMATS: &[(Format, &str, &str)] = &[
    (Format::Raw, "raw", "application/vnd.ipld.raw"),
    (Format::Car, "car", "application/vnd.ipld.car"),
    (Format::Tar, "tar", "application/x-tar"),
    (Format::Json, "json", "application/json"),
    (Format::Cbor, "cbor", "application/cbor"),
    (Format::DagJson, "dag-json", "application/vnd.ipld.dag-json"),
    (Format::DagCbor, "dag-cbor", "application/vnd.ipld.dag-cbor"),
    (Format::IpnsRecord, "ipns-record", "application/vnd.ipfs.ipns-record"),
    (Format::Html, "html", "text/html"),
];

impl Format {
    /// Its media type.
    pub fn media(self) -> &'static str {
        FORMATS.iter().find(|(format, ..)| *format == self).map_or("", |(_, _, media)| media)
    }

    /// Its name in `?format=`, and the end of file names.
    pub fn name(self) -> &'static str {
        FORMATS.iter().find(|(format, ..)| *format == self).map_or("", |(_, name, _)| name)
    }
}

/// The query's parts that mean something here.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// `format=`, in any case.
    pub format: Option<String>,
    /// `filename=`.
    pub filename: Option<String>,
    /// `download=true`.
    pub download: bool,
    /// `dag-scope=`.
    pub dag_scope: Option<String>,
    /// `entity-bytes=`.
    pub entity_bytes: Option<String>,
    /// `car-version=`, `car-order=`, `car-dups=`.
    pub car: [Option<String>; 3],
    /// `uri=`.
    pub uri: Option<String>,
    /// All of it, as it was sent.
    pub text: String,
}

impl Query {
    /// Reads a query; of a part given twice, the first counts.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let mut query = Query { text: text.to_owned(), ..Query::default() };
        for pair in text.split('&').take(64) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let slot = match key {
                "format" => &mut query.format,
                "filename" => &mut query.filename,
                "dag-scope" => &mut query.dag_scope,
                "entity-bytes" => &mut query.entity_bytes,
                "car-version" => &mut query.car[0],
                "car-order" => &mut query.car[1],
                "car-dups" => &mut query.car[2],
                "uri" => &mut query.uri,
                "download" => {
                    query.download = value == "true";
                    continue;
                }
                _ => continue,
            };
            let decoded = escape::decode(&value.replace('+', " "))
                .ok_or_else(|| Refusal::bad(format!("the value of {key} is not text")))?;
            slot.get_or_insert(decoded);
        }
        if query.filename.as_ref().is_some_and(|name| name.len() > limits::FILENAME) {
            return Err(Refusal::bad(format!("filename is longer than {} bytes", limits::FILENAME)));
        }
        query.filename = query.filename.filter(|name| !name.is_empty());
        Ok(query)
    }

    /// The query again, to be put behind a redirect's path.
    pub fn behind(&self) -> String {
        if self.text.is_empty() { String::new() } else { format!("?{}", self.text) }
    }
}

/// The format asked for, and the parameters of the `Accept` entry that chose it (or that named it too).
pub fn format(query: &Query, headers: &HeaderMap) -> Result<(Option<Format>, Parameters), Refusal> {
    let accepted = accepted(headers);
    let Some(name) = &query.format else {
        return Ok(accepted.into_iter().next().unwrap_or((None, Parameters::default())));
    };
    let format =
        FORMATS.iter().find(|(_, known, _)| known.eq_ignore_ascii_case(name)).map(|(format, ..)| *format);
    let format = format.ok_or_else(|| Refusal::bad(format!("unknown format {:?}", short(name))))?;
    let parameters = accepted.into_iter().find(|(also, _)| *also == Some(format));
    Ok((Some(format), parameters.map(|(_, parameters)| parameters).unwrap_or_default()))
}

/// `key=value` pairs behind a media type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// A parameter's value.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }
}

/// What `Accept` lists, best first; what we do not know is left out, `*/*` means no wish.
fn accepted(headers: &HeaderMap) -> Vec<(Option<Format>, Parameters)> {
    let mut list = Vec::new();
    let values = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    for entry in values.flat_map(|value| value.split(',')).take(64) {
        let mut parts = entry.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default();
        let format =
            FORMATS.iter().find(|(.., known)| known.eq_ignore_ascii_case(media)).map(|(format, ..)| *format);
        if format.is_none() && media != "*/*" {
            continue;
        }
        let pairs: Vec<(String, String)> = parts
            .filter_map(|part| part.split_once('='))
            .map(|(key, value)| (key.trim().to_ascii_lowercase(), value.trim().trim_matches('"').to_owned()))
            .collect();
        let parameters = Parameters(pairs);
        let quality: f32 = parameters.get("q").and_then(|q| q.parse().ok()).unwrap_or(1.0);
        if quality > 0.0 {
            list.push((quality, format, parameters));
        }
    }
    // Stable, so that of two equally good the first stays first.
    list.sort_by(|a, b| b.0.total_cmp(&a.0));
    list.into_iter().map(|(_, format, parameters)| (format, parameters)).collect()
}

/// A path's segments, decoded; and whether it ended with a slash.
pub fn segments(path: &str) -> Result<(Vec<String>, bool), Refusal> {
    let decoded = escape::decode(path).ok_or_else(|| Refusal::bad("the path is not text"))?;
    let mut segments = Vec::new();
    for part in decoded.split('/') {
        match part {
            "" | "." => {}
            ".." => return Err(Refusal::bad("a path cannot contain `..`")),
            part if part.contains('\0') => return Err(Refusal::bad("a path cannot contain a zero byte")),
            part => segments.push(part.to_owned()),
        }
    }
    if segments.len() > adit_unixfs::limits::PATH_SEGMENTS {
        return Err(Refusal::bad("the path has too many parts"));
    }
    Ok((segments, decoded.ends_with('/')))
}

/// The start of what somebody sent, for messages.
pub fn short(text: &str) -> String {
    text.chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(query: &str, accept: &str) -> Option<Format> {
        let mut headers = HeaderMap::new();
        if !accept.is_empty() {
            headers.insert(header::ACCEPT, accept.parse().unwrap());
        }
        format(&Query::parse(query).unwrap(), &headers).unwrap().0
    }

    #[test]
    fn the_query_counts_before_the_header_and_better_before_worse() {
        assert_eq!(asked("format=car", "application/vnd.ipld.raw"), Some(Format::Car));
        assert_eq!(asked("", "application/vnd.ipld.raw"), Some(Format::Raw));
        assert_eq!(asked("", "application/json;q=0.5, application/vnd.ipld.raw"), Some(Format::Raw));
        let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8";
        assert_eq!(asked("", browser), Some(Format::Html));
        assert_eq!(asked("", "*/*"), None);
        assert_eq!(asked("", "image/png"), None);
        assert_eq!(asked("", "application/vnd.ipld.raw;q=0"), None);
    }

    #[test]
    fn parameters_come_from_the_entry_of_the_format() {
        let mut headers = HeaderMap::new();
        let value = "application/vnd.ipld.car; version=1; order=dfs; dups=y";
        headers.insert(header::ACCEPT, value.parse().unwrap());
        let (_, parameters) = format(&Query::parse("format=car").unwrap(), &headers).unwrap();
        assert_eq!(parameters.get("dups"), Some("y"));
        let (_, parameters) = format(&Query::parse("format=raw").unwrap(), &headers).unwrap();
        assert_eq!(parameters.get("dups"), None);
    }

    #[test]
    fn paths_do_not_climb() {
        for path in ["/a/../b", "/%2e%2e/b", "/a/..", "/a%2f..%2fb", "/a%00b", "/%ff"] {
            assert!(segments(path).is_err(), "{path}");
        }
        let (parts, trailing) = segments("//a//./b%20c/").unwrap();
        assert_eq!((parts, trailing), (vec!["a".to_owned(), "b c".to_owned()], true));
        assert!(segments(&"/a".repeat(2000)).is_err());
    }

    #[test]
    fn unknown_formats_and_long_names_are_refused() {
        assert!(format(&Query::parse("format=exe").unwrap(), &HeaderMap::new()).is_err());
        assert!(Query::parse(&format!("filename={}", "a".repeat(600))).is_err());
        assert!(Query::parse("filename=%ff").is_err());
    }
}
