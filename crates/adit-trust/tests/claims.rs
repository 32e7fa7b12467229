//! No claim is above its evidence, over every kind: real evidence of the four processors' kinds, a recorded software TPM,
//! a devnet's simulation and a bare promise, under generated policies, times, references and changes. And what comes
//! with evidence is bounded before it is read.

use adit_trust::{
    Adversary, Appraisal, Challenge, DevEvidence, DevnetRoot, Endorsements, Evidence, Finding, Kind,
    MAX_CERTIFICATE, MAX_CERTIFICATES, MAX_ENDORSEMENT, MAX_EVIDENCE, Policy, ReferenceValue,
    ReferenceValues, Revocation, Software, Step, TcbStatus, TpmEvidence, appraise,
};
use ed25519_dalek::{Signer as _, SigningKey};
use proptest::prelude::*;

/// Evidence that is accepted, with all that it takes.
struct Sample {
    evidence: Evidence,
    endorsements: Endorsements,
    policy: Policy,
    references: ReferenceValues,
    now: u64,
    /// Whose ceiling counts.
    worth: Kind,
}

impl Sample {
    fn new(evidence: Evidence, endorsements: &[Vec<u8>], policy: Policy, now: u64, worth: Kind) -> Self {
        let mut all = Endorsements::default();
        for file in endorsements {
            all.add(file).unwrap();
        }
        let mut sample = Sample {
            evidence,
            endorsements: all,
            policy: Policy { software: Software::Any, ..policy },
            references: ReferenceValues::default(),
            now,
            worth,
        };
        // What runs becomes known by what the evidence itself says.
        let appraisal = sample.appraise();
        assert!(appraisal.accepted(), "{worth}: {:?}", appraisal.checks);
        let registers = appraisal.facts.iter().filter_map(|fact| match fact.name {
            "measurement" | "mrtd" | "mrenclave" | "pcr0" => {
                Some((fact.name.to_owned(), hex::decode(&fact.value).unwrap()))
            }
            "pcr" => {
                let (pcr, value) = fact.value.split_once(' ').unwrap();
                (pcr.parse::<u8>().unwrap() < 16).then(|| (format!("pcr{pcr}"), hex::decode(value).unwrap()))
            }
            _ => None,
        });
        let mut registers: std::collections::BTreeMap<_, _> = registers.collect();
        if let Evidence::Dev(dev) = &sample.evidence {
            registers.insert("measurement".into(), dev.measurement.to_vec());
        }
        let kind = sample.evidence.kind();
        if kind != Kind::None {
            assert!(!registers.is_empty(), "{kind}: no register");
        }
        sample.references.values.push(ReferenceValue { name: "image".into(), kind, registers });
        sample.policy.software = Software::Known;
        sample
    }

    fn appraise(&self) -> Appraisal {
        appraise(&self.evidence, &self.endorsements, &self.references, &self.policy, self.now)
    }

    /// Flips one bit.
    fn change(&mut self, at: usize, bit: u8) {
        let flip = |bytes: &mut [u8]| {
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
        };
        match &mut self.evidence {
            Evidence::None => {}
            Evidence::Dev(dev) => match at % 3 {
                0 => flip(&mut dev.measurement),
                1 => flip(&mut dev.report_data),
                _ => flip(&mut dev.signature),
            },
            Evidence::SevSnp { report: bytes }
            | Evidence::Tdx { quote: bytes }
            | Evidence::Sgx { quote: bytes }
            | Evidence::Nitro { document: bytes } => flip(bytes),
            Evidence::Tpm2(tpm) => match at % 5 {
                0 => flip(&mut tpm.ek_certificate),
                1 => flip(&mut tpm.ak_public),
                2 => flip(&mut tpm.signature),
                3 => flip(&mut tpm.pcrs),
                _ => flip(&mut tpm.quote),
            },
        }
    }
}

fn policy() -> Policy {
    Policy { kinds: Kind::ALL.into(), revocation: Revocation::IfGiven, ..Policy::default() }
}

#[derive(serde::Deserialize)]
struct Recording {
    evidence: TpmEvidence,
    makers: String,
    root: String,
    answer: String,
    seed: String,
}

