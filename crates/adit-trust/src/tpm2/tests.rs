//! The verifier against a recording of a real (software) TPM, and against a TPM whose maker is the test. The live TPM is
//! in `adit-attest/tests/tpm2.rs`.

use super::*;
use crate::crypto::PublicKey;
use crate::forge::{END, Key, NOW, START, Spec, list, sequence, tlv};
use crate::policy::{Revocation, Software};
use crate::{Appraisal, DevnetRoot, Endorsements, Evidence, Finding, ReferenceValue, appraise};

fn names(appraisal: &Appraisal) -> Vec<&'static str> {
    appraisal.reasons().map(Reason::name).collect()
}

/// An event log: register and digest of each event.
fn event_log(events: &[(u32, [u8; 32])]) -> Vec<u8> {
    let spec = [&b"Spec ID Event03\0"[..], &[0; 8], &[1, 0, 0, 0, 0x0b, 0, 32, 0], &[0]].concat();
    let mut out = [&[0; 4][..], &[3, 0, 0, 0], &[0; 20], &(spec.len() as u32).to_le_bytes(), &spec].concat();
    for (pcr, digest) in events {
        out.extend(
            [&pcr.to_le_bytes()[..], &[4, 0, 0, 0, 1, 0, 0, 0, 0x0b, 0], digest, &[4, 0, 0, 0, 1, 2, 3, 4]]
                .concat(),
        );
    }
    out
}

fn extended(digest: [u8; 32]) -> [u8; 32] {
    Sha256::new().chain_update([0; 32]).chain_update(digest).finalize().into()
}

/// A TPM whose maker is the test.
struct Fake {
    attributes: u32,
    signer: Key,
    ek: Spec,
    pcrs: Vec<(u8, [u8; 32])>,
    log: Vec<u8>,
    reference: (&'static str, [u8; 32]),
    clock: u64,
    bank: u16,
    magic: [u8; 4],
    lists: Vec<Vec<u8>>,
    activated: bool,
    policy: Policy,
}

fn sized(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat()
}

impl Fake {
    fn new() -> Self {
        let model = sequence(&[tlv(6, &[0x67, 0x81, 5, 2, 2]), tlv(0x0c, b"Example 9000")]);
        let mut ek = Spec::leaf("EK");
        ek.extensions = vec![
            (vec![0x55, 0x1d, 37], false, sequence(&[EK_USAGE.to_vec()])),
            (vec![0x55, 0x1d, 17], true, sequence(&[tlv(0xa4, &sequence(&[tlv(0x31, &model)]))])),
        ];
        let pcrs = vec![(0, extended([1; 32])), (7, extended([2; 32])), (16, extended([3; 32]))];
        Fake {
            attributes: 0x0005_0072,
            signer: Key::p256(3),
            ek,
            pcrs,
            log: event_log(&[(0, [1; 32]), (7, [2; 32]), (5, [9; 32])]),
            reference: ("pcr7", extended([2; 32])),
            clock: 1000,
            bank: 0x0b,
            magic: *b"\xffTCG",
            lists: vec![list("TPM maker", &Key::p256(1), START, END, &[])],
            activated: true,
            policy: Policy { report_data: Some(vec![5; 32]), ..Policy::default() },
        }
    }

    fn ak_public(&self) -> Vec<u8> {
        let point = Key::p256(3).point();
        let head = [&[0, 0x23, 0, 0x0b][..], &self.attributes.to_be_bytes(), &[0, 0]].concat();
        let parameters = [0, 0x10, 0, 0x18, 0, 0x0b, 0, 3, 0, 0x10];
        [head, parameters.to_vec(), sized(&point[1..33]), sized(&point[33..])].concat()
    }

    fn evidence(&self) -> TpmEvidence {
        let mut bits = [0u8; 3];
        let mut values = Vec::new();
        for (pcr, value) in &self.pcrs {
            bits[usize::from(pcr / 8)] |= 1 << (pcr % 8);
            values.extend(value);
        }
        let quote = [
            &self.magic[..],
            &[0x80, 0x18],
            &sized(&[7; 34]),
            &sized(&[5; 32]),
            &self.clock.to_be_bytes(),
            &[0, 0, 0, 4, 0, 0, 0, 2, 1],
            &[0; 8],
            &[0, 0, 0, 1],
            &self.bank.to_be_bytes(),
            &[3],
            &bits,
            &sized(&Sha256::digest(&values)),
        ]
        .concat();
        let signature = self.signer.sign(&quote);
        let signature =
            [&[0, 0x18, 0, 0x0b][..], &sized(&signature[..32]), &sized(&signature[32..])].concat();
        TpmEvidence {
            ek_certificate: self.ek.issue(&Key::p256(2), "TPM maker", &Key::p256(1)),
            ak_public: self.ak_public(),
            quote,
            signature,
            pcrs: values,
            event_log: self.log.clone(),
        }
    }

