//! A record together with its signer's signature, as one block.

use crate::dagcbor::{DecodeError, MAX_RECORD_BYTES, Reader, Value, Writer};
use crate::rules::Invalid;
use crate::sign::{self, SignatureError, SignerId};
use bytes::Bytes;
use serde::{Serialize, Serializer, ser::SerializeStruct};
use std::fmt;

/// A kind of record that somebody signs.
///
/// Sealed: only this crate's records are signed, each under a tag of its own.
#[allow(private_bounds, reason = "the bound on the record's encoding is what seals the trait")]
pub trait Signable: Value {
    /// Account or node.
    type Signer: SignerId;
    /// The type of the signed block's CID.
    type Name: Copy + Eq + std::hash::Hash + fmt::Display;
    /// Keeps signatures of different kinds of records apart.
    const TAG: &'static str;

    /// Whom the record names as its signer.
    fn signer(&self) -> Self::Signer;
    /// The record's rules beyond its shape; none unless it has some.
    fn validate(&self) -> Result<(), Invalid> {
        Ok(())
    }
    #[doc(hidden)]
    fn name(block: &[u8]) -> Self::Name;
}

/// A record with a signature that has *not* been checked: see [`Signed::verify`].
///
/// The block is the DAG-CBOR map `{sig: bytes, body: record}`. The signature covers
/// `SHA-256(tag ‖ 0x00 ‖ canonical body)`, with tags such as `adit/invocation/1`.
#[derive(Clone)]
pub struct Signed<T: Signable> {
    body: T,
    signature: <T::Signer as SignerId>::Signature,
    block: Bytes,
    digest: [u8; 32],
    cid: T::Name,
}

/// A signed record whose signature holds: the check, as a value.
#[derive(Clone)]
pub struct Verified<T: Signable>(Signed<T>);

impl<T: Signable> Signed<T> {
    /// Signs a record. The record must name the key's owner as its signer.
    pub fn sign(body: T, secret: &<T::Signer as SignerId>::Secret) -> Result<Verified<T>, SignatureError> {
        if body.signer() != T::Signer::of(secret) {
            return Err(SignatureError::WrongKey);
        }
        body.validate()?;
        let encoded = body.to_dagcbor();
        let digest = sign::digest(T::TAG, &encoded);
        let signature = T::Signer::sign(secret, &digest);
        let mut w = Writer::new();
        w.map(2);
        w.str("sig");
        signature.write(&mut w);
        w.str("body");
        w.raw(&encoded);
        let block = Bytes::from(w.finish());
        let cid = T::name(&block);
        Ok(Verified(Self { body, signature, block, digest, cid }))
    }

    /// Reads a signed block. What it says is not to be believed before [`verify`](Self::verify).
    pub fn decode(block: &[u8]) -> Result<Self, DecodeError> {
        if block.len() > MAX_RECORD_BYTES {
            return Err(DecodeError::TooLong { len: block.len(), max: MAX_RECORD_BYTES });
        }
        let mut r = Reader::new(block);
        let signed = Self::read(&mut r)?;
        r.finish()?;
        Ok(signed)
    }

    /// Checks the signature.
    pub fn verify(self) -> Result<Verified<T>, SignatureError> {
        self.body.signer().check(&self.digest, &self.signature)?;
        Ok(Verified(self))
    }

    /// The record.
    pub fn body(&self) -> &T {
        &self.body
    }

    /// The signature, in its scheme's own form.
    pub fn signature(&self) -> &<T::Signer as SignerId>::Signature {
        &self.signature
    }

    /// The block: what is stored, sent and named.
    pub fn block(&self) -> &Bytes {
        &self.block
    }

    /// The block's name.
    pub fn cid(&self) -> T::Name {
        self.cid
    }
}

impl<T: Signable> Verified<T> {
    /// The record alone.
    pub fn into_body(self) -> T {
        self.0.body
    }

    /// Forgets that the signature was checked.
    pub fn into_signed(self) -> Signed<T> {
        self.0
    }
}

impl<T: Signable> std::ops::Deref for Verified<T> {
    type Target = Signed<T>;
    fn deref(&self) -> &Signed<T> {
        &self.0
    }
}

impl<T: Signable> PartialEq for Signed<T> {
    fn eq(&self, other: &Self) -> bool {
        self.block == other.block
    }
}

impl<T: Signable> Eq for Signed<T> {}

impl<T: Signable> Value for Signed<T> {
    fn write(&self, w: &mut Writer) {
        w.raw(&self.block);
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let start = r.rest();
        let (mut signature, mut body) = (None, None);
        r.map(|key, r| {
            match key {
                "sig" => signature = Some(Value::read(r)?),
                "body" => {
                    let before = r.rest();
                    let record = T::read(r)?;
                    record.validate()?;
                    let encoded = &before[..before.len() - r.rest().len()];
                    body = Some((record, sign::digest(T::TAG, encoded)));
                }
                other => return Err(DecodeError::unknown_field("signed record", other)),
            }
            Ok(())
        })?;
        let missing = |field| DecodeError::MissingField { record: "signed record", field };
        let signature = signature.ok_or(missing("sig"))?;
        let (body, digest) = body.ok_or(missing("body"))?;
        let block = Bytes::copy_from_slice(&start[..start.len() - r.rest().len()]);
        let cid = T::name(&block);
        Ok(Self { body, signature, block, digest, cid })
    }
}

impl<T: Signable + fmt::Debug> fmt::Debug for Signed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signed")
            .field("cid", &format_args!("{}", self.cid))
            .field("body", &self.body)
            .finish()
    }
}

impl<T: Signable + fmt::Debug> fmt::Debug for Verified<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// For people and JSON; the signature is shown as hexadecimal.
impl<T: Signable + Serialize> Serialize for Signed<T> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut out = s.serialize_struct("Signed", 3)?;
        out.serialize_field("cid", &self.cid.to_string())?;
        out.serialize_field("body", &self.body)?;
        out.serialize_field("sig", &data_encoding::HEXLOWER.encode(self.signature.as_ref()))?;
        out.end()
    }
}
