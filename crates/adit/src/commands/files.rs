//! `adit add`, `cat`, `get`, `ls`, `stat`: files and directories.

use std::path::{Path, PathBuf};

use adit_api::client::{Client, tar_of_path};
use adit_api::tar;
use adit_api::types::{AddQuery, Added, RangeQuery};
use adit_unixfs::Profile;
use futures::StreamExt;
use indicatif::{ProgressBar, ProgressStyle};

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::output::escape::{Escaper, one_line};
use crate::output::{Table, bytes, count, time};

/// Arguments of `adit add`.
#[derive(Debug, clap::Args)]
pub(crate) struct AddArgs {
    /// Files or directories; - for standard input
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Which CIDs to give: unixfs-v1-2025, or legacy for those of Kubo's first ten years
    #[arg(long, value_name = "NAME")]
    profile: Option<Profile>,
    /// Let garbage collection remove it again
    #[arg(long)]
    no_pin: bool,
    /// Keep modes and modification times (this changes the CIDs)
    #[arg(long)]
    preserve: bool,
}

/// Arguments of commands that take a path below a CID.
#[derive(Debug, clap::Args)]
pub(crate) struct PathArgs {
    /// CID, CID/PATH, /ipfs/CID/PATH or /ipns/NAME/PATH
    path: String,
}

/// Arguments of `adit cat`.
#[derive(Debug, clap::Args)]
pub(crate) struct CatArgs {
    /// CID, CID/PATH, /ipfs/CID/PATH or /ipns/NAME/PATH
    path: String,
    /// Begin at this byte
    #[arg(long, value_name = "N")]
    offset: Option<u64>,
    /// At most so many bytes
    #[arg(long, value_name = "N")]
    length: Option<u64>,
}

/// Arguments of `adit get`.
#[derive(Debug, clap::Args)]
pub(crate) struct GetArgs {
    /// CID, CID/PATH, /ipfs/CID/PATH or /ipns/NAME/PATH
    path: String,
    /// Where to write it; named like the last part of the path if not given
    #[arg(long, short, value_name = "PATH")]
    output: Option<PathBuf>,
}

/// Adds files and prints a line for each: CID and name. Everything printed is durable.
pub(crate) async fn add(context: &Context, args: AddArgs) -> Result<(), Failure> {
    let client = context.client()?;
    let options = AddQuery {
        profile: args.profile.map(|profile| profile.name().to_owned()),
        pin: args.no_pin.then_some(false),
        preserve: args.preserve,
    };
    for path in &args.paths {
        let added = add_one(context, &client, path, &options).await?;
        context.out.either(&added, |out, added| {
            out.line(format!("{} {}", added.cid, one_line(&path.to_string_lossy())))
        })?;
    }
    Ok(())
}

async fn add_one(
    context: &Context,
    client: &Client,
    path: &Path,
    options: &AddQuery,
) -> Result<Added, Failure> {
    let bar = spinner(context);
    let count = {
        let bar = bar.clone();
        move |piece: &std::io::Result<bytes::Bytes>| {
            if let (Some(bar), Ok(piece)) = (&bar, piece) {
                bar.inc(piece.len() as u64);
            }
        }
    };
    let added = if path == Path::new("-") {
        client.add_file(Counted { inner: tokio::io::stdin(), bar: bar.clone() }, options).await
    } else {
        let cannot_read = |error: std::io::Error| {
            let exit =
                if error.kind() == std::io::ErrorKind::NotFound { Exit::NotFound } else { Exit::Failed };
            Failure::because(exit, format!("cannot add {}", path.display()), &error)
        };
        let meta = tokio::fs::metadata(path).await.map_err(cannot_read)?;
        if meta.is_file() && !options.preserve {
            let file = tokio::fs::File::open(path).await.map_err(cannot_read)?;
            client.add_file(Counted { inner: file, bar: bar.clone() }, options).await
        } else {
            client.add_tar(tar_of_path(path.to_owned()).inspect(count), options).await
        }
    };
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    Ok(added?)
}

/// A reader that moves a progress bar.
struct Counted<R> {
    inner: R,
    bar: Option<ProgressBar>,
}