    fn appraise(&self) -> Appraisal {
        self.appraise_this(self.evidence())
    }

    fn appraise_this(&self, evidence: TpmEvidence) -> Appraisal {
        let maker = Spec::authority("TPM maker").issue(&Key::p256(1), "TPM maker", &Key::p256(1));
        let root = Certificate::parse(&maker).unwrap().fingerprint();
        let mut policy = self.policy.clone();
        policy.tpm.roots.push(root);
        if self.activated {
            let name = [&[0, 0x0b][..], &Sha256::digest(self.ak_public())].concat();
            let endorsement = self.ek.issue(&Key::p256(2), "TPM maker", &Key::p256(1));
            let endorsement = Certificate::parse(&endorsement).unwrap().fingerprint();
            policy.tpm.activated.push(ActivatedKey { name, endorsement });
        }
        let mut endorsements =
            Endorsements { revocation_lists: self.lists.clone(), ..Endorsements::default() };
        endorsements.certificates.push(maker);
        let (register, value) = self.reference;
        let registers = [(register.to_owned(), value.to_vec())].into();
        let value = ReferenceValue { name: "boot".into(), kind: Kind::Tpm2, registers };
        let references = ReferenceValues { values: vec![value] };
        appraise(&Evidence::Tpm2(evidence.into()), &endorsements, &references, &policy, NOW)
    }

