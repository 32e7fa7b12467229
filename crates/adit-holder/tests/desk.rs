//! Five holders, each judging by itself what is said to it, without sockets: what each asks for, and what each refuses.

mod scene;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use adit_holder::protocol::{Commit, Enrol, Given, Hello, LogAsked, Message, Refused, Said, Welcome, Wish};
use adit_holder::{
    Answer, Ask, Desk, Good, Grounds, Holder, Nonces, Objection, Owners, PolicyHeads, Refusal, Reservation,
    weigh,
};
use adit_model::*;
use adit_policy::Refusal as Reason;
use adit_release::{Act, Refusal as Slot};
use adit_seal::OsRandom;
use adit_shares::SealSecret;
use adit_trust::{DevnetRoot, ReferenceValues};
use scene::{Job, N, Scene, account, root};
use tempfile::TempDir;

const NOW: u64 = 1_793_000_000;
const ALL: [usize; 5] = [0, 1, 2, 3, 4];

struct Keeper {
    dir: TempDir,
    account: AccountSecret,
    seal: SealSecret,
    nonces: Arc<Nonces>,
    desk: Option<Desk>,
}

impl Keeper {
    fn open(&mut self) -> Vec<(AccountId, bytes::Bytes)> {
        let (holder, effects) = Holder::open(self.dir.path(), self.account.clone(), PolicyHeads).unwrap();
        self.nonces = Arc::new(Nonces::new([account_byte(&self.account); 32]));
        let desk = Desk::new(holder, self.seal.clone(), self.nonces.clone(), Owners::Anyone).unwrap();
        self.desk = Some(desk);
        let send = effects.into_iter().filter_map(|effect| match effect {
            adit_holder::Effect::Send { to, packet } => Some((to, packet)),
            _ => None,
        });
        send.collect()
    }
}

fn account_byte(secret: &AccountSecret) -> u8 {
    secret.to_bytes()[0]
}

struct World {
    scene: Scene,
    keepers: Vec<Keeper>,
    under_way: VecDeque<(AccountId, bytes::Bytes)>,
    /// Unix milliseconds.
    now: u64,
    tickets: u64,
    devnet: Option<DevnetRoot>,
    answers: BTreeMap<u64, Answer>,
}

impl World {
    fn new(uses: u32) -> Self {
        Self::under(uses, |_| {})
    }

    fn under(uses: u32, change: impl FnOnce(&mut Policy)) -> Self {
        let keepers: Vec<_> = (0..N)
            .map(|at| Keeper {
                dir: tempfile::tempdir().unwrap(),
                account: account(at + 1),
                seal: SealSecret::generate(&mut OsRandom),
                nonces: Arc::new(Nonces::new([0; 32])),
                desk: None,
            })
            .collect();
        let holders: Vec<_> = keepers.iter().map(|one| (one.account.account(), one.seal.key())).collect();
        let mut world = Self {
            scene: Scene::with(&holders, NOW, change),
            keepers,
            under_way: VecDeque::new(),
            now: NOW * 1000,
            tickets: 0,
            devnet: Some(DevnetRoot::of_this_devnet(root().verifying_key().to_bytes())),
            answers: BTreeMap::new(),
        };
        for at in ALL {
            let sent = world.keepers[at].open();
            world.under_way.extend(sent);
            let enrol = world.scene.enrol(at);
            assert_eq!(world.ask(at, Ask::Enrol(enrol)), Some(Answer::Done));
        }
        world.settle();
        let said = world.scene.said(1, uses);
        world.says(&said);
        world
    }

    fn desk(&mut self, at: usize) -> &mut Desk {
        self.keepers[at].desk.as_mut().unwrap()
    }

    /// Asks, and gives the answer if it is there at once.
    fn ask(&mut self, at: usize, ask: Ask) -> Option<Answer> {
        self.tickets += 1;
        let (ticket, now) = (self.tickets, self.now);
        let turn = self.desk(at).turn(vec![(ticket, ask)], now).unwrap();
        self.under_way.extend(turn.send);
        self.answers.extend(turn.answers);
        self.answers.remove(&ticket)
    }

    /// Delivers everything to those that are there.
    fn settle(&mut self) {
        for _ in 0..6 {
            while let Some((to, packet)) = self.under_way.pop_front() {
                let at = self.keepers.iter().position(|keeper| keeper.account.account() == to).unwrap();
                if self.keepers[at].desk.is_some() {
                    self.ask(at, Ask::Packet(packet));
                }
            }
            for at in ALL {
                if self.keepers[at].desk.is_some() {
                    self.ask(at, Ask::Tick);
                }
            }
        }
    }

