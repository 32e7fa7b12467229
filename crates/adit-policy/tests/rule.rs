//! What the rule lets through, and what it refuses by name.

use std::collections::{BTreeMap, BTreeSet};

use adit_model::*;
use adit_policy::{Law, Permit, Proven, Refusal, Wish, explain, from_toml, judge, to_toml};
use adit_trust::{
    Appraisal, DevEvidence, DevnetRoot, Endorsements, Evidence as Shown, Kind, Policy as Conditions,
    ReferenceValue, ReferenceValues, Software,
};
use ed25519_dalek::{Signer as _, SigningKey};
use proptest::prelude::*;

const NOW: u64 = 1_793_000_000;

fn name(text: &str) -> Cid {
    GrantCid::of_block(text.as_bytes()).to_cid()
}

type Change<T> = fn(&mut T);

/// Puts something at a path.
fn mount(task: &mut Task, path: &str, cid: Cid) {
    task.inputs.insert(path.to_owned(), Input::Cid(cid));
}

/// The owner's side and the requester's, of one job that is allowed.
#[derive(Clone)]
struct Case {
    grant: Grant,
    head: PolicyHead,
    policy: Policy,
    task: Task,
    invocation: Invocation,
    sealed: BTreeSet<Cid>,
    pays: u128,
    quoted: u64,
    for_this_job: bool,
    manifest: Option<Cid>,
    now: u64,
    /// Who signs head and policy, and who the invocation.
    signers: [AccountSecret; 3],
}

fn secret(n: u8) -> AccountSecret {
    AccountSecret::from_bytes(&[n; 32]).unwrap()
}

fn case() -> Case {
    let (owner, requester) = (secret(1), secret(2));
    let holder = |n: u8| Holder {
        account: secret(10 + n).account(),
        node: NodeSecret::from_bytes(&[20 + n; 32]).node(),
        key: SealKey([30 + n; 32]),
        commitment: [40 + n; 32],
    };
    let task = Task {
        code: name("code"),
        abi: Abi::Wasip1,
        args: vec!["--top".into(), "10".into()],
        env: BTreeMap::from([("LANG".into(), "C".into())]),
        inputs: BTreeMap::from([
            ("/in/data".into(), Input::Cid(name("data"))),
            ("/in/theirs".into(), Input::Cid(name("theirs"))),
        ]),
        stdin: Some(name("words")),
        limits: Limits { fuel: 1_000, memory: 1 << 20, output: 1 << 16 },
        profile: Profile::Deterministic,
    };
    let rule = Rule {
        code: Programs::Of(vec![task.code]),
        abi: Abi::Wasip1,
        args: vec![TextPattern::Is("--top".into()), TextPattern::Number(1, 100)],
        more_args: None,
        env: BTreeMap::from([("LANG".into(), TextPattern::Of(vec!["C".into(), "C.UTF-8".into()]))]),
        inputs: BTreeMap::from([("/in/data".into(), Inputs::This), ("/in/theirs".into(), Inputs::Sealed)]),
        more_inputs: None,
        stdin: Some(Inputs::Of(vec![name("words")])),
        limits: task.limits,
        profile: Profile::Deterministic,
        requesters: Requesters::Of(vec![requester.account()]),
    };
    // A second rule, of quite another sort.
    let other = Rule { code: Programs::This, args: vec![], env: BTreeMap::new(), ..rule.clone() };
    let policy = Policy {
        owner: owner.account(),
        rules: vec![other, rule],
        recipients: Recipients { keys: vec![SealKey([5; 32])], requester: false },
        evidence: EvidenceTerms {
            kinds: vec![EvidenceKind::Dev],
            references: vec![name("manifest")],
            max_age: 300,
            per_job: true,
        },
        fee: Amount(7),
        prefetch: true,
        not_before: Some(NOW - 1000),
        expiry: Some(NOW + 1000),
        accepts: Some(LESS_THAN_A_TEE.into()),
    };
    let grant = Grant {
        object: name("data"),
        nonce: [9; 16],
        owner: owner.account(),
        holders: (0..5).map(holder).collect(),
        needed: 4,
        epoch: 0,
        issued: NOW - 5000,
    };
    let head = PolicyHead {
        grant: GrantCid::of_block(b"replaced when it is signed"),
        owner: owner.account(),
        number: 1,
        policy: None,
        uses: 3,
        issued: NOW - 1000,
        expiry: NOW + 500,
    };
    let invocation = Invocation {
        task: task.cid(),
        issuer: requester.account(),
        nonce: Nonce([7; 16]),
        expiry: NOW + 30,
        reply_key: Some(SealKey([5; 32])),
    };
    Case {
        grant,
        head,
        policy,
        task,
        invocation,
        sealed: BTreeSet::from([name("data"), name("theirs")]),
        pays: 7,
        quoted: NOW - 100,
        for_this_job: true,
        manifest: Some(name("manifest")),
        now: NOW,
        signers: [secret(1), secret(1), secret(2)],
    }
}

