//! Which policy is in force: the owner's words, signed, and kept on this machine.

use std::path::PathBuf;

use adit_model::{
    AccountId, AccountSecret, GrantCid, Policy, PolicyHead, Programs, Requesters, Rule, Signable,
    SignatureError, Signed, Verified,
};
use adit_policy::{explain, to_toml};
use adit_unixfs::car;
use cid::Cid;
use serde::Serialize;

use super::{Checked, DAY, now, read, write_new};
use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::output::{Table, time};
use crate::own_grants::{Governed, OwnGrants, Word};
use crate::own_keys::{self, OwnKeys};

/// Which sealed data is spoken of, and after which word.
#[derive(Debug, clap::Args)]
struct OfGrant {
    /// What the data's key is shared out under: a grant's CID, or the first time a file with its block
    #[arg(value_name = "GRANT")]
    grant: String,
    /// The highest number of a word that was said elsewhere, such as on a machine that was lost
    #[arg(long, value_name = "NUMBER")]
    after: Option<u64>,
}

/// For how long a word holds.
#[derive(Debug, clap::Args)]
struct Lasting {
    /// For how many days; a holder that hears of no revocation goes on for as long
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u64).range(1..=36_500))]
    days: u64,
}

/// Arguments of `adit policy allow`.
#[derive(Debug, clap::Args)]
pub(crate) struct AllowArgs {
    #[command(flatten)]
    of: OfGrant,
    /// The policy (TOML); - for standard input; the one in force, renewed, if not given
    #[arg(value_name = "FILE")]
    policy: Option<PathBuf>,
    /// How many uses the policy allows in all; as many as before if it is the one in force
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    uses: Option<u32>,
    #[command(flatten)]
    lasting: Lasting,
}

/// Arguments of `adit policy deny`.
#[derive(Debug, clap::Args)]
pub(crate) struct DenyArgs {
    #[command(flatten)]
    of: OfGrant,
    /// A program that may not run any more; may be given several times
    #[arg(long, value_name = "CID", required_unless_present = "requester")]
    code: Vec<Cid>,
    /// Who may not ask any more (0x…); may be given several times
    #[arg(long, value_name = "ACCOUNT")]
    requester: Vec<AccountId>,
    /// How many uses what is left allows in all: it is another policy, and counts from nothing
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    uses: u32,
    #[command(flatten)]
    lasting: Lasting,
}

/// Arguments of `adit policy revoke`.
#[derive(Debug, clap::Args)]
pub(crate) struct RevokeArgs {
    #[command(flatten)]
    of: OfGrant,
}

/// Arguments of `adit policy show`.
#[derive(Debug, clap::Args)]
pub(crate) struct ShowArgs {
    /// The grant's CID; all of them, one line each, if not given
    #[arg(value_name = "GRANT")]
    grant: Option<GrantCid>,
    /// Write grant, policy and policy head as signed blocks into a new CAR file
    #[arg(long, short, value_name = "FILE", requires = "grant")]
    output: Option<PathBuf>,
}

/// What is printed as JSON: the signed records as they are.
#[derive(Serialize)]
struct Shown {
    grant: Signed<adit_model::Grant>,
    #[serde(skip_serializing_if = "Option::is_none")]
    head: Option<Signed<PolicyHead>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<Signed<Policy>>,
}

impl Shown {
    fn of(governed: &Governed, word: Option<&Word>) -> Self {
        Self {
            grant: Signed::clone(&governed.grant),
            head: word.map(|word| Signed::clone(&word.head)),
            policy: word.and_then(|word| word.policy.as_deref().cloned()),
        }
    }
}

/// The person, as the owner of one grant, and the last thing that was said of it.
struct Owner {
    secret: AccountSecret,
    governed: Governed,
    last: Option<Word>,
    after: u64,
}

impl Owner {
    fn of(args: &OfGrant) -> Result<Self, Failure> {
        let secret = own_keys::account(&OwnKeys::here()?.existing()?)?;
        let governed = OwnGrants::here()?.find(&args.grant)?;
        if governed.owner() != secret.account() {
            let what = format!("the grant {} is not yours but {}'s", governed.grant.cid(), governed.owner());
            return Err(Failure::new(Exit::TrustRefused, what));
        }
        let last = governed.last()?;
        let here = last.as_ref().map_or(0, |word| word.head.body().number);
        Ok(Self { secret, governed, last, after: here.max(args.after.unwrap_or(0)) })
    }

