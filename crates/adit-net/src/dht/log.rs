//! Provider records of others on disk, so that a restart does not make this node forget what the network counts
//! on it to know.
//!
//! ```text
//! adit-providers 1\n
//! u16 length, payload, 4 bytes of SHA-256(payload)      and so on; integers are little-endian
//!
//! payload 1: u8 1, u8 length, peer id, then for each address u16 length, bytes
//! payload 2: u8 2, u64 expiry (Unix seconds), u8 length, key, peer id
//! ```
//!
//! Appended without a sync: a power cut loses some records, and their providers announce again within a day; a
//! killed process loses none. Reading ends at the first frame that is torn. Every start writes the file anew, and
//! so does whoever appends once it holds more old than live data, so its size is bounded by the records in memory.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use libp2p::{Multiaddr, PeerId};
use sha2::{Digest, Sha256};

const FILE: &str = "providers";
const HEADER: &[u8] = b"adit-providers 1\n";
/// A file longer than this was not written by us.
const LONGEST: u64 = 512 << 20;
/// What may be appended, beyond the size after the last rewriting, before the file is rewritten.
const SLACK: u64 = 4 << 20;
const SUM: usize = 4;

/// One thing that the file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Line {
    Addresses { provider: PeerId, addresses: Vec<Multiaddr> },
    Record { key: Vec<u8>, provider: PeerId, expires: u64 },
}

/// The open file.
#[derive(Debug)]
pub(super) struct RecordLog {
    path: PathBuf,
    file: File,
    length: u64,
    base: u64,
}