/// An appraisal of a devnet's evidence. Whether the devnet is this one, and whether anybody asks what runs inside.
fn appraisal(ours: bool, software: Software) -> Appraisal {
    let root = SigningKey::from_bytes(&[7; 32]);
    let mut evidence =
        DevEvidence { measurement: [3; 32], report_data: [4; 64], time: NOW, signature: [0; 64] };
    evidence.signature = root.sign(&evidence.signed_bytes()).to_bytes();
    let value = ReferenceValue {
        name: "enclave".into(),
        kind: Kind::Dev,
        registers: [("measurement".to_owned(), vec![3; 32])].into(),
    };
    let root = if ours { root } else { SigningKey::from_bytes(&[8; 32]) };
    let conditions = Conditions {
        kinds: [Kind::Dev].into(),
        report_data: Some(vec![4; 64]),
        software,
        devnet: Some(DevnetRoot::of_this_devnet(root.verifying_key().to_bytes())),
        ..Conditions::default()
    };
    let references = ReferenceValues { values: vec![value] };
    adit_trust::appraise(&Shown::Dev(evidence), &Endorsements::default(), &references, &conditions, NOW)
}

impl Case {
    fn judged_with(&self, appraisal: &Appraisal) -> Result<Permit, Vec<Refusal>> {
        let [owner, policy, requester] = &self.signers;
        let grant = Signed::sign(self.grant.clone(), &secret(1)).unwrap();
        let policy = Signed::sign(self.policy.clone(), policy).unwrap();
        let mut head = self.head.clone();
        if head.grant == GrantCid::of_block(b"replaced when it is signed") {
            head.grant = grant.cid();
        }
        if head.policy.is_none() && head.uses > 0 {
            head.policy = Some(policy.cid());
        }
        let head = Signed::sign(head, owner).unwrap();
        let invocation = Signed::sign(self.invocation.clone(), requester).unwrap();
        let law = Law { grant: &grant, head: &head, policy: &policy };
        let wish =
            Wish { task: &self.task, invocation: &invocation, sealed: &self.sealed, pays: Amount(self.pays) };
        let proven = Proven {
            appraisal,
            quoted: self.quoted,
            for_this_job: self.for_this_job,
            manifest: self.manifest,
        };
        judge(law, wish, proven, self.now)
    }

    fn judged(&self) -> Result<Permit, Vec<Refusal>> {
        self.judged_with(&appraisal(true, Software::Known))
    }

    /// The case with another Task, which the invocation is for.
    fn task(mut self, change: impl FnOnce(&mut Task)) -> Self {
        change(&mut self.task);
        self.invocation.task = self.task.cid();
        self
    }

    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
}

fn refusals(case: Case) -> Vec<Refusal> {
    case.judged().expect_err("it is refused")
}

#[test]
fn what_the_owner_allows_is_permitted() {
    let permit = case().judged().unwrap();
    assert_eq!((permit.rule, permit.uses, permit.prefetch), (1, 3, true));
    for change in [
        (|t| t.args[1] = "1".into()) as Change<Task>,
        |t| t.args[1] = "100".into(),
        |t| drop(t.env.insert("LANG".into(), "C.UTF-8".into())),
        |t| t.limits.fuel = 1,
    ] {
        case().task(change).judged().unwrap();
    }
}

