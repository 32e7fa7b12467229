//! All rules together, and the questions that they answer.

use crate::{
    header::{self, HeaderError},
    rule::{self, BLAKE3, Item, Root, SHA2_256},
};
use cid::{Cid, multihash::Multihash};
use sha2::{Digest, Sha256};
use std::collections::{HashMap, HashSet};

/// Longest file, in bytes.
pub const MAX_FILE: usize = 1 << 30;
/// Longest line, in bytes, as the format says.
pub const MAX_LINE: usize = 2 << 20;
/// Most rules of all files together. Each takes about a hundred bytes of memory.
pub const MAX_RULES: usize = 8_000_000;
/// Problems told for one file; those beyond are counted.
const MAX_PROBLEMS: usize = 100;

/// Empty files, directories and nodes, in the codecs that have one: they are part of nearly everything, and lists of
/// strangers contain them by mistake.
const EMPTY: [&str; 7] = [
    "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn",
    "bafyaabakaieac",
    "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku",
    "bafkqaaa",
    "QmbFMke1KXqnYyBBWxB74N4c5SBnJMVAiMNRcGu6x1AwQH",
    "bafyreigbtj4x7ip5legnfznufuopl4sg4knzc2cof6duas4b3q2fy6swua",
    "baguqeeraiqjw7i2vwntyuekgvulpp2det2kpwt6cd7tx5ayqybqpmhfk76fa",
];

/// Why a file is not taken. None of its rules count then.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// It is longer than [`MAX_FILE`].
    #[error("it is longer than {MAX_FILE} bytes")]
    TooLong,
    /// It is not UTF-8.
    #[error("it is not text: {0}")]
    NotText(#[from] std::str::Utf8Error),
    /// Its header can't be used.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// Together with what was there it has more than [`MAX_RULES`].
    #[error("it has more rules than there is room for: {MAX_RULES} in all lists")]
    TooMany,
}

/// A line that is no rule. It is passed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Counted from 1, after the header.
    pub line: usize,
    /// What is wrong, in words.
    pub what: String,
}

/// What one rule says. Later rules win over earlier ones.
#[derive(Clone, Copy, Debug)]
struct Verdict {
    order: u32,
    allow: bool,
}

#[derive(Debug)]
struct PathRule {
    path: Box<str>,
    prefix: bool,
    verdict: Verdict,
}

impl PathRule {
    fn fits(&self, path: &str) -> bool {
        if self.prefix { path.starts_with(&*self.path) } else { path == &*self.path }
    }
}

/// The rules of all lists.
#[derive(Debug, Default)]
pub struct Denylist {
    rules: usize,
    paths: HashMap<Root, Vec<PathRule>>,
    doubled: HashMap<Box<[u8]>, Verdict>,
    legacy: HashMap<[u8; 32], Verdict>,
    /// Functions that requests must be hashed with.
    functions: HashSet<u64>,
    exempt: HashSet<Box<[u8]>>,
}

impl Denylist {
    /// Without rules: nothing is denied.
    pub fn new() -> Self {
        let hash = |cid: &str| cid.parse::<Cid>().ok().map(|cid| cid.hash().to_bytes().into());
        Denylist { exempt: EMPTY.iter().filter_map(|cid| hash(cid)).collect(), ..Self::default() }
    }

    /// How many rules there are.
    pub fn len(&self) -> usize {
        self.rules
    }

    /// Whether there is no rule at all.
    pub fn is_empty(&self) -> bool {
        self.rules == 0
    }

    /// Adds the rules of a file after those that are there. Lines that are no rules are passed over and told, up to a
    /// hundred of them.
    pub fn add(&mut self, file: &[u8]) -> Result<Vec<Problem>, ListError> {
        if file.len() > MAX_FILE {
            return Err(ListError::TooLong);
        }
        let rules = header::skip(std::str::from_utf8(file)?)?;
        let mut problems = Vec::new();
        let mut more = 0;
        let mut found = Vec::new();
        for (number, line) in rules.split('\n').enumerate() {
            let what = match line.len() {
                ..=MAX_LINE => match rule::read(line) {
                    Ok(None) => continue,
                    Ok(Some(_)) if self.rules + found.len() >= MAX_RULES => return Err(ListError::TooMany),
                    Ok(Some(rule)) => {
                        found.push(rule);
                        continue;
                    }
                    Err(error) => error.to_string(),
                },
                length => format!("a line of {length} bytes is too long"),
            };
            if problems.len() < MAX_PROBLEMS {
                problems.push(Problem { line: number + 1, what });
            } else {
                more += 1;
            }
        }
        if more > 0 {
            problems.push(Problem { line: 0, what: format!("and {more} more lines are no rules") });
        }
        for rule in found {
            let verdict = Verdict { order: self.rules as u32, allow: rule.allow };
            self.rules += 1;
            rule.items.into_iter().for_each(|item| self.insert(item, verdict));
        }
        Ok(problems)
    }