impl<R: tokio::io::AsyncRead + Unpin> tokio::io::AsyncRead for Counted<R> {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        let before = buffer.filled().len();
        let polled = std::pin::Pin::new(&mut self.inner).poll_read(cx, buffer);
        if let Some(bar) = &self.bar {
            bar.inc((buffer.filled().len() - before) as u64);
        }
        polled
    }
}

fn spinner(context: &Context) -> Option<ProgressBar> {
    context.out.shows_progress().then(|| {
        let bar = ProgressBar::new_spinner();
        // The template is a constant that indicatif understands.
        bar.set_style(
            ProgressStyle::with_template("{spinner} {binary_bytes} at {binary_bytes_per_sec}")
                .unwrap_or_else(|_| ProgressStyle::default_spinner()),
        );
        bar
    })
}

/// Prints a file. On a terminal, control characters are shown instead of obeyed.
pub(crate) async fn cat(context: &Context, args: CatArgs) -> Result<(), Failure> {
    let range = RangeQuery { offset: args.offset, length: args.length };
    let client = context.client()?;
    let path = context.path(&client, &args.path).await?;
    let mut pieces = client.cat(&path.to_string(), &range).await?;
    let mut escaper = Escaper::default();
    while let Some(piece) = pieces.next().await {
        context.out.stdout_of_guest(&mut escaper, &piece.map_err(broke_off)?)?;
    }
    Ok(context.out.end_of_stdout(&mut escaper)?)
}

/// The error of an answer that ends too soon.
pub(crate) fn broke_off(error: std::io::Error) -> Failure {
    Failure::because(Exit::Failed, "the node's answer broke off", &error)
}

/// Writes a file or directory to disk. Nothing is overwritten.
pub(crate) async fn get(context: &Context, args: GetArgs) -> Result<(), Failure> {
    let client = context.client()?;
    let source = context.path(&client, &args.path).await?;
    let target = match args.output {
        Some(target) => target,
        // A segment is never `..` and has no slash, so this stays in the working directory.
        None => PathBuf::from(source.segments.last().cloned().unwrap_or_else(|| source.root.to_string())),
    };
    let written = unpack(&client, &source.to_string(), &target).await?;
    context.out.note(format!("{} in {}", bytes(written), target.display()));
    Ok(())
}

/// Writes what `source` names to `target` and gives the bytes of file content.
pub(crate) async fn unpack(client: &Client, source: &str, target: &Path) -> Result<u64, Failure> {
    let stream = client.get(source).await?;
    tar::unpack(stream.reader(), target).await.map_err(|error| {
        let failure = Failure::because(Exit::Failed, format!("cannot write {}", target.display()), &error);
        match error {
            tar::UnpackError::Exists { .. } => failure.hint("name another place with -o"),
            _ => failure,
        }
    })
}

/// Lists a directory.
pub(crate) async fn ls(context: &Context, args: PathArgs) -> Result<(), Failure> {
    let client = context.client()?;
    let path = context.path(&client, &args.path).await?;
    let entries = client.ls(&path.to_string()).await?;
    if context.out.json() {
        return Ok(context.out.document(&entries)?);
    }
    let mut table = Table::new(["cid", "size", "name"], "The directory is empty.");
    entries.into_iter().for_each(|entry| table.row([entry.cid.to_string(), bytes(entry.size), entry.name]));
    Ok(table.print(&context.out)?)
}

/// Describes what a path names.
pub(crate) async fn stat(context: &Context, args: PathArgs) -> Result<(), Failure> {
    let client = context.client()?;
    let path = context.path(&client, &args.path).await?;
    let stat = client.stat(&path.to_string()).await?;
    context.out.either(&stat, |out, stat| {
        out.line(format!("cid    {}", stat.cid))?;
        out.line(format!("kind   {}", one_line(&stat.kind)))?;
        out.line(format!("size   {} ({})", stat.size, bytes(stat.size)))?;
        let spread = if stat.sharded { ", spread over several blocks" } else { "" };
        out.line(format!("links  {}{spread}", count(stat.links)))?;
        if let Some(mode) = stat.mode {
            out.line(format!("mode   {mode:04o}"))?;
        }
        if let Some(mtime) = stat.mtime.and_then(|mtime| u64::try_from(mtime).ok()) {
            out.line(format!("mtime  {}", time(mtime)))?;
        }
        match &stat.target {
            Some(target) => out.line(format!("target {}", one_line(target))),
            None => Ok(()),
        }
    })?;
    Ok(())
}
