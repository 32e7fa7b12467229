//! The manifest's form, and everything that it must keep to.
//!
//! ```text
//! "adit sealed tree 1\n"
//! u64 length of the stream without padding | u32 packs | 16 bytes nonce of each
//! u32 entries, each: u8 kind | u16 length of the path | path | u64 length, for files
//! zeros up to the padded length                                (numbers little-endian)
//! ```
//!
//! Entries are sorted by their paths, name by name, each directory before what is in it. Where a file lies in the stream is the
//! sum of the lengths before it: no two can overlap, and nothing can lie outside.

use super::{PACK, padded};
use crate::age::PayloadNonce;
use std::ops::Range;

/// Files and directories of a tree at most.
pub const MAX_ENTRIES: usize = 1 << 18;
/// Bytes of a manifest at most, before padding.
pub const MAX_MANIFEST: u64 = 64 << 20;
/// Bytes of all files at most.
pub(super) const MAX_STREAM: u64 = 1 << 50;
/// Bytes of a path at most.
const MAX_PATH: usize = 1024;
/// Bytes of a name at most.
const MAX_NAME: usize = 255;
/// Names in a path at most.
const MAX_DEPTH: usize = 32;
const MAGIC: &[u8] = b"adit sealed tree 1\n";

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A file: where it lies in the stream, and whether it is executable.
    File { stream: Range<u64>, executable: bool },
}

/// One file or directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Names with `/` between, relative to the tree.
    pub path: String,
    /// What it is.
    pub kind: Kind,
}

/// What a sealed tree holds, and under which nonces its packs are sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    entries: Vec<Entry>,
    packs: Vec<PayloadNonce>,
    stream: u64,
}

/// A path that no sealed tree may hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the path {path:?} {why}")]
pub struct PathError {
    /// The path, shortened.
    pub path: String,
    /// What is wrong with it.
    pub why: &'static str,
}

