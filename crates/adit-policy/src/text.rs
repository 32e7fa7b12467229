//! Policies as owners write them: TOML.
//!
//! ```toml
//! # Who may read what comes out: keys (age1…), and "requester" for whoever asks.
//! recipients = ["age1…", "requester"]
//! prefetch = true
//! expiry = 2027-01-01T00:00:00Z
//!
//! [evidence]
//! kinds = ["sev-snp", "tdx"]
//! max-age = 300                       # seconds
//!
//! [[allow]]
//! code = ["bafy…"]                    # or "this": what is sealed is a program
//! abi = "wasip1"
//! args = ["--top", { number = [1, 100] }]
//! env = { LANG = { of = ["C", "C.UTF-8"] } }
//! inputs = { "/in/data" = "this" }    # or "sealed", "any", or a list of CIDs
//! limits = { fuel = 1000000000, memory = 268435456, output = 67108864 }
//! requesters = ["0x…"]                # or "any"
//! ```

use std::collections::BTreeMap;

use adit_model::{
    Abi, AccountId, Amount, EvidenceKind, EvidenceTerms, Inputs, Invalid, Limits, Policy, Profile, Programs,
    Recipients, Requesters, Rule, SealKey, Signable as _, TextPattern,
};
use adit_seal::age::Recipient;
use cid::Cid;
use serde::{Deserialize, Serialize};
use toml::value::{Date, Datetime, Offset, Time};

/// Longest policy file.
const LONGEST: usize = 1 << 20;
const REQUESTER: &str = "requester";