    fn says(&mut self, said: &Said) {
        for at in ALL {
            let said = Said::decode(&said.encode()).unwrap();
            assert_eq!(self.ask(at, Ask::Said(said)), Some(Answer::Done));
        }
        self.settle();
    }

    fn welcome(&mut self, at: usize, session: &JobSecret) -> Welcome {
        let hello = Hello { session: session.key().0, grant: self.scene.grant_id() };
        let hello = Hello::decode(&hello.encode()).unwrap();
        let now = self.now;
        let welcome = self.desk(at).welcome(&JobKey(hello.session), &hello.grant, now).unwrap();
        Welcome::decode(&welcome.encode()).unwrap()
    }

    /// A job whose quote answers all holders that are there.
    fn job(&mut self, n: u8) -> Job {
        let mut job = self.scene.job(n);
        for at in ALL {
            if self.keepers[at].desk.is_some() {
                let welcome = self.welcome(at, &job.session);
                job.nonces.push(QuoteNonce(welcome.nonce));
                job.slot = job.slot.max(welcome.slot.unwrap_or(0));
            }
        }
        job.quoted = self.now / 1000;
        job
    }

    fn weighed(&mut self, at: usize, wish: &Wish) -> Result<Good, Vec<Objection>> {
        let wish = Wish::decode(&wish.encode()).unwrap();
        let (now, devnet, nonces) = (self.now, self.devnet.clone(), self.keepers[at].nonces.clone());
        let (grant, head) = self.desk(at).grounds(&wish.grant).map_err(|one| vec![one])?;
        let references = ReferenceValues::default();
        let grounds = Grounds {
            grant: &grant,
            head: &head,
            nonces: &nonces,
            references: &references,
            devnet: devnet.as_ref(),
        };
        weigh(&wish, grounds, now)
    }

    /// What every holder says to a job's wish, which must be the same everywhere.
    fn refused(&mut self, job: &Job) -> Vec<Objection> {
        let wish = self.scene.wish(job);
        let said: Vec<_> =
            ALL.iter().map(|at| self.weighed(*at, &wish).expect_err("it was let through")).collect();
        assert!(said.iter().all(|one| *one == said[0]), "{said:?}");
        said[0].clone()
    }

    fn reserved(&mut self, at: usize, job: &Job) -> Result<Reservation, Vec<Objection>> {
        let wish = self.scene.wish(job);
        let good = self.weighed(at, &wish)?;
        match self.ask(at, Ask::Reserve(good)).unwrap() {
            Answer::Reserved(one) => Ok(Reservation::decode(&one.encode()).unwrap()),
            Answer::Refused(objection) => Err(vec![objection]),
            other => panic!("{other:?}"),
        }
    }

    /// One use, from these holders. The last objection, if it failed.
    fn key(&mut self, job: &Job, from: &[usize]) -> Result<(), Vec<Objection>> {
        let (mut reservations, mut objections) = (Vec::new(), Vec::new());
        for at in from {
            match self.reserved(*at, job) {
                Ok(one) => reservations.push(one),
                Err(why) => objections = why,
            }
        }
        let commit = Commit { grant: self.scene.grant_id(), used: self.scene.used(job), reservations };
        let mut waiting = BTreeMap::new();
        let mut given = BTreeMap::new();
        for at in from {
            let commit = Commit::decode(&commit.encode()).unwrap();
            match self.ask(*at, Ask::Commit(commit)) {
                None => drop(waiting.insert(*at, self.tickets)),
                Some(Answer::Given(one)) => drop(given.insert(*at, one)),
                Some(Answer::Refused(objection)) => objections = vec![objection],
                Some(other) => panic!("{other:?}"),
            }
        }
        self.settle();
        for (at, ticket) in waiting {
            match self.answers.remove(&ticket) {
                Some(Answer::Given(one)) => drop(given.insert(at, Given::decode(&one.encode()).unwrap())),
                None => objections = vec![Objection::NoWitnesses],
                Some(other) => panic!("{other:?}"),
            }
        }
        match self.scene.opened(job, &given) {
            Ok(()) => Ok(()),
            Err(_) => Err(objections),
        }
    }
}

