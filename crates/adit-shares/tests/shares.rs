//! Shares from the owner to the enclave, what goes wrong on the way, and the vectors of `docs/spec/key-shares.md`.
//!
//! `ADIT_WRITE_VECTORS=1 cargo test -p adit-shares --test shares` writes the vectors anew.

use adit_model::{AccountSecret, GrantCid, InvocationCid, PolicyCid, SealKey};
use adit_release::Terms;
use adit_seal::age::{FileKey, Header, Identity};
use adit_seal::{OsRandom, Random};
use adit_shares::{CombineError, Place, SEALED_BYTES, SealSecret, Share, ShareError, Use, combine, split};
use serde_json::{Value, json};
use std::path::Path;

const NONCE: [u8; 16] = [9; 16];

fn place(index: u8) -> Place {
    Place { grant: GrantCid::of_block(b"grant"), nonce: NONCE, epoch: 3, index }
}

fn used(index: u8) -> Use {
    Use {
        policy: PolicyCid::of_block(b"policy"),
        slot: 7,
        invocation: InvocationCid::of_block(b"invocation"),
        holder: AccountSecret::from_bytes(&[index; 32]).unwrap().account(),
    }
}

/// The header of an object that is sealed under this key.
fn header(key: &FileKey) -> Header {
    let reader = Identity::generate(&mut OsRandom).recipient();
    Header::write(key, &[reader], &mut OsRandom).unwrap()
}

/// All holders of an object: their secrets, what lies at each, and what the grant commits to.
struct Group {
    terms: Terms,
    header: Header,
    secrets: Vec<SealSecret>,
    kept: Vec<Vec<u8>>,
    commitments: Vec<[u8; 32]>,
}

fn group(n: u8, k: u8) -> Group {
    let terms = Terms::new(n, k).unwrap();
    let key = FileKey::generate(&mut OsRandom);
    let shares = split(&key, terms, &mut OsRandom);
    assert_eq!(shares.iter().map(Share::index).collect::<Vec<_>>(), (1..=n).collect::<Vec<_>>());
    let secrets: Vec<_> = (0..n).map(|_| SealSecret::generate(&mut OsRandom)).collect();
    let kept = shares.iter().zip(&secrets);
    let kept = kept.map(|(share, to)| share.keep(&place(share.index()), &to.key(), &mut OsRandom).unwrap());
    Group {
        terms,
        header: header(&key),
        kept: kept.collect(),
        commitments: shares.iter().map(|share| share.commitment(&NONCE, 3)).collect(),
        secrets,
    }
}

impl Group {
    fn open(&self, index: u8) -> Result<Share, ShareError> {
        let at = usize::from(index) - 1;
        Share::open(&self.kept[at], &place(index), &self.secrets[at], &self.commitments[at])
    }

    /// What an enclave with this key gets from one holder.
    fn released(&self, index: u8, to: &SealSecret) -> Share {
        let share = self.open(index).unwrap();
        let sealed = share.release(&place(index), &used(index), &to.key(), &mut OsRandom).unwrap();
        let commitment = &self.commitments[usize::from(index) - 1];
        Share::receive(&sealed, &place(index), &used(index), to, commitment).unwrap()
    }
}

#[test]
fn any_k_of_n_shares_open_the_object_and_fewer_do_not() {
    for (n, k) in [(2, 2), (3, 2), (5, 3), (5, 4), (5, 5), (32, 17), (32, 32)] {
        let group = group(n, k);
        let job = SealSecret::generate(&mut OsRandom);
        let all: Vec<_> = (1..=n).map(|index| group.released(index, &job)).collect();
        let k = usize::from(k);
        // Every run of k neighbours, around the end too; the same key each time.
        let keys: Vec<_> = (0..all.len())
            .map(|first| {
                let some: Vec<_> = all.iter().cycle().skip(first).take(k).cloned().collect();
                combine(&group.header, group.terms, &some).unwrap()
            })
            .collect();
        assert!(keys.iter().all(|key| key.expose() == keys[0].expose()));
        assert!(combine(&group.header, group.terms, &all).is_ok(), "more than are needed");
        let mut few = all[..k - 1].to_vec();
        let too_few = CombineError::TooFew { have: k - 1, needed: k as u8 };
        assert_eq!(combine(&group.header, group.terms, &few).err(), Some(too_few));
        few.push(few[0].clone());
        assert_eq!(combine(&group.header, group.terms, &few).err(), Some(too_few), "one share twice");
    }
}

