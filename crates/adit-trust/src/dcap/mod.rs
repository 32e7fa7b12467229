//! `tdx` and `sgx`: quotes of Intel's quoting enclaves (DCAP).

mod collateral;
mod pck;
mod quote;
#[cfg(test)]
mod tests;

pub use collateral::{TcbStatus, unix_seconds};
pub(crate) use quote::is_tdx;

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

use crate::appraisal::Ledger;
use crate::common;
use crate::crypto::{Hash, PublicKey};
use crate::policy::{DcapPolicy, Policy, Revocation};
use crate::roots::Anchors;
use crate::x509::{self, Certificate, RevocationList};
use crate::{DcapCollateral, Endorsements, Kind, Reason, ReferenceValues, Step};
use collateral::{Component, HexBytes, SvnLevel, Verified};
use pck::Platform;
use quote::{Body, DomainReport, EnclaveReport, Quote};

/// Attributes of SGX enclaves.
const SGX_DEBUG: u8 = 1 << 1;
/// Attributes of trust domains: the whole group that lets the host look inside, of which the lowest bit is DEBUG.
const TD_DEBUG_GROUP: u64 = 0xff;
const TD_MIGRATABLE: u64 = 1 << 29;

/// What was given beside the quote, parsed.
struct Given {
    certificates: Vec<Certificate>,
    lists: Vec<RevocationList>,
}

pub(crate) fn appraise(
    bytes: &[u8],
    endorsements: &Endorsements,
    references: &ReferenceValues,
    policy: &Policy,
    anchors: &Anchors,
    ledger: &mut Ledger,
) {
    let tdx = ledger.kind() == Kind::Tdx;
    let quote = Quote::parse(bytes).and_then(|quote| match &quote.body {
        Body::Tdx(_) if tdx => Ok(quote),
        Body::Sgx(_) if !tdx => Ok(quote),
        _ => Err(Reason::UnknownEvidence),
    });
    let Some(quote) = ledger.check(Step::Form, quote) else { return };
    let given = match given(&quote, endorsements, anchors) {
        Ok(given) => given,
        Err(reason) => {
            ledger.check::<()>(Step::Collateral, Err(reason));
            return;
        }
    };

    let now = ledger.time();
    let Some(chain) = ledger.check(Step::CertificateChain, chain(&given, anchors, now)) else { return };
    ledger.vouched_by(format!("Intel ({})", chain.last().expect("a chain has a root").subject_text()));
    let revoked = x509::check_revocation(&chain, &given.lists, 0, Revocation::Required, now);
    ledger.check(Step::Revocation, revoked);

    // The chain certifies the PCK, which signs the quoting enclave's report, which names the key of the quote.
    let by_platform = chain[0]
        .key()
        .is_ok_and(|key| key.verify_fixed(Hash::Sha256, quote.enclave_report, quote.enclave_signature));
    let enclave = EnclaveReport::parse(quote.enclave_report);
    let named: [u8; 32] =
        Sha256::new().chain_update(quote.key).chain_update(quote.enclave_data).finalize().into();
    let names_key = enclave.as_ref().is_ok_and(|report| {
        report.report_data[..32] == named && report.report_data[32..].iter().all(|byte| *byte == 0)
    });
    let by_enclave = PublicKey::point(quote.key)
        .is_some_and(|key| key.verify_fixed(Hash::Sha256, quote.signed, quote.signature));
    ledger.require(Step::Signature, by_platform && names_key && by_enclave, Reason::Signature);

    let platform = pck::platform(chain[0]);
    let verified = match &platform {
        Ok(platform) => collateral(&endorsements.collateral, tdx, platform, &given, anchors, now),
        Err(reason) => Err(reason.clone()),
    };
    if let (Some(verified), Ok(platform), Ok(enclave)) =
        (ledger.check(Step::Collateral, verified), &platform, &enclave)
    {
        ledger.fact("fmspc", hex::encode(platform.fmspc));
        ledger.fact("tcb-evaluation", verified.tcb.tcb_evaluation_data_number.to_string());
        let old = verified.tcb.tcb_evaluation_data_number.min(verified.enclave.tcb_evaluation_data_number);
        ledger.check(Step::QuotingEnclave, quoting_enclave(enclave, &verified));
        let levels = levels(&quote.body, platform, enclave, &verified);
        let levels = levels.and_then(|(date, levels)| {
            ledger.fact("tcb-date", date);
            for (what, status, advisories) in &levels {
                ledger.fact(what, format!("{status:?} {}", advisories.join(" ")).trim_end().to_owned());
            }
            accept(&levels, old, &policy.dcap)
        });
        ledger.check(Step::Tcb, levels);
    }

    ledger.fact("quote-version", quote.version.to_string());
    let measured = match &quote.body {
        Body::Sgx(report) => enclave_body(ledger, report),
        Body::Tdx(report) => domain_body(ledger, report, &policy.dcap),
    };
    let report_data = match &quote.body {
        Body::Sgx(report) => &report.report_data,
        Body::Tdx(report) => &report.report_data,
    };
    common::report_data(ledger, policy, report_data);
    common::no_nonce(ledger, policy);
    common::measurement(ledger, policy, references, &measured);
}

