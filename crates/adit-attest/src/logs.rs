//! The logs that explain registers: the firmware's event log, and the list of what the kernel measured (IMA).

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

/// The firmware's log of the first TPM, in the crypto-agile form where the firmware has it. Readable by root.
pub const FIRMWARE: &str = "/sys/kernel/security/tpm0/binary_bios_measurements";
/// The largest log that is read: what a verifier looks at.
pub const MAX_LOG: usize = 2 << 20;

/// A log, or nothing where there is none.
///
/// # Errors
/// It cannot be read, or is larger than [`MAX_LOG`].
pub fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut log = Vec::new();
    // The kernel says a size of zero, so only reading tells.
    file.take(MAX_LOG as u64 + 1).read_to_end(&mut log)?;
    if log.len() > MAX_LOG { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(Some(log)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_are_read_up_to_a_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        assert_eq!(read(&path).unwrap(), None);
        std::fs::write(&path, vec![7; MAX_LOG]).unwrap();
        assert_eq!(read(&path).unwrap().unwrap().len(), MAX_LOG);
        std::fs::write(&path, vec![7; MAX_LOG + 1]).unwrap();
        assert_eq!(read(&path).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }
}
