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
    pub(crate) intel: Vec<Fingerprint>,
    pub(crate) amazon: Vec<Fingerprint>,
    /// Certificates that any chain may use.
    pub(crate) known: Vec<Vec<u8>>,
}

const AMD: [(Product, &str); 3] = [
    (Product::Milan, "69d063b45344d26a2e94e1f4210de49ef555308287d4c174445c95639a540bcd"),
    (Product::Genoa, "4c6598d19c18719c5dfd4a7d335f674e5bfe1d8f800cea2cf270c10d103db2f1"),
    (Product::Turin, "1f084161a44bb6d93778a904877d4819cafa5d05ef4193b2ded9dd9c73dd3f6a"),
];

/// "Intel SGX Root CA", of SGX and TDX.
const INTEL: &str = "44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3";
/// "aws.nitro-enclaves", G1.
const AMAZON: &str = "641a0321a3e244efe456463195d606317ed7cdcc3c1756e09893f3c68f79bb5b";

const KNOWN: [&[u8]; 11] = [
    include_bytes!("../roots/intel-sgx-root-ca.der"),
    include_bytes!("../roots/aws-nitro-root-g1.der"),
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
            intel: vec![fingerprint(INTEL)],
            amazon: vec![fingerprint(AMAZON)],
            known: KNOWN.iter().map(|der| der.to_vec()).collect(),
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
        for (root, name) in
            [(anchors.intel[0], "Intel SGX Root CA"), (anchors.amazon[0], "aws.nitro-enclaves")]
        {
            let root = known.iter().find(|one| one.fingerprint() == root).expect("a root's certificate");
            assert!(root.subject_text() == name && root.signed_by(root));
        }
    }
}
