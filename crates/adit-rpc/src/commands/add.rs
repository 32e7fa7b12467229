//! `add`: files and directories from a multipart body, with Kubo's choices and so with Kubo's CIDs.

use super::{Node, pin};
use crate::args::Args;
use crate::error::{RpcError, api};
use crate::multipart::{File, Files, Kind};
use crate::reply;
use crate::throwaway::Throwaway;
use adit_store::import::{self, ImportError, ImportOptions};
use adit_store::{BlockStore, Lease, PinOptions};
use adit_unixfs::build::{Built, DirectoryBuilder, symlink};
use adit_unixfs::data::{Metadata, Mtime};
use adit_unixfs::profile::MAX_CHUNK;
use adit_unixfs::{Layout, Profile, limits};
use axum::extract::Request;
use axum::response::Response;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Files and directories of one request, at most: their names and CIDs are in memory until the end.
const MAX_ENTRIES: usize = 1 << 20;
/// Directories within directories.
const MAX_DEPTH: usize = 256;
/// How often a client that wants progress hears of it.
const PROGRESS: Duration = Duration::from_millis(250);
/// Files are told of when they are durable: so many, or after so long, share one sync.
const TOLD_TOGETHER: usize = 512;
const TOLD_AFTER: Duration = Duration::from_millis(300);

struct Choices {
    layout: Layout,
    pin: Option<String>,
    wrap: bool,
    only_hash: bool,
    progress: bool,
    quieter: bool,
    keep_mode: bool,
    keep_mtime: bool,
    mode: Option<u32>,
    mtime: Option<Mtime>,
}

impl Choices {
    fn from(args: &mut Args) -> Result<Self, RpcError> {
        let short = |args: &mut Args, long: &str, short: &str| -> Result<bool, RpcError> {
            Ok(args.flag(long, false)? | args.flag(short, false)?)
        };
        args.only("hash", &["", "sha2-256"])?;
        let cid_v0 = match args.text("cid-version")?.as_deref() {
            None | Some("0") => true,
            Some("1") => false,
            Some(other) => return Err(RpcError::client(format!("there is no CID version {other:.20?}"))),
        };
        let keep_mode = args.flag("preserve-mode", false)?;
        let keep_mtime = args.flag("preserve-mtime", false)?;
        let mode = args.text("mode")?.map(|text| octal(&text)).transpose()?;
        let nanos = args.number::<u32>("mtime-nsecs")?.unwrap_or(0);
        if nanos > 999_999_999 {
            return Err(RpcError::client("mtime-nsecs is below 1000000000"));
        }
        let mtime = args.number::<i64>("mtime")?.map(|seconds| Mtime { seconds, nanos });
        // Raw blocks have no place for metadata.
        let with_metadata = keep_mode || keep_mtime || mode.is_some() || mtime.is_some();
        let raw_leaves = args.flag("raw-leaves", !cid_v0)? && !with_metadata;
        let chunker = args.text("chunker")?.or(args.text("s")?).unwrap_or_default();
        let layout =
            Layout { cid_v0, raw_leaves, chunk_size: chunk_size(&chunker)?, ..Layout::from(Profile::Legacy) };
        let name = args.text("pin-name")?.unwrap_or_default();
        pin::check_name(&name)?;
        let choices = Self {
            layout,
            pin: args.flag("pin", true)?.then_some(name),
            wrap: short(args, "wrap-with-directory", "w")?,
            only_hash: short(args, "only-hash", "n")?,
            progress: short(args, "progress", "p")?,
            quieter: short(args, "quieter", "Q")?,
            keep_mode,
            keep_mtime,
            mode,
            mtime,
        };
        for unsupported in ["trickle", "t", "inline", "nocopy"] {
            args.only(unsupported, &["false"])?;
        }
        args.only("to-files", &[""])?;
        args.only("max-file-links", &["174"])?;
        args.only("max-directory-links", &["0"])?;
        args.only("max-hamt-fanout", &["256"])?;
        args.only("empty-dirs", &["true"])?;
        // What the client did with local files before it sent them, and how it shows the answer.
        args.ignore(&[
            "inline-limit",
            "fscache",
            "quiet",
            "q",
            "silent",
            "recursive",
            "r",
            "hidden",
            "H",
            "ignore",
            "ignore-rules-path",
            "stdin-name",
            "dereference-args",
            "dereference-symlinks",
            "file-import-concurrency",
            "fast-provide-root",
            "fast-provide-dag",
            "fast-provide-wait",
            "E",
        ]);
        Ok(choices)
    }

    fn metadata(&self, given: Metadata) -> Metadata {
        Metadata {
            mode: self.mode.or(given.mode.filter(|_| self.keep_mode)),
            mtime: self.mtime.or(given.mtime.filter(|_| self.keep_mtime)),
        }
    }
}

