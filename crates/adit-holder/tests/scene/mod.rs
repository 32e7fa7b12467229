//! An owner, what he sealed, and an enclave that wants the key: all that holders are told, as messages.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::collections::BTreeMap;

use adit_holder::protocol::{Enrol, Given, Said, Wish};
use adit_holder::{Id, Use, manifest_cid};
use adit_model::{Input as Mounted, *};
use adit_release::{Collector, Release, Terms};
use adit_seal::OsRandom;
use adit_seal::age::{FileKey, Header, Identity};
use adit_shares::{Place, SealSecret, Share, combine, split};
use adit_trust::DevEvidence;
use ed25519_dalek::{Signer as _, SigningKey};
use serde_bytes::ByteBuf;

pub(crate) const N: u8 = 5;
pub(crate) const K: u8 = 4;
/// SHA-256 of the enclave that the manifest names.
const MEASUREMENT: [u8; 32] = [3; 32];

pub(crate) fn account(n: u8) -> AccountSecret {
    AccountSecret::from_bytes(&[n; 32]).unwrap()
}

pub(crate) fn cid(text: &str) -> Cid {
    TaskCid::of_block(text.as_bytes()).to_cid()
}

pub(crate) fn id(cid: &GrantCid) -> Id {
    Id(*cid.digest())
}

/// The secret half of the devnet's simulated attester.
pub(crate) fn root() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

/// What the owner did before he went offline.
pub(crate) struct Scene {
    pub(crate) now: u64,
    pub(crate) owner: AccountSecret,
    pub(crate) requester: AccountSecret,
    pub(crate) key: FileKey,
    pub(crate) header: Header,
    pub(crate) grant: Verified<Grant>,
    pub(crate) policy: Verified<Policy>,
    pub(crate) manifest: Vec<u8>,
    kept: Vec<Vec<u8>>,
}

/// One job, with all that an enclave and its host say of it; made wrong in one place by a test.
pub(crate) struct Job {
    pub(crate) task: Task,
    pub(crate) invocation: Invocation,
    pub(crate) by: AccountSecret,
    pub(crate) session: JobSecret,
    /// Who signs the key request: the session, unless a test says otherwise.
    pub(crate) signer: JobSecret,
    pub(crate) seal: SealSecret,
    pub(crate) operator: AccountSecret,
    pub(crate) node: NodeId,
    pub(crate) nonces: Vec<QuoteNonce>,
    pub(crate) head: u64,
    pub(crate) slot: u32,
    pub(crate) policy: Verified<Policy>,
    pub(crate) manifest: Option<Vec<u8>>,
    pub(crate) measurement: [u8; 32],
    /// Signs the evidence.
    pub(crate) root: SigningKey,
    /// When the evidence says that it was made, in Unix seconds.
    pub(crate) quoted: u64,
    pub(crate) change_quote: fn(&mut SessionQuote),
    pub(crate) change_request: fn(&mut KeyRequest),
    pub(crate) change_acceptance: fn(&mut Acceptance),
}

impl Scene {
    /// Shares an object's key out among these holders. `now` in Unix seconds.
    pub(crate) fn new(holders: &[(AccountId, SealKey)], now: u64) -> Self {
        Self::with(holders, now, |_| {})
    }

