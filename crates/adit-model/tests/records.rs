//! What every kind of record promises: one encoding, signatures that bind all of it, refusals by name.

mod sample;

use adit_model::*;

#[test]
fn every_record_reads_back_as_itself() {
    let s = sample::Samples::new();
    assert_eq!(Task::decode(&s.task.encode()).unwrap(), s.task);
    assert_eq!(Outcome::decode(&s.outcome.encode()).unwrap(), s.outcome);
    assert_eq!(Receipt::decode(&s.receipt.encode()).unwrap(), s.receipt);
    assert_eq!(Envelope::decode(&s.envelope.encode()).unwrap(), s.envelope);
    assert_eq!(Signed::<Invocation>::decode(s.invocation.block()).unwrap(), *s.invocation);
    assert_eq!(Signed::<Acceptance>::decode(s.acceptance.block()).unwrap(), *s.acceptance);
    assert_eq!(Signed::<Endorsement>::decode(s.endorsement.block()).unwrap(), *s.endorsement);
    assert_eq!(Signed::<Advertisement>::decode(s.advertisement.block()).unwrap(), *s.advertisement);
    assert_eq!(Signed::<Advertisement>::decode(s.beside.block()).unwrap(), *s.beside);
    assert_eq!(Signed::<Invocation>::decode(s.sealed.block()).unwrap(), *s.sealed);
    assert_eq!(Signed::<Grant>::decode(s.grant.block()).unwrap(), *s.grant);
    assert_eq!(Signed::<Policy>::decode(s.policy.block()).unwrap(), *s.policy);
    assert_eq!(Signed::<PolicyHead>::decode(s.head.block()).unwrap(), *s.head);
    assert_eq!(Signed::<PolicyHead>::decode(s.revoked.block()).unwrap(), *s.revoked);
    assert_eq!(SessionQuote::decode(&s.quote.encode()).unwrap(), s.quote);
    assert_eq!(SessionQuote::decode(&s.quote_per_job.encode()).unwrap(), s.quote_per_job);
    assert_eq!(Signed::<KeyRequest>::decode(s.request.block()).unwrap(), *s.request);
    let json = serde_json::to_string(&s.quote_per_job).unwrap();
    assert_eq!(serde_json::from_str::<SessionQuote>(&json).unwrap(), s.quote_per_job);
    let json = serde_json::to_string(s.request.body()).unwrap();
    assert_eq!(&serde_json::from_str::<KeyRequest>(&json).unwrap(), s.request.body());
    let json = serde_json::to_string(s.policy.body()).unwrap();
    assert_eq!(&serde_json::from_str::<Policy>(&json).unwrap(), s.policy.body());
    let json = serde_json::to_string(s.beside.body()).unwrap();
    assert_eq!(&serde_json::from_str::<Advertisement>(&json).unwrap(), s.beside.body());
}

#[test]
fn a_job_verifies_from_its_envelope_invocation_and_outcome() {
    let s = sample::Samples::new();
    let expected = Expected {
        issuer: Some(s.requester.account()),
        node: Some(s.node.node()),
        task: Some(&s.task),
        acceptance: Some(&s.acceptance),
    };
    let proof = verify_job(&s.envelope, &s.invocation, &s.outcome, expected).unwrap();
    assert_eq!(proof.node, s.node.node());
    assert_eq!(proof.issuer, s.requester.account());
    assert_eq!(proof.receipt.into_receipt(), s.receipt);
}

fn flipped(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    (0..bytes.len()).flat_map(move |at| {
        [0x01, 0x20, 0x80, 0xff].into_iter().map(move |mask| {
            let mut copy = bytes.to_vec();
            copy[at] ^= mask;
            copy
        })
    })
}

#[test]
fn no_changed_byte_of_an_envelope_still_verifies() {
    let s = sample::Samples::new();
    for changed in flipped(&s.envelope.encode()) {
        assert!(Envelope::decode(&changed).ok().and_then(|e| e.verify().ok()).is_none());
    }
}

