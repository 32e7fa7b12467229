//! Arguments and options of a request, from its query. What nobody has asked for at the end is refused by name.

use crate::error::RpcError;
use axum::extract::Query;
use axum::http::Uri;
use std::collections::BTreeMap;
use std::time::Duration;

/// Arguments of one request, at most.
const MAX_ARGS: usize = 10_000;

#[derive(Debug, Default)]
pub(crate) struct Args {
    positional: Vec<String>,
    options: BTreeMap<String, Vec<String>>,
}

impl Args {
    pub(crate) fn parse(uri: &Uri) -> Result<Self, RpcError> {
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri)
            .map_err(|error| RpcError::client(format!("the query cannot be read: {error}")))?;
        let mut args = Self::default();
        for (key, value) in pairs {
            match key.as_str() {
                "arg" => args.positional.push(value),
                _ => args.options.entry(key).or_default().push(value),
            }
        }
        if args.positional.len() > MAX_ARGS {
            return Err(RpcError::client(format!("more than {MAX_ARGS} arguments")));
        }
        // Every client sends these; the secret was sent in a header as well, and is dropped.
        args.ignore(&["stream-channels", "api-auth"]);
        args.only("encoding", &["json", "text"])?;
        args.only("offline", &["false"])?;
        Ok(args)
    }

    /// All arguments.
    pub(crate) fn all(&mut self) -> Vec<String> {
        std::mem::take(&mut self.positional)
    }

    /// One argument or more.
    pub(crate) fn some(&mut self, what: &str) -> Result<Vec<String>, RpcError> {
        match self.positional.is_empty() {
            true => Err(RpcError::client(format!("argument {what:?} is required"))),
            false => Ok(self.all()),
        }
    }

    /// The only argument.
    pub(crate) fn one(&mut self, what: &str) -> Result<String, RpcError> {
        let mut all = self.some(what)?;
        match all.len() {
            1 => Ok(all.remove(0)),
            _ => Err(RpcError::client("too many arguments")),
        }
    }

    /// An option's text.
    pub(crate) fn text(&mut self, name: &str) -> Result<Option<String>, RpcError> {
        let Some(mut values) = self.options.remove(name) else { return Ok(None) };
        match values.len() {
            1 => Ok(values.pop()),
            _ => Err(RpcError::client(format!("option {name:?} is given more than once"))),
        }
    }

    pub(crate) fn flag(&mut self, name: &str, default: bool) -> Result<bool, RpcError> {
        match self.text(name)?.as_deref() {
            None => Ok(default),
            Some("" | "true" | "1" | "t" | "T" | "True" | "TRUE") => Ok(true),
            Some("false" | "0" | "f" | "F" | "False" | "FALSE") => Ok(false),
            Some(other) => {
                Err(RpcError::client(format!("option {name:?} is true or false, not {other:.40?}")))
            }
        }
    }

    pub(crate) fn number<T: std::str::FromStr>(&mut self, name: &str) -> Result<Option<T>, RpcError> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        match text.parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(RpcError::client(format!("option {name:?} is a number, not {text:.40?}"))),
        }
    }

    /// Options that change nothing here.
    pub(crate) fn ignore(&mut self, names: &[&str]) {
        for name in names {
            self.options.remove(*name);
        }
    }

    /// An option of which only these values are supported.
    pub(crate) fn only(&mut self, name: &str, values: &[&str]) -> Result<(), RpcError> {
        match self.text(name)? {
            Some(value) if !values.contains(&value.as_str()) => {
                Err(RpcError::client(format!("option {name:?} does not support {value:.60?} here")))
            }
            _ => Ok(()),
        }
    }

    /// How long the request may take: Go's notation, such as `1m30s` or `500ms`.
    pub(crate) fn timeout(&mut self) -> Result<Option<Duration>, RpcError> {
        self.time("timeout")
    }

    /// An option that is a span of time.
    pub(crate) fn time(&mut self, name: &str) -> Result<Option<Duration>, RpcError> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        match duration(&text) {
            Some(time) => Ok(Some(time)),
            None => Err(RpcError::client(format!("option {name:?} is a time such as 30s, not {text:.40?}"))),
        }
    }

    /// Refuses what is left.
    pub(crate) fn done(self) -> Result<(), RpcError> {
        if let Some(name) = self.options.keys().next() {
            return Err(RpcError::client(format!(
                "option {name:.60?} is not supported by this command here"
            )));
        }
        match self.positional.is_empty() {
            true => Ok(()),
            false => Err(RpcError::client("too many arguments")),
        }
    }
}

fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let amount: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let seconds = match &rest[..unit] {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        rest = &rest[unit..];
        total = total.checked_add(Duration::try_from_secs_f64(amount * seconds).ok()?)?;
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(query: &str) -> Args {
        Args::parse(&format!("/api/v0/x?{query}").parse().unwrap()).unwrap()
    }

    #[test]
    fn what_nobody_asked_for_is_refused_by_name() {
        let mut given = args("arg=a&pin=false&nocopy=true&stream-channels=true&encoding=json");
        assert_eq!(given.one("path").unwrap(), "a");
        assert!(!given.flag("pin", true).unwrap());
        assert!(given.done().unwrap_err().message().contains("nocopy"));
    }

    #[test]
    fn other_encodings_and_repeated_options_are_refused() {
        assert!(Args::parse(&"/api/v0/x?encoding=xml".parse().unwrap()).is_err());
        assert!(args("pin=true&pin=false").flag("pin", true).is_err());
        assert!(args("offset=ten").number::<u64>("offset").is_err());
        assert!(args("arg=a&arg=b").one("path").is_err());
    }

    #[test]
    fn times_are_in_gos_notation() {
        assert_eq!(duration("1m30s"), Some(Duration::from_secs(90)));
        assert_eq!(duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(duration("1.5h"), Some(Duration::from_secs(5400)));
        for wrong in ["", "5", "5 s", "s", "-1s", "1e9h", "1x"] {
            assert_eq!(duration(wrong), None, "{wrong}");
        }
    }
}
