//! `adit doctor`: what could be wrong, and what to do about it.

use std::path::Path;

use adit_api::types::{Check, Verdict};
use adit_node::Identity;
use adit_node::config::{ConfigFile, EnclaveConfig, FILE_NAME, Settings};
use adit_node::enclave::Origin;

use crate::context::Context;
use crate::exit::{Exit, Failure, chain};
use crate::output::escape::one_line;

/// Checks what can be seen from here, then asks the daemon for the rest. Ends with 1 if a check failed.
pub(crate) async fn doctor(context: &Context) -> Result<u8, Failure> {
    let mut checks = Vec::new();
    if !context.is_remote() {
        let repo = context.repo()?;
        checks.push(identity(&repo));
        checks.extend(settings(&repo));
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

fn settings(repo: &Path) -> [Check; 2] {
    let path = repo.join(FILE_NAME);
    let resolved = ConfigFile::read(&path).map_err(|error| chain(&error)).and_then(|file| {
        Settings::resolve(Some(&file), |name| std::env::var(name).ok(), &[]).map_err(|error| chain(&error))
    });
    match resolved {
        Ok(settings) => [
            check("settings", Verdict::Ok, path.display().to_string(), ""),
            enclave_program(&settings.config().enclave),
        ],
        Err(why) => [
            check("settings", Verdict::Fail, why, "correct the value with `adit config set`"),
            enclave_program(&EnclaveConfig::default()),
        ],
    }
}

/// Whether the enclave is where the settings say.
fn enclave_program(config: &EnclaveConfig) -> Check {
    const NAME: &str = "enclave program";
    match Origin::of(config) {
        Ok(Origin::Program(path)) => check(NAME, Verdict::Ok, path.display().to_string(), ""),
        Ok(Origin::Socket(path)) if path.exists() => {
            check(NAME, Verdict::Ok, format!("a service answers at {}", path.display()), "")
        }
        Ok(Origin::Socket(path)) => check(
            NAME,
            Verdict::Warn,
            format!("{} does not exist", path.display()),
            "start the service, `systemctl start adit-enclave.socket`, or unset enclave.socket",
        ),
        Err(error) => check(NAME, Verdict::Warn, chain(&error), ""),
    }
}
