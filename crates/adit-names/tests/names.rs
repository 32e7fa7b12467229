//! Records that Kubo made, records that somebody tampered with, and names that lead to names.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use adit_names::dns::{NoDns, TxtTable};
use adit_names::system::MemoryRecords;
use adit_names::{
    Draft, IpnsName, IpnsRecord, Keypair, Name, NameError, NameSystem, Names, RecordError, Records, limits,
    resolve,
};
use proptest::prelude::*;

fn files() -> Vec<(String, IpnsName, Vec<u8>)> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/records");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let name = stem.split('_').next().unwrap().parse().unwrap();
            (stem, name, std::fs::read(path).unwrap())
        })
        .collect();
    files.sort();
    assert_eq!(files.len(), 8);
    files
}

fn draft(value: &str, sequence: u64) -> Draft {
    let valid_until = SystemTime::now() + Duration::from_secs(3600);
    Draft { value: value.into(), sequence, valid_until, ttl: Duration::from_secs(60) }
}

#[test]
fn records_of_other_implementations_are_judged_as_the_specification_says() {
    let now = SystemTime::now();
    for (stem, name, bytes) in files() {
        let judged = IpnsRecord::decode(&bytes).and_then(|record| record.verify(&name, now));
        let kind = stem.split_once('_').map_or("", |(_, kind)| kind);
        match kind {
            // Real keys of both kinds; the V1 signature is not looked at.
            "" | "v2" | "v1-v2" | "v1-v2-broken-signature-v1" => assert_eq!(judged, Ok(()), "{stem}"),
            "v1" => assert_eq!(judged, Err(RecordError::NoV2), "{stem}"),
            "v1-v2-broken-v1-value" => assert_eq!(judged, Err(RecordError::Contradiction), "{stem}"),
            "v1-v2-broken-signature-v2" => assert_eq!(judged, Err(RecordError::Signature), "{stem}"),
            other => panic!("{other}"),
        }
    }
}

#[test]
fn what_is_made_is_verified_for_its_name_and_time_only() {
    let key = Keypair::generate_ed25519();
    let name = IpnsName::of(&key.public());
    let draft = draft("/ipfs/bafkqaaa/a", 7);
    let record = IpnsRecord::create(&key, &draft).unwrap();
    assert_eq!(record.value(), b"/ipfs/bafkqaaa/a");
    assert_eq!((record.sequence(), record.ttl()), (7, Duration::from_secs(60)));
    assert_eq!(record.verify(&name, SystemTime::now()), Ok(()));
    assert_eq!(IpnsRecord::decode(record.bytes()).unwrap(), record);

    let late = draft.valid_until + Duration::from_secs(1);
    assert!(matches!(record.verify(&name, late), Err(RecordError::Expired(_))));
    let other = IpnsName::of(&Keypair::generate_ed25519().public());
    assert_eq!(record.verify(&other, SystemTime::now()), Err(RecordError::Signature));
}

#[test]
fn the_higher_sequence_wins_then_the_later_end() {
    let key = Keypair::generate_ed25519();
    let make = |sequence, more| {
        let mut draft = draft("/ipfs/bafkqaaa", sequence);
        draft.valid_until += Duration::from_secs(more);
        IpnsRecord::create(&key, &draft).unwrap()
    };
    assert!(make(2, 0).compare(&make(1, 100)).is_gt());
    assert!(make(1, 100).compare(&make(1, 0)).is_gt());
    let record = make(1, 0);
    assert!(record.compare(&record).is_eq());
}

#[test]
fn long_records_and_values_are_refused() {
    assert_eq!(
        IpnsRecord::decode(&vec![0x52; limits::RECORD + 1]),
        Err(RecordError::TooLarge(limits::RECORD + 1))
    );
    let key = Keypair::generate_ed25519();
    let long = format!("/ipfs/bafkqaaa/{}", "a".repeat(limits::VALUE));
    assert!(matches!(IpnsRecord::create(&key, &draft(&long, 1)), Err(RecordError::Make(_))));
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = IpnsRecord::decode(&bytes);
    }

    #[test]
    fn no_flipped_bit_of_the_signed_part_is_believed(at in 0usize..4096, bit in 0u8..8) {
        let (_, name, bytes) = files().into_iter().find(|(stem, ..)| stem.ends_with("_v2")).unwrap();
        let mut changed = bytes.clone();
        let at = at % changed.len();
        changed[at] ^= 1 << bit;
        if let Ok(record) = IpnsRecord::decode(&changed)
            && record.verify(&name, SystemTime::now()).is_ok()
        {
            // Only what is outside the signature may differ.
            let original = IpnsRecord::decode(&bytes).unwrap();
            prop_assert_eq!(record.value(), original.value());
            prop_assert_eq!(record.sequence(), original.sequence());
        }
    }
}