/// Everything that certifies, from the quote itself, from what was given with it, and Intel's root.
fn given(quote: &Quote<'_>, endorsements: &Endorsements, anchors: &Anchors) -> Result<Given, Reason> {
    if endorsements.collateral.is_empty() {
        return Err(Reason::CollateralMissing);
    }
    // The quote's own certificates come first, and of those the platform's.
    let mut own = Endorsements::default();
    if let Some(pem) = quote.certificates {
        let pem = pem.strip_suffix(&[0]).unwrap_or(pem);
        own.add_pem(std::str::from_utf8(pem).map_err(|_| Reason::CertificateMalformed)?)?;
    }
    for one in &endorsements.collateral {
        for pem in [&one.pck_crl_issuer_chain, &one.tcb_info_issuer_chain, &one.qe_identity_issuer_chain] {
            own.add_pem(pem)?;
        }
        for list in [&one.root_ca_crl, &one.pck_crl] {
            match hex::decode(list) {
                Ok(der) => own.revocation_lists.push(der),
                Err(_) => own.add_pem(list)?,
            }
        }
    }
    let der = own.certificates.iter().chain(&endorsements.certificates).chain(&anchors.known);
    let certificates = der.map(|der| Certificate::parse(der)).collect::<Result<_, _>>()?;
    let der = own.revocation_lists.iter().chain(&endorsements.revocation_lists);
    let lists = der.map(|der| RevocationList::parse(der)).collect::<Result<_, _>>()?;
    Ok(Given { certificates, lists })
}

fn chain<'a>(given: &'a Given, anchors: &Anchors, now: u64) -> Result<Vec<&'a Certificate>, Reason> {
    let leaf = given.certificates.iter().find(|one| pck::is_pck(one));
    let leaf = leaf.ok_or(Reason::KeyCertificateMissing("a platform's PCK"))?;
    x509::build(leaf, &given.certificates, &anchors.intel, now)
}

/// The collateral that speaks of this platform and kind, if its signatures and dates hold.
fn collateral(
    all: &[DcapCollateral],
    tdx: bool,
    platform: &Platform,
    given: &Given,
    anchors: &Anchors,
    now: u64,
) -> Result<Verified, Reason> {
    let mut result = Err(Reason::CollateralMissing);
    for one in all {
        result =
            collateral::verify(one, &given.certificates, &given.lists, anchors, now).and_then(|verified| {
                let ids = if tdx { ("TDX", "TD_QE") } else { ("SGX", "QE") };
                let fits = (verified.tcb.id.as_str(), verified.enclave.id.as_str()) == ids
                    && verified.tcb.fmspc.0 == platform.fmspc
                    && verified.tcb.pce_id.0 == platform.pce_id;
                if fits { Ok(verified) } else { Err(Reason::CollateralOfAnother) }
            });
        if result.is_ok() {
            break;
        }
    }
    result
}