    /// The same under a policy that is a little different.
    pub(crate) fn with(holders: &[(AccountId, SealKey)], now: u64, change: impl FnOnce(&mut Policy)) -> Self {
        let (owner, requester) = (account(50), account(60));
        let terms = Terms::new(N, K).unwrap();
        let key = FileKey::generate(&mut OsRandom);
        let reader = Identity::generate(&mut OsRandom).recipient();
        let header = Header::write(&key, &[reader], &mut OsRandom).unwrap();
        let shares = split(&key, terms, &mut OsRandom);
        let nonce = [9; 16];
        let holder = |((account, key), share): (&(AccountId, SealKey), &Share)| Holder {
            account: *account,
            node: NodeSecret::from_bytes(&[share.index(); 32]).node(),
            key: *key,
            commitment: share.commitment(&nonce, 0),
        };
        let grant = Grant {
            object: cid("sealed data"),
            nonce,
            owner: owner.account(),
            holders: holders.iter().zip(&shares).map(holder).collect(),
            needed: K,
            epoch: 0,
            issued: now - 100,
        };
        let grant = Signed::sign(grant, &owner).unwrap();
        let keep = |(share, (_, key)): (&Share, &(AccountId, SealKey))| {
            share.keep(&place(&grant, share.index()), key, &mut OsRandom).unwrap()
        };
        let kept = shares.iter().zip(holders).map(keep).collect();
        let manifest = format!(
            r#"{{"values": [{{"name": "enclave", "kind": "dev", "registers": {{"measurement": "{}"}}}}]}}"#,
            data_encoding::HEXLOWER.encode(&MEASUREMENT)
        );
        let manifest = manifest.into_bytes();
        let task = task();
        let mut policy = Policy {
            owner: owner.account(),
            rules: vec![Rule {
                code: Programs::Of(vec![task.code]),
                abi: task.abi,
                args: task.args.iter().cloned().map(TextPattern::Is).collect(),
                more_args: None,
                env: BTreeMap::new(),
                inputs: BTreeMap::from([("/in/data".into(), Inputs::This)]),
                more_inputs: None,
                stdin: None,
                limits: task.limits,
                profile: task.profile,
                requesters: Requesters::Of(vec![requester.account()]),
            }],
            recipients: Recipients { keys: vec![], requester: true },
            evidence: EvidenceTerms {
                kinds: vec![EvidenceKind::Dev],
                references: vec![manifest_cid(&manifest)],
                max_age: 300,
                per_job: false,
            },
            fee: Amount(0),
            prefetch: true,
            not_before: None,
            expiry: None,
            accepts: Some(LESS_THAN_A_TEE.into()),
        };
        change(&mut policy);
        let policy = Signed::sign(policy, &owner).unwrap();
        Self { now, owner, requester, key, header, grant, policy, manifest, kept }
    }

    pub(crate) fn grant_id(&self) -> Id {
        id(&self.grant.cid())
    }

    /// What the owner gives one of the holders.
    pub(crate) fn enrol(&self, at: usize) -> Enrol {
        let share = ByteBuf::from(self.kept[at].clone());
        Enrol { grant: ByteBuf::from(self.grant.block().to_vec()), share }
    }

    /// The owner's word of this number; without uses it revokes.
    pub(crate) fn said(&self, number: u64, uses: u32) -> Said {
        self.said_until(number, uses, self.now + 100_000)
    }

    pub(crate) fn said_until(&self, number: u64, uses: u32, expiry: u64) -> Said {
        let head = PolicyHead {
            grant: self.grant.cid(),
            owner: self.owner.account(),
            number,
            policy: (uses > 0).then(|| self.policy.cid()),
            uses,
            issued: self.now - 50,
            expiry,
        };
        let head = Signed::sign(head, &self.owner).unwrap();
        let policy = (uses > 0).then(|| ByteBuf::from(self.policy.block().to_vec()));
        Said { head: ByteBuf::from(head.block().to_vec()), policy }
    }

    /// A job that everything speaks for, once it has the holders' nonces.
    pub(crate) fn job(&self, n: u8) -> Job {
        let task = task();
        let session = JobSecret::from_bytes(&[80; 32]).unwrap();
        let invocation = Invocation {
            task: task.cid(),
            issuer: self.requester.account(),
            nonce: Nonce([n; 16]),
            expiry: self.now + 3000,
            reply_key: Some(SealKey([5; 32])),
        };
        Job {
            task,
            invocation,
            by: self.requester.clone(),
            signer: session.clone(),
            session,
            seal: SealSecret::generate(&mut OsRandom),
            operator: account(70),
            node: NodeSecret::from_bytes(&[71; 32]).node(),
            nonces: Vec::new(),
            head: 1,
            slot: 0,
            policy: self.policy.clone(),
            manifest: Some(self.manifest.clone()),
            measurement: MEASUREMENT,
            root: root(),
            quoted: self.now,
            change_quote: |_| {},
            change_request: |_| {},
            change_acceptance: |_| {},
        }
    }

