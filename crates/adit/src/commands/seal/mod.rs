//! `adit seal` and `adit unseal`: content that only those open to whom it was sealed. Both happen in this process; a
//! node sees ciphertext.

mod content;
mod rotate;
mod source;
mod tree;
mod upload;

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use adit_seal::OsRandom;
use adit_seal::age::{FileKey, Header, PayloadNonce, Sealer};
use adit_seal::file::{FileWriter, LEAF};
use adit_unixfs::Block;
use adit_unixfs::build::Built;
use cid::Cid;
use serde::Serialize;

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::output::bytes;
use crate::output::escape::{Escaper, one_line};
use crate::own_keys;
use content::{Content, Plain};
use source::{By, Found, Opened, Source};

/// Mode of files with ciphertext, less what the person's umask takes away.
const PUBLIC: u32 = 0o666;
/// Mode of files that were opened: they were meant for the person alone.
const PRIVATE: u32 = 0o600;

/// Arguments of `adit seal`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct SealArgs {
    #[command(subcommand)]
    command: Option<SealCommand>,
    /// The file or directory to seal; - for standard input
    #[arg(value_name = "PATH", required = true)]
    path: Option<PathBuf>,
    /// Who can open it (age1…); you alone if not given. May be given several times
    #[arg(long, value_name = "RECIPIENT")]
    to: Vec<String>,
    /// Write an age file here, and send nothing to the node
    #[arg(long, short, value_name = "FILE", conflicts_with = "no_pin")]
    output: Option<PathBuf>,
    /// Let the node's garbage collection remove it again
    #[arg(long)]
    no_pin: bool,
}

/// Subcommands of `adit seal`. A file of such a name is written with its directory (`./rotate`).
#[derive(Debug, clap::Subcommand)]
enum SealCommand {
    /// Seal anew what was sealed, under a fresh key and for those that are named now
    Rotate(rotate::RotateArgs),
}

/// Arguments of `adit unseal`.
#[derive(Debug, clap::Args)]
pub(crate) struct UnsealArgs {
    /// A file of this machine; else CID, CID/PATH or /ipfs/CID/PATH
    path: String,
    /// One file of a sealed directory
    #[arg(long, value_name = "PATH")]
    file: Option<String>,
    /// Where to write it, which must not exist; standard output if not given, but a directory needs it
    #[arg(long, short, value_name = "PATH")]
    output: Option<PathBuf>,
    /// A file with age identities to open it with; your own keys if not given
    #[arg(long, short, value_name = "FILE")]
    identity: Vec<PathBuf>,
    /// Begin at this byte
    #[arg(long, value_name = "N")]
    offset: Option<u64>,
    /// At most so many bytes
    #[arg(long, value_name = "N")]
    length: Option<u64>,
}

/// What sealing into a node gives.
#[derive(Debug, Serialize)]
struct Sealed {
    #[serde(with = "adit_model::text::cid")]
    cid: Cid,
    /// Bytes of all its blocks.
    size: u64,
}

impl From<Built> for Sealed {
    fn from(built: Built) -> Self {
        Self { cid: built.cid, size: built.tsize }
    }
}

/// A key that nothing was sealed under yet, and the header for those who can open it.
struct Fresh {
    key: FileKey,
    header: Header,
    nonce: PayloadNonce,
}

impl Fresh {
    /// For those that are named, else for the person itself.
    fn to(named: &[String]) -> Result<Self, Failure> {
        let to = own_keys::recipients(named)?;
        let key = FileKey::generate(&mut OsRandom);
        let header = Header::write(&key, &to, &mut OsRandom)
            .map_err(|error| Failure::because(Exit::Usage, "cannot seal", &error))?;
        Ok(Self { key, header, nonce: PayloadNonce::generate(&mut OsRandom) })
    }
}

/// Seals a file into the node, or into an age file; or anew.
pub(crate) async fn seal(context: &Context, args: SealArgs) -> Result<(), Failure> {
    if let Some(SealCommand::Rotate(args)) = args.command {
        return rotate::rotate(context, args).await;
    }
    let Some(path) = args.path else {
        return Err(Failure::new(Exit::Usage, "there is nothing named to be sealed"));
    };
    let fresh = Fresh::to(&args.to)?;
    let built = if std::fs::metadata(&path).is_ok_and(|meta| meta.is_dir()) {
        if args.output.is_some() {
            return Err(not_into_a_file());
        }
        let (client, path) = (context.client()?, path.clone());
        let Fresh { key, header, .. } = fresh;
        upload::upload(&client, !args.no_pin, move |send| tree::seal(&path, key, header, send)).await?
    } else {
        let content = Box::new(Plain::open(&path)?);
        if let Some(output) = args.output {
            return seal_to_file(content, output, fresh).await;
        }
        seal_to_node(context, content, fresh, !args.no_pin).await?
    };
    let sealed = Sealed::from(built);
    context.out.either(&sealed, |out, sealed| {
        out.line(format!("{} {}", sealed.cid, one_line(&path.to_string_lossy())))
    })?;
    Ok(())
}

fn not_into_a_file() -> Failure {
    Failure::new(Exit::Usage, "a directory is sealed into the node, not into one file")
        .hint("leave out -o, or pack it first, such as with tar")
}

async fn seal_to_node(
    context: &Context,
    mut content: Box<dyn Content>,
    fresh: Fresh,
    pin: bool,
) -> Result<Built, Failure> {
    let client = context.client()?;
    let sealing = move |send: &mut dyn FnMut(Vec<Block>) -> bool| {
        let mut blocks = Vec::new();
        let mut writer = FileWriter::new(&fresh.key, &fresh.header, fresh.nonce, &mut blocks);
        let mut piece = vec![0; LEAF as usize];
        loop {
            let len = content.fill(&mut piece)?;
            writer.push(&piece[..len], &mut blocks);
            if len < piece.len() {
                let built = writer.finish(&mut blocks);
                send(blocks);
                return Ok(built);
            }
            if !send(std::mem::take(&mut blocks)) {
                // Nobody listens any more: the upload says why.
                return Ok(writer.finish(&mut blocks));
            }
        }
    };
    upload::upload(&client, pin, sealing).await
}

