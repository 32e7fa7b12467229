//! Rules and what they mean. The CIDs, names and hashes are those of the format's own test list (IPIP-383, nopfs).

use adit_deny::{Denylist, HeaderError, ListError};
use cid::Cid;
use proptest::prelude::*;

fn list(text: &str) -> Denylist {
    let mut list = Denylist::new();
    assert_eq!(list.add(text.as_bytes()).unwrap(), []);
    list
}

/// Asks about `/ipfs/…` or `/ipns/…`.
fn denies(list: &Denylist, path: &str) -> bool {
    let (namespace, rest) = path[1..].split_once('/').unwrap();
    let (root, rest) = rest.split_once('/').unwrap_or((rest, ""));
    match namespace {
        "ipfs" => list.denies_content(&cid(root), rest),
        _ => list.denies_name(root, rest),
    }
}

fn cid(text: &str) -> Cid {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// Each rule with what it denies, and what it leaves alone.
fn check(rules: &str, denied: &[&str], allowed: &[&str]) {
    let list = list(rules);
    for path in denied {
        assert!(denies(&list, path), "{path} should be denied by {rules}");
    }
    for path in allowed {
        assert!(!denies(&list, path), "{path} should be allowed by {rules}");
    }
}

const A: &str = "bafybeihvvulpp4evxj7x7armbqcyg6uezzuig6jp3lktpbovlqfkuqeuoq";
const A_RAW: &str = "bafkreihvvulpp4evxj7x7armbqcyg6uezzuig6jp3lktpbovlqfkuqeuoq";
const A_V0: &str = "QmesfgDQ3q6prBy2Kg2gKbW4MAGuWiRP2DVuGA5MZSERLo";

#[test]
fn a_cid_is_denied_in_all_its_forms_but_not_what_is_below_it() {
    let rule = format!("/ipfs/{A}");
    let forms = [A, A_RAW, A_V0].map(|cid| format!("/ipfs/{cid}"));
    let below = [A, A_RAW, A_V0].map(|cid| format!("/ipfs/{cid}/sub"));
    check(&rule, &forms.each_ref().map(|s| &**s), &below.each_ref().map(|s| &**s));
    assert!(list(&rule).denies_block(&cid(A_RAW)));
    assert!(list(&format!("/ipfs/{A_V0} reason:x more:y\n")).denies_block(&cid(A)));
}

#[test]
fn paths_are_denied_whole_or_from_where_they_begin() {
    let x = "/ipfs/Qmah2YDTfrox4watLCr3YgKyBwvjq8FJZEFdWY6WtJ3Xt2";
    let check = |rule: &str, denied: &[&str], allowed: &[&str]| {
        let list = list(&format!("{x}{rule}"));
        for path in denied {
            assert!(denies(&list, &format!("{x}{path}")), "{rule} should deny {path}");
        }
        for path in allowed {
            assert!(!denies(&list, &format!("{x}{path}")), "{rule} should allow {path}");
        }
    };
    check("/*", &["", "/", "/a/b", "/z/", "/z"], &[]);
    for rule in ["/test*", "/test/*"] {
        check(rule, &["/test", "/test2", "/test/one"], &["/tes", "", "/one/test"]);
    }
    for rule in ["/path", "/path/"] {
        check(rule, &["/path", "/path/"], &["", "/path2", "/path/x"]);
    }
    check("/a%20b/%C3%A9", &["/a b/é"], &["/a%20b/%C3%A9"]);
}

#[test]
fn the_last_rule_that_matches_decides() {
    let x = "/ipfs/QmUboz9UsQBDeS6Tug1U8jgoFkgYxyYood9NDyVURAY9pK";
    let rules = format!(
        "{x}/blocked*\n!{x}/blockednot\n!{x}/blocked/not\n!{x}/blocked/exceptions*\n{x}/blocked/exceptions/none"
    );
    let list = list(&rules);
    for path in ["blocked", "blocked2", "blocked/exceptions/none"] {
        assert!(denies(&list, &format!("{x}/{path}")), "{path}");
    }
    for path in
        ["blockednot", "blocked/not", "blocked/exceptions", "blocked/exceptions2", "blocked/exceptions/one"]
    {
        assert!(!denies(&list, &format!("{x}/{path}")), "{path}");
    }
    check("/ipns/my.domain\n!/ipns/my.domain", &[], &["/ipns/my.domain"]);
    check("!/ipns/my.domain\n/ipns/my.domain", &["/ipns/my.domain"], &[]);
}

#[test]
fn rules_of_a_later_list_win() {
    let mut list = list(&format!("/ipfs/{A}"));
    list.add(format!("version: 1\n---\n!/ipfs/{A_V0}\n").as_bytes()).unwrap();
    assert!(!list.denies_block(&cid(A)));
    assert_eq!(list.len(), 2);
}

#[test]
fn names_are_domains_or_keys() {
    check(
        "/ipns/domain.example",
        &["/ipns/domain.example", "/ipns/Domain.Example", "/ipns/domain-example"],
        &["/ipns/domainaefa.example", "/ipns/domain.example/path", "/ipns/domain--example"],
    );
    check(
        "/ipns/domain2.example/path",
        &["/ipns/domain2.example/path"],
        &["/ipns/domain2.example", "/ipns/domain2.example/path2"],
    );
    check(
        "/ipns/k51qzi5uqu5dhmzyv3zac033i7rl9hkgczxyl81lwoukda2htteop7d3x0y1mf",
        &[
            "/ipns/k51qzi5uqu5dhmzyv3zac033i7rl9hkgczxyl81lwoukda2htteop7d3x0y1mf",
            "/ipns/bafzaajaiaejcaotjfs57kieazxny5japcmy5p2pgv2cic77tu6ogghttvurnrufx",
            "/ipns/12D3KooWDkNqEJNmreF3NYYFK1ws7Ra2fuW6cHBTu567SPV3LdYA",
        ],
        &["/ipns/12D3KooWDkNqEJNmreF3NYYFK1ws7Ra2fuW6cHBTu567SPV3LdYA/path"],
    );
}

#[test]
fn the_older_double_hashes_deny_one_cid_name_or_path() {
    let x = "bafybeiefwqslmf6zyyrxodaxx4vwqircuxpza5ri45ws3y5a62ypxti42e";
    let [root, path, other] = ["", "/path", "/path2"].map(|path| format!("/ipfs/{x}{path}"));
    check(
        "//d9d295bde21f422d471a90f2a37ec53049fdf3e5fa3ee2e8f20e10003da429e7",
        &[&root, &format!("{root}/")],
        &[&path, &other],
    );
    check("//3f8b9febd851873b3774b937cce126910699ceac56e72e64b866f8e258d09572", &[&path], &[&root, &other]);
    check(
        "//6ef262a67f2c7caa9722b0fe46aced2f1559c749eab2bcf2f2701f43f802e900",
        &[
            "/ipns/k51qzi5uqu5dixwsch9wpd9rolqby1m0uqj5hhxwtxal0dwltastfmh01dlniq",
            "/ipns/bafzaajaiaejca3vrvdzmu4qntwa2pn6apsd4ug5k63ckdyhnd3g6vdvgvujdw62s",
        ],
        &[],
    );
    check(
        "//fb5a70b1aade810d21e8195a0da05f40ebd099e4b4d6bf088dc604e4fcf34263",
        &["/ipns/very-bad-example.eth", "/ipns/very-bad-example.eth/"],
        &["/ipns/very-bad-example.eth/path", "/ipns/good-example.eth"],
    );
}

#[test]
fn double_hashes_deny_multihashes_names_and_paths() {
    check(
        "//QmX9dhRcQcKUw3Ws8485T5a9dtjrSCQaUAHnG4iK9i4ceM",
        &[
            "/ipfs/bafybeidjwik6im54nrpfg7osdvmx7zojl5oaxqel5cmsz46iuelwf5acja",
            "/ipfs/QmVTF1yEejXd9iMgoRTFDxBv7HAz9kuZcQNBzHrceuK9HR",
        ],
        &["/ipfs/QmVTF1yEejXd9iMgoRTFDxBv7HAz9kuZcQNBzHrceuK9HR/path"],
    );
    // BLAKE3.
    let forms = [
        "bafyb4ieqht3b2rssdmc7sjv2cy2gfdilxkfh7623nvndziyqnawkmo266a",
        "f01701e20903cf61d46521b05f926ba1634628d0bba8a7ffb5b6d5a3ca310682ca63b5ef0",
    ];
    let rule = "//gW813G35CnLsy7gRYYHuf63hrz71U1xoLFDVeV7actx6oX";
    for form in forms {
        check(
            rule,
            &[&format!("/ipfs/{form}/path")],
            &[&format!("/ipfs/{form}"), &format!("/ipfs/{form}/path2")],
        );
    }
    for (rule, denied, allowed) in [
        (
            "//QmX6zeaAb8mC285YbXe4ac7LmX3jvrHBiFrw8kNnCM1bk4",
            "/ipns/my.domain.com",
            "/ipns/my.domain.com/path",
        ),
        (
            "//QmcwfDuZYijxztHVR7w71WtdDaETsrGUU3ARWbNiYD3Hhp",
            "/ipns/my.domain2.com/path",
            "/ipns/my.domain2.com/path2",
        ),
        (
            "//QmdGtYErkPjfpUPjVMUypoX8XTE9PUTBBF6KE9AwWaBs1e",
            "/ipns/k51qzi5uqu5dixwsch9wpd9rolqby1m0uqj5hhxwtxal0dwltastfmh01dabcd",
            "/ipns/k51qzi5uqu5dixwsch9wpd9rolqby1m0uqj5hhxwtxal0dwltastfmh01d1234",
        ),
        (
            "//QmQouNeftXbxGRt4U8s838diCuMPPHCfpHTR5w8bRREs9d",
            "/ipns/bafzaajaiaejca3vrvdzmu4qntwa2pn6apsd4ug5k63ckdyhnd3g6vdvgvujczuoq/mypath",
            "/ipns/bafzaajaiaejca3vrvdzmu4qntwa2pn6apsd4ug5k63ckdyhnd3g6vdvgvujczuoq/mypath2",
        ),
    ] {
        check(rule, &[denied], &[allowed]);
    }
}

#[test]
fn what_is_empty_is_never_denied() {
    let empty = [
        "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn",
        "bafyaabakaieac",
        "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku",
        "bafkqaaa",
        "QmbFMke1KXqnYyBBWxB74N4c5SBnJMVAiMNRcGu6x1AwQH",
        "bafyreigbtj4x7ip5legnfznufuopl4sg4knzc2cof6duas4b3q2fy6swua",
        "baguqeeraiqjw7i2vwntyuekgvulpp2det2kpwt6cd7tx5ayqybqpmhfk76fa",
    ];
    let list = list(&empty.map(|cid| format!("/ipfs/{cid}\n/ipfs/{cid}/*")).join("\n"));
    empty.iter().for_each(|text| assert!(!list.denies_block(&cid(text)), "{text}"));
}

#[test]
fn lines_that_are_no_rules_are_told_and_passed_over() {
    let mut list = Denylist::new();
    let text = format!(
        "name: test\n---\n# a note\n\n/ipfs/nothing\n/ipns/a b\n/ipns/!\n//zzz\nhello\n\
         /ipfs/{A}/%FF\n!\n/ipfs/{A}\n{}",
        "x".repeat(adit_deny::MAX_LINE + 1)
    );
    let problems = list.add(text.as_bytes()).unwrap();
    let lines: Vec<_> = problems.iter().map(|problem| problem.line).collect();
    assert_eq!(lines, [3, 5, 6, 7, 8, 9, 11], "{problems:?}");
    assert!(list.denies_block(&cid(A)));
    let many = list.add("no rule\n".repeat(5000).as_bytes()).unwrap();
    assert_eq!(many.len(), 101);
    assert!(many[100].what.contains("4900"), "{:?}", many[100]);
}

#[test]
fn lists_that_cannot_be_used_change_nothing() {
    let mut list = Denylist::new();
    let newer = format!("version: 2\n---\n/ipfs/{A}");
    assert!(matches!(list.add(newer.as_bytes()), Err(ListError::Header(HeaderError::Version(_)))));
    assert!(matches!(list.add(b"a: [\n---\n"), Err(ListError::Header(HeaderError::Yaml(_)))));
    assert!(matches!(list.add(b"/ipfs/\xff"), Err(ListError::NotText(_))));
    assert!(list.is_empty() && !list.denies_block(&cid(A)));
}

proptest! {
    #[test]
    fn no_text_is_too_odd(text in "(?s).{0,300}", path in ".{0,40}") {
        let mut list = Denylist::new();
        let _ = list.add(text.as_bytes());
        let _ = list.add(format!("/ipfs/{A}/{text}").as_bytes());
        list.denies_content(&cid(A), &path);
        list.denies_name(&path, &text);
    }
}