#[test]
fn shares_of_two_objects_are_not_mixed_up() {
    let (one, other) = (group(5, 4), group(5, 4));
    let job = SealSecret::generate(&mut OsRandom);
    let mut shares: Vec<_> = (1..=3).map(|index| one.released(index, &job)).collect();
    shares.push(other.released(4, &job));
    assert_eq!(combine(&one.header, one.terms, &shares).err(), Some(CombineError::OtherKey));
    assert_eq!(combine(&other.header, other.terms, &shares).err(), Some(CombineError::OtherKey));
    // The enclave would have seen whose share is wrong before.
    let sealed = other.open(4).unwrap().release(&place(4), &used(4), &job.key(), &mut OsRandom).unwrap();
    let received = Share::receive(&sealed, &place(4), &used(4), &job, &one.commitments[3]);
    assert_eq!(received.err(), Some(ShareError::Commitment));
}

#[test]
fn a_share_at_rest_opens_only_where_it_belongs() {
    let group = group(5, 4);
    let [kept, commitment] = [&group.kept[0], &group.commitments[0].to_vec()];
    let commitment: &[u8; 32] = commitment.as_slice().try_into().unwrap();
    let open = |place: Place, secret: &SealSecret| Share::open(kept, &place, secret, commitment).err();
    assert_eq!(open(place(1), &group.secrets[0]), None);
    assert_eq!(open(place(1), &group.secrets[1]), Some(ShareError::NotForThis), "another holder");
    for elsewhere in [
        Place { grant: GrantCid::of_block(b"another grant"), ..place(1) },
        Place { nonce: [8; 16], ..place(1) },
        Place { epoch: 2, ..place(1) },
        Place { epoch: 4, ..place(1) },
        Place { index: 2, ..place(1) },
    ] {
        assert_eq!(open(elsewhere, &group.secrets[0]), Some(ShareError::NotForThis), "{elsewhere:?}");
    }
    let swapped = Share::open(kept, &place(1), &group.secrets[0], &group.commitments[1]);
    assert_eq!(swapped.err(), Some(ShareError::Commitment), "another share's commitment");
    every_byte_counts(kept, |bytes| Share::open(bytes, &place(1), &group.secrets[0], commitment).err());
}

#[test]
fn a_released_share_is_of_use_for_one_use_by_one_enclave() {
    let group = group(5, 4);
    let (job, other_job) = (SealSecret::generate(&mut OsRandom), SealSecret::generate(&mut OsRandom));
    let share = group.open(1).unwrap();
    let sealed = share.release(&place(1), &used(1), &job.key(), &mut OsRandom).unwrap();
    let receive = |place: Place, used: Use, secret: &SealSecret| {
        Share::receive(&sealed, &place, &used, secret, &group.commitments[0]).err()
    };
    assert_eq!(receive(place(1), used(1), &job), None);
    assert_eq!(receive(place(1), used(1), &other_job), Some(ShareError::NotForThis));
    let at = place(1);
    for (place, used) in [
        (at, Use { policy: PolicyCid::of_block(b"another policy"), ..used(1) }),
        (at, Use { slot: 8, ..used(1) }),
        (at, Use { invocation: InvocationCid::of_block(b"another"), ..used(1) }),
        (at, Use { holder: used(2).holder, ..used(1) }),
        (Place { epoch: 4, ..at }, used(1)),
        (Place { grant: GrantCid::of_block(b"another"), ..at }, used(1)),
        (Place { index: 2, ..at }, used(1)),
    ] {
        assert_eq!(receive(place, used, &job), Some(ShareError::NotForThis));
    }
    // What lies at a holder is no release, and the other way round.
    let kept = share.keep(&place(1), &job.key(), &mut OsRandom).unwrap();
    let received = Share::receive(&kept, &place(1), &used(1), &job, &group.commitments[0]);
    assert_eq!(received.err(), Some(ShareError::NotForThis));
    let opened = Share::open(&sealed, &place(1), &job, &group.commitments[0]);
    assert_eq!(opened.err(), Some(ShareError::NotForThis));
    every_byte_counts(&sealed, |bytes| {
        Share::receive(bytes, &place(1), &used(1), &job, &group.commitments[0]).err()
    });
}

