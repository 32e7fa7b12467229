//! `adit policy`: what owners of sealed data allow, as files that people write and read, and as words that they sign.
//! Everything happens in this process.

mod in_force;

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{BufRead as _, ErrorKind, IsTerminal as _, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use adit_model::{
    Abi, AccountId, Amount, EvidenceKind, EvidenceTerms, GrantCid, Inputs, Limits, Policy, Profile, Programs,
    Recipients, Requesters, Rule, SealKey, Signable as _, TextPattern,
};
use adit_policy::{explain, from_toml, to_toml};
use adit_seal::age::Recipient;
use cid::Cid;
use serde::Serialize;

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::own_keys::{OwnKeys, Shared, shared};

/// Longest policy file.
const LONGEST: u64 = 1 << 20;
const DAY: u64 = 86_400;

/// Subcommands of `adit policy`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum PolicyCommand {
    /// Write a policy with safe defaults; asks for what is not given, on a terminal
    New(NewArgs),
    /// Say whether a file is a policy, and what is wrong with it
    Check(FileArgs),
    /// Say in plain words what a policy allows, and what it cannot prevent
    Explain(ExplainArgs),
    /// Show which policy is in force for which sealed data
    Show(in_force::ShowArgs),
    /// Put a policy in force for sealed data, or renew the one that is
    Allow(in_force::AllowArgs),
    /// Put in force what is left of a policy without some programs or requesters
    Deny(in_force::DenyArgs),
    /// Allow nothing any more
    Revoke(in_force::RevokeArgs),
}

/// Arguments of `adit policy new`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
What is not named is not allowed: only these programs, with exactly these arguments, an empty
environment, the data at one path, no other input. Evidence of a trusted execution environment
is asked for, the data is brought whole before the program starts, and there is no network and
no clock. Edit the file for more; `adit policy explain` says what it means.")]
pub(crate) struct NewArgs {
    /// Where to write it, which must not exist; standard output if not given
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// A program that may run; may be given several times
    #[arg(long, value_name = "CID")]
    code: Vec<Cid>,
    /// How the program is called
    #[arg(long, value_name = "ABI", default_value = "wasip1", value_parser = abi)]
    abi: Abi,
    /// An argument of the program, exactly; may be given several times
    #[arg(long = "arg", value_name = "TEXT", allow_hyphen_values = true)]
    args: Vec<String>,
    /// Where the program finds the data
    #[arg(long, value_name = "PATH", default_value = "/in/data")]
    at: String,
    /// Who may ask (0x…); may be given several times
    #[arg(long, value_name = "ACCOUNT")]
    requester: Vec<AccountId>,
    /// Who may read what comes out (age1…), beside you and whoever may ask; may be given several times
    #[arg(long, value_name = "RECIPIENT")]
    to: Vec<String>,
    /// For how many days
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=36_500))]
    days: u64,
}