#[test]
fn an_allowed_job_gets_the_key_and_one_quote_serves_a_sessions_next_job() {
    let mut world = World::new(3);
    let first = world.job(1);
    world.key(&first, &ALL).unwrap();
    // The session goes on with the quote that it has.
    let mut second = world.scene.job(2);
    (second.nonces, second.slot, second.quoted) = (first.nonces.clone(), 1, first.quoted);
    world.now += 60_000;
    world.key(&second, &ALL[1..]).unwrap();
    // Asked again for the same job, the same slot is given, not another.
    world.key(&second, &ALL).unwrap();
    let third = world.job(3);
    assert_eq!(third.slot, 2);
    world.key(&third, &ALL).unwrap();
    let mut fourth = world.job(4);
    fourth.slot = 3;
    let none_left = Objection::Rule(Refusal::Rule(Slot::NoSuchSlot { uses: 3 }));
    assert_eq!(world.reserved(0, &fourth), Err(vec![none_left]));
}

#[test]
fn too_few_holders_give_no_key() {
    let mut world = World::new(3);
    world.keepers[4].desk = None;
    world.keepers[3].desk = None;
    let job = world.job(1);
    let why = Objection::Rule(Refusal::Rule(Slot::TooFewReserved { have: 3, needed: 4 }));
    assert_eq!(world.key(&job, &ALL[..3]), Err(vec![why]));
}

#[test]
fn a_share_waits_for_witnesses_and_its_asker_is_told_when_that_takes_long() {
    let mut world = World::new(3);
    let job = world.job(1);
    let reservations: Vec<_> = ALL.iter().map(|at| world.reserved(*at, &job).unwrap()).collect();
    let commit = Commit { grant: world.scene.grant_id(), used: world.scene.used(&job), reservations };
    assert_eq!(world.ask(0, Ask::Commit(commit.clone())), None);
    let ticket = world.tickets;
    // Nothing is delivered.
    world.under_way.clear();
    world.now += 6_000;
    world.ask(0, Ask::Tick);
    assert_eq!(world.answers.remove(&ticket), Some(Answer::Refused(Objection::NoWitnesses)));
    // Asked again, with others that answer now.
    assert_eq!(world.ask(0, Ask::Commit(commit)), None);
    let ticket = world.tickets;
    world.settle();
    assert!(matches!(world.answers.remove(&ticket), Some(Answer::Given(_))));
}

#[test]
fn nothing_is_given_without_a_good_wish() {
    let mut world = World::new(3);
    let job = world.job(1);
    let reservations: Vec<_> = ALL[1..].iter().map(|at| world.reserved(*at, &job).unwrap()).collect();
    let commit = Commit { grant: world.scene.grant_id(), used: world.scene.used(&job), reservations };
    // Four others reserved it; this holder was never shown why.
    let refused = Some(Answer::Refused(Objection::NotReserved));
    assert_eq!(world.ask(0, Ask::Commit(commit.clone())), refused);
    // And what was good is not good for ever.
    world.now += 61_000;
    assert_eq!(world.ask(1, Ask::Commit(commit)), refused);
}

#[test]
fn every_holder_refuses_what_the_policy_does_not_allow() {
    let mut world = World::new(3);
    let mut job = world.job(1);
    job.task.args = vec!["--all".into()];
    job.invocation.task = job.task.cid();
    assert_eq!(world.refused(&job), [Objection::Policy(Reason::Argument { at: 1 })]);
    let mut job = world.job(1);
    job.by = account(61);
    job.invocation.issuer = job.by.account();
    assert_eq!(world.refused(&job), [Objection::Policy(Reason::Requester)]);
    let mut job = world.job(1);
    job.invocation.reply_key = None;
    assert_eq!(world.refused(&job), [Objection::Policy(Reason::NoReplyKey)]);
    let mut job = world.job(1);
    job.invocation.expiry = NOW - 1;
    assert_eq!(world.refused(&job), [Objection::Policy(Reason::InvocationExpired { expiry: NOW - 1 })]);
}

#[test]
fn stale_replayed_and_relayed_quotes_are_refused() {
    let mut world = World::new(3);
    let job = world.job(1);
    // Older than the policy allows, though the nonce is still known.
    world.now += 301_000;
    let stale = world.refused(&job);
    assert!(stale.contains(&Objection::Policy(Reason::Stale { age: 301, most: 300 })), "{stale:?}");
    // So old that the nonce is not known any more.
    world.now += 300_000;
    assert_eq!(world.refused(&job), [Objection::Nonce]);
    // Nonces of nobody, and those of another session.
    let mut job = world.job(1);
    job.nonces = vec![QuoteNonce([1; 32])];
    assert_eq!(world.refused(&job), [Objection::Nonce]);
    let mut job = world.job(1);
    job.session = JobSecret::from_bytes(&[81; 32]).unwrap();
    job.signer = job.session.clone();
    assert_eq!(world.refused(&job), [Objection::Nonce]);
    // A holder that started again doesn't know what it gave before.
    let job = world.job(1);
    world.keepers[2].desk = None;
    let sent = world.keepers[2].open();
    world.under_way.extend(sent);
    world.keepers[2].nonces = Arc::new(Nonces::new([99; 32]));
    let wish = world.scene.wish(&job);
    assert_eq!(world.weighed(2, &wish), Err(vec![Objection::Nonce]));
}

