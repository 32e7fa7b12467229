//! What one part of a Task may be.

use crate::dagcbor::{DecodeError, Reader, Value, Writer};
use crate::ids::AccountId;
use crate::rules::{Invalid, a_set, at_most, limits, no_zero, short};
use cid::Cid;
use serde::{Deserialize, Serialize};

/// What an argument or a variable's value may be. There is no language of patterns: whoever allows a text that others
/// choose should see at a glance what that can be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum TextPattern {
    /// This text: `{is: text}`.
    Is(String),
    /// One of these, as a set: `{of: [text, …]}`.
    Of(Vec<String>),
    /// A decimal number from the first to the second, both included, with no sign and no leading zero: `{number: [least, most]}`.
    Number(u64, u64),
    /// Any text of at most so many bytes without control characters: `{any: bytes}`. Whoever asks chooses it freely.
    Any(u32),
}

impl TextPattern {
    /// Whether a text fits.
    pub fn fits(&self, text: &str) -> bool {
        match self {
            Self::Is(exactly) => text == exactly,
            Self::Of(list) => list.iter().any(|one| one == text),
            Self::Number(least, most) => {
                let plain =
                    text == "0" || (!text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit()));
                plain && text.parse().is_ok_and(|number: u64| (*least..=*most).contains(&number))
            }
            Self::Any(most) => text.len() <= *most as usize && !text.chars().any(char::is_control),
        }
    }

    pub(super) fn check(&self) -> Result<(), Invalid> {
        let text = |text: &String| {
            no_zero("a pattern's text", text)?;
            short("a pattern's text", text, limits::PATTERN_BYTES)
        };
        match self {
            Self::Is(exactly) => text(exactly),
            Self::Of(list) => {
                if list.is_empty() {
                    return Err(Invalid::Empty { what: "a pattern's list" });
                }
                at_most("texts of a pattern", list.len(), limits::PATTERN_LIST)?;
                a_set("the texts of a pattern", list)?;
                list.iter().try_for_each(text)
            }
            Self::Number(least, most) if least > most => {
                Err(Invalid::EmptyInterval { what: "a pattern's range of numbers" })
            }
            Self::Number(..) => Ok(()),
            Self::Any(most) => at_most("bytes of a free text", *most as usize, limits::PATTERN_BYTES),
        }
    }
}

impl Value for TextPattern {
    fn write(&self, w: &mut Writer) {
        w.map(1);
        match self {
            Self::Is(text) => {
                w.str("is");
                text.write(w);
            }
            Self::Of(list) => {
                w.str("of");
                list.write(w);
            }
            Self::Number(least, most) => {
                w.str("number");
                vec![*least, *most].write(w);
            }
            Self::Any(most) => {
                w.str("any");
                most.write(w);
            }
        }
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        one_of(r, "pattern", |key, r| {
            Ok(match key {
                "is" => Self::Is(Value::read(r)?),
                "of" => Self::Of(Value::read(r)?),
                "number" => match Vec::<u64>::read(r)?[..] {
                    [least, most] => Self::Number(least, most),
                    _ => return Err(DecodeError::OutOfRange { what: "the length of a range" }),
                },
                "any" => Self::Any(Value::read(r)?),
                other => return Err(DecodeError::unknown_field("pattern", other)),
            })
        })
    }
}

/// Which programs may run. "Any program" can't be said: it would be an export of the data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Programs {
    /// The sealed object itself: `"this"`. The policy is that of the program's author.
    This,
    /// One of these, as a set: `{of: [link, …]}`. A newer version is another program.
    Of(#[serde(with = "crate::text::cid::list")] Vec<Cid>),
}

impl Programs {
    pub(super) fn check(&self) -> Result<(), Invalid> {
        let Self::Of(list) = self else { return Ok(()) };
        if list.is_empty() {
            return Err(Invalid::Empty { what: "a rule's list of programs" });
        }
        at_most("programs", list.len(), limits::RULE_LIST)?;
        a_set("the programs", list)
    }
}

