//! IPNS records (<https://specs.ipfs.tech/ipns/ipns-record/>).
//!
//! A protobuf envelope around signed DAG-CBOR. The older form had its fields in the protobuf and signed
//! those (V1); where they are still present, they must say what the signed data says. Only the V2 signature
//! is believed.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use adit_unixfs::codec::dag_cbor;
use bytes::Bytes;
use ipld_core::ipld::Ipld;
use libp2p_identity::{Keypair, PublicKey};

use crate::name::IpnsName;
use crate::time::{format_rfc3339, parse_rfc3339};
use crate::{limits, wire};

const V2_PREFIX: &[u8] = b"ipns-signature:";

/// Why a record is not believed, or could not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Longer than [`limits::RECORD`].
    #[error("a record of {0} bytes; at most {limit} are read", limit = limits::RECORD)]
    TooLarge(usize),
    /// Not the protobuf message.
    #[error("not an IPNS record: malformed protobuf")]
    Malformed,
    /// Only the old signature, which does not cover everything.
    #[error("the record has no V2 signature")]
    NoV2,
    /// The signed data is not what it has to be; says which part.
    #[error("malformed signed data: {0}")]
    Data(&'static str),
    /// The fields outside the signature contradict the signed ones.
    #[error("the record's unsigned fields contradict the signed ones")]
    Contradiction,
    /// There is no key, or it is of a kind that is not supported.
    #[error("the record carries no usable public key")]
    NoKey,
    /// The key is another one's.
    #[error("the record's key is not the name's")]
    WrongKey,
    /// The signature does not fit.
    #[error("the record's signature is not the name's")]
    Signature,
    /// The record's end of life is past.
    #[error("the record was valid until {0}")]
    Expired(String),
    /// Making a record only: the key could not sign, or the value is too long.
    #[error("cannot make a record: {0}")]
    Make(String),
}

/// What a new record is to say.
#[derive(Clone, Debug)]
pub struct Draft {
    /// The path that the name stands for: `/ipfs/…` or `/ipns/…`.
    pub value: String,
    /// Higher than that of all records before.
    pub sequence: u64,
    /// When it ends.
    pub valid_until: SystemTime,
    /// How long it may be remembered without asking again.
    pub ttl: Duration,
}

/// A decoded record. Whether to believe it, [`IpnsRecord::verify`] says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IpnsRecord {
    bytes: Bytes,
    data: Vec<u8>,
    signature_v2: Vec<u8>,
    key: Option<Vec<u8>>,
    value: Vec<u8>,
    sequence: u64,
    validity: String,
    valid_until: SystemTime,
    ttl: Duration,
}

/// The V1 fields, which may be absent.
#[derive(Default)]
struct Unsigned<'a> {
    value: Option<&'a [u8]>,
    signature: Option<&'a [u8]>,
    validity_type: Option<u64>,
    validity: Option<&'a [u8]>,
    sequence: Option<u64>,
    ttl: Option<u64>,
}

impl IpnsRecord {
    /// Signs a record with both signatures, as Kubo does, so that old readers take it too.
    pub fn create(key: &Keypair, draft: &Draft) -> Result<Self, RecordError> {
        let make = |text: &str| RecordError::Make(text.to_owned());
        if draft.value.len() > limits::VALUE {
            return Err(make("the value is too long"));
        }
        let validity = format_rfc3339(draft.valid_until);
        let ttl = u64::try_from(draft.ttl.as_nanos()).unwrap_or(u64::MAX);
        let data = Ipld::Map(BTreeMap::from([
            ("Value".to_owned(), Ipld::Bytes(draft.value.clone().into_bytes())),
            ("Validity".to_owned(), Ipld::Bytes(validity.clone().into_bytes())),
            ("ValidityType".to_owned(), Ipld::Integer(0)),
            ("Sequence".to_owned(), Ipld::Integer(draft.sequence.into())),
            ("TTL".to_owned(), Ipld::Integer(ttl.into())),
        ]));
        let data = dag_cbor::encode(&data).map_err(|error| make(&error.to_string()))?;
        let sign = |bytes: &[u8]| key.sign(bytes).map_err(|error| make(&error.to_string()));
        let v2 = sign(&[V2_PREFIX, &data].concat())?;
        let v1 = sign(&[draft.value.as_bytes(), validity.as_bytes(), b"EOL"].concat())?;

        let mut out = Vec::new();
        wire::write_bytes(&mut out, 1, draft.value.as_bytes());
        wire::write_bytes(&mut out, 2, &v1);
        wire::write_number(&mut out, 3, 0);
        wire::write_bytes(&mut out, 4, validity.as_bytes());
        wire::write_number(&mut out, 5, draft.sequence);
        wire::write_number(&mut out, 6, ttl);
        let public = key.public();
        if IpnsName::of(&public).inlined_key().is_none() {
            wire::write_bytes(&mut out, 7, &public.encode_protobuf());
        }
        wire::write_bytes(&mut out, 8, &v2);
        wire::write_bytes(&mut out, 9, &data);
        Self::decode(&out)
    }

