//! A person's own keys, on this machine: one recovery phrase in a file that its owner alone can read.
//!
//! They belong to the person and not to a node: the daemon never reads them. The folder is `ADIT_KEYS`, else
//! `adit/keys` among the user's configuration.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use adit_model::{AccountId, AccountSecret};
use adit_seal::age::{Identity, Recipient};
use adit_seal::phrase::RecoveryPhrase;
use etcetera::BaseStrategy;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::exit::{Exit, Failure};

/// Environment variable that names the folder.
const FOLDER: &str = "ADIT_KEYS";
const FILE: &str = "recovery-phrase";
/// A phrase has 24 words of at most eight letters.
const MAX_BYTES: u64 = 1024;

/// Where the phrase lies, or will lie.
pub(crate) struct OwnKeys {
    folder: PathBuf,
}

/// What of a person's keys anybody may know.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Shared {
    /// Whom to seal to.
    pub recipient: String,
    /// The account.
    pub account: AccountId,
}

impl OwnKeys {
    /// Finds the folder, which may not exist.
    pub(crate) fn here() -> Result<Self, Failure> {
        if let Some(folder) = std::env::var_os(FOLDER).filter(|folder| !folder.is_empty()) {
            return Ok(Self { folder: folder.into() });
        }
        let base = etcetera::choose_base_strategy().map_err(|_| {
            Failure::new(Exit::Usage, "there is no home directory to keep keys in")
                .hint("name a directory by ADIT_KEYS")
        })?;
        Ok(Self { folder: base.config_dir().join("adit/keys") })
    }

    /// Where they lie, with what was signed by them.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    fn file(&self) -> PathBuf {
        self.folder.join(FILE)
    }

    /// The phrase, if there is one.
    pub(crate) fn find(&self) -> Result<Option<RecoveryPhrase>, Failure> {
        let path = self.file();
        let failed = |error: std::io::Error| {
            Failure::because(Exit::Failed, format!("cannot read {}", path.display()), &error)
        };
        let file = match File::open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(failed)?,
        };
        let mode = file.metadata().map_err(failed)?.mode();
        if mode & 0o077 != 0 {
            let what = format!("{} can be read by others (mode {:04o})", path.display(), mode & 0o7777);
            return Err(Failure::new(Exit::TrustRefused, what)
                .hint("if nobody has read it: chmod 600; else make new keys and seal anew"));
        }
        let mut text = Zeroizing::new(String::with_capacity(MAX_BYTES as usize));
        file.take(MAX_BYTES).read_to_string(&mut text).map_err(failed)?;
        let phrase = RecoveryPhrase::parse(&text);
        phrase
            .map(Some)
            .map_err(|error| Failure::because(Exit::Failed, format!("{} is damaged", path.display()), &error))
    }

    /// The phrase, which must be there.
    pub(crate) fn existing(&self) -> Result<RecoveryPhrase, Failure> {
        self.find()?.ok_or_else(|| {
            Failure::new(Exit::NotFound, format!("there are no keys of yours in {}", self.folder.display()))
                .hint("`adit key new` makes some, `adit key restore` takes a recovery phrase")
        })
    }

    /// Keeps a phrase, durably. Never in the place of another one.
    pub(crate) fn keep(&self, phrase: &RecoveryPhrase) -> Result<(), Failure> {
        let path = self.file();
        // A second name for a whole file is given, or none: a full disk leaves no half phrase that stands in the way.
        let new = self.folder.join(format!("{FILE}.{}", std::process::id()));
        let written = || -> std::io::Result<()> {
            DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
            file.write_all(phrase.words().as_bytes())?;
            file.write_all(b"\n")?;
            file.sync_all()?;
            std::fs::hard_link(&new, &path)?;
            File::open(&self.folder)?.sync_all()
        };
        let written = written();
        // One that cannot be removed is another name of the same file, and does no harm.
        let _ = std::fs::remove_file(&new);
        written.map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => {
                Failure::new(Exit::Failed, format!("you have keys already, in {}", self.folder.display()))
                    .hint("`adit key export` shows them; ADIT_KEYS names a folder for others")
            }
            _ => Failure::because(Exit::Failed, format!("cannot write {}", path.display()), &error),
        })
    }
}

/// Writes a secret and a line feed into a new file that its owner alone can read, durably; or leaves no file.
pub(crate) fn write_secret(path: &Path, text: &str) -> Result<(), Failure> {
    let failed = |error: std::io::Error| {
        Failure::because(Exit::Failed, format!("cannot write {}", path.display()), &error)
    };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(
        |error| match error.kind() {
            ErrorKind::AlreadyExists => failed(error).hint("name another place with -o"),
            _ => failed(error),
        },
    )?;
    let text = Zeroizing::new(format!("{text}\n"));
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(|error| {
        // Half a secret restores nothing; that it cannot be removed is said by its being there.
        let _ = std::fs::remove_file(path);
        failed(error)
    })
}

/// What of a phrase's keys anybody may know.
pub(crate) fn shared(phrase: &RecoveryPhrase) -> Result<Shared, Failure> {
    let account = account(phrase)?.account();
    Ok(Shared { recipient: phrase.identity().recipient().to_string(), account })
}

/// What the person signs with.
pub(crate) fn account(phrase: &RecoveryPhrase) -> Result<AccountSecret, Failure> {
    AccountSecret::from_bytes(&phrase.account_secret())
        .map_err(|error| Failure::because(Exit::Failed, "the phrase gives no account", &error))
}

/// Whom to seal to: those that are named, else the person itself.
pub(crate) fn recipients(named: &[String]) -> Result<Vec<Recipient>, Failure> {
    if named.is_empty() {
        return Ok(vec![OwnKeys::here()?.existing()?.identity().recipient()]);
    }
    // Which one is said by its number: what stands there may be a secret, given by mistake.
    let parse = |(at, text): (usize, &String)| {
        text.parse::<Recipient>()
            .map_err(|error| Failure::because(Exit::Usage, format!("recipient {}", at + 1), &error))
    };
    named.iter().enumerate().map(parse).collect()
}

/// Who opens: the identities in the files that are named, else the person's own.
pub(crate) fn identities(files: &[PathBuf]) -> Result<Vec<Identity>, Failure> {
    if files.is_empty() {
        return Ok(vec![OwnKeys::here()?.existing()?.identity()]);
    }
    let mut identities = Vec::new();
    for path in files {
        let failed = |error: std::io::Error| {
            Failure::because(Exit::Usage, format!("cannot read {}", path.display()), &error)
        };
        let mut text = Zeroizing::new(String::with_capacity(64 << 10));
        File::open(path).and_then(|file| file.take(64 << 10).read_to_string(&mut text)).map_err(failed)?;
        let lines = text.lines().enumerate().map(|(at, line)| (at, line.trim()));
        for (at, line) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
            identities.push(Identity::parse(line).map_err(|error| {
                Failure::because(Exit::Usage, format!("{}, line {}", path.display(), at + 1), &error)
            })?);
        }
    }
    Ok(identities)
}