async fn publish(names: &Names, key: &Keypair, value: &str) -> Name {
    let name = IpnsName::of(&key.public());
    names.publish(&name, IpnsRecord::create(key, &draft(value, 1)).unwrap()).await.unwrap();
    Name::Key(name)
}

fn names(table: &str) -> Names {
    let table = TxtTable::parse(table, Arc::new(NoDns)).unwrap();
    Names::new(Arc::new(MemoryRecords::default()), Arc::new(table))
}

#[tokio::test]
async fn names_lead_through_names_to_content_and_paths_add_up() {
    let key = Keypair::generate_ed25519();
    let names =
        names("# of the operator\nexample.org /ipns/inner.example/b\ninner.example /ipfs/bafkqaaa/a/\n");
    let name = publish(&names, &key, "/ipns/example.org/c").await;
    let resolved = resolve(&names, &name, "/d/").await.unwrap();
    assert_eq!((resolved.root.to_string().as_str(), resolved.rest.as_str()), ("bafkqaaa", "/a/b/c/d/"));
    assert_eq!(resolved.ttl, Duration::from_secs(60).min(resolved.ttl));
    assert!(resolved.ttl > Duration::from_secs(50));
}

#[tokio::test]
async fn circles_and_endless_chains_end() {
    let names_ = names("a.example /ipns/b.example\nb.example /ipns/a.example\n");
    let a = "a.example".parse().unwrap();
    assert!(matches!(resolve(&names_, &a, "").await, Err(NameError::Cycle(_))));

    let chain = |len: usize| {
        let mut table: String =
            (0..len).map(|i| format!("n{i}.example /ipns/n{}.example\n", i + 1)).collect();
        table.push_str(&format!("n{len}.example /ipfs/bafkqaaa\n"));
        names(&table)
    };
    let first = "n0.example".parse().unwrap();
    assert!(resolve(&chain(limits::DEPTH - 1), &first, "").await.is_ok());
    assert!(matches!(resolve(&chain(limits::DEPTH), &first, "").await, Err(NameError::TooDeep(_))));
}

#[tokio::test]
async fn unknown_names_and_wrong_records_say_which() {
    let names_ = names("");
    let unknown: Name = "nobody.example".parse().unwrap();
    assert!(matches!(names_.step(&unknown).await, Err(NameError::NotFound(name)) if name == unknown));

    // A store that answers with another one's record.
    struct Liar(IpnsRecord);
    #[async_trait::async_trait]
    impl Records for Liar {
        async fn get(&self, _: &IpnsName) -> Result<Option<bytes::Bytes>, String> {
            Ok(Some(self.0.bytes().clone()))
        }
        async fn put(&self, _: &IpnsName, _: &IpnsRecord) -> Result<(), String> {
            Err("full".into())
        }
    }
    let key = Keypair::generate_ed25519();
    let record = IpnsRecord::create(&key, &draft("/ipfs/bafkqaaa", 1)).unwrap();
    let names_ = Names::new(Arc::new(Liar(record.clone())), Arc::new(NoDns));
    let other = IpnsName::of(&Keypair::generate_ed25519().public());
    assert!(matches!(
        names_.record(&other).await,
        Err(NameError::Record { source: RecordError::Signature, .. })
    ));
    let own = IpnsName::of(&key.public());
    assert!(matches!(names_.publish(&own, record).await, Err(NameError::Unavailable { .. })));
}

#[tokio::test]
async fn an_older_record_does_not_replace_a_newer_one() {
    let key = Keypair::generate_ed25519();
    let name = IpnsName::of(&key.public());
    let names_ = names("");
    let make = |sequence| IpnsRecord::create(&key, &draft("/ipfs/bafkqaaa", sequence)).unwrap();
    names_.publish(&name, make(5)).await.unwrap();
    assert!(names_.publish(&name, make(4)).await.is_err());
    assert_eq!(names_.record(&name).await.unwrap().sequence(), 5);
}

#[test]
fn wrong_lines_of_a_table_are_named() {
    for text in ["example.org", "ok.example /ipfs/bafkqaaa\nnot-a-domain /ipfs/bafkqaaa", "a.example /ipfs/x"]
    {
        let error = TxtTable::parse(text, Arc::new(NoDns)).err().unwrap();
        assert!(error.starts_with("line "), "{error}");
    }
}
