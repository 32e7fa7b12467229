//! The typed CIDs: a record's name says in its type which kind of record it names.

use crate::dagcbor::{DecodeError, Reader, Value, Writer};
use cid::Cid;
use multihash::Multihash;
use sha2::{Digest, Sha256};

/// Multicodec code of DAG-CBOR.
const DAG_CBOR: u64 = 0x71;
/// Multihash code of SHA2-256.
const SHA2_256: u64 = 0x12;

/// A CID or its text that cannot name a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("not a CID: {0}")]
    NotACid(String),
    #[error("records are named by CIDv1, dag-cbor, sha2-256; {0} is something else")]
    NotARecord(Cid),
}

fn digest_of(cid: &Cid) -> Option<[u8; 32]> {
    let fits = cid.version() == cid::Version::V1 && cid.codec() == DAG_CBOR && cid.hash().code() == SHA2_256;
    fits.then(|| cid.hash().digest().try_into().ok()).flatten()
}

macro_rules! record_name {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        ///
        /// CIDv1, dag-cbor, sha2-256; only the digest is kept, so it is small, `Copy` and needs no allocation.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type([u8; 32]);

        impl $type {
            /// Names a block by hashing it.
            pub fn of_block(block: &[u8]) -> Self {
                Self(Sha256::digest(block).into())
            }

            /// The name that carries this SHA2-256 digest.
            pub const fn from_digest(digest: [u8; 32]) -> Self {
                Self(digest)
            }

            /// The SHA2-256 digest of the record's block.
            pub const fn digest(&self) -> &[u8; 32] {
                &self.0
            }

            /// The name as a plain CID.
            pub fn to_cid(&self) -> Cid {
                let hash = Multihash::wrap(SHA2_256, &self.0).expect("32 bytes fit in a multihash of 64");
                Cid::new_v1(DAG_CBOR, hash)
            }
        }

        impl From<$type> for Cid {
            fn from(name: $type) -> Cid {
                name.to_cid()
            }
        }

        impl TryFrom<Cid> for $type {
            type Error = NameError;
            fn try_from(cid: Cid) -> Result<Self, NameError> {
                digest_of(&cid).map(Self).ok_or(NameError::NotARecord(cid))
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(&self.to_cid().to_string())
            }
        }

        impl std::fmt::Debug for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!(stringify!($type), "({})"), self.to_cid())
            }
        }

        impl std::str::FromStr for $type {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                let cid: Cid = text.parse().map_err(|e: cid::Error| NameError::NotACid(e.to_string()))?;
                cid.try_into()
            }
        }

        impl Value for $type {
            fn write(&self, w: &mut Writer) {
                w.link(&self.to_cid());
            }
            fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
                digest_of(&r.link()?).map(Self).ok_or(DecodeError::BadLink("not CIDv1, dag-cbor, sha2-256"))
            }
        }

        crate::text::serde_as_text!($type);
    };
}

record_name! {
    /// Names a [`Task`](crate::Task).
    TaskCid
}
record_name! {
    /// Names a signed [`Invocation`](crate::Invocation): body and signature, as one block.
    InvocationCid
}
record_name! {
    /// Names a signed [`Acceptance`](crate::Acceptance): body and signature, as one block.
    AcceptanceCid
}

record_name! {
    /// Names a signed [`KeepOrder`](crate::KeepOrder).
    KeepOrderCid
}
record_name! {
    /// Names a signed [`Grant`](crate::Grant).
    GrantCid
}
record_name! {
    /// Names a signed [`Policy`](crate::Policy).
    PolicyCid
}
record_name! {
    /// Names a signed [`PolicyHead`](crate::PolicyHead).
    PolicyHeadCid
}
record_name! {
    /// Names a [`SessionQuote`](crate::SessionQuote).
    SessionQuoteCid
}
record_name! {
    /// Names a signed [`KeyRequest`](crate::KeyRequest).
    KeyRequestCid
}
record_name! {
    /// Names an [`Outcome`](crate::Outcome).
    OutcomeCid
}
record_name! {
    /// Names a [`Receipt`](crate::Receipt) without its signatures.
    ReceiptCid
}
record_name! {
    /// Names an [`Envelope`](crate::Envelope): what people call "the receipt's CID".
    EnvelopeCid
}
record_name! {
    /// Names a signed [`Endorsement`](crate::Endorsement): body and signature, as one block.
    EndorsementCid
}
record_name! {
    /// Names a signed [`Advertisement`](crate::Advertisement): body and signature, as one block.
    AdvertisementCid
}
