//! The quote's layout: Intel's "SGX ECDSA QuoteLibReference DCAP API" (version 3) and "TDX DCAP Quoting Library API"
//! (versions 4 and 5), appendix A.

use crate::Reason;
use crate::reader::Reader;

const WHAT: &str = "the quote";
const HEADER: usize = 48;
const ECDSA_P256: u16 = 2;
const TEE_SGX: u32 = 0;
const TEE_TDX: u32 = 0x81;
/// Intel's own quoting enclaves.
const INTEL: [u8; 16] =
    [0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 6, 7];
/// Certification data of a quote that is a chain of certificates, and the one that wraps a quoting enclave's report.
const CERTIFICATES: u16 = 5;
const ENCLAVE_REPORT: u16 = 6;

/// Whether these bytes begin as a quote does, and for which kind of environment.
pub(crate) fn is_tdx(bytes: &[u8]) -> Option<bool> {
    let mut from = Reader::new(bytes, WHAT);
    let (version, algorithm, tee) = (from.u16_le().ok()?, from.u16_le().ok()?, from.u32_le().ok()?);
    match (version, tee) {
        _ if algorithm != ECDSA_P256 || bytes.get(12..28) != Some(&INTEL[..]) => None,
        // In version 3 the field was reserved.
        (3..=5, TEE_SGX) => Some(false),
        (4 | 5, TEE_TDX) => Some(true),
        _ => None,
    }
}

/// What a quote says, and who says so.
#[derive(Debug)]
pub(super) struct Quote<'a> {
    pub(super) version: u16,
    /// Header and body.
    pub(super) signed: &'a [u8],
    pub(super) body: Body,
    pub(super) signature: &'a [u8],
    /// `x ‖ y` of the quoting enclave's key.
    pub(super) key: &'a [u8],
    pub(super) enclave_report: &'a [u8],
    pub(super) enclave_signature: &'a [u8],
    pub(super) enclave_data: &'a [u8],
    /// PEM, if the quote carries certificates.
    pub(super) certificates: Option<&'a [u8]>,
}

#[derive(Debug)]
pub(super) enum Body {
    Sgx(Box<EnclaveReport>),
    Tdx(Box<DomainReport>),
}

/// The report of an SGX enclave, 384 bytes.
#[derive(Debug)]
pub(super) struct EnclaveReport {
    pub(super) misc_select: [u8; 4],
    pub(super) attributes: [u8; 16],
    pub(super) mr_enclave: [u8; 32],
    pub(super) mr_signer: [u8; 32],
    pub(super) product: u16,
    pub(super) svn: u16,
    pub(super) report_data: [u8; 64],
}

impl EnclaveReport {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Reason> {
        let mut from = Reader::new(bytes, "an enclave's report");
        from.take(16)?; // CPUSVN: what counts is in the PCK certificate
        let misc_select = from.array()?;
        from.take(12 + 16)?;
        let attributes = from.array()?;
        let mr_enclave = from.array()?;
        from.take(32)?;
        let mr_signer = from.array()?;
        from.take(32 + 64)?;
        let (product, svn) = (from.u16_le()?, from.u16_le()?);
        from.take(2 + 42 + 16)?;
        let report_data = from.array()?;
        from.end()?;
        Ok(Self { misc_select, attributes, mr_enclave, mr_signer, product, svn, report_data })
    }
}

/// The report of a trust domain: 584 bytes of TDX 1.0, 648 of 1.5.
#[derive(Debug)]
pub(super) struct DomainReport {
    pub(super) tee_tcb_svn: [u8; 16],
    pub(super) mr_seam: [u8; 48],
    pub(super) mr_signer_seam: [u8; 48],
    pub(super) seam_attributes: [u8; 8],
    pub(super) attributes: u64,
    pub(super) xfam: u64,
    pub(super) mr_td: [u8; 48],
    pub(super) mr_config_id: [u8; 48],
    pub(super) mr_owner: [u8; 48],
    pub(super) mr_owner_config: [u8; 48],
    pub(super) rtmrs: [[u8; 48]; 4],
    pub(super) report_data: [u8; 64],
    /// Of TDX 1.5: the measurement of service domains, all zeros without any.
    pub(super) mr_service: Option<[u8; 48]>,
}

impl DomainReport {
    fn parse(bytes: &[u8], newer: bool) -> Result<Self, Reason> {
        let mut from = Reader::new(bytes, "a domain's report");
        let report = Self {
            tee_tcb_svn: from.array()?,
            mr_seam: from.array()?,
            mr_signer_seam: from.array()?,
            seam_attributes: from.array()?,
            attributes: from.u64_le()?,
            xfam: from.u64_le()?,
            mr_td: from.array()?,
            mr_config_id: from.array()?,
            mr_owner: from.array()?,
            mr_owner_config: from.array()?,
            rtmrs: [from.array()?, from.array()?, from.array()?, from.array()?],
            report_data: from.array()?,
            mr_service: if newer {
                from.take(16)?; // the TCB of the module that was there at launch
                Some(from.array()?)
            } else {
                None
            },
        };
        from.end()?;
        Ok(report)
    }
}

impl<'a> Quote<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, Reason> {
        let mut from = Reader::new(bytes, WHAT);
        let header = from.take(HEADER)?;
        let version = u16::from_le_bytes([header[0], header[1]]);
        let tdx = is_tdx(bytes).ok_or(Reason::UnsupportedVersion(WHAT, version.into()))?;
        let (kind, size) = match (version, tdx) {
            (5, _) => (from.u16_le()?, from.u32_le()? as usize),
            (_, false) => (1, 384),
            (_, true) => (2, 584),
        };
        let body = match (kind, size, tdx) {
            (1, 384, false) => Body::Sgx(EnclaveReport::parse(from.take(384)?)?.into()),
            (2, 584, true) => Body::Tdx(DomainReport::parse(from.take(584)?, false)?.into()),
            (3, 648, true) => Body::Tdx(DomainReport::parse(from.take(648)?, true)?.into()),
            _ => return Err(Reason::Malformed(WHAT)),
        };
        let signed = &bytes[..HEADER + if version == 5 { 6 } else { 0 } + size];
        let size = from.u32_le()? as usize;
        let mut data = Reader::new(from.take(size)?, WHAT);
        // Some writers pad with zeros; anything else would be bytes that nobody signed or read.
        if from.rest().iter().any(|byte| *byte != 0) {
            return Err(Reason::TrailingBytes(WHAT));
        }
        let (signature, key) = (data.take(64)?, data.take(64)?);
        let mut data = if version == 3 {
            data
        } else {
            if data.u16_le()? != ENCLAVE_REPORT {
                return Err(Reason::Malformed(WHAT));
            }
            let size = data.u32_le()? as usize;
            let inner = Reader::new(data.take(size)?, WHAT);
            data.end()?;
            inner
        };
        let (enclave_report, enclave_signature) = (data.take(384)?, data.take(64)?);
        let size = data.u16_le()?.into();
        let enclave_data = data.take(size)?;
        let kind = data.u16_le()?;
        let size = data.u32_le()? as usize;
        let certification = data.take(size)?;
        data.end()?;
        let certificates = (kind == CERTIFICATES).then_some(certification);
        Ok(Quote {
            version,
            signed,
            body,
            signature,
            key,
            enclave_report,
            enclave_signature,
            enclave_data,
            certificates,
        })
    }
}
