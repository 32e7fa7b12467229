//! Upgrades of a repo that an earlier program wrote, one step for each format.
//!
//! A step is called again when it was interrupted at any point, so what it has done already must be nothing to it.
//! It changes files that only this crate reads, in one transaction each; blocks are never rewritten.

use std::sync::Arc;

use super::{lock::FORMAT, pins};
use crate::{StoreError, disk::Medium};

type Step = fn(&Arc<dyn Medium>) -> Result<(), StoreError>;

/// The first leads from format 1 to 2, and so on.
const STEPS: [Step; FORMAT as usize - 1] = [pins::name_keepers];

/// Brings a repo of format `from`, at least 1, to [`FORMAT`].
pub(super) fn upgrade(medium: &Arc<dyn Medium>, from: u32) -> Result<(), StoreError> {
    STEPS.iter().skip(from as usize - 1).try_for_each(|step| step(medium))
}
