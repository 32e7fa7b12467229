//! The verifier against real quotes with their collateral, and against quotes of a maker that the test plays.

use super::*;
use crate::appraise::appraise_under;
use crate::forge::{END, Key, NOW, START, Spec, list, sequence, tlv, vectors};
use crate::policy::Software;
use crate::{Appraisal, Evidence, Finding, ReferenceValue};

/// 2025-07-01, when the vectors' collateral was up to date.
const THEN: u64 = 1_751_328_000;

fn real(kind: &str) -> Option<(Vec<u8>, Vec<u8>)> {
    let folder = vectors()?.join(kind);
    let read = |name: &str| std::fs::read(folder.join(format!("{kind}_{name}"))).unwrap();
    Some((read("quote"), read("quote_collateral.json")))
}

fn lenient() -> Policy {
    let mut policy = Policy { software: Software::Any, ..Policy::default() };
    policy.dcap.statuses.insert(TcbStatus::ConfigurationAndSwHardeningNeeded);
    policy
}

fn appraise_real(quote: &[u8], collateral: &[u8], policy: &Policy, now: u64) -> Appraisal {
    let mut endorsements = Endorsements::default();
    endorsements.add(collateral).unwrap();
    let tdx = is_tdx(quote).unwrap_or(false);
    let quote = quote.to_vec();
    let evidence = if tdx { Evidence::Tdx { quote } } else { Evidence::Sgx { quote } };
    crate::appraise(&evidence, &endorsements, &ReferenceValues::default(), policy, now)
}

fn names(appraisal: &Appraisal) -> Vec<&'static str> {
    appraisal.reasons().map(Reason::name).collect()
}

#[test]
fn real_quotes_are_accepted_while_their_collateral_holds() {
    for (name, kind) in [("tdx", Kind::Tdx), ("sgx", Kind::Sgx)] {
        let Some((quote, collateral)) = real(name) else { return };
        assert_eq!(Evidence::detect(&quote).unwrap().kind(), kind);
        let appraisal = appraise_real(&quote, &collateral, &lenient(), THEN);
        assert!(appraisal.accepted(), "{name}: {:?}", appraisal.checks);
        assert_eq!(appraisal.vouched_by.as_deref(), Some("Intel (Intel SGX Root CA)"));
        for now in [THEN - 86_400 * 30, THEN + 86_400 * 30] {
            let appraisal = appraise_real(&quote, &collateral, &lenient(), now);
            assert!(names(&appraisal).contains(&"collateral-out-of-date"), "{name} {:?}", names(&appraisal));
        }
    }
}

#[test]
fn tcb_status_and_advisories_are_the_policys_to_accept() {
    let Some((quote, collateral)) = real("sgx") else { return };
    let strict = Policy { software: Software::Any, ..Policy::default() };
    assert_eq!(names(&appraise_real(&quote, &collateral, &strict, THEN)), ["tcb-status"]);
    let mut picky = lenient();
    picky.dcap.refused_advisories.insert("INTEL-SA-00615".into());
    assert_eq!(names(&appraise_real(&quote, &collateral, &picky, THEN)), ["advisory"]);
    let mut newer = lenient();
    newer.dcap.minimum_evaluation = 18;
    assert_eq!(names(&appraise_real(&quote, &collateral, &newer, THEN)), ["tcb-too-old"]);
}

#[test]
fn another_platforms_or_kinds_collateral_is_refused() {
    let (Some((tdx, of_tdx)), Some((sgx, of_sgx))) = (real("tdx"), real("sgx")) else { return };
    let appraisal = appraise_real(&tdx, &of_sgx, &lenient(), THEN);
    assert!(names(&appraisal).contains(&"collateral-of-another"), "{:?}", names(&appraisal));
    let appraisal = appraise_real(&sgx, &of_tdx, &lenient(), THEN);
    assert!(names(&appraisal).contains(&"collateral-of-another"), "{:?}", names(&appraisal));
    // Both at hand: each takes its own.
    let mut both = Endorsements::default();
    both.add(&of_sgx).unwrap();
    both.add(&of_tdx).unwrap();
    for quote in [&tdx, &sgx] {
        let evidence = Evidence::detect(quote).unwrap();
        assert!(crate::appraise(&evidence, &both, &ReferenceValues::default(), &lenient(), THEN).accepted());
    }
    let none = Endorsements::default();
    let evidence = Evidence::detect(&tdx).unwrap();
    let appraisal = crate::appraise(&evidence, &none, &ReferenceValues::default(), &lenient(), THEN);
    assert_eq!(names(&appraisal), ["collateral-missing"]);
}

