//! The checked-in test vectors, for other implementations of these records, and for us: a change of any byte of
//! any format shows here. `ADIT_WRITE_VECTORS=1 cargo test -p adit-model --test vectors` writes them anew.

mod sample;

use adit_model::*;
use ipld_core::ipld::Ipld;
use sample::Samples;
use serde_json::{Value, json};
use std::path::Path;

fn compare(file: &str, current: &Value) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors").join(file);
    let text = serde_json::to_string_pretty(current).unwrap() + "\n";
    if std::env::var_os("ADIT_WRITE_VECTORS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let stored = std::fs::read_to_string(&path).unwrap();
    assert_eq!(stored, text, "{file} differs from what this code writes");
}

fn signed<T: Signable + serde::Serialize>(record: &Signed<T>, signer: &str) -> Value {
    json!({
        "record": record.body(),
        "signer": signer,
        "sig": hex::encode(record.signature().as_ref()),
        "block": hex::encode(record.block()),
        "cid": record.cid().to_string(),
    })
}

fn quote(record: &SessionQuote) -> Value {
    json!({
        "record": record,
        "report_data": hex::encode(record.report_data()),
        "block": hex::encode(record.encode()),
        "cid": record.cid().to_string(),
    })
}

#[test]
fn positive_vectors_are_current() {
    let s = Samples::new();
    let failed = Outcome {
        out: OutcomeResult::Error {
            kind: ErrorKind::LimitFuel,
            detail: "all fuel used".into(),
            stdout: Some(sample::raw(b"half a li")),
            stderr: None,
        },
        ..s.outcome.clone()
    };
    let plain = |record: Value, block: Vec<u8>, cid: String| json!({"record": record, "block": hex::encode(block), "cid": cid});
    compare(
        "records.json",
        &json!({
            "keys": {
                "note": "secret scalars and seeds of the signers below, as hexadecimal",
                "requester": {"secp256k1": hex::encode(*s.requester.to_bytes()), "account": s.requester.account()},
                "operator": {"secp256k1": hex::encode(*s.operator.to_bytes()), "account": s.operator.account()},
                "node": {"ed25519": hex::encode(*s.node.to_bytes()), "node": s.node.node()},
                "kubo": {"ed25519": hex::encode([0x55; 32]), "peer": s.beside.body().alias.as_ref().unwrap().peer},
                "owner": {"secp256k1": hex::encode(*s.owner.to_bytes()), "account": s.owner.account()},
                "job": {"secp256k1": hex::encode([0x44; 32]), "job_key": s.job.key()},
            },
            "task": plain(json!(s.task), s.task.encode(), s.task.cid().to_string()),
            "invocation": signed(&s.invocation, "requester"),
            "acceptance": signed(&s.acceptance, "operator"),
            "outcome": plain(json!(s.outcome), s.outcome.encode(), s.outcome.cid().to_string()),
            "outcome-error": plain(json!(failed), failed.encode(), failed.cid().to_string()),
            "endorsement": signed(&s.endorsement, "node"),
            "receipt": plain(json!(s.receipt), s.receipt.encode(), s.receipt.cid().to_string()),
            "envelope": {
                "signer": "job",
                "cose": hex::encode(&s.envelope.receipt),
                "eip712": hex::encode(s.envelope.eip712),
                "links": s.envelope.links.iter().map(Cid::to_string).collect::<Vec<_>>(),
                "block": hex::encode(s.envelope.encode()),
                "cid": s.envelope.cid().to_string(),
            },
            "advertisement": signed(&s.advertisement, "node"),
            "advertisement-alias": signed(&s.beside, "node"),
            "invocation-sealed": signed(&s.sealed, "requester"),
            "grant": signed(&s.grant, "owner"),
            "policy": signed(&s.policy, "owner"),
            "policy-head": signed(&s.head, "owner"),
            "policy-head-revoked": signed(&s.revoked, "owner"),
            "session-quote": quote(&s.quote),
            "session-quote-per-job": quote(&s.quote_per_job),
            "key-request": signed(&s.request, "job"),
            "alias-signed-bytes": {
                "note": "what the Kubo's signature in the record above covers: its own prefix, then the statement",
                "signer": "kubo",
                "bytes": hex::encode(s.beside.body().alias.as_ref().unwrap().signed_bytes(s.node.node(), "devnet")),
            },
        }),
    );
}

