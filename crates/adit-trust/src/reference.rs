//! Reference values: the measurements of software that the relying party knows.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Kind, Reason};

/// The most reference values that one appraisal looks at.
const MAX_VALUES: usize = 4096;
/// The largest JSON document of reference values.
const MAX_JSON: usize = 1 << 20;

/// What may run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReferenceValues {
    /// Each is enough by itself.
    pub values: Vec<ReferenceValue>,
}

/// One image or program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReferenceValue {
    /// What it is called.
    pub name: String,
    /// The kind of evidence that it is for.
    pub kind: Kind,
    /// Register → value. All must match: `measurement`; `host-data` for SEV-SNP; `mrtd`, `rtmr0`… for TDX;
    /// `mrenclave`, `mrsigner` for SGX; `pcr0`… for Nitro and TPMs.
    #[serde(with = "hex_map")]
    pub registers: BTreeMap<String, Vec<u8>>,
}

impl ReferenceValues {
    /// Reads `{"values": [{"name", "kind", "registers": {register: hex}}]}`.
    ///
    /// # Errors
    /// Too large, malformed, too many, or a value that names no register.
    pub fn from_json(json: &[u8]) -> Result<Self, Reason> {
        if json.len() > MAX_JSON {
            return Err(Reason::TooLarge("the document of reference values"));
        }
        let values: Self = serde_json::from_slice(json)
            .map_err(|_| Reason::Malformed("the document of reference values"))?;
        if values.values.len() > MAX_VALUES {
            return Err(Reason::TooLarge("the document of reference values"));
        }
        if values.values.iter().any(|value| value.registers.is_empty()) {
            return Err(Reason::Malformed("a reference value without registers"));
        }
        Ok(values)
    }

    /// The first value of this kind whose every register is as measured.
    pub(crate) fn find(
        &self,
        kind: Kind,
        measured: &BTreeMap<String, Vec<u8>>,
    ) -> Result<&ReferenceValue, Reason> {
        let mut of_kind = self.values.iter().filter(|value| value.kind == kind).peekable();
        if of_kind.peek().is_none() {
            return Err(Reason::NoReferenceValues);
        }
        of_kind
            .find(|value| {
                !value.registers.is_empty()
                    && value.registers.iter().all(|(name, wanted)| measured.get(name) == Some(wanted))
            })
            .ok_or(Reason::Measurement)
    }
}

mod hex_map {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(
        map: &BTreeMap<String, Vec<u8>>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        map.iter().map(|(name, value)| (name, hex::encode(value))).collect::<BTreeMap<_, _>>().serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<BTreeMap<String, Vec<u8>>, D::Error> {
        let map = BTreeMap::<String, String>::deserialize(from)?;
        map.into_iter()
            .map(|(name, value)| Ok((name, hex::decode(value).map_err(D::Error::custom)?)))
            .collect()
    }
}