/// A mode as clients send it: octal with a leading zero from JavaScript, decimal from Go.
fn octal(text: &str) -> Result<u32, RpcError> {
    let mode = match text.strip_prefix('0') {
        Some(octal) => u32::from_str_radix(octal.trim_start_matches('o'), 8).ok(),
        None => text.parse().ok(),
    };
    mode.filter(|mode| *mode <= 0o7777)
        .ok_or_else(|| RpcError::client(format!("{text:.20?} is not a file mode")))
}

fn chunk_size(chunker: &str) -> Result<usize, RpcError> {
    let size = match chunker {
        "" | "default" => Some(Profile::Legacy.chunk_size()),
        other => other.strip_prefix("size-").and_then(|size| size.parse().ok()),
    };
    size.filter(|size| (1..=MAX_CHUNK).contains(size)).ok_or_else(|| {
        RpcError::client(format!("chunker {chunker:.40?} is not supported here: size-1 to size-{MAX_CHUNK}"))
    })
}

/// A directory that is not finished: names lead to what is done, or to more of these.
#[derive(Default)]
struct Tree {
    entries: BTreeMap<String, Entry>,
    metadata: Option<Metadata>,
}

enum Entry {
    Done(Built),
    Tree(Tree),
}

impl Tree {
    /// Puts something at a path; the directories on the way need not have been named before.
    fn put(&mut self, path: &[String], entry: Entry) -> Result<(), RpcError> {
        let (name, parents) = path.split_last().expect("a path has a name");
        let twice = || RpcError::client(format!("{:?} is there twice", path.join("/")));
        let mut at = self;
        for parent in parents {
            let below = at.entries.entry(parent.clone()).or_insert_with(|| Entry::Tree(Tree::default()));
            let Entry::Tree(tree) = below else { return Err(twice()) };
            at = tree;
        }
        match (at.entries.get_mut(name), entry) {
            (None, entry) => drop(at.entries.insert(name.clone(), entry)),
            // A directory is named after something in it.
            (Some(Entry::Tree(known)), Entry::Tree(named)) => {
                known.metadata = named.metadata.or(known.metadata)
            }
            _ => return Err(twice()),
        }
        Ok(())
    }
}

struct Adder {
    choices: Choices,
    store: Arc<dyn BlockStore>,
    top: Tree,
    entries: usize,
    /// What was added and is not told of yet, because it may not be durable.
    told: Vec<Value>,
    told_last: Instant,
}

pub(super) async fn add(node: Node, mut args: Args, request: Request) -> Result<Response, RpcError> {
    let choices = Choices::from(&mut args)?;
    args.done()?;
    let mut files = Files::of(request)?;
    let lease = node.repo().lease("add");
    let store: Arc<dyn BlockStore> = match choices.only_hash {
        true => Arc::new(Throwaway),
        false => lease.store(),
    };
    let mut adder = Adder {
        choices,
        store,
        top: Tree::default(),
        entries: 0,
        told: Vec::new(),
        told_last: Instant::now(),
    };
    // What is wrong with the first file is an error of the request, not of a stream.
    let mut next = files.next().await?;
    if next.is_none() {
        return Err(RpcError::client("file argument \"path\" is required"));
    }
    Ok(reply::values(async_stream::try_stream! {
        while let Some(file) = next.take() {
            let counter = Arc::new(AtomicU64::new(0));
            let name = file.path.join("/");
            {
                let mut taking = adder.take(file, &mut files, counter.clone());
                loop {
                    match tokio::time::timeout(PROGRESS, taking.as_mut()).await {
                        Ok(taken) => {
                            taken?;
                            break;
                        }
                        Err(_) => {
                            let bytes = counter.load(Ordering::Relaxed);
                            yield json!({"Name": name, "Bytes": bytes});
                        }
                    }
                }
            }
            let bytes = counter.load(Ordering::Relaxed);
            if adder.choices.progress && bytes > 0 {
                yield json!({"Name": name, "Bytes": bytes});
            }
            if adder.told.len() >= TOLD_TOGETHER || adder.told_last.elapsed() >= TOLD_AFTER {
                for told in adder.tell().await? {
                    yield told;
                }
            }
            next = files.next().await?;
        }
        let roots = adder.finish().await?;
        if let Some(name) = adder.choices.pin.clone().filter(|_| !adder.choices.only_hash) {
            for root in roots {
                keep(&node, root, &lease, name.clone()).await?;
            }
        }
        for told in adder.tell().await? {
            yield told;
        }
    }))
}

fn keep<'a>(
    node: &'a Node,
    root: Built,
    lease: &'a Lease,
    name: String,
) -> BoxFuture<'a, Result<(), RpcError>> {
    Box::pin(async move {
        let options = PinOptions { name, ..PinOptions::default() };
        node.repo().pin_leased(&root.cid, lease, options).await.map_err(api)?;
        node.node().provide(root.cid);
        Ok(())
    })
}