#[test]
fn a_task_outside_of_the_policy_is_refused_by_name() {
    use Refusal::*;
    let path = |path: &str| path.to_owned();
    let cases: [(Change<Task>, Refusal); 22] = [
        (|t| t.code = name("newer code"), Code),
        (|t| t.abi = adit_model::Abi::WasiCliCommand, Abi),
        (|t| t.profile = adit_model::Profile::Fast, Profile),
        (|t| t.args[0] = "--all".into(), Argument { at: 1 }),
        (|t| t.args[1] = "101".into(), Argument { at: 2 }),
        (|t| t.args[1] = "010".into(), Argument { at: 2 }),
        (|t| t.args[1] = "10 ".into(), Argument { at: 2 }),
        (|t| t.args.push("more".into()), ArgumentCount { given: 3, allowed: 2 }),
        (|t| drop(t.args.pop()), ArgumentCount { given: 1, allowed: 2 }),
        (|t| drop(t.env.insert("LANG".into(), "de".into())), Variable { name: "LANG".into() }),
        (|t| drop(t.env.remove("LANG")), VariableMissing { name: "LANG".into() }),
        (|t| drop(t.env.insert("DEBUG".into(), "1".into())), VariableUnknown { name: "DEBUG".into() }),
        (|t| mount(t, "/in/theirs", name("public")), Input { path: path("/in/theirs") }),
        (|t| mount(t, "/in/theirs", name("data")), Input { path: path("/in/theirs") }),
        (|t| assert!(t.inputs.remove("/in/theirs").is_some()), InputMissing { path: path("/in/theirs") }),
        (|t| mount(t, "/in/second", name("data")), InputUnknown { path: path("/in/second") }),
        (|t| t.stdin = Some(name("others")), Stdin),
        (|t| t.stdin = Some(name("data")), Stdin),
        (|t| t.stdin = None, StdinMissing),
        (|t| t.limits.fuel = 1_001, Limit { what: "fuel", asked: 1_001, most: 1_000 }),
        (|t| t.limits.memory = 2 << 20, Limit { what: "memory", asked: 2 << 20, most: 1 << 20 }),
        (|t| t.limits.output = u64::MAX, Limit { what: "output", asked: u64::MAX, most: 1 << 16 }),
    ];
    for (change, why) in cases {
        assert_eq!(refusals(case().task(change)), [why]);
    }
    let moved = case().task(|t| {
        let data = t.inputs.remove("/in/data").unwrap();
        t.inputs.insert("/in/elsewhere".into(), data);
    });
    let expected = [InputUnknown { path: path("/in/elsewhere") }, InputMissing { path: path("/in/data") }];
    assert_eq!(refusals(moved), expected);
    let without = case().task(|t| mount(t, "/in/data", name("else")));
    assert_eq!(refusals(without), [NotAnInput, Input { path: path("/in/data") }]);
    let no_stdin = case().with(|c| c.policy.rules[1].stdin = None);
    assert_eq!(refusals(no_stdin), [StdinUnknown]);
}

#[test]
fn an_owners_word_that_does_not_count_is_refused_by_name() {
    use Refusal::*;
    let cases: [(Change<Case>, Refusal); 12] = [
        (|c| c.head.grant = GrantCid::of_block(b"another epoch"), OtherGrant),
        (|c| (c.head.owner, c.signers[0]) = (secret(3).account(), secret(3)), NotByOwner),
        (|c| (c.policy.owner, c.signers[1]) = (secret(3).account(), secret(3)), NotByOwner),
        (|c| c.head.uses = 0, Revoked),
        (|c| c.head.policy = Some(PolicyCid::of_block(b"an older one")), OtherPolicy),
        (|c| c.now = NOW + 501, HeadExpired { expiry: NOW + 500 }),
        (|c| c.policy.not_before = Some(NOW + 1), NotYet { from: NOW + 1 }),
        (|c| c.policy.expiry = Some(NOW - 1), PolicyExpired { expiry: NOW - 1 }),
        (|c| c.invocation.task = TaskCid::of_block(b"another"), OtherTask),
        (|c| c.invocation.expiry = NOW - 1, InvocationExpired { expiry: NOW - 1 }),
        (|c| (c.invocation.issuer, c.signers[2]) = (secret(4).account(), secret(4)), Requester),
        (|c| c.pays = 6, Fee { least: 7, offered: 6 }),
    ];
    for (change, why) in cases {
        let changed = case().with(|c| {
            change(c);
            if c.now > NOW {
                c.invocation.expiry = c.now;
                c.quoted = c.now;
            }
        });
        assert_eq!(refusals(changed), [why]);
    }
}

#[test]
fn output_goes_to_whom_the_owner_named() {
    let other = case().with(|c| c.invocation.reply_key = Some(SealKey([6; 32])));
    assert_eq!(refusals(other.clone()), [Refusal::Recipient]);
    other.with(|c| c.policy.recipients.requester = true).judged().unwrap();
    assert_eq!(refusals(case().with(|c| c.invocation.reply_key = None)), [Refusal::NoReplyKey]);
}

