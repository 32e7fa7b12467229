//! Reports of confidential virtual machines against a fake: there is no such machine here. What the fake answers has the
//! shape of the real thing and no maker's signature, so that no verifier accepts it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;

use adit_attest::tsm::{Configfs, KernelConfigfs, REPORT_DATA, TsmError, provider, report};
use adit_trust::{Endorsements, Evidence, Policy, Reason, ReferenceValues, Software, appraise};

/// What the kernel does with entries of configfs-tsm: it counts writes and makes a report of what was last written.
struct FakeConfigfs {
    driver: &'static str,
    certificates: Option<Vec<u8>>,
    entries: RefCell<BTreeMap<String, Entry>>,
    made: Cell<usize>,
    /// How many more writes somebody else makes, each right after one of the attester's.
    disturbances: Cell<usize>,
    /// Whether the kernel itself notices them.
    notices: bool,
}

#[derive(Default)]
struct Entry {
    generation: u64,
    bound_to: Vec<u8>,
}

impl FakeConfigfs {
    fn new(driver: &'static str) -> Self {
        Self {
            driver,
            certificates: None,
            entries: RefCell::default(),
            made: Cell::new(0),
            disturbances: Cell::new(0),
            notices: false,
        }
    }

    fn outblob(&self, bound_to: &[u8]) -> Vec<u8> {
        match self.driver {
            "sev_guest" => {
                // ATTESTATION_REPORT, version 2, report data at 80.
                let mut report = vec![0; 1184];
                report[0] = 2;
                report[80..80 + bound_to.len()].copy_from_slice(bound_to);
                report
            }
            _ => {
                // A quote of version 4 whose TEE type is TDX, by Intel's quoting enclave; report data at 568.
                let mut quote = vec![0; 5000];
                quote[..8].copy_from_slice(&[4, 0, 2, 0, 0x81, 0, 0, 0]);
                quote[12..28].copy_from_slice(&[
                    0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 6, 7,
                ]);
                quote[568..568 + bound_to.len()].copy_from_slice(bound_to);
                quote
            }
        }
    }
}

impl Configfs for FakeConfigfs {
    fn make(&self, entry: &str) -> io::Result<()> {
        if self.driver.is_empty() {
            return Err(io::Error::from_raw_os_error(6)); // ENXIO: no driver has registered
        }
        self.made.set(self.made.get() + 1);
        match self.entries.borrow_mut().insert(entry.into(), Entry::default()) {
            None => Ok(()),
            Some(_) => Err(io::ErrorKind::AlreadyExists.into()),
        }
    }

    fn remove(&self, entry: &str) -> io::Result<()> {
        self.entries.borrow_mut().remove(entry).map(drop).ok_or(io::ErrorKind::NotFound.into())
    }

