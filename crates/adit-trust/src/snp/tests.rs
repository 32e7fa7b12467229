//! The verifier against AMD's real certificates and reports, and, with a maker played by the test, against reports
//! that no real processor would be asked for.

use super::*;
use crate::appraise::appraise_under;
use crate::forge::{END, Key, NOW, START, Spec, list, tlv, vectors};
use crate::policy::{Revocation, Software};
use crate::{Appraisal, Endorsements, Evidence, Finding, Kind, ReferenceValue};

/// Between the vectors' first and last day.
const THEN: u64 = 1_700_000_000;

/// A processor whose maker is the test.
struct Fake {
    product: Product,
    version: u32,
    root: Spec,
    middle: Spec,
    leaf: Spec,
    leaf_signer: Key,
    report: Vec<u8>,
    signer: Key,
    lists: Vec<Vec<u8>>,
    policy: Policy,
}

fn oid(last: &[u8]) -> Vec<u8> {
    [&[0x2b, 6, 1, 4, 1, 0x9c, 0x78, 1], last].concat()
}

impl Fake {
    fn new(product: Product, version: u32) -> Self {
        let mut report = vec![0; REPORT_SIZE];
        report[..4].copy_from_slice(&version.to_le_bytes());
        report[8..16].copy_from_slice(&guest_policy::RESERVED_ONE.to_le_bytes());
        report[0x34] = 1;
        report[0x50..0x90].fill(0xd1);
        report[0x90..0xc0].fill(0x33);
        let tcb =
            if product == Product::Turin { [1, 2, 3, 4, 0, 0, 0, 200] } else { [2, 3, 0, 0, 0, 0, 4, 200] };
        for at in [0x38, 0x180, 0x1e0, 0x1f0] {
            report[at..at + 8].copy_from_slice(&tcb);
        }
        if version >= 3 {
            let cpuid = match product {
                Product::Milan => [0x19, 1, 1],
                Product::Genoa => [0x19, 0x11, 1],
                Product::Turin => [0x1a, 2, 1],
            };
            report[0x188..0x18b].copy_from_slice(&cpuid);
        }
        let id = if product == Product::Turin { 8 } else { 64 };
        report[0x1a0..0x1a0 + id].fill(0x77);
        let mut leaf = Spec::leaf("SEV-VCEK");
        let name = product.to_string();
        let name = if product == Product::Turin { name } else { format!("{name}-B0") };
        leaf.extensions = vec![
            (oid(&[2]), false, tlv(0x16, name.as_bytes())),
            (oid(&[3, 1]), false, tlv(2, &[2])),
            (oid(&[3, 2]), false, tlv(2, &[3])),
            (oid(&[3, 3]), false, tlv(2, &[4])),
            (oid(&[3, 8]), false, tlv(2, &[0, 200])),
            (oid(&[4]), false, vec![0x77; id]),
        ];
        if product == Product::Turin {
            leaf.extensions.push((oid(&[3, 9]), false, tlv(2, &[1])));
        }
        Fake {
            product,
            version,
            root: Spec::authority("ARK"),
            middle: Spec { serial: 2, ..Spec::authority("ASK") },
            leaf,
            leaf_signer: Key::p384(2),
            report,
            signer: Key::p384(3),
            lists: vec![list("ARK", &Key::p384(1), START, END, &[])],
            policy: Policy { report_data: Some(vec![0xd1; 64]), ..Policy::default() },
        }
    }

    /// Makes the key a provider's.
    fn with_provider_key(mut self) -> Self {
        self.report[0x48] = 1 << 2;
        self.leaf.extensions.retain(|(id, ..)| *id != oid(&[4]));
        self.leaf.extensions.push((oid(&[5]), false, tlv(0x16, b"Example")));
        self
    }

    fn set_u64(mut self, at: usize, value: u64) -> Self {
        self.report[at..at + 8].copy_from_slice(&value.to_le_bytes());
        self
    }

    fn appraise(&self) -> Appraisal {
        let root = self.root.issue(&Key::p384(1), "ARK", &Key::p384(1));
        let mut anchors = Anchors::makers();
        anchors.amd = vec![(self.product, Certificate::parse(&root).unwrap().fingerprint())];
        self.appraise_with(&anchors, root)
    }

