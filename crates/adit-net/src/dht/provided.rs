//! The roots this node announces, kept over restarts.
//!
//! ```text
//! adit-provided 1\n
//! +<cid>\n      announced from here on
//! -<cid>\n      no longer
//! ```
//!
//! Lines are appended without a sync: an announcement lost in a crash costs a lookup, not data. A
//! torn last line is ignored. The file is rewritten at start when half of it is obsolete.

use std::{
    collections::HashSet,
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader, Write},
    path::Path,
};

use cid::Cid;

use crate::error::ProvideError;

const FILE: &str = "provided";
const HEADER: &str = "adit-provided 1";

/// The set of announced roots and, with a directory, its log.
#[derive(Debug)]
pub(crate) struct ProvidedLog {
    roots: HashSet<Cid>,
    max: usize,
    file: Option<File>,
}

impl ProvidedLog {
    /// Reads the log in `dir`, or begins one.
    pub(crate) fn open(dir: Option<&Path>, max: usize) -> io::Result<Self> {
        let Some(dir) = dir else { return Ok(Self { roots: HashSet::new(), max, file: None }) };
        fs::create_dir_all(dir)?;
        let path = dir.join(FILE);
        let (mut roots, mut lines) = (HashSet::new(), 0usize);
        match File::open(&path) {
            Ok(file) => {
                let mut reader = BufReader::new(file).lines();
                match reader.next().transpose()? {
                    Some(header) if header == HEADER => {}
                    Some(other) => {
                        let what = format!("{} begins with {other:?}, not {HEADER:?}", path.display());
                        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
                    }
                    None => {}
                }
                for line in reader {
                    let line = line?;
                    lines += 1;
                    match (line.get(..1), line.get(1..).and_then(|text| text.parse::<Cid>().ok())) {
                        (Some("+"), Some(cid)) if roots.len() < max => drop(roots.insert(cid)),
                        (Some("-"), Some(cid)) => drop(roots.remove(&cid)),
                        _ => tracing::debug!("ignored a line of {}", path.display()),
                    }
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        // Always rewritten when small: it also removes a torn last line before we append to it.
        if lines < 1024 || lines > roots.len() * 2 {
            let new = dir.join(format!("{FILE}.new"));
            let mut text = format!("{HEADER}\n");
            for cid in &roots {
                text.push_str(&format!("+{cid}\n"));
            }
            fs::write(&new, text)?;
            fs::rename(&new, &path)?;
        }
        let mut file = OpenOptions::new().append(true).open(&path)?;
        // Ends a torn line of a big file that was not rewritten.
        if lines >= 1024 {
            file.write_all(b"\n")?;
        }
        Ok(Self { roots, max, file: Some(file) })
    }

    pub(crate) fn roots(&self) -> impl Iterator<Item = &Cid> {
        self.roots.iter()
    }

    /// Whether the root is new.
    pub(crate) fn add(&mut self, cid: Cid) -> Result<bool, ProvideError> {
        if self.roots.contains(&cid) {
            return Ok(false);
        }
        if self.roots.len() >= self.max {
            return Err(ProvideError::Full(self.max));
        }
        self.append(format!("+{cid}\n")).map_err(ProvideError::State)?;
        Ok(self.roots.insert(cid))
    }

    /// Whether the root was there.
    pub(crate) fn remove(&mut self, cid: &Cid) -> Result<bool, ProvideError> {
        if !self.roots.contains(cid) {
            return Ok(false);
        }
        self.append(format!("-{cid}\n")).map_err(ProvideError::State)?;
        Ok(self.roots.remove(cid))
    }

    fn append(&mut self, line: String) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), |file| file.write_all(line.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use multihash::Multihash;

    fn cid(n: u32) -> Cid {
        let mut digest = [0; 32];
        digest[..4].copy_from_slice(&n.to_le_bytes());
        Cid::new_v1(0x55, Multihash::wrap(0x12, &digest).unwrap())
    }

    fn sorted(log: &ProvidedLog) -> Vec<Cid> {
        let mut roots: Vec<Cid> = log.roots().copied().collect();
        roots.sort();
        roots
    }

    #[test]
    fn roots_survive_restarts_and_a_torn_line() {
        let dir = tempfile::tempdir().unwrap();
        for big in [false, true] {
            let count = if big { 3000 } else { 10 };
            let mut log = ProvidedLog::open(Some(dir.path()), 10_000).unwrap();
            for n in 0..count {
                log.add(cid(n)).unwrap();
            }
            log.remove(&cid(3)).unwrap();
            let expected = sorted(&log);
            drop(log);
            let path = dir.path().join(FILE);
            OpenOptions::new().append(true).open(&path).unwrap().write_all(b"+bafkre").unwrap();
            let mut log = ProvidedLog::open(Some(dir.path()), 10_000).unwrap();
            assert_eq!(sorted(&log), expected);
            log.add(cid(3)).unwrap();
            drop(log);
            let log = ProvidedLog::open(Some(dir.path()), 10_000).unwrap();
            assert_eq!(log.roots().count(), count as usize, "an append after a torn line counts");
        }
    }

    #[test]
    fn the_limit_holds_and_foreign_files_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = ProvidedLog::open(Some(dir.path()), 2).unwrap();
        assert!(log.add(cid(1)).unwrap() && !log.add(cid(1)).unwrap() && log.add(cid(2)).unwrap());
        assert!(matches!(log.add(cid(3)), Err(ProvideError::Full(2))));
        fs::write(dir.path().join(FILE), "something else\n").unwrap();
        assert!(ProvidedLog::open(Some(dir.path()), 2).is_err());
    }
}
