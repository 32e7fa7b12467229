//! `job.toml`: a job written down, for `adit run -f`.
//!
//! ```toml
//! code = "audit.wasm"              # a local file or a CID
//! args = ["--top", "10"]
//! stdin = "bafy…"
//! timeout = "30s"
//! fuel = 1000000000
//! memory = "256MiB"
//! output = "64MiB"
//! profile = "deterministic"
//!
//! [in]
//! "/in/data" = "bafy…"
//!
//! [env]
//! LANG = "C"
//! ```
//!
//! Options of the command line win over the file; its `[in]` and `[env]` are joined with them.

use std::collections::BTreeMap;
use std::path::Path;

use adit_node::config::{ByteSize, Span};
use serde::{Deserialize, Deserializer};

use crate::exit::{Exit, Failure};

/// Longest job file, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// The content of a job file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct JobFile {
    /// A local file or a CID.
    pub code: Option<String>,
    /// Arguments of the program.
    #[serde(default)]
    pub args: Vec<String>,
    /// Environment of the program.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Guest path → CID, path below a CID, or local path.
    #[serde(default, rename = "in")]
    pub inputs: BTreeMap<String, String>,
    /// Content of standard input.
    pub stdin: Option<String>,
    /// How long it may take.
    #[serde(default, deserialize_with = "text")]
    pub timeout: Option<Span>,
    /// Most fuel.
    pub fuel: Option<u64>,
    /// Most memory.
    #[serde(default, deserialize_with = "text")]
    pub memory: Option<ByteSize>,
    /// Most output.
    #[serde(default, deserialize_with = "text")]
    pub output: Option<ByteSize>,
    /// `deterministic` or `fast`.
    pub profile: Option<String>,
}

fn text<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: std::str::FromStr<Err = String>,
{
    let text = String::deserialize(deserializer)?;
    text.parse().map(Some).map_err(serde::de::Error::custom)
}

impl JobFile {
    /// Reads a file; relative paths in it are relative to the working directory, like those of the command line.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let failed = |why: String| Failure::new(Exit::Usage, format!("cannot use {}: {why}", path.display()));
        let meta = std::fs::metadata(path).map_err(|error| {
            let exit =
                if error.kind() == std::io::ErrorKind::NotFound { Exit::NotFound } else { Exit::Failed };
            Failure::because(exit, format!("cannot read {}", path.display()), &error)
        })?;
        if meta.len() > MAX_BYTES {
            return Err(failed(format!("it is longer than {MAX_BYTES} bytes")));
        }
        let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
        toml::from_str(&text).map_err(|error| failed(error.message().to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_reads_and_unknown_ones_are_refused() {
        let file: JobFile = toml::from_str(
            r#"
            code = "a.wasm"
            args = ["x"]
            stdin = "bafy"
            timeout = "30s"
            fuel = 5
            memory = "256MiB"
            output = "1MiB"
            profile = "fast"
            [in]
            "/in/data" = "bafy"
            [env]
            A = "1"
            "#,
        )
        .unwrap();
        assert_eq!(file.code.as_deref(), Some("a.wasm"));
        assert_eq!(file.memory, Some(ByteSize(256 << 20)));
        assert_eq!(file.timeout, Some(Span::seconds(30)));
        assert_eq!(file.inputs["/in/data"], "bafy");
        assert!(toml::from_str::<JobFile>("inputs = {}").is_err());
        assert!(toml::from_str::<JobFile>("timeout = \"soon\"").is_err());
    }
}
