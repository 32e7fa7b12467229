//! The firmware's event log: TCG PC Client Platform Firmware Profile, section 10, in its crypto-agile form; the SHA-256
//! bank.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

use crate::Reason;
use crate::reader::Reader;

const WHAT: &str = "the event log";
const NO_ACTION: u32 = 3;
const SHA256: u16 = 0x000b;
const MAX_LOG: usize = 2 << 20;
const MAX_EVENTS: usize = 20_000;
const MAX_ALGORITHMS: u32 = 8;
/// The registers that firmware and boot loaders measure into. Those from 16 on can be reset.
pub(super) const STATIC: u8 = 16;

/// PCRs 0 to 15 as the log says they came about; those that it does not speak of are absent.
pub(super) fn replay(log: &[u8]) -> Result<BTreeMap<u8, [u8; 32]>, Reason> {
    if log.len() > MAX_LOG {
        return Err(Reason::TooLarge(WHAT));
    }
    let mut from = Reader::new(log, WHAT);
    // The first event has the form of TPM 1.2 and names the digests that all others carry.
    if (from.u32_le()?, from.u32_le()?) != (0, NO_ACTION) {
        return Err(Reason::Malformed(WHAT));
    }
    from.take(20)?;
    let size = from.u32_le()? as usize;
    let sizes = algorithms(from.take(size)?)?;
    let mut pcrs = BTreeMap::new();
    let mut events = 0;
    while !from.rest().is_empty() {
        events += 1;
        if events > MAX_EVENTS {
            return Err(Reason::TooLarge(WHAT));
        }
        let (pcr, kind, count) = (from.u32_le()?, from.u32_le()?, from.u32_le()?);
        if count as usize != sizes.len() {
            return Err(Reason::Malformed(WHAT));
        }
        let mut digest = None;
        for _ in 0..count {
            let algorithm = from.u16_le()?;
            let value = from.take(*sizes.get(&algorithm).ok_or(Reason::Malformed(WHAT))?)?;
            if algorithm == SHA256 && digest.replace(value).is_some() {
                return Err(Reason::Malformed(WHAT));
            }
        }
        let digest = digest.ok_or(Reason::Malformed(WHAT))?;
        let size = from.u32_le()? as usize;
        let data = from.take(size)?;
        let pcr = u8::try_from(pcr).ok().filter(|pcr| *pcr < 24).ok_or(Reason::Malformed(WHAT))?;
        if kind == NO_ACTION {
            // The only one that matters to a replay: from which locality the TPM was started.
            if let Some([locality]) = data.strip_prefix(b"StartupLocality\0")
                && pcr == 0
            {
                let mut start = [0; 32];
                start[31] = *locality;
                if pcrs.insert(0, start).is_some() {
                    return Err(Reason::Malformed(WHAT));
                }
            }
        } else if pcr < STATIC {
            let value = pcrs.entry(pcr).or_insert([0; 32]);
            *value = Sha256::new().chain_update(*value).chain_update(digest).finalize().into();
        }
    }
    Ok(pcrs)
}

fn algorithms(event: &[u8]) -> Result<BTreeMap<u16, usize>, Reason> {
    let mut from = Reader::new(event, WHAT);
    if from.take(16)? != b"Spec ID Event03\0" {
        return Err(Reason::Malformed(WHAT));
    }
    from.take(8)?;
    let count = from.u32_le()?;
    if count > MAX_ALGORITHMS {
        return Err(Reason::TooLarge(WHAT));
    }
    let sizes: BTreeMap<_, _> = (0..count)
        .map(|_| Ok((from.u16_le()?, usize::from(from.u16_le()?))))
        .collect::<Result<_, Reason>>()?;
    let size = from.u8()?.into();
    from.take(size)?;
    from.end()?;
    if sizes.get(&SHA256) == Some(&32) && sizes.len() == count as usize {
        Ok(sizes)
    } else {
        Err(Reason::PcrBank)
    }
}