fn software_tpm() -> Sample {
    let recording: Recording = serde_json::from_str(include_str!("../vectors/swtpm.json")).unwrap();
    let array = |text: &str| <[u8; 32]>::try_from(hex::decode(text).unwrap()).unwrap();
    let answer = array(&recording.answer);
    let evidence = recording.evidence;
    let seed = hex::decode(&recording.seed).unwrap().try_into().unwrap();
    let (_, challenge) =
        Challenge::new(&evidence.ek_certificate, &evidence.ak_public, answer, &seed).unwrap();
    let mut policy = policy();
    policy.devnet = Some(DevnetRoot::of_this_devnet([0; 32]).with_tpm_maker(array(&recording.root)));
    policy.tpm.activated.push(challenge.answered(&answer).unwrap());
    let makers = [recording.makers.into_bytes()];
    Sample::new(Evidence::Tpm2(evidence.into()), &makers, policy, 1_796_083_200, Kind::Dev)
}

fn simulation() -> Sample {
    let root = SigningKey::from_bytes(&[7; 32]);
    let mut dev = DevEvidence { measurement: [3; 32], report_data: [4; 64], time: 1000, signature: [0; 64] };
    dev.signature = root.sign(&dev.signed_bytes()).to_bytes();
    let devnet = Some(DevnetRoot::of_this_devnet(root.verifying_key().to_bytes()));
    Sample::new(Evidence::Dev(dev), &[], Policy { devnet, ..policy() }, 1100, Kind::Dev)
}

/// One of each kind; nothing where the recorded evidence of processors is not at hand.
fn sample(kind: Kind) -> Option<Sample> {
    let folder = std::env::var_os("ADIT_VECTORS").map(|folder| std::path::PathBuf::from(folder).join("tee"));
    let folder = folder.filter(|folder| folder.is_dir());
    let of_processor = !matches!(kind, Kind::None | Kind::Dev | Kind::Tpm2);
    if of_processor && folder.is_none() {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "ADIT_VECTORS has no tee directory");
        eprintln!("SKIPPED for {kind}: set ADIT_VECTORS to a directory with recorded evidence in tee/");
        return None;
    }
    let read = |name: &str| std::fs::read(folder.as_ref().unwrap().join(name)).unwrap();
    let mut lenient = policy();
    lenient.dcap.statuses.insert(TcbStatus::ConfigurationAndSwHardeningNeeded);
    let given = |evidence: &str, endorsement: &str, now| {
        let evidence = Evidence::detect(&read(evidence)).unwrap();
        assert_eq!(evidence.kind(), kind);
        Sample::new(evidence, &[read(endorsement)], lenient.clone(), now, kind)
    };
    Some(match kind {
        Kind::None => Sample::new(Evidence::None, &[], policy(), 0, Kind::None),
        Kind::Dev => simulation(),
        Kind::Tpm2 => software_tpm(),
        Kind::SevSnp => given("snp/test-report.bin", "snp/test-vcek.der", 1_700_000_000),
        Kind::Tdx => given("tdx/tdx_quote", "tdx/tdx_quote_collateral.json", 1_751_328_000),
        Kind::Sgx => given("sgx/sgx_quote", "sgx/sgx_quote_collateral.json", 1_751_328_000),
        Kind::Nitro => {
            let message = read("nitro/nitro.bin");
            let size = usize::from(u16::from_le_bytes([message[2], message[3]]) >> 2);
            let evidence = Evidence::detect(&message[4..4 + size]).unwrap();
            // Its certificate lives for hours: the document's own time, in milliseconds after the name of the field.
            let name = b"timestamp\x1b";
            let at = message.windows(name.len()).position(|part| part == name).unwrap() + name.len();
            let now = u64::from_be_bytes(message[at..at + 8].try_into().unwrap()) / 1000;
            Sample::new(evidence, &[], lenient.clone(), now, kind)
        }
    })
}

#[test]
fn every_kind_claims_exactly_its_ceiling_where_all_holds() {
    for kind in Kind::ALL {
        let Some(sample) = sample(kind) else { continue };
        let appraisal = sample.appraise();
        assert_eq!(appraisal.claims(), Some(&sample.worth.ceiling()), "{kind}: {:?}", appraisal.checks);
    }
}

