//! A sealed object's key, from its owner to an enclave: records, rule, slots and shares together, without sockets.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use adit_holder::{Effect, Holder, Id, Input, Object, PolicyHeads, Refusal, Reservation, Use};
use adit_model::{Input as Mounted, *};
use adit_policy::{Law, Permit, Proven, Refusal as Reason, Wish, judge};
use adit_release::{Collector, Release, Terms};
use adit_seal::OsRandom;
use adit_seal::age::{FileKey, Header, Identity};
use adit_shares::{Place, SealSecret, Share, combine, split};
use adit_trust::{
    Appraisal, DevEvidence, DevnetRoot, Endorsements, Evidence as Shown, Kind, Policy as Conditions,
    ReferenceValue, ReferenceValues,
};
use ed25519_dalek::{Signer as _, SigningKey};
use tempfile::TempDir;

const NOW: u64 = 1_793_000_000;
const N: u8 = 5;
const K: u8 = 4;

fn account(n: u8) -> AccountSecret {
    AccountSecret::from_bytes(&[n; 32]).unwrap()
}

fn cid(text: &str) -> Cid {
    TaskCid::of_block(text.as_bytes()).to_cid()
}

/// The owner's side: what he sealed, the grant, and what is allowed.
struct Owner {
    secret: AccountSecret,
    header: Header,
    grant: Verified<Grant>,
    policy: Verified<Policy>,
    /// What each holder keeps of the key, sealed to it.
    kept: Vec<Vec<u8>>,
}

struct Keeper {
    dir: TempDir,
    account: AccountSecret,
    seal: SealSecret,
    holder: Option<Holder<PolicyHeads>>,
}

struct World {
    owner: Owner,
    keepers: Vec<Keeper>,
    under_way: VecDeque<(AccountId, bytes::Bytes)>,
}

/// The job that the owner allows, and who asks.
fn job() -> (Task, AccountSecret) {
    let task = Task {
        code: cid("code"),
        abi: Abi::Wasip1,
        args: vec!["--count".into()],
        env: BTreeMap::new(),
        inputs: BTreeMap::from([("/in/data".into(), Mounted::Cid(cid("sealed data")))]),
        stdin: None,
        limits: Limits { fuel: 1000, memory: 1 << 20, output: 1000 },
        profile: Profile::Deterministic,
    };
    (task, account(60))
}

fn invocation(task: &Task, nonce: u8) -> Verified<Invocation> {
    let (_, requester) = job();
    let body = Invocation {
        task: task.cid(),
        issuer: requester.account(),
        nonce: Nonce([nonce; 16]),
        expiry: NOW + 30,
        reply_key: Some(SealKey([5; 32])),
    };
    Signed::sign(body, &requester).unwrap()
}

/// An enclave of this devnet, whose session key is what the evidence is bound to.
fn appraisal() -> Appraisal {
    let root = SigningKey::from_bytes(&[7; 32]);
    let mut evidence =
        DevEvidence { measurement: [3; 32], report_data: [4; 64], time: NOW, signature: [0; 64] };
    evidence.signature = root.sign(&evidence.signed_bytes()).to_bytes();
    let registers = [("measurement".to_owned(), vec![3; 32])].into();
    let values = vec![ReferenceValue { name: "enclave".into(), kind: Kind::Dev, registers }];
    let conditions = Conditions {
        kinds: [Kind::Dev].into(),
        report_data: Some(vec![4; 64]),
        devnet: Some(DevnetRoot::of_this_devnet(root.verifying_key().to_bytes())),
        ..Conditions::default()
    };
    let shown = Shown::Dev(evidence);
    adit_trust::appraise(&shown, &Endorsements::default(), &ReferenceValues { values }, &conditions, NOW)
}

