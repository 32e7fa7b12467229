//! What this node has published, one file for each name.
//!
//! ```text
//! adit-name 1\n
//! u64 lifetime in seconds (little-endian), u8 length and name of the key, the record
//! ```
//!
//! A file is replaced whole and synced before anything is acknowledged.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use adit_names::{IpnsName, IpnsRecord, limits};
use parking_lot::Mutex;

const HEADER: &[u8] = b"adit-name 1\n";

/// One published name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Under which key.
    pub(super) key: String,
    /// For how long it is signed each time.
    pub(super) lifetime: Duration,
    pub(super) record: IpnsRecord,
}

#[derive(Debug)]
pub(super) struct Published {
    dir: PathBuf,
    entries: Mutex<HashMap<IpnsName, Entry>>,
}

impl Published {
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let mut entries = HashMap::new();
        for file in fs::read_dir(dir)? {
            let path = file?.path();
            let name = path.file_name().and_then(|f| f.to_str()?.strip_suffix(".record")?.parse().ok());
            let Some(name) = name else { continue };
            match read(&path, &name) {
                Ok(entry) => drop(entries.insert(name, entry)),
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "a published name is unreadable")
                }
            }
        }
        Ok(Self { dir: dir.to_owned(), entries: Mutex::new(entries) })
    }

    pub(super) fn get(&self, name: &IpnsName) -> Option<Entry> {
        self.entries.lock().get(name).cloned()
    }

    pub(super) fn all(&self) -> Vec<(IpnsName, Entry)> {
        self.entries.lock().iter().map(|(name, entry)| (*name, entry.clone())).collect()
    }

    /// Durable when it returns.
    pub(super) fn keep(&self, name: IpnsName, entry: Entry) -> io::Result<()> {
        let (path, new) = (self.dir.join(format!("{name}.record")), self.dir.join(format!("{name}.new")));
        let mut bytes = HEADER.to_vec();
        bytes.extend_from_slice(&entry.lifetime.as_secs().to_le_bytes());
        bytes.push(entry.key.len() as u8);
        bytes.extend_from_slice(entry.key.as_bytes());
        bytes.extend_from_slice(entry.record.bytes());
        let mut file = File::create(&new)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        File::open(&self.dir)?.sync_all()?;
        self.entries.lock().insert(name, entry);
        Ok(())
    }
}

fn read(path: &Path, name: &IpnsName) -> io::Result<Entry> {
    let mut bytes = Vec::new();
    File::open(path)?.take(limits::RECORD as u64 + 1024).read_to_end(&mut bytes)?;
    parse(&bytes, name).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not what this node writes"))
}

fn parse(bytes: &[u8], name: &IpnsName) -> Option<Entry> {
    let (lifetime, rest) = bytes.strip_prefix(HEADER)?.split_first_chunk::<8>()?;
    let (length, rest) = rest.split_first()?;
    let (key, record) = rest.split_at_checked((*length).into())?;
    let record = IpnsRecord::decode(record).ok()?;
    record.verify_signature(name).ok()?;
    let key = String::from_utf8(key.to_vec()).ok()?;
    Some(Entry { key, lifetime: Duration::from_secs(u64::from_le_bytes(*lifetime)), record })
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use adit_names::{Draft, Keypair};

    use super::*;

    #[test]
    fn what_is_published_is_there_after_a_restart_and_damage_is_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        let pair = Keypair::generate_ed25519();
        let name = IpnsName::of(&pair.public());
        let lifetime = Duration::from_secs(3600);
        let draft = Draft {
            value: "/ipfs/bafkqaaa".into(),
            sequence: 7,
            valid_until: SystemTime::now() + lifetime,
            ttl: Duration::from_secs(1),
        };
        let record = IpnsRecord::create(&pair, &draft).unwrap();
        let entry = Entry { key: "blog".into(), lifetime, record };
        Published::open(dir.path()).unwrap().keep(name, entry.clone()).unwrap();
        assert_eq!(Published::open(dir.path()).unwrap().get(&name), Some(entry));
        let path = dir.path().join(format!("{name}.record"));
        let whole = fs::read(&path).unwrap();
        for at in (0..whole.len()).step_by(7) {
            fs::write(&path, &whole[..at]).unwrap();
            assert_eq!(Published::open(dir.path()).unwrap().get(&name), None, "cut at {at}");
        }
    }
}
