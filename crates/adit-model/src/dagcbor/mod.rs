//! Canonical DAG-CBOR, exactly as far as Adit's records need it.
//!
//! A record is named by the hash of its bytes, so one record must have one encoding. The [`Writer`] only
//! produces that encoding and the [`Reader`] refuses every other: integers in their shortest form, definite
//! lengths, map keys that are strings in length-first order without repetition, links as tag 42, no floats, no
//! trailing bytes (IPLD DAG-CBOR specification, "Strictness"). Reading allocates only what has arrived: a
//! length that exceeds the remaining bytes is refused before anything is reserved.

mod read;
mod value;
mod write;

pub use read::DecodeError;
pub(crate) use read::Reader;
pub use value::MAX_RECORD_BYTES;
pub(crate) use value::Value;
pub(crate) use write::Writer;

/// Implements [`Value`] for a struct that is a DAG-CBOR map.
///
/// Fields stand in canonical order (shorter keys first, then bytewise); the reader's own strictness makes any
/// mistake here fail the first encode-then-decode test. `opt` fields are omitted when absent, keys that it
/// `refuses` belong to version 1 but are not implemented yet, and every other key is unknown.
macro_rules! map_record {
    (
        $type:ident as $name:literal
            $(, version $version:literal)? $(, refuses [$($reserved:literal),*])? ;
        $( $kind:ident $key:literal => $field:ident, )*
    ) => {
        impl $crate::dagcbor::Value for $type {
            fn write(&self, w: &mut $crate::dagcbor::Writer) {
                let mut count = 0u64;
                $( let _ = $version; count += 1; )?
                $( count += map_record!(@count $kind self.$field); )*
                w.map(count);
                $( w.str("v"); w.uint($version); )?
                $( map_record!(@write $kind w, $key, self.$field); )*
            }

            fn read(r: &mut $crate::dagcbor::Reader<'_>) -> Result<Self, $crate::dagcbor::DecodeError> {
                use $crate::dagcbor::{DecodeError, Value};
                $( let mut $field = None; )*
                #[allow(unused_mut, unused_assignments)]
                let mut versioned = true;
                $( let _ = $version; versioned = false; )?
                r.map(|key, r| {
                    match key {
                        $( "v" => {
                            let found = r.uint()?;
                            if found != $version {
                                return Err(DecodeError::Version { record: $name, found });
                            }
                            versioned = true;
                        } )?
                        $( $key => $field = Some(Value::read(r)?), )*
                        $($( $reserved => return Err(DecodeError::NotImplemented {
                            what: concat!($name, " field `", $reserved, "`"),
                        }), )*)?
                        other => return Err(DecodeError::unknown_field($name, other)),
                    }
                    Ok(())
                })?;
                if !versioned {
                    return Err(DecodeError::MissingField { record: $name, field: "v" });
                }
                Ok(Self { $( $field: map_record!(@take $kind $field, $name, $key), )* })
            }
        }
    };
    (@count req $value:expr) => { 1 };
    (@count opt $value:expr) => { u64::from($value.is_some()) };
    (@write req $w:ident, $key:literal, $value:expr) => {{
        $w.str($key);
        $crate::dagcbor::Value::write(&$value, $w);
    }};
    (@write opt $w:ident, $key:literal, $value:expr) => {
        if let Some(value) = &$value {
            $w.str($key);
            $crate::dagcbor::Value::write(value, $w);
        }
    };
    (@take req $field:ident, $name:literal, $key:literal) => {
        $field.ok_or(DecodeError::MissingField { record: $name, field: $key })?
    };
    (@take opt $field:ident, $name:literal, $key:literal) => { $field };
}

/// Implements [`Value`] and text conversions for an enum that is written as a string.
macro_rules! text_enum {
    ($type:ident as $name:literal $(, refuses [$($reserved:literal),*])? ; $( $variant:ident => $text:literal, )*) => {
        impl $type {
            /// The word that stands for this value in records, JSON and on the command line.
            pub const fn as_str(&self) -> &'static str {
                match self { $( Self::$variant => $text, )* }
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.pad(self.as_str()) }
        }

        impl std::str::FromStr for $type {
            type Err = $crate::dagcbor::DecodeError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $( $text => Ok(Self::$variant), )*
                    $($( $reserved => Err($crate::dagcbor::DecodeError::NotImplemented {
                        what: concat!($name, " `", $reserved, "`"),
                    }), )*)?
                    other => Err($crate::dagcbor::DecodeError::unknown_word($name, other)),
                }
            }
        }

        impl $crate::dagcbor::Value for $type {
            fn write(&self, w: &mut $crate::dagcbor::Writer) { w.str(self.as_str()); }
            fn read(r: &mut $crate::dagcbor::Reader<'_>) -> Result<Self, $crate::dagcbor::DecodeError> {
                r.str()?.parse()
            }
        }

        $crate::text::serde_as_text!($type);
    };
}

pub(crate) use map_record;
pub(crate) use text_enum;