/// The quoting enclave must be the one that Intel describes.
fn quoting_enclave(report: &EnclaveReport, verified: &Verified) -> Result<(), Reason> {
    let identity = &verified.enclave;
    // The JSON writes MISCSELECT as a number, the report stores it little-endian.
    let misc: Vec<u8> = report.misc_select.iter().rev().copied().collect();
    let same = masked(&misc, &identity.miscselect_mask, &identity.miscselect)
        && masked(&report.attributes, &identity.attributes_mask, &identity.attributes)
        && report.mr_signer[..] == identity.mrsigner.0
        && report.product == identity.isvprodid;
    if same { Ok(()) } else { Err(Reason::QuotingEnclave) }
}

fn masked(actual: &[u8], mask: &HexBytes, expected: &HexBytes) -> bool {
    let (mask, expected) = (&mask.0, &expected.0);
    actual.len() == mask.len()
        && actual.len() == expected.len()
        && actual.iter().zip(mask).zip(expected).all(|((actual, mask), expected)| actual & mask == *expected)
}

type Level<'a> = (&'static str, TcbStatus, &'a [String]);

/// What Intel says of the platform, of the quoting enclave and, for TDX, of the module, at their versions; and the date
/// of the platform's level.
fn levels<'a>(
    body: &Body,
    platform: &Platform,
    enclave: &EnclaveReport,
    verified: &'a Verified,
) -> Result<(&'a str, Vec<Level<'a>>), Reason> {
    let tcb = &verified.tcb;
    let mut out = Vec::new();
    let domain = match body {
        Body::Tdx(report) => Some(report),
        Body::Sgx(_) => None,
    };
    let reaches =
        |svns: &[u8], wanted: &[Component]| svns.iter().zip(wanted).all(|(svn, level)| *svn >= level.svn);
    let level = tcb.tcb_levels.iter().find(|level| {
        let components = match (domain, &level.tcb.tdxtcbcomponents) {
            (None, _) => true,
            // From module version 1 on, the module's own two components are judged by its identity.
            (Some(report), Some(wanted)) => {
                let from = if report.tee_tcb_svn[1] > 0 { 2 } else { 0 };
                reaches(&report.tee_tcb_svn[from..], &wanted[from..])
            }
            (Some(_), None) => false,
        };
        components
            && platform.pce_svn >= level.tcb.pcesvn
            && reaches(&platform.svns, &level.tcb.sgxtcbcomponents)
    });
    let level = level.ok_or(Reason::TcbUnknown("platform"))?;
    out.push(("platform-tcb", level.tcb_status, level.advisories.as_slice()));
    let (status, advisories) = by_svn(&verified.enclave.tcb_levels, enclave.svn, "quoting enclave")?;
    out.push(("quoting-enclave-tcb", status, advisories));
    if let Some(report) = domain {
        out.extend(module(report, verified)?);
    }
    Ok((&level.tcb_date, out))
}

fn by_svn<'a>(
    levels: &'a [SvnLevel],
    svn: u16,
    what: &'static str,
) -> Result<(TcbStatus, &'a [String]), Reason> {
    let level = levels.iter().find(|level| svn >= level.tcb.isvsvn).ok_or(Reason::TcbUnknown(what))?;
    Ok((level.tcb_status, level.advisories.as_slice()))
}

/// The TDX module must be Intel's; from version 1 on it has versions and levels of its own.
fn module<'a>(report: &DomainReport, verified: &'a Verified) -> Result<Option<Level<'a>>, Reason> {
    let [svn, version, ..] = report.tee_tcb_svn;
    let same = |module: &collateral::Module| {
        report.mr_signer_seam[..] == module.mrsigner.0
            && masked(&report.seam_attributes, &module.mask, &module.attributes)
    };
    let first = verified.tcb.tdx_module.as_ref().ok_or(Reason::TcbUnknown("TDX module"))?;
    if version == 0 {
        return if same(first) { Ok(None) } else { Err(Reason::TdxModule) };
    }
    let id = format!("TDX_{version:02X}");
    let identity = verified.tcb.tdx_module_identities.iter().find(|one| one.id.eq_ignore_ascii_case(&id));
    let identity = identity.ok_or(Reason::TcbUnknown("TDX module"))?;
    if !same(&identity.module) {
        return Err(Reason::TdxModule);
    }
    let (status, advisories) = by_svn(&identity.tcb_levels, svn.into(), "TDX module")?;
    Ok(Some(("tdx-module-tcb", status, advisories)))
}