    fn appraise_with(&self, anchors: &Anchors, root: Vec<u8>) -> Appraisal {
        let mut report = self.report.clone();
        let signature = self.signer.sign(&report[..SIGNED_SIZE]);
        for (at, number) in [(SIGNED_SIZE, &signature[..48]), (SIGNED_SIZE + 72, &signature[48..])] {
            let turned: Vec<u8> = number.iter().rev().copied().collect();
            report[at..at + 48].copy_from_slice(&turned);
        }
        let certificates = vec![
            self.leaf.issue(&Key::p384(3), "ASK", &self.leaf_signer),
            self.middle.issue(&Key::p384(2), "ARK", &Key::p384(1)),
            root,
        ];
        let endorsements =
            Endorsements { certificates, revocation_lists: self.lists.clone(), collateral: Vec::new() };
        let evidence = Evidence::detect(&report).unwrap();
        appraise_under(anchors, &evidence, &endorsements, &known(0x33), &self.policy, NOW)
    }

    #[track_caller]
    fn refused(&self, step: Step, reason: &str) {
        let appraisal = self.appraise();
        assert!(!appraisal.accepted() && appraisal.claims().is_none(), "accepted");
        let failed: Vec<_> =
            appraisal.checks.iter().filter(|check| matches!(check.finding, Finding::Fail { .. })).collect();
        let names: Vec<_> = appraisal.reasons().map(Reason::name).collect();
        assert_eq!((failed.len(), failed[0].step, names[0]), (1, step, reason), "{failed:?}");
    }
}

fn known(byte: u8) -> ReferenceValues {
    let registers = [("measurement".to_owned(), vec![byte; 48])].into();
    ReferenceValues {
        values: vec![ReferenceValue { name: "test image".into(), kind: Kind::SevSnp, registers }],
    }
}

fn fake() -> Fake {
    Fake::new(Product::Milan, 2)
}

#[test]
fn every_product_and_version_is_understood() {
    for product in [Product::Milan, Product::Genoa, Product::Turin] {
        for version in 2..=5 {
            for fake in [Fake::new(product, version), Fake::new(product, version).with_provider_key()] {
                let appraisal = fake.appraise();
                assert!(appraisal.accepted(), "{product} {}: {:?}", fake.version, appraisal.checks);
                assert_eq!(appraisal.claims(), Some(&Kind::SevSnp.ceiling()));
                assert_eq!(appraisal.reference.as_deref(), Some("test image"));
            }
        }
    }
}

#[test]
fn unknown_software_claims_nothing() {
    let mut fake = fake();
    fake.report[0x90] ^= 1;
    fake.refused(Step::Measurement, "measurement");
    fake.policy.software = Software::Any;
    let appraisal = fake.appraise();
    assert!(appraisal.accepted());
    assert!(appraisal.claims().unwrap().confidential_from().is_empty());
}

#[test]
fn debug_migration_privilege_and_guest_policy_are_refused() {
    let with = |bit: u64| fake().set_u64(8, guest_policy::RESERVED_ONE | bit);
    with(guest_policy::DEBUG).refused(Step::Debug, "debug");
    with(guest_policy::MIGRATE_MA).refused(Step::Migration, "migratable");
    let mut smt = with(1 << 16);
    assert!(smt.appraise().accepted());
    smt.policy.snp.guest_policy_clear = 1 << 16;
    smt.refused(Step::GuestPolicy, "guest-policy");
    let mut single = fake();
    single.policy.snp.guest_policy_set = 1 << 20;
    single.refused(Step::GuestPolicy, "guest-policy");
    let mut low = fake();
    low.report[0x30] = 1;
    low.refused(Step::PrivilegeLevel, "privilege-level");
    low.policy.snp.max_vmpl = 1;
    assert!(low.appraise().accepted());
}

#[test]
fn old_and_contradicting_firmware_is_refused() {
    let old: u64 = u64::from_le_bytes([2, 3, 0, 0, 0, 0, 3, 200]);
    fake().set_u64(0x180, old).refused(Step::Tcb, "tcb-mismatch");
    fake().set_u64(0x38, old).refused(Step::Tcb, "tcb-inconsistent");
    let minimum = Tcb { fmc: None, bootloader: 2, tee: 3, snp: 4, microcode: 200 };
    let mut strict = fake();
    strict.policy.snp.minimum_tcb = vec![(Product::Milan, minimum)];
    assert!(strict.appraise().accepted());
    // Launched under firmware that was too old, and updated since.
    strict.set_u64(0x1f0, old).refused(Step::Tcb, "tcb-too-old");
    let mut newer = fake();
    newer.policy.snp.minimum_tcb = vec![(Product::Milan, Tcb { microcode: 201, ..minimum })];
    newer.refused(Step::Tcb, "tcb-too-old");
    newer.policy.snp.minimum_tcb = vec![(Product::Genoa, minimum)];
    newer.refused(Step::Tcb, "product");
}