    /// What a job says to a holder.
    pub(crate) fn wish(&self, job: &Job) -> Wish {
        let invocation = Signed::sign(job.invocation.clone(), &job.by).unwrap();
        let mut request = KeyRequest {
            session: job.signer.key(),
            invocation: invocation.cid(),
            task: job.task.cid(),
            key: job.seal.key(),
            sealed: vec![self.grant.body().object],
            grants: vec![GrantUse {
                grant: self.grant.cid(),
                policy: job.policy.cid(),
                head: job.head,
                slot: job.slot,
            }],
        };
        (job.change_request)(&mut request);
        let request = Signed::sign(request, &job.signer).unwrap();
        let mut quote = SessionQuote {
            key: job.session.key(),
            nonces: job.nonces.clone(),
            request: self.policy.body().evidence.per_job.then(|| request.cid()),
            kind: EvidenceKind::Dev,
            evidence: bytes::Bytes::from_static(b"-"),
        };
        (job.change_quote)(&mut quote);
        let report_data = quote.report_data().try_into().unwrap();
        let mut evidence =
            DevEvidence { measurement: job.measurement, report_data, time: job.quoted, signature: [0; 64] };
        evidence.signature = job.root.sign(&evidence.signed_bytes()).to_bytes();
        quote.evidence = evidence.to_bytes().into();
        let mut acceptance = Acceptance {
            invocation: invocation.cid(),
            host: job.operator.account(),
            node: job.node,
            job_key: job.session.key(),
            price: Amount(0),
        };
        (job.change_acceptance)(&mut acceptance);
        let acceptance = Signed::sign(acceptance, &job.operator).unwrap();
        let bytes = |block: &[u8]| ByteBuf::from(block.to_vec());
        Wish {
            grant: self.grant_id(),
            quote: bytes(&quote.encode()),
            endorsements: vec![],
            manifest: job.manifest.as_deref().map(bytes),
            task: bytes(&job.task.encode()),
            invocation: bytes(invocation.block()),
            acceptance: bytes(acceptance.block()),
            request: bytes(request.block()),
            policy: bytes(job.policy.block()),
        }
    }

    /// What a job's use is written down as.
    pub(crate) fn used(&self, job: &Job) -> Use {
        let invocation = Signed::sign(job.invocation.clone(), &job.by).unwrap();
        Use {
            policy: Id(*job.policy.cid().digest()),
            slot: job.slot,
            invocation: Id(*invocation.cid().digest()),
        }
    }

    /// The enclave's end: shares, by holder, to the key, which must be the one that was sealed with.
    pub(crate) fn opened(&self, job: &Job, given: &BTreeMap<usize, Given>) -> Result<(), String> {
        let used = self.used(job);
        let mut collector = Collector::new(Terms::new(N, K).unwrap(), used);
        for (at, given) in given {
            let place = place(&self.grant, *at as u8 + 1);
            let holder = &self.grant.body().holders[*at];
            let bond = adit_shares::Use {
                policy: job.policy.cid(),
                slot: job.slot,
                invocation: InvocationCid::from_digest(used.invocation.0),
                holder: holder.account,
            };
            let share = Share::receive(&given.share, &place, &bond, &job.seal, &holder.commitment)
                .map_err(|error| error.to_string())?;
            holder.account.check(&given.entry.0, &given.mark.0).map_err(|error| error.to_string())?;
            collector.take(Release { holder: *at as u8, used, share }).unwrap();
        }
        let shares = collector.enough().ok_or("too few shares")?;
        let shares: Vec<Share> = shares.values().cloned().collect();
        let key =
            combine(&self.header, Terms::new(N, K).unwrap(), &shares).map_err(|error| error.to_string())?;
        assert_eq!(key.expose(), self.key.expose());
        Ok(())
    }
}

pub(crate) fn task() -> Task {
    Task {
        code: cid("code"),
        abi: Abi::Wasip1,
        args: vec!["--count".into()],
        env: BTreeMap::new(),
        inputs: BTreeMap::from([("/in/data".into(), Mounted::Cid(cid("sealed data")))]),
        stdin: None,
        limits: Limits { fuel: 1000, memory: 1 << 20, output: 1000 },
        profile: Profile::Deterministic,
    }
}

fn place(grant: &Verified<Grant>, index: u8) -> Place {
    Place { grant: grant.cid(), nonce: grant.body().nonce, epoch: grant.body().epoch, index }
}
