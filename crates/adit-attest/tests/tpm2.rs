//! The attester against a live software TPM, with the verifier and tpm2-tools at the other end. `ADIT_RECORD=FILE` also
//! writes what came of it, as `adit-trust/vectors/swtpm.json` has it for recorded tests.

mod swtpm;

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use adit_attest::{Address, BOOT_REGISTERS, Tpm, TpmAttester, TpmError, WrappedKey};
use adit_trust::{
    ActivatedKey, Appraisal, Challenge, DevnetRoot, Endorsements, Evidence, Kind, LastSeen, Policy, Reason,
    ReferenceValues, Revocation, Software, TpmEvidence, appraise,
};
use sha2::{Digest as _, Sha256};
use swtpm::Swtpm;

const NONCE: [u8; 32] = [0x5a; 32];
const ANSWER: [u8; 32] = *b"only this TPM can find out which";
const SEED: [u8; 48] = *b"a seed that is random wherever it is not a test!";

fn connect(tpm: &Swtpm) -> Tpm {
    Tpm::open(&tpm.address().parse::<Address>().unwrap()).unwrap()
}

fn start(tpm: &Swtpm) -> TpmAttester {
    TpmAttester::start(connect(tpm), None).unwrap()
}

/// Measures something into registers, some of which firmware would extend and one that anybody may; the log of it in the
/// crypto-agile form.
fn boot(tpm: &Swtpm) -> Vec<u8> {
    let spec = [&b"Spec ID Event03\0"[..], &[0; 8], &[1, 0, 0, 0, 0x0b, 0, 32, 0], &[0]].concat();
    let mut log = [&[0; 4][..], &[3, 0, 0, 0], &[0; 20], &(spec.len() as u32).to_le_bytes(), &spec].concat();
    for (pcr, what) in [(0u8, "firmware"), (4, "loader"), (4, "kernel"), (7, "secure boot"), (16, "anything")]
    {
        let digest = Sha256::digest(what);
        tpm.does(&format!("tpm2_pcrextend {pcr}:sha256={}", hex::encode(digest)));
        if pcr < 16 {
            log.extend([u32::from(pcr).to_le_bytes(), 5u32.to_le_bytes(), 1u32.to_le_bytes()].concat());
            log.extend(
                [&[0x0b, 0][..], &digest, &(what.len() as u32).to_le_bytes(), what.as_bytes()].concat(),
            );
        }
    }
    log
}

/// Asks the TPM whether both keys live in it, as a relying party does.
fn activated(attester: &mut TpmAttester) -> ActivatedKey {
    let (credential, challenge) =
        Challenge::new(attester.certificate(), attester.public(), ANSWER, &SEED).unwrap();
    challenge.answered(&attester.activate(&credential).unwrap()).unwrap()
}

/// A relying party of the devnet whose maker of TPMs this one's is.
struct Verifier {
    endorsements: Endorsements,
    policy: Policy,
    root: [u8; 32],
}

impl Verifier {
    fn of(tpm: &Swtpm) -> Self {
        let mut endorsements = Endorsements::default();
        endorsements.add(tpm.makers().as_bytes()).unwrap();
        let root: [u8; 32] = Sha256::digest(endorsements.certificates.last().unwrap()).into();
        let mut policy = Policy {
            report_data: Some(NONCE.to_vec()),
            revocation: Revocation::IfGiven,
            ..Policy::default()
        };
        policy.software = Software::Any;
        policy.kinds.insert(Kind::Dev);
        policy.devnet = Some(DevnetRoot::of_this_devnet([0; 32]).with_tpm_maker(root));
        Self { endorsements, policy, root }
    }

    fn appraises(&self, evidence: &TpmEvidence) -> Appraisal {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let evidence = Evidence::Tpm2(evidence.clone().into());
        appraise(&evidence, &self.endorsements, &ReferenceValues::default(), &self.policy, now)
    }
}

fn names(appraisal: &Appraisal) -> Vec<&'static str> {
    appraisal.reasons().map(Reason::name).collect()
}

