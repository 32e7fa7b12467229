//! A maker of certificates, for tests: whoever plays AMD, Intel, Amazon or a TPM's maker builds its chain here.

use p256::ecdsa::signature::hazmat::PrehashSigner as _;

use crate::crypto::Hash;

pub(crate) const START: &str = "20200101000000Z";
pub(crate) const END: &str = "20400101000000Z";
/// In between.
pub(crate) const NOW: u64 = 1_750_000_000;

/// A secret key of whoever is played.
#[derive(Clone)]
pub(crate) enum Key {
    P256(p256::ecdsa::SigningKey),
    P384(p384::ecdsa::SigningKey),
}

impl Key {
    pub(crate) fn p256(seed: u8) -> Self {
        Key::P256(p256::ecdsa::SigningKey::from_slice(&[seed; 32]).unwrap())
    }

    pub(crate) fn p384(seed: u8) -> Self {
        Key::P384(p384::ecdsa::SigningKey::from_slice(&[seed; 48]).unwrap())
    }

    fn hash(&self) -> Hash {
        match self {
            Key::P256(_) => Hash::Sha256,
            Key::P384(_) => Hash::Sha384,
        }
    }

    /// The signature over a message as `r ‖ s`.
    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let digest = self.hash().digest(message);
        match self {
            Key::P256(key) => {
                let made: p256::ecdsa::Signature = key.sign_prehash(&digest).unwrap();
                made.to_bytes().to_vec()
            }
            Key::P384(key) => {
                let made: p384::ecdsa::Signature = key.sign_prehash(&digest).unwrap();
                made.to_bytes().to_vec()
            }
        }
    }

    fn sign_der(&self, message: &[u8]) -> Vec<u8> {
        let fixed = self.sign(message);
        match self {
            Key::P256(_) => p256::ecdsa::Signature::from_slice(&fixed).unwrap().to_der().as_bytes().to_vec(),
            Key::P384(_) => p384::ecdsa::Signature::from_slice(&fixed).unwrap().to_der().as_bytes().to_vec(),
        }
    }

    /// `04 ‖ x ‖ y`.
    pub(crate) fn point(&self) -> Vec<u8> {
        match self {
            Key::P256(key) => key.verifying_key().to_sec1_point(false).as_bytes().to_vec(),
            Key::P384(key) => key.verifying_key().to_sec1_point(false).as_bytes().to_vec(),
        }
    }

    fn info(&self) -> Vec<u8> {
        let curve: &[u8] = match self {
            Key::P256(_) => &[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7],
            Key::P384(_) => &[0x2b, 0x81, 4, 0, 0x22],
        };
        let algorithm = sequence(&[tlv(6, &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1]), tlv(6, curve)]);
        sequence(&[algorithm, bit_string(&self.point())])
    }

    fn algorithm(&self) -> Vec<u8> {
        let last = match self {
            Key::P256(_) => 2,
            Key::P384(_) => 3,
        };
        sequence(&[tlv(6, &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, last])])
    }
}

/// What a certificate is to say.
#[derive(Clone)]
pub(crate) struct Spec {
    pub(crate) subject: String,
    pub(crate) serial: u8,
    pub(crate) from: &'static str,
    pub(crate) to: &'static str,
    pub(crate) authority: bool,
    pub(crate) path_length: Option<u8>,
    /// OID (its DER content), critical, value.
    pub(crate) extensions: Vec<(Vec<u8>, bool, Vec<u8>)>,
}

impl Spec {
    pub(crate) fn leaf(subject: &str) -> Self {
        Spec {
            subject: subject.into(),
            serial: 7,
            from: START,
            to: END,
            authority: false,
            path_length: None,
            extensions: Vec::new(),
        }
    }

    pub(crate) fn authority(subject: &str) -> Self {
        Spec { authority: true, ..Spec::leaf(subject) }
    }

    /// The certificate of `key`, issued by `issuer` with `signer`.
    pub(crate) fn issue(&self, key: &Key, issuer: &str, signer: &Key) -> Vec<u8> {
        let mut extensions = self.extensions.clone();
        if self.authority {
            let mut inner = vec![tlv(1, &[0xff])];
            inner.extend(self.path_length.map(|length| tlv(2, &[length])));
            extensions.push((vec![0x55, 0x1d, 0x13], true, sequence(&inner)));
        }
        let extensions: Vec<_> = extensions
            .iter()
            .map(|(oid, critical, value)| {
                let mut inner = vec![tlv(6, oid)];
                if *critical {
                    inner.push(tlv(1, &[0xff]));
                }
                inner.push(tlv(4, value));
                sequence(&inner)
            })
            .collect();
        let mut tbs = vec![
            tlv(0xa0, &tlv(2, &[2])),
            tlv(2, &[self.serial]),
            signer.algorithm(),
            name(issuer),
            sequence(&[tlv(0x18, self.from.as_bytes()), tlv(0x18, self.to.as_bytes())]),
            name(&self.subject),
            key.info(),
        ];
        if !extensions.is_empty() {
            tbs.push(tlv(0xa3, &sequence(&extensions)));
        }
        sign(sequence(&tbs), signer)
    }
}

/// A revocation list.
pub(crate) fn list(issuer: &str, signer: &Key, from: &str, to: &str, serials: &[u8]) -> Vec<u8> {
    let mut tbs = vec![
        tlv(2, &[1]),
        signer.algorithm(),
        name(issuer),
        tlv(0x18, from.as_bytes()),
        tlv(0x18, to.as_bytes()),
    ];
    if !serials.is_empty() {
        let entries: Vec<_> = serials
            .iter()
            .map(|serial| sequence(&[tlv(2, &[*serial]), tlv(0x18, START.as_bytes())]))
            .collect();
        tbs.push(sequence(&entries));
    }
    sign(sequence(&tbs), signer)
}

fn sign(tbs: Vec<u8>, signer: &Key) -> Vec<u8> {
    let signature = signer.sign_der(&tbs);
    sequence(&[tbs, signer.algorithm(), bit_string(&signature)])
}

fn name(common: &str) -> Vec<u8> {
    tlv(0x30, &tlv(0x31, &sequence(&[tlv(6, &[0x55, 4, 3]), tlv(0x0c, common.as_bytes())])))
}

pub(crate) fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    tlv(0x30, &parts.concat())
}

fn bit_string(bytes: &[u8]) -> Vec<u8> {
    tlv(3, &[&[0], bytes].concat())
}

pub(crate) fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let size = content.len();
    let head = match size {
        0..0x80 => vec![tag, size as u8],
        0x80..0x100 => vec![tag, 0x81, size as u8],
        _ => vec![tag, 0x82, (size >> 8) as u8, size as u8],
    };
    [head, content.to_vec()].concat()
}

/// The folder of vectors that others made; says so where it is not there, and does not go on without it in CI.
pub(crate) fn vectors() -> Option<std::path::PathBuf> {
    let folder = std::env::var_os("ADIT_VECTORS").map(|folder| std::path::PathBuf::from(folder).join("tee"));
    let folder = folder.filter(|folder| folder.is_dir());
    if folder.is_none() {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "ADIT_VECTORS has no tee directory");
        eprintln!("SKIPPED: set ADIT_VECTORS to a directory with recorded evidence in tee/");
    }
    folder
}