#[test]
fn no_changed_byte_of_a_signed_record_still_verifies() {
    fn check<T: Signable>(block: &[u8]) {
        assert!(Signed::<T>::decode(block).unwrap().verify().is_ok());
        for changed in flipped(block) {
            assert!(Signed::<T>::decode(&changed).ok().and_then(|s| s.verify().ok()).is_none());
        }
    }
    let s = sample::Samples::new();
    check::<Invocation>(s.invocation.block());
    check::<Acceptance>(s.acceptance.block());
    check::<Endorsement>(s.endorsement.block());
    check::<Advertisement>(s.advertisement.block());
    check::<Advertisement>(s.beside.block());
    check::<Invocation>(s.sealed.block());
    check::<Grant>(s.grant.block());
    check::<Policy>(s.policy.block());
    check::<PolicyHead>(s.head.block());
    check::<PolicyHead>(s.revoked.block());
    check::<KeyRequest>(s.request.block());
}

#[test]
fn no_prefix_of_a_block_is_a_record() {
    let s = sample::Samples::new();
    let (task, envelope) = (s.task.encode(), s.envelope.encode());
    assert!((0..task.len()).all(|end| Task::decode(&task[..end]).is_err()));
    assert!((0..envelope.len()).all(|end| Envelope::decode(&envelope[..end]).is_err()));
}

#[test]
fn a_signature_of_one_kind_of_record_is_none_for_another() {
    // The operator signs an acceptance; the same bytes presented as anything else must not hold.
    let s = sample::Samples::new();
    assert!(Signed::<Invocation>::decode(s.acceptance.block()).is_err());
    assert!(Signed::<Endorsement>::decode(s.advertisement.block()).is_err());
}

#[test]
fn only_the_named_signer_can_sign() {
    let s = sample::Samples::new();
    let by_another = Signed::sign(s.invocation.body().clone(), &s.operator);
    assert_eq!(by_another.unwrap_err(), SignatureError::WrongKey);
    let other_key = JobSecret::from_bytes(&[0x45; 32]).unwrap();
    assert_eq!(Envelope::sign(&s.receipt, &other_key).unwrap_err(), SignatureError::WrongKey);
}

#[test]
fn a_signature_with_high_s_is_refused() {
    // The order of secp256k1's group: `n - s` with the other `v` is the same signature to plain ECDSA.
    let order = hex::decode("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141").unwrap();
    let s = sample::Samples::new();
    let signature = *s.invocation.signature();
    let mut high = signature;
    let mut borrow = 0i16;
    for i in (0..32).rev() {
        let digit = i16::from(order[i]) - i16::from(signature[32 + i]) - borrow;
        borrow = i16::from(digit < 0);
        high[32 + i] = digit.rem_euclid(256) as u8;
    }
    high[64] = 27 + 28 - signature[64];
    let block = s.invocation.block();
    let at = block.windows(65).position(|window| window == signature).unwrap();
    let mut changed = block.to_vec();
    changed[at..at + 65].copy_from_slice(&high);
    assert!(Signed::<Invocation>::decode(&changed).unwrap().verify().is_err());
}

#[test]
fn the_receipt_is_a_cose_sign1_that_others_can_read() {
    use coset::{CborSerializable, CoseSign1, Label, TaggedCborSerializable, cbor::Value, iana};
    use k256::ecdsa::{Signature, VerifyingKey, signature::Verifier};
    let s = sample::Samples::new();
    let cose = CoseSign1::from_tagged_slice(&s.envelope.receipt).unwrap();
    assert_eq!(cose.payload.as_deref(), Some(s.receipt.encode().as_slice()));
    assert_eq!(
        cose.protected.header.alg,
        Some(coset::RegisteredLabelWithPrivate::Assigned(iana::Algorithm::ES256K))
    );
    let typ = (Label::Int(16), Value::Text("application/adit-receipt+cose".into()));
    assert_eq!(cose.protected.header.rest, [typ]);
    let key = VerifyingKey::from_sec1_bytes(&s.job.key().0).unwrap();
    cose.verify_signature(b"", |signature, signed| {
        key.verify(signed, &Signature::from_slice(signature).unwrap())
    })
    .unwrap();
    let _ = CoseSign1::from_slice(&s.envelope.receipt).expect_err("the tag is part of the form");
}