/// The sample task as a generic value, changed, and encoded by an independent library.
fn task_with(change: impl FnOnce(&mut std::collections::BTreeMap<String, Ipld>)) -> Vec<u8> {
    let block = Samples::new().task.encode();
    let Ipld::Map(mut map) = serde_ipld_dagcbor::from_slice(&block).unwrap() else {
        panic!("a task is a map")
    };
    change(&mut map);
    serde_ipld_dagcbor::to_vec(&Ipld::Map(map)).unwrap()
}

fn replaced(block: &[u8], from: &str, to: &str) -> Vec<u8> {
    let text = hex::encode(block);
    assert_eq!(text.matches(from).count(), 1, "{from} stands once in the block");
    hex::decode(text.replace(from, to)).unwrap()
}

#[test]
fn negative_vectors_are_refused_for_the_stated_reason() {
    let task = Samples::new().task.encode();
    let entry = |key: &str, value: Ipld| {
        let key = key.to_owned();
        task_with(move |map| drop(map.insert(key, value)))
    };
    let db = Ipld::Map([("db".to_owned(), Ipld::Null), ("head".to_owned(), Ipld::Null)].into());
    let inputs = Ipld::Map([("/in/table".to_owned(), db)].into());
    let fuel = "646675656c1a3b9aca00";
    let memory = "666d656d6f72791a10000000";
    let cases = [
        ("unknown field", entry("colour", Ipld::Integer(1))),
        ("missing field", task_with(|map| drop(map.remove("profile")))),
        ("version of the future", entry("v", Ipld::Integer(2))),
        ("no version", task_with(|map| drop(map.remove("v")))),
        ("field not implemented yet", entry("private", Ipld::Bytes(vec![1]))),
        ("abi not implemented yet", entry("abi", Ipld::String("wasi:http/proxy".into()))),
        ("unknown abi", entry("abi", Ipld::String("emscripten".into()))),
        ("input not implemented yet", entry("inputs", inputs)),
        ("absent field written as null", entry("stdin", Ipld::Null)),
        ("wrong kind of value", entry("args", Ipld::String("--top".into()))),
        ("float", entry("args", Ipld::Float(1.5))),
        ("negative number", entry("v", Ipld::Integer(-1))),
        ("trailing byte", [task.as_slice(), &[0]].concat()),
        ("truncated", task[..task.len() - 1].to_vec()),
        ("map keys out of order", replaced(&task, &format!("{fuel}{memory}"), &format!("{memory}{fuel}"))),
        ("repeated map key", replaced(&task, &format!("{fuel}{memory}"), &format!("{fuel}{fuel}"))),
        ("number not in its shortest form", replaced(&task, "617601", "61761801")),
        ("length not in its shortest form", replaced(&task, "63616269", "7803616269")),
        ("list of indefinite length", replaced(&task, "6461726773826", "64617267739f6")),
        ("link without leading zero", replaced(&task, "64636f6465d82a582500", "64636f6465d82a582501")),
        ("tag other than 42", replaced(&task, "64636f6465d82a", "64636f6465d82b")),
        ("text that is not UTF-8", replaced(&task, "64636f6465", "64636f64ff")),
        ("path outside of /in", replaced(&task, &hex::encode("/in/data"), &hex::encode("/../data"))),
    ];
    let vectors: Vec<Value> = cases
        .iter()
        .map(|(name, block)| {
            let error = Task::decode(block).expect_err(name);
            json!({"name": name, "kind": "task", "block": hex::encode(block), "error": error.to_string()})
        })
        .collect();
    compare("refused.json", &json!(vectors));
}
