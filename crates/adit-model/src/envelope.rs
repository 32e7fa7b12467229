//! Envelope: a receipt with both of its signatures, as one block whose links can be pinned and followed.

use crate::dagcbor::map_record;
use crate::names::{EnvelopeCid, ReceiptCid};
use crate::receipt::Receipt;
use crate::rules::{Invalid, at_most, limits};
use crate::sign::{JobSecret, SignatureError};
use crate::{DecodeError, cose, eip712};
use bytes::Bytes;
use cid::Cid;

/// A signed receipt that has *not* been checked: see [`Envelope::verify`].
///
/// A COSE_Sign1 is not DAG-CBOR (it has a tag and integer keys), so it stands inside as a byte string, and the
/// envelope repeats the CIDs of its payload as links.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// COSE_Sign1 with ES256K over the canonical receipt.
    pub receipt: Bytes,
    /// The EIP-712 signature of the same receipt: `r ‖ s ‖ v`.
    pub eip712: [u8; 65],
    /// [`Receipt::links`].
    pub links: Vec<Cid>,
}

map_record! {
    Envelope as "receipt envelope", version 1;
    req "links" => links,
    req "eip712" => eip712,
    req "receipt" => receipt,
}

crate::rules::block!(Envelope named EnvelopeCid);

/// A receipt whose signatures and endorsement hold: the check, as a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedReceipt {
    receipt: Receipt,
    cid: ReceiptCid,
}

/// Why an envelope does not prove its receipt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    #[error("the receipt is not a COSE_Sign1 as Adit writes it")]
    NotCose,
    #[error("the receipt inside the envelope cannot be read")]
    Payload(#[from] DecodeError),
    #[error("the envelope's links are not those of its receipt")]
    Links,
    #[error("the node's endorsement of the job key does not hold")]
    Endorsement(#[source] SignatureError),
    #[error("the receipt's time is outside of the job key's endorsement")]
    EndorsementTime,
    #[error("the COSE signature does not hold")]
    Cose(#[source] SignatureError),
    #[error("the EIP-712 signature does not hold")]
    Eip712(#[source] SignatureError),
}

impl Envelope {
    /// Signs a receipt, twice, with the job key that its evidence vouches for.
    pub fn sign(receipt: &Receipt, secret: &JobSecret) -> Result<Self, SignatureError> {
        receipt.check()?;
        if receipt.evidence.endorsement().body().job_key != secret.key() {
            return Err(SignatureError::WrongKey);
        }
        let payload = receipt.encode();
        let cose_signature = secret.sign(&cose::digest(&payload));
        let cid = ReceiptCid::of_block(&payload);
        let eip712 = secret.sign_recoverable(&eip712::digest(receipt, cid.digest()));
        Ok(Self { receipt: cose::join(&payload, &cose_signature).into(), eip712, links: receipt.links() })
    }

    /// Checks counts. What the links must be is checked by [`verify`](Self::verify).
    pub fn check(&self) -> Result<(), Invalid> {
        at_most("links", self.links.len(), 3 + 2 * limits::RECEIPT_LINKS)
    }

    /// The receipt that the envelope carries, unchecked: for showing, never for believing.
    pub fn peek(&self) -> Result<Receipt, ReceiptError> {
        let (payload, _) = cose::split(&self.receipt).ok_or(ReceiptError::NotCose)?;
        Ok(Receipt::decode(payload)?)
    }

    /// Checks all that the envelope can show by itself: both signatures are by one job key, that key's endorsement
    /// by the node holds at the receipt's time, and the links are the receipt's.
    ///
    /// It says nothing about *which* node or host that is, nor whether the invocation is the reader's own:
    /// [`verify_job`](crate::verify_job) does.
    pub fn verify(&self) -> Result<VerifiedReceipt, ReceiptError> {
        let (payload, signature) = cose::split(&self.receipt).ok_or(ReceiptError::NotCose)?;
        let receipt = Receipt::decode(payload)?;
        if self.links != receipt.links() {
            return Err(ReceiptError::Links);
        }
        let endorsement =
            receipt.evidence.endorsement().clone().verify().map_err(ReceiptError::Endorsement)?;
        if !endorsement.body().holds_at(receipt.time) {
            return Err(ReceiptError::EndorsementTime);
        }
        let job_key = endorsement.body().job_key;
        job_key.check(&cose::digest(payload), signature).map_err(ReceiptError::Cose)?;
        let cid = ReceiptCid::of_block(payload);
        let digest = eip712::digest(&receipt, cid.digest());
        job_key.check_recoverable(&digest, &self.eip712).map_err(ReceiptError::Eip712)?;
        Ok(VerifiedReceipt { receipt, cid })
    }
}

impl VerifiedReceipt {
    /// The name of the receipt without its signatures.
    pub fn cid(&self) -> ReceiptCid {
        self.cid
    }

    /// The receipt alone.
    pub fn into_receipt(self) -> Receipt {
        self.receipt
    }
}

impl std::ops::Deref for VerifiedReceipt {
    type Target = Receipt;
    fn deref(&self) -> &Receipt {
        &self.receipt
    }
}
