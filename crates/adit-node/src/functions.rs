//! What this node serves by HTTP: which program under which path, and what that has cost.
//!
//! ```toml
//! [[function]]
//! path = "/hello"
//! code = "bafy…"
//! hosts = ["api.example.org"]
//! published = 1790000000
//! ```
//!
//! The file `functions.toml` is replaced whole and synced before anything is acknowledged. Figures are since the start.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cid::Cid;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// Most functions of one node.
pub const MOST: usize = 1024;
/// Longest path of one.
const LONGEST_PATH: usize = 256;
/// Most hosts that one function may send requests to, and the longest name of one.
const MOST_HOSTS: usize = 64;
const LONGEST_HOST: usize = 256;
/// Longest file that is read.
const LONGEST_FILE: u64 = 64 << 20;

const FILE: &str = "functions.toml";

/// What was published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Publication {
    /// Begins with a slash, ends with none.
    pub path: String,
    /// The program.
    #[serde(with = "text")]
    pub code: Cid,
    /// Hosts that it may send requests to, if the operator lists them too.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// Unix seconds.
    pub published: u64,
}

mod text {
    use cid::Cid;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(cid: &Cid, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(cid)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Cid, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

#[derive(Default, Serialize, Deserialize)]
struct Contents {
    #[serde(default)]
    function: Vec<Publication>,
}

/// A published function and what it has cost since the node started.
#[derive(Debug)]
pub struct Function {
    /// What it is.
    pub publication: Publication,
    /// What it did.
    pub counts: Counts,
}

/// What requests have cost.
#[derive(Debug, Default)]
pub struct Counts {
    /// Requests that reached it.
    pub requests: AtomicU64,
    /// Those that ended in 502 or 504, or broke off.
    pub failed: AtomicU64,
    /// WebAssembly operators and host work.
    pub fuel: AtomicU64,
    /// Time in a worker, in microseconds.
    pub micros: AtomicU64,
    /// Bytes of bodies that came.
    pub bytes_in: AtomicU64,
    /// Bytes of bodies that went.
    pub bytes_out: AtomicU64,
    /// Requests to other hosts that were sent, and those that were refused.
    pub sent: AtomicU64,
    /// Requests to other hosts that were not allowed.
    pub denied: AtomicU64,
    /// Most bytes of memory that one request took.
    pub memory: AtomicU64,
}

impl Counts {
    /// Counts more of something.
    pub fn add(what: &AtomicU64, more: u64) {
        what.fetch_add(more, Ordering::Relaxed);
    }
}

/// Why something was not published.
#[derive(Debug, thiserror::Error)]
pub enum FunctionError {
    /// Not a path that requests can have.
    #[error(
        "`{0}` cannot be served: a path begins with `/`, has parts of letters, digits and -._~, none of them `.` or `..`, and is not under /fn"
    )]
    Path(String),
    /// Not a host.
    #[error("`{0}` is no host: HOST, *.HOST or HOST:PORT")]
    Host(String),
    /// Too many.
    #[error("at most {MOST} functions are served, and each may list {MOST_HOSTS} hosts")]
    TooMany,
    /// Nothing listens.
    #[error("this node serves no functions: the setting http.listen is empty")]
    Off,
    /// Nothing of that path.
    #[error("nothing is published under {0}")]
    Missing(String),
    /// The program cannot be had, or is none that answers requests.
    #[error("{0}")]
    Code(String),
    /// The file could not be written.
    #[error("functions.toml could not be written")]
    Disk(#[source] io::Error),
}

/// The functions of a node.
#[derive(Debug)]
pub struct Functions {
    dir: PathBuf,
    entries: Mutex<Arc<BTreeMap<String, Arc<Function>>>>,
    /// Requests for functions that others published.
    pub foreign: Counts,
}

impl Functions {
    /// Reads what was published. A file that cannot be understood is an error: the next publication would replace it.
    pub fn open(dir: &Path) -> io::Result<Self> {
        let mut text = String::new();
        match File::open(dir.join(FILE)) {
            Ok(file) => drop(file.take(LONGEST_FILE).read_to_string(&mut text)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let wrong = |error: String| io::Error::new(io::ErrorKind::InvalidData, error);
        let contents: Contents = toml::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        let mut entries = BTreeMap::new();
        for publication in contents.function {
            check(&publication).map_err(|error| wrong(error.to_string()))?;
            entries.insert(publication.path.clone(), new(publication));
        }
        Ok(Functions {
            dir: dir.to_owned(),
            entries: Mutex::new(Arc::new(entries)),
            foreign: Counts::default(),
        })
    }

    /// All, by path.
    pub fn all(&self) -> Arc<BTreeMap<String, Arc<Function>>> {
        Arc::clone(&self.entries.lock())
    }

    /// The function that a request's path belongs to, and the rest of the path, which begins with a slash.
    pub fn find<'a>(&self, path: &'a str) -> Option<(Arc<Function>, &'a str)> {
        let entries = self.all();
        let mut end = path.len();
        loop {
            let (head, rest) = path.split_at(end);
            if let Some(found) = entries.get(if head.is_empty() { "/" } else { head }) {
                return Some((Arc::clone(found), if rest.is_empty() { "/" } else { rest }));
            }
            end = head.rfind('/')?;
        }
    }

    /// Some publication of this program.
    pub fn of_code(&self, code: &Cid) -> Option<Arc<Function>> {
        self.all().values().find(|function| function.publication.code == *code).cloned()
    }

    /// Durable when it returns. Gives what was there before.
    pub(crate) fn keep(&self, publication: Publication) -> Result<Option<Arc<Function>>, FunctionError> {
        let mut now = self.entries.lock();
        let mut entries = BTreeMap::clone(&now);
        let before = entries.insert(publication.path.clone(), new(publication));
        if entries.len() > MOST {
            return Err(FunctionError::TooMany);
        }
        write(&self.dir, &entries).map_err(FunctionError::Disk)?;
        *now = Arc::new(entries);
        Ok(before)
    }

    /// Durable when it returns.
    pub(crate) fn remove(&self, path: &str) -> Result<Arc<Function>, FunctionError> {
        let mut now = self.entries.lock();
        let mut entries = BTreeMap::clone(&now);
        let removed = entries.remove(path).ok_or_else(|| FunctionError::Missing(path.to_owned()))?;
        write(&self.dir, &entries).map_err(FunctionError::Disk)?;
        *now = Arc::new(entries);
        Ok(removed)
    }
}

fn new(publication: Publication) -> Arc<Function> {
    Arc::new(Function { publication, counts: Counts::default() })
}

/// Whether it can be served.
pub(crate) fn check(publication: &Publication) -> Result<(), FunctionError> {
    let Publication { path, hosts, .. } = publication;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let part = |part: &str| !matches!(part, "" | "." | "..") && part.bytes().all(plain);
    let fits = path.strip_prefix('/').is_some_and(|rest| rest.is_empty() || rest.split('/').all(part));
    if !fits || path.len() > LONGEST_PATH || path == "/fn" || path.starts_with("/fn/") {
        return Err(FunctionError::Path(path.clone()));
    }
    if hosts.len() > MOST_HOSTS {
        return Err(FunctionError::TooMany);
    }
    match hosts.iter().find(|host| host.len() > LONGEST_HOST || HostRule::parse(host).is_none()) {
        Some(host) => Err(FunctionError::Host(host.clone())),
        None => Ok(()),
    }
}

fn write(dir: &Path, entries: &BTreeMap<String, Arc<Function>>) -> io::Result<()> {
    let function = entries.values().map(|function| function.publication.clone()).collect();
    let text = toml::to_string(&Contents { function }).map_err(io::Error::other)?;
    let (path, new) = (dir.join(FILE), dir.join(format!("{FILE}.new")));
    let mut file = File::create(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, &path)?;
    File::open(dir)?.sync_all()
}

/// One line of a list of hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostRule {
    /// In lower case, without a dot at its end.
    name: String,
    /// Whether it stands for names below it.
    below: bool,
    port: Option<u16>,
}

impl HostRule {
    /// `HOST`, `*.HOST`, either with `:PORT`; an IPv6 address in brackets. Without a port it stands for 80 and 443.
    pub fn parse(text: &str) -> Option<Self> {
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port.parse().ok()?)),
            _ => (text, None),
        };
        let (below, name) = match host.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, host),
        };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        let fits = !name.is_empty() && !name.starts_with('.') && name.bytes().all(plain);
        fits.then_some(HostRule { name, below, port })
    }

    /// Whether this host, in lower case and without a dot at its end, is meant.
    pub fn allows(&self, host: &str, port: u16) -> bool {
        let named = match self.below {
            false => host == self.name,
            true => host.strip_suffix(&self.name).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')),
        };
        named && self.port.map_or(matches!(port, 80 | 443), |own| own == port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publication(path: &str) -> Publication {
        let code = "bafkreifjjcie6lypi6ny7amxnfftagclbuxndqonfipmb64f2km2devei4".parse().unwrap();
        Publication { path: path.into(), code, hosts: vec!["a.example".into()], published: 7 }
    }

    #[test]
    fn what_is_published_is_there_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let functions = Functions::open(dir.path()).unwrap();
        functions.keep(publication("/a")).unwrap();
        functions.keep(publication("/a/b")).unwrap();
        functions.keep(publication("/gone")).unwrap();
        functions.remove("/gone").unwrap();
        assert!(matches!(functions.remove("/gone"), Err(FunctionError::Missing(_))));
        let again = Functions::open(dir.path()).unwrap();
        let all: Vec<_> = again.all().values().map(|f| f.publication.clone()).collect();
        assert_eq!(all, [publication("/a"), publication("/a/b")]);
        fs::write(dir.path().join(FILE), "[[function]]\npath = \"/../x\"\n").unwrap();
        assert!(Functions::open(dir.path()).is_err(), "a damaged file is not replaced by an empty one");
    }

    #[test]
    fn the_longest_path_wins_and_only_whole_parts_count() {
        let dir = tempfile::tempdir().unwrap();
        let functions = Functions::open(dir.path()).unwrap();
        functions.keep(publication("/a")).unwrap();
        functions.keep(publication("/a/b")).unwrap();
        let found = |path: &str| {
            functions.find(path).map(|(function, rest)| (function.publication.path.clone(), rest.to_owned()))
        };
        let expect = |path: &str, rest: &str| Some((path.to_owned(), rest.to_owned()));
        assert_eq!(found("/a"), expect("/a", "/"));
        assert_eq!(found("/a/"), expect("/a", "/"));
        assert_eq!(found("/a/c/d"), expect("/a", "/c/d"));
        assert_eq!(found("/a/b/c"), expect("/a/b", "/c"));
        assert_eq!(found("/ab"), None);
        assert_eq!(found("/"), None);
        functions.keep(publication("/")).unwrap();
        assert_eq!(found("/ab"), expect("/", "/ab"));
    }

    #[test]
    fn paths_that_lead_elsewhere_are_refused() {
        for path in ["/a", "/a-b/c.d", "/"] {
            assert!(check(&publication(path)).is_ok(), "{path}");
        }
        for path in ["", "a", "/a/", "//", "/..", "/a/../b", "/./a", "/a b", "/%2e%2e", "/fn", "/fn/x", "/ä"]
        {
            assert!(check(&publication(path)).is_err(), "{path}");
        }
        for host in ["", "*.", "a b", "a/b", "user@a", "a:99999"] {
            let publication = Publication { hosts: vec![host.into()], ..publication("/a") };
            assert!(check(&publication).is_err(), "{host}");
        }
    }

    #[test]
    fn a_rule_means_what_it_says() {
        let allows = |rule: &str, host, port| HostRule::parse(rule).unwrap().allows(host, port);
        assert!(allows("Example.org", "example.org", 443) && allows("example.org.", "example.org", 80));
        assert!(
            !allows("example.org", "example.org", 8080) && allows("example.org:8080", "example.org", 8080)
        );
        assert!(!allows("example.org:8080", "example.org", 80));
        assert!(!allows("example.org", "a.example.org", 80) && !allows("example.org", "badexample.org", 80));
        assert!(allows("*.example.org", "a.example.org", 80) && !allows("*.example.org", "example.org", 80));
        assert!(
            !allows("*.example.org", "badexample.org", 80) && !allows("*.example.org", ".example.org", 80)
        );
        assert!(allows("[::1]:80", "[::1]", 80) && allows("127.0.0.1:9", "127.0.0.1", 9));
    }
}