#[test]
fn no_change_of_a_real_quote_or_its_collateral_is_accepted() {
    for name in ["tdx", "sgx"] {
        let Some((quote, collateral)) = real(name) else { return };
        let end = quote.iter().rposition(|byte| *byte != 0).unwrap();
        for at in (0..=end).step_by(17) {
            let mut changed = quote.clone();
            changed[at] ^= 1 << (at % 8);
            // Of the chain that the quote carries only the first certificate is needed: the collateral has the others.
            // And PEM means the same with other white space around its base64.
            if appraise_real(&changed, &collateral, &lenient(), THEN).accepted() {
                let text = String::from_utf8_lossy(&quote[..at]);
                let later = text.matches("BEGIN CERTIFICATE").count() > 1;
                assert!(later || quote[at].is_ascii_whitespace() || quote[at] == b'-', "{name}: byte {at}");
            }
        }
        for size in (0..=end).step_by(397) {
            assert!(!appraise_real(&quote[..size], &collateral, &lenient(), THEN).accepted());
        }
        let mut longer = quote[..=end].to_vec();
        longer.extend([0, 0, 1]);
        assert_eq!(names(&appraise_real(&longer, &collateral, &lenient(), THEN)), ["trailing-bytes"]);
        let document: serde_json::Value = serde_json::from_slice(&collateral).unwrap();
        for field in [
            "tcb_info",
            "tcb_info_signature",
            "qe_identity",
            "qe_identity_signature",
            "root_ca_crl",
            "pck_crl",
        ] {
            let text = document[field].as_str().unwrap();
            for at in (0..text.len()).step_by(197) {
                let mut changed = document.clone();
                let mut bytes = text.as_bytes().to_vec();
                bytes[at] = if bytes[at] == b'1' { b'2' } else { b'1' };
                changed[field] = String::from_utf8(bytes).unwrap().into();
                let changed = serde_json::to_vec(&changed).unwrap();
                assert!(!appraise_real(&quote, &changed, &lenient(), THEN).accepted(), "{name} {field} {at}");
            }
        }
    }
}

/// A platform whose maker is the test.
struct Fake {
    version: u16,
    tdx: bool,
    body: Vec<u8>,
    enclave: Vec<u8>,
    binds: bool,
    pck: Spec,
    pck_signer: Key,
    tcb_status: &'static str,
    module_status: &'static str,
    enclave_status: &'static str,
    revoked: [Vec<u8>; 2],
    policy: Policy,
}

const ROOT: u8 = 1;
const PLATFORM_CA: u8 = 2;
const TCB_SIGNER: u8 = 3;
const PCK: u8 = 4;
const ATTESTATION: u8 = 5;

fn oid(last: &[u8]) -> Vec<u8> {
    tlv(6, &[&[0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d, 1, 0x0d, 1][..], last].concat())
}

impl Fake {
    fn new(version: u16, body: usize) -> Self {
        let tdx = body != 384;
        let mut bytes = vec![0; body];
        if tdx {
            bytes[0..3].copy_from_slice(&[5, 1, 2]);
            bytes[136..184].fill(0x44);
            bytes[520..584].fill(0xd1);
        } else {
            bytes[48] = 5;
            bytes[64..96].fill(0x44);
            bytes[320..384].fill(0xd1);
        }
        let mut enclave = vec![0; 384];
        enclave[48] = 0x11;
        enclave[128..160].fill(0x99);
        enclave[256] = 2;
        enclave[258] = 8;
        let components = (1..=16).map(|place| sequence(&[oid(&[2, place]), tlv(2, &[5])]));
        let components = components.chain([sequence(&[oid(&[2, 17]), tlv(2, &[13])])]).collect::<Vec<_>>();
        let extension = sequence(&[
            sequence(&[oid(&[2]), sequence(&components)]),
            sequence(&[oid(&[3]), tlv(4, &[0, 0])]),
            sequence(&[oid(&[4]), tlv(4, &[9; 6])]),
        ]);
        let mut pck = Spec::leaf("Intel SGX PCK Certificate");
        pck.extensions = vec![(oid(&[])[2..].to_vec(), false, extension)];
        Fake {
            version,
            tdx,
            body: bytes,
            enclave,
            binds: true,
            pck,
            pck_signer: Key::p256(PLATFORM_CA),
            tcb_status: "UpToDate",
            module_status: "UpToDate",
            enclave_status: "UpToDate",
            revoked: [Vec::new(), Vec::new()],
            policy: Policy { report_data: Some(vec![0xd1; 64]), ..Policy::default() },
        }
    }