/// Why bytes are no manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Something else, or another version.
    #[error("this is no manifest of a sealed tree, version 1")]
    Magic,
    /// More than is accepted of something.
    #[error("{0} in the manifest than are accepted")]
    TooMany(&'static str),
    /// The bytes end too early.
    #[error("the manifest ends too early")]
    Truncated,
    /// Something behind the end that is not padding, or padding of another length.
    #[error("the manifest's padding is not as it must be")]
    Padding,
    /// A kind of entry that version 1 does not have.
    #[error("the manifest has an entry of kind {0}")]
    Kind(u8),
    /// A path that may not be.
    #[error(transparent)]
    Path(#[from] PathError),
    /// Not sorted, twice the same, or without its directory.
    #[error("the manifest's entry {0:?} does not stand where it must")]
    Order(String),
    /// Lengths that do not fit together.
    #[error("the manifest's lengths do not fit together")]
    Lengths,
}

/// Checks that a path is relative and plain: no `..`, nothing empty, nothing that a terminal obeys.
pub fn check_path(path: &str) -> Result<(), PathError> {
    let wrong = |why| Err(PathError { path: path.chars().take(100).collect(), why });
    if path.len() > MAX_PATH {
        return wrong("is too long");
    }
    if path.chars().any(char::is_control) {
        return wrong("contains control characters");
    }
    for (depth, name) in path.split('/').enumerate() {
        match name {
            "" => return wrong("has an empty name in it"),
            "." | ".." => return wrong("contains `.` or `..`"),
            name if name.len() > MAX_NAME => return wrong("has too long a name in it"),
            _ if depth >= MAX_DEPTH => return wrong("is too deep"),
            _ => {}
        }
    }
    Ok(())
}

/// Checks that an entry may stand behind those before it; `open` are the directories that it may be in.
pub(super) fn check_order(
    open: &mut Vec<String>,
    last: &str,
    path: &str,
    is_dir: bool,
) -> Result<(), ManifestError> {
    check_path(path)?;
    let wrong = || ManifestError::Order(path.chars().take(100).collect());
    if !last.is_empty() && last.split('/').cmp(path.split('/')).is_ge() {
        return Err(wrong());
    }
    let parent = path.rsplit_once('/').map(|(parent, _)| parent);
    while open.last().is_some_and(|directory| Some(directory.as_str()) != parent) {
        open.pop();
    }
    if parent.is_some() && open.is_empty() {
        return Err(wrong());
    }
    if is_dir {
        open.push(path.to_owned());
    }
    Ok(())
}

impl Manifest {
    pub(super) fn new(entries: Vec<Entry>, packs: Vec<PayloadNonce>, stream: u64) -> Self {
        Self { entries, packs, stream }
    }

    /// All entries, sorted, each directory before what is in it.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The entry at a path.
    pub fn find(&self, path: &str) -> Option<&Entry> {
        let at = self.entries.binary_search_by(|entry| entry.path.split('/').cmp(path.split('/')));
        at.ok().map(|at| &self.entries[at])
    }

    /// The nonces of the packs: what a pack must be sealed under, to be this one.
    pub fn packs(&self) -> &[PayloadNonce] {
        &self.packs
    }

    /// Bytes of a pack's content.
    pub fn pack_len(&self, pack: u64) -> u64 {
        padded(self.stream).saturating_sub(pack * PACK).min(PACK)
    }

    /// Writes the manifest, padded.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend(self.stream.to_le_bytes());
        out.extend((self.packs.len() as u32).to_le_bytes());
        self.packs.iter().for_each(|nonce| out.extend(nonce.0));
        out.extend((self.entries.len() as u32).to_le_bytes());
        for entry in &self.entries {
            let (kind, len) = match &entry.kind {
                Kind::Directory => (0, None),
                Kind::File { stream, executable } => {
                    (1 + u8::from(*executable), Some(stream.end - stream.start))
                }
            };
            out.push(kind);
            out.extend((entry.path.len() as u16).to_le_bytes());
            out.extend(entry.path.as_bytes());
            out.extend(len.iter().flat_map(|len| len.to_le_bytes()));
        }
        out.resize(padded(out.len() as u64) as usize, 0);
        out
    }

    /// Reads a manifest, as [`TreeWriter`](super::TreeWriter) writes it, and refuses anything else.
    pub fn decode(bytes: &[u8]) -> Result<Self, ManifestError> {
        if bytes.len() as u64 > padded(MAX_MANIFEST) {
            return Err(ManifestError::TooMany("more bytes"));
        }
        let mut rest = bytes.strip_prefix(MAGIC).ok_or(ManifestError::Magic)?;
        let stream = u64::from_le_bytes(take(&mut rest)?);
        let packs = u32::from_le_bytes(take(&mut rest)?);
        if stream > MAX_STREAM {
            return Err(ManifestError::TooMany("longer files"));
        }
        if u64::from(packs) != padded(stream).div_ceil(PACK) {
            return Err(ManifestError::Lengths);
        }
        // Each takes bytes that must be there, so a false number ends early.
        let packs = (0..packs).map(|_| take(&mut rest).map(PayloadNonce)).collect::<Result<_, _>>()?;
        let count = u32::from_le_bytes(take(&mut rest)?);
        if count as usize > MAX_ENTRIES {
            return Err(ManifestError::TooMany("more entries"));
        }
        let (mut entries, mut open, mut at) = (Vec::<Entry>::new(), Vec::new(), 0u64);
        for _ in 0..count {
            let [kind] = take(&mut rest)?;
            let len = usize::from(u16::from_le_bytes(take(&mut rest)?));
            let (path, behind) = rest.split_at_checked(len).ok_or(ManifestError::Truncated)?;
            rest = behind;
            let path = std::str::from_utf8(path).map_err(|_| PathError {
                path: String::from_utf8_lossy(path).chars().take(100).collect(),
                why: "is not UTF-8",
            })?;
            let last = entries.last().map_or("", |entry| &entry.path);
            check_order(&mut open, last, path, kind == 0)?;
            let kind = match kind {
                0 => Kind::Directory,
                1 | 2 => {
                    let end = at.checked_add(u64::from_le_bytes(take(&mut rest)?));
                    let end = end.filter(|end| *end <= stream).ok_or(ManifestError::Lengths)?;
                    Kind::File { stream: std::mem::replace(&mut at, end)..end, executable: kind == 2 }
                }
                other => return Err(ManifestError::Kind(other)),
            };
            entries.push(Entry { path: path.to_owned(), kind });
        }
        if at != stream {
            return Err(ManifestError::Lengths);
        }
        let used = (bytes.len() - rest.len()) as u64;
        if bytes.len() as u64 != padded(used) || rest.iter().any(|byte| *byte != 0) {
            return Err(ManifestError::Padding);
        }
        Ok(Self { entries, packs, stream })
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], ManifestError> {
    let (taken, behind) = rest.split_first_chunk().ok_or(ManifestError::Truncated)?;
    *rest = behind;
    Ok(*taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(entries: &[(&str, Option<u64>)]) -> Vec<u8> {
        let (mut list, mut at) = (Vec::new(), 0);
        for (path, len) in entries {
            let kind = len.map_or(Kind::Directory, |len| {
                at += len;
                Kind::File { stream: at - len..at, executable: false }
            });
            list.push(Entry { path: (*path).to_owned(), kind });
        }
        let packs = vec![PayloadNonce([1; 16]); padded(at).div_ceil(PACK) as usize];
        Manifest::new(list, packs, at).encode()
    }

    #[test]
    fn a_manifest_reads_back_and_finds_its_files() {
        let entries = [
            ("a", None),
            ("a/b", None),
            ("a/b/c", Some(5)),
            ("a/d", Some(0)),
            ("a b", Some(7)),
            ("z", Some(PACK)),
        ];
        let bytes = made(&entries);
        let read = Manifest::decode(&bytes).unwrap();
        assert_eq!(read.encode(), bytes);
        assert_eq!(read.find("a b").unwrap().kind, Kind::File { stream: 5..12, executable: false });
        assert!(read.find("a/b/").is_none() && read.find("").is_none() && read.find("y").is_none());
        assert_eq!(read.packs().len(), 2);
        assert_eq!(read.pack_len(0), PACK);
        assert_eq!(Manifest::decode(&made(&[])).unwrap().entries(), []);
    }

    #[test]
    fn names_that_could_do_harm_are_refused() {
        let long = format!("a/{}", "x".repeat(256));
        let deep = vec!["d"; 33].join("/");
        for path in [
            "",
            "/a",
            "a/",
            "a//b",
            "..",
            "a/../b",
            ".",
            "a/./b",
            "a\0b",
            "a\nb",
            "\u{1b}[2J",
            "\u{85}",
            &long,
            &deep,
        ] {
            assert!(check_path(path).is_err(), "{path:?}");
            assert!(Manifest::decode(&made(&[(path, Some(1))])).is_err(), "{path:?}");
        }
        assert!(check_path("a/b c/ä.txt").is_ok());
    }

    #[test]
    fn entries_stand_in_order_and_in_their_directories() {
        for wrong in [
            &[("b", Some(1)), ("a", Some(1))][..],
            &[("a", Some(1)), ("a", Some(1))],
            &[("a/b", Some(1))],
            &[("a", Some(1)), ("a/b", Some(1))],
            &[("a", None), ("b", None), ("b/c/d", Some(1))],
            &[("a", None), ("b", Some(1)), ("a/c", Some(1))],
        ] {
            assert!(matches!(Manifest::decode(&made(wrong)), Err(ManifestError::Order(_))), "{wrong:?}");
        }
    }

    #[test]
    fn bombs_and_changed_bytes_are_refused() {
        let bytes = made(&[("a", None), ("a/b", Some(5)), ("c", Some(9))]);
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap();
        for at in 0..used + 2 {
            for bit in 0..8 {
                let mut bad = bytes.clone();
                bad[at] ^= 1 << bit;
                // Sealed, nobody can change it; read, it gives another tree or none, and never panics.
                if let Ok(read) = Manifest::decode(&bad) {
                    assert_eq!(read.encode(), bad, "byte {at}");
                }
            }
            assert!(Manifest::decode(&bytes[..at]).is_err());
        }
        let start = MAGIC.len();
        let mut many = bytes.clone();
        many[start + 8 + 4 + 16..][..4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(Manifest::decode(&many), Err(ManifestError::TooMany("more entries")));
        let mut packs = bytes.clone();
        packs[start + 8..start + 12].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(Manifest::decode(&packs), Err(ManifestError::Lengths));
        let mut behind = bytes.clone();
        *behind.last_mut().unwrap() = 1;
        assert_eq!(Manifest::decode(&behind), Err(ManifestError::Padding));
        behind.push(0);
        assert_eq!(Manifest::decode(&behind), Err(ManifestError::Padding));
    }

    #[test]
    fn few_lengths_are_shown_and_none_is_much_longer() {
        let mut shown = std::collections::BTreeSet::new();
        for len in (0..4_000_000u64).step_by(997) {
            let padded = padded(len);
            assert!(
                padded >= len && padded <= (len.max(65536) as f64 * 1.12) as u64,
                "{len} became {padded}"
            );
            shown.insert(padded);
        }
        assert!(shown.len() < 200, "{} lengths", shown.len());
    }
}
