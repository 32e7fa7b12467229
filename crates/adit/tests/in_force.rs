//! `adit policy allow|deny|revoke|show`: which policy is in force, as words that the owner signs and this machine keeps.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use adit_model::{
    AccountSecret, Cid, Grant, Holder, NodeSecret, Policy, PolicyHead, Programs, SealKey, Signed, TaskCid,
};
use adit_seal::phrase::RecoveryPhrase;
use adit_unixfs::car::CarReader;

const REQUESTER: &str = "0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A";
const OTHER: &str = "0x9858EfFD232B4033E47d90003D41EC34EcaEda94";

fn name(text: &str) -> Cid {
    TaskCid::of_block(text.as_bytes()).to_cid()
}

/// A person with keys, a grant of its own, and a policy for two programs and two requesters.
struct Person {
    folder: tempfile::TempDir,
    grant: String,
}

impl Person {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let person = Person { folder, grant: String::new() };
        person.does(&["key", "new"]);
        let phrase = RecoveryPhrase::parse(&person.does(&["key", "backup"])).unwrap();
        let secret = AccountSecret::from_bytes(&phrase.account_secret()).unwrap();
        let grant = grant_of(&secret, "grant");
        std::fs::write(person.path().join("grant"), grant.block()).unwrap();
        let codes = [name("code").to_string(), name("other code").to_string()];
        person.does(&[
            "policy",
            "new",
            "-o",
            "policy.toml",
            "--code",
            &codes[0],
            "--code",
            &codes[1],
            "--requester",
            REQUESTER,
            "--requester",
            OTHER,
        ]);
        Person { grant: grant.cid().to_string(), ..person }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn adit(&self, words: &[&str]) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_adit"));
        command.env_clear().env("ADIT_KEYS", self.path().join("keys")).current_dir(self.path());
        let Output { status, stdout, stderr } = command.stdin(Stdio::null()).args(words).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (status.code().unwrap(), text(stdout), text(stderr))
    }

    fn does(&self, words: &[&str]) -> String {
        let (code, said, error) = self.adit(words);
        assert_eq!(code, 0, "{words:?}: {error}");
        said
    }

    fn fails(&self, words: &[&str], code: i32, why: &str) {
        let (ended, said, error) = self.adit(words);
        assert!(ended == code && said.is_empty() && error.contains(why), "{words:?}: {ended} {said} {error}");
    }

    /// The word in force, from the blocks that are handed out, checked as whoever gets them does.
    fn word(&self) -> (PolicyHead, Option<(Cid, Policy)>) {
        let file = self.path().join("word.car");
        self.does(&["policy", "show", &self.grant, "-o", "word.car"]);
        let mut car = CarReader::new();
        car.push(&std::fs::read(&file).unwrap());
        std::fs::remove_file(&file).unwrap();
        let mut next = || car.next_block().unwrap();
        let head = Signed::<PolicyHead>::decode(&next().unwrap().data).unwrap().verify().unwrap();
        let grant = Signed::<Grant>::decode(&next().unwrap().data).unwrap().verify().unwrap();
        let policy = next().map(|block| Signed::<Policy>::decode(&block.data).unwrap().verify().unwrap());
        assert!(next().is_none());
        assert_eq!(car.finish().unwrap(), [head.cid().to_cid()]);
        assert_eq!((head.body().grant, head.body().owner), (grant.cid(), grant.body().owner));
        assert_eq!(head.body().policy, policy.as_ref().map(|policy| policy.cid()));
        let policy = policy.map(|policy| (policy.cid().to_cid(), policy.into_body()));
        (head.into_body(), policy)
    }
}

fn grant_of(owner: &AccountSecret, object: &str) -> adit_model::Verified<Grant> {
    let holder = |n: u8| Holder {
        account: AccountSecret::from_bytes(&[n; 32]).unwrap().account(),
        node: NodeSecret::from_bytes(&[n; 32]).node(),
        key: SealKey([n; 32]),
        commitment: [n; 32],
    };
    let grant = Grant {
        object: name(object),
        nonce: [9; 16],
        owner: owner.account(),
        holders: (1..=3).map(holder).collect(),
        needed: 2,
        epoch: 0,
        issued: 1_793_000_000,
    };
    Signed::sign(grant, owner).unwrap()
}

