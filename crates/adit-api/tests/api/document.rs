//! The OpenAPI document that is checked in is the one that the code gives.

/// `ADIT_WRITE_OPENAPI=1 cargo test -p adit-api openapi` writes it anew.
#[test]
fn the_checked_in_openapi_document_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");
    let current = adit_api::routes::openapi_json();
    if std::env::var_os("ADIT_WRITE_OPENAPI").is_some() {
        std::fs::write(path, &current).unwrap();
    }
    let stored = std::fs::read_to_string(path).unwrap();
    assert!(stored == current, "docs/openapi.json is not what the routes say: write it anew");
}

/// Each operation has an id, a summary, a tag and an answer for errors, so generated clients have names for things.
#[test]
fn every_operation_is_described() {
    let document: serde_json::Value = serde_json::from_str(&adit_api::routes::openapi_json()).unwrap();
    let mut ids = std::collections::BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let id = operation["operationId"].as_str().unwrap();
            assert!(ids.insert(id.to_owned()), "{id} names two operations");
            assert!(!operation["summary"].as_str().unwrap_or_default().is_empty(), "{method} {path}");
            assert_eq!(operation["tags"].as_array().unwrap().len(), 1, "{method} {path}");
        }
    }
}
