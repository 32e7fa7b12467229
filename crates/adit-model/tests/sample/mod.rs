//! One of every record, from fixed keys and times: the material of tests and test vectors.

#![allow(dead_code, reason = "each test binary uses its own part")]

use adit_model::*;
use bytes::Bytes;
use std::collections::BTreeMap;

pub(crate) struct Samples {
    pub(crate) requester: AccountSecret,
    pub(crate) operator: AccountSecret,
    pub(crate) node: NodeSecret,
    pub(crate) job: JobSecret,
    pub(crate) task: Task,
    pub(crate) invocation: Verified<Invocation>,
    pub(crate) acceptance: Verified<Acceptance>,
    pub(crate) outcome: Outcome,
    pub(crate) endorsement: Verified<Endorsement>,
    pub(crate) receipt: Receipt,
    pub(crate) envelope: Envelope,
    pub(crate) advertisement: Verified<Advertisement>,
    /// The same by a node that stands beside a Kubo.
    pub(crate) beside: Verified<Advertisement>,
    /// The wish for a job on sealed data: what comes out shall be sealed to a key.
    pub(crate) sealed: Verified<Invocation>,
    pub(crate) owner: AccountSecret,
    pub(crate) grant: Verified<Grant>,
    pub(crate) policy: Verified<Policy>,
    pub(crate) head: Verified<PolicyHead>,
    /// Nothing is allowed any more.
    pub(crate) revoked: Verified<PolicyHead>,
    pub(crate) quote: SessionQuote,
    /// For one request only.
    pub(crate) quote_per_job: SessionQuote,
    pub(crate) request: Verified<KeyRequest>,
}

pub(crate) const RUNTIME: &str = "wasmtime-48/schedule-1";
pub(crate) const NOW: u64 = 1_793_000_000;

/// A raw-leaf CID of some bytes: what the roots in the samples name.
pub(crate) fn raw(bytes: &[u8]) -> Cid {
    // The digest of a typed name is the SHA2-256 of the block, which is all that a raw CID needs.
    let hash = TaskCid::of_block(bytes).to_cid().hash().to_owned();
    Cid::new_v1(0x55, hash)
}

/// What `ipfs key sign` would answer at the Kubo whose Ed25519 seed is 32 times 0x55.
pub(crate) fn alias(node: &NodeId, network: &str, issued: u64, expires: u64) -> Alias {
    let kubo = NodeSecret::from_bytes(&[0x55; 32]);
    let peer = KuboId::from_bytes(&kubo.node().to_bytes()).unwrap();
    let mut alias = Alias { peer, key: None, sig: Bytes::from_static(&[0]), issued, expires };
    let key = ed25519_dalek::SigningKey::from_bytes(&[0x55; 32]);
    let signature = ed25519_dalek::Signer::sign(&key, &alias.signed_bytes(*node, network));
    alias.sig = Bytes::copy_from_slice(&signature.to_bytes());
    alias
}