impl World {
    fn new(uses: u32) -> Self {
        let secret = account(50);
        let terms = Terms::new(N, K).unwrap();
        let key = FileKey::generate(&mut OsRandom);
        let reader = Identity::generate(&mut OsRandom).recipient();
        let header = Header::write(&key, &[reader], &mut OsRandom).unwrap();
        let keepers: Vec<_> = (0..N)
            .map(|at| Keeper {
                dir: tempfile::tempdir().unwrap(),
                account: account(at + 1),
                seal: SealSecret::generate(&mut OsRandom),
                holder: None,
            })
            .collect();
        let shares = split(&key, terms, &mut OsRandom);
        let nonce = [9; 16];
        let grant = Grant {
            object: cid("sealed data"),
            nonce,
            owner: secret.account(),
            holders: keepers
                .iter()
                .zip(&shares)
                .map(|(keeper, share)| adit_model::Holder {
                    account: keeper.account.account(),
                    node: NodeSecret::from_bytes(&[share.index(); 32]).node(),
                    key: keeper.seal.key(),
                    commitment: share.commitment(&nonce, 0),
                })
                .collect(),
            needed: K,
            epoch: 0,
            issued: NOW - 100,
        };
        let grant = Signed::sign(grant, &secret).unwrap();
        let kept = shares.iter().zip(&keepers).map(|(share, keeper)| {
            share.keep(&place(&grant, share.index()), &keeper.seal.key(), &mut OsRandom).unwrap()
        });
        let kept = kept.collect();
        let (task, requester) = job();
        let policy = Policy {
            owner: secret.account(),
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
                references: vec![],
                max_age: 300,
                per_job: false,
            },
            fee: Amount(0),
            prefetch: true,
            not_before: None,
            expiry: None,
            accepts: Some(LESS_THAN_A_TEE.into()),
        };
        let policy = Signed::sign(policy, &secret).unwrap();
        let owner = Owner { secret, header, grant, policy, kept };
        let mut world = World { owner, keepers, under_way: VecDeque::new() };
        for at in 0..usize::from(N) {
            let keeper = &mut world.keepers[at];
            let (mut holder, _) =
                Holder::open(keeper.dir.path(), keeper.account.clone(), PolicyHeads).unwrap();
            let kept = world.owner.kept[at].clone();
            let object = Object::of_grant(&world.owner.grant, &keeper.account.account(), kept).unwrap();
            let effects = holder.enrol(object).unwrap();
            keeper.holder = Some(holder);
            world.sends(effects);
        }
        world.settle();
        let first = world.head(1, true, uses);
        world.says(&first).unwrap();
        world
    }

    fn grant_id(&self) -> Id {
        Id(*self.owner.grant.cid().digest())
    }

    /// The owner's word of this number; without a policy it revokes.
    fn head(&self, number: u64, allows: bool, uses: u32) -> Verified<PolicyHead> {
        let head = PolicyHead {
            grant: self.owner.grant.cid(),
            owner: self.owner.secret.account(),
            number,
            policy: allows.then(|| self.owner.policy.cid()),
            uses,
            issued: NOW - 50,
            expiry: NOW + 1000,
        };
        Signed::sign(head, &self.owner.secret).unwrap()
    }

    /// Every holder hears a word.
    fn says(&mut self, head: &Signed<PolicyHead>) -> Result<(), Refusal> {
        let mut refused = Ok(());
        for at in 0..usize::from(N) {
            let words = Input::Words { grant: self.grant_id(), words: head.block().clone() };
            for effect in self.turn(at, vec![words]) {
                if let Effect::Refused { why, .. } = effect {
                    refused = Err(why);
                }
            }
        }
        self.settle();
        refused
    }

    fn sends(&mut self, effects: Vec<Effect>) -> Vec<Effect> {
        let (sent, rest): (Vec<_>, Vec<_>) =
            effects.into_iter().partition(|effect| matches!(effect, Effect::Send { .. }));
        for effect in sent {
            if let Effect::Send { to, packet } = effect {
                self.under_way.push_back((to, packet));
            }
        }
        rest
    }

    fn turn(&mut self, at: usize, inputs: Vec<Input>) -> Vec<Effect> {
        let holder = self.keepers[at].holder.as_mut().unwrap();
        let effects = holder.turn(inputs, NOW * 1000).unwrap();
        self.sends(effects)
    }

    /// Delivers everything. What was given meanwhile, and by whom.
    fn settle(&mut self) -> BTreeSet<(usize, Use)> {
        let mut given = BTreeSet::new();
        for _ in 0..6 {
            while let Some((to, packet)) = self.under_way.pop_front() {
                let at = self.keepers.iter().position(|keeper| keeper.account.account() == to).unwrap();
                for effect in self.turn(at, vec![Input::Packet(packet)]) {
                    match effect {
                        Effect::Given { used, .. } => drop(given.insert((at, used))),
                        other => panic!("{other:?}"),
                    }
                }
            }
            for at in 0..usize::from(N) {
                self.turn(at, vec![Input::Tick]);
            }
        }
        given
    }

    /// What one holder says to a wish, by itself.
    fn judged(
        &self,
        at: usize,
        task: &Task,
        invocation: &Verified<Invocation>,
    ) -> Result<Permit, Vec<Reason>> {
        let holder = self.keepers[at].holder.as_ref().unwrap();
        let (_, words) = holder.head(&self.grant_id()).unwrap();
        let head = Signed::<PolicyHead>::decode(words.unwrap()).unwrap().verify().unwrap();
        let law = Law { grant: &self.owner.grant, head: &head, policy: &self.owner.policy };
        let sealed = BTreeSet::new();
        let wish = Wish { task, invocation, sealed: &sealed, pays: Amount(0) };
        let appraisal = appraisal();
        let proven = Proven { appraisal: &appraisal, quoted: NOW - 10, for_this_job: false, manifest: None };
        judge(law, wish, proven, NOW)
    }

    /// One use, from the wish to the key. `from` are the holders that are asked.
    fn key(
        &mut self,
        task: &Task,
        invocation: &Verified<Invocation>,
        from: &[usize],
    ) -> Result<FileKey, String> {
        let job = SealSecret::generate(&mut OsRandom);
        let grant = self.grant_id();
        let allowed: Vec<_> =
            from.iter().copied().filter(|at| self.judged(*at, task, invocation).is_ok()).collect();
        // A holder that was away knows less than the others of what is taken.
        let free = |at: &usize| self.keepers[*at].holder.as_ref().unwrap().free_slot(&grant);
        let slot = allowed.iter().filter_map(free).max().ok_or("no holder allows it")?;
        let policy = self.owner.policy.cid();
        let used = Use { policy: Id(*policy.digest()), slot, invocation: Id(*invocation.cid().digest()) };
        let mut reservations: Vec<Reservation> = Vec::new();
        let mut why = String::new();
        for at in &allowed {
            for effect in self.turn(*at, vec![Input::Reserve { grant, used }]) {
                match effect {
                    Effect::Reserved(reservation) => reservations.push(reservation),
                    Effect::Refused { why: refusal, .. } => why = refusal.to_string(),
                    other => panic!("{other:?}"),
                }
            }
        }
        for at in &allowed {
            let reservations = reservations.clone();
            self.turn(*at, vec![Input::Commit { grant, used, reservations }]);
        }
        let mut collector = Collector::new(Terms::new(N, K).unwrap(), used);
        for (at, used) in self.settle() {
            let keeper = &self.keepers[at];
            let index = at as u8 + 1;
            let place = place(&self.owner.grant, index);
            let commitment = &self.owner.grant.body().holders[at].commitment;
            let bond = adit_shares::Use {
                policy,
                slot: used.slot,
                invocation: invocation.cid(),
                holder: keeper.account.account(),
            };
            let object = keeper.holder.as_ref().unwrap().objects().next().unwrap();
            let share = Share::open(&object.share, &place, &keeper.seal, commitment).unwrap();
            let released = share.release(&place, &bond, &job.key(), &mut OsRandom).unwrap();
            let share = Share::receive(&released, &place, &bond, &job, commitment).unwrap();
            collector.take(Release { holder: at as u8, used, share }).unwrap();
        }
        let shares: Vec<Share> = collector.enough().ok_or(why)?.values().cloned().collect();
        combine(&self.owner.header, Terms::new(N, K).unwrap(), &shares).map_err(|error| error.to_string())
    }
}