#[test]
fn an_environment_that_proves_too_little_is_refused_by_name() {
    use Refusal::*;
    let cases: [(Change<Case>, Refusal); 5] = [
        (|c| c.policy.evidence.kinds = vec![EvidenceKind::Tpm2], Kind { kind: EvidenceKind::Dev }),
        (|c| c.quoted = NOW - 301, Stale { age: 301, most: 300 }),
        (|c| c.quoted = NOW + 1000, FromTheFuture),
        (|c| c.for_this_job = false, NotForThisJob),
        (|c| c.manifest = Some(name("another")), Reference),
    ];
    for (change, why) in cases {
        assert_eq!(refusals(case().with(change)), [why]);
    }
    assert_eq!(refusals(case().with(|c| c.manifest = None)), [Reference]);
    let foreign = case().judged_with(&appraisal(false, Software::Known)).unwrap_err();
    assert!(matches!(&foreign[..], [Evidence { why }] if why.contains("devnet")), "{foreign:?}");
    let unasked = case().judged_with(&appraisal(true, Software::Any)).unwrap_err();
    assert_eq!(unasked, [Unmeasured]);
}

/// An author seals a program; somebody else's sealed data is its input.
#[test]
fn sealed_code_runs_under_its_authors_policy() {
    let author = case().with(|c| {
        c.grant.object = name("code");
        c.sealed.insert(name("code"));
        c.policy.rules = vec![Rule {
            code: Programs::This,
            args: vec![],
            more_args: Some(TextPattern::Any(20)),
            inputs: BTreeMap::new(),
            more_inputs: Some(Inputs::Sealed),
            stdin: Some(Inputs::Any),
            requesters: Requesters::Any,
            ..c.policy.rules[1].clone()
        }];
    });
    assert_eq!(author.judged().unwrap().rule, 0);
    let public = author.clone().with(|c| assert!(c.sealed.remove(&name("theirs"))));
    assert_eq!(refusals(public), [Refusal::Input { path: "/in/theirs".into() }]);
    let newer = author.clone().task(|t| t.code = name("a newer program"));
    assert_eq!(refusals(newer), [Refusal::NotAnInput, Refusal::Code]);
    let long = author.task(|t| t.args.push("x".repeat(21)));
    assert_eq!(refusals(long), [Refusal::Argument { at: 3 }]);
}

#[test]
fn every_refusal_has_a_number_of_its_own() {
    use Refusal::*;
    let text = String::new;
    let all = [
        OtherGrant,
        NotByOwner,
        Revoked,
        OtherPolicy,
        HeadExpired { expiry: 0 },
        NotYet { from: 0 },
        PolicyExpired { expiry: 0 },
        NoUses,
        OtherTask,
        InvocationExpired { expiry: 0 },
        Requester,
        NoReplyKey,
        Recipient,
        Fee { least: 0, offered: 0 },
        NotAnInput,
        Code,
        Abi,
        ArgumentCount { given: 0, allowed: 0 },
        Argument { at: 0 },
        Variable { name: text() },
        VariableMissing { name: text() },
        VariableUnknown { name: text() },
        Input { path: text() },
        InputMissing { path: text() },
        InputUnknown { path: text() },
        Stdin,
        StdinUnknown,
        StdinMissing,
        Limit { what: "", asked: 0, most: 0 },
        Profile,
        Kind { kind: EvidenceKind::None },
        Evidence { why: text() },
        Claims,
        Stale { age: 0, most: 0 },
        FromTheFuture,
        NotForThisJob,
        Reference,
        Unmeasured,
    ];
    let numbers: BTreeSet<u8> = all.iter().map(Refusal::number).collect();
    assert_eq!(numbers.len(), all.len());
    assert!(all.iter().all(|one| !one.to_string().is_empty()));
}

const TEXT: &str = r#"
recipients = ["requester", "age1jlyky7k70dv3vgr4ewvkyrlqcafv7utflm5qcwnfglzdyz92xqlsd9rp83"]
expiry = 2027-01-31T12:00:00+01:00

[evidence]
kinds = ["tdx", "sev-snp"]
max-age = 300

[[allow]]
code = ["CODE"]
abi = "wasip1"
args = ["--top", { number = [1, 100] }]
more-args = { any = 8 }
env = { LANG = { of = ["C", "C.UTF-8"] } }
inputs = { "/in/data" = "this", "/in/table" = ["CODE"] }
limits = { fuel = 1000, memory = 65536, output = 10 }
requesters = "any"
"#;

fn text() -> String {
    TEXT.replace("CODE", &name("code").to_string())
}

