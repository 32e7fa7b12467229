//! Policy: what an owner allows to be done with sealed data, as limits on the whole Task.

mod pattern;

pub use pattern::{Inputs, Programs, Requesters, TextPattern};

use crate::dagcbor::map_record;
use crate::grant::SealKey;
use crate::ids::{AccountId, Amount};
use crate::names::PolicyCid;
use crate::receipt::EvidenceKind;
use crate::rules::{Invalid, a_set, at_most, limits, no_zero};
use crate::signed::Signable;
use crate::task::{Abi, Limits, Profile, check_guest_path};
use cid::Cid;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What an owner must have written, word for word, in a policy that accepts evidence of less than a trusted execution
/// environment.
pub const LESS_THAN_A_TEE: &str = "whoever administers the machine may read this data";

/// What is allowed now, and on what evidence. Signed by the owner; a [`PolicyHead`](crate::PolicyHead) puts it in force.
///
/// A Task is allowed if one of the rules fits it as a whole. What a rule does not speak of is not allowed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Who allows it, and signs.
    pub owner: AccountId,
    /// Any one of them suffices.
    pub rules: Vec<Rule>,
    /// Who may read what comes out.
    pub recipients: Recipients,
    /// What the environment must prove before it gets the key.
    pub evidence: EvidenceTerms,
    /// What one use costs at least, to the owner.
    pub fee: Amount,
    /// Whether the data is brought whole before the program starts, so that which parts it reads shows nowhere.
    pub prefetch: bool,
    /// Unix time in seconds before which nothing is allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<u64>,
    /// Unix time in seconds after which nothing is allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiry: Option<u64>,
    /// [`LESS_THAN_A_TEE`], where the evidence asked for is less than that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepts: Option<String>,
}

map_record! {
    Policy as "policy", version 1;
    req "fee" => fee,
    req "owner" => owner,
    req "rules" => rules,
    opt "expiry" => expiry,
    opt "accepts" => accepts,
    req "evidence" => evidence,
    req "prefetch" => prefetch,
    opt "not_before" => not_before,
    req "recipients" => recipients,
}

/// One way in which the data may be used: a limit for every part of a Task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The programs.
    pub code: Programs,
    /// How they are called.
    pub abi: Abi,
    /// The arguments: as many as these, each fitting its own.
    #[serde(default)]
    pub args: Vec<TextPattern>,
    /// More arguments after these, each fitting this; where absent there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub more_args: Option<TextPattern>,
    /// The environment: exactly these names.
    #[serde(default)]
    pub env: BTreeMap<String, TextPattern>,
    /// The inputs: these paths.
    pub inputs: BTreeMap<String, Inputs>,
    /// Inputs at other paths, each one of these; where absent there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub more_inputs: Option<Inputs>,
    /// Standard input; where absent there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdin: Option<Inputs>,
    /// Each of the Task's limits is at most this.
    pub limits: Limits,
    /// Always deterministic: a program that tells the time can tell what it reads.
    pub profile: Profile,
    /// Who may ask.
    pub requesters: Requesters,
}

map_record! {
    Rule as "rule";
    req "abi" => abi,
    req "env" => env,
    req "args" => args,
    req "code" => code,
    opt "stdin" => stdin,
    req "inputs" => inputs,
    req "limits" => limits,
    req "profile" => profile,
    opt "more_args" => more_args,
    req "requesters" => requesters,
    opt "more_inputs" => more_inputs,
}

/// Who may read what comes out: the keys that output may be sealed to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipients {
    /// These keys, as a set.
    pub keys: Vec<SealKey>,
    /// And the one that the requester names in his Invocation.
    pub requester: bool,
}

map_record! {
    Recipients as "recipients";
    req "keys" => keys,
    req "requester" => requester,
}

/// What the environment must prove.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvidenceTerms {
    /// The kinds that count, as a set. Never `none`.
    pub kinds: Vec<EvidenceKind>,
    /// The signed manifests of reference values that count, as a set: what may run inside. Empty: those that the holders trust.
    #[serde(default, with = "crate::text::cid::list")]
    pub references: Vec<Cid>,
    /// Seconds that the session's quote may be old.
    pub max_age: u32,
    /// Whether each job needs a quote of its own, instead of the session key's signature.
    pub per_job: bool,
}