    fn quote(&self) -> Vec<u8> {
        let attestation = Key::p256(ATTESTATION);
        let mut quote = vec![0; 48];
        quote[..2].copy_from_slice(&self.version.to_le_bytes());
        quote[2] = 2;
        quote[4] = if self.tdx { 0x81 } else { 0 };
        quote[12..28].copy_from_slice(&hex::decode("939a7233f79c4ca9940a0db3957f0607").unwrap());
        if self.version == 5 {
            let kind: u16 = match self.body.len() {
                384 => 1,
                584 => 2,
                _ => 3,
            };
            quote.extend(kind.to_le_bytes());
            quote.extend((self.body.len() as u32).to_le_bytes());
        }
        quote.extend(&self.body);
        let signature = attestation.sign(&quote);
        let key = attestation.point()[1..].to_vec();
        let mut enclave = self.enclave.clone();
        if self.binds {
            let named = Sha256::new().chain_update(&key).chain_update([7; 32]).finalize();
            enclave[320..352].copy_from_slice(&named);
        }
        let enclave_signature = Key::p256(PCK).sign(&enclave);
        let certificate = self.pck.issue(&Key::p256(PCK), "Platform CA", &self.pck_signer);
        let pem = pem("CERTIFICATE", &certificate);
        let mut data = [enclave, enclave_signature, vec![32, 0], vec![7; 32], vec![5, 0]].concat();
        data.extend((pem.len() as u32).to_le_bytes());
        data.extend(pem.bytes());
        if self.version > 3 {
            data = [&[6, 0][..], &(data.len() as u32).to_le_bytes(), &data].concat();
        }
        let data = [signature, key, data].concat();
        quote.extend((data.len() as u32).to_le_bytes());
        quote.extend(data);
        quote
    }

