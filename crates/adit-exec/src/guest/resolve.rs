//! From paths to places, and never to any place outside.
//!
//! A guest has one preopened directory, `/`. Below it are virtual directories that lead to the inputs, and `/out`
//! and `/tmp`. `..` never leaves the directory that a path starts from. A symlink inside an input is data that
//! somebody else chose: it is followed within that input only.

use super::{
    Host,
    bindings::wasi::filesystem::types::ErrorCode,
    files::{FsError, FsResult},
    inputs::Kind,
    stop::Stop,
    tree::{Body, NodeId, OUT, TMP},
};
use adit_unixfs::block::RAW;
use cid::Cid;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

/// Longest path in one call, and most components with all symlinks expanded.
const LONGEST_PATH: usize = 4096;
const MAX_COMPONENTS: usize = 4096;

/// Most symlinks in one path, as on Linux.
const MAX_SYMLINKS: usize = 40;

/// What a path can lead to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// A virtual directory.
    Mount(usize),
    /// Something in an input.
    Input(Cid),
    /// Something under `/out` or `/tmp`.
    Written(NodeId),
}

/// The virtual directories; the first one is `/`.
pub(crate) struct Mounts(Vec<BTreeMap<String, Place>>);

impl Mounts {
    pub(crate) fn new(inputs: &[(String, Cid)]) -> Result<Self, Stop> {
        let mut mounts = Mounts(vec![BTreeMap::new(), BTreeMap::new()]);
        mounts.0[0].insert("in".into(), Place::Mount(1));
        mounts.0[0].insert("out".into(), Place::Written(OUT));
        mounts.0[0].insert("tmp".into(), Place::Written(TMP));
        for (path, root) in inputs {
            mounts.add(path, root).ok_or_else(|| {
                Stop::malformed(format!("an input cannot be at {path:?}: the path is taken or not absolute"))
            })?;
        }
        Ok(mounts)
    }

    fn add(&mut self, path: &str, root: &Cid) -> Option<()> {
        let names: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
        if names.iter().any(|name| matches!(*name, "" | "." | "..") || name.contains('\0')) {
            return None;
        }
        let (last, parents) = names.split_last()?;
        let mut here = 0;
        for name in parents {
            here = match self.0[here].get(*name) {
                Some(Place::Mount(below)) => *below,
                Some(_) => return None,
                None => {
                    self.0.push(BTreeMap::new());
                    let below = self.0.len() - 1;
                    self.0[here].insert((*name).to_owned(), Place::Mount(below));
                    below
                }
            };
        }
        match self.0[here].insert((*last).to_owned(), Place::Input(*root)) {
            None => Some(()),
            Some(_) => None,
        }
    }

    pub(crate) fn entries(&self, mount: usize) -> impl Iterator<Item = (&String, &Place)> {
        self.0[mount].iter()
    }
}

/// Where a path leads.
pub(crate) struct Target {
    /// What is there, if anything.
    pub(crate) place: Option<Place>,
    /// The directory that holds it under this name; `None` for the start itself and for paths like `a/..`.
    pub(crate) name: Option<(Place, String)>,
    /// The path ends with a slash, so only a directory will do.
    pub(crate) directory: bool,
}

impl Target {
    /// What is there, or that nothing is.
    pub(crate) fn existing(self) -> FsResult<Place> {
        self.place.ok_or_else(|| ErrorCode::NoEntry.into())
    }
}

/// A symlink or not.
pub(crate) enum Last {
    Follow,
    Keep,
}

