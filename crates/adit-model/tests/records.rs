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