fn accept(levels: &[Level<'_>], evaluation: u32, policy: &DcapPolicy) -> Result<(), Reason> {
    if evaluation < policy.minimum_evaluation {
        return Err(Reason::TcbTooOld(format!("evaluation data {}", policy.minimum_evaluation)));
    }
    for (_, status, advisories) in levels {
        if *status == TcbStatus::Revoked || !policy.statuses.contains(status) {
            return Err(Reason::TcbStatus(*status));
        }
        if let Some(refused) = advisories.iter().find(|one| policy.refused_advisories.contains(*one)) {
            return Err(Reason::Advisory(refused.clone()));
        }
    }
    Ok(())
}

fn enclave_body(ledger: &mut Ledger, report: &EnclaveReport) -> BTreeMap<String, Vec<u8>> {
    ledger.require(Step::Debug, report.attributes[0] & SGX_DEBUG == 0, Reason::Debug);
    let measured = BTreeMap::from([
        ("mrenclave".to_owned(), report.mr_enclave.to_vec()),
        ("mrsigner".to_owned(), report.mr_signer.to_vec()),
        ("product".to_owned(), report.product.to_be_bytes().to_vec()),
        ("svn".to_owned(), report.svn.to_be_bytes().to_vec()),
        ("attributes".to_owned(), report.attributes.to_vec()),
        ("misc-select".to_owned(), report.misc_select.to_vec()),
    ]);
    ledger.fact("mrenclave", hex::encode(report.mr_enclave));
    ledger.fact("mrsigner", hex::encode(report.mr_signer));
    ledger.fact("product-and-svn", format!("{} {}", report.product, report.svn));
    measured
}

fn domain_body(ledger: &mut Ledger, report: &DomainReport, policy: &DcapPolicy) -> BTreeMap<String, Vec<u8>> {
    ledger.require(Step::Debug, report.attributes & TD_DEBUG_GROUP == 0, Reason::Debug);
    // Service domains move guests between machines; none is known here.
    let service = report.mr_service.is_some_and(|value| value != [0; 48]);
    ledger.require(Step::Migration, report.attributes & TD_MIGRATABLE == 0 && !service, Reason::Migratable);
    let wrong = policy.attributes_set & !report.attributes | policy.attributes_clear & report.attributes;
    ledger.require(Step::GuestPolicy, wrong == 0, Reason::GuestPolicy(wrong));
    ledger.fact("mrtd", hex::encode(report.mr_td));
    for (name, value) in ["rtmr0", "rtmr1", "rtmr2", "rtmr3"].into_iter().zip(report.rtmrs) {
        ledger.fact(name, hex::encode(value));
    }
    ledger.fact("attributes", format!("{:#x}", report.attributes));
    ledger.fact("xfam", format!("{:#x}", report.xfam));
    ledger.fact("mrseam", hex::encode(report.mr_seam));
    let fixed = [
        ("mrtd", report.mr_td),
        ("mrconfigid", report.mr_config_id),
        ("mrowner", report.mr_owner),
        ("mrownerconfig", report.mr_owner_config),
        ("mrseam", report.mr_seam),
        ("rtmr0", report.rtmrs[0]),
        ("rtmr1", report.rtmrs[1]),
        ("rtmr2", report.rtmrs[2]),
        ("rtmr3", report.rtmrs[3]),
    ];
    fixed.into_iter().map(|(name, value)| (name.to_owned(), value.to_vec())).collect()
}
