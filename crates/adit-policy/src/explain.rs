//! A policy in plain words: what it allows, and what it cannot prevent.

use std::fmt::Write as _;

use adit_model::{EvidenceKind, Grant, Inputs, Policy, PolicyHead, Programs, Requesters, Rule, TextPattern};
use adit_release::Terms;
use adit_seal::age::Recipient;
use cid::Cid;

use crate::text::moment;

/// Explains a policy, under a grant and a head where there are some.
pub fn explain(policy: &Policy, grant: Option<&Grant>, head: Option<&PolicyHead>) -> String {
    let mut out = String::new();
    let mut say = |line: &str| {
        let _ = writeln!(out, "{line}");
    };
    for (number, rule) in policy.rules.iter().enumerate() {
        say(&format!("Rule {} of {} allows this and nothing else:", number + 1, policy.rules.len()));
        explain_rule(rule, &mut say);
    }
    say("Under every rule:");
    let mut readers: Vec<String> =
        policy.recipients.keys.iter().map(|key| Recipient::from_bytes(key.0).to_string()).collect();
    if policy.recipients.requester {
        readers.push("a key that the requester names".into());
    }
    say(&format!("  What comes out is sealed to one of: {}.", readers.join(", ")));
    say(&format!("  The machine proves itself by evidence of the kind {}.", kinds(&policy.evidence.kinds)));
    match policy.evidence.references.len() {
        0 => say("  What runs inside must be known to the holders: the policy names no manifest of its own."),
        n => say(&format!("  What runs inside must be named by one of {n} manifests.")),
    }
    say(&match policy.evidence.per_job {
        true => "  Each job needs a quote of its own.".to_owned(),
        false => format!("  A quote may be {} seconds old, and serve several jobs.", policy.evidence.max_age),
    });
    say(match policy.prefetch {
        true => "  The data is brought whole before the program starts.",
        false => "  The program reads what it needs, when it needs it.",
    });
    if policy.fee.0 > 0 {
        say(&format!("  One use costs {} at least.", policy.fee));
    }
    if let Some(from) = policy.not_before {
        say(&format!("  Not before {}.", moment(from)));
    }
    if let Some(expiry) = policy.expiry {
        say(&format!("  Not after {}.", moment(expiry)));
    }
    if let Some(head) = head {
        say(&match head.policy {
            None => "  It is not in force: the owner has revoked all use.".to_owned(),
            Some(_) => format!(
                "  It is in force until {}, for {} uses in all (the owner's word number {}).",
                moment(head.expiry),
                head.uses,
                head.number
            ),
        });
    }
    if let Some(grant) = grant {
        explain_holders(grant, &mut say);
    }
    say("It cannot prevent:");
    for line in limits(policy) {
        say(&format!("  - {line}"));
    }
    let warnings = warnings(policy);
    if !warnings.is_empty() {
        say("Look again at:");
        warnings.iter().for_each(|line| say(&format!("  ! {line}")));
    }
    out
}

fn explain_rule(rule: &Rule, say: &mut impl FnMut(&str)) {
    say(&match &rule.code {
        Programs::This => "  Program: the sealed object itself.".to_owned(),
        Programs::Of(cids) => format!("  Program: {}, as {}.", one_of(cids), rule.abi),
    });
    let mut args: Vec<String> = rule.args.iter().map(text).collect();
    args.extend(rule.more_args.as_ref().map(|more| format!("and any number more, each {}", text(more))));
    say(&match args.is_empty() {
        true => "  Arguments: none.".to_owned(),
        false => format!("  Arguments: {}.", args.join("; ")),
    });
    let env: Vec<String> = rule.env.iter().map(|(name, value)| format!("{name} = {}", text(value))).collect();
    say(&match env.is_empty() {
        true => "  Environment: empty.".to_owned(),
        false => format!("  Environment: {}.", env.join("; ")),
    });
    for (path, what) in &rule.inputs {
        say(&format!("  At {path}: {}.", input(what)));
    }
    if let Some(more) = &rule.more_inputs {
        say(&format!("  At any other path: {}.", input(more)));
    }
    if let Some(stdin) = &rule.stdin {
        say(&format!("  Standard input: {}.", input(stdin)));
    }
    let limits = rule.limits;
    say(&format!(
        "  At most {} units of fuel, {} bytes of memory, {} bytes of output; no network, no clock.",
        limits.fuel, limits.memory, limits.output
    ));
    say(&match &rule.requesters {
        Requesters::Any => "  Asked for by: anybody.".to_owned(),
        Requesters::Of(accounts) => {
            let accounts: Vec<String> = accounts.iter().map(ToString::to_string).collect();
            format!("  Asked for by: {}.", accounts.join(", "))
        }
    });
}

