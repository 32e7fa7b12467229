//! How values look as text: in JSON, in configuration, on the command line. The text form is never signed.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Serialises a type through its `Display` and `FromStr`.
macro_rules! serde_as_text {
    ($type:ty) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str> as serde::Deserialize>::deserialize(d)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

pub(crate) use serde_as_text;

/// `#[serde(with = "adit_model::text::cid")]`: a CID as its string. The `cid` crate's own serde form is an
/// IPLD link, which JSON cannot carry.
pub mod cid {
    use super::*;
    use ::cid::Cid;

    pub fn serialize<S: Serializer>(cid: &Cid, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(cid)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Cid, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        text.parse().map_err(D::Error::custom)
    }

    /// The same for a CID that may be absent; use it with `#[serde(default)]`.
    pub mod option {
        use super::*;

        pub fn serialize<S: Serializer>(cid: &Option<Cid>, s: S) -> Result<S::Ok, S::Error> {
            cid.as_ref().map(Cid::to_string).serialize(s)
        }

        pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Cid>, D::Error> {
            let text = Option::<std::borrow::Cow<'de, str>>::deserialize(d)?;
            text.map(|text| text.parse().map_err(D::Error::custom)).transpose()
        }
    }

    /// The same for a list of CIDs.
    pub mod list {
        use super::*;

        pub fn serialize<S: Serializer>(cids: &[Cid], s: S) -> Result<S::Ok, S::Error> {
            s.collect_seq(cids.iter().map(Cid::to_string))
        }

        pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<Cid>, D::Error> {
            let texts = Vec::<String>::deserialize(d)?;
            texts.iter().map(|text| text.parse().map_err(D::Error::custom)).collect()
        }
    }
}

/// `#[serde(with = "adit_model::text::hex")]`: bytes as lower-case hexadecimal.
pub mod hex {
    use super::*;
    use data_encoding::HEXLOWER_PERMISSIVE;

    pub fn serialize<S: Serializer>(bytes: &impl AsRef<[u8]>, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&data_encoding::HEXLOWER.encode(bytes.as_ref()))
    }

    pub fn deserialize<'de, D: Deserializer<'de>, T: TryFrom<Vec<u8>>>(d: D) -> Result<T, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).map_err(D::Error::custom)?;
        T::try_from(bytes).map_err(|_| D::Error::custom("wrong number of bytes"))
    }

    /// The same for bytes that may be absent; use it with `#[serde(default)]`.
    pub mod option {
        use super::*;

        pub fn serialize<S: Serializer>(bytes: &Option<impl AsRef<[u8]>>, s: S) -> Result<S::Ok, S::Error> {
            bytes.as_ref().map(|bytes| data_encoding::HEXLOWER.encode(bytes.as_ref())).serialize(s)
        }

        pub fn deserialize<'de, D: Deserializer<'de>, T: TryFrom<Vec<u8>>>(
            d: D,
        ) -> Result<Option<T>, D::Error> {
            let text = Option::<std::borrow::Cow<'de, str>>::deserialize(d)?;
            let Some(text) = text else { return Ok(None) };
            let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).map_err(D::Error::custom)?;
            T::try_from(bytes).map(Some).map_err(|_| D::Error::custom("wrong number of bytes"))
        }
    }
}
