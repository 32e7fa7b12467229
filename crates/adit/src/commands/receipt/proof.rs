//! A receipt with the records around it, and what checking them shows.

use adit_model::{
    Envelope, EnvelopeCid, EvidenceKind, Expected, Invocation, Outcome, Signed, Task, verify_job,
};
use adit_unixfs::block::{Block, DAG_CBOR};
use adit_unixfs::car::CarReader;
use cid::Cid;
use serde::Serialize;

use crate::exit::{Exit, Failure, chain};

/// An envelope, and those of the records it names that are at hand.
#[derive(Debug)]
pub(crate) struct Proof {
    envelope: Envelope,
    invocation: Option<Signed<Invocation>>,
    outcome: Option<Outcome>,
    task: Option<Task>,
}

/// What a check showed.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// The envelope.
    pub cid: String,
    pub task: String,
    pub invocation: String,
    pub outcome: String,
    /// The requester, where the invocation is at hand.
    pub issuer: Option<String>,
    pub host: String,
    pub node: String,
    pub time: u64,
    pub runtime: String,
    pub evidence: String,
    /// Each check, and whether it could be done.
    pub checks: Vec<Check>,
    /// Whether everything that could be checked holds.
    pub valid: bool,
    /// Why the receipt does not hold.
    pub problem: Option<String>,
}

/// One thing that is checked.
#[derive(Debug, Serialize)]
pub(crate) struct Check {
    pub what: &'static str,
    /// False when the records needed are not at hand.
    pub done: bool,
}

impl Proof {
    /// A receipt alone.
    pub(crate) fn new(block: Block) -> Result<Self, Failure> {
        let envelope = Envelope::decode(&block.data)
            .map_err(|error| Failure::because(Exit::TrustRefused, "this is no receipt", &error))?;
        // Shown fields come from here, so it must at least be readable.
        envelope
            .peek()
            .map_err(|error| Failure::because(Exit::TrustRefused, "this is no receipt", &error))?;
        Ok(Proof { envelope, invocation: None, outcome: None, task: None })
    }

    /// From a file: the envelope's block, or a CAR whose root it is.
    pub(crate) fn from_file(bytes: &[u8]) -> Result<Self, Failure> {
        if let Ok(proof) = Self::new(Block::new(DAG_CBOR, bytes.to_vec())) {
            return Ok(proof);
        }
        let broken = |error| {
            Failure::because(Exit::TrustRefused, "the file is neither a receipt nor a sound CAR", &error)
        };
        let mut reader = CarReader::new();
        reader.push(bytes);
        let mut blocks = Vec::new();
        while let Some(block) = reader.next_block().map_err(broken)? {
            blocks.push(block);
        }
        let roots = reader.finish().map_err(broken)?;
        let root = blocks
            .iter()
            .find(|block| roots.first() == Some(&block.cid))
            .ok_or_else(|| Failure::new(Exit::TrustRefused, "the CAR does not hold its own root"))?;
        let mut proof = Self::new(root.clone())?;
        blocks.iter().for_each(|block| proof.add(block));
        Ok(proof)
    }

    /// The records that the receipt names.
    pub(crate) fn names(&self) -> Vec<Cid> {
        match self.envelope.peek() {
            Ok(receipt) => {
                vec![receipt.invocation.to_cid(), receipt.outcome.to_cid(), receipt.task.to_cid()]
            }
            Err(_) => Vec::new(),
        }
    }

    /// Takes a block, verified against its CID, if the receipt names it.
    pub(crate) fn add(&mut self, block: &Block) {
        let Ok(receipt) = self.envelope.peek() else { return };
        if block.cid == receipt.invocation.to_cid() {
            self.invocation = Signed::decode(&block.data).ok();
        } else if block.cid == receipt.outcome.to_cid() {
            self.outcome = Outcome::decode(&block.data).ok();
        } else if block.cid == receipt.task.to_cid() {
            self.task = Task::decode(&block.data).ok();
        }
    }

    /// Checks all that is at hand.
    pub(crate) fn report(&self) -> Report {
        let receipt = self.envelope.peek().expect("`new` refuses what cannot be read");
        let endorsement = receipt.evidence.endorsement().body();
        let alone = self.envelope.verify().err().map(|error| chain(&error));
        let (job, task) = (self.invocation.as_ref().zip(self.outcome.as_ref()), self.task.as_ref());
        let problem = alone.or_else(|| {
            let (invocation, outcome) = job?;
            let expected = Expected { task, ..Expected::default() };
            verify_job(&self.envelope, invocation, outcome, expected).err().map(|error| chain(&error))
        });
        let checks = if problem.is_some() {
            Vec::new()
        } else {
            vec![
                Check {
                    what: "both signatures by the job key, and the node's endorsement of it",
                    done: true,
                },
                Check { what: "the requester's signature; invocation and outcome fit", done: job.is_some() },
                Check {
                    what: "the task fits, and its limits were kept",
                    done: job.is_some() && task.is_some(),
                },
            ]
        };
        Report {
            cid: EnvelopeCid::of_block(&self.envelope.encode()).to_string(),
            task: receipt.task.to_string(),
            invocation: receipt.invocation.to_string(),
            outcome: receipt.outcome.to_string(),
            issuer: self.invocation.as_ref().map(|invocation| invocation.body().issuer.to_string()),
            host: receipt.host.to_string(),
            node: endorsement.node.to_string(),
            time: receipt.time,
            runtime: endorsement.runtime.clone(),
            evidence: receipt.evidence.kind().to_string(),
            checks,
            valid: problem.is_none(),
            problem,
        }
    }
}

impl Report {
    /// The result in a sentence that claims no more than was checked.
    pub(crate) fn verdict(&self) -> String {
        let kind = self.evidence == EvidenceKind::None.to_string();
        let meaning = if kind {
            "the node named above answers for this outcome; nothing shows that it computed honestly"
        } else {
            "see the evidence for what the node's hardware vouches for"
        };
        format!("the receipt holds: {meaning}")
    }
}
