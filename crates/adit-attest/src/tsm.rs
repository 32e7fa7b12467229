//! `sev-snp` and `tdx`: reports through the kernel's configfs-tsm, the one interface that Linux has for all of them
//! (Documentation/ABI/testing/configfs-tsm-report, since Linux 6.7).
//!
//! A folder is made, what the report shall be bound to is written into its `inblob`, and the report is read from its
//! `outblob`. `generation` counts writes, so that somebody else's in between is noticed.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::PathBuf;

use adit_trust::{Endorsements, Evidence};
use data_encoding::HEXLOWER;

/// Where the kernel has it, if configfs is mounted as usual.
pub const REPORTS: &str = "/sys/kernel/config/tsm/report";
/// The size of what a report is bound to.
pub const REPORT_DATA: usize = 64;

/// What the kernel allows is 32 KiB.
const MAX_BLOB: usize = 64 << 10;
/// A number or a driver's name.
const MAX_WORD: usize = 64;
/// The most certificates in a host's table.
const MAX_TABLE: usize = 16;
/// How often a report is asked for again because somebody wrote in between.
const TRIES: usize = 4;

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum TsmError {
    /// This is no confidential virtual machine, its kernel has no driver for it, or this user may not ask.
    #[error("the kernel offers no reports of a confidential virtual machine")]
    Absent(#[source] io::Error),
    /// The kernel did not do one of the steps.
    #[error("the kernel's report has no usable {0}")]
    Attribute(&'static str, #[source] io::Error),
    /// A platform that nobody here can appraise.
    #[error("reports of {0:?} are of no kind that is known")]
    Provider(String),
    /// Somebody wrote into this process's own folder, again and again.
    #[error("somebody else changes what the kernel's report is bound to")]
    Disturbed,
    /// The host's table of certificates contradicts itself.
    #[error("the host's table of certificates is malformed")]
    Certificates,
    /// The report is none.
    #[error("the report is malformed")]
    Report(#[source] adit_trust::Reason),
}

/// What a folder of the kernel's can do. Everything that this module asks of the kernel goes through here.
pub trait Configfs {
    /// Makes an entry.
    ///
    /// # Errors
    /// There is none to be had, or it exists.
    fn make(&self, entry: &str) -> io::Result<()>;
    /// Removes an entry.
    ///
    /// # Errors
    /// It is not there.
    fn remove(&self, entry: &str) -> io::Result<()>;
    /// Writes an attribute, all at once.
    ///
    /// # Errors
    /// The kernel does not take the value.
    fn write(&self, entry: &str, attribute: &str, value: &[u8]) -> io::Result<()>;
    /// Reads an attribute of at most `most` bytes.
    ///
    /// # Errors
    /// There is none such, or the kernel could not come by its value, or that is too large.
    fn read(&self, entry: &str, attribute: &str, most: usize) -> io::Result<Vec<u8>>;
}

/// The kernel's own.
#[derive(Clone, Debug)]
pub struct KernelConfigfs {
    folder: PathBuf,
}

impl Default for KernelConfigfs {
    fn default() -> Self {
        Self { folder: REPORTS.into() }
    }
}

impl Configfs for KernelConfigfs {
    fn make(&self, entry: &str) -> io::Result<()> {
        std::fs::create_dir(self.folder.join(entry))
    }

    fn remove(&self, entry: &str) -> io::Result<()> {
        // Attributes are no files that would have to be removed first.
        std::fs::remove_dir(self.folder.join(entry))
    }

    fn write(&self, entry: &str, attribute: &str, value: &[u8]) -> io::Result<()> {
        // Of binary attributes the kernel takes the value when the file is closed, and says then whether it did; what
        // it did not take is seen from the generation.
        let mut file = OpenOptions::new().write(true).open(self.folder.join(entry).join(attribute))?;
        file.write_all(value)
    }

    fn read(&self, entry: &str, attribute: &str, most: usize) -> io::Result<Vec<u8>> {
        let file = File::open(self.folder.join(entry).join(attribute))?;
        let mut value = Vec::new();
        file.take(most as u64 + 1).read_to_end(&mut value)?;
        if value.len() > most { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(value) }
    }
}

/// A report and what the host says of its platform.
#[derive(Clone, Debug)]
pub struct Report {
    /// [`Evidence::SevSnp`] or [`Evidence::Tdx`].
    pub evidence: Evidence,
    /// It to the byte, as the hardware made it.
    pub blob: Vec<u8>,
    /// Certificates and revocation lists, DER, that the host handed over with it. Hosts need not.
    pub endorsements: Vec<Vec<u8>>,
}

/// The driver that would answer, as in `sev_guest`.
///
/// # Errors
/// [`TsmError::Absent`] where there is none.
pub fn provider(configfs: &impl Configfs) -> Result<String, TsmError> {
    let entry = Entry::new(configfs)?;
    entry.word("provider")
}

/// A report bound to `report_data`.
///
/// # Errors
/// [`TsmError`].
pub fn report(configfs: &impl Configfs, report_data: &[u8; REPORT_DATA]) -> Result<Report, TsmError> {
    let entry = Entry::new(configfs)?;
    for _ in 0..TRIES {
        let before = entry.generation()?;
        entry.write("inblob", report_data)?;
        let blob = match entry.read("outblob", MAX_BLOB) {
            // The kernel's word for somebody else's write between this one's and the report.
            Err(TsmError::Attribute(_, error)) if error.kind() == io::ErrorKind::WouldBlock => continue,
            other => other?,
        };
        let provider = entry.word("provider")?;
        let endorsements = match provider.as_str() {
            "sev_guest" => entry.certificates()?,
            "tdx_guest" => Vec::new(),
            _ => return Err(TsmError::Provider(provider)),
        };
        if entry.generation()? != before.wrapping_add(1) {
            continue;
        }
        let evidence = Evidence::detect(&blob).map_err(TsmError::Report)?;
        let fits = matches!(
            (provider.as_str(), &evidence),
            ("sev_guest", Evidence::SevSnp { .. }) | ("tdx_guest", Evidence::Tdx { .. })
        );
        if !fits {
            return Err(TsmError::Report(adit_trust::Reason::UnknownEvidence));
        }
        return Ok(Report { evidence, blob, endorsements });
    }
    Err(TsmError::Disturbed)
}

/// A folder of this process's own, removed at the end.
struct Entry<'a, C: Configfs> {
    configfs: &'a C,
    name: String,
}

impl<'a, C: Configfs> Entry<'a, C> {
    fn new(configfs: &'a C) -> Result<Self, TsmError> {
        let mut random = [0; 8];
        getrandom::fill(&mut random)
            .map_err(|error| TsmError::Absent(io::Error::other(error.to_string())))?;
        let name = format!("adit-{}", HEXLOWER.encode(&random));
        configfs.make(&name).map_err(TsmError::Absent)?;
        Ok(Self { configfs, name })
    }

    fn write(&self, attribute: &'static str, value: &[u8]) -> Result<(), TsmError> {
        self.configfs
            .write(&self.name, attribute, value)
            .map_err(|error| TsmError::Attribute(attribute, error))
    }

    fn read(&self, attribute: &'static str, most: usize) -> Result<Vec<u8>, TsmError> {
        self.configfs.read(&self.name, attribute, most).map_err(|error| TsmError::Attribute(attribute, error))
    }

    fn word(&self, attribute: &'static str) -> Result<String, TsmError> {
        let word = self.read(attribute, MAX_WORD)?;
        let word = word.trim_ascii_end();
        // It may be shown to a person.
        if word.iter().all(u8::is_ascii_graphic) && !word.is_empty() {
            Ok(String::from_utf8_lossy(word).into_owned())
        } else {
            Err(TsmError::Attribute(attribute, io::ErrorKind::InvalidData.into()))
        }
    }

    fn generation(&self) -> Result<u64, TsmError> {
        const NAME: &str = "generation";
        self.word(NAME)?.parse().map_err(|_| TsmError::Attribute(NAME, io::ErrorKind::InvalidData.into()))
    }

    /// What the host put beside an SNP report, if it did.
    fn certificates(&self) -> Result<Vec<Vec<u8>>, TsmError> {
        match self.read("auxblob", MAX_BLOB) {
            Ok(table) => certificates(&table),
            Err(TsmError::Attribute(_, error))
                if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::Unsupported) =>
            {
                Ok(Vec::new())
            }
            Err(error) => Err(error),
        }
    }
}

impl<C: Configfs> Drop for Entry<'_, C> {
    fn drop(&mut self) {
        // An entry that stays takes some kernel memory and is of no use to anybody.
        let _ = self.configfs.remove(&self.name);
    }
}