/// Most conditions hold at a time: evidence that fails three of them says little about any.
fn mostly(usual: bool) -> impl Strategy<Value = bool> {
    prop::bool::weighted(0.12).prop_map(move |other| other != usual)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_claim_is_above_the_evidence(
        kind in 0..Kind::ALL.len(),
        other in 0..Kind::ALL.len(),
        change in proptest::option::weighted(0.2, (any::<usize>(), 0..8u8)),
        (accepts, known, listed, devnet) in (mostly(true), mostly(true), mostly(false), mostly(true)),
        references in prop::sample::select(vec![0, 0, 0, 0, 0, 0, 1, 2, 3]),
        (swapped, bound) in (mostly(false), mostly(false)),
        shift in prop::sample::select(vec![0i64, 0, 0, 0, 0, 1, -86_400, 86_400, 400 * 86_400]),
    ) {
        let Some(mut sample) = sample(Kind::ALL[kind]) else { return Ok(()) };
        if let Some((at, bit)) = change {
            sample.change(at, bit);
        }
        let kind = sample.evidence.kind();
        if !accepts {
            sample.policy.kinds.remove(&kind);
        }
        if !known {
            sample.policy.software = Software::Any;
        }
        if listed {
            sample.policy.revocation = Revocation::Required;
        }
        if !devnet {
            sample.policy.devnet = None;
        }
        if bound {
            sample.policy.report_data = Some(vec![0xee; 32]);
        }
        match references {
            0 => {}
            1 => sample.references.values[0].registers.values_mut().for_each(|value| value[0] ^= 1),
            2 => sample.references.values[0].kind = Kind::ALL[(kind as usize + 1) % Kind::ALL.len()],
            _ => sample.references.values.clear(),
        }
        if swapped && let Some(other) = self::sample(Kind::ALL[other]) {
            sample.endorsements = other.endorsements;
        }
        sample.now = sample.now.saturating_add_signed(shift);
        let appraisal = sample.appraise();
        let json = serde_json::to_value(&appraisal).unwrap();
        let Some(claims) = appraisal.claims() else {
            prop_assert!(appraisal.reasons().next().is_some(), "refused without a reason");
            prop_assert!(json["claims"].is_null());
            return Ok(());
        };
        prop_assert_eq!(appraisal.reasons().next(), None);
        prop_assert!(accepts && (!bound || kind == Kind::None));
        prop_assert!(claims.within(&sample.worth.ceiling()), "{:?}", claims);
        prop_assert!(!claims.confidential_from().contains(&Adversary::PhysicalOwner));
        if sample.worth == Kind::Dev {
            prop_assert!(devnet && claims.confidential_from().is_empty());
        }
        if !claims.confidential_from().is_empty() {
            prop_assert!(known && references == 0);
            prop_assert_eq!(appraisal.finding(Step::Measurement), Some(&Finding::Pass));
        }
    }
}

#[test]
fn bombs_in_certificates_and_collateral_are_refused() {
    let add = |file: &[u8]| Endorsements::default().add(file).map_err(|reason| reason.name());
    assert_eq!(add(&vec![0x30; MAX_ENDORSEMENT + 1]), Err("too-large"));
    // Sequences in sequences, without an end and with one that is not there.
    assert_eq!(add(&[0x30, 0x80].repeat(8000)), Err("certificate-malformed"));
    assert_eq!(
        add(&[&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff], &[0x30; 64][..]].concat()),
        Err("certificate-malformed")
    );
    assert_eq!(add(&vec![b'{'; 1 << 20]), Err("malformed"));
    assert_eq!(add(format!("{{\"tcb_info\":{}", "[".repeat(1 << 20)).as_bytes()), Err("malformed"));
    assert_eq!(add("-----BEGIN CERTIFICATE-----\n".repeat(1000).as_bytes()), Err("malformed"));

    let root = include_bytes!("../roots/amd/milan-ark.der");
    let mut many = Endorsements::default();
    for _ in 0..MAX_CERTIFICATES {
        many.add(root).unwrap();
    }
    assert_eq!(many.add(root).unwrap_err().name(), "too-large");
    // Nor does a caller that fills the lists itself get past it.
    many.certificates.push(root.to_vec());
    let policy = policy();
    let names = |endorsements: &Endorsements| {
        let none = ReferenceValues::default();
        let appraisal = appraise(&Evidence::None, endorsements, &none, &policy, 0);
        appraisal.reasons().map(|reason| reason.name()).collect::<Vec<_>>()
    };
    assert_eq!(names(&many), ["too-large"]);
    many.certificates = vec![vec![0x30; MAX_CERTIFICATE + 1]];
    assert_eq!(names(&many), ["too-large"]);
}

#[test]
fn no_file_is_simulated_evidence_or_a_promise() {
    assert_eq!(Evidence::detect(&vec![0; MAX_EVIDENCE + 1]).unwrap_err().name(), "too-large");
    let Evidence::Dev(dev) = simulation().evidence else { panic!("not simulated") };
    let raw = [&dev.measurement[..], &dev.report_data, &dev.time.to_be_bytes(), &dev.signature].concat();
    let json = format!(r#"{{"kind": "dev", "measurement": "{}"}}"#, "03".repeat(32));
    for file in [&raw[..], json.as_bytes(), b"dev", b"none", b"{}", b""] {
        assert!(Evidence::detect(file).is_err(), "{file:?}");
    }
}
