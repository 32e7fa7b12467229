//! What a guest may change: the trees under `/out` and `/tmp`.
//!
//! Nodes live as long as they have a name or somebody has them open, as on any Unix. Numbers are never used twice
//! within a job, so a number identifies a node for as long as anybody can ask.

use super::pages::{self, FileData, Full, Pages};
use crate::worker_wire::{Content, MAX_OUTPUT_NODES, MAX_PATH, MAX_RUNS, OutputKind, OutputNode};
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap};

pub(crate) type NodeId = u64;

/// The two roots, which always exist.
pub(crate) const OUT: NodeId = 0;
pub(crate) const TMP: NodeId = 1;

#[derive(Debug)]
pub(crate) enum Body {
    Directory { entries: BTreeMap<String, NodeId>, parent: NodeId },
    File(FileData),
    Symlink(String),
}

#[derive(Debug)]
struct Node {
    body: Body,
    /// A directory has a name for it.
    named: bool,
    /// Descriptors and streams that have it open.
    open: u32,
}

/// Why a change is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    Full,
    Exists,
    NotDirectory,
    IsDirectory,
    NotEmpty,
    NoEntry,
    /// A directory would become part of itself, or a root would move.
    Invalid,
    NameTooLong,
}

impl From<Full> for Refused {
    fn from(_: Full) -> Self {
        Refused::Full
    }
}

/// Longest name of one entry, as `adit_unixfs` and every file system has it.
const LONGEST_NAME: usize = 255;

pub(crate) struct Tree {
    nodes: HashMap<NodeId, Node>,
    next: NodeId,
    pub(crate) pages: Pages,
}

impl Tree {
    pub(crate) fn new(pages: Pages) -> Self {
        let mut tree = Tree { nodes: HashMap::new(), next: 0, pages };
        tree.reset(0);
        tree
    }

    /// Empties the trees for a new job.
    pub(crate) fn reset(&mut self, quota: u32) {
        self.pages.reset(quota);
        self.nodes.clear();
        for root in [OUT, TMP] {
            let body = Body::Directory { entries: BTreeMap::new(), parent: root };
            self.nodes.insert(root, Node { body, named: true, open: 0 });
        }
        self.next = TMP + 1;
    }

    /// What a node is. Callers have it from this tree, and it is open or named.
    pub(crate) fn body(&self, node: NodeId) -> Option<&Body> {
        self.nodes.get(&node).map(|node| &node.body)
    }

    pub(crate) fn is_directory(&self, node: NodeId) -> bool {
        matches!(self.body(node), Some(Body::Directory { .. }))
    }

    pub(crate) fn lookup(&self, directory: NodeId, name: &str) -> Option<NodeId> {
        match self.body(directory)? {
            Body::Directory { entries, .. } => entries.get(name).copied(),
            _ => None,
        }
    }

    /// The file's bytes and the pages that they lie in.
    pub(crate) fn file(&mut self, node: NodeId) -> Result<(&mut FileData, &mut Pages), Refused> {
        match self.nodes.get_mut(&node).map(|node| &mut node.body) {
            Some(Body::File(data)) => Ok((data, &mut self.pages)),
            Some(Body::Directory { .. }) => Err(Refused::IsDirectory),
            _ => Err(Refused::Invalid),
        }
    }

    pub(crate) fn create(&mut self, directory: NodeId, name: &str, body: NewBody) -> Result<NodeId, Refused> {
        if name.len() > LONGEST_NAME {
            return Err(Refused::NameTooLong);
        }
        if self.nodes.len() >= MAX_OUTPUT_NODES {
            return Err(Refused::Full);
        }
        let id = self.next;
        match self.entries(directory)?.entry(name.to_owned()) {
            std::collections::btree_map::Entry::Occupied(_) => return Err(Refused::Exists),
            std::collections::btree_map::Entry::Vacant(entry) => entry.insert(id),
        };
        let body = match body {
            NewBody::Directory => Body::Directory { entries: BTreeMap::new(), parent: directory },
            NewBody::File => Body::File(FileData::default()),
            NewBody::Symlink(target) => Body::Symlink(target),
        };
        self.next += 1;
        self.nodes.insert(id, Node { body, named: true, open: 0 });
        Ok(id)
    }

    pub(crate) fn unlink(&mut self, directory: NodeId, name: &str) -> Result<(), Refused> {
        let node = self.lookup(directory, name).ok_or(Refused::NoEntry)?;
        if self.is_directory(node) {
            return Err(Refused::IsDirectory);
        }
        self.entries(directory)?.remove(name);
        self.unname(node);
        Ok(())
    }

    pub(crate) fn remove_directory(&mut self, directory: NodeId, name: &str) -> Result<(), Refused> {
        let node = self.lookup(directory, name).ok_or(Refused::NoEntry)?;
        match self.body(node) {
            Some(Body::Directory { entries, .. }) if entries.is_empty() => {}
            Some(Body::Directory { .. }) => return Err(Refused::NotEmpty),
            _ => return Err(Refused::NotDirectory),
        }
        self.entries(directory)?.remove(name);
        self.unname(node);
        Ok(())
    }