#[test]
fn another_processor_product_or_key_is_refused() {
    let mut other = fake();
    other.report[0x1a0] ^= 1;
    other.refused(Step::HardwareId, "hardware-id");
    let mut masked = fake();
    masked.report[0x1a0..0x1e0].fill(0);
    masked.leaf.extensions[5].2.fill(0);
    masked.refused(Step::HardwareId, "hardware-id");
    let mut product = Fake::new(Product::Milan, 3);
    product.report[0x189] = 0x11;
    product.refused(Step::HardwareId, "product");
    let mut named = fake();
    named.leaf.extensions[0].2 = tlv(0x16, b"Genoa-B0");
    named.refused(Step::HardwareId, "product");
    let mut swapped = fake();
    swapped.report[0x48] = 1 << 2;
    swapped.refused(Step::HardwareId, "signing-key");
    let mut provider = fake().with_provider_key();
    provider.policy.snp.provider_keys = false;
    provider.refused(Step::HardwareId, "provider-key");
    let mut signer = fake();
    signer.signer = Key::p384(9);
    signer.refused(Step::Signature, "signature");
}

#[test]
fn wrong_report_data_and_nonces_are_refused() {
    let mut wrong = fake();
    wrong.policy.report_data = Some(vec![0xd2; 64]);
    wrong.refused(Step::ReportData, "report-data");
    // A prefix is not the whole: what follows must be zeros.
    wrong.policy.report_data = Some(vec![0xd1; 32]);
    wrong.refused(Step::ReportData, "report-data");
    wrong.policy.report_data = Some(vec![0xd1; 65]);
    wrong.refused(Step::ReportData, "report-data");
    let mut nonce = fake();
    nonce.policy.nonce = Some(vec![1]);
    nonce.refused(Step::Nonce, "no-nonce-field");
    let mut kinds = fake();
    kinds.policy.kinds.remove(&Kind::SevSnp);
    kinds.refused(Step::Kind, "kind-not-accepted");
}

#[test]
fn expired_early_and_self_signed_certificates_are_refused() {
    const CHAIN: Step = Step::CertificateChain;
    let mut bad = fake();
    bad.leaf.to = "20250101000000Z";
    bad.refused(CHAIN, "certificate-expired");
    bad.leaf = Spec { from: "20350101000000Z", ..fake().leaf };
    bad.refused(CHAIN, "certificate-not-yet-valid");
    bad = fake();
    bad.middle.to = "20250101000000Z";
    bad.refused(CHAIN, "certificate-expired");
    bad = fake();
    bad.root.to = "20250101000000Z";
    bad.refused(CHAIN, "certificate-expired");
    bad = fake();
    bad.leaf_signer = Key::p384(3);
    bad.refused(CHAIN, "certificate-signature");
    bad = fake();
    bad.leaf.subject = "ASK".into();
    bad.leaf_signer = Key::p384(3);
    bad.refused(CHAIN, "root-not-pinned");
    bad = fake();
    bad.middle.authority = false;
    bad.refused(CHAIN, "not-a-certificate-authority");
    bad = fake();
    bad.root.path_length = Some(0);
    bad.refused(CHAIN, "chain-too-long");
    bad = fake();
    bad.leaf.extensions.push((vec![0x2a, 3], true, vec![5, 0]));
    bad.refused(CHAIN, "critical-extension");
    bad = fake();
    bad.leaf.extensions.clear();
    bad.refused(CHAIN, "key-certificate-missing");
}

#[test]
fn a_maker_that_nobody_pinned_is_refused() {
    let fake = fake();
    let root = fake.root.issue(&Key::p384(1), "ARK", &Key::p384(1));
    let appraisal = fake.appraise_with(&Anchors::makers(), root);
    assert_eq!(appraisal.reasons().map(Reason::name).collect::<Vec<_>>(), ["root-not-pinned"]);
}

#[test]
fn revoked_certificates_and_bad_revocation_lists_are_refused() {
    let root = Key::p384(1);
    let with = |lists: Vec<Vec<u8>>| Fake { lists, ..fake() };
    with(vec![list("ARK", &root, START, END, &[2])]).refused(Step::Revocation, "certificate-revoked");
    with(vec![list("ARK", &root, START, END, &[3])]).appraise().claims().unwrap();
    // A list of the ASK is not demanded, but counts; the leaf has the number 7.
    let both = [list("ARK", &root, START, END, &[]), list("ASK", &Key::p384(2), START, END, &[7])];
    with(both.to_vec()).refused(Step::Revocation, "certificate-revoked");
    with(vec![list("ARK", &root, START, "20250101000000Z", &[])])
        .refused(Step::Revocation, "revocation-list-expired");
    with(vec![list("ARK", &Key::p384(9), START, END, &[])])
        .refused(Step::Revocation, "revocation-list-signature");
    let mut none = with(Vec::new());
    none.refused(Step::Revocation, "revocation-unknown");
    none.policy.revocation = Revocation::IfGiven;
    let appraisal = none.appraise();
    assert!(appraisal.accepted());
    assert!(matches!(appraisal.finding(Step::Revocation), Some(Finding::NotAsked { .. })));
    none.lists = vec![list("ARK", &root, START, END, &[2])];
    none.refused(Step::Revocation, "certificate-revoked");
}

