//! The makers' roots: the trust anchors that verifiers pin, and the certificates that never change.
//!
//! A root counts by the SHA-256 of its certificate, written here; the files under `roots/` are only data that chains
//! are built from.

use crate::snp::Product;

/// SHA-256 of a certificate.
pub(crate) type Fingerprint = [u8; 32];

/// Whom a verifier believes.
pub(crate) struct Anchors {
    pub(crate) amd: Vec<(Product, Fingerprint)>,
    /// Certificates that any chain may use.
    pub(crate) known: Vec<Vec<u8>>,
}

const AMD: [(Product, &str); 3] = [
    (Product::Milan, "69d063b45344d26a2e94e1f4210de49ef555308287d4c174445c95639a540bcd"),
    (Product::Genoa, "4c6598d19c18719c5dfd4a7d335f674e5bfe1d8f800cea2cf270c10d103db2f1"),
    (Product::Turin, "1f084161a44bb6d93778a904877d4819cafa5d05ef4193b2ded9dd9c73dd3f6a"),
];

const AMD_CERTIFICATES: [&[u8]; 9] = [
    include_bytes!("../roots/amd/milan-ark.der"),
    include_bytes!("../roots/amd/milan-ask.der"),
    include_bytes!("../roots/amd/milan-asvk.der"),
    include_bytes!("../roots/amd/genoa-ark.der"),
    include_bytes!("../roots/amd/genoa-ask.der"),
    include_bytes!("../roots/amd/genoa-asvk.der"),
    include_bytes!("../roots/amd/turin-ark.der"),
    include_bytes!("../roots/amd/turin-ask.der"),
    include_bytes!("../roots/amd/turin-asvk.der"),
];

fn fingerprint(text: &str) -> Fingerprint {
    let mut out = [0; 32];
    hex::decode_to_slice(text, &mut out).expect("a SHA-256 in hexadecimal");
    out
}

impl Anchors {
    /// The makers' own.
    pub(crate) fn makers() -> Self {
        Anchors {
            amd: AMD.iter().map(|(product, text)| (*product, fingerprint(text))).collect(),
            known: AMD_CERTIFICATES.iter().map(|der| der.to_vec()).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::x509::Certificate;

    #[test]
    fn every_pinned_root_is_among_the_data_and_signs_itself() {
        let anchors = Anchors::makers();
        let known: Vec<_> = anchors.known.iter().map(|der| Certificate::parse(der).unwrap()).collect();
        for (product, root) in &anchors.amd {
            let root = known.iter().find(|one| one.fingerprint() == *root).expect("a root's certificate");
            assert!(root.subject_text().contains(&format!("ARK-{product}")));
            assert!(root.signed_by(root));
        }
    }
}
