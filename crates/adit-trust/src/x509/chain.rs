//! From a key's certificate to a pinned root.

use super::{Certificate, RevocationList};
use crate::Reason;
use crate::policy::Revocation;
use crate::roots::Fingerprint;

/// Leaf, intermediates and root together.
const MAX_CHAIN: usize = 6;

/// The chain from `leaf` to one of `roots`, leaf first, through certificates of `pool`. Each is valid at `now`, is
/// signed by the next, and each but the first may issue.
///
/// # Errors
/// The first thing that is wrong with the most promising chain.
pub(crate) fn build<'a>(
    leaf: &'a Certificate,
    pool: &'a [Certificate],
    roots: &[Fingerprint],
    now: u64,
) -> Result<Vec<&'a Certificate>, Reason> {
    let mut chain = vec![leaf];
    loop {
        let last = *chain.last().expect("begins with the leaf");
        check(last, now)?;
        if chain.len() > 1 {
            check_authority(last, chain.len() - 2)?;
        }
        if roots.contains(&last.fingerprint) {
            return Ok(chain);
        }
        if last.issuer == last.subject {
            return Err(Reason::RootNotPinned(last.subject_text.clone()));
        }
        if chain.len() == MAX_CHAIN {
            return Err(Reason::ChainTooLong);
        }
        let mut named = pool.iter().filter(|one| one.subject == last.issuer).peekable();
        if named.peek().is_none() {
            return Err(Reason::IssuerMissing(last.issuer_text.clone()));
        }
        let issuer = named.find(|one| last.signed_by(one));
        chain.push(issuer.ok_or_else(|| Reason::CertificateSignature(last.subject_text.clone()))?);
    }
}

fn check(one: &Certificate, now: u64) -> Result<(), Reason> {
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    if now < one.not_before {
        Err(Reason::CertificateNotYetValid(one.subject_text.clone()))
    } else if now > one.not_after {
        Err(Reason::CertificateExpired(one.subject_text.clone()))
    } else if one.unknown_critical {
        Err(Reason::CriticalExtension(one.subject_text.clone()))
    } else {
        Ok(())
    }
}

/// `below`: how many certificates that may issue stand between this one and the leaf.
fn check_authority(one: &Certificate, below: usize) -> Result<(), Reason> {
    let Some(limit) = one.authority else {
        return Err(Reason::NotACertificateAuthority(one.subject_text.clone()));
    };
    if limit.is_some_and(|limit| below > limit as usize) { Err(Reason::ChainTooLong) } else { Ok(()) }
}

/// Whether a revocation list vouched for every certificate from `required` on (but the root, which nobody issues).
/// Lists that are at hand count also for those before.
///
/// # Errors
/// Revoked; a list that its issuer did not sign; a list out of date; or, if required, no list.
pub(crate) fn check_revocation(
    chain: &[&Certificate],
    lists: &[RevocationList],
    required: usize,
    mode: Revocation,
    now: u64,
) -> Result<bool, Reason> {
    let mut all = true;
    for (place, pair) in chain.windows(2).enumerate() {
        let (one, issuer) = (pair[0], pair[1]);
        let mut state = Err(Reason::RevocationUnknown(issuer.subject_text.clone()));
        for list in lists.iter().filter(|list| list.issuer == issuer.subject) {
            if !list.signed_by(issuer) {
                state = state.or(Err(Reason::RevocationListSignature(issuer.subject_text.clone())));
            } else if list.lists(&one.serial) {
                return Err(Reason::CertificateRevoked(one.subject_text.clone()));
            } else if !list.current(now) {
                state = state.or(Err(Reason::RevocationListExpired(issuer.subject_text.clone())));
            } else {
                state = Ok(());
            }
        }
        match state {
            Ok(()) => {}
            Err(reason) if mode == Revocation::Required && place >= required => return Err(reason),
            // A list that is given and does not hold is not the same as none.
            Err(reason) if !matches!(reason, Reason::RevocationUnknown(_)) => return Err(reason),
            Err(_) => all &= place < required,
        }
    }
    Ok(all)
}
