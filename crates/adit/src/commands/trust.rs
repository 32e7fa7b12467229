//! `adit trust`: what evidence of trusted environments is worth. Appraisal happens in this process, from files alone.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use adit_trust::{
    Adversary, Appraisal, Check, Endorsements, Evidence, Finding, Policy, Reason, ReferenceValues,
    Revocation, Software, TcbStatus, appraise, unix_seconds,
};
use serde::Serialize;

use crate::context::Context;
use crate::exit::{Exit, Failure, OutputError};
use crate::output::Output;
use crate::output::escape::one_line;
use crate::output::time;

/// Subcommands of `adit trust`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Trust {
    /// Say what evidence is worth, from files alone; ends with 0 only if it is accepted
    Appraise(Box<AppraiseArgs>),
}

/// Arguments of `adit trust appraise`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The kind is told from the bytes: SEV-SNP reports, TDX and SGX quotes, Nitro documents. A TPM's quote (JSON) is
checked too and refused at the end: no file shows that its key lives in the TPM.

Without --reference (or with --any-software) only the hardware is appraised, and nothing is claimed to be
confidential. Without --report-data nobody knows which key the evidence is for.")]
pub(crate) struct AppraiseArgs {
    /// The evidence, as the hardware gives it
    #[arg(value_name = "FILE")]
    evidence: PathBuf,
    /// Certificates, revocation lists (PEM or DER) or Intel collateral (JSON); may be repeated
    #[arg(long, value_name = "FILE")]
    endorsements: Vec<PathBuf>,
    /// Measurements of the software that may run (JSON)
    #[arg(long, value_name = "FILE", conflicts_with = "any_software")]
    reference: Option<PathBuf>,
    /// Accept any software, and claim nothing for it
    #[arg(long)]
    any_software: bool,
    /// What the evidence must be bound to
    #[arg(long, value_name = "HEX", value_parser = hex)]
    report_data: Option<Hex>,
    /// The nonce that it must answer, where it has one beside its report data
    #[arg(long, value_name = "HEX", value_parser = hex)]
    nonce: Option<Hex>,
    /// The oldest that it may be, where it says when it was made
    #[arg(long, value_name = "SECONDS")]
    max_age: Option<u64>,
    /// Appraise as of this time, as in 2026-11-23T07:00:00Z [default: now]
    #[arg(long, value_name = "TIME", value_parser = at)]
    at: Option<u64>,
    /// Go on where no revocation list was given
    #[arg(long)]
    without_revocation_lists: bool,
    /// Accept this status of an Intel platform too, as in SWHardeningNeeded; may be repeated
    #[arg(long, value_name = "STATUS", value_parser = status)]
    accept_status: Vec<TcbStatus>,
}

/// Bytes from the command line.
#[derive(Clone, Debug)]
struct Hex(Vec<u8>);

fn hex(text: &str) -> Result<Hex, String> {
    data_encoding::HEXLOWER_PERMISSIVE.decode(text.as_bytes()).map(Hex).map_err(|error| error.to_string())
}

fn at(text: &str) -> Result<u64, String> {
    unix_seconds(text).ok_or_else(|| "not a time as in 2026-11-23T07:00:00Z".into())
}

fn status(text: &str) -> Result<TcbStatus, String> {
    serde_json::from_value(text.into()).map_err(|_| "not one of Intel's words".into())
}

/// What is printed as JSON.
#[derive(Serialize)]
struct Report {
    accepted: bool,
    #[serde(flatten)]
    appraisal: Appraisal,
}