#[test]
fn a_live_tpm_is_appraised_from_its_certificate_to_its_quote() {
    let Some(tpm) = Swtpm::start() else { return };
    let event_log = boot(&tpm);
    let mut attester = start(&tpm);
    let mut verifier = Verifier::of(&tpm);
    verifier.policy.tpm.activated.push(activated(&mut attester));
    let mut evidence = attester.quote(&NONCE, BOOT_REGISTERS.into_iter().chain([16])).unwrap();
    evidence.event_log = event_log;
    let appraisal = verifier.appraises(&evidence);
    assert_eq!(appraisal.claims(), Some(&Kind::Dev.ceiling()), "{:?}", appraisal.checks);

    let mut replayed = Verifier::of(&tpm);
    replayed.policy.tpm.activated = verifier.policy.tpm.activated.clone();
    replayed.policy.report_data = Some(vec![0x5b; 32]);
    assert_eq!(names(&replayed.appraises(&evidence)), ["report-data"]);
    let unasked = Verifier::of(&tpm);
    assert_eq!(names(&unasked.appraises(&evidence)), ["not-activated"]);
    let mut hardware = Verifier::of(&tpm);
    hardware.policy.tpm.activated = verifier.policy.tpm.activated.clone();
    hardware.policy.devnet = None;
    hardware.policy.tpm.roots.push(hardware.root);
    assert_eq!(names(&hardware.appraises(&evidence)), ["software-tpm"]);

    if let Some(path) = std::env::var_os("ADIT_RECORD") {
        let (credential, _) =
            Challenge::new(attester.certificate(), attester.public(), ANSWER, &SEED).unwrap();
        let recording = serde_json::json!({
            "evidence": evidence, "makers": tpm.makers(), "root": hex::encode(verifier.root),
            "answer": hex::encode(ANSWER), "seed": hex::encode(SEED),
            "blob": hex::encode(&credential.blob), "secret": hex::encode(&credential.secret),
        });
        std::fs::write(Path::new(&path), serde_json::to_vec_pretty(&recording).unwrap()).unwrap();
    }
}

/// swtpm has certificates for RSA 2048 and P-384; P-256 gets one here.
#[test]
fn every_kind_of_endorsement_key_attests() {
    let Some(tpm) = Swtpm::made_with(&["--ecc"], &[]) else { return };
    let attests = |curve: &[u8]| {
        let mut attester = start(&tpm);
        let certificate = attester.certificate().to_vec();
        assert!(certificate.windows(curve.len()).any(|part| part == curve), "{curve:x?}");
        let mut verifier = Verifier::of(&tpm);
        verifier.policy.tpm.activated.push(activated(&mut attester));
        let appraisal = verifier.appraises(&attester.quote(&NONCE, BOOT_REGISTERS).unwrap());
        assert!(appraisal.accepted(), "{:?}", appraisal.checks);
    };
    // rsaEncryption, secp384r1 and prime256v1, as certificates name them.
    attests(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1]);
    tpm.does("tpm2_nvundefine 0x1c00002 -C p");
    attests(&[0x2b, 0x81, 4, 0, 0x22]);

    tpm.does("tpm2_createek -G ecc -c ek -u ek.pub");
    tpm.does("tpm2_flushcontext -t");
    let public = tpm.read("ek.pub");
    let (x, y) = (&public[public.len() - 66..][..32], &public[public.len() - 32..]);
    let key = format!("x={},y={},id=secp256r1", hex::encode(x), hex::encode(y));
    tpm.does(&format!(
        "./maker --type ek --ek {key} --dir . --vmid test --tpm2 --configfile maker.conf --optsfile options.conf \
         --tpm-spec-family 2.0 --tpm-spec-revision 164 --tpm-spec-level 0 --tpm-manufacturer id:00001014 \
         --tpm-model swtpm --tpm-version id:20191023"
    ));
    let size = tpm.read("ek.cert").len();
    tpm.does(&format!("tpm2_nvdefine 0x1c0000a -C p -s {size} -a ppwrite|platformcreate|ownerread|no_da"));
    tpm.does("tpm2_nvwrite 0x1c0000a -C p -i ek.cert");
    attests(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7]);
}

#[test]
fn a_credential_for_another_key_is_not_opened() {
    let Some(tpm) = Swtpm::start() else { return };
    let other = start(&tpm).public().to_vec();
    let mut attester = start(&tpm);
    assert_ne!(attester.public(), other, "each start without a kept key makes one");
    let (foreign, _) = Challenge::new(attester.certificate(), &other, ANSWER, &SEED).unwrap();
    let refused = attester.activate(&foreign).unwrap_err();
    assert!(matches!(refused, TpmError::Refused { command: "TPM2_ActivateCredential", .. }), "{refused}");
    // The refusal leaves nothing behind that stands in the way: keys and sessions have three places each.
    for _ in 0..8 {
        attester.activate(&foreign).unwrap_err();
    }
    activated(&mut attester);
}

#[test]
fn a_kept_key_is_the_same_after_a_reset_and_its_counters_go_on() {
    let Some(mut tpm) = Swtpm::start() else { return };
    let mut attester = start(&tpm);
    let kept = attester.key().clone();
    let mut verifier = Verifier::of(&tpm);
    verifier.policy.tpm.activated.push(activated(&mut attester));
    let before = attester.quote(&NONCE, BOOT_REGISTERS).unwrap();
    drop(attester);

    tpm.reset();
    let kept = WrappedKey::from_json(&kept.to_json()).unwrap();
    let mut attester = TpmAttester::start(connect(&tpm), Some(&kept)).unwrap();
    let after = attester.quote(&NONCE, BOOT_REGISTERS).unwrap();
    assert_eq!(before.ak_public, after.ak_public);
    verifier.policy.tpm.last_seen.push(LastSeen::of(&before).unwrap());
    assert!(verifier.appraises(&after).accepted(), "{:?}", verifier.appraises(&after).checks);
    verifier.policy.tpm.last_seen = vec![LastSeen::of(&after).unwrap()];
    assert_eq!(names(&verifier.appraises(&before)), ["clock-behind"]);
}

