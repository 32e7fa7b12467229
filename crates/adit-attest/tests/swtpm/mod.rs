//! A software TPM (swtpm, as Debian has it) with a maker of its own, for one test.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub(crate) struct Swtpm {
    folder: tempfile::TempDir,
    child: Option<Child>,
}

impl Drop for Swtpm {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Swtpm {
    /// A new TPM whose certificate says that it is one of software, or nothing where the programs are missing.
    pub(crate) fn start() -> Option<Self> {
        Self::made_with(&[], &[])
    }

    /// A new TPM. `setup` are words for `swtpm_setup`; `certificate` are words for the program that makes certificates,
    /// which come after those that `swtpm_setup` gives it.
    pub(crate) fn made_with(setup: &[&str], certificate: &[&str]) -> Option<Self> {
        let there = |program: &str| Command::new(program).arg("--version").output().is_ok();
        if !["swtpm", "swtpm_setup", "tpm2_quote"].into_iter().all(there) {
            assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "swtpm and tpm2-tools are not installed");
            eprintln!("SKIPPED: install swtpm, swtpm-tools and tpm2-tools");
            return None;
        }
        let mut tpm = Swtpm { folder: tempfile::tempdir().unwrap(), child: None };
        tpm.make(setup, certificate);
        tpm.power_on();
        Some(tpm)
    }

    fn make(&self, setup: &[&str], certificate: &[&str]) {
        let at = |name: &str| self.path(name).display().to_string();
        for name in ["ca", "state"] {
            std::fs::create_dir(at(name)).unwrap();
        }
        let maker = format!(
            "statedir = {0}\nsigningkey = {0}/key.pem\nissuercert = {0}/issuer.pem\ncertserial = {0}/serial\n",
            at("ca")
        );
        std::fs::write(at("maker.conf"), maker).unwrap();
        let tool = format!("#!/bin/sh\nexec /usr/bin/swtpm_localca \"$@\" {}\n", certificate.join(" "));
        std::fs::write(at("maker"), tool).unwrap();
        std::fs::set_permissions(at("maker"), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        let config = format!(
            "create_certs_tool = {}\ncreate_certs_tool_config = {}\ncreate_certs_tool_options = {}\n\
             active_pcr_banks = sha256\n",
            at("maker"),
            at("maker.conf"),
            at("options.conf")
        );
        std::fs::write(at("setup.conf"), config).unwrap();
        let options = "--platform-manufacturer Test\n--platform-version 1\n--platform-model Test\n";
        std::fs::write(at("options.conf"), options).unwrap();
        let mut made = Command::new("swtpm_setup");
        made.args(["--tpm2", "--create-ek-cert", "--lock-nvram", "--overwrite", "--pcr-banks", "sha256"]);
        made.args(["--tpmstate", &at("state"), "--config", &at("setup.conf")]).args(setup);
        let made = made.output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stdout));
    }

    /// Starts it as after a reset.
    pub(crate) fn power_on(&mut self) {
        let at = |name: &str| self.path(name).display().to_string();
        let mut child = Command::new("swtpm");
        child.args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"]);
        child.args(["--tpmstate", &format!("dir={}", at("state"))]);
        child.args(["--server", &format!("type=unixio,path={}", at("tpm"))]);
        child.args(["--ctrl", &format!("type=unixio,path={}", at("tpm.ctrl"))]);
        self.child = Some(child.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        let deadline = Instant::now() + Duration::from_secs(30);
        // The socket's file is there before anybody listens at it.
        while UnixStream::connect(self.path("tpm")).is_err() {
            assert!(Instant::now() < deadline, "swtpm did not open its socket");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        for socket in ["tpm", "tpm.ctrl"] {
            let _ = std::fs::remove_file(self.path(socket));
        }
    }

    /// Off and on again.
    #[allow(dead_code, reason = "not every test that has this module resets its TPM")]
    pub(crate) fn reset(&mut self) {
        self.stop();
        self.power_on();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    #[allow(dead_code, reason = "not every test that has this module reads its files")]
    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    /// Where it is reached, as `adit_attest::Address` reads it.
    pub(crate) fn address(&self) -> String {
        format!("unix:{}", self.path("tpm").display())
    }

    /// The certificates of its maker, PEM; the last is the root.
    pub(crate) fn makers(&self) -> String {
        ["issuer.pem", "swtpm-localca-rootca-cert.pem"]
            .map(|name| std::fs::read_to_string(self.path("ca").join(name)).unwrap())
            .concat()
    }

    /// Runs one of tpm2-tools, which share no code with Adit. Files are named relative to the TPM's folder.
    #[track_caller]
    #[allow(dead_code, reason = "not every test that has this module needs the tools")]
    pub(crate) fn does(&self, words: &str) {
        let mut rest = words.split_whitespace();
        let mut command = Command::new(rest.next().unwrap());
        command.args(rest).current_dir(&self.folder).env("TPM2TOOLS_TCTI", "swtpm:path=tpm");
        let output = command.output().unwrap();
        assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
