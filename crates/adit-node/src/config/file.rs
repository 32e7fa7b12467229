//! `config.toml`: read, and edited in place so that a person's comments and order survive.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use toml_edit::{DocumentMut, Item, Table};

use super::table::{Setting, SettingError};

/// Longest settings file that is read; a person's file is a few kilobytes.
const MAX_BYTES: u64 = 256 * 1024;

/// A settings file held in memory.
#[derive(Clone, Debug)]
pub struct ConfigFile {
    document: DocumentMut,
}

/// Why the settings file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigFileError {
    /// Reading failed.
    #[error("cannot read the settings file {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Writing failed.
    #[error("cannot write the settings file {path}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// It is not TOML.
    #[error("the settings file is not valid TOML: {0}")]
    Syntax(#[from] toml_edit::TomlError),
    /// It is far longer than any settings file.
    #[error("the settings file is longer than {MAX_BYTES} bytes")]
    TooLong,
    /// A key holds something that no setting is.
    #[error("`{key}` in the settings file is not a text, number, truth value or list of these")]
    Kind {
        /// The key.
        key: String,
    },
}

impl ConfigFile {
    /// Parses a file's text.
    pub fn parse(text: &str) -> Result<Self, ConfigFileError> {
        if text.len() as u64 > MAX_BYTES {
            return Err(ConfigFileError::TooLong);
        }
        Ok(ConfigFile { document: text.parse()? })
    }

    /// Reads the file; a missing one is an empty one.
    pub fn read(path: &Path) -> Result<Self, ConfigFileError> {
        let read = |source| ConfigFileError::Read { path: path.into(), source };
        match std::fs::metadata(path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Self::parse(""),
            Err(e) => return Err(read(e)),
            Ok(meta) if meta.len() > MAX_BYTES => return Err(ConfigFileError::TooLong),
            Ok(_) => {}
        }
        Self::parse(&std::fs::read_to_string(path).map_err(read)?)
    }

    /// Writes the file beside itself and renames it, so that a crash leaves the old or the new one.
    pub fn write(&self, path: &Path) -> Result<(), ConfigFileError> {
        let write = |source| ConfigFileError::Write { path: path.into(), source };
        let beside = path.with_extension("toml.new");
        let mut file = std::fs::File::create(&beside).map_err(write)?;
        file.write_all(self.document.to_string().as_bytes()).map_err(write)?;
        file.sync_all().map_err(write)?;
        std::fs::rename(&beside, path).map_err(write)
    }

    /// Sets one value after checking it, leaving everything else as the person wrote it.
    pub fn set(&mut self, key: &str, text: &str) -> Result<(), SettingError> {
        let mut value = Setting::find(key)?.parse(text)?;
        let (section, name) =
            key.split_once('.').map_or((None, key), |(section, name)| (Some(section), name));
        let table: &mut Table = match section {
            None => self.document.as_table_mut(),
            Some(section) => self
                .document
                .entry(section)
                .or_insert_with(|| Item::Table(Table::new()))
                .as_table_mut()
                .ok_or_else(|| ConfigFileError::Kind { key: section.into() })?,
        };
        if let Some(old) = table.get(name).and_then(Item::as_value) {
            *value.decor_mut() = old.decor().clone();
        }
        match table.get_mut(name) {
            Some(item) => *item = Item::Value(value),
            None => {
                table.insert(name, Item::Value(value));
            }
        }
        Ok(())
    }

    /// All values as the text that a flag would carry; lists are joined by commas.
    pub(super) fn values(&self) -> Result<Vec<(String, String)>, ConfigFileError> {
        let mut found = Vec::new();
        for (key, item) in self.document.iter() {
            match item {
                Item::Table(table) => {
                    for (name, item) in table.iter() {
                        let key = format!("{key}.{name}");
                        found.push((key.clone(), plain(&key, item)?));
                    }
                }
                item => found.push((key.to_owned(), plain(key, item)?)),
            }
        }
        Ok(found)
    }
}

fn plain(key: &str, item: &Item) -> Result<String, ConfigFileError> {
    let kind = || ConfigFileError::Kind { key: key.into() };
    match item.as_value().ok_or_else(kind)? {
        toml_edit::Value::String(text) => Ok(text.value().clone()),
        toml_edit::Value::Integer(number) => Ok(number.value().to_string()),
        toml_edit::Value::Boolean(truth) => Ok(truth.value().to_string()),
        toml_edit::Value::Array(list) => {
            let parts: Result<Vec<_>, _> = list.iter().map(|v| plain(key, &Item::Value(v.clone()))).collect();
            Ok(parts?.join(","))
        }
        _ => Err(kind()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_s_comments_survive_an_edit() {
        let text = "# my node\nnetwork = \"home\" # mine\n\n[host]\n# friends only\naccept = \"self\"\n";
        let mut file = ConfigFile::parse(text).unwrap();
        file.set("network", "ipfs").unwrap();
        file.set("host.cpus", "2").unwrap();
        file.set("swarm.listen", "/ip4/127.0.0.1/tcp/0,/ip4/127.0.0.1/udp/0/quic-v1").unwrap();
        let edited = file.document.to_string();
        for kept in ["# my node", "network = \"ipfs\" # mine", "# friends only", "cpus = 2", "listen = ["] {
            assert!(edited.contains(kept), "{kept:?} in {edited}");
        }
    }

    #[test]
    fn a_refused_value_changes_nothing() {
        let mut file = ConfigFile::parse("[host]\nqueue = 5\n").unwrap();
        assert!(file.set("host.queue", "many").is_err());
        assert!(file.set("host.queues", "5").is_err());
        assert_eq!(file.document.to_string(), "[host]\nqueue = 5\n");
    }

    #[test]
    fn overlong_and_oddly_typed_files_are_refused() {
        assert!(matches!(ConfigFile::parse(&"#".repeat(300_000)), Err(ConfigFileError::TooLong)));
        let odd = ConfigFile::parse("[host]\nqueue = { a = 1 }\n").unwrap();
        assert!(matches!(odd.values(), Err(ConfigFileError::Kind { .. })));
    }

    #[test]
    fn written_files_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        assert!(ConfigFile::read(&path).unwrap().values().unwrap().is_empty());
        let mut file = ConfigFile::parse("").unwrap();
        file.set("host.accept", "anyone").unwrap();
        file.write(&path).unwrap();
        let values = ConfigFile::read(&path).unwrap().values().unwrap();
        assert_eq!(values, [("host.accept".to_owned(), "anyone".to_owned())]);
    }
}