#[test]
fn a_receipt_proves_nothing_about_another_job() {
    let s = sample::Samples::new();
    let mut other_task = s.task.clone();
    other_task.args.push("x".into());

    let mut about_another = s.invocation.body().clone();
    about_another.nonce = Nonce([8; 16]);
    let other_invocation = Signed::sign(about_another, &s.requester).unwrap();
    assert!(matches!(
        verify_job(&s.envelope, &other_invocation, &s.outcome, Expected::default()),
        Err(VerifyError::OtherInvocation { .. })
    ));

    let mut lie = s.outcome.clone();
    lie.fuel += 1;
    assert!(matches!(
        verify_job(&s.envelope, &s.invocation, &lie, Expected::default()),
        Err(VerifyError::OtherOutcome { .. })
    ));

    let of_another_task = Outcome { task: other_task.cid(), ..s.outcome.clone() };
    let receipt = Receipt { outcome: of_another_task.cid(), ..s.receipt.clone() };
    let envelope = Envelope::sign(&receipt, &s.job).unwrap();
    assert!(matches!(
        verify_job(&envelope, &s.invocation, &of_another_task, Expected::default()),
        Err(VerifyError::OtherTask { what: "outcome", .. })
    ));

    let expected = Expected { issuer: Some(s.operator.account()), ..Expected::default() };
    assert!(matches!(
        verify_job(&s.envelope, &s.invocation, &s.outcome, expected),
        Err(VerifyError::OtherIssuer { .. })
    ));

    let stranger = NodeSecret::from_bytes(&[0x99; 32]).node();
    let expected = Expected { node: Some(stranger), ..Expected::default() };
    assert!(matches!(
        verify_job(&s.envelope, &s.invocation, &s.outcome, expected),
        Err(VerifyError::OtherNode { .. })
    ));
}

#[test]
fn a_stranger_cannot_endorse_a_key_in_a_nodes_name() {
    // An attacker has an own job key and wants a receipt in the name of the node. The endorsement would have to
    // be signed by the node; signed by the attacker it names the attacker.
    let s = sample::Samples::new();
    let attacker = NodeSecret::from_bytes(&[0x66; 32]);
    assert_eq!(Signed::sign(s.endorsement.body().clone(), &attacker).unwrap_err(), SignatureError::WrongKey);
    let own = Endorsement { node: attacker.node(), ..s.endorsement.body().clone() };
    let own = Signed::sign(own, &attacker).unwrap();
    let evidence = Evidence::None { endorsement: Box::new(own.into_signed()) };
    let envelope = Envelope::sign(&Receipt { evidence, ..s.receipt.clone() }, &s.job).unwrap();
    let expected = Expected { node: Some(s.node.node()), ..Expected::default() };
    assert!(matches!(
        verify_job(&envelope, &s.invocation, &s.outcome, expected),
        Err(VerifyError::OtherNode { .. })
    ));
}