impl RecordLog {
    /// What the file in `dir` says; nothing, when there is none.
    pub(super) fn read(dir: &Path) -> io::Result<Vec<Line>> {
        let path = dir.join(FILE);
        let mut bytes = Vec::new();
        match File::open(&path) {
            Ok(file) => file.take(LONGEST).read_to_end(&mut bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let Some(mut rest) = bytes.strip_prefix(HEADER) else {
            // Torn at its very beginning, or foreign; overwriting somebody's file would be worse.
            if bytes.len() < HEADER.len() {
                return Ok(Vec::new());
            }
            let what = format!("{} is no list of provider records", path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        };
        let mut lines = Vec::new();
        while let Some((payload, after)) = frame(rest) {
            rest = after;
            match parse(payload) {
                Some(line) => lines.push(line),
                None => tracing::debug!("ignored an entry of {}", path.display()),
            }
        }
        Ok(lines)
    }

    /// Writes the file anew and keeps it open.
    pub(super) fn create(dir: &Path, lines: impl Iterator<Item = Line>) -> io::Result<Self> {
        let (path, new) = (dir.join(FILE), dir.join(format!("{FILE}.new")));
        let mut out = io::BufWriter::new(File::create(&new)?);
        out.write_all(HEADER)?;
        let (mut length, mut buffer) = (HEADER.len() as u64, Vec::new());
        for line in lines {
            buffer.clear();
            encode(&line, &mut buffer);
            out.write_all(&buffer)?;
            length += buffer.len() as u64;
        }
        out.flush()?;
        drop(out);
        fs::rename(&new, &path)?;
        let file = OpenOptions::new().append(true).open(&path)?;
        Ok(Self { path, file, length, base: length })
    }

    /// Appends in one write.
    pub(super) fn append(&mut self, lines: &[Line]) -> io::Result<()> {
        let mut buffer = Vec::new();
        for line in lines {
            encode(line, &mut buffer);
        }
        self.file.write_all(&buffer)?;
        self.length += buffer.len() as u64;
        Ok(())
    }

    /// Whether it has grown enough to be written anew.
    pub(super) fn is_long(&self) -> bool {
        self.length > 2 * self.base + SLACK
    }

    pub(super) fn dir(&self) -> &Path {
        self.path.parent().expect("a file in a directory")
    }
}

fn sum(payload: &[u8]) -> [u8; SUM] {
    Sha256::digest(payload)[..SUM].try_into().expect("four of 32 bytes")
}

/// The first frame's payload and what follows; `None` at the end or at a torn one.
fn frame(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    let (payload, rest) = rest.split_at_checked(u16::from_le_bytes(*length).into())?;
    let (check, rest) = rest.split_first_chunk::<SUM>()?;
    (*check == sum(payload)).then_some((payload, rest))
}

fn short(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first()?;
    rest.split_at_checked((*length).into())
}

fn parse(payload: &[u8]) -> Option<Line> {
    match payload.split_first()? {
        (1, rest) => {
            let (provider, mut rest) = short(rest)?;
            let mut addresses = Vec::new();
            while let Some((length, after)) = rest.split_first_chunk::<2>() {
                let (address, after) = after.split_at_checked(u16::from_le_bytes(*length).into())?;
                addresses.push(Multiaddr::try_from(address.to_vec()).ok()?);
                rest = after;
            }
            Some(Line::Addresses { provider: PeerId::from_bytes(provider).ok()?, addresses })
        }
        (2, rest) => {
            let (expires, rest) = rest.split_first_chunk::<8>()?;
            let (key, provider) = short(rest)?;
            let provider = PeerId::from_bytes(provider).ok()?;
            Some(Line::Record { key: key.to_vec(), provider, expires: u64::from_le_bytes(*expires) })
        }
        _ => None,
    }
}

/// Appends the frame of a line whose parts are within the bounds of [`super::ProviderRecords`].
fn encode(line: &Line, out: &mut Vec<u8>) {
    let mut payload = Vec::with_capacity(128);
    let peer = |payload: &mut Vec<u8>, peer: &PeerId| payload.extend_from_slice(&peer.to_bytes());
    match line {
        Line::Addresses { provider, addresses } => {
            payload.extend([1, provider.to_bytes().len() as u8]);
            peer(&mut payload, provider);
            for address in addresses {
                payload.extend_from_slice(&(address.len() as u16).to_le_bytes());
                payload.extend_from_slice(address.as_ref());
            }
        }
        Line::Record { key, provider, expires } => {
            payload.push(2);
            payload.extend_from_slice(&expires.to_le_bytes());
            payload.push(key.len() as u8);
            payload.extend_from_slice(key);
            peer(&mut payload, provider);
        }
    }
    out.extend_from_slice(&(payload.len() as u16).to_le_bytes());
    out.extend_from_slice(&payload);
    out.extend_from_slice(&sum(&payload));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines() -> Vec<Line> {
        let provider = PeerId::random();
        let addresses =
            vec!["/ip4/127.0.0.1/tcp/1".parse().unwrap(), "/dns/a.example/tcp/2".parse().unwrap()];
        vec![
            Line::Addresses { provider, addresses },
            Line::Record { key: vec![7; 34], provider, expires: 1_800_000_000 },
            Line::Addresses { provider, addresses: Vec::new() },
        ]
    }

    #[test]
    fn what_is_written_is_read_until_the_tear() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(RecordLog::read(dir.path()).unwrap(), []);
        let lines = lines();
        let mut log = RecordLog::create(dir.path(), lines[..1].iter().cloned()).unwrap();
        log.append(&lines[1..]).unwrap();
        assert_eq!(RecordLog::read(dir.path()).unwrap(), lines);
        let whole = fs::read(dir.path().join(FILE)).unwrap();
        for length in 0..whole.len() {
            fs::write(dir.path().join(FILE), &whole[..length]).unwrap();
            let read = RecordLog::read(dir.path()).unwrap();
            assert!(read.len() < lines.len() && read[..] == lines[..read.len()]);
        }
        fs::write(dir.path().join(FILE), "something else entirely\n").unwrap();
        assert!(RecordLog::read(dir.path()).is_err(), "a foreign file is left alone");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut rest = &bytes[..];
            while let Some((payload, after)) = frame(rest) {
                parse(payload);
                rest = after;
            }
            parse(&bytes);
        }
    }
}