impl Value for Programs {
    fn write(&self, w: &mut Writer) {
        match self {
            Self::This => w.str("this"),
            Self::Of(list) => {
                w.map(1);
                w.str("of");
                list.write(w);
            }
        }
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        if r.is_map() {
            return one_of(r, "programs", |key, r| match key {
                "of" => Ok(Self::Of(Value::read(r)?)),
                other => Err(DecodeError::unknown_field("programs", other)),
            });
        }
        match r.str()? {
            "this" => Ok(Self::This),
            other => Err(DecodeError::unknown_word("programs", other)),
        }
    }
}

/// What may stand at one path, or as standard input.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Inputs {
    /// The sealed object itself: `"this"`.
    This,
    /// One of these, as a set: `{of: [link, …]}`.
    Of(#[serde(with = "crate::text::cid::list")] Vec<Cid>),
    /// Something else that is sealed, and whose own owner's policy allows this Task too: `"sealed"`.
    Sealed,
    /// Anything, chosen by whoever asks: `"any"`.
    Any,
}

impl Inputs {
    pub(super) fn check(&self) -> Result<(), Invalid> {
        let Self::Of(list) = self else { return Ok(()) };
        if list.is_empty() {
            return Err(Invalid::Empty { what: "an input's list" });
        }
        at_most("choices of an input", list.len(), limits::PATTERN_LIST)?;
        a_set("the choices of an input", list)
    }
}

impl Value for Inputs {
    fn write(&self, w: &mut Writer) {
        match self {
            Self::This => w.str("this"),
            Self::Sealed => w.str("sealed"),
            Self::Any => w.str("any"),
            Self::Of(list) => {
                w.map(1);
                w.str("of");
                list.write(w);
            }
        }
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        if r.is_map() {
            return one_of(r, "input", |key, r| match key {
                "of" => Ok(Self::Of(Value::read(r)?)),
                other => Err(DecodeError::unknown_field("input", other)),
            });
        }
        match r.str()? {
            "this" => Ok(Self::This),
            "sealed" => Ok(Self::Sealed),
            "any" => Ok(Self::Any),
            other => Err(DecodeError::unknown_word("input", other)),
        }
    }
}

/// Who may ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Requesters {
    /// These accounts, as a set: `{of: [account, …]}`.
    Of(Vec<AccountId>),
    /// Everybody: `"any"`.
    Any,
}

impl Requesters {
    /// Whether an account is one of them.
    pub fn include(&self, account: &AccountId) -> bool {
        match self {
            Self::Of(list) => list.contains(account),
            Self::Any => true,
        }
    }

    pub(super) fn check(&self) -> Result<(), Invalid> {
        let Self::Of(list) = self else { return Ok(()) };
        if list.is_empty() {
            return Err(Invalid::Empty { what: "the list of requesters" });
        }
        at_most("requesters", list.len(), limits::REQUESTERS)?;
        a_set("the requesters", list)
    }
}

impl Value for Requesters {
    fn write(&self, w: &mut Writer) {
        match self {
            Self::Any => w.str("any"),
            Self::Of(list) => {
                w.map(1);
                w.str("of");
                list.write(w);
            }
        }
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        if r.is_map() {
            return one_of(r, "requesters", |key, r| match key {
                "of" => Ok(Self::Of(Value::read(r)?)),
                other => Err(DecodeError::unknown_field("requesters", other)),
            });
        }
        match r.str()? {
            "any" => Ok(Self::Any),
            other => Err(DecodeError::unknown_word("requesters", other)),
        }
    }
}

/// Reads a map of one key.
fn one_of<T>(
    r: &mut Reader<'_>,
    record: &'static str,
    mut read: impl FnMut(&str, &mut Reader<'_>) -> Result<T, DecodeError>,
) -> Result<T, DecodeError> {
    let mut found = None;
    r.map(|key, r| {
        if found.is_some() {
            return Err(DecodeError::unknown_field(record, key));
        }
        found = Some(read(key, r)?);
        Ok(())
    })?;
    found.ok_or(DecodeError::MissingField { record, field: "of" })
}
