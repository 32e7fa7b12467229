//! What Intel says of a platform's state: TCB info and quoting enclave identity, each signed JSON with an end.

use serde::Deserialize;

use crate::crypto::Hash;
use crate::policy::Revocation;
use crate::roots::Anchors;
use crate::x509::{self, Certificate, RevocationList};
use crate::{DcapCollateral, Reason};

/// The most TCB levels that a document may list.
const MAX_LEVELS: usize = 512;
/// Whose signature on collateral counts.
const SIGNER: &str = "Intel SGX TCB Signing";

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TcbInfo {
    pub(super) id: String,
    version: u32,
    issue_date: String,
    next_update: String,
    pub(super) fmspc: HexBytes,
    pub(super) pce_id: HexBytes,
    pub(super) tcb_evaluation_data_number: u32,
    pub(super) tdx_module: Option<Module>,
    #[serde(default)]
    pub(super) tdx_module_identities: Vec<ModuleIdentity>,
    pub(super) tcb_levels: Vec<TcbLevel>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Module {
    pub(super) mrsigner: HexBytes,
    pub(super) attributes: HexBytes,
    #[serde(rename = "attributesMask")]
    pub(super) mask: HexBytes,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ModuleIdentity {
    pub(super) id: String,
    #[serde(flatten)]
    pub(super) module: Module,
    pub(super) tcb_levels: Vec<SvnLevel>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TcbLevel {
    pub(super) tcb: Tcb,
    pub(super) tcb_status: TcbStatus,
    pub(super) tcb_date: String,
    #[serde(default, rename = "advisoryIDs")]
    pub(super) advisories: Vec<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Tcb {
    pub(super) sgxtcbcomponents: [Component; 16],
    pub(super) pcesvn: u16,
    pub(super) tdxtcbcomponents: Option<[Component; 16]>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Component {
    pub(super) svn: u8,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SvnLevel {
    pub(super) tcb: Svn,
    pub(super) tcb_status: TcbStatus,
    #[serde(default, rename = "advisoryIDs")]
    pub(super) advisories: Vec<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Svn {
    pub(super) isvsvn: u16,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EnclaveIdentity {
    pub(super) id: String,
    version: u32,
    issue_date: String,
    next_update: String,
    pub(super) tcb_evaluation_data_number: u32,
    pub(super) miscselect: HexBytes,
    pub(super) miscselect_mask: HexBytes,
    pub(super) attributes: HexBytes,
    pub(super) attributes_mask: HexBytes,
    pub(super) mrsigner: HexBytes,
    pub(super) isvprodid: u16,
    pub(super) tcb_levels: Vec<SvnLevel>,
}

/// Intel's word on a platform's or enclave's version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, serde::Serialize)]
pub enum TcbStatus {
    /// As it should be.
    UpToDate,
    /// The software inside must take measures of its own.
    #[serde(rename = "SWHardeningNeeded")]
    SwHardeningNeeded,
    /// The platform's settings leave something open.
    ConfigurationNeeded,
    /// Both of these.
    #[serde(rename = "ConfigurationAndSWHardeningNeeded")]
    ConfigurationAndSwHardeningNeeded,
    /// Known holes are open.
    OutOfDate,
    /// Known holes are open, and settings too.
    OutOfDateConfigurationNeeded,
    /// Not to be believed at all. No policy accepts it.
    Revoked,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct HexBytes(pub(super) Vec<u8>);

impl<'de> Deserialize<'de> for HexBytes {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        hex::decode(text).map(HexBytes).map_err(serde::de::Error::custom)
    }
}

/// Collateral whose signatures and dates hold.
#[derive(Debug)]
pub(super) struct Verified {
    pub(super) tcb: TcbInfo,
    pub(super) enclave: EnclaveIdentity,
}

/// Checks everything about the collateral that does not depend on the quote.
pub(super) fn verify(
    from: &DcapCollateral,
    pool: &[Certificate],
    lists: &[RevocationList],
    anchors: &Anchors,
    now: u64,
) -> Result<Verified, Reason> {
    let tcb: TcbInfo =
        signed("the TCB info", &from.tcb_info, &from.tcb_info_signature, pool, lists, anchors, now)?;
    let enclave: EnclaveIdentity = signed(
        "the quoting enclave's identity",
        &from.qe_identity,
        &from.qe_identity_signature,
        pool,
        lists,
        anchors,
        now,
    )?;
    if tcb.version != 3 {
        return Err(Reason::UnsupportedVersion("the TCB info", tcb.version));
    }
    if enclave.version != 2 {
        return Err(Reason::UnsupportedVersion("the quoting enclave's identity", enclave.version));
    }
    let modules = tcb.tdx_module_identities.iter().map(|one| one.tcb_levels.len()).sum::<usize>();
    if tcb.tcb_levels.len().max(enclave.tcb_levels.len()).max(modules) > MAX_LEVELS {
        return Err(Reason::TooLarge("the collateral"));
    }
    current("the TCB info", &tcb.issue_date, &tcb.next_update, now)?;
    current("the quoting enclave's identity", &enclave.issue_date, &enclave.next_update, now)?;
    Ok(Verified { tcb, enclave })
}

/// The document, if one of the signing certificates signed these very bytes.
fn signed<T: for<'de> Deserialize<'de>>(
    what: &'static str,
    text: &str,
    signature: &str,
    pool: &[Certificate],
    lists: &[RevocationList],
    anchors: &Anchors,
    now: u64,
) -> Result<T, Reason> {
    let signature = hex::decode(signature).map_err(|_| Reason::Malformed(what))?;
    let mut result = Err(Reason::CollateralSignature(what));
    for signer in pool.iter().filter(|one| one.subject_text() == SIGNER) {
        let by_it = signer.key().is_ok_and(|key| key.verify_fixed(Hash::Sha256, text.as_bytes(), &signature));
        if by_it {
            let valid = x509::build(signer, pool, &anchors.intel, now)
                .and_then(|chain| x509::check_revocation(&chain, lists, 0, Revocation::Required, now));
            result = valid.map(|_| ());
            if result.is_ok() {
                break;
            }
        }
    }
    result?;
    serde_json::from_str(text).map_err(|_| Reason::Malformed(what))
}

fn current(what: &'static str, from: &str, to: &str, now: u64) -> Result<(), Reason> {
    let (from, to) = unix_seconds(from).zip(unix_seconds(to)).ok_or(Reason::Malformed(what))?;
    if (from..=to).contains(&now) { Ok(()) } else { Err(Reason::CollateralOutOfDate(what)) }
}

/// `YYYY-MM-DDTHH:MM:SSZ` as Unix seconds.
pub fn unix_seconds(text: &str) -> Option<u64> {
    let bytes: &[u8; 20] = text.as_bytes().try_into().ok()?;
    let shape = b"0000-00-00T00:00:00Z";
    let fits = bytes.iter().zip(shape).all(|(byte, form)| match form {
        b'0' => byte.is_ascii_digit(),
        other => byte == other,
    });
    if !fits {
        return None;
    }
    let number = |range: std::ops::Range<usize>| text[range].parse::<u64>().ok();
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    let sane = (1970..=9999).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    if !sane || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // Days since 1970-01-01, in years that begin in March.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = y * 365 + y / 4 - y / 100 + y / 400 + (m * 153 + 2) / 5 + day - 1 - 719_468;
    Some(days * 86_400 + hour * 3600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    #[test]
    fn times_are_unix_seconds() {
        let cases = [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2000-02-29T12:34:56Z", Some(951_827_696)),
            ("2025-06-19T10:16:03Z", Some(1_750_328_163)),
            ("2025-6-19T10:16:03Z", None),
            ("2025-13-19T10:16:03Z", None),
            ("2025-06-19T10:16:03+01:00", None),
        ];
        for (text, expected) in cases {
            assert_eq!(super::unix_seconds(text), expected, "{text}");
        }
    }
}
