//! The verifier and a live TPM: Debian's swtpm, asked by Debian's tpm2-tools. The way of an attester and a relying party
//! from the endorsement key's certificate to an accepted quote. `ADIT_RECORD=FILE` writes what was said, for the
//! recorded tests.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use adit_trust::{
    Appraisal, Challenge, DevnetRoot, Endorsements, Evidence, Kind, Policy, Reason, ReferenceValues,
    Revocation, Software, TpmEvidence, appraise,
};
use sha2::{Digest as _, Sha256};

struct Swtpm {
    folder: tempfile::TempDir,
    child: Child,
}

impl Drop for Swtpm {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Swtpm {
    /// A new TPM with a certificate of its own maker, or nothing where the programs are missing.
    fn start() -> Option<Self> {
        let there = |program: &str| Command::new(program).arg("--version").output().is_ok();
        if !["swtpm", "swtpm_setup", "tpm2_quote"].into_iter().all(there) {
            assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "swtpm and tpm2-tools are not installed");
            eprintln!("SKIPPED: install swtpm, swtpm-tools and tpm2-tools");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        for name in ["ca", "state"] {
            std::fs::create_dir(at(name)).unwrap();
        }
        let maker = format!(
            "statedir = {0}\nsigningkey = {0}/key.pem\nissuercert = {0}/issuer.pem\ncertserial = {0}/serial\n",
            at("ca")
        );
        std::fs::write(at("maker.conf"), maker).unwrap();
        let setup = format!(
            "create_certs_tool = /usr/bin/swtpm_localca\ncreate_certs_tool_config = {}\n\
             create_certs_tool_options = {}\nactive_pcr_banks = sha256\n",
            at("maker.conf"),
            at("options.conf")
        );
        std::fs::write(at("setup.conf"), setup).unwrap();
        let options = "--platform-manufacturer Test\n--platform-version 1\n--platform-model Test\n";
        std::fs::write(at("options.conf"), options).unwrap();
        let mut made = Command::new("swtpm_setup");
        made.args(["--tpm2", "--create-ek-cert", "--lock-nvram", "--overwrite", "--pcr-banks", "sha256"]);
        made.args(["--tpmstate", &at("state"), "--config", &at("setup.conf")]);
        let made = made.output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stdout));