#[test]
fn a_kept_key_of_another_tpm_or_a_changed_one_is_refused() {
    let (Some(tpm), Some(other)) = (Swtpm::start(), Swtpm::start()) else { return };
    let kept = start(&tpm).key().clone();
    let refused = TpmAttester::start(connect(&other), Some(&kept)).unwrap_err();
    assert!(matches!(refused, TpmError::ForeignKey), "{refused}");

    let json = String::from_utf8(kept.to_json()).unwrap();
    let last = json.rfind('"').unwrap() - 1;
    let mut changed = json.clone().into_bytes();
    changed[last] = if changed[last] == b'0' { b'1' } else { b'0' };
    let changed = WrappedKey::from_json(&changed).unwrap();
    let refused = TpmAttester::start(connect(&tpm), Some(&changed)).unwrap_err();
    assert!(matches!(refused, TpmError::ForeignKey), "{refused}");
    for broken in
        ["", "{}", "[]", r#"{"public": "zz", "private": ""}"#, &format!("{json} ")[..json.len() - 1]]
    {
        WrappedKey::from_json(broken.as_bytes()).unwrap_err();
    }
    WrappedKey::from_json(&[b' '; 20_000]).unwrap_err();
    // And the TPM still works.
    TpmAttester::start(connect(&tpm), Some(&kept)).unwrap();
}

#[test]
fn quotes_say_what_tpm2_tools_read_and_check() {
    let Some(tpm) = Swtpm::start() else { return };
    boot(&tpm);
    let registers = [0, 4, 7, 16];
    let evidence = start(&tpm).quote(&NONCE, registers).unwrap();
    tpm.does("tpm2_pcrread sha256:0,4,7,16 -o pcrs");
    assert_eq!(evidence.pcrs, tpm.read("pcrs"));
    // TPM2B_PUBLIC, as the tool wants it.
    let public = [&(evidence.ak_public.len() as u16).to_be_bytes(), &evidence.ak_public[..]].concat();
    for (name, bytes) in [("public", &public), ("quote", &evidence.quote), ("signature", &evidence.signature)]
    {
        std::fs::write(tpm.path(name), bytes).unwrap();
    }
    let nonce = hex::encode(NONCE);
    tpm.does(&format!("tpm2_checkquote -u public -m quote -s signature -f pcrs -F values -l sha256:0,4,7,16 -g sha256 -q {nonce}"));
}

#[test]
fn what_cannot_be_quoted_is_refused_before_the_tpm_is_asked() {
    let Some(tpm) = Swtpm::start() else { return };
    let mut attester = start(&tpm);
    assert!(matches!(attester.quote(&[0; 33], [0]), Err(TpmError::ReportData)));
    assert!(matches!(attester.quote(&[], []), Err(TpmError::Selection)));
    assert!(matches!(attester.quote(&[], [0, 24]), Err(TpmError::Selection)));
    attester.quote(&[], [23]).unwrap();
}

#[test]
fn a_makers_chain_is_read_where_the_tpm_keeps_it() {
    let Some(tpm) = Swtpm::start() else { return };
    assert!(start(&tpm).chain().unwrap().is_empty());
    // Across two indices, as makers do where one is too small.
    let mut makers = Endorsements::default();
    makers.add(tpm.makers().as_bytes()).unwrap();
    let chain = makers.certificates.concat();
    let (first, second) = chain.split_at(chain.len() / 3);
    for (index, part) in [("0x1c00100", first), ("0x1c00101", second)] {
        std::fs::write(tpm.path("part"), part).unwrap();
        let attributes = "ppwrite|platformcreate|ppread|ownerread|authread|no_da";
        tpm.does(&format!("tpm2_nvdefine {index} -C p -s {} -a {attributes}", part.len()));
        tpm.does(&format!("tpm2_nvwrite {index} -C p -i part"));
    }
    assert_eq!(start(&tpm).chain().unwrap(), makers.certificates);
}

#[test]
fn a_tpm_without_a_certificate_or_with_another_keys_attests_nothing() {
    let Some(tpm) = Swtpm::made_with(&["--ecc"], &[]) else { return };
    // A new seed: new keys, and the old certificate stays.
    tpm.does("tpm2_changeeps");
    let refused = TpmAttester::start(connect(&tpm), None).unwrap_err();
    assert!(matches!(refused, TpmError::OtherKey), "{refused}");
    for index in ["0x1c00002", "0x1c00016"] {
        tpm.does(&format!("tpm2_nvundefine {index} -C p"));
    }
    let refused = TpmAttester::start(connect(&tpm), None).unwrap_err();
    assert!(matches!(refused, TpmError::NoCertificate), "{refused}");
}
