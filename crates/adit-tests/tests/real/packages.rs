//! The node as packages install it: node and enclave are services of their own, with users of their own.

use crate::{guest, programs};
use adit_tests::{Node, Programs, eventually, processes_below};
use anyhow::{Context, Result, bail, ensure};
use std::{
    fs,
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

/// No user of this machine has this number.
const ENCLAVE_USER: u32 = 64_321;

/// What `adit-enclave.socket` does: starts an enclave for each connection, as another user.
struct Service(Child);

impl Service {
    fn start(programs: &Programs, folder: &Path, socket: &Path) -> Result<Self> {
        // Where it was built, the other user may not be able to go.
        let program = folder.join("adit-enclave");
        fs::copy(&programs.enclave, &program)?;
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
        let id = ENCLAVE_USER.to_string();
        let mut command = Command::new("systemd-socket-activate");
        command.env_clear().env("PATH", "/usr/bin:/bin").args(["--seqpacket", "--accept"]);
        command.arg("--listen").arg(socket);
        command.args(["setpriv", "--reuid", &id, "--regid", &id, "--clear-groups", "--bounding-set=-all"]);
        command.arg(program).arg("serve").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let service = Service(command.spawn().context("systemd-socket-activate")?);
        eventually("the socket is there", Duration::from_secs(10), || {
            Ok(fs::metadata(socket).is_ok_and(|found| found.file_type().is_socket()).then_some(()))
        })?;
        Ok(service)
    }

    /// The enclave's own processes; workers name themselves after it.
    fn enclaves(&self) -> Vec<u32> {
        let below = processes_below(self.0.id());
        below
            .into_iter()
            .filter(|(_, words)| words.ends_with("adit-enclave serve"))
            .map(|(pid, _)| pid)
            .collect()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let below = processes_below(self.0.id());
        let _ = self.0.kill();
        let _ = self.0.wait();
        for (pid, _) in below {
            // SAFETY: integers only.
            unsafe { libc::kill(pid as libc::pid_t, libc::SIGKILL) };
        }
    }
}

/// Whether this can be tried here; not having it is an error in CI.
fn can_be_tried() -> Result<bool> {
    // SAFETY: no arguments.
    let root = unsafe { libc::geteuid() } == 0;
    let there = |program: &str| Command::new(program).arg("--version").output().is_ok();
    if root && there("systemd-socket-activate") && there("setpriv") {
        return Ok(true);
    }
    if std::env::var_os("CI").is_some() {
        bail!("needs root, systemd-socket-activate and setpriv");
    }
    eprintln!("SKIPPED packages: needs root, systemd-socket-activate and setpriv");
    Ok(false)
}

fn owner(pid: u32) -> Result<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:")).context("a user")?;
    Ok(line.split_whitespace().next().unwrap_or_default().to_owned())
}

#[test]
fn an_enclave_of_another_user_runs_jobs_and_comes_back_when_it_dies() -> Result<()> {
    if !can_be_tried()? {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let socket = folder.path().join("enclave.sock");
    let service = Service::start(&programs(), folder.path(), &socket)?;
    let node = Node::start(&programs(), &[("enclave.socket", socket.to_str().context("text")?)])?;
    let runs = || -> Result<()> {
        let ran = node.adit(&["run", &guest("echo"), "--fresh", "--", "through a socket"])?.expect(0)?;
        ensure!(ran.text().contains("through a socket"), "{}", ran.text());
        Ok(())
    };
    runs()?;
    ensure!(processes_below(node.pid()).is_empty(), "the node has started an enclave of its own");
    let [enclave] = service.enclaves()[..] else { bail!("{:?}", processes_below(service.0.id())) };
    ensure!(owner(enclave)? == ENCLAVE_USER.to_string(), "it runs as {}", owner(enclave)?);
    let workers = processes_below(enclave);
    ensure!(!workers.is_empty(), "it keeps no worker");
    for (worker, _) in workers {
        ensure!(owner(worker)? == ENCLAVE_USER.to_string(), "a worker runs as {}", owner(worker)?);
    }
    // SAFETY: integers only.
    unsafe { libc::kill(enclave as libc::pid_t, libc::SIGKILL) };
    eventually("another enclave is up", Duration::from_secs(20), || {
        let restarts = node.json(&["node", "status"])?["enclave"]["restarts"].as_u64();
        Ok((restarts == Some(1)).then_some(()))
    })?;
    runs()?;
    // It ends with the node that it worked for.
    drop(node);
    eventually("no enclave is left", Duration::from_secs(20), || {
        Ok(service.enclaves().is_empty().then_some(()))
    })
}
