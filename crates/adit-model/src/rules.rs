//! The rules that a well-formed record must also keep, and their numbers.

/// How much of everything a record may hold.
pub mod limits {
    /// Arguments of a task.
    pub const ARGS: usize = 1024;
    /// Environment variables of a task.
    pub const ENV: usize = 256;
    /// Bytes of all arguments, and of all environment names and values, together.
    pub const ARGS_AND_ENV_BYTES: usize = 256 << 10;
    /// Mounted inputs of a task.
    pub const INPUTS: usize = 256;
    /// Bytes of a guest path.
    pub const PATH_BYTES: usize = 1024;
    /// Bytes of one name in a guest path.
    pub const NAME_BYTES: usize = 255;
    /// Names in a guest path.
    pub const PATH_DEPTH: usize = 32;
    /// The least memory a task may ask for: one Wasm page.
    pub const LEAST_MEMORY: u64 = 64 << 10;
    /// Bytes of the text that says which runtime computed.
    pub const RUNTIME_BYTES: usize = 256;
    /// Bytes of an outcome's explanation of its error.
    pub const DETAIL_BYTES: usize = 1024;
    /// Policies, and key releases, of a receipt.
    pub const RECEIPT_LINKS: usize = 64;
    /// Bytes of a network's name.
    pub const NETWORK_BYTES: usize = 64;
    /// Addresses in an advertisement.
    pub const ADDRESSES: usize = 32;
    /// Bytes of one address in an advertisement.
    pub const ADDRESS_BYTES: usize = 256;
    /// Entries in each of an advertisement's lists of abilities.
    pub const ABILITIES: usize = 16;
    /// Bytes of an alias's public key: RSA with 4096 bits.
    pub const ALIAS_KEY_BYTES: usize = 600;
    /// Bytes of an alias's signature: RSA with 4096 bits.
    pub const ALIAS_SIGNATURE_BYTES: usize = 512;
    /// Holders of a grant.
    pub const HOLDERS: usize = 32;
    /// Rules of a policy.
    pub const RULES: usize = 32;
    /// Programs, arguments, variables and inputs of one rule, each.
    pub const RULE_LIST: usize = 64;
    /// Choices that a pattern lists.
    pub const PATTERN_LIST: usize = 256;
    /// Bytes of a pattern's text, and of a free text.
    pub const PATTERN_BYTES: usize = 4096;
    /// Requesters that a rule lists.
    pub const REQUESTERS: usize = 256;
    /// Keys that output may be sealed to.
    pub const RECIPIENTS: usize = 32;
    /// Manifests of reference values.
    pub const REFERENCES: usize = 32;
    /// Nonces of a session quote: twice as many as one grant has holders.
    pub const QUOTE_NONCES: usize = 64;
    /// Bytes of a session quote's evidence. A TPM's log of events is the longest part that occurs.
    pub const EVIDENCE_BYTES: usize = 768 << 10;
    /// Sealed objects of one task: its code, standard input and all inputs.
    pub const SEALED: usize = INPUTS + 2;
    /// Grants of which one key request wants the keys.
    pub const KEY_GRANTS: usize = RECEIPT_LINKS;
    /// Seconds that an alias may hold.
    pub const ALIAS_SECONDS: u64 = 24 * 3600;
}

/// A record that is well-formed and still means nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    #[error("{count} {what} are more than the {max} allowed")]
    TooMany { what: &'static str, count: usize, max: usize },
    #[error("{what} has {len} bytes, more than the {max} allowed")]
    TooLong { what: &'static str, len: usize, max: usize },
    #[error("{what} contains a zero byte")]
    ZeroByte { what: &'static str },
    #[error("an environment name is empty or contains `=`")]
    EnvName,
    #[error("the path {path:?} {why}")]
    Path { path: String, why: &'static str },
    #[error("the inputs {outer:?} and {inner:?} overlap")]
    Overlap { outer: String, inner: String },
    #[error("{what} must be at least {least}")]
    TooSmall { what: &'static str, least: u64 },
    #[error("{what} ends before it begins")]
    EmptyInterval { what: &'static str },
    #[error("{what} is empty")]
    Empty { what: &'static str },
    #[error("{what} contains control characters")]
    Control { what: &'static str },
    #[error("{what} are not sorted, or repeat")]
    NotASet { what: &'static str },
    #[error("the alias {why}")]
    Alias { why: &'static str },
    #[error("the grant {why}")]
    Grant { why: &'static str },
    #[error("the policy {why}")]
    Policy { why: &'static str },
    #[error("the session quote {why}")]
    Quote { why: &'static str },
    #[error("the envelope's links are not those of its receipt")]
    Links,
}

pub(crate) fn at_most(what: &'static str, count: usize, max: usize) -> Result<(), Invalid> {
    if count > max { Err(Invalid::TooMany { what, count, max }) } else { Ok(()) }
}

pub(crate) fn short(what: &'static str, text: &str, max: usize) -> Result<(), Invalid> {
    if text.len() > max { Err(Invalid::TooLong { what, len: text.len(), max }) } else { Ok(()) }
}

/// A short, printable, non-empty word or line.
pub(crate) fn label(what: &'static str, text: &str, max: usize) -> Result<(), Invalid> {
    short(what, text, max)?;
    if text.is_empty() {
        return Err(Invalid::Empty { what });
    }
    if text.chars().any(char::is_control) { Err(Invalid::Control { what }) } else { Ok(()) }
}

pub(crate) fn no_zero(what: &'static str, text: &str) -> Result<(), Invalid> {
    if text.contains('\0') { Err(Invalid::ZeroByte { what }) } else { Ok(()) }
}

/// A list that stands for a set: sorted and without repetition, so that it has one form.
pub(crate) fn a_set<T: Ord>(what: &'static str, items: &[T]) -> Result<(), Invalid> {
    if items.is_sorted_by(|a, b| a < b) { Ok(()) } else { Err(Invalid::NotASet { what }) }
}

/// Adds `encode`, `decode` and `cid` to a record that is a block of its own and carries no signature.
macro_rules! block {
    ($type:ident named $name:ident) => {
        impl $type {
            /// The record's block: canonical DAG-CBOR.
            pub fn encode(&self) -> Vec<u8> {
                crate::dagcbor::Value::to_dagcbor(self)
            }

            /// Reads a block and checks every rule that [`check`](Self::check) does.
            pub fn decode(block: &[u8]) -> Result<Self, crate::DecodeError> {
                let record: Self = crate::dagcbor::Value::from_dagcbor(block)?;
                record.check()?;
                Ok(record)
            }

            /// The name of the record's block. Encodes and hashes: keep the result when it is needed twice.
            pub fn cid(&self) -> $name {
                $name::of_block(&self.encode())
            }
        }
    };
}

pub(crate) use block;