#[test]
fn owners_write_toml() {
    let policy = from_toml(&text(), secret(1).account()).unwrap();
    assert_eq!(policy.evidence.kinds, [EvidenceKind::SevSnp, EvidenceKind::Tdx]);
    assert_eq!(policy.expiry, Some(1_801_393_200));
    assert!(policy.prefetch && policy.recipients.requester && policy.recipients.keys.len() == 1);
    assert_eq!(policy.rules[0].args[0], TextPattern::Is("--top".into()));
    assert_eq!(from_toml(&to_toml(&policy), policy.owner).unwrap(), policy);

    let said = explain(&policy, Some(&case().grant), Some(&case().head));
    for words in [
        "any number more, each any text of at most 8 bytes",
        "a number from 1 to 100",
        "at most 2 of them cheat; 1 may be away",
        "anybody may ask, and whoever asks reads what comes out",
        "an argument is free",
        "Whoever has the machine in hand",
        "2027-01-31T11:00:00Z",
        "the owner has revoked all use",
    ] {
        assert!(said.contains(words), "{words} is not in\n{said}");
    }
    for (from, to, why) in [
        ("max-age = 300", "max-age = 300\nmax-size = 3", "unknown field `max-size`"),
        ("max-age = 300", "", "missing field `max-age`"),
        ("\"this\"", "\"that\"", "`inputs`: that"),
        ("/in/data", "/in/../data", "contains `.` or `..`"),
        ("/in/data", "/in/a\\u001b[2J", "control characters"),
        ("\"tdx\"", "\"tpm2\"", "without saying so"),
        ("\"tdx\"", "\"sgxx\"", "sgxx"),
        ("age1jly", "age1jlz", "`recipients`"),
        ("2027-01-31T12:00:00+01:00", "2027-01-31", "with its offset"),
        ("{ any = 8 }", "{ some = 8 }", "{ any = BYTES }"),
        ("requesters = \"any\"", "requesters = \"0x12\"", "`requesters`"),
        ("= \"this\", ", "= \"any\", ", "neither code nor input"),
    ] {
        let wrong = text().replacen(from, to, 1);
        assert_ne!(wrong, text(), "{from}");
        let said = from_toml(&wrong, secret(1).account()).unwrap_err().to_string();
        assert!(said.contains(why), "{to}: {said}");
    }
    assert!(from_toml(&"# \n".repeat(1 << 19), secret(1).account()).is_err());
}

/// docs/policies.md shows a whole file, with "…" where names are long.
#[test]
fn the_guides_example_is_a_policy() {
    let guide = include_str!("../../../docs/policies.md");
    let example = guide.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let example = example
        .replace("bafy…", &name("example").to_string())
        .replace("age1…", "age1jlyky7k70dv3vgr4ewvkyrlqcafv7utflm5qcwnfglzdyz92xqlsd9rp83")
        .replace("0x…", &secret(2).account().to_string());
    let policy = from_toml(&example, secret(1).account()).unwrap();
    assert_eq!(policy.rules[0].inputs.len(), 3);
    let words = guide.split("accepts = \"").nth(1).unwrap().split('"').next().unwrap();
    assert_eq!(words, LESS_THAN_A_TEE);
}

fn texts() -> impl Strategy<Value = TextPattern> {
    let text = "[a-z\\-=\"'\\\\ \n\u{e9}]{0,12}";
    prop_oneof![
        text.prop_map(TextPattern::Is),
        proptest::collection::btree_set(text, 1..4)
            .prop_map(|set| TextPattern::Of(set.into_iter().collect())),
        (0..1u64 << 62, 0..1u64 << 62).prop_map(|(a, b)| TextPattern::Number(a.min(b), a.max(b))),
        (0u32..4096).prop_map(TextPattern::Any),
    ]
}

fn inputs() -> impl Strategy<Value = Inputs> {
    prop_oneof![
        Just(Inputs::This),
        Just(Inputs::Sealed),
        Just(Inputs::Any),
        proptest::collection::btree_set(any::<[u8; 4]>(), 1..4).prop_map(|set| {
            let mut cids: Vec<Cid> = set.iter().map(|bytes| GrantCid::of_block(bytes).to_cid()).collect();
            cids.sort();
            Inputs::Of(cids)
        }),
    ]
}

