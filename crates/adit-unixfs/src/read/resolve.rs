//! Following a path to the CID it names.

use std::collections::VecDeque;

use cid::Cid;

use crate::path::IpfsPath;
use crate::read::{Lookup, LookupStep, ReadError};

/// Resolves an [`IpfsPath`] block by block. The block of the result itself is not needed.
#[derive(Clone, Debug)]
pub struct Resolver {
    state: State,
    rest: VecDeque<String>,
}

#[derive(Clone, Debug)]
enum State {
    Looking { lookup: Lookup, directory: Cid, name: String },
    Done(Cid),
}

/// What a [`Resolver`] needs or found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResolveStep {
    /// Supply this block next.
    Need(Cid),
    /// The path names this.
    Done(Cid),
}

impl Resolver {
    /// Begins at the path's root.
    pub fn new(path: IpfsPath) -> Self {
        let mut resolver = Resolver { state: State::Done(path.root), rest: path.segments.into() };
        resolver.advance(path.root);
        resolver
    }

    /// Where it stands.
    pub fn step(&self) -> ResolveStep {
        match &self.state {
            State::Looking { lookup, .. } => ResolveStep::Need(lookup.want()),
            State::Done(cid) => ResolveStep::Done(*cid),
        }
    }

    /// Takes the verified bytes of the block asked for.
    pub fn supply(&mut self, block: &[u8]) -> Result<ResolveStep, ReadError> {
        if let State::Looking { lookup, directory, name } = &mut self.state {
            match lookup.supply(block)? {
                LookupStep::Need(_) => {}
                LookupStep::Found(entry) => self.advance(entry.cid),
                LookupStep::Absent => {
                    return Err(ReadError::NotFound { name: name.as_str().into(), directory: *directory });
                }
            }
        }
        Ok(self.step())
    }

    fn advance(&mut self, at: Cid) {
        self.state = match self.rest.pop_front() {
            None => State::Done(at),
            Some(name) => State::Looking { lookup: Lookup::new(at, name.clone()), directory: at, name },
        };
    }
}
