//! The verifier against a real document, and against documents of a maker that the test plays.

use super::*;
use crate::appraise::appraise_under;
use crate::forge::{END, Key, NOW, START, Spec, list, vectors};
use crate::policy::Software;
use crate::{Appraisal, Endorsements, Evidence, Kind, ReferenceValue};

/// The real document, out of the message that it was recorded in, and its time.
fn real() -> Option<(Vec<u8>, u64)> {
    let message = std::fs::read(vectors()?.join("nitro/nitro.bin")).unwrap();
    // Before it a tag of two bytes and its length, a compact integer of two.
    let size = usize::from(u16::from_le_bytes([message[2], message[3]]) >> 2);
    let document = message[4..4 + size].to_vec();
    let time = Document::parse(&document).unwrap().milliseconds / 1000;
    Some((document, time))
}

fn lenient() -> Policy {
    Policy { software: Software::Any, ..Policy::default() }
}

fn appraise_real(document: &[u8], policy: &Policy, now: u64) -> Appraisal {
    let evidence = Evidence::Nitro { document: document.to_vec() };
    crate::appraise(&evidence, &Endorsements::default(), &ReferenceValues::default(), policy, now)
}

fn names(appraisal: &Appraisal) -> Vec<&'static str> {
    appraisal.reasons().map(Reason::name).collect()
}