impl Adder {
    fn take<'a>(
        &'a mut self,
        file: File,
        files: &'a mut Files,
        counter: Arc<AtomicU64>,
    ) -> BoxFuture<'a, Result<(), RpcError>> {
        Box::pin(async move {
            self.entries += 1;
            if self.entries > MAX_ENTRIES {
                return Err(RpcError::client(format!("more than {MAX_ENTRIES} files in one request")));
            }
            if file.path.len() > MAX_DEPTH {
                return Err(RpcError::client(format!("directories are nested deeper than {MAX_DEPTH}")));
            }
            let metadata = self.choices.metadata(file.metadata);
            let built = match file.kind {
                Kind::Directory if file.path.is_empty() => return Ok(()),
                Kind::Directory => {
                    let tree = Tree { metadata: Some(metadata), ..Tree::default() };
                    return self.top.put(&file.path, Entry::Tree(tree));
                }
                Kind::Symlink => {
                    let target = files.whole(limits::SYMLINK_TARGET).await?;
                    let target = String::from_utf8(target.to_vec())
                        .map_err(|_| RpcError::client("a symlink's target is not UTF-8"))?;
                    let (block, built) = symlink(self.choices.layout, &target, metadata);
                    self.store.put(vec![block]).await.map_err(api)?;
                    built
                }
                Kind::File => {
                    let options = ImportOptions {
                        layout: self.choices.layout,
                        progress: Some(counter),
                        ..ImportOptions::default()
                    };
                    content(&self.store, files, &options, metadata).await.map_err(api)?
                }
            };
            // What has no name goes by its CID.
            let path = match file.path.is_empty() {
                true => vec![built.cid.to_string()],
                false => file.path,
            };
            self.note(path.join("/"), &built, metadata);
            self.top.put(&path, Entry::Done(built))
        })
    }

    fn note(&mut self, name: String, built: &Built, metadata: Metadata) {
        if self.choices.quieter && name.contains('/') {
            return;
        }
        let mut event = json!({"Name": name, "Hash": built.cid.to_string(), "Size": built.tsize.to_string()});
        if let Some(mode) = metadata.mode {
            event["Mode"] = format!("{mode:04o}").into();
        }
        if let Some(mtime) = metadata.mtime {
            event["Mtime"] = mtime.seconds.into();
            if mtime.nanos > 0 {
                event["MtimeNsecs"] = mtime.nanos.into();
            }
        }
        self.told.push(event);
    }

    /// What can be told of, because it is durable now.
    async fn tell(&mut self) -> Result<Vec<Value>, RpcError> {
        self.told_last = Instant::now();
        if self.told.is_empty() {
            return Ok(Vec::new());
        }
        self.store.sync().await.map_err(api)?;
        Ok(std::mem::take(&mut self.told))
    }

    /// Builds the directories; gives what is to be pinned.
    async fn finish(&mut self) -> Result<Vec<Built>, RpcError> {
        let top = std::mem::take(&mut self.top);
        if self.choices.wrap {
            return Ok(vec![self.directory(String::new(), top).await?]);
        }
        let mut roots = Vec::new();
        for (name, entry) in top.entries {
            roots.push(match entry {
                Entry::Done(built) => built,
                Entry::Tree(tree) => self.directory(name, tree).await?,
            });
        }
        Ok(roots)
    }

    /// Boxed, because directories hold directories.
    fn directory(&mut self, name: String, tree: Tree) -> BoxFuture<'_, Result<Built, RpcError>> {
        Box::pin(async move {
            let metadata = tree.metadata.unwrap_or(Metadata::NONE);
            let mut builder = DirectoryBuilder::new(self.choices.layout, metadata);
            for (child, entry) in tree.entries {
                let built = match entry {
                    Entry::Done(built) => built,
                    Entry::Tree(below) => {
                        let path = if name.is_empty() { child.clone() } else { format!("{name}/{child}") };
                        self.directory(path, below).await?
                    }
                };
                builder.add(child, &built).map_err(|error| RpcError::client(error.to_string()))?;
            }
            let mut blocks = Vec::new();
            let built = builder.finish(&mut blocks).map_err(|error| RpcError::client(error.to_string()))?;
            self.store.put(blocks).await.map_err(api)?;
            self.note(name, &built, metadata);
            Ok(built)
        })
    }
}

fn content<'a>(
    store: &'a Arc<dyn BlockStore>,
    files: &'a mut Files,
    options: &'a ImportOptions,
    metadata: Metadata,
) -> BoxFuture<'a, Result<Built, ImportError>> {
    Box::pin(async move { import::part(store, files.content(), options, metadata).await })
}
