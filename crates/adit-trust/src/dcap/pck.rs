//! What a PCK certificate says of the platform: Intel's "PCK certificate and CRL profile", section 1.3.5.

use crate::Reason;
use crate::der;
use crate::x509::Certificate;

const SGX: &str = "1.2.840.113741.1.13.1";
/// The content of that OID's encoding, as its parts begin.
const PREFIX: [u8; 9] = [0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d, 1, 0x0d, 1];

/// The certified platform.
#[derive(Debug)]
pub(super) struct Platform {
    /// The security versions of the processor's sixteen components.
    pub(super) svns: [u8; 16],
    pub(super) pce_svn: u16,
    pub(super) pce_id: [u8; 2],
    /// Family, model, stepping, platform type and custom SKU.
    pub(super) fmspc: [u8; 6],
}

pub(super) fn is_pck(certificate: &Certificate) -> bool {
    certificate.extension(SGX).is_some()
}

pub(super) fn platform(certificate: &Certificate) -> Result<Platform, Reason> {
    certificate.extension(SGX).and_then(parse).ok_or(Reason::CertificateMalformed)
}

fn parse(extension: &[u8]) -> Option<Platform> {
    let (mut svns, mut pce_svn, mut pce_id, mut fmspc) = ([None; 16], None, None, None);
    for (id, value) in parts(der::only(0x30, extension)?)? {
        match id {
            [2] => {
                for (id, value) in parts(der::only(0x30, value)?)? {
                    match id {
                        [2, place @ 1..=16] => {
                            svns[usize::from(*place) - 1] = Some(u8::try_from(number(value)?).ok()?);
                        }
                        [2, 17] => pce_svn = Some(number(value)?),
                        _ => {}
                    }
                }
            }
            [3] => pce_id = der::only(4, value)?.try_into().ok(),
            [4] => fmspc = der::only(4, value)?.try_into().ok(),
            _ => {}
        }
    }
    let mut all = [0; 16];
    for (to, from) in all.iter_mut().zip(svns) {
        *to = from?;
    }
    Some(Platform { svns: all, pce_svn: pce_svn?, pce_id: pce_id?, fmspc: fmspc? })
}

/// `SEQUENCE { OID, value }` after each other: what follows the common prefix of each OID, and the whole value.
fn parts(mut content: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let mut out = Vec::new();
    while !content.is_empty() {
        let (tag, part, rest) = der::next(content)?;
        let (id, oid, value) = der::next(part)?;
        if tag != 0x30 || id != 6 || out.len() == 64 {
            return None;
        }
        out.push((oid.strip_prefix(&PREFIX[..])?, value));
        content = rest;
    }
    Some(out)
}

/// A DER INTEGER from 0 to 65535.
fn number(der: &[u8]) -> Option<u16> {
    match *der::only(2, der)? {
        [low] if low < 0x80 => Some(low.into()),
        [0, low] => Some(low.into()),
        [high, low] if high < 0x80 => Some(u16::from_be_bytes([high, low])),
        [0, high, low] => Some(u16::from_be_bytes([high, low])),
        _ => None,
    }
}