#[test]
fn a_real_document_is_accepted_while_its_certificate_lives() {
    let Some((document, time)) = real() else { return };
    assert_eq!(Evidence::detect(&document).unwrap().kind(), Kind::Nitro);
    let appraisal = appraise_real(&document, &lenient(), time + 60);
    assert!(appraisal.accepted(), "{:?}", appraisal.checks);
    assert_eq!(appraisal.vouched_by.as_deref(), Some("Amazon (aws.nitro-enclaves)"));
    let pcr0 = appraisal.facts.iter().find(|fact| fact.name == "pcr0").unwrap().value.clone();
    let json =
        format!(r#"{{"values": [{{"name": "image", "kind": "nitro", "registers": {{"pcr0": "{pcr0}"}}}}]}}"#);
    let references = ReferenceValues::from_json(json.as_bytes()).unwrap();
    let evidence = Evidence::Nitro { document: document.clone() };
    let known = crate::appraise(&evidence, &Endorsements::default(), &references, &Policy::default(), time);
    assert_eq!(known.claims(), Some(&Kind::Nitro.ceiling()), "{:?}", known.checks);

    assert!(names(&appraise_real(&document, &lenient(), time + 86_400)).contains(&"certificate-expired"));
    assert!(
        names(&appraise_real(&document, &lenient(), time - 86_400)).contains(&"certificate-not-yet-valid")
    );
    let young = Policy { max_age: Some(30), ..lenient() };
    assert_eq!(names(&appraise_real(&document, &young, time + 60)), ["stale"]);
}

#[test]
fn no_change_of_a_real_document_is_accepted() {
    let Some((document, time)) = real() else { return };
    for at in (0..document.len()).step_by(7) {
        let mut changed = document.clone();
        changed[at] ^= 1 << (at % 8);
        assert!(!appraise_real(&changed, &lenient(), time).accepted(), "byte {at}");
    }
    for size in (0..document.len()).step_by(131) {
        assert!(!appraise_real(&document[..size], &lenient(), time).accepted());
    }
    let longer = [&document[..], &[0]].concat();
    assert_eq!(names(&appraise_real(&longer, &lenient(), time)), ["trailing-bytes"]);
}

/// What a document of the test's own maker is to say.
struct Fake {
    user_data: Vec<u8>,
    nonce: Vec<u8>,
    pcr0: u8,
    time: u64,
    leaf: Spec,
    leaf_signer: Key,
    signer: Key,
    extra: Vec<u8>,
    lists: Vec<Vec<u8>>,
    policy: Policy,
}

fn bytes(content: &[u8]) -> Vec<u8> {
    [bytes_head(content.len()), content.to_vec()].concat()
}

fn text(content: &str) -> Vec<u8> {
    let mut out = bytes(content.as_bytes());
    out[0] |= 0x20;
    out
}

impl Fake {
    fn new() -> Self {
        Fake {
            user_data: vec![1; 32],
            nonce: vec![2; 16],
            pcr0: 5,
            time: NOW,
            leaf: Spec::leaf("enclave"),
            leaf_signer: Key::p384(1),
            signer: Key::p384(2),
            extra: Vec::new(),
            lists: Vec::new(),
            policy: Policy {
                report_data: Some(vec![1; 32]),
                nonce: Some(vec![2; 16]),
                max_age: Some(60),
                ..Policy::default()
            },
        }
    }

    fn document(&self) -> (Vec<u8>, Certificate) {
        let root_key = Key::p384(1);
        let root = Spec::authority("root").issue(&root_key, "root", &root_key);
        let leaf = self.leaf.issue(&Key::p384(2), "root", &self.leaf_signer);
        let time = [&[0x1b][..], &(self.time * 1000).to_be_bytes()].concat();
        let pcrs = [vec![0xa1, 0], bytes(&[self.pcr0; 48])].concat();
        let fields = [
            ("module_id", text("i-1-enc1")),
            ("digest", text("SHA384")),
            ("timestamp", time),
            ("pcrs", pcrs),
            ("certificate", bytes(&leaf)),
            ("cabundle", [vec![0x81], bytes(&root)].concat()),
            ("user_data", bytes(&self.user_data)),
            ("nonce", bytes(&self.nonce)),
            ("public_key", vec![0xf6]),
        ];
        let fields = fields.into_iter().flat_map(|(name, value)| [text(name), value].concat());
        let payload: Vec<u8> =
            [0xbf].into_iter().chain(fields).chain(self.extra.iter().copied()).chain([0xff]).collect();
        let protected = [0xa1, 1, 0x38, 34];
        let signed =
            [b"\x84\x6aSignature1".to_vec(), bytes(&protected), bytes(&[]), bytes(&payload)].concat();
        let signature = self.signer.sign(&signed);
        let document =
            [vec![0x84], bytes(&protected), vec![0xa0], bytes(&payload), bytes(&signature)].concat();
        (document, Certificate::parse(&root).unwrap())
    }

    fn appraise(&self) -> Appraisal {
        let (document, root) = self.document();
        let mut anchors = Anchors::makers();
        anchors.amazon = vec![root.fingerprint()];
        let registers = [("pcr0".to_owned(), vec![5; 48])].into();
        let value = ReferenceValue { name: "test".into(), kind: Kind::Nitro, registers };
        let endorsements = Endorsements { revocation_lists: self.lists.clone(), ..Endorsements::default() };
        let evidence = Evidence::detect(&document).unwrap();
        let references = ReferenceValues { values: vec![value] };
        appraise_under(&anchors, &evidence, &endorsements, &references, &self.policy, NOW)
    }

    #[track_caller]
    fn refused(change: impl FnOnce(&mut Fake), reason: &str) {
        let mut fake = Fake::new();
        change(&mut fake);
        let appraisal = fake.appraise();
        assert!(!appraisal.accepted());
        assert_eq!(names(&appraisal), [reason], "{:?}", appraisal.checks);
    }
}

#[test]
fn forged_stale_debugging_and_foreign_documents_are_refused() {
    let appraisal = Fake::new().appraise();
    assert_eq!(appraisal.claims(), Some(&Kind::Nitro.ceiling()), "{:?}", appraisal.checks);
    Fake::refused(|fake| fake.signer = Key::p384(3), "signature");
    Fake::refused(|fake| fake.leaf_signer = Key::p384(3), "certificate-signature");
    Fake::refused(|fake| fake.leaf.to = "20250101000000Z", "certificate-expired");
    Fake::refused(
        |fake| fake.lists = vec![list("root", &Key::p384(1), START, END, &[7])],
        "certificate-revoked",
    );
    Fake::refused(|fake| fake.user_data = vec![3; 32], "report-data");
    Fake::refused(|fake| fake.nonce = vec![3; 16], "nonce");
    Fake::refused(|fake| fake.time -= 61, "stale");
    Fake::refused(|fake| fake.time += 3600, "from-the-future");
    Fake::refused(|fake| fake.pcr0 = 6, "measurement");
    Fake::refused(
        |fake| {
            fake.pcr0 = 0;
            fake.policy.software = Software::Any;
        },
        "debug",
    );
    let (document, _) = Fake::new().document();
    assert_eq!(names(&appraise_real(&document, &lenient(), NOW)), ["root-not-pinned"]);
}

#[test]
fn bombs_in_cbor_are_refused_before_they_grow() {
    let huge = [0x5b, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff];
    for (extra, reason) in [
        ([text("more"), vec![0xf6]].concat(), "malformed"),
        ([text("nonce"), vec![0xf6]].concat(), "malformed"),
        (vec![0x81; 4000], "malformed"),
        ([text("cabundle"), vec![0x9a, 0xff, 0xff, 0xff, 0xff]].concat(), "too-large"),
        ([text("cabundle"), vec![0x89], vec![0x40; 9]].concat(), "too-large"),
        ([text("user_data"), huge.to_vec()].concat(), "too-large"),
        ([text("pcrs"), vec![0xbb, 0, 0, 0, 1, 0, 0, 0, 0]].concat(), "too-large"),
        ([text("pcrs"), vec![0xa1, 0x18, 40], bytes(&[0; 48])].concat(), "malformed"),
        ([text("timestamp"), vec![0x3b]].concat(), "truncated"),
    ] {
        Fake::refused(|fake| fake.extra = extra, reason);
    }
    Fake::refused(|fake| fake.user_data = vec![1; MAX_FIELD + 1], "too-large");
    let long = vec![0x84; MAX_DOCUMENT + 1];
    assert_eq!(names(&appraise_real(&long, &lenient(), NOW)), ["too-large"]);
}
