//! A holder's two secrets, each in a file of its own that only its user can read.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use adit_model::AccountSecret;
use adit_seal::OsRandom;
use adit_shares::SealSecret;
use anyhow::{Context as _, Result, bail};
use data_encoding::HEXLOWER;
use zeroize::Zeroizing;

/// Signs the log.
const ACCOUNT: &str = "account.key";
/// Opens shares.
const SEAL: &str = "seal.key";

/// The secrets of a holder.
pub struct Keys {
    pub account: AccountSecret,
    pub seal: SealSecret,
}

impl Keys {
    /// Reads them, or makes them where the folder has none. The folder is made too.
    ///
    /// # Errors
    /// The disk, a file that is damaged, or one that others could have read.
    pub fn open_or_make(folder: &Path) -> Result<Self> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.with_context(|| format!("cannot make the folder {}", folder.display()))?;
        let account = secret(&folder.join(ACCOUNT), || Ok(AccountSecret::generate()?.to_bytes()))?;
        let seal =
            secret(&folder.join(SEAL), || Ok(Zeroizing::new(*SealSecret::generate(&mut OsRandom).expose())))?;
        let account = AccountSecret::from_bytes(&account)
            .with_context(|| format!("{} is damaged", folder.join(ACCOUNT).display()))?;
        Ok(Self { account, seal: SealSecret::from_bytes(*seal) })
    }
}

/// A secret's file, made durably before it is used for the first time.
fn secret(path: &Path, make: impl FnOnce() -> Result<Zeroizing<[u8; 32]>>) -> Result<Zeroizing<[u8; 32]>> {
    match File::open(path) {
        Ok(file) => return read(path, file),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
    let bytes = make()?;
    let mut text = Zeroizing::new(HEXLOWER.encode(&bytes[..]));
    text.push('\n');
    // The whole file gets its name, or none does: of two that start at once one reads what the other made.
    let new = path.with_extension(format!("key.{}", std::process::id()));
    let written = || -> std::io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::hard_link(&new, path)?;
        File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
    };
    let written = written();
    // If it stays, it is another name of the same file.
    let _ = std::fs::remove_file(&new);
    match written {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            Err(error).with_context(|| format!("cannot write {}", path.display()))
        }
        _ => read(path, File::open(path).with_context(|| format!("cannot read {}", path.display()))?),
    }
}

fn read(path: &Path, file: File) -> Result<Zeroizing<[u8; 32]>> {
    let mode = file.metadata().with_context(|| format!("cannot read {}", path.display()))?.mode();
    if mode & 0o077 != 0 {
        bail!(
            "{} can be read by others (mode {:04o}): chmod 600 if nobody has",
            path.display(),
            mode & 0o7777
        );
    }
    let mut text = Zeroizing::new(String::with_capacity(80));
    file.take(80).read_to_string(&mut text).with_context(|| format!("cannot read {}", path.display()))?;
    let mut bytes = Zeroizing::new([0; 32]);
    let digits = text.trim_end().as_bytes();
    if digits.len() != 64 || HEXLOWER.decode_mut(digits, &mut bytes[..]).is_err() {
        bail!("{} is damaged: it has no 64 hexadecimal digits", path.display());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn keys_are_made_once_for_their_user_alone() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("holder");
        let first = Keys::open_or_make(&folder).unwrap();
        let again = Keys::open_or_make(&folder).unwrap();
        assert_eq!(first.account.account(), again.account.account());
        assert_eq!(first.seal.key(), again.seal.key());
        assert_eq!(std::fs::metadata(&folder).unwrap().mode() & 0o777, 0o700);
        let names: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|one| one.unwrap().path()).collect();
        assert_eq!(names.len(), 2, "{names:?}");
        for path in &names {
            assert_eq!(std::fs::metadata(path).unwrap().mode() & 0o777, 0o600);
        }
        let path = folder.join(ACCOUNT);
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
        let refused = Keys::open_or_make(&folder).err().unwrap().to_string();
        assert!(refused.contains("read by others"), "{refused}");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        std::fs::write(&path, "00").unwrap();
        let refused = Keys::open_or_make(&folder).err().unwrap().to_string();
        assert!(refused.contains("damaged") && !refused.contains("00\n"), "{refused}");
    }
}