/// Runs a subcommand. Evidence that is refused ends with 5.
pub(crate) fn trust(context: &Context, command: Trust) -> Result<(), Failure> {
    let Trust::Appraise(args) = command;
    let evidence = read(&args.evidence, adit_trust::MAX_EVIDENCE)?;
    let evidence = Evidence::detect(&evidence).map_err(|reason| unusable(&args.evidence, &reason))?;
    let mut endorsements = Endorsements::default();
    for path in &args.endorsements {
        let file = read(path, adit_trust::MAX_ENDORSEMENT)?;
        endorsements.add(&file).map_err(|reason| unusable(path, &reason))?;
    }
    let references = match &args.reference {
        Some(path) => {
            let file = read(path, adit_trust::MAX_ENDORSEMENT)?;
            ReferenceValues::from_json(&file).map_err(|reason| unusable(path, &reason))?
        }
        None => ReferenceValues::default(),
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let now = args.at.unwrap_or(now);
    let report_of = |policy: &Policy| {
        let appraisal = appraise(&evidence, &endorsements, &references, policy, now);
        Report { accepted: appraisal.accepted(), appraisal }
    };
    let report = report_of(&policy(&args));
    context.out.either(&report, show)?;
    match report.appraisal.reasons().next() {
        None => Ok(()),
        Some(reason) => {
            let refused = Failure::new(Exit::TrustRefused, format!("the evidence is refused: {reason}"));
            Err(match hint(reason) {
                Some(hint) => refused.hint(hint),
                None => refused,
            })
        }
    }
}

fn policy(args: &AppraiseArgs) -> Policy {
    let mut policy = Policy {
        report_data: args.report_data.clone().map(|hex| hex.0),
        nonce: args.nonce.clone().map(|hex| hex.0),
        max_age: args.max_age,
        ..Policy::default()
    };
    if args.any_software || args.reference.is_none() {
        policy.software = Software::Any;
    }
    if args.without_revocation_lists {
        policy.revocation = Revocation::IfGiven;
    }
    policy.dcap.statuses.extend(&args.accept_status);
    policy
}

fn hint(reason: &Reason) -> Option<&'static str> {
    Some(match reason {
        Reason::KeyCertificateMissing(_) | Reason::IssuerMissing(_) => {
            "give certificates with --endorsements"
        }
        Reason::CollateralMissing => "give the platform's collateral (JSON) with --endorsements",
        Reason::CollateralOutOfDate(_) | Reason::RevocationListExpired(_) => {
            "give newer endorsements, or the time that they are for with --at"
        }
        Reason::RevocationUnknown(_) => {
            "give the list with --endorsements, or say --without-revocation-lists"
        }
        Reason::TcbStatus(_) => "if you know what this status means for you: --accept-status",
        _ => return None,
    })
}

fn unusable(path: &Path, reason: &Reason) -> Failure {
    Failure::new(Exit::TrustRefused, format!("{}: {reason}", path.display()))
}

/// The file, if it is not longer than what could be looked at.
fn read(path: &Path, most: usize) -> Result<Vec<u8>, Failure> {
    let failed = |error: std::io::Error| {
        let exit = if error.kind() == std::io::ErrorKind::NotFound { Exit::NotFound } else { Exit::Failed };
        Failure::because(exit, format!("cannot read {}", path.display()), &error)
    };
    let mut bytes = Vec::new();
    // One byte more, so that what is too long is seen to be.
    std::fs::File::open(path)
        .and_then(|file| file.take(most as u64 + 1).read_to_end(&mut bytes))
        .map_err(failed)?;
    Ok(bytes)
}

fn show(out: &Output, report: &Report) -> Result<(), OutputError> {
    let appraisal = &report.appraisal;
    out.line(format!("evidence    {}, appraised as of {}", appraisal.kind, time(appraisal.time)))?;
    let who = appraisal.vouched_by.as_deref().unwrap_or("nobody");
    out.line(format!("vouched by  {}", one_line(who)))?;
    if let Some(name) = &appraisal.reference {
        out.line(format!("runs        {}", one_line(name)))?;
    }
    for fact in &appraisal.facts {
        out.line(format!("says        {}: {}", fact.name, one_line(&fact.value)))?;
    }
    for Check { step, finding } in &appraisal.checks {
        match finding {
            Finding::Pass => out.line(format!("pass        {}", step.words()))?,
            Finding::Fail { reason } => {
                out.line(format!("FAIL        {}: {}", step.words(), one_line(&reason.to_string())))?;
            }
            Finding::NotAsked { unknown } => out.line(format!("not asked   {}: {unknown}", step.words()))?,
        }
    }
    let Some(claims) = appraisal.claims() else {
        return out.line("REFUSED: nothing is claimed");
    };
    let kept = claims.confidential_from();
    let words = |wanted: bool| {
        let list = Adversary::ALL.into_iter().filter(|one| kept.contains(one) == wanted);
        let list = list.map(Adversary::words).collect::<Vec<_>>().join(", ");
        if list.is_empty() { "nobody".to_owned() } else { list }
    };
    out.line(format!("rests on    {}", claims.assurance().name()))?;
    out.line(format!("claimed     what runs inside is kept from: {}", words(true)))?;
    out.line(format!("not claimed that it is kept from: {}", words(false)))?;
    out.line("ACCEPTED")
}
