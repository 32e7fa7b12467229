//! RSA with public keys (RFC 8017): signatures checked, and one secret encrypted.

use crypto_bigint::modular::{BoxedMontyForm, BoxedMontyParams};
use crypto_bigint::{BoxedUint, Odd};

use super::Hash;

/// Moduli are of whole bytes, from 2048 to 4096 bits.
const MODULUS_BYTES: std::ops::RangeInclusive<usize> = 256..=512;

/// An RSA public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RsaKey {
    /// Big-endian, without leading zeros.
    modulus: Vec<u8>,
    exponent: u64,
}

impl RsaKey {
    /// A key of a size that is accepted; the exponent odd, at least 65537 and of at most 33 bits.
    pub(crate) fn new(modulus: &[u8], exponent: &[u8]) -> Option<Self> {
        let first = modulus.iter().position(|byte| *byte != 0)?;
        let modulus = modulus[first..].to_vec();
        let exponent = exponent.iter().try_fold(0u64, |sum, byte| {
            if sum >> 32 == 0 { Some(sum << 8 | u64::from(*byte)) } else { None }
        })?;
        let fits = MODULUS_BYTES.contains(&modulus.len()) && modulus[0] >= 0x80;
        let odd = modulus.last()? & 1 == 1 && exponent & 1 == 1;
        (fits && odd && (65537..1 << 33).contains(&exponent)).then_some(Self { modulus, exponent })
    }

    /// The modulus' size.
    pub(crate) fn bits(&self) -> usize {
        self.modulus.len() * 8
    }

    /// `input ^ exponent mod modulus`, as long as the modulus.
    fn power(&self, input: &[u8]) -> Option<Vec<u8>> {
        let size = self.modulus.len();
        let bits = u32::try_from(size * 8).ok()?;
        if input.len() != size || input >= self.modulus.as_slice() {
            return None;
        }
        let modulus = BoxedUint::from_be_slice(&self.modulus, bits).ok()?;
        let modulus = Option::<Odd<BoxedUint>>::from(Odd::new(modulus))?;
        let params = BoxedMontyParams::new_vartime(modulus);
        let base = BoxedMontyForm::new(BoxedUint::from_be_slice(input, bits).ok()?, &params);
        let exponent = BoxedUint::from(self.exponent);
        let power =
            base.pow_bounded_exp(&exponent, 64 - self.exponent.leading_zeros()).retrieve().to_be_bytes();
        power.len().checked_sub(size).map(|extra| power[extra..].to_vec())
    }

    /// RSAES-OAEP with SHA-256 (RFC 8017, 7.1.1), with the caller's randomness.
    pub(crate) fn encrypt_oaep_sha256(
        &self,
        label: &[u8],
        message: &[u8],
        seed: &[u8; 32],
    ) -> Option<Vec<u8>> {
        const HASH: Hash = Hash::Sha256;
        let zeros = self.modulus.len().checked_sub(2 * HASH.size() + 2 + message.len())?;
        let data = [HASH.digest(label), vec![0; zeros], vec![1], message.to_vec()].concat();
        let xor = |data: &[u8], mask: Vec<u8>| data.iter().zip(mask).map(|(a, b)| a ^ b).collect::<Vec<u8>>();
        let data = xor(&data, mask(HASH, seed, data.len()));
        let seed = xor(seed, mask(HASH, &data, seed.len()));
        self.power(&[vec![0], seed, data].concat())
    }

    pub(crate) fn verify_pkcs1(&self, hash: Hash, message: &[u8], signature: &[u8]) -> bool {
        let Some(encoded) = self.power(signature) else { return false };
        // DigestInfo: SEQUENCE { SEQUENCE { OID, NULL }, OCTET STRING }; SHA-2's OIDs differ in their last byte.
        let (last, size) = match hash {
            Hash::Sha256 => (1, 32u8),
            Hash::Sha384 => (2, 48),
            Hash::Sha512 => (3, 64),
        };
        let oid = [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, last];
        let head = [&[0x30, 17 + size, 0x30, 13, 0x06, 9][..], &oid, &[0x05, 0, 0x04, size]].concat();
        let info = [head, hash.digest(message)].concat();
        let padding = vec![0xff; self.modulus.len() - 3 - info.len()];
        encoded == [&[0, 1][..], &padding, &[0], &info].concat()
    }

    pub(crate) fn verify_pss(&self, hash: Hash, message: &[u8], signature: &[u8]) -> bool {
        let Some(encoded) = self.power(signature) else { return false };
        let size = hash.size();
        // The modulus has all its bits, so the encoding is as long as it, less its highest bit.
        let (masked, rest) = encoded.split_at(encoded.len() - size - 1);
        let (digest, trailer) = rest.split_at(size);
        if trailer != [0xbc] || masked[0] & 0x80 != 0 {
            return false;
        }
        let mut block: Vec<u8> =
            masked.iter().zip(mask(hash, digest, masked.len())).map(|(a, b)| a ^ b).collect();
        block[0] &= 0x7f;
        let (padding, salt) = block.split_at(block.len() - size);
        let (one, zeros) = padding.split_last().expect("the modulus is far longer than two digests");
        if *one != 1 || zeros.iter().any(|byte| *byte != 0) {
            return false;
        }
        let inner = [&[0; 8][..], &hash.digest(message), salt].concat();
        hash.digest(&inner) == digest
    }
}

/// MGF1.
fn mask(hash: Hash, seed: &[u8], size: usize) -> Vec<u8> {
    let blocks = (0u32..).take(size.div_ceil(hash.size()));
    let mut out: Vec<u8> =
        blocks.flat_map(|counter| hash.digest(&[seed, &counter.to_be_bytes()].concat())).collect();
    out.truncate(size);
    out
}