#[test]
fn times_limits_and_promises_are_held_against_the_receipt() {
    let s = sample::Samples::new();
    let signed_at = |time| Envelope::sign(&Receipt { time, ..s.receipt.clone() }, &s.job).unwrap();
    let check = |envelope: &Envelope| verify_job(envelope, &s.invocation, &s.outcome, Expected::default());
    assert!(matches!(check(&signed_at(sample::NOW + 400)), Err(VerifyError::Late { late: 370 })));
    assert_eq!(
        check(&signed_at(sample::NOW + 90_000)),
        Err(VerifyError::Receipt(ReceiptError::EndorsementTime))
    );

    let modest = Task { limits: Limits { fuel: 100, ..s.task.limits }, ..s.task.clone() };
    let expected = Expected { task: Some(&modest), ..Expected::default() };
    assert!(matches!(
        verify_job(&s.envelope, &s.invocation, &s.outcome, expected),
        Err(VerifyError::OtherTask { .. })
    ));
    let greedy = Outcome { fuel: s.task.limits.fuel + 1, ..s.outcome.clone() };
    let envelope = Envelope::sign(&Receipt { outcome: greedy.cid(), ..s.receipt.clone() }, &s.job).unwrap();
    let expected = Expected { task: Some(&s.task), ..Expected::default() };
    assert!(matches!(
        verify_job(&envelope, &s.invocation, &greedy, expected),
        Err(VerifyError::OverLimit { .. })
    ));

    let promise = Acceptance { host: s.requester.account(), ..s.acceptance.body().clone() };
    let promise = Signed::sign(promise, &s.requester).unwrap();
    let expected = Expected { acceptance: Some(&promise), ..Expected::default() };
    assert_eq!(
        verify_job(&s.envelope, &s.invocation, &s.outcome, expected),
        Err(VerifyError::BrokenPromise("host"))
    );
}

#[test]
fn paths_that_leave_or_confuse_are_refused() {
    for path in [
        "",
        "/",
        "/in",
        "/in/",
        "in/a",
        "/in//a",
        "/in/a/",
        "/in/./a",
        "/in/../etc",
        "/in/a/..",
        "/out/a",
        "/inn/a",
        "/in/a\nb",
        "/in/a\0b",
        "/in/\u{1b}[2J",
    ] {
        assert!(check_guest_path(path).is_err(), "{path:?} was accepted");
    }
    for path in ["/in/a", "/in/a/b.txt", "/in/…", "/in/..a", "/in/a b"] {
        check_guest_path(path).unwrap();
    }
    assert!(check_guest_path(&format!("/in/{}", "a".repeat(256))).is_err());
    assert!(check_guest_path(&format!("/in{}", "/a".repeat(32))).is_err());
    let s = sample::Samples::new();
    let mut task = s.task;
    task.inputs.insert("/in/data/part".into(), Input::Cid(sample::raw(b"x")));
    assert!(matches!(Task::decode(&task.encode()), Err(DecodeError::Invalid(Invalid::Overlap { .. }))));
}

#[test]
fn too_much_of_anything_is_refused() {
    let s = sample::Samples::new();
    let refused = |change: &dyn Fn(&mut Task)| {
        let mut task = s.task.clone();
        change(&mut task);
        assert!(Task::decode(&task.encode()).is_err());
    };
    refused(&|t| t.args = vec![String::new(); limits::ARGS + 1]);
    refused(&|t| t.args = vec!["x".repeat(limits::ARGS_AND_ENV_BYTES + 1)]);
    refused(&|t| t.args = vec!["a\0b".into()]);
    refused(&|t| t.env = (0..=limits::ENV).map(|i| (format!("K{i}"), String::new())).collect());
    refused(&|t| drop(t.env.insert("A=B".into(), String::new())));
    refused(&|t| drop(t.env.insert(String::new(), String::new())));
    refused(&|t| {
        t.inputs =
            (0..=limits::INPUTS).map(|i| (format!("/in/{i}"), Input::Cid(sample::raw(b"x")))).collect();
    });
    refused(&|t| t.limits.fuel = 0);
    refused(&|t| t.limits.memory = 1);
    let large = vec![0; MAX_RECORD_BYTES + 1];
    assert!(matches!(Task::decode(&large), Err(DecodeError::TooLong { .. })));
    assert!(matches!(Signed::<Invocation>::decode(&large), Err(DecodeError::TooLong { .. })));
}