    /// Reads a record and checks everything that needs neither the name nor the time.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        if bytes.len() > limits::RECORD {
            return Err(RecordError::TooLarge(bytes.len()));
        }
        let mut unsigned = Unsigned::default();
        let (mut key, mut signature, mut data) = (None, None, None);
        let mut rest = bytes;
        while let Some((number, field)) = wire::next(&mut rest).map_err(|_| RecordError::Malformed)? {
            match (number, field) {
                (1, wire::Field::Bytes(bytes)) => unsigned.value = Some(bytes),
                (2, wire::Field::Bytes(bytes)) => unsigned.signature = Some(bytes),
                (3, wire::Field::Number(number)) => unsigned.validity_type = Some(number),
                (4, wire::Field::Bytes(bytes)) => unsigned.validity = Some(bytes),
                (5, wire::Field::Number(number)) => unsigned.sequence = Some(number),
                (6, wire::Field::Number(number)) => unsigned.ttl = Some(number),
                (7, wire::Field::Bytes(bytes)) => key = Some(bytes),
                (8, wire::Field::Bytes(bytes)) => signature = Some(bytes),
                (9, wire::Field::Bytes(bytes)) => data = Some(bytes),
                (1..=9, _) => return Err(RecordError::Malformed),
                _ => {}
            }
        }
        let (Some(signature), Some(data)) =
            (signature.filter(|bytes| !bytes.is_empty()), data.filter(|bytes| !bytes.is_empty()))
        else {
            return Err(RecordError::NoV2);
        };
        let signed = Signed::read(data)?;
        if !unsigned.agrees(&signed) {
            return Err(RecordError::Contradiction);
        }
        let valid_until =
            parse_rfc3339(&signed.validity).ok_or(RecordError::Data("Validity is not an RFC 3339 time"))?;
        Ok(Self {
            bytes: Bytes::copy_from_slice(bytes),
            data: data.to_vec(),
            signature_v2: signature.to_vec(),
            key: key.filter(|key| !key.is_empty()).map(<[u8]>::to_vec),
            value: signed.value,
            sequence: signed.sequence,
            validity: signed.validity,
            valid_until,
            ttl: Duration::from_nanos(signed.ttl),
        })
    }

    /// Checks that the owner of `name` signed this. The record's end of life is not looked at.
    pub fn verify_signature(&self, name: &IpnsName) -> Result<(), RecordError> {
        let key = match (&self.key, name.inlined_key()) {
            (Some(bytes), inlined) => {
                let key = PublicKey::try_decode_protobuf(bytes).map_err(|_| RecordError::NoKey)?;
                if IpnsName::of(&key) != *name || inlined.is_some_and(|inlined| inlined != key) {
                    return Err(RecordError::WrongKey);
                }
                key
            }
            (None, Some(inlined)) => inlined,
            (None, None) => return Err(RecordError::NoKey),
        };
        if key.verify(&[V2_PREFIX, &self.data].concat(), &self.signature_v2) {
            Ok(())
        } else {
            Err(RecordError::Signature)
        }
    }

    /// Checks that the owner of `name` signed this and that it holds at `now`.
    pub fn verify(&self, name: &IpnsName, now: SystemTime) -> Result<(), RecordError> {
        self.verify_signature(name)?;
        if now > self.valid_until {
            return Err(RecordError::Expired(self.validity.clone()));
        }
        Ok(())
    }

    /// Which of two valid records of one name holds: higher sequence, then later end, then larger bytes, so
    /// that all nodes choose the same.
    pub fn compare(&self, other: &Self) -> Ordering {
        let rank = |record: &Self| (record.sequence, record.valid_until);
        rank(self).cmp(&rank(other)).then_with(|| self.bytes.cmp(&other.bytes))
    }

    /// The record as it was read or made.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// What the name stands for, as bytes; readers parse it as a [`crate::NamePath`].
    pub fn value(&self) -> &[u8] {
        &self.value
    }

    /// Counts the name's changes.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The record's end of life.
    pub fn valid_until(&self) -> SystemTime {
        self.valid_until
    }

    /// How long it may be remembered, as its owner says.
    pub fn ttl(&self) -> Duration {
        self.ttl
    }
}

/// What the V2 signature covers.
struct Signed {
    value: Vec<u8>,
    validity: String,
    sequence: u64,
    ttl: u64,
}

impl Signed {
    fn read(data: &[u8]) -> Result<Self, RecordError> {
        let Ok(Ipld::Map(mut map)) = dag_cbor::decode(data) else {
            return Err(RecordError::Data("not a DAG-CBOR map"));
        };
        let value = match map.remove("Value") {
            Some(Ipld::Bytes(value)) if value.len() <= limits::VALUE => value,
            _ => return Err(RecordError::Data("Value is not bytes, or too long")),
        };
        let validity = match map.remove("Validity") {
            Some(Ipld::Bytes(validity)) => {
                String::from_utf8(validity).map_err(|_| RecordError::Data("Validity is not text"))?
            }
            _ => return Err(RecordError::Data("Validity is not bytes")),
        };
        if map.remove("ValidityType") != Some(Ipld::Integer(0)) {
            return Err(RecordError::Data("ValidityType is not 0, the only one there is"));
        }
        let mut number = |name: &str, what: &'static str| match map.remove(name) {
            Some(Ipld::Integer(number)) => u64::try_from(number).map_err(|_| RecordError::Data(what)),
            _ => Err(RecordError::Data(what)),
        };
        let sequence = number("Sequence", "Sequence is not a number of 64 bits")?;
        let ttl = number("TTL", "TTL is not a number of 64 bits")?;
        Ok(Self { value, validity, sequence, ttl })
    }
}

impl Unsigned<'_> {
    /// Where a record has V1 fields at all, they have to be the signed ones (an absent number reads as 0).
    fn agrees(&self, signed: &Signed) -> bool {
        let has_v1 = |field: Option<&[u8]>| field.is_some_and(|bytes| !bytes.is_empty());
        if !has_v1(self.value) && !has_v1(self.signature) {
            return true;
        }
        self.value.unwrap_or_default() == signed.value
            && self.validity.unwrap_or_default() == signed.validity.as_bytes()
            && self.validity_type.unwrap_or(0) == 0
            && self.sequence.unwrap_or(0) == signed.sequence
            && self.ttl.unwrap_or(0) == signed.ttl
    }
}
