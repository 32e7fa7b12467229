//! Why nothing is allowed.

use adit_model::EvidenceKind;

/// One reason. Those about a rule are of the rule that came nearest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    // The owner's word.
    #[error("the policy head is of another grant")]
    OtherGrant,
    #[error("the policy head or the policy is not signed by the grant's owner")]
    NotByOwner,
    #[error("the owner has revoked all use")]
    Revoked,
    #[error("this is not the policy that the owner put in force")]
    OtherPolicy,
    #[error("the owner's word ran out at {expiry}, and he has not spoken since")]
    HeadExpired { expiry: u64 },
    #[error("the policy allows nothing before {from}")]
    NotYet { from: u64 },
    #[error("the policy allows nothing after {expiry}")]
    PolicyExpired { expiry: u64 },
    #[error("the policy allows no uses")]
    NoUses,
    // Who asks, and for whom.
    #[error("the invocation is for another task")]
    OtherTask,
    #[error("the invocation ran out at {expiry}")]
    InvocationExpired { expiry: u64 },
    #[error("this requester may not ask")]
    Requester,
    #[error("the invocation names no key for what comes out")]
    NoReplyKey,
    #[error("what comes out may not be sealed to the key that the invocation names")]
    Recipient,
    #[error("{least} are to be paid for one use, not {offered}")]
    Fee { least: u128, offered: u128 },
    // The Task.
    #[error("the sealed object is neither the task's code nor one of its inputs")]
    NotAnInput,
    #[error("this program is not allowed")]
    Code,
    #[error("the program is called by another interface than is allowed")]
    Abi,
    #[error("{given} arguments are given where {allowed} are allowed")]
    ArgumentCount { given: usize, allowed: usize },
    #[error("argument {at} is not what is allowed")]
    Argument { at: usize },
    #[error("the environment variable {name:?} is not what is allowed")]
    Variable { name: String },
    #[error("the environment variable {name:?} is missing")]
    VariableMissing { name: String },
    #[error("the environment variable {name:?} is not allowed at all")]
    VariableUnknown { name: String },
    #[error("the input at {path} is not what is allowed")]
    Input { path: String },
    #[error("there is no input at {path}")]
    InputMissing { path: String },
    #[error("no input is allowed at {path}")]
    InputUnknown { path: String },
    #[error("standard input is not what is allowed")]
    Stdin,
    #[error("standard input is not allowed")]
    StdinUnknown,
    #[error("standard input is missing")]
    StdinMissing,
    #[error("the task's limit of {what} is {asked}, above the {most} allowed")]
    Limit { what: &'static str, asked: u64, most: u64 },
    #[error("the task is not deterministic")]
    Profile,
    // The environment.
    #[error("evidence of the kind {kind} does not count")]
    Kind { kind: EvidenceKind },
    #[error("the evidence was refused: {why}")]
    Evidence { why: String },
    #[error("the evidence keeps data from fewer than its kind can")]
    Claims,
    #[error("nobody asked what runs inside")]
    Unmeasured,
    #[error("the quote is {age} s old, above the {most} s allowed")]
    Stale { age: u64, most: u64 },
    #[error("the quote is from the future")]
    FromTheFuture,
    #[error("a quote for this very job is asked for")]
    NotForThisJob,
    #[error("what runs inside is not named by a manifest that counts")]
    Reference,
}

impl Refusal {
    /// The number that stands for it in a holder's log. Numbers are never given again.
    pub fn number(&self) -> u8 {
        match self {
            Self::OtherGrant => 1,
            Self::NotByOwner => 2,
            Self::Revoked => 3,
            Self::OtherPolicy => 4,
            Self::HeadExpired { .. } => 5,
            Self::NotYet { .. } => 6,
            Self::PolicyExpired { .. } => 7,
            Self::NoUses => 8,
            Self::OtherTask => 20,
            Self::InvocationExpired { .. } => 21,
            Self::Requester => 22,
            Self::NoReplyKey => 23,
            Self::Recipient => 24,
            Self::Fee { .. } => 25,
            Self::NotAnInput => 40,
            Self::Code => 41,
            Self::Abi => 42,
            Self::ArgumentCount { .. } => 43,
            Self::Argument { .. } => 44,
            Self::Variable { .. } => 45,
            Self::VariableMissing { .. } => 46,
            Self::VariableUnknown { .. } => 47,
            Self::Input { .. } => 48,
            Self::InputMissing { .. } => 49,
            Self::InputUnknown { .. } => 50,
            Self::Stdin => 51,
            Self::StdinUnknown => 52,
            Self::StdinMissing => 53,
            Self::Limit { .. } => 54,
            Self::Profile => 55,
            Self::Kind { .. } => 70,
            Self::Evidence { .. } => 71,
            Self::Claims => 72,
            Self::Stale { .. } => 73,
            Self::FromTheFuture => 74,
            Self::NotForThisJob => 75,
            Self::Reference => 76,
            Self::Unmeasured => 77,
        }
    }
}
