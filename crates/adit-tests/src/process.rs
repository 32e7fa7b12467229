//! Processes: which programs are under test, what became of a command, who is still running.

use anyhow::{Context, Result, bail};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

/// The two programs under test.
#[derive(Clone, Debug)]
pub struct Programs {
    pub adit: PathBuf,
    pub enclave: PathBuf,
}

impl Programs {
    /// From `ADIT_BIN` and `ADIT_ENCLAVE`, which `cargo xtask test` sets after building both.
    pub fn from_env() -> Result<Self> {
        let path = |name: &str| -> Result<PathBuf> {
            let value = std::env::var_os(name)
                .with_context(|| format!("{name} is not set: run the tests with `cargo xtask test real`"))?;
            fs::canonicalize(&value).with_context(|| format!("{name} names {}", Path::new(&value).display()))
        };
        Ok(Programs { adit: path("ADIT_BIN")?, enclave: path("ADIT_ENCLAVE")? })
    }

    /// Both in one folder, as a build leaves them.
    pub fn in_folder(folder: &Path) -> Self {
        Programs { adit: folder.join("adit"), enclave: folder.join("adit-enclave") }
    }

    /// `adit` on this repository, with nothing in its environment but what is set here.
    pub fn adit(&self, repository: &Path) -> Command {
        let mut command = Command::new(&self.adit);
        command.env_clear().env("ADIT_PATH", repository).env("ADIT_ENCLAVE_PROGRAM", &self.enclave);
        // Where a user's home would be; nothing may be written there.
        command.env("HOME", repository).env("NO_COLOR", "1").env("PATH", "/usr/bin:/bin");
        command.stdin(Stdio::null());
        command
    }
}

/// What a command left behind.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Its exit code; 128 + n when signal n ended it.
    pub code: i32,
    pub stdout: Vec<u8>,
    pub stderr: String,
    what: String,
}

impl Finished {
    pub fn of(command: &Command, output: Output) -> Self {
        use std::os::unix::process::ExitStatusExt;
        let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy()).collect();
        let code = output.status.code().unwrap_or_else(|| 128 + output.status.signal().unwrap_or(0));
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        Finished { code, stdout: output.stdout, stderr, what: words.join(" ") }
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Fails, with everything that was said, unless the exit code is this one.
    pub fn expect(self, code: i32) -> Result<Self> {
        if self.code != code {
            let (what, out, err) = (&self.what, self.text(), &self.stderr);
            bail!("`adit {what}` ended with {}, not {code}\n--- stdout\n{out}\n--- stderr\n{err}", self.code);
        }
        Ok(self)
    }

    /// Standard output without the end of its last line.
    pub fn line(&self) -> String {
        self.text().trim_end().to_owned()
    }

    pub fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_slice(&self.stdout).with_context(|| {
            format!("`adit {}` printed no JSON:\n{}\n--- stderr\n{}", self.what, self.text(), self.stderr)
        })
    }
}

/// Asks again and again until there is an answer; fails with `what` after `limit`.
pub fn eventually<T>(what: &str, limit: Duration, mut ask: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask().with_context(|| what.to_owned())? {
            return Ok(answer);
        }
        if start.elapsed() > limit {
            bail!("not within {limit:?}: {what}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// All living processes that descend from `root` (itself excluded), with their command lines.
pub fn processes_below(root: u32) -> Vec<(u32, String)> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        let fields = stat(pid);
        let (Some(state), Some(Ok(parent))) =
            (fields.first(), fields.get(1).map(|field| field.parse::<u32>()))
        else {
            continue;
        };
        if state != "Z" {
            let words = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            parents.push((pid, parent, String::from_utf8_lossy(&words).replace('\0', " ")));
        }
    }
    let mut family = vec![root];
    let mut found = Vec::new();
    while let Some(parent) = family.pop() {
        for (pid, its_parent, words) in &parents {
            if *its_parent == parent {
                family.push(*pid);
                found.push((*pid, words.trim_end().to_owned()));
            }
        }
    }
    found
}

/// Whether a process is on a processor, or waits for one, right now.
pub fn is_busy(pid: u32) -> bool {
    stat(pid).first().is_some_and(|state| state == "R")
}

/// Processor time that a process has used, in hundredths of a second.
pub fn cpu_ticks(pid: u32) -> u64 {
    stat(pid).iter().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum()
}

/// The most memory that a process ever had resident, in bytes (`VmHWM`).
pub fn peak_memory(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).with_context(|| path.clone())?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kibibytes << 10)
}

/// The fields of `/proc/PID/stat` from the state on (state, parent, …); empty when there is no such process.
fn stat(pid: u32) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // `pid (name) state parent …`; the name may hold anything, so count from its last parenthesis.
    let fields = text.rsplit_once(") ").map_or("", |(_, rest)| rest);
    fields.split_whitespace().map(str::to_owned).collect()
}