    fn collateral(&self) -> Vec<u8> {
        let (root, ca, signer) = (Key::p256(ROOT), Key::p256(PLATFORM_CA), Key::p256(TCB_SIGNER));
        let root_pem = pem("CERTIFICATE", &Spec::authority("Root CA").issue(&root, "Root CA", &root));
        let ca_spec = Spec { serial: 2, ..Spec::authority("Platform CA") };
        let ca_pem = pem("CERTIFICATE", &ca_spec.issue(&ca, "Root CA", &root));
        let signer_spec = Spec { serial: 3, ..Spec::leaf(SIGNER) };
        let signer_pem = pem("CERTIFICATE", &signer_spec.issue(&signer, "Root CA", &root));
        let components = vec![serde_json::json!({"svn": 5}); 16];
        let module = serde_json::json!({
            "mrsigner": "00".repeat(48), "attributes": "00".repeat(8), "attributesMask": "ff".repeat(8),
        });
        let mut identity = module.clone();
        identity["id"] = "TDX_01".into();
        identity["tcbLevels"] = serde_json::json!([{"tcb": {"isvsvn": 5}, "tcbStatus": self.module_status}]);
        let dates = |mut document: serde_json::Value| {
            document["issueDate"] = "2025-06-01T00:00:00Z".into();
            document["nextUpdate"] = "2025-07-01T00:00:00Z".into();
            document["tcbEvaluationDataNumber"] = 17.into();
            document.to_string()
        };
        let tcb = dates(serde_json::json!({
            "id": if self.tdx { "TDX" } else { "SGX" }, "version": 3, "fmspc": "09".repeat(6), "pceId": "0000",
            "tdxModule": module, "tdxModuleIdentities": [identity],
            "tcbLevels": [{
                "tcb": {
                    "sgxtcbcomponents": components, "pcesvn": 13,
                    "tdxtcbcomponents": (0..16).map(|at| serde_json::json!({"svn": if at < 3 { 2 } else { 0 }})).collect::<Vec<_>>(),
                },
                "tcbStatus": self.tcb_status, "tcbDate": "2025-01-01T00:00:00Z", "advisoryIDs": ["INTEL-SA-1"],
            }],
        }));
        let enclave = dates(serde_json::json!({
            "id": if self.tdx { "TD_QE" } else { "QE" }, "version": 2,
            "miscselect": "00000000", "miscselectMask": "ffffffff",
            "attributes": format!("11{}", "00".repeat(15)), "attributesMask": format!("fb{}{}", "ff".repeat(7), "00".repeat(8)),
            "mrsigner": "99".repeat(32), "isvprodid": 2,
            "tcbLevels": [{"tcb": {"isvsvn": 8}, "tcbStatus": self.enclave_status}],
        }));
        let chain = format!("{signer_pem}{root_pem}");
        serde_json::to_vec(&serde_json::json!({
            "pck_crl_issuer_chain": format!("{ca_pem}{root_pem}"),
            "root_ca_crl": hex::encode(list("Root CA", &root, START, END, &self.revoked[0])),
            "pck_crl": hex::encode(list("Platform CA", &ca, START, END, &self.revoked[1])),
            "tcb_info_issuer_chain": chain, "tcb_info_signature": hex::encode(signer.sign(tcb.as_bytes())), "tcb_info": tcb,
            "qe_identity_issuer_chain": chain, "qe_identity_signature": hex::encode(signer.sign(enclave.as_bytes())),
            "qe_identity": enclave,
        }))
        .unwrap()
    }

    fn appraise(&self) -> Appraisal {
        let root = Key::p256(ROOT);
        let root = Spec::authority("Root CA").issue(&root, "Root CA", &root);
        let mut anchors = Anchors::makers();
        anchors.intel = vec![Certificate::parse(&root).unwrap().fingerprint()];
        let mut endorsements = Endorsements::default();
        endorsements.add(&self.collateral()).unwrap();
        let evidence = Evidence::detect(&self.quote()).unwrap();
        let (kind, register) = if self.tdx { (Kind::Tdx, "mrtd") } else { (Kind::Sgx, "mrenclave") };
        let size = if self.tdx { 48 } else { 32 };
        let registers = [(register.to_owned(), vec![0x44; size])].into();
        let references =
            ReferenceValues { values: vec![ReferenceValue { name: "test".into(), kind, registers }] };
        appraise_under(&anchors, &evidence, &endorsements, &references, &self.policy, NOW)
    }

    #[track_caller]
    fn refused(&self, step: Step, reason: &str) {
        let appraisal = self.appraise();
        let failed: Vec<_> =
            appraisal.checks.iter().filter(|check| matches!(check.finding, Finding::Fail { .. })).collect();
        assert!(!appraisal.accepted() && failed.len() == 1, "{failed:?}");
        assert_eq!((failed[0].step, names(&appraisal)[0]), (step, reason));
    }
}

const SIGNER: &str = "Intel SGX TCB Signing";