/// The certificates and revocation lists in a table as in the SEV-ES Guest-Hypervisor Communication Block specification,
/// section 4.1.8.1: entries of a GUID, an offset and a size (little-endian), then one of zeros. What a GUID says
/// of its content is left to verifiers, who look for themselves.
fn certificates(table: &[u8]) -> Result<Vec<Vec<u8>>, TsmError> {
    const GUID: usize = 16;
    const ENTRY: usize = GUID + 8;
    let mut found = Vec::new();
    let mut entries = table.chunks_exact(ENTRY);
    loop {
        let entry = match entries.next() {
            // An empty table may be altogether empty.
            None if table.is_empty() => break,
            None => return Err(TsmError::Certificates),
            Some(entry) => entry,
        };
        if entry.iter().all(|byte| *byte == 0) {
            break;
        }
        if found.len() == MAX_TABLE {
            return Err(TsmError::Certificates);
        }
        let number =
            |at: usize| u32::from_le_bytes(entry[at..at + 4].try_into().expect("four bytes")) as usize;
        let (offset, size) = (number(GUID), number(GUID + 4));
        let end = offset.checked_add(size).ok_or(TsmError::Certificates)?;
        found.push(table.get(offset..end).ok_or(TsmError::Certificates)?.to_vec());
    }
    // Of some providers' private entries nobody here knows what they are.
    found.retain(|one| one.first() == Some(&0x30) && Endorsements::default().add(one).is_ok());
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_read_and_written_as_files() {
        // An ordinary directory, which does none of what the kernel's does: see `tests/tsm.rs` for that.
        let folder = tempfile::tempdir().unwrap();
        let configfs = KernelConfigfs { folder: folder.path().into() };
        configfs.make("entry").unwrap();
        assert_eq!(configfs.make("entry").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(configfs.write("entry", "inblob", b"x").unwrap_err().kind(), io::ErrorKind::NotFound);
        let attribute = folder.path().join("entry/inblob");
        std::fs::write(&attribute, b"").unwrap();
        configfs.write("entry", "inblob", b"value").unwrap();
        assert_eq!(configfs.read("entry", "inblob", 5).unwrap(), b"value");
        assert_eq!(configfs.read("entry", "inblob", 4).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        std::fs::remove_file(attribute).unwrap();
        configfs.remove("entry").unwrap();
        assert!(!folder.path().join("entry").exists());
    }

    #[test]
    fn this_machines_kernel_is_asked_where_it_says() {
        assert_eq!(KernelConfigfs::default().folder, PathBuf::from("/sys/kernel/config/tsm/report"));
    }

    fn entry(offset: u32, size: u32) -> Vec<u8> {
        [&[7; 16][..], &offset.to_le_bytes(), &size.to_le_bytes()].concat()
    }

    #[test]
    fn tables_that_contradict_themselves_are_refused() {
        assert!(certificates(&[]).unwrap().is_empty());
        assert!(certificates(&[0; 24]).unwrap().is_empty());
        // Content that is no certificate is passed over.
        assert!(certificates(&[entry(48, 2), vec![0; 24], vec![0x30, 0]].concat()).unwrap().is_empty());
        let bad = [
            vec![0; 23],
            entry(0, 1),
            [entry(48, 3), vec![0; 24], vec![0x30, 0]].concat(),
            [entry(u32::MAX, u32::MAX), vec![0; 24]].concat(),
            [entry(0, 0).repeat(MAX_TABLE + 1), vec![0; 24]].concat(),
        ];
        for table in bad {
            assert!(matches!(certificates(&table), Err(TsmError::Certificates)), "{table:?}");
        }
    }
}