#[test]
fn evidence_for_another_key_or_by_nobody_known_is_refused() {
    let mut world = World::new(3);
    let evidence = |why: &[Objection]| match why {
        [Objection::Policy(Reason::Evidence { why }), ..] => why.clone(),
        other => panic!("{other:?}"),
    };
    // Somebody puts his own key request beside an honest session's quote.
    let mut job = world.job(1);
    job.signer = JobSecret::from_bytes(&[81; 32]).unwrap();
    assert_eq!(world.refused(&job), [Objection::OtherSession]);
    // The evidence is bound to another list of nonces than the quote shows.
    let job = world.job(1);
    let mut wish = world.scene.wish(&job);
    let mut quote = SessionQuote::decode(&wish.quote).unwrap();
    quote.nonces.reverse();
    wish.quote = serde_bytes::ByteBuf::from(quote.encode());
    let said = world.weighed(0, &wish).unwrap_err();
    assert!(evidence(&said).contains("report data"), "{said:?}");
    // Another devnet's root, and no devnet at all.
    let mut job = world.job(1);
    job.root = ed25519_dalek::SigningKey::from_bytes(&[8; 32]);
    let other_root = world.refused(&job);
    assert!(evidence(&other_root).contains("devnet"), "{other_root:?}");
    let job = world.job(1);
    world.devnet = None;
    let no_devnet = world.refused(&job);
    assert!(evidence(&no_devnet).contains("devnet"), "{no_devnet:?}");
}

#[test]
fn software_that_the_policy_does_not_name_is_refused_whatever_manifest_is_shown() {
    let mut world = World::new(3);
    let mut job = world.job(1);
    job.measurement = [4; 32];
    assert!(matches!(&world.refused(&job)[..], [Objection::Policy(Reason::Evidence { .. })]));
    // With a manifest that names it.
    let ours = String::from_utf8(job.manifest.clone().unwrap()).unwrap();
    job.manifest = Some(ours.replace("03", "04").into_bytes());
    let said = world.refused(&job);
    assert!(said.contains(&Objection::Policy(Reason::Reference)), "{said:?}");
    let mut job = world.job(1);
    job.manifest = None;
    let said = world.refused(&job);
    assert!(said.contains(&Objection::Policy(Reason::Reference)), "{said:?}");
    // Where the policy names none, what a wish brings along counts for nothing.
    let mut world = World::under(3, |policy| policy.evidence.references.clear());
    let job = world.job(1);
    assert!(matches!(&world.refused(&job)[..], [Objection::Policy(Reason::Evidence { .. })]));
}

#[test]
fn a_quote_per_job_is_for_one_request() {
    let mut world = World::under(3, |policy| policy.evidence.per_job = true);
    let job = world.job(1);
    world.key(&job, &ALL).unwrap();
    let mut job = world.job(2);
    job.change_quote = |quote| quote.request = None;
    assert_eq!(world.refused(&job), [Objection::Policy(Reason::NotForThisJob)]);
    job.change_quote = |quote| quote.request = Some(KeyRequestCid::of_block(b"another"));
    assert_eq!(world.refused(&job), [Objection::OtherRequest]);
}

#[test]
fn a_request_for_another_job_or_grant_is_refused() {
    let mut world = World::new(3);
    let mut job = world.job(1);
    job.change_request = |request| request.invocation = InvocationCid::of_block(b"another");
    assert_eq!(world.refused(&job), [Objection::OtherJob]);
    job.change_request = |request| request.task = TaskCid::of_block(b"another");
    assert_eq!(world.refused(&job), [Objection::OtherJob]);
    job.change_request = |request| request.grants[0].grant = GrantCid::of_block(b"another");
    assert_eq!(world.refused(&job), [Objection::NotRequested]);
    job.change_request = |request| request.grants[0].policy = PolicyCid::of_block(b"another");
    assert_eq!(world.refused(&job), [Objection::Policy(Reason::OtherPolicy)]);
    job.change_request = |request| request.grants[0].head = 2;
    assert_eq!(world.refused(&job), [Objection::OldWord { told: 2, known: 1 }]);
}

