//! Nonces that a holder knows again without keeping them.

use adit_model::{JobKey, QuoteNonce};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::ZeroizeOnDrop;

/// How long a nonce is good for, in milliseconds.
const LASTS_MS: u64 = 600_000;
/// Bytes of its time.
const TIME: usize = 8;

/// Makes nonces, and tells when it made one.
///
/// ```text
/// nonce = time (8 bytes, Unix milliseconds, big-endian) ‖ HMAC-SHA256(secret, time ‖ session) (its first 24 bytes)
/// ```
///
/// A table of nonces would have to be bounded, and then strangers could push those of others out of it. The secret is new
/// at each start of the holder, and its clock must not go back by minutes while it runs.
#[derive(ZeroizeOnDrop)]
pub struct Nonces([u8; 32]);

impl Nonces {
    /// With fresh random bytes.
    pub fn new(secret: [u8; 32]) -> Self {
        Self(secret)
    }

    fn mac(&self, time: &[u8; TIME], session: &JobKey) -> Hmac<Sha256> {
        let mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes any key");
        mac.chain_update(time).chain_update(session.0)
    }

    /// A nonce for a session's next quote.
    pub fn give(&self, session: &JobKey, now: u64) -> QuoteNonce {
        let time = now.to_be_bytes();
        let mut nonce = [0; 32];
        nonce[..TIME].copy_from_slice(&time);
        let mac = self.mac(&time, session).finalize().into_bytes();
        nonce[TIME..].copy_from_slice(&mac[..32 - TIME]);
        QuoteNonce(nonce)
    }

    /// When the youngest of these was given to this session, in Unix milliseconds; `None` if none of them was, or not
    /// within the last ten minutes.
    pub fn given(&self, nonces: &[QuoteNonce], session: &JobKey, now: u64) -> Option<u64> {
        let ours = |nonce: &QuoteNonce| {
            let (time, mac) = nonce.0.split_first_chunk::<TIME>()?;
            let given = u64::from_be_bytes(*time);
            let young = now.checked_sub(given).is_some_and(|age| age <= LASTS_MS);
            (young && self.mac(time, session).verify_truncated_left(mac).is_ok()).then_some(given)
        };
        nonces.iter().filter_map(ours).max()
    }
}

impl std::fmt::Debug for Nonces {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Nonces")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_793_000_000_000;

    #[test]
    fn a_nonce_is_known_again_by_its_maker_for_its_session_and_for_ten_minutes() {
        let (nonces, others) = (Nonces::new([1; 32]), Nonces::new([2; 32]));
        let (session, other) = (JobKey([2; 33]), JobKey([3; 33]));
        let nonce = nonces.give(&session, NOW);
        let list = [QuoteNonce([9; 32]), others.give(&session, NOW), nonce];
        assert_eq!(nonces.given(&list, &session, NOW + 5), Some(NOW));
        assert_eq!(nonces.given(&list, &session, NOW + LASTS_MS), Some(NOW));
        assert_eq!(nonces.given(&list, &session, NOW + LASTS_MS + 1), None, "too old");
        assert_eq!(nonces.given(&list, &session, NOW - 1), None, "from the future");
        assert_eq!(nonces.given(&list, &other, NOW), None, "another session's");
        assert_eq!(nonces.given(&list[..2], &session, NOW), None, "other holders'");
        for at in 0..32 {
            let mut changed = nonce;
            changed.0[at] ^= 1;
            assert_eq!(nonces.given(&[changed], &session, NOW + 5), None, "byte {at}");
        }
        let younger = nonces.give(&session, NOW + 9);
        assert_eq!(nonces.given(&[younger, nonce], &session, NOW + 10), Some(NOW + 9));
    }
}