fn explain_holders(grant: &Grant, say: &mut impl FnMut(&str)) {
    let n = grant.holders.len();
    say(&format!("  The key is shared out among {n} holders, {} of whom give it together.", grant.needed));
    let terms = u8::try_from(n).ok().and_then(|n| Terms::new(n, grant.needed).ok());
    if let Some(terms) = terms {
        say(&format!(
            "  Uses are counted rightly while at most {} of them cheat; {} may be away.",
            terms.faulty(),
            terms.silent()
        ));
    }
    say(&format!("  {} of them together can read the data without asking anybody.", grant.needed));
}

/// What no policy of this kind prevents.
fn limits(policy: &Policy) -> Vec<&'static str> {
    let mut lines = vec![
        "An allowed program putting anything that it reads into what comes out. Only what the program does limits that.",
        "Whoever reads what comes out keeping it, and passing it on.",
        "What was read before a revocation from having been read.",
        "The time that a job took, its price and the size of its output from being known, in steps.",
    ];
    if !policy.prefetch {
        lines.push("The host from seeing which parts of the data the program reads, and when.");
    }
    let has = |kind| policy.evidence.kinds.contains(&kind);
    if policy.evidence.kinds.iter().any(EvidenceKind::is_tee) {
        lines.push("Whoever has the machine in hand, or finds a flaw in its processor, from reading the data in use.");
    }
    if has(EvidenceKind::Tpm2) {
        lines.push("The administrator of a host with a TPM from reading the data in use.");
    }
    if has(EvidenceKind::Dev) {
        lines.push(
            "Anybody on a development network from reading the data in use: its evidence is simulated.",
        );
    }
    lines
}

/// Settings that are seldom meant.
fn warnings(policy: &Policy) -> Vec<String> {
    let mut lines = Vec::new();
    for (number, rule) in policy.rules.iter().enumerate() {
        let number = number + 1;
        if rule.requesters == Requesters::Any && policy.recipients.requester {
            lines.push(format!("Rule {number}: anybody may ask, and whoever asks reads what comes out."));
        }
        let free = |pattern: &TextPattern| matches!(pattern, TextPattern::Any(_));
        if rule.args.iter().chain(&rule.more_args).any(free) {
            lines.push(format!(
                "Rule {number}: an argument is free. If the program is a query engine, or takes a path or a pattern, that is \
                 as good as handing out the data."
            ));
        }
        if rule.env.values().any(free) {
            lines.push(format!("Rule {number}: a variable of the environment is free."));
        }
        if rule.inputs.values().chain(&rule.more_inputs).chain(&rule.stdin).any(|what| *what == Inputs::Any) {
            lines.push(format!("Rule {number}: an input is free. If the program does what that input says, so is what it does."));
        }
    }
    if let Some(words) = &policy.accepts {
        lines.push(format!("Less than a trusted execution environment is accepted: \"{words}\"."));
    }
    if policy.expiry.is_none() {
        lines.push("The policy has no end of its own.".into());
    }
    lines
}

fn kinds(kinds: &[EvidenceKind]) -> String {
    let names: Vec<&str> = kinds.iter().map(EvidenceKind::as_str).collect();
    names.join(" or ")
}

fn one_of(cids: &[Cid]) -> String {
    let names: Vec<String> = cids.iter().map(Cid::to_string).collect();
    names.join(" or ")
}

fn text(pattern: &TextPattern) -> String {
    match pattern {
        TextPattern::Is(text) => format!("{text:?}"),
        TextPattern::Of(list) => {
            let list: Vec<String> = list.iter().map(|text| format!("{text:?}")).collect();
            list.join(" or ")
        }
        TextPattern::Number(least, most) => format!("a number from {least} to {most}"),
        TextPattern::Any(most) => format!("any text of at most {most} bytes"),
    }
}

fn input(what: &Inputs) -> String {
    match what {
        Inputs::This => "the sealed object".into(),
        Inputs::Sealed => "something sealed whose own owner allows this too".into(),
        Inputs::Any => "anything".into(),
        Inputs::Of(cids) => one_of(cids),
    }
}
