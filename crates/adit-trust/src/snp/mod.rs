//! `sev-snp`: attestation reports of AMD's secure processor.

mod key;
mod report;
#[cfg(test)]
mod tests;

pub use report::{Product, REPORT_SIZE, Tcb};

use crate::appraisal::Ledger;
use crate::common;
use crate::crypto::Hash;
use crate::policy::{Policy, SnpPolicy};
use crate::roots::Anchors;
use crate::x509::{self, Certificate, RevocationList};
use crate::{Reason, ReferenceValues, Step};
use key::KeyClaims;
use report::{Report, SIGNED_SIZE, SigningKey, guest_policy};

/// Leaf, ASK or ASVK, ARK: AMD publishes a revocation list for the middle one only, issued by the root.
const REVOCABLE: usize = 1;

pub(crate) fn appraise(
    bytes: &[u8],
    certificates: &[Certificate],
    lists: &[RevocationList],
    references: &ReferenceValues,
    policy: &Policy,
    anchors: &Anchors,
    ledger: &mut Ledger,
) {
    let Some(report) = ledger.check(Step::Form, Report::parse(bytes)) else { return };
    let Some(chain) =
        ledger.check(Step::CertificateChain, chain(&report, certificates, anchors, ledger.time()))
    else {
        return;
    };
    let root = *chain.last().expect("a chain has a root");
    let product =
        anchors.amd.iter().find(|(_, pinned)| *pinned == root.fingerprint()).map(|(product, _)| *product);
    let product = product.expect("the chain ends in a pinned root");
    ledger.vouched_by(format!("AMD ({})", root.subject_text()));

    common::revocation(ledger, policy, &chain, lists, REVOCABLE);
    let signed = chain[0]
        .key()
        .is_ok_and(|key| key.verify_fixed(Hash::Sha384, &bytes[..SIGNED_SIZE], &report.signature));
    ledger.require(Step::Signature, signed, Reason::Signature);
    facts(ledger, &report, product);

    let claims = key::claims(chain[0], product);
    ledger.check(Step::Tcb, tcb(&report, product, claims.as_ref(), &policy.snp));
    ledger.check(Step::HardwareId, hardware(&report, product, claims.as_ref(), &policy.snp));
    if let Ok(KeyClaims { provider: Some(provider), .. }) = &claims {
        ledger.fact("provider", provider);
    }

    ledger.require(Step::Debug, report.policy & guest_policy::DEBUG == 0, Reason::Debug);
    ledger.require(Step::Migration, report.policy & guest_policy::MIGRATE_MA == 0, Reason::Migratable);
    ledger.require(
        Step::PrivilegeLevel,
        report.vmpl <= policy.snp.max_vmpl,
        Reason::PrivilegeLevel(report.vmpl),
    );
    let wrong = policy.snp.guest_policy_set & !report.policy | policy.snp.guest_policy_clear & report.policy;
    ledger.require(Step::GuestPolicy, wrong == 0, Reason::GuestPolicy(wrong));
    common::report_data(ledger, policy, &report.report_data);
    common::no_nonce(ledger, policy);
    let measured = [
        ("measurement".to_owned(), report.measurement.to_vec()),
        ("host-data".to_owned(), report.host_data.to_vec()),
        ("id-key-digest".to_owned(), report.id_key_digest.to_vec()),
        ("author-key-digest".to_owned(), report.author_key_digest.to_vec()),
        ("guest-svn".to_owned(), report.guest_svn.to_be_bytes().to_vec()),
    ];
    common::measurement(ledger, policy, references, &measured.into());
}

/// The chain of the first certificate that holds; of several, else what is wrong with the one that fits the report.
fn chain<'a>(
    report: &Report,
    certificates: &'a [Certificate],
    anchors: &Anchors,
    now: u64,
) -> Result<Vec<&'a Certificate>, Reason> {
    let roots: Vec<_> = anchors.amd.iter().map(|(_, root)| *root).collect();
    let mut result = Err(Reason::KeyCertificateMissing(report.signing_key.name()));
    for leaf in certificates.iter().filter(|one| key::is_key(one)) {
        result = x509::build(leaf, certificates, &roots, now);
        if result.is_ok() {
            break;
        }
    }
    result
}

fn tcb(
    report: &Report,
    product: Product,
    claims: Result<&KeyClaims, &Reason>,
    policy: &SnpPolicy,
) -> Result<(), Reason> {
    let of = |raw| Tcb::of(product, raw);
    let reported = of(report.reported_tcb);
    if reported != claims.map_err(Clone::clone)?.tcb {
        return Err(Reason::TcbMismatch);
    }
    let [current, committed, launch] = [report.current_tcb, report.committed_tcb, report.launch_tcb].map(of);
    // What is reported may lie behind what runs, never ahead; what runs is never behind what cannot be undone.
    if !current.at_least(&committed) || !current.at_least(&reported) || !current.at_least(&launch) {
        return Err(Reason::TcbInconsistent);
    }
    if policy.minimum_tcb.is_empty() {
        return Ok(());
    }
    let minimum = policy.minimum_tcb.iter().find(|(of, _)| *of == product).ok_or(Reason::Product)?.1;
    // The guest's secrets are as safe as the oldest firmware that held them.
    if reported.at_least(&minimum) && launch.at_least(&minimum) && committed.at_least(&minimum) {
        Ok(())
    } else {
        Err(Reason::TcbTooOld(minimum.to_string()))
    }
}

fn hardware(
    report: &Report,
    product: Product,
    claims: Result<&KeyClaims, &Reason>,
    policy: &SnpPolicy,
) -> Result<(), Reason> {
    let claims = claims.map_err(Clone::clone)?;
    if claims.kind != report.signing_key {
        return Err(Reason::SigningKey(report.signing_key.name()));
    }
    let certified = claims.product_name.split('-').next() == Some(&product.to_string());
    if !certified || report.product.is_some_and(|says| says != product) {
        return Err(Reason::Product);
    }
    match (claims.kind, &claims.hardware_id) {
        (SigningKey::Vlek, _) if !policy.provider_keys => Err(Reason::ProviderKey),
        (SigningKey::Vlek, _) => Ok(()),
        (SigningKey::Vcek, Some(id)) => {
            let size = if product == Product::Turin { 8 } else { 64 };
            let (head, rest) = report.chip_id.split_at(size);
            let same = id == head && rest.iter().all(|byte| *byte == 0);
            let named = id.iter().any(|byte| *byte != 0) && !report.chip_key_masked;
            if same && named { Ok(()) } else { Err(Reason::HardwareId) }
        }
        (SigningKey::Vcek, None) => Err(Reason::HardwareId),
    }
}

fn facts(ledger: &mut Ledger, report: &Report, product: Product) {
    ledger.fact("product", product.to_string());
    ledger.fact("report-version", report.version.to_string());
    ledger.fact("measurement", hex::encode(report.measurement));
    ledger.fact("host-data", hex::encode(report.host_data));
    ledger.fact("reported-tcb", Tcb::of(product, report.reported_tcb).to_string());
    ledger.fact("launch-tcb", Tcb::of(product, report.launch_tcb).to_string());
    ledger.fact("guest-policy", format!("{:#x}", report.policy));
    ledger.fact("guest-svn", report.guest_svn.to_string());
    ledger.fact("platform-info", format!("{:#x}", report.platform_info));
    ledger.fact("privilege-level", report.vmpl.to_string());
    ledger.fact("chip-id", hex::encode(report.chip_id));
}
