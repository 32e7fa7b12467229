//! One recovery phrase, from which a person's keys come: an account, and an age identity.
//!
//! The words are BIP-39's English ones. The account is what wallets for Ethereum show for the phrase (BIP-32, path
//! `m/44'/60'/0'/0/0`, no passphrase). The age identity is HKDF-SHA256 of the phrase's seed.

use crate::age::{Identity, derive};
use crate::random::Random;
use bip39::{Language, Mnemonic};
use hmac::{Hmac, KeyInit, Mac};
use secp256k1::{PublicKey, Scalar, Secp256k1, SecretKey};
use sha2::Sha512;
use zeroize::{Zeroize, Zeroizing};

/// What separates the age identity from anything else that comes of the seed.
const IDENTITY: &[u8] = b"adit/age-identity/1";
const HARDENED: u32 = 1 << 31;
/// The first account of Ethereum's (BIP-44).
const PATH: [u32; 5] = [44 | HARDENED, 60 | HARDENED, HARDENED, 0, 0];

/// The words are no recovery phrase. They are not repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PhraseError {
    /// 12, 15, 18, 21 or 24 there must be.
    #[error("a recovery phrase has 12 to 24 words, not {0}")]
    Count(usize),
    /// Counted from 1.
    #[error("word {0} is not on BIP-39's English list")]
    Word(usize),
    /// Each word exists, and together they are wrong.
    #[error("the words do not belong together: one of them is wrong, or two are swapped")]
    Checksum,
}

/// A recovery phrase. Cleared when dropped; `Debug` shows nothing of it.
#[derive(Clone)]
pub struct RecoveryPhrase(Mnemonic);

impl RecoveryPhrase {
    /// A new one of 24 words.
    pub fn generate(random: &mut impl Random) -> Self {
        let mut entropy = Zeroizing::new([0; 32]);
        random.fill(&mut entropy[..]);
        Self(Mnemonic::from_entropy(&entropy[..]).expect("32 bytes are 24 words"))
    }

    /// Reads words with any white space between and around them, in any case.
    pub fn parse(text: &str) -> Result<Self, PhraseError> {
        let lower = Zeroizing::new(text.to_lowercase());
        let words = Zeroizing::new(lower.split_whitespace().collect::<Vec<_>>().join(" "));
        let parsed = Mnemonic::parse_in_normalized(Language::English, &words);
        parsed.map(Self).map_err(|error| match error {
            bip39::Error::BadWordCount(count) => PhraseError::Count(count),
            bip39::Error::UnknownWord(at) => PhraseError::Word(at + 1),
            _ => PhraseError::Checksum,
        })
    }

    /// The words, with a space between each two.
    pub fn words(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(24 * 9));
        for word in self.0.words() {
            if !text.is_empty() {
                text.push(' ');
            }
            text.push_str(word);
        }
        text
    }

    /// The secret scalar of the account.
    pub fn account_secret(&self) -> Zeroizing<[u8; 32]> {
        let mut node = hmac_sha512(b"Bitcoin seed", &[&self.seed()[..]]);
        for index in PATH {
            node = child(&node, index);
        }
        let mut secret = Zeroizing::new([0; 32]);
        secret.copy_from_slice(&node[..32]);
        secret
    }

    /// The age identity.
    pub fn identity(&self) -> Identity {
        Identity::from_bytes(&derive(&self.seed()[..], &[], IDENTITY))
    }

    fn seed(&self) -> Zeroizing<[u8; 64]> {
        Zeroizing::new(self.0.to_seed_normalized(""))
    }
}

impl Drop for RecoveryPhrase {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl std::fmt::Debug for RecoveryPhrase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RecoveryPhrase(secret)")
    }
}

/// BIP-32: key and chain code of a child. The cases that BIP-32 calls invalid have a chance of 2^-127 and end here.
fn child(node: &[u8; 64], index: u32) -> Zeroizing<[u8; 64]> {
    let mut secret =
        SecretKey::from_byte_array(node[..32].try_into().expect("32 bytes")).expect("a valid key");
    let number = index.to_be_bytes();
    let made = if index & HARDENED == 0 {
        let public = PublicKey::from_secret_key(&Secp256k1::signing_only(), &secret).serialize();
        hmac_sha512(&node[32..], &[&public, &number])
    } else {
        hmac_sha512(&node[32..], &[&[0], &node[..32], &number])
    };
    let tweak = Scalar::from_be_bytes(made[..32].try_into().expect("32 bytes")).expect("a valid tweak");
    let mut key = secret.add_tweak(&tweak).expect("a valid key");
    let mut out = made.clone();
    out[..32].copy_from_slice(&key.secret_bytes());
    key.non_secure_erase();
    secret.non_secure_erase();
    out
}

fn hmac_sha512(key: &[u8], parts: &[&[u8]]) -> Zeroizing<[u8; 64]> {
    let mut mac = Hmac::<Sha512>::new_from_slice(key).expect("HMAC takes keys of any length");
    parts.iter().for_each(|part| mac.update(part));
    Zeroizing::new(mac.finalize().into_bytes().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::OsRandom;

    #[test]
    fn the_account_is_the_one_that_wallets_show() {
        // The first account of Hardhat and Anvil, and the one of BIP-39's simplest phrase: both are widely known.
        let junk =
            RecoveryPhrase::parse("test test test test test test test test test test test junk").unwrap();
        let secret = hex::encode(junk.account_secret());
        assert_eq!(secret, "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80");
        let about = RecoveryPhrase::parse(&format!("{}about", "abandon ".repeat(11))).unwrap();
        let account = adit_model::AccountSecret::from_bytes(&about.account_secret()).unwrap().account();
        assert_eq!(account.to_string().to_lowercase(), "0x9858effd232b4033e47d90003d41ec34ecaeda94");
    }

    #[test]
    fn a_phrase_gives_the_same_keys_again_and_a_wrong_one_none() {
        let phrase = RecoveryPhrase::generate(&mut OsRandom);
        let words = phrase.words();
        assert_eq!(words.split(' ').count(), 24);
        let again =
            RecoveryPhrase::parse(&format!("  {}\n", words.to_uppercase().replace(' ', "  "))).unwrap();
        assert_eq!(again.identity().recipient(), phrase.identity().recipient());
        assert_eq!(again.account_secret(), phrase.account_secret());
        assert_eq!(RecoveryPhrase::parse("about").err(), Some(PhraseError::Count(1)));
        let unknown = format!("{}adit", "abandon ".repeat(11));
        assert_eq!(RecoveryPhrase::parse(&unknown).err(), Some(PhraseError::Word(12)));
        assert_eq!(RecoveryPhrase::parse(&"abandon ".repeat(12)).err(), Some(PhraseError::Checksum));
        assert_eq!(format!("{phrase:?}"), "RecoveryPhrase(secret)");
    }

    #[test]
    fn the_identity_of_a_phrase_never_changes() {
        let junk =
            RecoveryPhrase::parse("test test test test test test test test test test test junk").unwrap();
        // Computed once, and again by hand in Python: what was sealed to a phrase's identity must open for ever.
        assert_eq!(
            junk.identity().recipient().to_string(),
            "age1jlyky7k70dv3vgr4ewvkyrlqcafv7utflm5qcwnfglzdyz92xqlsd9rp83"
        );
    }
}