    /// The policy in force here, if any is.
    fn in_force(&self) -> Result<&Verified<Policy>, Failure> {
        let policy = self.last.as_ref().and_then(|word| word.policy.as_ref());
        policy.ok_or_else(|| {
            let why =
                if self.last.is_some() { "the last word revoked all use" } else { "nothing was said yet" };
            Failure::new(Exit::NotFound, format!("no policy is in force: {why}"))
                .hint("name a policy: `adit policy allow GRANT FILE`")
        })
    }

    fn sign<T: Signable<Signer = AccountId>>(&self, body: T) -> Result<Verified<T>, Failure> {
        let signed: Result<_, SignatureError> = Signed::sign(body, &self.secret);
        signed.map_err(|error| Failure::because(Exit::Failed, "cannot sign this", &error))
    }

    /// Says the next word: signs it, keeps it, and only then shows it.
    fn say(
        self,
        context: &Context,
        policy: Option<Verified<Policy>>,
        uses: u32,
        lasts: u64,
    ) -> Result<(), Failure> {
        let number = self.after.checked_add(1).ok_or_else(|| {
            Failure::new(Exit::Usage, format!("--after {}: there is no number above that", self.after))
        })?;
        let issued = now();
        let head = self.sign(PolicyHead {
            grant: self.governed.grant.cid(),
            owner: self.secret.account(),
            number,
            policy: policy.as_ref().map(|policy| policy.cid()),
            uses,
            issued,
            expiry: issued + lasts,
        })?;
        let word = Word { head, policy };
        self.governed.keep(&word)?;
        let shown = Shown::of(&self.governed, Some(&word));
        context.out.either(&shown, |out, _| out.line(word.head.cid()))?;
        context.out.note(format!("{}; holders act on it once they have it", state(Some(&word), issued)));
        Ok(())
    }
}

/// Puts a policy in force.
pub(super) fn allow(context: &Context, args: AllowArgs) -> Result<(), Failure> {
    let owner = Owner::of(&args.of)?;
    let policy = match &args.policy {
        Some(path) => owner.sign(read(path)?)?,
        None => owner.in_force()?.clone(),
    };
    if let Some(expiry) = policy.body().expiry.filter(|expiry| *expiry <= now()) {
        let what = format!("the policy allows nothing after {}", time(expiry));
        return Err(Failure::new(Exit::Usage, what).hint("give it another `expiry`"));
    }
    let as_before = || {
        let head = owner.last.as_ref()?.head.body();
        (head.policy == Some(policy.cid())).then_some(head.uses)
    };
    let uses = args.uses.or_else(as_before).ok_or_else(|| {
        Failure::new(Exit::Usage, "how many uses does this policy allow?").hint("say it with --uses")
    })?;
    owner.say(context, Some(policy), uses, args.lasting.days * DAY)
}

/// Puts in force what is left of the policy.
pub(super) fn deny(context: &Context, args: DenyArgs) -> Result<(), Failure> {
    let owner = Owner::of(&args.of)?;
    let mut policy = owner.in_force()?.body().clone();
    without(&mut policy, &args, &owner.governed.grant.body().object)?;
    if policy.rules.is_empty() {
        return Err(Failure::new(Exit::Usage, "nothing would be left of the policy")
            .hint("`adit policy revoke` ends all use"));
    }
    let policy = owner.sign(policy)?;
    owner.say(context, Some(policy), args.uses, args.lasting.days * DAY)
}

/// Ends all use.
pub(super) fn revoke(context: &Context, args: RevokeArgs) -> Result<(), Failure> {
    // Nothing is allowed while it holds, nor after: how long makes no difference.
    Owner::of(&args.of)?.say(context, None, 0, DAY)
}

/// Takes programs and requesters out of every rule, and with them the rules that have no other.
fn without(policy: &mut Policy, args: &DenyArgs, object: &Cid) -> Result<(), Failure> {
    let runs = |rule: &Rule, code: &Cid| match &rule.code {
        Programs::This => code == object,
        Programs::Of(list) => list.contains(code),
    };
    for code in &args.code {
        if !policy.rules.iter().any(|rule| runs(rule, code)) {
            return Err(not_named(code));
        }
    }
    for account in &args.requester {
        if !policy.rules.iter().any(|rule| rule.requesters.include(account)) {
            return Err(not_named(account));
        }
    }
    policy.rules.retain_mut(|rule| match &mut rule.code {
        Programs::This => !args.code.contains(object),
        Programs::Of(list) => {
            list.retain(|code| !args.code.contains(code));
            !list.is_empty()
        }
    });
    for (number, rule) in policy.rules.iter_mut().enumerate().filter(|_| !args.requester.is_empty()) {
        match &mut rule.requesters {
            Requesters::Of(list) => list.retain(|account| !args.requester.contains(account)),
            Requesters::Any => {
                let what = format!("rule {} of what is left lets anybody ask", number + 1);
                return Err(Failure::new(Exit::Usage, what).hint("write a policy that names who may ask"));
            }
        }
    }
    policy.rules.retain(|rule| !matches!(&rule.requesters, Requesters::Of(list) if list.is_empty()));
    Ok(())
}

