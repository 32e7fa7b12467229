//! What shares cost: medians of 101, for the holders that are named (`share_times 5 4`: four of five).

use adit_model::{AccountId, GrantCid, InvocationCid, PolicyCid};
use adit_release::Terms;
use adit_seal::OsRandom;
use adit_seal::age::{FileKey, Header, Identity};
use adit_shares::{Place, SealSecret, Share, Use, combine, split};
use std::time::Instant;

fn main() {
    let named: Vec<u8> = std::env::args().skip(1).filter_map(|word| word.parse().ok()).collect();
    let [n, k] = named.try_into().unwrap_or([5, 4]);
    let terms = Terms::new(n, k).expect("sound numbers");
    let key = FileKey::generate(&mut OsRandom);
    let reader = Identity::generate(&mut OsRandom).recipient();
    let header = Header::write(&key, &[reader], &mut OsRandom).expect("a header");
    let (holder, job) = (SealSecret::generate(&mut OsRandom), SealSecret::generate(&mut OsRandom));
    let place = Place { grant: GrantCid::of_block(b"grant"), nonce: [1; 16], epoch: 0, index: 1 };
    let used = Use {
        policy: PolicyCid::of_block(b"policy"),
        slot: 0,
        invocation: InvocationCid::of_block(b"invocation"),
        holder: AccountId([2; 20]),
    };
    let shares = split(&key, terms, &mut OsRandom);
    let commitment = shares[0].commitment(&place.nonce, place.epoch);
    let kept = shares[0].keep(&place, &holder.key(), &mut OsRandom).expect("a key");
    let released = shares[0].release(&place, &used, &job.key(), &mut OsRandom).expect("a key");

    println!("{k} of {n} holders");
    time("owner: split", || drop(split(&key, terms, &mut OsRandom)));
    time("owner: seal one share to its holder", || {
        shares[0].keep(&place, &holder.key(), &mut OsRandom).expect("a key");
    });
    time("holder: open its share, and seal it to a job", || {
        let share = Share::open(&kept, &place, &holder, &commitment).expect("its share");
        share.release(&place, &used, &job.key(), &mut OsRandom).expect("a key");
    });
    time("enclave: open one share", || {
        Share::receive(&released, &place, &used, &job, &commitment).expect("its share");
    });
    time("enclave: combine, and check the header", || {
        combine(&header, terms, &shares[..usize::from(k)]).expect("enough");
    });
}

fn time(what: &str, mut work: impl FnMut()) {
    let mut took: Vec<_> = (0..101)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed()
        })
        .collect();
    took.sort();
    println!("{what:<48} {:>8.1} µs", took[50].as_secs_f64() * 1e6);
}
