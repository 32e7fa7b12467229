//! What a VCEK's or VLEK's certificate says of the processor: AMD 57230, "VCEK certificate and KDS interface".

use super::report::{Product, SigningKey, Tcb};
use crate::Reason;
use crate::x509::Certificate;

const PRODUCT: &str = "1.3.6.1.4.1.3704.1.2";
const BOOTLOADER: &str = "1.3.6.1.4.1.3704.1.3.1";
const TEE: &str = "1.3.6.1.4.1.3704.1.3.2";
const SNP: &str = "1.3.6.1.4.1.3704.1.3.3";
const MICROCODE: &str = "1.3.6.1.4.1.3704.1.3.8";
const FMC: &str = "1.3.6.1.4.1.3704.1.3.9";
const HARDWARE_ID: &str = "1.3.6.1.4.1.3704.1.4";
const PROVIDER: &str = "1.3.6.1.4.1.3704.1.5";

/// The certified properties of a signing key.
#[derive(Debug)]
pub(super) struct KeyClaims {
    pub(super) kind: SigningKey,
    /// As in `Milan-B0`, `Genoa-A1`, `Turin`.
    pub(super) product_name: String,
    pub(super) tcb: Tcb,
    pub(super) hardware_id: Option<Vec<u8>>,
    pub(super) provider: Option<String>,
}

/// Whether this looks like a certificate of a signing key.
pub(super) fn is_key(certificate: &Certificate) -> bool {
    certificate.extension(BOOTLOADER).is_some()
}

pub(super) fn claims(certificate: &Certificate, product: Product) -> Result<KeyClaims, Reason> {
    let version =
        |oid| certificate.extension(oid).and_then(small_integer).ok_or(Reason::CertificateMalformed);
    let tcb = Tcb {
        fmc: if product == Product::Turin { Some(version(FMC)?) } else { None },
        bootloader: version(BOOTLOADER)?,
        tee: version(TEE)?,
        snp: version(SNP)?,
        microcode: version(MICROCODE)?,
    };
    let text = |oid| certificate.extension(oid).and_then(ia5_string);
    let hardware_id = certificate.extension(HARDWARE_ID).map(|value| hardware_id(value).to_vec());
    let provider = text(PROVIDER);
    let kind = match (&hardware_id, &provider) {
        (Some(_), None) => SigningKey::Vcek,
        (None, Some(_)) => SigningKey::Vlek,
        _ => return Err(Reason::CertificateMalformed),
    };
    let product_name = text(PRODUCT).ok_or(Reason::CertificateMalformed)?;
    Ok(KeyClaims { kind, product_name, tcb, hardware_id, provider })
}

/// A DER INTEGER from 0 to 255.
fn small_integer(der: &[u8]) -> Option<u8> {
    match *der {
        [2, 1, value] if value < 0x80 => Some(value),
        [2, 2, 0, value] if value >= 0x80 => Some(value),
        _ => None,
    }
}

/// A short DER IA5String (older certificates) or UTF8String of plain text.
fn ia5_string(der: &[u8]) -> Option<String> {
    let [0x16 | 0x0c, size @ 0..=0x7f, text @ ..] = der else { return None };
    let plain = text.len() == usize::from(*size) && text.iter().all(u8::is_ascii_graphic);
    plain.then(|| String::from_utf8_lossy(text).into_owned())
}

/// The identity bytes: bare in some certificates, an OCTET STRING in others.
fn hardware_id(value: &[u8]) -> &[u8] {
    match value {
        [4, size, inner @ ..] if inner.len() == usize::from(*size) => inner,
        bare => bare,
    }
}