/// Arguments that name a policy.
#[derive(Debug, clap::Args)]
pub(crate) struct FileArgs {
    /// The policy (TOML); - for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Arguments of `adit policy explain`.
#[derive(Debug, clap::Args)]
pub(crate) struct ExplainArgs {
    /// The policy (TOML); - for standard input; or a grant's CID, for the policy in force
    #[arg(value_name = "FILE|GRANT")]
    what: PathBuf,
}

fn abi(text: &str) -> Result<Abi, String> {
    text.parse().map_err(|error: adit_model::DecodeError| error.to_string())
}

/// What is printed as JSON.
#[derive(Serialize)]
struct Checked {
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<Policy>,
    explained: String,
}

/// Runs a subcommand.
pub(crate) fn policy(context: &Context, command: PolicyCommand) -> Result<(), Failure> {
    match command {
        PolicyCommand::New(args) => new(context, args),
        PolicyCommand::Check(FileArgs { file }) => {
            let policy = read(&file)?;
            let rules = policy.rules.len();
            context.out.either(&checked(policy), |out, _| {
                out.line(format!("a policy of {rules} {}", if rules == 1 { "rule" } else { "rules" }))
            })?;
            Ok(())
        }
        PolicyCommand::Explain(ExplainArgs { what }) => {
            let grant = what.to_str().and_then(|text| text.parse::<GrantCid>().ok());
            let checked = match grant {
                Some(grant) => in_force::explained(grant)?,
                None => checked(read(&what)?),
            };
            context.out.either(&checked, |out, checked| out.line(checked.explained.trim_end()))?;
            Ok(())
        }
        PolicyCommand::Show(args) => in_force::show(context, args),
        PolicyCommand::Allow(args) => in_force::allow(context, args),
        PolicyCommand::Deny(args) => in_force::deny(context, args),
        PolicyCommand::Revoke(args) => in_force::revoke(context, args),
    }
}

fn checked(policy: Policy) -> Checked {
    Checked { explained: explain(&policy, None, None), policy: Some(policy) }
}

/// Whose policies these are: the person's, if it has keys here. A file says nothing of its owner, who signs it.
fn owner() -> Result<Option<Shared>, Failure> {
    OwnKeys::here()?.find()?.as_ref().map(shared).transpose()
}

fn read(path: &Path) -> Result<Policy, Failure> {
    let failed = |error: std::io::Error| {
        let exit = if error.kind() == ErrorKind::NotFound { Exit::NotFound } else { Exit::Failed };
        Failure::because(exit, format!("cannot read {}", path.display()), &error)
    };
    let mut text = String::new();
    // One byte more, so that what is too long is seen to be.
    match path.as_os_str() == "-" {
        true => std::io::stdin().lock().take(LONGEST + 1).read_to_string(&mut text),
        false => std::fs::File::open(path).and_then(|file| file.take(LONGEST + 1).read_to_string(&mut text)),
    }
    .map_err(failed)?;
    let owner = owner()?.map_or(AccountId([0; 20]), |own| own.account);
    from_toml(&text, owner)
        .map_err(|error| Failure::because(Exit::Usage, format!("{} is no policy", path.display()), &error))
}

fn new(context: &Context, mut args: NewArgs) -> Result<(), Failure> {
    let own = owner()?.ok_or_else(|| {
        Failure::new(Exit::NotFound, "a policy is its owner's, and you have no keys here")
            .hint("`adit key new` makes some, `adit key restore` takes a recovery phrase")
    })?;
    if args.code.is_empty() {
        args.code = ask("Which program may run (CID)?", "name it with --code")?;
    }
    if args.requester.is_empty() {
        args.requester = ask("Who may ask (accounts, 0x…)?", "name them with --requester")?;
    }
    let mut keys = vec![key(&own.recipient)?];
    for named in &args.to {
        keys.push(key(named)?);
    }
    keys.sort();
    keys.dedup();
    let set = |mut cids: Vec<Cid>| {
        cids.sort();
        cids.dedup();
        cids
    };
    let mut requesters = args.requester;
    requesters.sort();
    requesters.dedup();
    let policy = Policy {
        owner: own.account,
        rules: vec![Rule {
            code: Programs::Of(set(args.code)),
            abi: args.abi,
            args: args.args.into_iter().map(TextPattern::Is).collect(),
            more_args: None,
            env: BTreeMap::new(),
            inputs: BTreeMap::from([(args.at, Inputs::This)]),
            more_inputs: None,
            stdin: None,
            limits: Limits { fuel: 1_000_000_000_000, memory: 1 << 30, output: 64 << 20 },
            profile: Profile::Deterministic,
            requesters: Requesters::Of(requesters),
        }],
        recipients: Recipients { keys, requester: true },
        evidence: EvidenceTerms {
            kinds: vec![EvidenceKind::SevSnp, EvidenceKind::Tdx, EvidenceKind::Sgx, EvidenceKind::Nitro],
            references: Vec::new(),
            max_age: 3600,
            per_job: false,
        },
        fee: Amount(0),
        prefetch: true,
        not_before: None,
        expiry: Some(now() + args.days * DAY),
        accepts: None,
    };
    policy.validate().map_err(|error| Failure::because(Exit::Usage, "this is no policy", &error))?;
    let text = format!(
        "# What may be done with sealed data of {}.\n# `adit policy explain` says in plain words what this allows.\n\n{}",
        own.account,
        to_toml(&policy)
    );
    let Some(path) = args.output else {
        context.out.raw(text.as_bytes())?;
        return Ok(());
    };
    write_new(&path, text.as_bytes())?;
    context.out.note(format!("written to {}; `adit policy explain` says what it means", path.display()));
    Ok(())
}

/// Writes a file that did not exist before.
fn write_new(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let written = OpenOptions::new().write(true).create_new(true).open(path);
    written
        .and_then(|mut file| file.write_all(bytes))
        .map_err(|error| Failure::because(Exit::Failed, format!("cannot write {}", path.display()), &error))
}

/// Unix time in seconds, by this machine's clock.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn key(text: &str) -> Result<SealKey, Failure> {
    let recipient: Result<Recipient, _> = text.parse();
    recipient
        .map(|recipient| SealKey(*recipient.as_bytes()))
        .map_err(|error| Failure::because(Exit::Usage, "--to", &error))
}

/// Asks for one or more, on a terminal; elsewhere they have to be given.
fn ask<T: std::str::FromStr<Err: std::fmt::Display>>(
    question: &str,
    otherwise: &'static str,
) -> Result<Vec<T>, Failure> {
    let missing = || Failure::new(Exit::Usage, "something is missing").hint(otherwise);
    if !std::io::stdin().is_terminal() {
        return Err(missing());
    }
    eprint!("{question} ");
    let mut line = String::new();
    let read = std::io::stdin().lock().take(64 << 10).read_line(&mut line);
    read.map_err(|error| Failure::because(Exit::Failed, "cannot read the answer", &error))?;
    let words: Vec<&str> = line.split([' ', ',', '\n']).filter(|word| !word.is_empty()).collect();
    if words.is_empty() {
        return Err(missing());
    }
    let parse =
        |word: &&str| word.parse().map_err(|error| Failure::new(Exit::Usage, format!("{word}: {error}")));
    words.iter().map(parse).collect()
}
