//! `adit policy`, from files alone.

use std::path::Path;
use std::process::{Command, Output, Stdio};

const CODE: &str = "bafkreicwstiiulst77fobqyqhznnn5qhnk6zmdvr7cswk5yebpaqfd3qfm";
const REQUESTER: &str = "0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A";

fn adit(folder: &Path, words: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_adit"));
    command.env_clear().env("ADIT_KEYS", folder.join("keys")).current_dir(folder).stdin(Stdio::null());
    let Output { status, stdout, stderr } = command.args(words).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

#[test]
fn a_new_policy_is_safe_and_explained() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let new = ["policy", "new", "--code", CODE, "--requester", REQUESTER, "--arg", "--top", "-o", "p.toml"];
    let (code, _, error) = adit(here, &new);
    assert!(code == 3 && error.contains("adit key new"), "{error}");
    assert_eq!(adit(here, &["key", "new"]).0, 0);
    let (code, _, error) = adit(here, &new);
    assert_eq!(code, 0, "{error}");
    let (code, _, error) = adit(here, &new);
    assert!(code == 1 && error.contains("cannot write p.toml"), "never over another: {error}");

    let (code, said, error) = adit(here, &["policy", "check", "p.toml"]);
    assert_eq!((code, said.as_str()), (0, "a policy of 1 rule\n"), "{error}");
    let (code, said, _) = adit(here, &["policy", "explain", "p.toml"]);
    assert_eq!(code, 0);
    for words in [CODE, REQUESTER, "Arguments: \"--top\".", "no network", "sev-snp or tdx", "brought whole"] {
        assert!(said.contains(words), "{words} is not in\n{said}");
    }
    assert!(!said.contains("Look again"), "the defaults are nothing to look at again:\n{said}");
    let (code, said, _) = adit(here, &["--json", "policy", "explain", "p.toml"]);
    assert!(code == 0 && said.contains("\"prefetch\": true"), "{said}");
}

#[test]
fn what_is_wrong_with_a_policy_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    assert_eq!(adit(here, &["key", "new"]).0, 0);
    let new = ["policy", "new", "--code", CODE, "--requester", REQUESTER];
    let (code, text, _) = adit(here, &new);
    assert_eq!(code, 0);
    for (from, to, why) in [
        ("sev-snp", "tpm2", "without saying so"),
        ("/in/data", "/etc/data", "is not below /in"),
        ("max-age", "max_age", "unknown field"),
        ("\"this\"", "\"any\"", "neither code nor input"),
    ] {
        std::fs::write(here.join("wrong.toml"), text.replacen(from, to, 1)).unwrap();
        let (code, _, error) = adit(here, &["policy", "check", "wrong.toml"]);
        assert!(code == 2 && error.contains(why), "{to}: {error}");
    }
    assert_eq!(adit(here, &["policy", "check", "none.toml"]).0, 3);
    let (code, _, error) = adit(here, &["policy", "new", "--requester", REQUESTER]);
    assert!(code == 2 && error.contains("--code"), "{error}");
    let secret = "AGE-SECRET-KEY-1QQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQ";
    let (code, said, error) = adit(here, &[&new[..], &["--to", secret]].concat());
    assert!(code == 2 && !said.contains(secret) && !error.contains(secret), "{error}");
}
