//! `adit doctor`: what could be wrong, and what to do about it.

use std::path::Path;

use adit_api::types::{Check, Verdict};
use adit_node::Identity;
use adit_node::config::{ConfigFile, FILE_NAME, Settings};

use crate::context::Context;
use crate::exit::{Exit, Failure, chain};
use crate::output::escape::one_line;

/// Checks what can be seen from here, then asks the daemon for the rest. Ends with 1 if a check failed.
pub(crate) async fn doctor(context: &Context) -> Result<u8, Failure> {
    let mut checks = Vec::new();
    if !context.is_remote() {
        let repo = context.repo()?;
        checks.push(identity(&repo));
        checks.push(settings(&repo));
        checks.push(enclave_program());
    }
    let asked = async { Ok::<_, Failure>(context.client()?.doctor().await?) };
    match asked.await {
        Ok(more) => checks.extend(more),
        Err(failure) => checks.push(check(
            "daemon",
            Verdict::Fail,
            failure.message().to_owned(),
            failure.advice().unwrap_or("start it with `adit daemon`"),
        )),
    }
    context.out.either(&checks, |out, checks| {
        for check in checks {
            let mark = match check.verdict {
                Verdict::Ok => "ok  ",
                Verdict::Warn => "warn",
                Verdict::Fail => "FAIL",
            };
            out.line(format!("{mark}  {}: {}", one_line(&check.name), one_line(&check.found)))?;
            if let Some(advice) = &check.advice {
                out.line(format!("      try: {}", one_line(advice)))?;
            }
        }
        Ok(())
    })?;
    let failed = checks.iter().any(|check| check.verdict == Verdict::Fail);
    Ok(if failed { Exit::Failed as u8 } else { 0 })
}

fn check(name: &str, verdict: Verdict, found: String, advice: &str) -> Check {
    let advice = (verdict != Verdict::Ok).then(|| advice.to_owned());
    Check { name: name.to_owned(), verdict, found, advice }
}

fn identity(repo: &Path) -> Check {
    match Identity::load(repo) {
        Ok(identity) => check("identity", Verdict::Ok, identity.node_id().to_string(), ""),
        Err(error) => check("identity", Verdict::Fail, chain(&error), "make a node with `adit init`"),
    }
}

fn settings(repo: &Path) -> Check {
    let path = repo.join(FILE_NAME);
    let resolved = ConfigFile::read(&path).map_err(|error| chain(&error)).and_then(|file| {
        Settings::resolve(Some(&file), |name| std::env::var(name).ok(), &[]).map_err(|error| chain(&error))
    });
    match resolved {
        Ok(_) => check("settings", Verdict::Ok, path.display().to_string(), ""),
        Err(why) => check("settings", Verdict::Fail, why, "correct the value with `adit config set`"),
    }
}

fn enclave_program() -> Check {
    const NAME: &str = "adit-enclave";
    let beside = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.join(NAME)));
    match beside {
        Some(path) if path.is_file() => check("enclave program", Verdict::Ok, path.display().to_string(), ""),
        Some(path) => check(
            "enclave program",
            Verdict::Warn,
            format!("{} does not exist", path.display()),
            "build it with `cargo build --release -p adit-enclave`, or name it in the setting enclave.program",
        ),
        None => {
            check("enclave program", Verdict::Warn, "this program cannot tell where it is".to_owned(), "")
        }
    }
}
