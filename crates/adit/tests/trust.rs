//! `adit trust appraise`, from files alone.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The recorded evidence that others made; says so where it is not there, and does not go on without it in CI.
fn vectors() -> Option<PathBuf> {
    let folder = std::env::var_os("ADIT_VECTORS").map(|folder| Path::new(&folder).join("tee"));
    let folder = folder.filter(|folder| folder.is_dir());
    if folder.is_none() {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "ADIT_VECTORS has no tee directory");
        eprintln!("SKIPPED: set ADIT_VECTORS to a directory with recorded evidence in tee/");
    }
    folder
}

fn appraise(folder: &Path, words: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_adit"));
    command.env_clear().current_dir(folder).stdin(Stdio::null()).args(["trust", "appraise"]).args(words);
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

const SNP: [&str; 5] =
    ["snp/test-report.bin", "--endorsements", "snp/test-vcek.der", "--at", "2023-11-14T22:13:20Z"];

#[test]
fn evidence_is_accepted_with_0_and_refused_with_5() {
    let Some(folder) = vectors() else { return };
    let (code, _, error) = appraise(&folder, &SNP);
    assert_eq!(code, 5);
    assert!(
        error.contains("revocation list of ARK-Milan") && error.contains("--without-revocation-lists"),
        "{error}"
    );

    let known = [&SNP[..], &["--without-revocation-lists"]].concat();
    let (code, shown, error) = appraise(&folder, &known);
    assert_eq!(code, 0, "{error}");
    assert!(shown.contains("vouched by  AMD (ARK-Milan)") && shown.ends_with("ACCEPTED\n"), "{shown}");
    assert!(shown.contains("kept from: nobody\n"), "software that nobody named: {shown}");

    let wrong = [&known[..], &["--report-data", "00"]].concat();
    let (code, shown, _) = appraise(&folder, &wrong);
    assert_eq!(code, 5);
    assert!(shown.ends_with("REFUSED: nothing is claimed\n"), "{shown}");
    let late = ["snp/test-report.bin", "--endorsements", "snp/test-vcek.der", "--without-revocation-lists"];
    let (code, _, error) = appraise(&folder, &[&late[..], &["--at", "2031-01-01T00:00:00Z"]].concat());
    assert!(code == 5 && error.contains("has expired"), "{error}");

    assert_eq!(appraise(&folder, &["snp/none"]).0, 3);
    assert_eq!(appraise(&folder, &["README.md"]).0, 3);
    assert_eq!(appraise(&folder, &["snp/test-vcek.der"]).0, 5);
    assert_eq!(appraise(&folder, &["snp/test-report.bin", "--at", "yesterday"]).0, 2);
}

#[test]
fn known_software_on_known_hardware_is_what_claims_rest_on() {
    let Some(folder) = vectors() else { return };
    let quote = std::fs::read(folder.join("tdx/tdx_quote")).unwrap();
    let hex: String = quote[184..232].iter().map(|byte| format!("{byte:02x}")).collect();
    let temporary = tempfile::tempdir().unwrap();
    let reference = temporary.path().join("reference.json");
    let json =
        format!(r#"{{"values": [{{"name": "guest", "kind": "tdx", "registers": {{"mrtd": "{hex}"}}}}]}}"#);
    std::fs::write(&reference, json).unwrap();
    let words =
        ["tdx/tdx_quote", "--endorsements", "tdx/tdx_quote_collateral.json", "--at", "2025-07-01T00:00:00Z"];
    let words = [&words[..], &["--reference", reference.to_str().unwrap()]].concat();
    let (code, shown, error) = appraise(&folder, &words);
    assert_eq!(code, 0, "{error}");
    assert!(shown.contains("runs        guest\n") && shown.contains("the host's administrator\n"), "{shown}");
    assert!(shown.contains("not claimed that it is kept from: whoever has the machine in hand\n"), "{shown}");

    let (code, json, _) = appraise(&folder, &[&words[..], &["--json"]].concat());
    assert_eq!(code, 0);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((json["accepted"].as_bool(), json["kind"].as_str()), (Some(true), Some("tdx")));
    assert_eq!(json["claims"]["assurance"], "confidential-vm");

    let (code, shown, error) = appraise(&folder, &words[..3]);
    assert!(code == 5 && shown.contains("FAIL") && error.contains("--at"), "{error}");
}