fn pem(label: &str, der: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let text: String = der
        .chunks(3)
        .flat_map(|chunk| {
            let bits =
                chunk.iter().fold(0u32, |sum, byte| sum << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
            let digit = move |place: usize| ALPHABET[(bits >> (18 - 6 * place) & 63) as usize] as char;
            (0..4).map(move |place| if place <= chunk.len() { digit(place) } else { '=' }).collect::<Vec<_>>()
        })
        .collect();
    let lines: Vec<_> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

fn tdx() -> Fake {
    Fake::new(4, 584)
}

#[test]
fn every_version_and_body_is_understood() {
    for (version, body) in [(3, 384), (4, 384), (4, 584), (5, 384), (5, 584), (5, 648)] {
        let fake = Fake::new(version, body);
        let appraisal = fake.appraise();
        assert!(appraisal.accepted(), "version {version}, {body} bytes: {:?}", appraisal.checks);
        assert_eq!(appraisal.claims(), Some(&appraisal.kind.ceiling()));
    }
}

#[test]
fn debugging_and_migration_are_refused() {
    let mut fake = tdx();
    fake.body[120] = 1;
    fake.refused(Step::Debug, "debug");
    fake.body[120] = 0x80;
    fake.refused(Step::Debug, "debug");
    let mut fake = Fake::new(3, 384);
    fake.body[48] |= SGX_DEBUG;
    fake.refused(Step::Debug, "debug");
    let mut fake = tdx();
    fake.body[123] = 0x20;
    fake.refused(Step::Migration, "migratable");
    let mut fake = Fake::new(5, 648);
    fake.body[600] = 1;
    fake.refused(Step::Migration, "migratable");
    let mut fake = tdx();
    fake.policy.dcap.attributes_set = 1 << 28;
    fake.refused(Step::GuestPolicy, "guest-policy");
}

#[test]
fn another_quoting_enclave_module_or_key_is_refused() {
    let mut fake = tdx();
    fake.enclave[128] ^= 1;
    fake.refused(Step::QuotingEnclave, "quoting-enclave");
    let mut fake = tdx();
    fake.enclave[48] |= SGX_DEBUG;
    fake.refused(Step::QuotingEnclave, "quoting-enclave");
    let mut fake = tdx();
    fake.enclave[256] = 1;
    fake.refused(Step::QuotingEnclave, "quoting-enclave");
    let mut fake = tdx();
    fake.body[64] = 1;
    fake.refused(Step::Tcb, "tdx-module");
    let mut fake = tdx();
    fake.body[112] = 1;
    fake.refused(Step::Tcb, "tdx-module");
    let mut fake = tdx();
    fake.body[1] = 9;
    fake.refused(Step::Tcb, "tcb-unknown");
    let mut fake = tdx();
    fake.binds = false;
    fake.refused(Step::Signature, "signature");
}

#[test]
fn old_and_revoked_platforms_are_refused() {
    let mut fake = tdx();
    fake.tcb_status = "OutOfDate";
    fake.refused(Step::Tcb, "tcb-status");
    fake.policy.dcap.statuses.extend([TcbStatus::OutOfDate, TcbStatus::Revoked]);
    assert!(fake.appraise().accepted());
    fake.tcb_status = "Revoked";
    fake.refused(Step::Tcb, "tcb-status");
    for change in [
        (|fake| fake.module_status = "OutOfDate") as fn(&mut Fake),
        |fake| fake.enclave_status = "OutOfDate",
        |fake| fake.policy.dcap.statuses.clear(),
    ] {
        let mut fake = tdx();
        change(&mut fake);
        fake.refused(Step::Tcb, "tcb-status");
    }
    // Below every level that Intel names.
    for (at, value) in [(0, 4), (2, 1)] {
        let mut fake = tdx();
        fake.body[at] = value;
        fake.refused(Step::Tcb, "tcb-unknown");
    }
    let mut fake = tdx();
    fake.enclave[258] = 7;
    fake.refused(Step::Tcb, "tcb-unknown");
}

#[test]
fn revoked_expired_and_foreign_certificates_are_refused() {
    let mut fake = tdx();
    fake.revoked[1] = vec![7];
    fake.refused(Step::Revocation, "certificate-revoked");
    fake.revoked = [vec![2], Vec::new()];
    fake.refused(Step::Revocation, "certificate-revoked");
    fake.revoked = [vec![3], Vec::new()];
    fake.refused(Step::Collateral, "certificate-revoked");
    let mut fake = tdx();
    fake.pck.to = "20250101000000Z";
    fake.refused(Step::CertificateChain, "certificate-expired");
    let mut fake = tdx();
    fake.pck_signer = Key::p256(PCK);
    fake.refused(Step::CertificateChain, "certificate-signature");
    let mut fake = tdx();
    fake.pck.extensions.clear();
    fake.refused(Step::CertificateChain, "key-certificate-missing");
}