/// Why a text is no policy.
#[derive(Debug, thiserror::Error)]
pub enum TextError {
    #[error("the policy has {0} bytes, more than the {LONGEST} allowed")]
    TooLong(usize),
    /// With the line and what was expected there.
    #[error("{0}")]
    Toml(#[from] toml::de::Error),
    #[error("`{field}`: {why}")]
    Value { field: &'static str, why: String },
    #[error(transparent)]
    Invalid(#[from] Invalid),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct PolicyText {
    recipients: Vec<String>,
    #[serde(default = "yes")]
    prefetch: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fee: Option<Amount>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    not_before: Option<Datetime>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expiry: Option<Datetime>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    accepts: Option<String>,
    evidence: EvidenceText,
    allow: Vec<RuleText>,
}

fn yes() -> bool {
    true
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct EvidenceText {
    kinds: Vec<EvidenceKind>,
    max_age: u32,
    #[serde(default)]
    per_job: bool,
    #[serde(default, with = "adit_model::text::cid::list", skip_serializing_if = "Vec::is_empty")]
    references: Vec<Cid>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct RuleText {
    code: WordOrList,
    abi: Abi,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    args: Vec<PatternText>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    more_args: Option<PatternText>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stdin: Option<WordOrList>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    more_inputs: Option<WordOrList>,
    requesters: WordOrList,
    limits: Limits,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    env: BTreeMap<String, PatternText>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    inputs: BTreeMap<String, WordOrList>,
}

/// A text by itself is exactly that text.
#[derive(Serialize, Deserialize)]
#[serde(untagged, expecting = "a text, or one of { of = […] }, { number = [A, B] }, { any = BYTES }")]
enum PatternText {
    Is(String),
    Pattern(TextPattern),
}

#[derive(Serialize, Deserialize)]
#[serde(untagged, expecting = "a word such as \"this\" or \"any\", or a list")]
enum WordOrList {
    Word(String),
    List(Vec<String>),
}

/// Reads a policy of this owner. Lists may stand in any order.
///
/// # Errors
/// With the line where it is not TOML of the right shape, else with the field, or what the whole lacks.
pub fn from_toml(text: &str, owner: AccountId) -> Result<Policy, TextError> {
    if text.len() > LONGEST {
        return Err(TextError::TooLong(text.len()));
    }
    let PolicyText { recipients, prefetch, fee, not_before, expiry, accepts, evidence, allow } =
        toml::from_str(text)?;
    let mut keys = Vec::new();
    for name in recipients.iter().filter(|name| *name != REQUESTER) {
        keys.push(key(name)?);
    }
    let EvidenceText { kinds, max_age, per_job, references } = evidence;
    let policy = Policy {
        owner,
        rules: allow.into_iter().map(rule).collect::<Result<_, _>>()?,
        recipients: Recipients {
            keys: sorted(keys),
            requester: recipients.iter().any(|name| name == REQUESTER),
        },
        evidence: EvidenceTerms { kinds: sorted(kinds), references: sorted(references), max_age, per_job },
        fee: fee.unwrap_or_default(),
        prefetch,
        not_before: not_before.map(|at| unix("not-before", at)).transpose()?,
        expiry: expiry.map(|at| unix("expiry", at)).transpose()?,
        accepts,
    };
    policy.validate()?;
    Ok(policy)
}

/// Writes one, in the form that [`from_toml`] reads.
pub fn to_toml(policy: &Policy) -> String {
    let Policy { owner: _, rules, recipients, evidence, fee, prefetch, not_before, expiry, accepts } = policy;
    let mut names: Vec<String> =
        recipients.keys.iter().map(|key| Recipient::from_bytes(key.0).to_string()).collect();
    names.extend(recipients.requester.then(|| REQUESTER.to_owned()));
    let text = PolicyText {
        recipients: names,
        prefetch: *prefetch,
        fee: (fee.0 > 0).then_some(*fee),
        not_before: not_before.map(datetime),
        expiry: expiry.map(datetime),
        accepts: accepts.clone(),
        evidence: EvidenceText {
            kinds: evidence.kinds.clone(),
            max_age: evidence.max_age,
            per_job: evidence.per_job,
            references: evidence.references.clone(),
        },
        allow: rules.iter().map(rule_text).collect(),
    };
    toml::to_string(&text).expect("every field has a form in TOML")
}

fn sorted<T: Ord>(mut items: Vec<T>) -> Vec<T> {
    items.sort();
    items.dedup();
    items
}

fn wrong(field: &'static str, why: impl ToString) -> TextError {
    TextError::Value { field, why: why.to_string() }
}

fn key(text: &str) -> Result<SealKey, TextError> {
    let recipient: Result<Recipient, _> = text.parse();
    recipient.map(|recipient| SealKey(*recipient.as_bytes())).map_err(|error| wrong("recipients", error))
}

fn parsed<T: std::str::FromStr<Err: std::fmt::Display> + Ord>(
    field: &'static str,
    list: Vec<String>,
) -> Result<Vec<T>, TextError> {
    let items =
        list.iter().map(|text| text.parse().map_err(|error| wrong(field, format!("{text}: {error}"))));
    items.collect::<Result<_, _>>().map(sorted)
}

fn rule(text: RuleText) -> Result<Rule, TextError> {
    let patterns = |list: Vec<PatternText>| list.into_iter().map(pattern).collect();
    Ok(Rule {
        code: match text.code {
            WordOrList::Word(word) if word == "this" => Programs::This,
            WordOrList::Word(word) => Programs::Of(parsed("code", vec![word])?),
            WordOrList::List(list) => Programs::Of(parsed("code", list)?),
        },
        abi: text.abi,
        args: patterns(text.args),
        more_args: text.more_args.map(pattern),
        env: text.env.into_iter().map(|(name, value)| (name, pattern(value))).collect(),
        inputs: text
            .inputs
            .into_iter()
            .map(|(path, input)| Ok((path, inputs("inputs", input)?)))
            .collect::<Result<_, TextError>>()?,
        more_inputs: text.more_inputs.map(|input| inputs("more-inputs", input)).transpose()?,
        stdin: text.stdin.map(|input| inputs("stdin", input)).transpose()?,
        limits: text.limits,
        profile: Profile::Deterministic,
        requesters: match text.requesters {
            WordOrList::Word(word) if word == "any" => Requesters::Any,
            WordOrList::Word(word) => Requesters::Of(parsed("requesters", vec![word])?),
            WordOrList::List(list) => Requesters::Of(parsed("requesters", list)?),
        },
    })
}

fn pattern(text: PatternText) -> TextPattern {
    match text {
        PatternText::Is(text) => TextPattern::Is(text),
        PatternText::Pattern(pattern) => pattern,
    }
}

fn inputs(field: &'static str, text: WordOrList) -> Result<Inputs, TextError> {
    Ok(match text {
        WordOrList::Word(word) => match word.as_str() {
            "this" => Inputs::This,
            "sealed" => Inputs::Sealed,
            "any" => Inputs::Any,
            _ => Inputs::Of(parsed(field, vec![word])?),
        },
        WordOrList::List(list) => Inputs::Of(parsed(field, list)?),
    })
}

fn rule_text(rule: &Rule) -> RuleText {
    let word = |text: &str| WordOrList::Word(text.to_owned());
    let list = |items: Vec<String>| WordOrList::List(items);
    let pattern = |pattern: &TextPattern| match pattern {
        TextPattern::Is(text) => PatternText::Is(text.clone()),
        other => PatternText::Pattern(other.clone()),
    };
    let input = |input: &Inputs| match input {
        Inputs::This => word("this"),
        Inputs::Sealed => word("sealed"),
        Inputs::Any => word("any"),
        Inputs::Of(cids) => list(cids.iter().map(Cid::to_string).collect()),
    };
    RuleText {
        code: match &rule.code {
            Programs::This => word("this"),
            Programs::Of(cids) => list(cids.iter().map(Cid::to_string).collect()),
        },
        abi: rule.abi,
        args: rule.args.iter().map(pattern).collect(),
        more_args: rule.more_args.as_ref().map(pattern),
        stdin: rule.stdin.as_ref().map(input),
        more_inputs: rule.more_inputs.as_ref().map(input),
        requesters: match &rule.requesters {
            Requesters::Any => word("any"),
            Requesters::Of(accounts) => list(accounts.iter().map(AccountId::to_string).collect()),
        },
        limits: rule.limits,
        env: rule.env.iter().map(|(name, value)| (name.clone(), pattern(value))).collect(),
        inputs: rule.inputs.iter().map(|(path, value)| (path.clone(), input(value))).collect(),
    }
}

/// Days of the proleptic Gregorian calendar from 1 March of year 0 to 1 January 1970.
const TO_1970: i64 = 719_468;

/// A moment with its offset, in Unix seconds; parts of a second are dropped.
fn unix(field: &'static str, at: Datetime) -> Result<u64, TextError> {
    let (Some(date), Some(time), Some(offset)) = (at.date, at.time, at.offset) else {
        return Err(wrong(field, "a moment is written 2027-01-31T12:00:00Z, with its offset"));
    };
    // The year begins in March, so that a leap day is its last.
    let (year, month) = (i64::from(date.year), i64::from(date.month));
    let (year, month) = if month < 3 { (year - 1, month + 9) } else { (year, month - 3) };
    let leaps = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let days = 365 * year + leaps + (153 * month + 2) / 5 + i64::from(date.day) - 1 - TO_1970;
    let minutes = match offset {
        Offset::Z => 0,
        Offset::Custom { minutes } => i64::from(minutes),
    };
    let seconds =
        i64::from(time.hour) * 3600 + i64::from(time.minute) * 60 + i64::from(time.second.unwrap_or(0));
    u64::try_from(days * 86_400 + seconds - minutes * 60).map_err(|_| wrong(field, "it is before 1970"))
}

/// The moment in UTC; years above 9999 are written as the end of that one.
fn datetime(unix: u64) -> Datetime {
    const LAST: u64 = 253_402_300_799;
    let unix = unix.min(LAST);
    let (days, second) = ((unix / 86_400) as i64 + TO_1970, unix % 86_400);
    let era = days.div_euclid(146_097);
    let day = days.rem_euclid(146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let rest = day - (365 * year + year / 4 - year / 100);
    let month = (5 * rest + 2) / 153;
    let day = rest - (153 * month + 2) / 5 + 1;
    let (year, month) = if month < 10 { (year, month + 3) } else { (year + 1, month - 9) };
    let date = Date { year: (year + era * 400) as u16, month: month as u8, day: day as u8 };
    let (hour, minute, second) = ((second / 3600) as u8, (second / 60 % 60) as u8, (second % 60) as u8);
    let time = Time { hour, minute, second: Some(second), nanosecond: None };
    Datetime { date: Some(date), time: Some(time), offset: Some(Offset::Z) }
}

/// The moment in words, in UTC.
pub(crate) fn moment(unix: u64) -> String {
    datetime(unix).to_string()
}