map_record! {
    EvidenceTerms as "evidence terms";
    req "kinds" => kinds,
    req "max_age" => max_age,
    req "per_job" => per_job,
    req "references" => references,
}

impl EvidenceTerms {
    /// Whether every kind that counts is that of a trusted execution environment, which keeps data from the machine's own
    /// administrator.
    pub fn is_tee(&self) -> bool {
        self.kinds.iter().all(|kind| kind.is_tee())
    }
}

impl Policy {
    /// Checks counts, lengths, paths, and that an owner who accepts less than a trusted execution environment says so.
    pub fn check(&self) -> Result<(), Invalid> {
        if self.rules.is_empty() {
            return Err(Invalid::Empty { what: "a policy's list of rules" });
        }
        at_most("rules", self.rules.len(), limits::RULES)?;
        self.rules.iter().try_for_each(Rule::check)?;
        at_most("recipients", self.recipients.keys.len(), limits::RECIPIENTS)?;
        a_set("the recipients", &self.recipients.keys)?;
        if self.recipients.keys.is_empty() && !self.recipients.requester {
            return Err(Invalid::Empty { what: "the list of those who may read the output" });
        }
        if let (Some(from), Some(to)) = (self.not_before, self.expiry)
            && to <= from
        {
            return Err(Invalid::EmptyInterval { what: "the policy" });
        }
        let evidence = &self.evidence;
        if evidence.kinds.is_empty() {
            return Err(Invalid::Empty { what: "the list of evidence that counts" });
        }
        a_set("the kinds of evidence", &evidence.kinds)?;
        at_most("references", evidence.references.len(), limits::REFERENCES)?;
        a_set("the references", &evidence.references)?;
        if evidence.kinds.contains(&EvidenceKind::None) {
            return Err(Invalid::Policy {
                why: "accepts no evidence at all, and a key is never given on that",
            });
        }
        match (evidence.is_tee(), self.accepts.as_deref()) {
            (true, None) | (false, Some(LESS_THAN_A_TEE)) => Ok(()),
            (false, _) => Err(Invalid::Policy {
                why: "accepts less than a trusted execution environment without saying so in `accepts`",
            }),
            (true, Some(_)) => Err(Invalid::Policy { why: "accepts less than it asks for" }),
        }
    }
}

impl Rule {
    fn check(&self) -> Result<(), Invalid> {
        self.code.check()?;
        at_most("arguments", self.args.len(), limits::RULE_LIST)?;
        at_most("environment variables", self.env.len(), limits::RULE_LIST)?;
        at_most("inputs", self.inputs.len(), limits::RULE_LIST)?;
        self.args.iter().chain(&self.more_args).chain(self.env.values()).try_for_each(TextPattern::check)?;
        for name in self.env.keys() {
            if name.is_empty() || name.contains('=') {
                return Err(Invalid::EnvName);
            }
            no_zero("an environment name", name)?;
        }
        self.inputs.keys().try_for_each(|path| check_guest_path(path))?;
        let inputs = || self.inputs.values().chain(&self.stdin);
        inputs().chain(&self.more_inputs).try_for_each(Inputs::check)?;
        if self.code != Programs::This && !inputs().any(|input| *input == Inputs::This) {
            return Err(Invalid::Policy {
                why: "has a rule in which what is sealed is neither code nor input",
            });
        }
        if self.profile != Profile::Deterministic {
            return Err(Invalid::Policy { why: "allows another profile than the deterministic one" });
        }
        self.requesters.check()
    }
}

impl Signable for Policy {
    type Signer = AccountId;
    type Name = PolicyCid;
    const TAG: &'static str = "adit/policy/1";

    fn signer(&self) -> AccountId {
        self.owner
    }
    fn validate(&self) -> Result<(), Invalid> {
        self.check()
    }
    fn name(block: &[u8]) -> PolicyCid {
        PolicyCid::of_block(block)
    }
}