fn every_byte_counts(sealed: &[u8], open: impl Fn(&[u8]) -> Option<ShareError>) {
    assert_eq!(sealed.len(), SEALED_BYTES);
    for at in 0..sealed.len() {
        // X25519 takes no notice of the highest bit of a public key, but the schedule of HPKE's keys does.
        for bit in [1, 0x80] {
            let mut changed = sealed.to_vec();
            changed[at] ^= bit;
            assert!(open(&changed).is_some(), "byte {at}");
        }
        assert_eq!(open(&sealed[..at]), Some(ShareError::Length(at)));
    }
    assert_eq!(open(&[sealed, &[0]].concat()), Some(ShareError::Length(SEALED_BYTES + 1)));
    let mut next = sealed.to_vec();
    next[0] = 2;
    assert_eq!(open(&next), Some(ShareError::Version(2)));
}

/// One holder of five lies; the enclave knows which, and goes on with the others.
#[test]
fn a_liar_among_enough_holders_is_named_and_the_rest_still_opens() {
    let group = group(5, 4);
    let job = SealSecret::generate(&mut OsRandom);
    let lie = split(&FileKey::generate(&mut OsRandom), group.terms, &mut OsRandom).remove(2);
    let mut liars = Vec::new();
    let mut shares = Vec::new();
    for index in 1..=5 {
        let share = if index == 3 { lie.clone() } else { group.open(index).unwrap() };
        let sealed = share.release(&place(index), &used(index), &job.key(), &mut OsRandom).unwrap();
        let commitment = &group.commitments[usize::from(index) - 1];
        match Share::receive(&sealed, &place(index), &used(index), &job, commitment) {
            Ok(share) => shares.push(share),
            Err(error) => liars.push((index, error)),
        }
    }
    assert_eq!(liars, [(3, ShareError::Commitment)]);
    assert!(combine(&group.header, group.terms, &shares).is_ok());
}

#[test]
fn a_key_of_low_order_is_no_key() {
    let share = group(3, 2).open(1).unwrap();
    for bad in [[0; 32], {
        let mut one = [0; 32];
        one[0] = 1;
        one
    }] {
        assert_eq!(share.keep(&place(1), &SealKey(bad), &mut OsRandom).err(), Some(ShareError::Key));
        let released = share.release(&place(1), &used(1), &SealKey(bad), &mut OsRandom);
        assert_eq!(released.err(), Some(ShareError::Key));
    }
}

#[test]
fn nothing_shows_a_secret() {
    let group = group(3, 2);
    let share = group.open(1).unwrap();
    assert_eq!(format!("{share:?}"), "Share(1)");
    let shown = format!("{:?}", group.secrets[0]);
    assert!(!shown.contains(&hex::encode(group.secrets[0].expose())), "{shown}");
}

/// The same bytes in every run: 0, 1, 2, …
struct Counting(u8);

impl Random for Counting {
    fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            *byte = self.0;
            self.0 = self.0.wrapping_add(1);
        }
    }
}

#[test]
fn the_vectors_are_current() {
    let terms = Terms::new(3, 2).unwrap();
    let key = FileKey::from_bytes([0x2a; 16]);
    let random = &mut Counting(0);
    let job = SealSecret::generate(random);
    let holders: Vec<Value> = split(&key, terms, random)
        .iter()
        .map(|share| {
            let (place, used) = (place(share.index()), used(share.index()));
            let secret = SealSecret::generate(random);
            let kept = share.keep(&place, &secret.key(), random).unwrap();
            let released = share.release(&place, &used, &job.key(), random).unwrap();
            let commitment = share.commitment(&NONCE, 3);
            assert_eq!(&Share::open(&kept, &place, &secret, &commitment).unwrap(), share);
            assert_eq!(&Share::receive(&released, &place, &used, &job, &commitment).unwrap(), share);
            json!({
                "index": share.index(),
                "account": used.holder,
                "secret": hex::encode(secret.expose()),
                "key": secret.key(),
                "commitment": hex::encode(commitment),
                "kept": hex::encode(kept),
                "released": hex::encode(released),
            })
        })
        .collect();
    let current = json!({
        "file_key": hex::encode(key.expose()),
        "needed": 2,
        "grant": place(1).grant,
        "nonce": hex::encode(NONCE),
        "epoch": 3,
        "policy": used(1).policy,
        "slot": 7,
        "invocation": used(1).invocation,
        "job_secret": hex::encode(job.expose()),
        "holders": holders,
    });
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/key-shares.json");
    let text = serde_json::to_string_pretty(&current).unwrap() + "\n";
    if std::env::var_os("ADIT_WRITE_VECTORS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    assert_eq!(
        std::fs::read_to_string(&path).unwrap(),
        text,
        "the vectors differ from what this code writes"
    );
}
