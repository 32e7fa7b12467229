//! Generated records: encoding and decoding are inverse, and agree with an independent DAG-CBOR library.

mod sample;

use adit_model::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn cid() -> impl Strategy<Value = Cid> {
    (any::<[u8; 8]>(), prop_oneof![Just(0x55u64), Just(0x70), Just(0x71)])
        .prop_map(|(seed, codec)| Cid::new_v1(codec, *sample::raw(&seed).hash()))
}

fn text(max: usize) -> impl Strategy<Value = String> {
    proptest::collection::vec(any::<char>().prop_filter("zero byte", |c| *c != '\0'), 0..max)
        .prop_map(|chars| chars.into_iter().collect())
}

prop_compose! {
    fn task()(
        code in cid(),
        component in any::<bool>(),
        fast in any::<bool>(),
        args in proptest::collection::vec(text(8), 0..30),
        env in proptest::collection::btree_map("[A-Za-z_]{1,30}", text(8), 0..30),
        inputs in proptest::collection::btree_map("[a-z]{1,30}", cid(), 0..30),
        stdin in proptest::option::of(cid()),
        fuel in 1u64.., memory in 65536u64.., output: u64,
    ) -> Task {
        Task {
            code,
            abi: if component { Abi::WasiCliCommand } else { Abi::Wasip1 },
            args,
            env,
            inputs: inputs.into_iter().map(|(name, cid)| (format!("/in/{name}"), Input::Cid(cid))).collect(),
            stdin,
            limits: Limits { fuel, memory, output },
            profile: if fast { Profile::Fast } else { Profile::Deterministic },
        }
    }
}

fn outcome() -> impl Strategy<Value = Outcome> {
    let ok = (cid(), any::<u8>(), cid(), cid()).prop_map(|(root, exit, stdout, stderr)| OutcomeResult::Ok {
        root,
        exit,
        stdout,
        stderr,
    });
    let error = (text(40), proptest::option::of(cid()), proptest::option::of(cid())).prop_map(
        |(detail, stdout, stderr)| OutcomeResult::Error { kind: ErrorKind::Trap, detail, stdout, stderr },
    );
    (any::<[u8; 32]>(), any::<u64>(), prop_oneof![ok, error]).prop_map(|(task, fuel, out)| Outcome {
        task: TaskCid::from_digest(task),
        out,
        fuel,
        runtime: sample::RUNTIME.into(),
    })
}

proptest! {
    #[test]
    fn tasks_survive_dag_cbor_and_json(task in task()) {
        let block = task.encode();
        prop_assert_eq!(&Task::decode(&block).unwrap(), &task);
        prop_assert_eq!(serde_json::from_str::<Task>(&serde_json::to_string(&task).unwrap()).unwrap(), task);
    }

    #[test]
    fn outcomes_survive_dag_cbor_and_json(outcome in outcome()) {
        let block = outcome.encode();
        prop_assert_eq!(&Outcome::decode(&block).unwrap(), &outcome);
        let json = serde_json::to_string(&outcome).unwrap();
        prop_assert_eq!(serde_json::from_str::<Outcome>(&json).unwrap(), outcome);
    }

    /// An oracle that shares no code with ours: the library reads our bytes and writes the same ones.
    #[test]
    fn another_library_writes_the_same_bytes(task in task()) {
        let block = task.encode();
        let value: ipld_core::ipld::Ipld = serde_ipld_dagcbor::from_slice(&block).unwrap();
        prop_assert_eq!(serde_ipld_dagcbor::to_vec(&value).unwrap(), block);
    }

    /// Whatever decodes is the one encoding of what it decoded to.
    #[test]
    fn what_decodes_encodes_to_the_same_bytes(task in task(), at: prop::sample::Index, byte: u8) {
        let mut block = task.encode();
        let at = at.index(block.len());
        block[at] = byte;
        if let Ok(decoded) = Task::decode(&block) {
            prop_assert_eq!(decoded.encode(), block);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Task::decode(&bytes);
        let _ = Outcome::decode(&bytes);
        let _ = Envelope::decode(&bytes).map(|envelope| envelope.verify());
        let _ = Signed::<Invocation>::decode(&bytes);
        let _ = Signed::<Advertisement>::decode(&bytes);
    }

    #[test]
    fn amounts_have_one_form(amount: u128) {
        let s = sample::Samples::new();
        let body = Acceptance { price: Amount(amount), ..s.acceptance.body().clone() };
        let signed = Signed::sign(body, &s.operator).unwrap();
        prop_assert_eq!(Signed::<Acceptance>::decode(signed.block()).unwrap().body().price, Amount(amount));
        prop_assert_eq!(amount.to_string().parse(), Ok(Amount(amount)));
    }
}

#[test]
fn equal_maps_have_equal_names_whatever_order_they_were_built_in() {
    let mut task = sample::Samples::new().task;
    task.env = BTreeMap::from([("B".into(), "1".into()), ("AA".into(), "2".into())]);
    let name = task.cid();
    task.env = [("AA", "2"), ("B", "1")].map(|(k, v)| (k.to_string(), v.to_string())).into();
    assert_eq!(task.cid(), name);
}