    fn insert(&mut self, item: Item, verdict: Verdict) {
        match item {
            Item::Path { root, path, prefix } => {
                self.paths.entry(root).or_default().push(PathRule { path, prefix, verdict });
            }
            Item::Doubled(hash) => {
                if let Ok(parsed) = Multihash::<64>::from_bytes(&hash) {
                    self.functions.insert(parsed.code());
                }
                self.doubled.insert(hash, verdict);
            }
            Item::Legacy(digest) => drop(self.legacy.insert(digest, verdict)),
        }
    }

    /// Whether this block is not to be fetched, served or used, whatever path leads to it.
    pub fn denies_block(&self, cid: &Cid) -> bool {
        self.denies_content(cid, "")
    }

    /// Whether this path below `/ipfs/CID` is not to be followed. The path is decoded, with or without slashes at its
    /// ends; blocks on the way are asked about on their own.
    pub fn denies_content(&self, root: &Cid, path: &str) -> bool {
        if self.is_empty() {
            return false;
        }
        let path = path.trim_matches('/');
        if self.exempt.contains(&*root.hash().to_bytes()) {
            return false;
        }
        let mut last = self.by_path(&Root::content(root), path);
        last.take(self.by_double_hash(|| joined(&base58(root), path)));
        last.take(self.by_legacy_hash(|| format!("{}/{path}", base32(root))));
        last.denies()
    }

    /// Whether this path below `/ipns/NAME` is not to be resolved. The name is a key in any of its forms, or a domain.
    pub fn denies_name(&self, name: &str, path: &str) -> bool {
        if self.is_empty() {
            return false;
        }
        let path = path.trim_matches('/');
        let mut last = Last::default();
        if let Some(root) = Root::named(name) {
            last = self.by_path(&root, path);
        }
        let (modern, legacy) = match rule::key_of(name) {
            Some(key) => (base58(&key), base32(&key)),
            None => {
                let domain = rule::domain_of(name).unwrap_or_else(|| name.to_owned());
                (format!("/ipns/{domain}"), domain)
            }
        };
        last.take(self.by_double_hash(|| joined(&modern, path)));
        last.take(self.by_legacy_hash(|| format!("{legacy}/{path}")));
        last.denies()
    }

    fn by_path(&self, root: &Root, path: &str) -> Last {
        let mut last = Last::default();
        for rule in self.paths.get(root).into_iter().flatten().filter(|rule| rule.fits(path)) {
            last.take(Some(rule.verdict));
        }
        last
    }

    fn by_double_hash(&self, text: impl Fn() -> String) -> Option<Verdict> {
        if self.functions.is_empty() {
            return None;
        }
        let text = text();
        let mut last = Last::default();
        for function in &self.functions {
            let digest: [u8; 32] = match *function {
                SHA2_256 => Sha256::digest(text.as_bytes()).into(),
                BLAKE3 => blake3::hash(text.as_bytes()).into(),
                _ => continue,
            };
            let hash = Multihash::<64>::wrap(*function, &digest).map(|hash| hash.to_bytes());
            last.take(hash.ok().and_then(|hash| self.doubled.get(&*hash).copied()));
        }
        last.0
    }

    fn by_legacy_hash(&self, text: impl Fn() -> String) -> Option<Verdict> {
        if self.legacy.is_empty() {
            return None;
        }
        let digest: [u8; 32] = Sha256::digest(text().as_bytes()).into();
        self.legacy.get(&digest).copied()
    }
}

/// The last rule that matches, so far.
#[derive(Default)]
struct Last(Option<Verdict>);

impl Last {
    fn take(&mut self, verdict: Option<Verdict>) {
        if let Some(verdict) = verdict
            && self.0.is_none_or(|known| known.order <= verdict.order)
        {
            self.0 = Some(verdict);
        }
    }

    fn denies(&self) -> bool {
        self.0.is_some_and(|verdict| !verdict.allow)
    }
}

fn joined(root: &str, path: &str) -> String {
    if path.is_empty() { root.to_owned() } else { format!("{root}/{path}") }
}

fn base58(cid: &Cid) -> String {
    bs58::encode(cid.hash().to_bytes()).into_string()
}

/// As a version 1 in base32, whatever it is.
fn base32(cid: &Cid) -> String {
    Cid::new_v1(cid.codec(), *cid.hash()).to_string()
}