fn place(grant: &Verified<Grant>, index: u8) -> Place {
    Place { grant: grant.cid(), nonce: grant.body().nonce, epoch: grant.body().epoch, index }
}

const ALL: [usize; 5] = [0, 1, 2, 3, 4];

#[test]
fn an_allowed_job_gets_the_key_once_for_each_use() {
    let mut world = World::new(2);
    let (task, _) = job();
    world.key(&task, &invocation(&task, 1), &ALL).unwrap();
    // One holder away: four are enough.
    world.key(&task, &invocation(&task, 2), &ALL[1..]).unwrap();
    let third = world.key(&task, &invocation(&task, 3), &ALL).err();
    assert_eq!(third.as_deref(), Some("the slot was given to another invocation"));
    // The owner allows one more.
    let more = world.head(2, true, 3);
    world.says(&more).unwrap();
    world.key(&task, &invocation(&task, 4), &ALL).unwrap();
}

#[test]
fn too_few_holders_give_no_key() {
    let mut world = World::new(5);
    let (task, _) = job();
    assert!(world.key(&task, &invocation(&task, 1), &ALL[..3]).is_err());
    world.key(&task, &invocation(&task, 1), &ALL).unwrap();
}

#[test]
fn another_task_is_refused_by_every_holder_for_its_reason() {
    let mut world = World::new(5);
    let (mut task, _) = job();
    task.args = vec!["--all".into()];
    let invocation = invocation(&task, 1);
    for at in ALL {
        assert_eq!(world.judged(at, &task, &invocation).unwrap_err(), [Reason::Argument { at: 1 }]);
    }
    assert!(world.key(&task, &invocation, &ALL).is_err());
}