    fn write(&self, entry: &str, attribute: &str, value: &[u8]) -> io::Result<()> {
        if attribute != "inblob" || value.is_empty() || value.len() > 64 {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut entries = self.entries.borrow_mut();
        let entry = entries.get_mut(entry).ok_or(io::ErrorKind::NotFound)?;
        entry.generation += 1;
        entry.bound_to = value.to_vec();
        if let Some(left) = self.disturbances.get().checked_sub(1) {
            self.disturbances.set(left);
            entry.generation += 1;
            entry.bound_to = vec![0xee; 64];
        }
        Ok(())
    }

    fn read(&self, entry: &str, attribute: &str, most: usize) -> io::Result<Vec<u8>> {
        let entries = self.entries.borrow();
        let entry = entries.get(entry).ok_or(io::ErrorKind::NotFound)?;
        let value = match attribute {
            "generation" => format!("{}\n", entry.generation).into_bytes(),
            "provider" => format!("{}\n", self.driver).into_bytes(),
            "outblob" if entry.bound_to.is_empty() => return Err(io::ErrorKind::InvalidInput.into()),
            "outblob" if self.notices && entry.bound_to[0] == 0xee => {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            "outblob" => self.outblob(&entry.bound_to),
            "auxblob" => self.certificates.clone().ok_or(io::ErrorKind::NotFound)?,
            _ => return Err(io::ErrorKind::NotFound.into()),
        };
        if value.len() > most { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(value) }
    }
}

const BOUND_TO: [u8; REPORT_DATA] = [0xad; REPORT_DATA];

fn refusals(evidence: &Evidence, endorsements: &[Vec<u8>]) -> Vec<&'static str> {
    let mut known = Endorsements::default();
    endorsements.iter().for_each(|one| known.add(one).unwrap());
    let mut policy = Policy { report_data: Some(BOUND_TO.to_vec()), ..Policy::default() };
    policy.software = Software::Any;
    let appraisal = appraise(evidence, &known, &ReferenceValues::default(), &policy, 1_700_000_000);
    assert!(!appraisal.accepted());
    appraisal.reasons().map(Reason::name).collect()
}

#[test]
fn a_report_is_bound_to_what_was_asked_and_the_fakes_are_refused() {
    for driver in ["sev_guest", "tdx_guest"] {
        let configfs = FakeConfigfs::new(driver);
        assert_eq!(provider(&configfs).unwrap(), driver);
        let report = report(&configfs, &BOUND_TO).unwrap();
        let at = match &report.evidence {
            Evidence::SevSnp { .. } => 80,
            Evidence::Tdx { .. } => 568,
            other => panic!("{other:?}"),
        };
        assert_eq!(report.blob[at..at + 64], BOUND_TO);
        assert_eq!(Evidence::detect(&report.blob).unwrap(), report.evidence);
        assert!(!refusals(&report.evidence, &report.endorsements).is_empty());
        assert!(configfs.entries.borrow().is_empty(), "entries are removed");
    }
}

#[test]
fn the_hosts_certificates_come_along() {
    let der = include_bytes!("../../adit-trust/roots/amd/milan-ask.der");
    let mut table = vec![0; 48];
    table[..16].fill(7);
    table[16..20].copy_from_slice(&48u32.to_le_bytes());
    table[20..24].copy_from_slice(&(der.len() as u32).to_le_bytes());
    table.extend_from_slice(der);
    let mut configfs = FakeConfigfs::new("sev_guest");
    configfs.certificates = Some(table.clone());
    assert_eq!(report(&configfs, &BOUND_TO).unwrap().endorsements, [der.to_vec()]);
    table.pop();
    configfs.certificates = Some(table);
    assert!(matches!(report(&configfs, &BOUND_TO), Err(TsmError::Certificates)));
    configfs.certificates = Some(vec![1; 100_000]);
    assert!(matches!(report(&configfs, &BOUND_TO), Err(TsmError::Attribute("auxblob", _))));
    assert!(configfs.entries.borrow().is_empty(), "entries are removed after failures too");
}

#[test]
fn a_report_that_somebody_else_bound_is_not_taken() {
    for notices in [false, true] {
        let mut configfs = FakeConfigfs::new("tdx_guest");
        configfs.notices = notices;
        configfs.disturbances.set(2);
        let report = report(&configfs, &BOUND_TO).unwrap();
        assert_eq!(report.blob[568..632], BOUND_TO);
        configfs.disturbances.set(usize::MAX);
        assert!(matches!(self::report(&configfs, &BOUND_TO), Err(TsmError::Disturbed)));
        assert!(configfs.entries.borrow().is_empty());
    }
}

#[test]
fn unknown_and_absent_platforms_are_said_to_be_so() {
    let other = FakeConfigfs::new("arm_cca_guest");
    assert!(matches!(report(&other, &BOUND_TO), Err(TsmError::Provider(name)) if name == "arm_cca_guest"));
    let odd = FakeConfigfs::new("a\x1b[2Jb");
    assert!(matches!(provider(&odd), Err(TsmError::Attribute("provider", _))));
    let none = FakeConfigfs::new("");
    assert!(matches!(provider(&none), Err(TsmError::Absent(_))));
    assert_eq!(none.made.get(), 0);
}

/// On a machine that is none, as those that tests run on mostly are; on one that is, its own report is bound as asked.
#[test]
fn this_machine_is_asked_without_harm() {
    match report(&KernelConfigfs::default(), &BOUND_TO) {
        Err(TsmError::Absent(_)) => {}
        Ok(report) => assert!(report.blob.windows(64).any(|part| part == BOUND_TO)),
        Err(other) => panic!("{other}"),
    }
}
