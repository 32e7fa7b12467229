//! How long appraisals take: `ADIT_VECTORS=… cargo run --release -p adit-trust --example appraise_times`.

use std::time::Instant;

use adit_trust::{
    Appraisal, Challenge, DevnetRoot, Endorsements, Evidence, Kind, Policy, ReferenceValues, Revocation,
    Software, TcbStatus, TpmEvidence, appraise,
};

fn median(mut work: impl FnMut() -> Appraisal) -> f64 {
    assert!(work().accepted(), "{:?}", work().checks);
    let mut times: Vec<f64> = (0..101)
        .map(|_| {
            let start = Instant::now();
            std::hint::black_box(work());
            start.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[50]
}

fn main() {
    let folder =
        std::path::PathBuf::from(std::env::var_os("ADIT_VECTORS").expect("ADIT_VECTORS")).join("tee");
    let read = |name: &str| std::fs::read(folder.join(name)).expect("a vector");
    let mut policy = Policy { software: Software::Any, revocation: Revocation::IfGiven, ..Policy::default() };
    policy.dcap.statuses.insert(TcbStatus::ConfigurationAndSwHardeningNeeded);
    let cases = [
        ("SNP report", "snp/test-report.bin", "snp/test-vcek.der", 1_700_000_000),
        ("TDX quote", "tdx/tdx_quote", "tdx/tdx_quote_collateral.json", 1_751_328_000),
        ("SGX quote", "sgx/sgx_quote", "sgx/sgx_quote_collateral.json", 1_751_328_000),
    ];
    for (name, evidence, endorsement, now) in cases {
        let evidence = Evidence::detect(&read(evidence)).expect("evidence");
        let mut endorsements = Endorsements::default();
        endorsements.add(&read(endorsement)).expect("endorsements");
        let time = median(|| appraise(&evidence, &endorsements, &ReferenceValues::default(), &policy, now));
        println!("{name}: {time:.2} ms");
    }
    tpm(policy);
}

#[derive(serde::Deserialize)]
struct Recording {
    evidence: TpmEvidence,
    makers: String,
    root: String,
    answer: String,
    seed: String,
}

/// The recorded software TPM, in the devnet that it was made for.
fn tpm(mut policy: Policy) {
    let recording: Recording =
        serde_json::from_str(include_str!("../vectors/swtpm.json")).expect("a recording");
    let array = |text: &str| <[u8; 32]>::try_from(hex::decode(text).expect("hexadecimal")).expect("32 bytes");
    let answer = array(&recording.answer);
    let evidence = recording.evidence;
    let seed = hex::decode(&recording.seed).expect("hexadecimal").try_into().expect("48 bytes");
    let (_, challenge) =
        Challenge::new(&evidence.ek_certificate, &evidence.ak_public, answer, &seed).expect("a challenge");
    policy.kinds.insert(Kind::Dev);
    policy.devnet = Some(DevnetRoot::of_this_devnet([0; 32]).with_tpm_maker(array(&recording.root)));
    policy.tpm.activated.push(challenge.answered(&answer).expect("the answer"));
    let mut endorsements = Endorsements::default();
    endorsements.add(recording.makers.as_bytes()).expect("endorsements");
    let evidence = Evidence::Tpm2(evidence.into());
    let references = ReferenceValues::default();
    let time = median(|| appraise(&evidence, &endorsements, &references, &policy, 1_796_083_200));
    println!("TPM quote (swtpm): {time:.2} ms");
}