    /// Gives a node another name, in place of what has that name.
    pub(crate) fn rename(&mut self, from: (NodeId, &str), to: (NodeId, &str)) -> Result<(), Refused> {
        if to.1.len() > LONGEST_NAME {
            return Err(Refused::NameTooLong);
        }
        let node = self.lookup(from.0, from.1).ok_or(Refused::NoEntry)?;
        if !self.is_directory(to.0) {
            return Err(Refused::NotDirectory);
        }
        let moves_directory = self.is_directory(node);
        if moves_directory && self.is_within(to.0, node) {
            return Err(Refused::Invalid);
        }
        if let Some(old) = self.lookup(to.0, to.1) {
            if old == node {
                return Ok(());
            }
            match (moves_directory, self.body(old)) {
                (true, Some(Body::Directory { entries, .. })) if !entries.is_empty() => {
                    return Err(Refused::NotEmpty);
                }
                (true, Some(Body::Directory { .. })) => {}
                (true, _) => return Err(Refused::NotDirectory),
                (false, Some(Body::Directory { .. })) => return Err(Refused::IsDirectory),
                (false, _) => {}
            }
            self.entries(to.0)?.remove(to.1);
            self.unname(old);
        }
        self.entries(from.0)?.remove(from.1);
        self.entries(to.0)?.insert(to.1.to_owned(), node);
        if let Some(Node { body: Body::Directory { parent, .. }, .. }) = self.nodes.get_mut(&node) {
            *parent = to.0;
        }
        Ok(())
    }

    pub(crate) fn acquire(&mut self, node: NodeId) {
        if let Some(node) = self.nodes.get_mut(&node) {
            node.open += 1;
        }
    }

    pub(crate) fn release(&mut self, id: NodeId) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.open -= 1;
            self.forget_unless_needed(id);
        }
    }

    fn unname(&mut self, id: NodeId) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.named = false;
            self.forget_unless_needed(id);
        }
    }

    fn forget_unless_needed(&mut self, id: NodeId) {
        if self.nodes.get(&id).is_some_and(|node| !node.named && node.open == 0)
            && let Some(Node { body: Body::File(mut data), .. }) = self.nodes.remove(&id)
        {
            data.clear(&mut self.pages);
        }
    }

    fn is_within(&self, mut directory: NodeId, ancestor: NodeId) -> bool {
        loop {
            if directory == ancestor {
                return true;
            }
            match self.body(directory) {
                Some(Body::Directory { parent, .. }) if *parent != directory => directory = *parent,
                _ => return false,
            }
        }
    }

    fn entries(&mut self, directory: NodeId) -> Result<&mut BTreeMap<String, NodeId>, Refused> {
        match self.nodes.get_mut(&directory) {
            // Nothing is created in a directory that was removed while it was open.
            Some(Node { named: false, .. }) | None => Err(Refused::NoEntry),
            Some(Node { body: Body::Directory { entries, .. }, .. }) => Ok(entries),
            Some(_) => Err(Refused::NotDirectory),
        }
    }

    /// Everything under `/out` in order: a directory before what is in it, siblings sorted by their bytes.
    /// `logs` are stdout and stderr, which lie in the same pages. With `inline`, contents are copied out.
    pub(crate) fn describe(
        &mut self,
        logs: &mut [&mut FileData],
        inline: bool,
    ) -> Result<(Vec<OutputNode>, Vec<Content>), Refused> {
        let mut order = Vec::new();
        let mut pending = vec![(OUT, String::new())];
        while let Some((id, path)) = pending.pop() {
            if let Some(Body::Directory { entries, .. }) = self.body(id) {
                // The last one pushed is taken first.
                for (name, child) in entries.iter().rev() {
                    let path = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
                    if path.len() > MAX_PATH {
                        return Err(Refused::NameTooLong);
                    }
                    pending.push((*child, path));
                }
            }
            if id != OUT {
                order.push((id, path));
            }
        }
        self.gather(&order, logs);
        let content = |pages: &Pages, data: &FileData| match inline {
            true => Content::Inline(Bytes::from(data.read(pages, 0, data.length()))),
            false => Content::Pages { length: data.length(), runs: data.runs() },
        };
        let contents = logs.iter().map(|log| content(&self.pages, log)).collect();
        let nodes = order.into_iter().filter_map(|(id, path)| {
            let kind = match self.body(id)? {
                Body::Directory { .. } => OutputKind::Directory,
                Body::File(data) => OutputKind::File(content(&self.pages, data)),
                Body::Symlink(target) => OutputKind::Symlink(target.clone()),
            };
            Some(OutputNode { path, kind })
        });
        Ok((nodes.collect(), contents))
    }

    /// Makes sure that every file can be described in few runs of pages.
    fn gather(&mut self, order: &[(NodeId, String)], logs: &mut [&mut FileData]) {
        let scattered = |data: &FileData| data.length() > MAX_RUNS as u64 && data.runs().len() > MAX_RUNS;
        let any = logs.iter().any(|log| scattered(log))
            || order
                .iter()
                .any(|(id, _)| matches!(self.body(*id), Some(Body::File(data)) if scattered(data)));
        if !any {
            return;
        }
        // What lies under /tmp is not wanted any more.
        let mut taken: Vec<(NodeId, FileData)> = Vec::new();
        for (id, _) in order {
            if let Some(Node { body: Body::File(data), .. }) = self.nodes.get_mut(id) {
                taken.push((*id, std::mem::take(data)));
            }
        }
        let mut files: Vec<&mut FileData> = logs.iter_mut().map(|log| &mut **log).collect();
        files.extend(taken.iter_mut().map(|(_, data)| data));
        pages::compact(&mut self.pages, &mut files);
        for (id, data) in taken {
            if let Some(Node { body: Body::File(place), .. }) = self.nodes.get_mut(&id) {
                *place = data;
            }
        }
    }

    /// Bytes of all files under `/out`, no more than `enough`.
    pub(crate) fn bytes(&self, enough: u64) -> u64 {
        let mut total: u64 = 0;
        let mut pending = vec![OUT];
        while let Some(id) = pending.pop() {
            match self.body(id) {
                Some(Body::Directory { entries, .. }) => pending.extend(entries.values()),
                Some(Body::File(data)) => total = total.saturating_add(data.length()),
                _ => {}
            }
            if total > enough {
                break;
            }
        }
        total.min(enough)
    }
}

