use proptest::prelude::*;

use super::*;

fn key(n: u32) -> Key {
    Key::new(&n.to_be_bytes())
}

fn record(n: u32, provider: PeerId, expires: Instant) -> ProviderRecord {
    let addresses = vec!["/ip4/127.0.0.1/tcp/1".parse().unwrap()];
    ProviderRecord { key: key(n), provider, expires: Some(expires), addresses }
}

fn memory(max: usize) -> ProviderRecords {
    ProviderRecords::open(PeerId::random(), max, 10, None).unwrap()
}

fn later() -> Instant {
    Instant::now() + Duration::from_secs(3600)
}

#[test]
fn a_flood_of_one_peer_pushes_out_its_own_records_and_not_those_of_others() {
    let mut store = memory(100);
    let (honest, spammer) = (PeerId::random(), PeerId::random());
    for n in 0..5 {
        store.add_provider(record(n, honest, later())).unwrap();
    }
    for n in 1000..3000 {
        let _ = store.add_provider(record(n, spammer, later()));
    }
    assert_eq!((store.count, store.records_of(&honest), store.records_of(&spammer)), (100, 5, 95));
    for n in 5..20 {
        store.add_provider(record(n, honest, later())).unwrap();
        assert_eq!(store.providers(&key(n)).len(), 1, "the full store takes what others bring");
    }
    assert_eq!((store.count, store.records_of(&spammer)), (100, 80));
}

#[test]
fn one_key_has_a_bound_and_our_own_records_none() {
    let mut store = memory(1000);
    for _ in 0..100 {
        store.add_provider(record(1, PeerId::random(), later())).unwrap();
    }
    assert_eq!((store.providers(&key(1)).len(), store.count), (PER_KEY, PER_KEY));
    let local = store.local;
    store.add_provider(record(999, local, later())).unwrap();
    assert_eq!(store.provided().count(), 1);
    store.remove_provider(&key(999), &local);
    assert_eq!(store.provided().count(), 0);
}

#[test]
fn oversized_parts_are_cut_or_refused() {
    let mut store = memory(1000);
    let mut big = record(1, PeerId::random(), later());
    big.key = Key::new(&[1; KEY_BYTES + 1]);
    assert!(store.add_provider(big).is_err());
    let mut many = record(1, PeerId::random(), later());
    let long: Multiaddr = format!("/dns/{}/tcp/1", "a".repeat(5000)).parse().unwrap();
    many.addresses = vec![long; 3];
    many.addresses.extend((1..100).map(|n| format!("/ip4/127.0.0.1/tcp/{n}").parse::<Multiaddr>().unwrap()));
    store.add_provider(many).unwrap();
    let kept = &store.providers(&key(1))[0].addresses;
    assert!(kept.len() == ADDRESSES && kept.iter().map(Multiaddr::len).sum::<usize>() <= ADDRESS_BYTES);
}

#[test]
fn records_survive_the_process_and_expired_ones_do_not() {
    let dir = tempfile::tempdir().unwrap();
    let local = PeerId::random();
    let mut store = ProviderRecords::open(local, 10_000, 10, Some(dir.path())).unwrap();
    let providers: Vec<PeerId> = (0..10).map(|_| PeerId::random()).collect();
    for n in 0..1000 {
        let provider = providers[n as usize % 10];
        store.add_provider(record(n, provider, later())).unwrap();
    }
    store.add_provider(record(5000, providers[0], Instant::now())).unwrap();
    // Nothing is said to the store before the process dies.
    std::mem::forget(store);
    let again = ProviderRecords::open(local, 10_000, 10, Some(dir.path())).unwrap();
    assert_eq!(again.count, 1000);
    let found = &again.providers(&key(13))[0];
    assert_eq!((found.provider, found.addresses.len()), (providers[3], 1));
    let left = found.expires.unwrap().duration_since(Instant::now());
    assert!(left > Duration::from_secs(3500) && left <= Duration::from_secs(3600), "{left:?}");
    drop(again);
    let smaller = ProviderRecords::open(local, 50, 10, Some(dir.path())).unwrap();
    assert_eq!(smaller.count, 50, "a lower bound holds for what is read, too");
}

#[test]
fn the_file_stays_in_proportion() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = ProviderRecords::open(PeerId::random(), 100, 10, Some(dir.path())).unwrap();
    let provider = PeerId::random();
    for n in 0..150_000 {
        let _ = store.add_provider(record(n % 100, provider, later()));
    }
    let length = std::fs::metadata(dir.path().join("providers")).unwrap().len();
    assert!(length < 6 << 20, "{length}");
}

proptest! {
    /// The counts agree with the records after any sequence of additions, removals and sweeps.
    #[test]
    fn the_books_balance(steps in proptest::collection::vec((0u8..4, 0u32..30, 0usize..6), 1..200)) {
        let mut store = memory(20);
        let providers: Vec<PeerId> = (0..6).map(|_| PeerId::random()).collect();
        for (what, n, who) in steps {
            match what {
                0 | 1 => drop(store.add_provider(record(n, providers[who], later()))),
                2 => store.remove_provider(&key(n), &providers[who]),
                _ => {
                    let _ = store.add_provider(record(n, providers[who], Instant::now()));
                    store.sweep(Instant::now());
                }
            }
            let entries: usize = store.keys.values().map(Vec::len).sum();
            prop_assert!(store.count == entries && entries <= 20);
            prop_assert!(store.keys.values().all(|all| !all.is_empty()));
            let by_provider: usize = store.providers.values().map(|p| p.keys.len()).sum();
            prop_assert_eq!(by_provider, entries);
            let counted: Vec<_> = store.by_count.iter().map(|(n, p)| (*n, store.providers[p].keys.len())).collect();
            prop_assert!(counted.len() == store.providers.len() && counted.iter().all(|(a, b)| a == b));
        }
    }
}
