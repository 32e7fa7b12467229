//! Session quotes and key requests: what the evidence is bound to, and what of them means nothing.

mod sample;

use adit_model::*;
use sample::Samples;

#[test]
fn evidence_is_bound_to_the_key_to_every_nonce_and_to_their_order() {
    let s = Samples::new();
    let quote = &s.quote;
    let bound = quote.report_data();
    assert_eq!(bound.len(), 64);
    let changed = |change: &dyn Fn(&mut SessionQuote)| {
        let mut changed = quote.clone();
        change(&mut changed);
        changed.report_data()
    };
    let other_key = JobSecret::from_bytes(&[0x45; 32]).unwrap().key();
    let different = [
        changed(&|q| q.key = other_key),
        changed(&|q| q.nonces.swap(0, 1)),
        changed(&|q| q.nonces[4].0[31] ^= 1),
        changed(&|q| q.nonces.truncate(4)),
        changed(&|q| q.nonces.push(QuoteNonce([0; 32]))),
        changed(&|q| q.request = Some(s.request.cid())),
    ];
    for (at, other) in different.iter().enumerate() {
        assert_ne!(*other, bound, "change {at}");
        assert!(different[..at].iter().all(|before| before != other), "change {at} is like another");
    }
    let same = changed(&|q| (q.kind, q.evidence) = (EvidenceKind::Tdx, vec![7].into()));
    assert_eq!(same, bound, "it is known before there is evidence");
}

#[test]
fn a_tpms_quote_is_bound_to_the_first_half() {
    let s = Samples::new();
    let quote = &s.quote_per_job;
    assert_eq!(quote.kind, EvidenceKind::Tpm2);
    let whole = report_data(&quote.key, &quote.nonces, quote.request.as_ref());
    assert_eq!(quote.report_data(), whole[..32]);
}

#[test]
fn a_quote_has_nonces_and_evidence_and_not_too_much_of_either() {
    let s = Samples::new();
    let refused = |change: &dyn Fn(&mut SessionQuote)| {
        let mut changed = s.quote.clone();
        change(&mut changed);
        SessionQuote::decode(&changed.encode()).unwrap_err().to_string()
    };
    for (change, why) in [
        (&(|q: &mut SessionQuote| q.nonces.clear()) as &dyn Fn(&mut SessionQuote), "nonces is empty"),
        (&|q| q.nonces = vec![QuoteNonce([1; 32]); 65], "65 nonces"),
        (&|q| q.evidence = bytes::Bytes::new(), "evidence is empty"),
        (&|q| q.evidence = vec![0; limits::EVIDENCE_BYTES + 1].into(), "more than the"),
        (&|q| q.kind = EvidenceKind::None, "has no evidence"),
    ] {
        let said = refused(change);
        assert!(said.contains(why), "{said}, not {why}");
    }
    let mut most = s.quote.clone();
    most.nonces = vec![QuoteNonce([1; 32]); limits::QUOTE_NONCES];
    most.evidence = vec![0; limits::EVIDENCE_BYTES].into();
    assert_eq!(SessionQuote::decode(&most.encode()), Ok(most), "the most of everything fits in a block");
}

#[test]
fn a_request_names_each_grant_and_each_object_once() {
    let s = Samples::new();
    let one = s.request.body().grants[0];
    let other = GrantUse { grant: GrantCid::of_block(b"other"), ..one };
    let mut both = [one, other];
    both.sort_by_key(|one| one.grant);
    let refused = |change: &dyn Fn(&mut KeyRequest)| {
        let mut changed = s.request.body().clone();
        change(&mut changed);
        Signed::sign(changed, &s.job).unwrap_err().to_string()
    };
    for (change, why) in [
        (&(|r: &mut KeyRequest| r.grants.clear()) as &dyn Fn(&mut KeyRequest), "is empty"),
        (&|r| r.grants = vec![one, one], "grants are not sorted, or repeat"),
        (&|r| r.grants = vec![both[1], both[0]], "grants are not sorted, or repeat"),
        (&|r| r.grants = vec![one; 65], "65 grants"),
        (&|r| r.sealed = vec![r.sealed[0]; 2], "sealed objects are not sorted, or repeat"),
        (&|r| r.sealed = vec![r.sealed[0]; limits::SEALED + 1], "259 sealed objects"),
    ] {
        let said = refused(change);
        assert!(said.contains(why), "{said}, not {why}");
    }
    let request = KeyRequest { grants: both.to_vec(), ..s.request.body().clone() };
    let request = Signed::sign(request, &s.job).unwrap();
    assert_eq!(request.body().of_grant(&one.grant), Some(&one));
    assert_eq!(request.body().of_grant(&other.grant), Some(&other));
    assert_eq!(request.body().of_grant(&GrantCid::of_block(b"third")), None);
}

#[test]
fn a_request_is_signed_by_the_session_it_names() {
    let s = Samples::new();
    let stranger = JobSecret::from_bytes(&[0x45; 32]).unwrap();
    assert!(Signed::sign(s.request.body().clone(), &stranger).is_err());
    // What a receipt's signature covers is no request, though one key makes both.
    assert_ne!(*s.request.signature(), s.envelope.receipt[s.envelope.receipt.len() - 64..]);
    let mut moved = s.request.block().to_vec();
    let at = moved.windows(64).position(|window| window == s.request.signature()).unwrap();
    moved[at..at + 64].copy_from_slice(&s.envelope.receipt[s.envelope.receipt.len() - 64..]);
    assert!(Signed::<KeyRequest>::decode(&moved).unwrap().verify().is_err());
}