fn not_named(what: &dyn std::fmt::Display) -> Failure {
    Failure::new(Exit::NotFound, format!("the policy in force does not allow {what}"))
}

/// Shows one grant with its policy, or lists all of them.
pub(super) fn show(context: &Context, args: ShowArgs) -> Result<(), Failure> {
    let grants = OwnGrants::here()?;
    let Some(cid) = args.grant else { return list(context, &grants) };
    let governed = grants.find(&cid.to_string())?;
    let word = governed.last()?;
    if let Some(path) = args.output {
        let word = word.ok_or_else(|| Failure::new(Exit::NotFound, "nothing was said of this grant yet"))?;
        write_new(&path, &blocks(&governed, &word))?;
        context.out.note(format!("signed blocks in {}", path.display()));
        return Ok(());
    }
    context.out.either(&Shown::of(&governed, word.as_ref()), |out, _| {
        let grant = governed.grant.body();
        out.line(format!("# Grant {cid} of {}", grant.object))?;
        out.line(format!(
            "# {} holders, {} of whom give the key together",
            grant.holders.len(),
            grant.needed
        ))?;
        out.line(format!("# {}", state(word.as_ref(), now())))?;
        match word.as_ref().and_then(|word| word.policy.as_ref()) {
            Some(policy) => out.line(format!("\n{}", to_toml(policy.body()).trim_end())),
            None => Ok(()),
        }
    })?;
    Ok(())
}

fn list(context: &Context, grants: &OwnGrants) -> Result<(), Failure> {
    let mut all = Vec::new();
    for governed in grants.all()? {
        let word = governed.last()?;
        all.push((governed, word));
    }
    if context.out.json() {
        let all: Vec<_> = all.iter().map(|(governed, word)| Shown::of(governed, word.as_ref())).collect();
        return Ok(context.out.document(&all)?);
    }
    let mut table = Table::new(["grant", "object", "state"], "Nothing was said here of any sealed data.");
    for (governed, word) in &all {
        let object = governed.grant.body().object.to_string();
        table.row([governed.grant.cid().to_string(), object, state(word.as_ref(), now())]);
    }
    Ok(table.print(&context.out)?)
}

/// A word in a few words.
fn state(word: Option<&Word>, now: u64) -> String {
    let Some(Word { head, policy }) = word else { return "nothing was said yet".into() };
    let PolicyHead { number, uses, expiry, .. } = *head.body();
    let until = time(expiry);
    match policy {
        None => format!("word {number}: revoked"),
        Some(_) if now > expiry => format!("word {number}: ran out on {until}"),
        Some(_) => format!("word {number}: in force until {until}, for {uses} uses in all"),
    }
}

/// The word and what it is about, for whoever has neither. The head is the root.
fn blocks(governed: &Governed, word: &Word) -> Vec<u8> {
    let mut out = car::header(&[word.head.cid().to_cid()]);
    let mut add = |cid: Cid, block: &[u8]| {
        out.extend(car::section_prefix(&cid, block.len()));
        out.extend(block);
    };
    add(word.head.cid().to_cid(), word.head.block());
    add(governed.grant.cid().to_cid(), governed.grant.block());
    if let Some(policy) = &word.policy {
        add(policy.cid().to_cid(), policy.block());
    }
    out
}

/// What is in force for a grant, in plain words.
pub(super) fn explained(grant: GrantCid) -> Result<Checked, Failure> {
    let governed = OwnGrants::here()?.find(&grant.to_string())?;
    let Some(word) = governed.last()? else {
        return Err(Failure::new(Exit::NotFound, "nothing was said of this grant yet"));
    };
    let Some(policy) = word.policy else {
        return Ok(Checked {
            policy: None,
            explained: "Nothing is allowed: you revoked all use. What was read before stays read.".into(),
        });
    };
    let policy = policy.into_body();
    let explained = explain(&policy, Some(governed.grant.body()), Some(word.head.body()));
    Ok(Checked { policy: Some(policy), explained })
}
