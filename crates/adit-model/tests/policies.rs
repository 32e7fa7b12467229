//! Grants, policies and heads: what of them means nothing, and what a pattern lets through.

mod sample;

use adit_model::*;
use sample::Samples;

fn refused<T: Signable + Clone>(
    record: &T,
    secret: &<T::Signer as SignerId>::Secret,
    change: impl FnOnce(&mut T),
) -> String {
    let mut changed = record.clone();
    change(&mut changed);
    match Signed::sign(changed, secret) {
        Ok(_) => panic!("it was signed"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_grant_has_a_majority_of_distinct_holders() {
    let s = Samples::new();
    let grant = |change: fn(&mut Grant)| refused(s.grant.body(), &s.owner, change);
    for (change, why) in [
        ((|g| g.holders.truncate(1)) as fn(&mut Grant), "fewer than two"),
        (|g| g.needed = 6, "more holders than it has"),
        (|g| g.needed = 2, "no majority"),
        (|g| g.needed = 0, "no majority"),
        (|g| g.holders[3].account = g.holders[1].account, "a holder twice"),
        (|g| g.holders[3].key = g.holders[1].key, "a holder twice"),
        (|g| g.holders = vec![g.holders[0].clone(); 33], "33 holders"),
    ] {
        let said = grant(change);
        assert!(said.contains(why), "{said}, not {why}");
    }
    assert_eq!(s.grant.body().place_of(&s.grant.body().holders[4].account), Some(4));
    assert_eq!(s.grant.body().place_of(&s.requester.account()), None);
    assert!(Signed::sign(s.grant.body().clone(), &s.requester).is_err(), "by another than the owner");
}

#[test]
fn heads_only_go_forward() {
    let s = Samples::new();
    let (head, revoked) = (s.head.body(), s.revoked.body());
    assert!(revoked.succeeds(head) && !head.succeeds(revoked) && !head.succeeds(head));
    let other_grant = PolicyHead { grant: GrantCid::of_block(b"other"), ..revoked.clone() };
    let other_owner = PolicyHead { owner: s.requester.account(), ..revoked.clone() };
    assert!(!other_grant.succeeds(head) && !other_owner.succeeds(head));
    assert!(refused(head, &s.owner, |head| head.number = 0).contains("at least 1"));
    assert!(refused(head, &s.owner, |head| head.expiry = head.issued).contains("ends before it begins"));
}

#[test]
fn a_policy_says_what_it_means() {
    let s = Samples::new();
    let policy = |change: fn(&mut Policy)| refused(s.policy.body(), &s.owner, change);
    for (change, why) in [
        ((|p| p.rules.clear()) as fn(&mut Policy), "rules is empty"),
        (|p| p.rules = vec![p.rules[0].clone(); 33], "33 rules"),
        (|p| p.rules[0].code = Programs::Of(vec![]), "programs is empty"),
        (|p| p.rules[0].code = Programs::Of(vec![p.evidence.references[0]; 2]), "programs are not sorted"),
        (|p| p.rules[0].profile = Profile::Fast, "another profile"),
        (|p| drop(p.rules[0].inputs.insert("/in/data".into(), Inputs::Any)), "neither code nor input"),
        (|p| drop(p.rules[0].inputs.insert("/etc/passwd".into(), Inputs::Any)), "not below /in"),
        (|p| drop(p.rules[0].inputs.insert("/in/../x".into(), Inputs::Any)), "contains `.` or `..`"),
        (|p| drop(p.rules[0].inputs.insert("/in/a\u{1b}[2J".into(), Inputs::Any)), "control characters"),
        (|p| drop(p.rules[0].inputs.insert("/in/x".into(), Inputs::Of(vec![]))), "list is empty"),
        (|p| drop(p.rules[0].env.insert("A=B".into(), TextPattern::Any(1))), "contains `=`"),
        (|p| p.rules[0].args.push(TextPattern::Of(vec![])), "list is empty"),
        (|p| p.rules[0].args.push(TextPattern::Of(vec!["b".into(), "a".into()])), "not sorted"),
        (|p| p.rules[0].args.push(TextPattern::Number(2, 1)), "ends before it begins"),
        (|p| p.rules[0].args.push(TextPattern::Any(5000)), "5000 bytes of a free text"),
        (|p| p.rules[0].args.push(TextPattern::Is("\0".into())), "zero byte"),
        (|p| p.rules[0].requesters = Requesters::Of(vec![]), "requesters is empty"),
        (|p| p.recipients = Recipients::default(), "read the output is empty"),
        (|p| p.recipients.keys = vec![SealKey([1; 32]); 2], "recipients are not sorted"),
        (|p| p.expiry = p.not_before, "ends before it begins"),
        (|p| p.evidence.kinds.clear(), "evidence that counts is empty"),
        (|p| p.evidence.kinds.insert(0, EvidenceKind::None), "no evidence at all"),
        (|p| p.evidence.kinds.reverse(), "not sorted"),
        (|p| p.evidence.kinds.insert(0, EvidenceKind::Tpm2), "without saying so"),
        (|p| p.accepts = Some(LESS_THAN_A_TEE.into()), "less than it asks for"),
    ] {
        let said = policy(change);
        assert!(said.contains(why), "{said}, not {why}");
    }
    let mut less = s.policy.body().clone();
    less.evidence.kinds = vec![EvidenceKind::Dev, EvidenceKind::Tpm2];
    less.accepts = Some("whoever administers the machine may not read this data".into());
    assert!(Signed::sign(less.clone(), &s.owner).is_err(), "other words than those");
    less.accepts = Some(LESS_THAN_A_TEE.into());
    assert!(Signed::sign(less, &s.owner).is_ok());
}

#[test]
fn patterns_let_through_what_they_say() {
    let of = TextPattern::Of(vec!["a".into(), "b".into()]);
    for (pattern, good, bad) in [
        (TextPattern::Is("x y".into()), &["x y"][..], &["", "x", "x y ", "X y"][..]),
        (of, &["a", "b"], &["", "ab", "c"]),
        (
            TextPattern::Number(0, 100),
            &["0", "7", "100"],
            &[
                "",
                "00",
                "07",
                "101",
                "-1",
                "+1",
                "1.0",
                "1e1",
                " 1",
                "1 ",
                "1\n",
                "\u{661}",
                "99999999999999999999",
            ],
        ),
        (TextPattern::Number(5, u64::MAX), &["5", "18446744073709551615"], &["4", "18446744073709551616"]),
        (
            TextPattern::Any(4),
            &["", "abcd", "\u{e9}\u{e9}"],
            &["abcde", "\u{e9}\u{e9}\u{e9}", "a\nb", "\u{1b}", "\u{85}"],
        ),
    ] {
        for text in good {
            assert!(pattern.fits(text), "{pattern:?} and {text:?}");
        }
        for text in bad {
            assert!(!pattern.fits(text), "{pattern:?} and {text:?}");
        }
    }
}