        let mut child = Command::new("swtpm");
        child.args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"]);
        child.args(["--tpmstate", &format!("dir={}", at("state"))]);
        child.args(["--server", &format!("type=unixio,path={}", at("tpm"))]);
        child.args(["--ctrl", &format!("type=unixio,path={}", at("tpm.ctrl"))]);
        let child = child.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let tpm = Swtpm { folder, child };
        let deadline = Instant::now() + Duration::from_secs(30);
        while !tpm.path("tpm").exists() {
            assert!(Instant::now() < deadline, "swtpm did not open its socket");
            std::thread::sleep(Duration::from_millis(10));
        }
        Some(tpm)
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    /// Whether one of the tools did it. Files are named relative to the folder.
    fn tries(&self, words: &str) -> Result<(), String> {
        let mut words = words.split_whitespace();
        let mut command = Command::new(words.next().unwrap());
        command.args(words).current_dir(&self.folder).env("TPM2TOOLS_TCTI", "swtpm:path=tpm");
        let output = command.output().unwrap();
        if output.status.success() {
            Ok(())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    #[track_caller]
    fn does(&self, words: &str) {
        if let Err(error) = self.tries(words) {
            panic!("{words}: {error}");
        }
    }

    /// Has the TPM open a credential for an attestation key.
    fn activates(&self, key: &str, blob: &[u8], secret: &[u8]) -> Result<Vec<u8>, String> {
        let size = |bytes: &[u8]| (bytes.len() as u16).to_be_bytes();
        let head = [0xba, 0xdc, 0xc0, 0xde, 0, 0, 0, 1];
        let file = [&head[..], &size(blob), blob, &size(secret), secret].concat();
        std::fs::write(self.path("credential"), file).unwrap();
        self.does("tpm2_flushcontext -t");
        self.does("tpm2_startauthsession --policy-session -S session");
        self.does("tpm2_policysecret -S session -c e");
        let opened = self.tries(&format!(
            "tpm2_activatecredential -c {key} -C ek -i credential -o opened -P session:session"
        ));
        self.does("tpm2_flushcontext session");
        opened.map(|()| self.read("opened"))
    }
}

/// Registers that firmware would extend, and one that anybody may.
const PCRS: [u8; 4] = [0, 4, 7, 16];

/// Measures something into each register; the log of it in the crypto-agile form.
fn boot(tpm: &Swtpm) -> Vec<u8> {
    let spec = [&b"Spec ID Event03\0"[..], &[0; 8], &[1, 0, 0, 0, 0x0b, 0, 32, 0], &[0]].concat();
    let mut log = [&[0; 4][..], &[3, 0, 0, 0], &[0; 20], &(spec.len() as u32).to_le_bytes(), &spec].concat();
    for (pcr, what) in [(0u8, "firmware"), (4, "loader"), (4, "kernel"), (7, "secure boot"), (16, "anything")]
    {
        let digest = Sha256::digest(what);
        tpm.does(&format!("tpm2_pcrextend {pcr}:sha256={}", hex::encode(digest)));
        if pcr < 16 {
            log.extend([u32::from(pcr).to_le_bytes(), 5u32.to_le_bytes(), 1u32.to_le_bytes()].concat());
            log.extend(
                [&[0x0b, 0][..], &digest, &(what.len() as u32).to_le_bytes(), what.as_bytes()].concat(),
            );
        }
    }
    log
}

/// The public area inside a TPM2B_PUBLIC.
fn public(tpm: &Swtpm, name: &str) -> Vec<u8> {
    tpm.read(name)[2..].to_vec()
}

fn names(appraisal: &Appraisal) -> Vec<&'static str> {
    appraisal.reasons().map(Reason::name).collect()
}

#[test]
fn a_live_tpm_is_appraised_from_its_certificate_to_its_quote() {
    let Some(tpm) = Swtpm::start() else { return };
    tpm.does("tpm2_nvread 0x1c00002 -o ek.der");
    tpm.does("tpm2_createek -G rsa -c ek -u ek.pub");
    for key in ["ak", "other"] {
        tpm.does("tpm2_flushcontext -t");
        tpm.does(&format!("tpm2_createak -C ek -c {key} -G ecc -g sha256 -s ecdsa -u {key}.pub"));
    }
    let (ek, ak) = (tpm.read("ek.der"), public(&tpm, "ak.pub"));

    // The relying party asks whether this key lives beside that certificate's.
    let answer: [u8; 32] = Sha256::digest("answer").into();
    let seed: [u8; 48] = std::array::from_fn(|at| at as u8 + 1);
    let (credential, challenge) = Challenge::new(&ek, &ak, answer, &seed).unwrap();
    let (foreign, _) = Challenge::new(&ek, &public(&tpm, "other.pub"), answer, &seed).unwrap();
    assert!(tpm.activates("ak", &foreign.blob, &foreign.secret).is_err(), "a credential for another key");
    let opened = tpm.activates("ak", &credential.blob, &credential.secret).unwrap();
    let activated = challenge.answered(&opened).unwrap();

    let log = boot(&tpm);
    let nonce = [0x5a; 32];
    let list = PCRS.map(|pcr| pcr.to_string()).join(",");
    tpm.does("tpm2_flushcontext -t");
    let nonce_hex = hex::encode(nonce);
    tpm.does(&format!("tpm2_quote -c ak -l sha256:{list} -q {nonce_hex} -m quote -s signature -g sha256"));
    tpm.does(&format!("tpm2_pcrread sha256:{list} -o pcrs"));
    let evidence = TpmEvidence {
        ek_certificate: ek,
        ak_public: ak,
        quote: tpm.read("quote"),
        signature: tpm.read("signature"),
        pcrs: tpm.read("pcrs"),
        event_log: log,
    };

    let mut endorsements = Endorsements::default();
    let makers: String = ["issuer.pem", "swtpm-localca-rootca-cert.pem"]
        .map(|name| String::from_utf8(tpm.read(&format!("ca/{name}"))).unwrap())
        .concat();
    endorsements.add(makers.as_bytes()).unwrap();
    let root: [u8; 32] = Sha256::digest(endorsements.certificates.last().unwrap()).into();
    let mut policy =
        Policy { report_data: Some(nonce.to_vec()), revocation: Revocation::IfGiven, ..Policy::default() };
    policy.software = Software::Any;
    policy.kinds.insert(Kind::Dev);
    policy.devnet = Some(DevnetRoot::of_this_devnet([0; 32]).with_tpm_maker(root));
    policy.tpm.activated.push(activated);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let appraised = |policy: &Policy| {
        let evidence = Evidence::Tpm2(evidence.clone().into());
        appraise(&evidence, &endorsements, &ReferenceValues::default(), policy, now)
    };
    let appraisal = appraised(&policy);
    assert_eq!(appraisal.claims(), Some(&Kind::Dev.ceiling()), "{:?}", appraisal.checks);

    let mut replayed = policy.clone();
    replayed.report_data = Some(vec![0x5b; 32]);
    assert_eq!(names(&appraised(&replayed)), ["report-data"]);
    let mut hardware = policy.clone();
    hardware.devnet = None;
    hardware.tpm.roots.push(root);
    assert_eq!(names(&appraised(&hardware)), ["software-tpm"]);

    if let Some(path) = std::env::var_os("ADIT_RECORD") {
        let recording = serde_json::json!({
            "evidence": evidence, "makers": makers, "root": hex::encode(root), "answer": hex::encode(answer),
            "seed": hex::encode(seed), "blob": hex::encode(&credential.blob), "secret": hex::encode(&credential.secret),
        });
        std::fs::write(Path::new(&path), serde_json::to_vec_pretty(&recording).unwrap()).unwrap();
    }
}
