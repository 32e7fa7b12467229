//! What a person has said of its sealed data: signed grants, policies and policy heads, in files beside its keys.
//!
//! `grants/GRANT/` has the signed blocks `grant`, `policy-CID` and `head-NUMBER`. None of them is secret. What they are
//! for is the owner's memory: a head's file claims its number, so that two different heads of one number are never
//! handed out, however many commands run at once. What is read is checked like what comes from a stranger.

use std::fs::{DirBuilder, File};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use adit_model::{
    AccountId, Grant, GrantCid, MAX_RECORD_BYTES, Policy, PolicyCid, PolicyHead, Signable, Signed, Verified,
};

use crate::exit::{Exit, Failure};
use crate::own_keys::OwnKeys;

const GRANTS: &str = "grants";
const GRANT: &str = "grant";

/// All grants that the person has spoken of.
pub(crate) struct OwnGrants {
    folder: PathBuf,
}

/// One grant, and the folder with what was said of it.
pub(crate) struct Governed {
    pub grant: Verified<Grant>,
    folder: PathBuf,
}

/// A policy head, and the policy that it puts in force; none if it revokes.
pub(crate) struct Word {
    pub head: Verified<PolicyHead>,
    pub policy: Option<Verified<Policy>>,
}

impl OwnGrants {
    /// Finds the folder, which may not exist.
    pub(crate) fn here() -> Result<Self, Failure> {
        Ok(Self { folder: OwnKeys::here()?.folder().join(GRANTS) })
    }

    /// The grant that is meant: the CID of one that was spoken of before, else a file with the signed block.
    pub(crate) fn find(&self, named: &str) -> Result<Governed, Failure> {
        if let Ok(cid) = named.parse::<GrantCid>() {
            return self.known(cid)?.ok_or_else(|| {
                Failure::new(Exit::NotFound, format!("nothing was said here of the grant {cid}"))
                    .hint("name a file with the grant's block the first time")
            });
        }
        let path = Path::new(named);
        let grant = block::<Grant>(path)?.ok_or_else(|| {
            Failure::new(Exit::NotFound, format!("{named:?} is neither a grant's CID nor a file"))
        })?;
        Ok(Governed { folder: self.folder.join(grant.cid().to_string()), grant })
    }

    /// All of them, in the order of their CIDs.
    pub(crate) fn all(&self) -> Result<Vec<Governed>, Failure> {
        let mut cids: Vec<GrantCid> =
            names(&self.folder)?.iter().filter_map(|name| name.parse().ok()).collect();
        cids.sort();
        cids.into_iter().filter_map(|cid| self.known(cid).transpose()).collect()
    }

    fn known(&self, cid: GrantCid) -> Result<Option<Governed>, Failure> {
        let folder = self.folder.join(cid.to_string());
        let path = folder.join(GRANT);
        let Some(grant) = block::<Grant>(&path)? else { return Ok(None) };
        if grant.cid() != cid {
            return Err(damaged(&path, "it is another grant"));
        }
        Ok(Some(Governed { grant, folder }))
    }
}

impl Governed {
    /// The owner's newest word, if there was one.
    pub(crate) fn last(&self) -> Result<Option<Word>, Failure> {
        let numbers = names(&self.folder)?;
        let numbers = numbers.iter().filter_map(|name| name.strip_prefix("head-")?.parse::<u64>().ok());
        let Some(number) = numbers.max() else { return Ok(None) };
        let path = self.folder.join(head_file(number));
        let head: Verified<PolicyHead> = needed(&path)?;
        let of_this = head.body().grant == self.grant.cid() && head.body().owner == self.owner();
        if !of_this || head.body().number != number {
            return Err(damaged(&path, "it is another head"));
        }
        let policy = head.body().policy.map(|cid| self.policy(cid)).transpose()?;
        Ok(Some(Word { head, policy }))
    }

    /// Who decides about it.
    pub(crate) fn owner(&self) -> AccountId {
        self.grant.body().owner
    }

    fn policy(&self, cid: PolicyCid) -> Result<Verified<Policy>, Failure> {
        let path = self.folder.join(policy_file(cid));
        let policy: Verified<Policy> = needed(&path)?;
        if policy.cid() != cid {
            return Err(damaged(&path, "it is another policy"));
        }
        Ok(policy)
    }

    /// Keeps a word durably, its head last. Never in the place of another one of its number.
    pub(crate) fn keep(&self, word: &Word) -> Result<(), Failure> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.folder);
        made.map_err(|error| cannot_write(&self.folder, &error))?;
        // Blocks named by their own bytes: one that is there already is the same.
        self.claim(GRANT, self.grant.block())?;
        if let Some(policy) = &word.policy {
            self.claim(&policy_file(policy.cid()), policy.block())?;
        }
        let number = word.head.body().number;
        if self.claim(&head_file(number), word.head.block())? {
            return Ok(());
        }
        Err(Failure::new(Exit::Failed, format!("another word with the number {number} was said just now"))
            .hint("`adit policy show` tells it; if this one is still meant, say it again"))
    }

    /// Gives a whole file its name; `false` if the name was taken.
    fn claim(&self, name: &str, bytes: &[u8]) -> Result<bool, Failure> {
        let path = self.folder.join(name);
        let new = self.folder.join(format!("{name}.{}", std::process::id()));
        let written = || -> std::io::Result<()> {
            let mut file = File::create(&new)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            std::fs::hard_link(&new, &path)?;
            File::open(&self.folder)?.sync_all()
        };
        let written = written();
        // One that cannot be removed is another name of the same file, or of none that counts.
        let _ = std::fs::remove_file(&new);
        match written {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(cannot_write(&path, &error)),
        }
    }
}

fn head_file(number: u64) -> String {
    format!("head-{number}")
}

fn policy_file(cid: PolicyCid) -> String {
    format!("policy-{cid}")
}

/// The names in a folder; none where there is no folder.
fn names(folder: &Path) -> Result<Vec<String>, Failure> {
    let failed = |error: std::io::Error| cannot_read(folder, &error);
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let name = |entry: std::io::Result<std::fs::DirEntry>| Ok(entry?.file_name().into_string().ok());
    entries.filter_map(|entry| name(entry).transpose()).collect::<std::io::Result<_>>().map_err(failed)
}

/// A signed block whose signature holds, if there is such a file.
fn block<T: Signable>(path: &Path) -> Result<Option<Verified<T>>, Failure> {
    let mut bytes = Vec::new();
    let read =
        File::open(path).and_then(|file| file.take(MAX_RECORD_BYTES as u64 + 1).read_to_end(&mut bytes));
    match read {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        read => read.map_err(|error| cannot_read(path, &error))?,
    };
    let signed = Signed::<T>::decode(&bytes).map_err(|error| damaged(path, error))?;
    signed.verify().map(Some).map_err(|error| damaged(path, error))
}

fn needed<T: Signable>(path: &Path) -> Result<Verified<T>, Failure> {
    block(path)?.ok_or_else(|| Failure::new(Exit::Failed, format!("{} is missing", path.display())))
}

fn damaged(path: &Path, why: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::TrustRefused, format!("{} is not the record that it should be: {why}", path.display()))
}

fn cannot_read(path: &Path, error: &std::io::Error) -> Failure {
    Failure::because(Exit::Failed, format!("cannot read {}", path.display()), error)
}

fn cannot_write(path: &Path, error: &std::io::Error) -> Failure {
    Failure::because(Exit::Failed, format!("cannot write {}", path.display()), error)
}
