//! What the command line does without any daemon: making a node, settings, exit codes, receipts in files.

use std::path::Path;
use std::process::{Command, Output, Stdio};

fn adit(repo: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_adit"));
    command.env_clear().env("ADIT_PATH", repo).env("HOME", repo).stdin(Stdio::null());
    command.args(words).output().unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("it ended by itself")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_node_is_made_once_and_its_keys_are_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let repo = folder.path().join("repo");
    let made = adit(&repo, &["--json", "init", "--set", "host.accept=anyone"]);
    assert_eq!(code(&made), 0, "{}", stderr(&made));
    let made: serde_json::Value = serde_json::from_slice(&made.stdout).unwrap();
    assert!(made["node"].as_str().unwrap().starts_with("12D3KooW"));
    let keys = std::fs::read(repo.join("identity/node.key")).unwrap();

    let again = adit(&repo, &["init"]);
    assert_eq!(code(&again), 1);
    assert_eq!(std::fs::read(repo.join("identity/node.key")).unwrap(), keys);
    assert_eq!(stdout(&adit(&repo, &["config", "get", "host.accept"])), "anyone\n");
}

#[test]
fn a_setting_comes_from_the_environment_before_the_file_before_the_default() {
    let folder = tempfile::tempdir().unwrap();
    let repo = folder.path().join("repo");
    adit(&repo, &["init"]);
    assert_eq!(code(&adit(&repo, &["config", "set", "host.queue", "5"])), 0);
    let origin_of = |output: &Output, key: &str| {
        let rows: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let row = rows.as_array().unwrap().iter().find(|row| row["key"] == key).unwrap().clone();
        (row["value"].as_str().unwrap().to_owned(), row["origin"].as_str().unwrap().to_owned())
    };
    let shown = adit(&repo, &["--json", "config", "show", "--origin"]);
    assert_eq!(origin_of(&shown, "host.queue"), ("5".into(), "file".into()));
    assert_eq!(origin_of(&shown, "host.accept"), ("self".into(), "default".into()));

    let mut command = Command::new(env!("CARGO_BIN_EXE_adit"));
    command.env_clear().env("ADIT_PATH", &repo).env("ADIT_HOST_QUEUE", "7");
    let shown = command.args(["--json", "config", "show", "--origin"]).output().unwrap();
    assert_eq!(origin_of(&shown, "host.queue"), ("7".into(), "env ADIT_HOST_QUEUE".into()));
}

#[test]
fn wrong_settings_are_refused_and_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let repo = folder.path().join("repo");
    adit(&repo, &["init"]);
    let before = std::fs::read_to_string(repo.join("config.toml")).unwrap_or_default();
    let unknown = adit(&repo, &["config", "set", "host.accpet", "anyone"]);
    assert_eq!(code(&unknown), 3);
    assert!(stderr(&unknown).contains("host.accept"), "names the nearest: {}", stderr(&unknown));
    assert_eq!(code(&adit(&repo, &["config", "set", "host.accept", "everybody"])), 2);
    assert_eq!(std::fs::read_to_string(repo.join("config.toml")).unwrap_or_default(), before);
}

#[test]
fn without_a_daemon_commands_end_with_4_and_run_with_104() {
    let folder = tempfile::tempdir().unwrap();
    let repo = folder.path().join("repo");
    let cid = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku";
    assert_eq!(code(&adit(&repo, &["id"])), 3, "there is not even a node");
    adit(&repo, &["init"]);
    let offline = adit(&repo, &["cat", cid]);
    assert_eq!(code(&offline), 4);
    assert!(stderr(&offline).contains("adit daemon"), "{}", stderr(&offline));
    assert_eq!(code(&adit(&repo, &["run", cid])), 104);
    // A daemon that was killed leaves its address behind.
    let stale = serde_json::json!({ "address": "http://127.0.0.1:1", "pid": 1 });
    std::fs::write(repo.join("api.json"), stale.to_string()).unwrap();
    assert_eq!(code(&adit(&repo, &["id"])), 4);
    assert_eq!(code(&adit(&repo, &["--api", "http://127.0.0.1:1", "id"])), 4);
}

#[test]
fn mistakes_of_usage_end_with_2_and_in_run_with_102() {
    let folder = tempfile::tempdir().unwrap();
    let repo = folder.path().join("repo");
    adit(&repo, &["init"]);
    for words in
        [&["frobnicate"][..], &["cat"], &["config", "set", "host.queue"], &["--api", "nonsense", "id"]]
    {
        assert_eq!(code(&adit(&repo, words)), 2, "{words:?}");
    }
    std::fs::write(repo.join("api.json"), r#"{"address":"http://127.0.0.1:1","pid":1}"#).unwrap();
    for words in [
        &["run"][..],
        &["run", "x", "--timeout", "soon"],
        &["run", "x.wasm", "--in", "no-equals-sign"],
        &["run", "x.wasm", "--in", "/etc/passwd=x"],
        &["run", "x.wasm", "--near", "--local"],
    ] {
        assert_eq!(code(&adit(&repo, words)), 102, "{words:?}");
    }
    assert_eq!(code(&adit(&repo, &["run", "no-such-file.wasm"])), 103);
    assert_eq!(code(&adit(&repo, &["run", "-f", "no-such-job.toml"])), 103);
}

#[test]
fn failures_are_json_when_json_is_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let failed = adit(folder.path(), &["--json", "cat", "nonsense"]);
    let error: serde_json::Value = serde_json::from_slice(&failed.stdout).unwrap();
    assert_eq!(error["error"]["source"], "adit");
    assert_eq!(error["error"]["exit"], code(&failed));
}

#[test]
fn what_is_no_receipt_is_refused_offline() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("receipt");
    assert_eq!(code(&adit(folder.path(), &["receipt", "verify", path.to_str().unwrap()])), 3);
    for content in [&b""[..], b"nonsense", &[0xa0], &[0x0a; 100]] {
        std::fs::write(&path, content).unwrap();
        assert_eq!(code(&adit(folder.path(), &["receipt", "verify", path.to_str().unwrap()])), 5);
    }
}

#[test]
fn completions_are_written_for_every_shell() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = adit(folder.path(), &["completions", shell]);
        assert_eq!(code(&script), 0);
        assert!(stdout(&script).contains("devnet"), "{shell}");
    }
}

#[test]
fn a_reader_that_goes_away_is_not_worth_a_word() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_adit"));
    command.env_clear().env("ADIT_PATH", folder.path()).args(["config", "show"]);
    // Gone before the command begins: one that is quick would otherwise have written all by then.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = command.stdout(writer).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(stderr(&output), "");
    assert_eq!(code(&output), 141);
}