/// A real report with its real VCEK.
fn real(folder: &std::path::Path) -> Vec<(Vec<u8>, Vec<u8>)> {
    let read = |name: &str| std::fs::read(folder.join("snp").join(name)).unwrap();
    let hex = hex::decode(read("report_milan.hex")).unwrap();
    vec![(hex, read("vcek_milan.der")), (read("test-report.bin"), read("test-vcek.der"))]
}

/// The default policy, but the vectors have no revocation list.
fn lenient() -> Policy {
    Policy { software: Software::Any, revocation: Revocation::IfGiven, ..Policy::default() }
}

fn appraise_real(report: &[u8], key: &[u8], policy: &Policy, now: u64) -> Appraisal {
    let endorsements = Endorsements { certificates: vec![key.to_vec()], ..Endorsements::default() };
    let evidence = Evidence::SevSnp { report: report.to_vec() };
    appraise_under(&Anchors::makers(), &evidence, &endorsements, &ReferenceValues::default(), policy, now)
}

#[test]
fn real_reports_are_accepted_and_swapped_keys_refused() {
    let Some(folder) = vectors() else { return };
    let vectors = real(&folder);
    for (report, key) in &vectors {
        let appraisal = appraise_real(report, key, &lenient(), THEN);
        assert!(appraisal.accepted(), "{:?}", appraisal.checks);
        assert_eq!(appraisal.vouched_by.as_deref(), Some("AMD (ARK-Milan)"));
        let data = Policy { report_data: Some(report[0x50..0x90].to_vec()), ..lenient() };
        assert!(appraise_real(report, key, &data, THEN).accepted());
        for late in [1_600_000_000, 2_000_000_000] {
            assert!(!appraise_real(report, key, &lenient(), late).accepted());
        }
    }
    for (report, key) in [(&vectors[0].0, &vectors[1].1), (&vectors[1].0, &vectors[0].1)] {
        let appraisal = appraise_real(report, key, &lenient(), THEN);
        let names: Vec<_> = appraisal.reasons().map(Reason::name).collect();
        assert!(names.contains(&"signature") && names.contains(&"hardware-id"), "{names:?}");
    }
    for name in ["test-vcek-invalid-legacy.der", "test-vcek-invalid-new.der"] {
        let key = std::fs::read(folder.join("snp").join(name)).unwrap();
        assert!(!appraise_real(&vectors[1].0, &key, &lenient(), THEN).accepted(), "{name}");
    }
}

#[test]
fn the_real_turin_key_leads_to_its_root() {
    let Some(folder) = vectors() else { return };
    let key = std::fs::read(folder.join("snp/vcek_turin.der")).unwrap();
    let mut pool: Vec<_> =
        Anchors::makers().known.iter().map(|der| Certificate::parse(der).unwrap()).collect();
    let leaf = Certificate::parse(&key).unwrap();
    pool.push(leaf.clone());
    let roots: Vec<_> = Anchors::makers().amd.iter().map(|(_, root)| *root).collect();
    let chain = x509::build(&leaf, &pool, &roots, NOW).unwrap();
    assert_eq!(chain.last().unwrap().subject_text(), "ARK-Turin");
    let claims = key::claims(&leaf, Product::Turin).unwrap();
    assert_eq!((claims.kind, claims.hardware_id.unwrap().len()), (SigningKey::Vcek, 8));
}

#[test]
fn no_changed_byte_of_a_real_report_or_key_is_accepted() {
    let Some(folder) = vectors() else { return };
    let (report, key) = real(&folder).remove(1);
    let bit = |at: usize| 1u8 << (at % 8);
    for at in 0..report.len() {
        let mut changed = report.clone();
        changed[at] ^= bit(at);
        assert!(!appraise_real(&changed, &key, &lenient(), THEN).accepted(), "report byte {at:#x}");
        assert!(!appraise_real(&report[..at], &key, &lenient(), THEN).accepted(), "report of {at} bytes");
    }
    for at in 0..key.len() {
        let mut changed = key.clone();
        changed[at] ^= bit(at);
        assert!(!appraise_real(&report, &changed, &lenient(), THEN).accepted(), "key byte {at:#x}");
    }
}
