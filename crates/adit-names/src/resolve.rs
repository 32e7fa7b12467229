//! Following names until content is reached.

use std::time::Duration;

use cid::Cid;

use crate::limits;
use crate::name::{Name, NamePath};
use crate::system::{NameError, NameSystem};

/// What a name stands for in the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The content's root.
    pub root: Cid,
    /// The path below it, as the names stated it: empty, or starting with `/`.
    pub rest: String,
    /// How long all of it holds: the shortest of all steps.
    pub ttl: Duration,
}

/// Follows a name through other names. `rest`, the asker's own path below the name (empty, or starting with
/// `/`), is put behind whatever the names add.
///
/// # Errors
/// A step failed, names lead in a circle, or further than [`limits::DEPTH`].
pub async fn resolve(system: &dyn NameSystem, name: &Name, rest: &str) -> Result<Resolved, NameError> {
    let mut at = name.clone();
    let mut rest = rest.to_owned();
    let mut ttl = limits::LONGEST_TTL;
    let mut seen = Vec::new();
    loop {
        if seen.contains(&at) {
            return Err(NameError::Cycle(name.clone()));
        }
        if seen.len() == limits::DEPTH {
            return Err(NameError::TooDeep(name.clone()));
        }
        let step = system.step(&at).await?;
        ttl = ttl.min(step.ttl);
        let stated = step.path.rest().trim_end_matches('/');
        if stated.len() + rest.len() > adit_unixfs::limits::PATH {
            return Err(NameError::TooLong(name.clone()));
        }
        rest.insert_str(0, stated);
        match step.path {
            NamePath::Ipfs(root, _) => return Ok(Resolved { root, rest, ttl }),
            NamePath::Ipns(next, _) => seen.push(std::mem::replace(&mut at, next)),
        }
    }
}