#[test]
fn a_host_that_holds_for_itself_is_refused() {
    let mut world = World::new(3);
    // By its operator's account, and by its node.
    let mut job = world.job(1);
    job.operator = account(2);
    assert_eq!(world.refused(&job), [Objection::HostHolds]);
    let mut job = world.job(1);
    job.node = world.scene.grant.body().holders[3].node;
    assert_eq!(world.refused(&job), [Objection::HostHolds]);
    // Another operator's promise can't be put in the place of its own.
    let mut job = world.job(1);
    job.change_acceptance = |promise| promise.job_key = JobSecret::from_bytes(&[81; 32]).unwrap().key();
    assert_eq!(world.refused(&job), [Objection::OtherAcceptance]);
    job.change_acceptance = |promise| promise.invocation = InvocationCid::of_block(b"another");
    assert_eq!(world.refused(&job), [Objection::OtherAcceptance]);
}

#[test]
fn a_revoked_or_expired_word_gives_nothing() {
    let mut world = World::new(3);
    let job = world.job(1);
    let soon = world.scene.said_until(2, 3, NOW + 10);
    world.says(&soon);
    world.now += 11_000;
    assert_eq!(world.refused(&job), [Objection::Policy(Reason::HeadExpired { expiry: NOW + 10 })]);
    let revoked = world.scene.said(3, 0);
    world.says(&revoked);
    assert_eq!(world.refused(&job), [Objection::Policy(Reason::Revoked)]);
    let old = world.scene.said(1, 3);
    let answer = world.ask(0, Ask::Said(old));
    let why = Objection::Rule(Refusal::Rule(Slot::OldHead { known: 3 }));
    assert_eq!(answer, Some(Answer::Refused(why)));
    assert_eq!(world.refused(&job), [Objection::Policy(Reason::Revoked)]);
}

#[test]
fn a_word_comes_with_the_policy_that_it_puts_in_force() {
    let mut world = World::new(3);
    let mut said = world.scene.said(2, 3);
    said.policy = None;
    let other = Some(Answer::Refused(Objection::Policy(Reason::OtherPolicy)));
    assert_eq!(world.ask(0, Ask::Said(said)), other);
    let mut said = world.scene.said(2, 0);
    said.policy = world.scene.said(2, 3).policy;
    assert_eq!(world.ask(0, Ask::Said(said)), other);
}

#[test]
fn a_share_is_kept_only_if_it_is_the_one_that_the_grant_commits_to() {
    let mut world = World::new(3);
    let Enrol { grant, share } = world.scene.enrol(0);
    let wrong = |world: &mut World, at: usize, enrol: Enrol| {
        let enrol = Enrol::decode(&enrol.encode()).unwrap();
        match world.ask(at, Ask::Enrol(enrol)) {
            Some(Answer::Refused(objection)) => objection,
            other => panic!("{other:?}"),
        }
    };
    // Another holder's share, a damaged one, and one that is cut off.
    let enrol = world.scene.enrol(1);
    assert_eq!(wrong(&mut world, 0, enrol), Objection::Share);
    let mut damaged = share.clone();
    damaged[50] ^= 1;
    assert_eq!(wrong(&mut world, 0, Enrol { grant: grant.clone(), share: damaged }), Objection::Share);
    let cut = serde_bytes::ByteBuf::from(share[..96].to_vec());
    assert_eq!(wrong(&mut world, 0, Enrol { grant: grant.clone(), share: cut }), Objection::Share);
    // A grant that was changed after it was signed.
    let mut changed = grant.clone();
    let at = changed.len() - 3;
    changed[at] ^= 1;
    let said = wrong(&mut world, 0, Enrol { grant: changed, share: share.clone() });
    assert!(matches!(said, Objection::Signature { .. } | Objection::Record { .. }), "{said:?}");
    // The same once more is no second object.
    assert_eq!(world.ask(0, Ask::Enrol(Enrol { grant, share })), Some(Answer::Done));
}