#[test]
fn words_follow_one_another() {
    let person = Person::new();
    let grant = person.grant.as_str();
    person.fails(&["policy", "allow", grant, "policy.toml", "--uses", "3"], 3, "name a file");
    person.fails(&["policy", "allow", "grant", "policy.toml"], 2, "--uses");
    person.fails(&["policy", "allow", "grant"], 3, "nothing was said yet");
    assert_eq!(person.does(&["policy", "show"]), "", "what failed was not said");

    let said = person.does(&["policy", "allow", "grant", "policy.toml", "--uses", "3", "--days", "2"]);
    let (first, policy) = person.word();
    let (first_policy, body) = policy.unwrap();
    assert_eq!((first.number, first.uses, first.expiry - first.issued), (1, 3, 2 * 86_400));
    assert_eq!(body.rules.len(), 1);
    assert!(said.starts_with("bafy"), "{said}");

    // Renewed: the same policy, the same uses; and with more of them.
    person.does(&["policy", "allow", grant]);
    let (renewed, policy) = person.word();
    assert!(renewed.succeeds(&first));
    assert_eq!((renewed.number, renewed.uses, policy.unwrap().0), (2, 3, first_policy));
    person.does(&["policy", "allow", grant, "policy.toml", "--uses", "5"]);
    let (more, policy) = person.word();
    assert_eq!((more.number, more.uses), (3, 5));
    assert_eq!(
        policy.unwrap().0,
        first_policy,
        "the same text is the same policy, whose uses go on counting"
    );

    person.does(&["policy", "revoke", grant]);
    let (revoked, policy) = person.word();
    assert!(revoked.succeeds(&more) && policy.is_none() && revoked.uses == 0);
    person.fails(&["policy", "allow", grant], 3, "revoked all use");
    person.fails(&["policy", "deny", grant, "--requester", OTHER, "--uses", "1"], 3, "revoked all use");

    // A word that was said elsewhere is outdone.
    person.does(&["policy", "allow", grant, "policy.toml", "--uses", "1", "--after", "40"]);
    assert_eq!(person.word().0.number, 41);
    person.does(&["policy", "allow", grant, "--after", "7"]);
    assert_eq!(person.word().0.number, 42);
    person.fails(&["policy", "allow", grant, "--after", &u64::MAX.to_string()], 2, "no number above");
}

#[test]
fn what_is_denied_is_allowed_no_more() {
    let person = Person::new();
    let grant = person.grant.as_str();
    let (code, other) = (name("code"), name("other code"));
    person.does(&["policy", "allow", "grant", "policy.toml", "--uses", "3"]);
    let person = &person;
    let fails = |rest: &[&str], code, why: &str| {
        person.fails(&[&["policy", "deny", grant, "--uses", "2"][..], rest].concat(), code, why);
    };
    fails(&[], 2, "--code");
    fails(&["--code", &name("a third").to_string()], 3, "does not allow");
    let (code_text, other_text) = (code.to_string(), other.to_string());
    fails(&["--code", &code_text, "--code", &other_text], 2, "nothing would be left");
    fails(&["--requester", REQUESTER, "--requester", OTHER], 2, "nothing would be left");
    assert_eq!(person.word().0.number, 1, "what failed was not said");

    person.does(&["policy", "deny", grant, "--uses", "2", "--code", &code_text, "--requester", OTHER]);
    let (head, policy) = person.word();
    let (_, policy) = policy.unwrap();
    assert_eq!((head.number, head.uses), (2, 2));
    assert_eq!(policy.rules[0].code, Programs::Of(vec![other]));
    assert!(!policy.rules[0].requesters.include(&OTHER.parse().unwrap()));
    assert!(policy.rules[0].requesters.include(&REQUESTER.parse().unwrap()));
    fails(&["--code", &code_text], 3, "does not allow");

    // Nobody can be left out where anybody may ask.
    let text = person.does(&["policy", "show", grant]).replace(&format!("[\"{REQUESTER}\"]"), "\"any\"");
    std::fs::write(person.path().join("any.toml"), text).unwrap();
    person.does(&["policy", "allow", grant, "any.toml", "--uses", "1"]);
    fails(&["--requester", OTHER], 2, "lets anybody ask");
}

#[test]
fn what_is_in_force_is_shown_and_explained() {
    let person = Person::new();
    let grant = person.grant.as_str();
    person.fails(&["policy", "show", grant], 3, "nothing was said here");
    person.does(&["policy", "allow", "grant", "policy.toml", "--uses", "3"]);
    let shown = person.does(&["policy", "show", grant]);
    assert!(shown.contains("word 1: in force until") && shown.contains("for 3 uses in all"), "{shown}");
    // What is shown is a policy file again, the same one.
    std::fs::write(person.path().join("again.toml"), &shown).unwrap();
    let before = person.word().1.unwrap().0;
    person.does(&["policy", "allow", grant, "again.toml"]);
    assert_eq!(person.word().1.unwrap().0, before);

    let listed = person.does(&["policy", "show"]);
    assert!(listed.contains(grant) && listed.contains(&name("grant").to_string()), "{listed}");
    let json: serde_json::Value = serde_json::from_str(&person.does(&["--json", "policy", "show"])).unwrap();
    assert_eq!(json[0]["head"]["body"]["number"], 2);
    assert_eq!(json[0]["grant"]["cid"], *grant);

    let explained = person.does(&["policy", "explain", grant]);
    for words in ["among 3 holders, 2 of whom", "for 3 uses in all (the owner's word number 2)", REQUESTER] {
        assert!(explained.contains(words), "{words} is not in\n{explained}");
    }
    person.does(&["policy", "revoke", grant]);
    assert!(person.does(&["policy", "explain", grant]).contains("Nothing is allowed"));
    assert!(person.does(&["policy", "show", grant]).contains("word 3: revoked"));
}

