//! The job key and what it signs.
//!
//! The key is made when the enclave starts, lives in its memory and is never written anywhere. Until there is
//! attestation, all that vouches for it is the node's endorsement, and every receipt says `evidence: none`.

use adit_model::{
    AccountId, Endorsement, Envelope, Evidence, InvocationCid, JobKey, JobSecret, NodeId, OutcomeCid,
    Receipt, SignatureError, Signed, TaskCid,
};
use bytes::Bytes;
use parking_lot::RwLock;
use std::time::{SystemTime, UNIX_EPOCH};

pub(super) struct Signer {
    secret: JobSecret,
    host: AccountId,
    node: NodeId,
    runtime: String,
    endorsement: RwLock<Option<Box<Signed<Endorsement>>>>,
}

/// Why no receipt can be signed now.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReceiptError {
    #[error("the node has not endorsed the job key yet")]
    NotEndorsed,
    #[error("the node's endorsement of the job key does not hold now; it has to be renewed")]
    Expired,
    #[error("signing failed")]
    Sign(#[from] SignatureError),
}

/// Why an endorsement is not taken.
#[derive(Debug, thiserror::Error)]
pub enum EndorseError {
    #[error("malformed endorsement")]
    Malformed(#[from] adit_model::DecodeError),
    #[error("the endorsement's signature does not hold")]
    Signature(#[from] SignatureError),
    #[error("the endorsement is for another {0}")]
    Other(&'static str),
}

impl Signer {
    pub(super) fn new(host: AccountId, node: NodeId, runtime: String) -> Result<Self, SignatureError> {
        Ok(Signer { secret: JobSecret::generate()?, host, node, runtime, endorsement: RwLock::default() })
    }

    pub(super) fn job_key(&self) -> JobKey {
        self.secret.key()
    }

    pub(super) fn runtime(&self) -> &str {
        &self.runtime
    }

    /// Takes the node's word for the job key, from now on. Once per endorsement, so checked thoroughly.
    pub(super) fn endorse(&self, block: &[u8]) -> Result<(), EndorseError> {
        let signed = Signed::<Endorsement>::decode(block)?.verify()?;
        let body = signed.body();
        for (fits, what) in [
            (body.job_key == self.job_key(), "job key"),
            (body.node == self.node, "node"),
            (body.runtime == self.runtime, "runtime"),
        ] {
            if !fits {
                return Err(EndorseError::Other(what));
            }
        }
        *self.endorsement.write() = Some(Box::new(signed.into_signed()));
        Ok(())
    }

    /// A signed receipt's block.
    pub(super) fn receipt(
        &self,
        outcome: OutcomeCid,
        invocation: InvocationCid,
        task: TaskCid,
    ) -> Result<Bytes, ReceiptError> {
        let endorsement = self.endorsement.read().clone().ok_or(ReceiptError::NotEndorsed)?;
        let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        if !endorsement.body().holds_at(time) {
            return Err(ReceiptError::Expired);
        }
        let receipt = Receipt {
            outcome,
            invocation,
            task,
            host: self.host,
            time,
            evidence: Evidence::None { endorsement },
            policies: Vec::new(),
            releases: Vec::new(),
        };
        Ok(Envelope::sign(&receipt, &self.secret)?.encode().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use adit_model::NodeSecret;

    fn endorsement(signer: &Signer, node: &NodeSecret, change: impl FnOnce(&mut Endorsement)) -> Bytes {
        let mut body = Endorsement {
            job_key: signer.job_key(),
            node: node.node(),
            runtime: "test".into(),
            issued: 0,
            expires: u64::MAX >> 12,
        };
        change(&mut body);
        Signed::sign(body, node).unwrap().block().clone()
    }

    #[test]
    fn receipts_verify_and_only_under_the_nodes_own_endorsement() {
        let node = NodeSecret::generate().unwrap();
        let signer = Signer::new(AccountId([7; 20]), node.node(), "test".into()).unwrap();
        let ids = || (OutcomeCid::of_block(b"o"), InvocationCid::of_block(b"i"), TaskCid::of_block(b"t"));
        let (outcome, invocation, task) = ids();
        assert!(matches!(signer.receipt(outcome, invocation, task), Err(ReceiptError::NotEndorsed)));

        let other = NodeSecret::generate().unwrap();
        assert!(matches!(
            signer.endorse(&endorsement(&signer, &other, |_| ())),
            Err(EndorseError::Other("node"))
        ));
        let key = |body: &mut Endorsement| body.job_key = JobSecret::generate().unwrap().key();
        assert!(matches!(
            signer.endorse(&endorsement(&signer, &node, key)),
            Err(EndorseError::Other("job key"))
        ));
        let runtime = |body: &mut Endorsement| body.runtime = "another".into();
        assert!(signer.endorse(&endorsement(&signer, &node, runtime)).is_err());
        assert!(signer.endorse(b"noise").is_err());

        signer.endorse(&endorsement(&signer, &node, |body| body.expires = 5)).unwrap();
        assert!(matches!(signer.receipt(outcome, invocation, task), Err(ReceiptError::Expired)));
        signer.endorse(&endorsement(&signer, &node, |_| ())).unwrap();
        let envelope = Envelope::decode(&signer.receipt(outcome, invocation, task).unwrap()).unwrap();
        let receipt = envelope.verify().unwrap();
        assert_eq!((receipt.outcome, receipt.invocation, receipt.task), ids());
        assert_eq!(receipt.host, AccountId([7; 20]));
    }
}
