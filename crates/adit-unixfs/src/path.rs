//! Paths below a CID, as people write them.

use std::fmt;
use std::str::FromStr;

use cid::Cid;

use crate::limits;

/// A root CID and the names to follow from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IpfsPath {
    /// Where to start.
    pub root: Cid,
    /// Entry names; never empty strings, `.` or `..`.
    pub segments: Vec<String>,
}

/// Why a text is not a path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// The part before the first slash is not a CID.
    #[error("{text:?} is not a CID: {reason}")]
    NotACid {
        /// What stood there (shortened).
        text: String,
        /// What the CID parser said.
        reason: String,
    },
    /// Mutable names need a resolver, which this is not.
    #[error("{0:?} is an IPNS name; only CIDs and /ipfs/ paths are resolved")]
    Ipns(String),
    /// `..` would leave what the CID names.
    #[error("a path below a CID cannot contain `..`")]
    ParentSegment,
    /// Too long or too many segments.
    #[error("path is longer than {} bytes or {} segments", limits::PATH, limits::PATH_SEGMENTS)]
    TooLong,
}

impl FromStr for IpfsPath {
    type Err = PathError;

    /// Accepts `CID`, `CID/a/b`, `/ipfs/CID/a/b` and `ipfs://CID/a/b`.
    fn from_str(text: &str) -> Result<Self, PathError> {
        if text.len() > limits::PATH {
            return Err(PathError::TooLong);
        }
        let short = |text: &str| text.chars().take(100).collect::<String>();
        if text.starts_with("/ipns/") || text.starts_with("ipns://") {
            return Err(PathError::Ipns(short(text)));
        }
        let path = text.strip_prefix("/ipfs/").or_else(|| text.strip_prefix("ipfs://")).unwrap_or(text);
        let mut parts = path.split('/');
        let first = parts.next().unwrap_or_default();
        let root = Cid::from_str(first)
            .map_err(|error| PathError::NotACid { text: short(first), reason: error.to_string() })?;
        Ok(IpfsPath { root, segments: segments(parts)? })
    }
}

impl IpfsPath {
    /// Splits a path relative to `root`: empty segments and `.` vanish, `..` is refused.
    pub fn below(root: Cid, path: &str) -> Result<Self, PathError> {
        if path.len() > limits::PATH {
            return Err(PathError::TooLong);
        }
        Ok(IpfsPath { root, segments: segments(path.split('/'))? })
    }
}

fn segments<'a>(parts: impl Iterator<Item = &'a str>) -> Result<Vec<String>, PathError> {
    let mut segments = Vec::new();
    for part in parts {
        match part {
            "" | "." => continue,
            ".." => return Err(PathError::ParentSegment),
            _ if segments.len() == limits::PATH_SEGMENTS => return Err(PathError::TooLong),
            _ => segments.push(part.to_owned()),
        }
    }
    Ok(segments)
}

impl From<Cid> for IpfsPath {
    fn from(root: Cid) -> Self {
        IpfsPath { root, segments: Vec::new() }
    }
}

impl fmt::Display for IpfsPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.root)?;
        self.segments.iter().try_for_each(|segment| write!(f, "/{segment}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CID: &str = "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354";

    #[test]
    fn all_spellings_mean_the_same_path() {
        for text in ["{}/a/b", "/ipfs/{}/a/b", "ipfs://{}/a/b", "{}//a/./b/"] {
            let path: IpfsPath = text.replace("{}", CID).parse().unwrap();
            assert_eq!(path.to_string(), format!("{CID}/a/b"));
        }
    }

    #[test]
    fn what_is_not_a_path_says_why() {
        assert!(matches!("nonsense".parse::<IpfsPath>(), Err(PathError::NotACid { .. })));
        assert!(matches!("".parse::<IpfsPath>(), Err(PathError::NotACid { .. })));
        assert_eq!(format!("{CID}/a/../..").parse::<IpfsPath>(), Err(PathError::ParentSegment));
        assert!(matches!("/ipns/example.org".parse::<IpfsPath>(), Err(PathError::Ipns(_))));
        assert_eq!(format!("{CID}{}", "/a".repeat(2000)).parse::<IpfsPath>(), Err(PathError::TooLong));
    }
}
