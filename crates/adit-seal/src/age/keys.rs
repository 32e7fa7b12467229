//! Who can open: X25519 recipients and identities, and the key of one file.

use super::{HeaderError, bech32};
use crate::aead;
use crate::random::Random;
use hkdf::Hkdf;
use sha2::Sha256;
use std::fmt;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

const WRAP_INFO: &[u8] = b"age-encryption.org/v1/X25519";

/// The text is no key of this kind. It is not repeated: it may be a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not `age1` and 58 characters with their checksum.
    #[error("this is no age recipient: one is written age1 and 58 letters and digits")]
    Recipient,
    /// Not `AGE-SECRET-KEY-1` and 58 characters with their checksum.
    #[error("this is no age identity: one is written AGE-SECRET-KEY-1 and 58 letters and digits")]
    Identity,
}

/// Whom something can be sealed to: `age1…`. Not a secret.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Recipient([u8; 32]);

impl Recipient {
    /// From an X25519 public key.
    pub fn from_bytes(public: [u8; 32]) -> Self {
        Self(public)
    }

    /// The X25519 public key.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl std::str::FromStr for Recipient {
    type Err = KeyError;
    fn from_str(text: &str) -> Result<Self, KeyError> {
        // age itself takes recipients in lower case only.
        let lower = !text.bytes().any(|byte| byte.is_ascii_uppercase());
        bech32::decode("age", text).filter(|_| lower).map(|bytes| Self(*bytes)).ok_or(KeyError::Recipient)
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&bech32::encode("age", &self.0))
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recipient({self})")
    }
}

/// The secret that opens what was sealed to its recipient. Cleared when dropped; `Debug` shows the recipient.
#[derive(Clone)]
pub struct Identity {
    secret: StaticSecret,
    public: [u8; 32],
}

impl Identity {
    /// A new one.
    pub fn generate(random: &mut impl Random) -> Self {
        let mut bytes = Zeroizing::new([0; 32]);
        random.fill(&mut bytes[..]);
        Self::from_bytes(&bytes)
    }

    /// From an X25519 secret key.
    pub fn from_bytes(secret: &[u8; 32]) -> Self {
        let secret = StaticSecret::from(*secret);
        let public = PublicKey::from(&secret).to_bytes();
        Self { secret, public }
    }

    /// Reads `AGE-SECRET-KEY-1…`.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let upper = !text.bytes().any(|byte| byte.is_ascii_lowercase());
        let bytes = bech32::decode("age-secret-key-", text).filter(|_| upper).ok_or(KeyError::Identity)?;
        Ok(Self::from_bytes(&bytes))
    }

    /// Writes `AGE-SECRET-KEY-1…`, as age's own programs read it.
    pub fn to_secret_text(&self) -> Zeroizing<String> {
        let mut text = bech32::encode("age-secret-key-", self.secret.as_bytes());
        text.make_ascii_uppercase();
        text
    }

    /// Whom to seal to.
    pub fn recipient(&self) -> Recipient {
        Recipient(self.public)
    }

    /// The wrapped file key of a stanza, if this identity opens it. An ephemeral key that makes the shared secret
    /// predictable is an error.
    pub(super) fn unwrap(
        &self,
        ephemeral: &[u8; 32],
        wrapped: &[u8; 32],
    ) -> Result<Option<FileKey>, HeaderError> {
        let shared = self.secret.diffie_hellman(&PublicKey::from(*ephemeral));
        if !shared.was_contributory() {
            return Err(HeaderError::Malformed("an ephemeral key of low order"));
        }
        let key = wrapping_key(shared.as_bytes(), ephemeral, &self.public);
        let mut data = Zeroizing::new(*wrapped);
        if aead::Key::new(&key).open([0; 12], &mut data[..]).is_err() {
            return Ok(None);
        }
        let mut file_key = FileKey([0; 16]);
        file_key.0.copy_from_slice(&data[..16]);
        Ok(Some(file_key))
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity(of {})", self.recipient())
    }
}

fn wrapping_key(shared: &[u8; 32], ephemeral: &[u8; 32], recipient: &[u8; 32]) -> Zeroizing<[u8; 32]> {
    let mut salt = [0; 64];
    salt[..32].copy_from_slice(ephemeral);
    salt[32..].copy_from_slice(recipient);
    derive(shared, &salt, WRAP_INFO)
}

/// HKDF-SHA256 to 32 bytes.
pub(crate) fn derive(secret: &[u8], salt: &[u8], info: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut key = Zeroizing::new([0; 32]);
    Hkdf::<Sha256>::new(Some(salt), secret)
        .expand(info, &mut key[..])
        .expect("32 bytes are one round of HKDF");
    key
}

/// The key of one sealed file or tree: whoever has it can read all of that, and nothing else. Sixteen bytes; this is
/// what a grant's holders share among them.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct FileKey(pub(super) [u8; 16]);

impl FileKey {
    /// A new one.
    pub fn generate(random: &mut impl Random) -> Self {
        let mut key = Self([0; 16]);
        random.fill(&mut key.0);
        key
    }

    /// One that came by another way than a header's stanza.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The secret itself.
    pub fn expose(&self) -> &[u8; 16] {
        &self.0
    }

    /// Wraps the key for a recipient: the ephemeral public key and the wrapped key. `None` if no secret can be shared
    /// with that recipient, because its key is of low order.
    pub(super) fn wrap(&self, to: &Recipient, random: &mut impl Random) -> Option<([u8; 32], [u8; 32])> {
        let mut bytes = Zeroizing::new([0; 32]);
        random.fill(&mut bytes[..]);
        let secret = StaticSecret::from(*bytes);
        let ephemeral = PublicKey::from(&secret).to_bytes();
        let shared = secret.diffie_hellman(&PublicKey::from(to.0));
        if !shared.was_contributory() {
            return None;
        }
        let key = wrapping_key(shared.as_bytes(), &ephemeral, &to.0);
        let mut wrapped = [0; 32];
        wrapped[..16].copy_from_slice(&self.0);
        let tag = aead::Key::new(&key).seal([0; 12], &mut wrapped[..16]);
        wrapped[16..].copy_from_slice(&tag);
        Some((ephemeral, wrapped))
    }
}

impl fmt::Debug for FileKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FileKey(secret)")
    }
}