prop_compose! {
    fn rules()(
        args in proptest::collection::vec(texts(), 0..4),
        more_args in proptest::option::of(texts()),
        env in proptest::collection::btree_map("[A-Z_]{1,8}", texts(), 0..3),
        inputs in proptest::collection::btree_map("/in/[a-z]{1,8}", inputs(), 0..3),
        more_inputs in proptest::option::of(inputs()),
        stdin in proptest::option::of(inputs()),
        limits in (0..1u64 << 62, 0..1u64 << 62, 0..1u64 << 62),
        this in any::<bool>(),
        component in any::<bool>(),
        anybody in any::<bool>(),
    ) -> Rule {
        let (mut inputs, code) = (inputs, Programs::Of(vec![name("code")]));
        if !this {
            inputs.insert("/in/this".into(), Inputs::This);
        }
        Rule {
            code: if this { Programs::This } else { code },
            abi: if component { Abi::WasiCliCommand } else { Abi::Wasip1 },
            args, more_args, env, inputs, more_inputs, stdin,
            limits: Limits { fuel: limits.0, memory: limits.1, output: limits.2 },
            profile: Profile::Deterministic,
            requesters: if anybody { Requesters::Any } else { Requesters::Of(vec![secret(2).account()]) },
        }
    }
}

prop_compose! {
    fn policies()(
        rules in proptest::collection::vec(rules(), 1..4),
        key in any::<[u8; 32]>(),
        requester in any::<bool>(),
        fee in any::<u64>(),
        prefetch in any::<bool>(),
        per_job in any::<bool>(),
        max_age in any::<u32>(),
        from in proptest::option::of(0u64..253_402_300_000),
        length in proptest::option::of(1u64..799),
        less in any::<bool>(),
        reference in any::<bool>(),
    ) -> Policy {
        Policy {
            owner: secret(1).account(),
            rules,
            recipients: Recipients { keys: vec![SealKey(key)], requester },
            evidence: EvidenceTerms {
                kinds: vec![if less { EvidenceKind::Tpm2 } else { EvidenceKind::Tdx }],
                references: if reference { vec![name("manifest")] } else { vec![] },
                max_age,
                per_job,
            },
            fee: Amount(fee.into()),
            prefetch,
            not_before: from,
            expiry: length.map(|length| from.unwrap_or(0) + length),
            accepts: less.then(|| LESS_THAN_A_TEE.to_owned()),
        }
    }
}

proptest! {
    #[test]
    fn a_policy_reads_back_from_its_text_and_its_block(policy in policies()) {
        let text = to_toml(&policy);
        let read = from_toml(&text, policy.owner);
        prop_assert_eq!(read.as_ref().ok(), Some(&policy), "{:?}\n{}", read.as_ref().err(), text);
        let signed = Signed::sign(policy.clone(), &secret(1)).unwrap();
        let decoded = Signed::<Policy>::decode(signed.block()).unwrap();
        prop_assert_eq!(decoded.body(), &policy);
        prop_assert!(!explain(&policy, None, None).is_empty());
    }

    /// Whatever is changed in a Task that fits exactly, it fits no more.
    #[test]
    fn a_task_that_is_allowed_exactly_is_refused_after_any_change(which in 0..14usize, noise in "[a-z0-9]{1,6}", number in 1u64..1000) {
        let mut changed = case().with(|c| {
            // Exactly this Task, and only this.
            let t = &c.task;
            let exact = |text: &String| TextPattern::Is(text.clone());
            c.policy.rules = vec![Rule {
                args: t.args.iter().map(exact).collect(),
                env: t.env.iter().map(|(name, value)| (name.clone(), exact(value))).collect(),
                ..c.policy.rules[1].clone()
            }];
        });
        prop_assert!(changed.judged().is_ok());
        let other = name(&format!("other {noise}"));
        let task = &mut changed.task;
        match which {
            0 => task.code = other,
            1 => task.abi = Abi::WasiCliCommand,
            2 => task.args[0].push_str(&noise),
            3 => task.args[1].insert_str(0, &noise),
            4 => task.args.insert(number as usize % 3, noise),
            5 => drop(task.args.remove(number as usize % 2)),
            6 => drop(task.env.insert(noise, "x".into())),
            7 => drop(task.env.insert("LANG".into(), format!("C{noise}"))),
            8 => mount(task, &format!("/in/{noise}/x"), other),
            9 => mount(task, "/in/data", other),
            10 => task.stdin = Some(other),
            11 => task.limits.fuel += number,
            12 => task.limits.memory += number,
            _ => task.limits.output += number,
        }
        changed.invocation.task = changed.task.cid();
        prop_assert!(changed.judged().is_err());
    }
}