pub(crate) enum NewBody {
    Directory,
    File,
    Symlink(String),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker_wire::PAGE;
    use std::os::fd::AsFd;

    fn tree(pages: u64) -> Tree {
        let file = adit_wire::memory::scratch(c"test", pages * PAGE).unwrap();
        let mut tree = Tree::new(Pages::new(file.as_fd(), pages * PAGE).unwrap());
        tree.reset(pages as u32);
        tree
    }

    fn paths(tree: &mut Tree) -> Vec<String> {
        tree.describe(&mut [], false).unwrap().0.into_iter().map(|node| node.path).collect()
    }

    #[test]
    fn names_come_and_go_as_on_any_unix() {
        let mut tree = tree(8);
        let dir = tree.create(OUT, "dir", NewBody::Directory).unwrap();
        let file = tree.create(dir, "file", NewBody::File).unwrap();
        tree.create(OUT, "dir.txt", NewBody::Symlink("dir/file".into())).unwrap();
        assert_eq!(paths(&mut tree), ["dir", "dir/file", "dir.txt"]);
        assert_eq!(tree.create(dir, "file", NewBody::File).unwrap_err(), Refused::Exists);
        assert_eq!(tree.create(file, "x", NewBody::File).unwrap_err(), Refused::NotDirectory);
        assert_eq!(tree.unlink(OUT, "dir").unwrap_err(), Refused::IsDirectory);
        assert_eq!(tree.remove_directory(OUT, "dir").unwrap_err(), Refused::NotEmpty);
        assert_eq!(tree.rename((OUT, "dir"), (dir, "self")).unwrap_err(), Refused::Invalid);
        tree.rename((dir, "file"), (OUT, "dir.txt")).unwrap();
        assert_eq!(paths(&mut tree), ["dir", "dir.txt"]);
        tree.remove_directory(OUT, "dir").unwrap();
        assert_eq!(tree.create(dir, "late", NewBody::File).unwrap_err(), Refused::NoEntry);
    }

    #[test]
    fn an_unlinked_file_lives_until_it_is_closed_and_then_its_pages_are_free() {
        let mut tree = tree(2);
        let file = tree.create(TMP, "f", NewBody::File).unwrap();
        tree.acquire(file);
        let (data, pages) = tree.file(file).unwrap();
        data.write(pages, 0, &[1; 5000]).unwrap();
        tree.unlink(TMP, "f").unwrap();
        assert_eq!(tree.pages.left(), 0);
        assert_eq!(tree.file(file).unwrap().0.length(), 5000);
        tree.release(file);
        assert_eq!(tree.pages.left(), 2);
        assert!(tree.body(file).is_none());
    }

    #[test]
    fn there_are_only_so_many_nodes_and_names_are_only_so_long() {
        let mut tree = tree(1);
        assert_eq!(tree.create(OUT, &"x".repeat(256), NewBody::File).unwrap_err(), Refused::NameTooLong);
        for number in 0..MAX_OUTPUT_NODES - 2 {
            tree.create(OUT, &number.to_string(), NewBody::File).unwrap();
        }
        assert_eq!(tree.create(OUT, "one more", NewBody::File).unwrap_err(), Refused::Full);
        tree.unlink(OUT, "0").unwrap();
        tree.create(OUT, "one more", NewBody::File).unwrap();
    }
}