#[test]
fn lengths_are_believed_only_as_far_as_bytes_have_arrived() {
    // {"v": 1, "abi": text of 2^63 bytes}, and a map of 2^32 entries: refused before anything is reserved.
    let long_text = hex::decode("a2617601636162697b7fffffffffffffff").unwrap();
    assert_eq!(Task::decode(&long_text), Err(DecodeError::Truncated));
    let wide_map = hex::decode("bb0000000100000000").unwrap();
    assert_eq!(Task::decode(&wide_map), Err(DecodeError::Truncated));
}

#[test]
fn secrets_never_show() {
    let s = sample::Samples::new();
    let shown = format!("{:?} {:?} {:?}", s.requester, s.node, s.job);
    for secret in ["1111", "3333", "4444", "[17,", "[51,", "[68,"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

#[test]
fn identifiers_read_back_from_their_text() {
    let s = sample::Samples::new();
    // The key [0x11; 32] on Ethereum, from any wallet.
    assert_eq!(s.requester.account().to_string(), "0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A");
    assert_eq!(s.requester.account().to_string().parse(), Ok(s.requester.account()));
    let typo = "0x19e7E376E7C213B7E7e7e46cc70A5dD086DAff2A";
    assert_eq!(typo.parse::<AccountId>(), Err(IdError::AccountChecksum));
    assert!(s.node.node().to_string().starts_with("12D3KooW"));
    assert_eq!(s.node.node().to_string().parse(), Ok(s.node.node()));
    assert_eq!(s.job.key().to_string().parse(), Ok(s.job.key()));
    assert_eq!(s.task.cid().to_string().parse(), Ok(s.task.cid()));
    assert!(sample::raw(b"x").to_string().parse::<TaskCid>().is_err());
}

#[test]
fn an_alias_has_its_form_and_outlives_its_advertisement() {
    let s = sample::Samples::new();
    let good = s.beside.body().alias.clone().unwrap();
    let with = |change: &dyn Fn(&mut Alias)| {
        let mut alias = good.clone();
        change(&mut alias);
        let body = Advertisement { alias: Some(alias), ..s.beside.body().clone() };
        Signed::sign(body, &s.node).map(|_| ()).map_err(|error| error.to_string())
    };
    assert_eq!(with(&|_| {}), Ok(()));
    let hashed = KuboId::from_bytes(&[&[0x12, 0x20][..], &[9; 32]].concat()).unwrap();
    assert_eq!(with(&|a| (a.peer, a.key) = (hashed.clone(), Some(vec![8; 300].into()))), Ok(()));
    type Change<'a> = &'a dyn Fn(&mut Alias);
    let bad: [(Change<'_>, &str); 8] = [
        (&|a| a.key = Some(vec![8; 36].into()), "exactly where"),
        (&|a| a.peer = hashed.clone(), "exactly where"),
        (&|a| (a.peer, a.key) = (hashed.clone(), Some(vec![8; 601].into())), "601 bytes"),
        (&|a| a.sig = vec![0; 513].into(), "513 bytes"),
        (&|a| a.sig = vec![].into(), "empty"),
        (&|a| a.expires = sample::NOW + 599, "as long as"),
        (&|a| a.issued = sample::NOW + 1, "as long as"),
        (&|a| a.expires = sample::NOW + 86_401, "too long"),
    ];
    for (change, why) in bad {
        let refused = with(change).unwrap_err();
        assert!(refused.contains(why), "{refused} instead of {why}");
    }
    for bytes in
        [&[][..], &[0, 0], &[0, 2, 1], &[0x12, 0x20, 1], &[&[0, 43][..], &[1; 43]].concat(), &[0x13; 34]]
    {
        assert!(KuboId::from_bytes(bytes).is_err(), "{bytes:?}");
    }
    assert_eq!(good.peer.to_string().parse::<KuboId>().unwrap(), good.peer);
}