async fn seal_to_file(mut content: Box<dyn Content>, output: PathBuf, fresh: Fresh) -> Result<(), Failure> {
    let sealing = move || {
        let mut target = NewFile::create(&output, PUBLIC)?;
        let mut sealer = Sealer::new(&fresh.key, fresh.nonce);
        let mut piece = vec![0; LEAF as usize];
        let mut sealed = [fresh.header.as_bytes(), &fresh.nonce.0].concat();
        loop {
            let len = content.fill(&mut piece)?;
            sealer.update(&piece[..len], &mut sealed);
            if len < piece.len() {
                sealer.finish(&mut sealed);
                target.write(&sealed)?;
                return target.keep();
            }
            target.write(&sealed)?;
            sealed.clear();
        }
    };
    ended(tokio::task::spawn_blocking(sealing).await)
}

/// Opens what was sealed and writes it, or a part of it. Nothing is written that was not checked.
pub(crate) async fn unseal(context: &Context, args: UnsealArgs) -> Result<(), Failure> {
    let identities = own_keys::identities(&args.identity)?;
    match Source::find(context, &args.path).await? {
        Found::File(source) => {
            if args.file.is_some() {
                return Err(Failure::new(Exit::Usage, "--file: this is a sealed file, not a directory"));
            }
            let mut opened = Opened::open(source, By::Identities(&identities)).await?;
            let range = asked(&args, 0..opened.content_len());
            let mut target = Target::new(context, &args)?;
            let mut at = range.start;
            while at < range.end {
                // Whole blocks of ciphertext, each fetched and opened once.
                let next = range.end.min((at / LEAF + 1) * LEAF);
                target.write(&opened.read(at..next).await?)?;
                at = next;
            }
            target.end(range.end - range.start)
        }
        Found::Directory(client, root) => {
            let mut tree = tree::Open::open(*client, root, &identities).await?;
            match (&args.file, &args.output) {
                (Some(path), _) => {
                    let range = asked(&args, tree.file(path)?);
                    let mut target = Target::new(context, &args)?;
                    tree.read(range.clone(), |piece| target.write(piece)).await?;
                    target.end(range.end - range.start)
                }
                (None, Some(output)) => {
                    let written = tree.unpack(output).await?;
                    context.out.note(format!("{} in {}", bytes(written), output.display()));
                    Ok(())
                }
                (None, None) => Err(Failure::new(Exit::Usage, "this is a sealed directory")
                    .hint("-o names a place for it; --file names one file of it")),
            }
        }
    }
}

/// The part of a range that `--offset` and `--length` leave.
fn asked(args: &UnsealArgs, whole: Range<u64>) -> Range<u64> {
    let start = whole.start.saturating_add(args.offset.unwrap_or(0)).min(whole.end);
    let end = args.length.map_or(whole.end, |length| start.saturating_add(length)).min(whole.end);
    start..end
}

/// Where a file's content goes.
struct Target<'a> {
    context: &'a Context,
    file: Option<NewFile>,
    escaper: Escaper,
}

impl<'a> Target<'a> {
    fn new(context: &'a Context, args: &UnsealArgs) -> Result<Self, Failure> {
        let file = args.output.as_deref().map(|path| NewFile::create(path, PRIVATE)).transpose()?;
        Ok(Self { context, file, escaper: Escaper::default() })
    }

    fn write(&mut self, plain: &[u8]) -> Result<(), Failure> {
        match &mut self.file {
            Some(file) => file.write(plain),
            None => Ok(self.context.out.stdout_of_guest(&mut self.escaper, plain)?),
        }
    }

    fn end(mut self, len: u64) -> Result<(), Failure> {
        match self.file {
            Some(file) => {
                let what = format!("{} in {}", bytes(len), file.path.display());
                file.keep()?;
                self.context.out.note(what);
            }
            None => self.context.out.end_of_stdout(&mut self.escaper)?,
        }
        Ok(())
    }
}

/// A file that did not exist before, and goes away again unless it is kept.
struct NewFile {
    file: std::fs::File,
    path: PathBuf,
    kept: bool,
}

impl NewFile {
    fn create(path: &Path, mode: u32) -> Result<Self, Failure> {
        let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
        let file = file.map_err(|error| {
            let failure = Failure::because(Exit::Failed, format!("cannot write {}", path.display()), &error);
            match error.kind() {
                ErrorKind::AlreadyExists => failure.hint("name another place with -o"),
                _ => failure,
            }
        })?;
        Ok(Self { file, path: path.to_owned(), kept: false })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let written = self.file.write_all(bytes);
        written.map_err(|error| {
            Failure::because(Exit::Failed, format!("cannot write {}", self.path.display()), &error)
        })
    }

    /// Makes it durable, and keeps it: whoever sealed a file may remove the open one next.
    fn keep(mut self) -> Result<(), Failure> {
        self.file.sync_all().map_err(|error| {
            Failure::because(Exit::Failed, format!("cannot write {}", self.path.display()), &error)
        })?;
        self.kept = true;
        Ok(())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.kept {
            // What is half a file helps nobody; that it cannot be removed is said by its being there.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// The end of work on another thread.
fn ended<T>(joined: Result<Result<T, Failure>, tokio::task::JoinError>) -> Result<T, Failure> {
    joined.map_err(|error| Failure::because(Exit::Failed, "sealing ended early", &error))?
}
