//! The words of the command line are part of its interface: every help page is compared with the one that is
//! checked in under `tests/help/`. `ADIT_BLESS=1 cargo test -p adit --test help` writes them anew.

use std::path::Path;
use std::process::Command;

/// All commands, parents before children; the empty line is `adit` itself.
const COMMANDS: &[&str] = &[
    "",
    "init",
    "daemon",
    "devnet",
    "add",
    "cat",
    "get",
    "ls",
    "stat",
    "seal",
    "seal rotate",
    "unseal",
    "pin",
    "pin add",
    "pin rm",
    "pin ls",
    "pin show",
    "repo",
    "repo stat",
    "repo gc",
    "repo verify",
    "dag",
    "dag import",
    "dag export",
    "run",
    "job",
    "job ls",
    "job show",
    "job logs",
    "job wait",
    "job result",
    "job cancel",
    "receipt",
    "receipt show",
    "receipt verify",
    "policy",
    "policy new",
    "policy check",
    "policy explain",
    "policy show",
    "policy allow",
    "policy deny",
    "policy revoke",
    "trust",
    "trust appraise",
    "http",
    "http publish",
    "http rm",
    "http ls",
    "http show",
    "id",
    "node",
    "node ls",
    "node show",
    "node status",
    "swarm",
    "swarm peers",
    "swarm connect",
    "routing",
    "routing findprovs",
    "routing provide",
    "routing findpeer",
    "name",
    "name publish",
    "name resolve",
    "key",
    "key new",
    "key ls",
    "key export",
    "key backup",
    "key restore",
    "doctor",
    "drain",
    "config",
    "config show",
    "config get",
    "config set",
    "completions",
];

fn help(command: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_adit"))
        .args(command.split_whitespace())
        .arg("--help")
        // The width of the terminal and the user's variables change what is shown.
        .env_clear()
        .env("COLUMNS", "100")
        .output()
        .unwrap();
    assert!(output.status.success(), "adit {command} --help");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

#[test]
fn every_help_page_says_what_is_checked_in() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/help");
    let mut wrong = Vec::new();
    for command in COMMANDS {
        let name = if command.is_empty() { "adit".to_owned() } else { command.replace(' ', "-") };
        let path = folder.join(format!("{name}.txt"));
        let text = help(command);
        if std::env::var_os("ADIT_BLESS").is_some() {
            std::fs::write(&path, text).unwrap();
        } else if std::fs::read_to_string(&path).unwrap_or_default() != text {
            wrong.push(format!("--- {} should be:\n{text}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_list_of_commands_is_complete() {
    for parent in COMMANDS.iter().filter(|command| !command.contains(' ')) {
        let text = help(parent);
        let Some((_, section)) = text.split_once("Commands:\n") else { continue };
        // Deeper lines go on with a description.
        let listed =
            section.lines().take_while(|line| line.starts_with("  ")).filter(|line| !line.starts_with("   "));
        for child in listed.filter_map(|line| line.split_whitespace().next()) {
            let command = format!("{parent} {child}");
            assert!(COMMANDS.contains(&command.trim()), "no golden help for `{command}`");
        }
    }
}