impl Samples {
    pub(crate) fn new() -> Self {
        let requester = AccountSecret::from_bytes(&[0x11; 32]).unwrap();
        let operator = AccountSecret::from_bytes(&[0x22; 32]).unwrap();
        let node = NodeSecret::from_bytes(&[0x33; 32]);
        let job = JobSecret::from_bytes(&[0x44; 32]).unwrap();
        let task = Task {
            code: raw(b"code"),
            abi: Abi::Wasip1,
            args: vec!["--top".into(), "10".into()],
            env: BTreeMap::from([("LANG".into(), "C".into()), ("A".into(), "b".into())]),
            inputs: BTreeMap::from([("/in/data".into(), Input::Cid(raw(b"data")))]),
            stdin: None,
            limits: Limits { fuel: 1_000_000_000, memory: 256 << 20, output: 64 << 20 },
            profile: Profile::Deterministic,
        };
        let invocation = Signed::sign(
            Invocation {
                task: task.cid(),
                issuer: requester.account(),
                nonce: Nonce([7; 16]),
                expiry: NOW + 30,
                reply_key: None,
            },
            &requester,
        )
        .unwrap();
        let acceptance = Signed::sign(
            Acceptance {
                invocation: invocation.cid(),
                host: operator.account(),
                node: node.node(),
                job_key: job.key(),
                price: Amount(0),
            },
            &operator,
        )
        .unwrap();
        let outcome = Outcome {
            task: task.cid(),
            out: OutcomeResult::Ok {
                root: "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354".parse().unwrap(),
                exit: 3,
                stdout: raw(b"hello\n"),
                stderr: raw(b""),
            },
            fuel: 12_345,
            runtime: RUNTIME.into(),
        };
        let endorsement = Signed::sign(
            Endorsement {
                job_key: job.key(),
                node: node.node(),
                runtime: RUNTIME.into(),
                issued: NOW - 1000,
                expires: NOW + 86_400,
            },
            &node,
        )
        .unwrap();
        let receipt = Receipt {
            outcome: outcome.cid(),
            invocation: invocation.cid(),
            task: task.cid(),
            host: operator.account(),
            time: NOW,
            evidence: Evidence::None { endorsement: Box::new(endorsement.clone().into_signed()) },
            policies: vec![],
            releases: vec![],
        };
        let envelope = Envelope::sign(&receipt, &job).unwrap();
        let advertisement = Signed::sign(
            Advertisement {
                node: node.node(),
                alias: None,
                operator: operator.account(),
                network: "devnet".into(),
                addresses: vec!["/ip4/127.0.0.1/tcp/4711".into()],
                abilities: Abilities {
                    accept: Accept::Anyone,
                    abis: vec![Abi::Wasip1, Abi::WasiCliCommand],
                    profiles: vec![Profile::Deterministic, Profile::Fast],
                    evidence: vec![EvidenceKind::None],
                    runtime: RUNTIME.into(),
                    workers: 2,
                    memory: 1 << 30,
                    output: 1 << 30,
                },
                issued: NOW,
                expires: NOW + 600,
            },
            &node,
        )
        .unwrap();
        let alias = alias(&node.node(), "devnet", NOW, NOW + 3600);
        let body = Advertisement { alias: Some(alias), ..advertisement.body().clone() };
        let beside = Signed::sign(body, &node).unwrap();
        let body = Invocation { reply_key: Some(SealKey([0x66; 32])), ..invocation.body().clone() };
        let sealed = Signed::sign(body, &requester).unwrap();
        let owner = AccountSecret::from_bytes(&[0x77; 32]).unwrap();
        let holder = |n: u8| Holder {
            account: AccountSecret::from_bytes(&[0x80 + n; 32]).unwrap().account(),
            node: NodeSecret::from_bytes(&[0x90 + n; 32]).node(),
            key: SealKey([0xa0 + n; 32]),
            commitment: [0xb0 + n; 32],
        };
        let grant = Grant {
            object: raw(b"data"),
            nonce: [9; 16],
            owner: owner.account(),
            holders: (0..5).map(holder).collect(),
            needed: 4,
            epoch: 0,
            issued: NOW - 5000,
        };
        let grant = Signed::sign(grant, &owner).unwrap();
        let rule = Rule {
            code: Programs::Of(vec![task.code]),
            abi: task.abi,
            args: vec![TextPattern::Is("--top".into()), TextPattern::Number(1, 100)],
            more_args: None,
            env: BTreeMap::from([
                ("LANG".into(), TextPattern::Of(vec!["C".into(), "C.UTF-8".into()])),
                ("A".into(), TextPattern::Any(16)),
            ]),
            inputs: BTreeMap::from([("/in/data".into(), Inputs::This)]),
            more_inputs: None,
            stdin: None,
            limits: task.limits,
            profile: Profile::Deterministic,
            requesters: Requesters::Of(vec![requester.account()]),
        };
        let joined = Rule {
            args: vec![],
            env: BTreeMap::new(),
            inputs: BTreeMap::from([
                ("/in/mine".into(), Inputs::This),
                ("/in/theirs".into(), Inputs::Sealed),
                ("/in/table".into(), Inputs::Of(vec![raw(b"table")])),
            ]),
            stdin: Some(Inputs::Any),
            requesters: Requesters::Any,
            ..rule.clone()
        };
        // Of a program's author: it runs on whatever somebody gives it.
        let program = Rule {
            code: Programs::This,
            args: vec![],
            more_args: Some(TextPattern::Any(256)),
            env: BTreeMap::new(),
            inputs: BTreeMap::new(),
            more_inputs: Some(Inputs::Sealed),
            ..joined.clone()
        };
        let policy = Policy {
            owner: owner.account(),
            rules: vec![rule, joined, program],
            recipients: Recipients { keys: vec![SealKey([0x55; 32])], requester: true },
            evidence: EvidenceTerms {
                kinds: vec![EvidenceKind::SevSnp, EvidenceKind::Tdx],
                references: vec![GrantCid::of_block(b"manifest").to_cid()],
                max_age: 300,
                per_job: false,
            },
            fee: Amount(1_000),
            prefetch: true,
            not_before: Some(NOW - 4000),
            expiry: Some(NOW + 4000),
            accepts: None,
        };
        let policy = Signed::sign(policy, &owner).unwrap();
        let head = PolicyHead {
            grant: grant.cid(),
            owner: owner.account(),
            number: 1,
            policy: Some(policy.cid()),
            uses: 3,
            issued: NOW - 4000,
            expiry: NOW + 4000,
        };
        let revoked = PolicyHead { number: 2, policy: None, uses: 0, ..head.clone() };
        let (head, revoked) = (Signed::sign(head, &owner).unwrap(), Signed::sign(revoked, &owner).unwrap());
        let request = KeyRequest {
            session: job.key(),
            invocation: sealed.cid(),
            task: task.cid(),
            key: SealKey([0x67; 32]),
            sealed: vec![raw(b"data")],
            grants: vec![GrantUse { grant: grant.cid(), policy: policy.cid(), head: 1, slot: 2 }],
        };
        let request = Signed::sign(request, &job).unwrap();
        let quote = SessionQuote {
            key: job.key(),
            nonces: (1..=5).map(|n| QuoteNonce([n; 32])).collect(),
            request: None,
            kind: EvidenceKind::SevSnp,
            evidence: Bytes::from_static(b"not a report, but as opaque as one here"),
        };
        let quote_per_job = SessionQuote {
            request: Some(request.cid()),
            nonces: vec![QuoteNonce([6; 32])],
            kind: EvidenceKind::Tpm2,
            ..quote.clone()
        };
        Self {
            requester,
            operator,
            node,
            job,
            task,
            invocation,
            acceptance,
            outcome,
            endorsement,
            receipt,
            envelope,
            advertisement,
            beside,
            sealed,
            owner,
            grant,
            policy,
            head,
            revoked,
            quote,
            quote_per_job,
            request,
        }
    }
}