#[test]
fn a_revoked_policy_gives_nothing_and_an_older_word_does_not_bring_it_back() {
    let mut world = World::new(5);
    let (task, _) = job();
    let (first, revoked) = (world.head(1, true, 5), world.head(2, false, 0));
    world.says(&revoked).unwrap();
    assert_eq!(world.judged(0, &task, &invocation(&task, 1)).unwrap_err(), [Reason::Revoked]);
    assert!(world.key(&task, &invocation(&task, 1), &ALL).is_err());
    // Rolled back: the first word once more, and another of the same number.
    let _ = world.says(&first);
    let again = world.head(2, true, 5);
    let _ = world.says(&again);
    assert_eq!(world.judged(0, &task, &invocation(&task, 2)).unwrap_err(), [Reason::Revoked]);
    assert!(world.key(&task, &invocation(&task, 2), &ALL).is_err());
}

#[test]
fn only_the_grants_owner_is_heard() {
    let mut world = World::new(5);
    let honest = world.head(2, true, 100);
    let stranger = account(77);
    let theirs = PolicyHead { owner: stranger.account(), ..honest.body().clone() };
    let theirs = Signed::sign(theirs, &stranger).unwrap();
    assert_eq!(world.says(&theirs), Err(Refusal::NotByOwner));
    let elsewhere = PolicyHead { grant: GrantCid::of_block(b"another"), ..honest.body().clone() };
    let elsewhere = Signed::sign(elsewhere, &world.owner.secret).unwrap();
    assert_eq!(world.says(&elsewhere), Err(Refusal::NotByOwner));
    let grant = world.grant_id();
    for at in (0..honest.block().len()).step_by(3) {
        let mut words = honest.block().to_vec();
        words[at] ^= 1;
        let effects = world.turn(0, vec![Input::Words { grant, words: words.into() }]);
        assert!(matches!(&effects[..], [Effect::Refused { why: Refusal::NotByOwner, .. }]), "byte {at}");
    }
    world.says(&honest).unwrap();
    let (head, _) = world.keepers[3].holder.as_ref().unwrap().head(&grant).unwrap();
    assert_eq!((head.number, head.uses), (2, 100));
    // And nobody keeps a share whom the grant does not name.
    assert!(Object::of_grant(&world.owner.grant, &stranger.account(), vec![]).is_none());
}