#[test]
fn refusals_and_uses_stand_in_the_log_which_the_owner_reads() {
    let mut world = World::new(3);
    let job = world.job(1);
    world.key(&job, &ALL).unwrap();
    let (grant, used) = (world.scene.grant_id(), world.scene.used(&job));
    let number = Objection::Policy(Reason::Argument { at: 1 }).number();
    assert_eq!(world.ask(2, Ask::Refused { grant, invocation: used.invocation, reason: number }), None);
    // A slot that is gone is refused by the rule, and that is written down as well.
    let mut late = world.job(2);
    late.slot = job.slot;
    assert_eq!(world.reserved(2, &late), Err(vec![Objection::Rule(Refusal::Rule(Slot::Taken))]));

    let owner = world.scene.owner.clone();
    let now = world.now;
    let asked = LogAsked::sign(grant, 2, 0, now, &owner);
    let Some(Answer::Log(page)) = world.ask(2, Ask::Log(asked)) else { panic!("no log") };
    let acts: Vec<_> = page.entries.iter().map(|entry| entry.act).collect();
    assert_eq!(page.len as usize, acts.len());
    assert!(acts.contains(&Act::Used(used)));
    assert!(acts.contains(&Act::Refused { invocation: used.invocation, reason: number }));
    let taken = world.scene.used(&late).invocation;
    assert!(acts.contains(&Act::Refused { invocation: taken, reason: 154 }), "{acts:?}");
    let holder = world.keepers[2].account.account();
    for (entry, mark) in page.entries.iter().zip(&page.marks) {
        holder.check(&entry.id().0, &mark.0).unwrap();
    }
    let asked = LogAsked::sign(grant, 2, page.len - 1, now, &owner);
    let Some(Answer::Log(last)) = world.ask(2, Ask::Log(asked)) else { panic!("no log") };
    assert_eq!(last.entries[..], page.entries[page.entries.len() - 1..]);

    // Not a stranger, not a copy of the owner's question, not much later.
    let not_yours = Some(Answer::Refused(Objection::NotYours));
    let stranger = LogAsked::sign(grant, 2, 0, now, &account(99));
    assert_eq!(world.ask(2, Ask::Log(stranger)), not_yours);
    let mut other = LogAsked::sign(grant, 2, 0, now, &owner);
    other.of = 3;
    assert_eq!(world.ask(2, Ask::Log(other)), not_yours);
    let old = LogAsked::sign(grant, 2, 0, now - 121_000, &owner);
    assert_eq!(world.ask(2, Ask::Log(old)), not_yours);
}

#[test]
fn no_changed_byte_of_a_wish_is_let_through() {
    let mut world = World::new(3);
    let job = world.job(1);
    let wish = world.scene.wish(&job);
    let good = world.weighed(0, &wish).unwrap();
    type Part = fn(&mut Wish) -> &mut Vec<u8>;
    let parts: [(&str, Part); 7] = [
        ("quote", |wish| &mut wish.quote),
        ("manifest", |wish| wish.manifest.as_mut().unwrap()),
        ("task", |wish| &mut wish.task),
        ("invocation", |wish| &mut wish.invocation),
        ("acceptance", |wish| &mut wish.acceptance),
        ("request", |wish| &mut wish.request),
        ("policy", |wish| &mut wish.policy),
    ];
    for (what, part) in parts {
        for at in 0..part(&mut wish.clone()).len() {
            let mut changed = wish.clone();
            part(&mut changed)[at] ^= 1;
            assert!(world.weighed(0, &changed).is_err(), "byte {at} of the {what}");
        }
    }
    assert_eq!(world.weighed(0, &wish), Ok(good));
}

#[test]
fn messages_have_one_form_and_limits() {
    let mut world = World::new(3);
    let job = world.job(1);
    let wish = world.scene.wish(&job);
    let bytes = wish.encode();
    assert_eq!(Wish::decode(&bytes), Ok(wish.clone()));
    for len in 0..bytes.len() {
        assert!(Wish::decode(&bytes[..len]).is_err(), "{len} bytes");
    }
    assert!(Wish::decode(&[&bytes[..], &[0]].concat()).is_err());
    assert!(Wish::decode(&vec![0; Wish::MOST_BYTES + 1]).is_err());
    let many = Wish { endorsements: vec![serde_bytes::ByteBuf::new(); 65], ..wish };
    assert!(Wish::decode(&many.encode()).is_err());
    assert!(Hello::decode(&bytes).is_err());
    let refused = Refused::because(&[Objection::Nonce, Objection::Policy(Reason::Revoked)]);
    assert_eq!(Refused::decode(&refused.encode()), Ok(refused.clone()));
    assert_eq!(refused.why.iter().map(|why| why.number).collect::<Vec<_>>(), [103, 3]);
    assert!(refused.to_string().ends_with("; the owner has revoked all use"), "{refused}");
}