    #[track_caller]
    fn refused(change: impl FnOnce(&mut Fake), step: Step, reason: &str) {
        let mut fake = Fake::new();
        change(&mut fake);
        let appraisal = fake.appraise();
        let failed: Vec<_> =
            appraisal.checks.iter().filter(|check| matches!(check.finding, Finding::Fail { .. })).collect();
        assert!(!appraisal.accepted() && failed.len() == 1, "{failed:?}");
        assert_eq!((failed[0].step, names(&appraisal)[0]), (step, reason));
    }
}

#[test]
fn a_measured_boot_claims_what_a_tpm_can_and_no_more() {
    let appraisal = Fake::new().appraise();
    assert!(appraisal.accepted(), "{:?}", appraisal.checks);
    assert_eq!(appraisal.claims(), Some(&Kind::Tpm2.ceiling()));
}

#[test]
fn keys_that_are_not_restricted_or_of_another_tpm_are_refused() {
    for bit in [1, 4, 5, 16, 18] {
        Fake::refused(|fake| fake.attributes &= !(1 << bit), Step::Form, "attestation-key");
    }
    Fake::refused(|fake| fake.attributes |= 1 << 17, Step::Form, "attestation-key");
    Fake::refused(|fake| fake.activated = false, Step::AttestationKey, "not-activated");
    Fake::refused(|fake| fake.signer = Key::p256(9), Step::Signature, "signature");
    // Seen to live beside another endorsement key.
    let mut other = Fake::new();
    let elsewhere = Fake::new().appraise_this(other.evidence());
    assert!(elsewhere.accepted());
    other.ek.serial = 8;
    let appraisal = Fake::new().appraise_this(other.evidence());
    assert_eq!(names(&appraisal), ["not-activated"]);
}

#[test]
fn registers_logs_and_nonces_that_do_not_fit_are_refused() {
    Fake::refused(|fake| fake.log = event_log(&[(0, [1; 32]), (7, [8; 32])]), Step::EventLog, "event-log");
    Fake::refused(|fake| fake.log = event_log(&[(0, [1; 32])]), Step::EventLog, "event-log");
    Fake::refused(|fake| fake.reference.1[0] ^= 1, Step::Measurement, "measurement");
    Fake::refused(|fake| fake.policy.report_data = Some(vec![6; 32]), Step::ReportData, "report-data");
    Fake::refused(|fake| fake.policy.nonce = Some(vec![5; 32]), Step::Nonce, "no-nonce-field");
    Fake::refused(|fake| fake.bank = 4, Step::Form, "pcr-bank");
    // Signed by the key, but not by the TPM's own composition.
    Fake::refused(|fake| fake.magic[0] = 0xfe, Step::Form, "not-a-quote");
    let fake = Fake::new();
    let mut other = fake.evidence();
    other.pcrs[0] ^= 1;
    assert_eq!(names(&fake.appraise_this(other)), ["registers", "event-log"]);
    let mut fewer = fake.evidence();
    fewer.pcrs.truncate(64);
    assert_eq!(names(&fake.appraise_this(fewer)), ["registers"]);
}

#[test]
fn a_register_that_can_be_reset_is_no_measurement() {
    Fake::refused(|fake| fake.reference = ("pcr16", extended([3; 32])), Step::Measurement, "measurement");
}

#[test]
fn a_tpm_whose_counters_went_back_is_refused() {
    let seen = LastSeen::of(&Fake::new().evidence()).unwrap();
    assert_eq!((seen.resets, seen.restarts, seen.clock), (4, 2, 1000));
    let with = |seen| move |fake: &mut Fake| fake.policy.tpm.last_seen.push(seen);
    for behind in [
        LastSeen { resets: 5, ..seen.clone() },
        LastSeen { restarts: 3, ..seen.clone() },
        LastSeen { clock: 1001, ..seen.clone() },
    ] {
        Fake::refused(with(behind), Step::Clock, "clock-behind");
    }
    for before in [
        seen.clone(),
        LastSeen { resets: 3, restarts: 9, clock: 5000, ..seen.clone() },
        // The offset that the TPM adds for this key carried the counter over its end.
        LastSeen { resets: u32::MAX, ..seen.clone() },
    ] {
        let mut fake = Fake::new();
        with(before)(&mut fake);
        assert_eq!(fake.appraise().finding(Step::Clock), Some(&Finding::Pass));
    }
    // Of another key's counters nothing follows for this one's.
    let mut fake = Fake::new();
    with(LastSeen { key: vec![1], resets: 9, ..seen })(&mut fake);
    assert!(matches!(fake.appraise().finding(Step::Clock), Some(Finding::NotAsked { .. })));
}

#[test]
fn endorsement_keys_without_a_makers_word_are_refused() {
    const CHAIN: Step = Step::CertificateChain;
    Fake::refused(|fake| fake.ek.to = "20250101000000Z", CHAIN, "certificate-expired");
    Fake::refused(|fake| drop(fake.ek.extensions.remove(0)), CHAIN, "not-an-endorsement-key");
    let revoked = vec![list("TPM maker", &Key::p256(1), START, END, &[7])];
    Fake::refused(|fake| fake.lists = revoked, Step::Revocation, "certificate-revoked");
    Fake::refused(|fake| fake.lists.clear(), Step::Revocation, "revocation-unknown");
    let software = |fake: &mut Fake| {
        let model = sequence(&[tlv(6, &[0x67, 0x81, 5, 2, 2]), tlv(0x0c, b"swtpm")]);
        fake.ek.extensions[1].2 = sequence(&[tlv(0xa4, &sequence(&[tlv(0x31, &model)]))]);
    };
    Fake::refused(software, CHAIN, "software-tpm");
}

#[test]
fn bombs_in_event_logs_are_refused() {
    let good = event_log(&[(0, [1; 32]), (7, [2; 32])]);
    for (change, reason) in [
        ((|log| log.resize(MAX + 1, 0)) as fn(&mut Vec<u8>), "too-large"),
        (|log| log.truncate(log.len() - 1), "truncated"),
        (|log| log[28..32].fill(0xff), "truncated"),
        (|log| log[56..60].fill(0xff), "too-large"),
        (|log| log[4] = 4, "malformed"),
        (|log| *log = [&log[..], &event_log(&[])[..40]].concat(), "malformed"),
        (|log| *log = event_log(&[(24, [0; 32])]), "malformed"),
        (|log| *log = event_log(&[(1, [0; 32]); 20_001]), "too-large"),
    ] {
        let mut log = good.clone();
        change(&mut log);
        Fake::refused(|fake| fake.log = log, Step::EventLog, reason);
    }
    const MAX: usize = 2 << 20;
    assert_eq!(TpmEvidence::from_json(&vec![b'['; 1 << 20]).unwrap_err().name(), "malformed");
}

/// A recording of swtpm: evidence, its maker's root, and a credential that it opened, with the randomness it was made of.
#[derive(serde::Deserialize)]
struct Recording {
    evidence: TpmEvidence,
    makers: String,
    root: String,
    answer: String,
    seed: String,
    blob: String,
    secret: String,
}

fn recording() -> Recording {
    serde_json::from_str(include_str!("../../vectors/swtpm.json")).unwrap()
}

fn bytes<const N: usize>(text: &str) -> [u8; N] {
    hex::decode(text).unwrap().try_into().unwrap()
}

fn appraise_recorded(evidence: TpmEvidence, policy: &Policy) -> Appraisal {
    let mut endorsements = Endorsements::default();
    endorsements.add(recording().makers.as_bytes()).unwrap();
    appraise(&Evidence::Tpm2(evidence.into()), &endorsements, &ReferenceValues::default(), policy, RECORDED)
}

/// 2026-12-01.
const RECORDED: u64 = 1_796_083_200;

/// The policy of the devnet that the recorded TPM was made for.
fn in_devnet() -> Policy {
    let recording = recording();
    let evidence = &recording.evidence;
    let (credential, challenge) = Challenge::new(
        &evidence.ek_certificate,
        &evidence.ak_public,
        bytes(&recording.answer),
        &bytes(&recording.seed),
    )
    .unwrap();
    // The very bytes that the TPM opened.
    assert_eq!(
        (hex::encode(credential.blob), hex::encode(credential.secret)),
        (recording.blob, recording.secret)
    );
    let mut policy = Policy { software: Software::Any, revocation: Revocation::IfGiven, ..Policy::default() };
    policy.kinds.insert(Kind::Dev);
    policy.devnet = Some(DevnetRoot::of_this_devnet([0; 32]).with_tpm_maker(bytes(&recording.root)));
    policy.tpm.activated.push(challenge.answered(&bytes::<32>(&recording.answer)).unwrap());
    policy
}

#[test]
fn a_recorded_software_tpm_counts_in_its_devnet_only() {
    let policy = in_devnet();
    let appraisal = appraise_recorded(recording().evidence, &policy);
    assert_eq!(appraisal.claims(), Some(&Kind::Dev.ceiling()), "{:?}", appraisal.checks);
    assert_eq!(appraisal.finding(Step::EventLog), Some(&Finding::Pass));

    let mut outside = policy.clone();
    outside.devnet = None;
    assert_eq!(names(&appraise_recorded(recording().evidence, &outside)), ["root-not-pinned"]);
    outside.tpm.roots.push(bytes(&recording().root));
    assert_eq!(names(&appraise_recorded(recording().evidence, &outside)), ["software-tpm"]);
    let mut other = policy;
    other.kinds.remove(&Kind::Dev);
    assert_eq!(names(&appraise_recorded(recording().evidence, &other)), ["kind-not-accepted"]);
}

#[test]
fn no_changed_byte_of_a_recorded_quote_is_accepted() {
    let policy = in_devnet();
    for field in 0..5 {
        let bytes_of = |evidence: &TpmEvidence| match field {
            0 => evidence.ek_certificate.clone(),
            1 => evidence.ak_public.clone(),
            2 => evidence.quote.clone(),
            3 => evidence.signature.clone(),
            _ => evidence.pcrs.clone(),
        };
        let with = |bytes: Vec<u8>| {
            let mut evidence = recording().evidence;
            match field {
                0 => evidence.ek_certificate = bytes,
                1 => evidence.ak_public = bytes,
                2 => evidence.quote = bytes,
                3 => evidence.signature = bytes,
                _ => evidence.pcrs = bytes,
            }
            evidence
        };
        let original = bytes_of(&recording().evidence);
        for at in 0..original.len() {
            let mut changed = original.clone();
            changed[at] ^= 1 << (at % 8);
            assert!(!appraise_recorded(with(changed), &policy).accepted(), "field {field}, byte {at}");
            assert!(!appraise_recorded(with(original[..at].to_vec()), &policy).accepted());
        }
    }
}

#[test]
fn a_wrong_answer_activates_nothing() {
    let recording = recording();
    let evidence = recording.evidence;
    let challenge =
        || Challenge::new(&evidence.ek_certificate, &evidence.ak_public, [1; 32], &[2; 48]).unwrap();
    let (first, one) = challenge();
    assert_eq!(one.answered(&[0; 32]).unwrap_err().name(), "not-activated");
    let (again, two) = challenge();
    assert_eq!(two.answered(&[]).unwrap_err().name(), "not-activated");
    assert_eq!(first, again, "a function of what it is given");
    let fake = Fake { attributes: 0x0004_0072, ..Fake::new() };
    let refused =
        Challenge::new(&evidence.ek_certificate, &fake.ak_public(), [1; 32], &[2; 48]).err().unwrap();
    assert_eq!(refused.name(), "attestation-key");
}

#[test]
fn no_credential_is_made_for_an_endorsement_key_of_a_template_that_is_not_known() {
    let rsa = |size| PublicKey::Rsa(crate::crypto::RsaKey::new(&vec![0xff; size], &[1, 0, 1]).unwrap());
    assert!(credential::make(&rsa(256), &[], &[0; 32], &[1; 48]).is_ok());
    assert_eq!(credential::make(&rsa(384), &[], &[0; 32], &[1; 48]).unwrap_err(), Reason::Algorithm);
}