impl Host {
    /// Follows a path from a directory.
    pub(crate) fn resolve(&mut self, start: &Place, path: &str, last: Last) -> FsResult<Target> {
        self.charge(path.len() as u64)?;
        if path.is_empty() {
            return Err(ErrorCode::NoEntry.into());
        }
        if path.len() > LONGEST_PATH {
            return Err(ErrorCode::NameTooLong.into());
        }
        if path.starts_with('/') {
            return Err(ErrorCode::NotPermitted.into());
        }
        if path.contains('\0') {
            return Err(ErrorCode::Invalid.into());
        }
        let directory = path.ends_with('/');
        let mut stack = vec![start.clone()];
        // Each component with how many places of the stack `..` must leave.
        let mut pending: VecDeque<(String, usize)> = components(path).map(|name| (name.into(), 1)).collect();
        let (mut steps, mut symlinks) = (0, 0);
        let mut name = None;
        while let Some((component, floor)) = pending.pop_front() {
            steps += 1;
            if steps > MAX_COMPONENTS {
                return Err(ErrorCode::NameTooLong.into());
            }
            let here = &stack[stack.len() - 1];
            if component == ".." {
                self.require_directory(&here.clone())?;
                if stack.len() <= floor {
                    return Err(ErrorCode::NotPermitted.into());
                }
                stack.pop();
                name = None;
                continue;
            }
            let here = here.clone();
            let Some(found) = self.child(&here, &component)? else {
                if pending.is_empty() {
                    return Ok(Target { place: None, name: Some((here, component)), directory });
                }
                return Err(ErrorCode::NoEntry.into());
            };
            let follow = !pending.is_empty() || directory || matches!(last, Last::Follow);
            match self.symlink(&found)? {
                Some(target) if follow => {
                    symlinks += 1;
                    if symlinks > MAX_SYMLINKS {
                        return Err(ErrorCode::Loop.into());
                    }
                    if target.starts_with('/') {
                        return Err(ErrorCode::NotPermitted.into());
                    }
                    if target.is_empty() || pending.len() + target.len() / 2 > MAX_COMPONENTS {
                        return Err(ErrorCode::NoEntry.into());
                    }
                    let floor = match found {
                        // Up to the root of the input that the link is in.
                        Place::Input(_) => {
                            stack.iter().take_while(|place| !matches!(place, Place::Input(_))).count() + 1
                        }
                        _ => 1,
                    };
                    for component in components(&target).rev() {
                        pending.push_front((component.into(), floor));
                    }
                    name = None;
                }
                _ => {
                    name = Some((here, component));
                    stack.push(found);
                }
            }
        }
        let place = stack.pop();
        if directory && let Some(place) = &place {
            self.require_directory(place)?;
        }
        Ok(Target { place, name, directory })
    }

    fn child(&mut self, directory: &Place, name: &str) -> FsResult<Option<Place>> {
        self.require_directory(directory)?;
        Ok(match directory {
            Place::Mount(mount) => self.mounts.0[*mount].get(name).cloned(),
            Place::Input(cid) => self.inputs.lookup(&mut self.blocks, cid, name)?.map(Place::Input),
            Place::Written(node) => self.tree.lookup(*node, name).map(Place::Written),
        })
    }

    pub(crate) fn require_directory(&mut self, place: &Place) -> FsResult<()> {
        let directory = match place {
            Place::Mount(_) => true,
            Place::Input(cid) => {
                cid.codec() != RAW
                    && self.inputs.describe(&mut self.blocks, cid, &[])?.kind == Kind::Directory
            }
            Place::Written(node) => self.tree.is_directory(*node),
        };
        if directory { Ok(()) } else { Err(ErrorCode::NotDirectory.into()) }
    }

    /// Where it points, if it is a symlink.
    pub(crate) fn symlink(&mut self, place: &Place) -> Result<Option<Arc<str>>, FsError> {
        Ok(match place {
            Place::Mount(_) => None,
            Place::Input(cid) if cid.codec() == RAW => None,
            Place::Input(cid) => match self.inputs.describe(&mut self.blocks, cid, &[])?.kind {
                Kind::Symlink { target } => Some(target),
                _ => None,
            },
            Place::Written(node) => match self.tree.body(*node) {
                Some(Body::Symlink(target)) => Some(target.as_str().into()),
                _ => None,
            },
        })
    }
}

fn components(path: &str) -> impl DoubleEndedIterator<Item = &str> {
    path.split('/').filter(|name| !matches!(*name, "" | "."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_can_be_anywhere_but_in_each_others_way() {
        let cid: Cid = "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy".parse().unwrap();
        let at = |paths: &[&str]| {
            Mounts::new(&paths.iter().map(|path| ((*path).to_owned(), cid)).collect::<Vec<_>>()).is_ok()
        };
        assert!(at(&[]));
        assert!(at(&["/in/data", "/in/a/b", "/in/a/c", "/usr/share/x"]));
        for bad in [
            &["/in/a", "/in/a"][..],
            &["/in/a", "/in/a/b"],
            &["/in/a/b", "/in/a"],
            &["/out"],
            &["/out/x"],
            &["/tmp/x"],
            &["/in"],
            &["/"],
            &[""],
            &["in/a"],
            &["/in//a"],
            &["/in/../a"],
            &["/in/a/"],
            &["/in/\0"],
        ] {
            assert!(!at(bad), "{bad:?}");
        }
    }
}