#[test]
fn what_is_not_the_owners_is_refused() {
    let person = Person::new();
    let stranger = AccountSecret::from_bytes(&[50; 32]).unwrap();
    let theirs = grant_of(&stranger, "theirs");
    std::fs::write(person.path().join("theirs"), theirs.block()).unwrap();
    let allow = |grant| ["policy", "allow", grant, "policy.toml", "--uses", "3"];
    person.fails(&allow("theirs"), 5, "not yours");
    person.fails(&["policy", "revoke", "theirs"], 5, "not yours");
    let mut forged = theirs.block().to_vec();
    *forged.last_mut().unwrap() ^= 1;
    std::fs::write(person.path().join("forged"), forged).unwrap();
    person.fails(&allow("forged"), 5, "not the record");
    std::fs::write(person.path().join("long"), vec![0; (1 << 20) + 1]).unwrap();
    person.fails(&allow("long"), 5, "not the record");
    person.fails(&allow("none"), 3, "neither a grant's CID nor a file");

    let text = std::fs::read_to_string(person.path().join("policy.toml")).unwrap();
    let expiry = text.lines().find(|line| line.starts_with("expiry")).unwrap();
    std::fs::write(person.path().join("old.toml"), text.replace(expiry, "expiry = 2026-01-01T00:00:00Z"))
        .unwrap();
    person.fails(
        &["policy", "allow", "grant", "old.toml", "--uses", "3"],
        2,
        "allows nothing after 2026-01-01",
    );
}

#[test]
fn damaged_memory_is_noticed() {
    let person = Person::new();
    let grant = person.grant.as_str();
    person.does(&["policy", "allow", "grant", "policy.toml", "--uses", "3"]);
    person.does(&["policy", "allow", grant, "--uses", "4"]);
    let folder = person.path().join("keys/grants").join(grant);
    let second = std::fs::read(folder.join("head-2")).unwrap();
    // An older word in the place of a newer one, and the other way round.
    std::fs::copy(folder.join("head-1"), folder.join("head-2")).unwrap();
    person.fails(&["policy", "allow", grant], 5, "head-2 is not the record");
    std::fs::write(folder.join("head-3"), &second).unwrap();
    person.fails(&["policy", "show", grant], 5, "head-3 is not the record");
    std::fs::remove_file(folder.join("head-3")).unwrap();
    std::fs::write(folder.join("head-2"), &second).unwrap();
    assert_eq!(person.word().0.uses, 4);

    let policy = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let policy = policy.into_iter().find(|path| path.to_string_lossy().contains("policy-")).unwrap();
    std::fs::remove_file(policy).unwrap();
    person.fails(&["policy", "show", grant], 1, "is missing");
}

#[test]
fn of_words_said_at_once_no_two_have_one_number() {
    let person = Person::new();
    let grant = person.grant.as_str();
    person.does(&["policy", "allow", "grant", "policy.toml", "--uses", "3"]);
    let uses: Vec<String> = (10..18).map(|uses: u32| uses.to_string()).collect();
    let ended: Vec<_> = std::thread::scope(|scope| {
        let person = &person;
        let says = |uses| move || person.adit(&["--json", "policy", "allow", grant, "--uses", uses]);
        let all: Vec<_> = uses.iter().map(|uses| scope.spawn(says(uses.as_str()))).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let mut numbers = Vec::new();
    for (code, said, error) in ended {
        match code {
            0 => {
                let json: serde_json::Value = serde_json::from_str(&said).unwrap();
                numbers.push(json["head"]["body"]["number"].as_u64().unwrap());
            }
            _ => assert!(code == 1 && error.contains("was said just now"), "{code} {error}"),
        }
    }
    numbers.sort_unstable();
    let count = numbers.len() as u64;
    assert!(count > 0);
    assert_eq!(numbers, (2..2 + count).collect::<Vec<_>>(), "one after the other, none twice");
}
