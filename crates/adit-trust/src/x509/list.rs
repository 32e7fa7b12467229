//! Revocation lists.

use std::collections::BTreeSet;

use x509_parser::prelude::*;

use super::{Certificate, scheme};
use crate::Reason;
use crate::crypto::Scheme;
use crate::evidence::MAX_ENDORSEMENT;

/// The most entries of one list.
const MAX_ENTRIES: usize = 100_000;

/// A parsed list. Counts only if its issuer signed it.
#[derive(Clone, Debug)]
pub(crate) struct RevocationList {
    pub(super) issuer: Vec<u8>,
    signed: Vec<u8>,
    scheme: Option<Scheme>,
    signature: Vec<u8>,
    this_update: i64,
    next_update: Option<i64>,
    serials: BTreeSet<Vec<u8>>,
}

/// Whether these bytes have a list's form.
pub(crate) fn is_revocation_list(der: &[u8]) -> bool {
    matches!(CertificateRevocationList::from_der(der), Ok((rest, _)) if rest.is_empty())
}

impl RevocationList {
    pub(crate) fn parse(der: &[u8]) -> Result<Self, Reason> {
        const MALFORMED: Reason = Reason::Malformed("a revocation list");
        if der.len() > MAX_ENDORSEMENT {
            return Err(Reason::TooLarge("a revocation list"));
        }
        let (rest, parsed) = CertificateRevocationList::from_der(der).map_err(|_| MALFORMED)?;
        let tbs = &parsed.tbs_cert_list;
        if tbs.revoked_certificates.len() > MAX_ENTRIES {
            return Err(Reason::TooLarge("a revocation list"));
        }
        // A critical extension narrows what a list speaks of (by delta, by scope); such lists are not for us.
        let sane = rest.is_empty()
            && der[0] == 0x30
            && tbs.signature == parsed.signature_algorithm
            && parsed.signature_value.unused_bits == 0
            && !tbs.extensions().iter().any(|one| one.critical);
        if !sane {
            return Err(MALFORMED);
        }
        Ok(RevocationList {
            issuer: tbs.issuer.as_raw().to_vec(),
            signed: tbs.as_ref().to_vec(),
            scheme: scheme(&parsed.signature_algorithm),
            signature: parsed.signature_value.data.to_vec(),
            this_update: tbs.this_update.timestamp(),
            next_update: tbs.next_update.map(|time| time.timestamp()),
            serials: tbs.revoked_certificates.iter().map(|one| one.raw_serial().to_vec()).collect(),
        })
    }

    pub(super) fn signed_by(&self, issuer: &Certificate) -> bool {
        match (&issuer.key, self.scheme) {
            (Some(key), Some(scheme)) => key.verify(scheme, &self.signed, &self.signature),
            _ => false,
        }
    }

    pub(super) fn lists(&self, serial: &[u8]) -> bool {
        self.serials.contains(serial)
    }

    /// A list without an end is never current: nobody could tell that it is old.
    pub(super) fn current(&self, now: u64) -> bool {
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        self.this_update <= now && self.next_update.is_some_and(|end| now <= end)
    }
}
