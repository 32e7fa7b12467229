//! Unpacking into a directory, without leaving it.

use super::{Entry, Kind, Reader, TarError};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tokio::fs;
use tokio::io::{AsyncRead, AsyncWriteExt, BufWriter};

/// Why a tree could not be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    #[error(transparent)]
    Tar(#[from] TarError),
    #[error("cannot write {path}")]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{path} would be written through a symbolic link")]
    ThroughLink { path: PathBuf },
    #[error("{path} exists already")]
    Exists { path: PathBuf },
}

/// Unpacks a stream. The root becomes `target` itself: a directory that may exist already, or, where the stream begins
/// with another entry than a root directory, that one file or link. Nothing is overwritten, and no path leads through
/// a symbolic link. Gives the number of file bytes.
pub async fn unpack(stream: impl AsyncRead + Unpin, target: &Path) -> Result<u64, UnpackError> {
    let mut reader = Reader::new(stream);
    let mut bytes = 0;
    let mut lone = None;
    while let Some(mut entry) = reader.next().await? {
        match lone {
            None => lone = Some(!entry.path.is_empty()),
            Some(true) => {
                return Err(TarError::Malformed("the archive has no root and several entries").into());
            }
            Some(false) => {}
        }
        if lone == Some(true) {
            entry.path.clear();
        }
        let path = if entry.path.is_empty() { target.to_owned() } else { target.join(&entry.path) };
        let file_error = |source| match io::Error::kind(&source) {
            io::ErrorKind::AlreadyExists => UnpackError::Exists { path: path.clone() },
            _ => UnpackError::File { path: path.clone(), source },
        };
        check_parents(target, &entry)?;
        match &entry.kind {
            Kind::Directory => match fs::create_dir(&path).await {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && is_plain_dir(&path) => {}
                other => other.map_err(file_error)?,
            },
            Kind::Symlink { target } => fs::symlink(target, &path).await.map_err(file_error)?,
            Kind::File { .. } => {
                let file = fs::OpenOptions::new().write(true).create_new(true).open(&path).await;
                let mut file = BufWriter::with_capacity(1 << 20, file.map_err(file_error)?);
                bytes += tokio::io::copy_buf(
                    &mut tokio::io::BufReader::with_capacity(1 << 20, &mut reader),
                    &mut file,
                )
                .await
                .map_err(file_error)?;
                file.flush().await.map_err(file_error)?;
                // Only the execute bits are taken over; read and write stay with the umask.
                if entry.mode & 0o111 != 0 {
                    let mode = file.get_ref().metadata().await.map_err(file_error)?.permissions().mode();
                    let with_execute = std::fs::Permissions::from_mode(mode | ((mode & 0o444) >> 2));
                    file.get_ref().set_permissions(with_execute).await.map_err(file_error)?;
                }
            }
        }
    }
    Ok(bytes)
}

fn is_plain_dir(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir())
}

/// Every directory above the entry, within the target, must be a directory and no link to one.
fn check_parents(target: &Path, entry: &Entry) -> Result<(), UnpackError> {
    let mut path = target.to_owned();
    let Some((parents, _)) = entry.path.rsplit_once('/') else { return Ok(()) };
    for name in parents.split('/') {
        path.push(name);
        if !is_plain_dir(&path) {
            return Err(UnpackError::ThroughLink { path });
        }
    }
    Ok(())
}
