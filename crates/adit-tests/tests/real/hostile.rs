//! Every program under `guests/hostile`, against one node. Each says on its first line what may become of it; besides,
//! no other job may notice, nothing of the host may show, and no process may stay behind.

use crate::{guest, programs, repository};
use adit_tests::{Node, eventually, is_busy, processes_below};
use anyhow::{Context, Result, bail, ensure};
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

/// What the issue asks for; more is better.
const AT_LEAST: usize = 60;

struct Hostile {
    name: String,
    /// `exit:N`, an error kind of an Outcome, or `timeout`.
    allowed: Vec<String>,
    wasm: PathBuf,
}

/// All of them, WAT translated into `folder`.
fn all(folder: &Path) -> Result<Vec<Hostile>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(repository("guests/hostile"))? {
        let path = entry?.path();
        let name = path.file_stem().context("a name")?.to_string_lossy().into_owned();
        let source = fs::read_to_string(&path)?;
        let first = source.lines().next().unwrap_or_default();
        let (_, allowed) =
            first.split_once("expect: ").with_context(|| format!("{name} says nothing of what to expect"))?;
        let wasm = match path.extension().and_then(|end| end.to_str()) {
            Some("wat") => {
                let target = folder.join(format!("{name}.wasm"));
                fs::write(&target, wat::parse_str(&source).with_context(|| name.clone())?)?;
                target
            }
            Some("c") => PathBuf::from(guest(&format!("hostile-{name}"))),
            _ => bail!("{} is neither WAT nor C", path.display()),
        };
        found.push(Hostile { name, allowed: allowed.split_whitespace().map(str::to_owned).collect(), wasm });
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// What became of it, in the words of the expectation.
fn verdict(node: &Node, hostile: &Hostile, data: &str) -> Result<String> {
    let wasm = hostile.wasm.to_str().context("text")?;
    let limits = ["--timeout", "20s", "--fuel", "2000000000", "--memory", "64MiB"];
    let words = [&["--json", "run", wasm, "--in", data, "--fresh"], &limits[..]].concat();
    let finished = node.adit(&words)?;
    if finished.stdout.is_empty() {
        return Ok(if finished.code == 224 {
            "timeout".into()
        } else {
            format!("nothing, code {}: {}", finished.code, finished.stderr)
        });
    }
    let reply = finished.json()?;
    let result = &reply["job"]["result"];
    Ok(match (result["kind"].as_str(), result["exit"].as_u64(), result["error"].as_str()) {
        (Some("ok"), Some(exit), _) => format!("exit:{exit}"),
        (Some("error"), _, Some(kind)) => kind.to_owned(),
        _ if finished.code == 224 => "timeout".into(),
        _ => format!("code {}, {reply}\n{}", finished.code, finished.stderr),
    })
}

#[test]
fn none_of_them_gets_out_or_disturbs_another_job() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let hostile = all(folder.path())?;
    ensure!(hostile.len() >= AT_LEAST, "only {} hostile programs", hostile.len());
    let node = Node::start(&programs(), &[])?;
    let path = folder.path().join("data");
    fs::write(&path, crate::noise(100_000, 7))?;
    let data = format!("/in/data={}", node.add(&path)?);

    // Beside them an honest job runs again and again; every one of its runs must come out right.
    let stop = std::sync::atomic::AtomicBool::new(false);
    let mut wrong = Vec::new();
    let witnessed = std::thread::scope(|scope| -> Result<usize> {
        let witness = scope.spawn(|| -> Result<usize> {
            let mut runs = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let ran = node
                    .adit(&["run", &guest("echo"), "--fresh", "--timeout", "60s", "--", "still here"])?
                    .expect(0)?;
                ensure!(ran.text() == "arg still here\nstdin 0 bytes\n", "the witness saw {}", ran.text());
                runs += 1;
            }
            Ok(runs)
        });
        for one in &hostile {
            let verdict = verdict(&node, one, &data);
            match verdict {
                Ok(verdict) if one.allowed.contains(&verdict) => {}
                Ok(verdict) => {
                    wrong.push(format!("{}: {verdict}; allowed: {}", one.name, one.allowed.join(" ")))
                }
                Err(error) => wrong.push(format!("{}: {error:#}", one.name)),
            }
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        witness.join().expect("the witness does not panic")
    });
    ensure!(
        wrong.is_empty(),
        "{} of {} hostile programs:\n{}\n{}",
        wrong.len(),
        hostile.len(),
        wrong.join("\n"),
        node.log()
    );
    ensure!(witnessed? > 10, "the witness hardly ran");

    // All that is left are idle workers: nobody still burns a processor.
    eventually("the machine is quiet again", Duration::from_secs(10), || {
        let busy = processes_below(node.pid()).into_iter().filter(|(pid, _)| is_busy(*pid));
        Ok((busy.count() == 0).then_some(()))
    })
}

#[test]
fn compile_bombs_end_within_their_limits() -> Result<()> {
    let node = Node::start(&programs(), &[])?;
    let module = |functions: String| {
        format!("(module (memory (export \"memory\") 1) (func (export \"_start\")) {functions})")
    };
    let bombs = [
        (
            "one huge function",
            module(format!(
                "(func (local i64) {})",
                "(local.set 0 (i64.mul (local.get 0) (i64.const 3)))".repeat(200_000)
            )),
        ),
        (
            "many functions",
            module("(func (param i32) (result i32) (i32.add (local.get 0) (i32.const 1)))".repeat(100_000)),
        ),
        (
            "wide branch tables",
            module(format!(
                "(func (param i32) (block (block {})))",
                format!("(br_table {} (local.get 0))", "0 1 ".repeat(20_000)).repeat(20)
            )),
        ),
        ("deep nesting", module(format!("(func {} {})", "block ".repeat(50_000), "end ".repeat(50_000)))),
        (
            "many types",
            format!(
                "(module {} (memory (export \"memory\") 1) (func (export \"_start\")))",
                (0..20_000)
                    .map(|n| format!("(type (func (param {})))", "i32 ".repeat(n % 50)))
                    .collect::<String>()
            ),
        ),
    ];
    for (name, wat) in bombs {
        let path = node.repository().with_extension("bomb.wasm");
        fs::write(&path, wat::parse_str(&wat).with_context(|| name.to_owned())?)?;
        // Compiled within its limits, or refused: both are fine. What is not: the node in trouble.
        let ran = node.adit(&["run", path.to_str().unwrap(), "--timeout", "60s"])?;
        ensure!(ran.code == 0 || !ran.stderr.is_empty(), "{name}: {} without a word", ran.code);
        node.adit(&["run", &guest("echo"), "--fresh"])?.expect(0)?;
    }
    Ok(())
}

#[test]
fn terminal_escapes_do_not_reach_a_terminal() -> Result<()> {
    let node = Node::start(&programs(), &[])?;
    let program = guest("hostile-terminal_escapes");
    // Into a pipe the bytes are passed on as they are: standard output is data.
    let raw = node.adit(&["run", &program])?.expect(0)?;
    ensure!(raw.stdout.contains(&0x1b), "data is not altered");
    // `script` gives it a terminal. What arrives there must not hold the guest's escapes.
    let mut command = std::process::Command::new("script");
    let adit = node.command(&["run", &program]);
    let line = format!("{} run {program}", adit.get_program().to_string_lossy());
    command.env_clear().envs(adit.get_envs().filter_map(|(key, value)| Some((key, value?))));
    command.args(["-qec", &line, "/dev/null"]).stdin(std::process::Stdio::null());
    let output = command.output().context("script, of Debian's bsdutils")?;
    let shown = String::from_utf8_lossy(&output.stdout);
    ensure!(shown.contains("plain"), "{shown:?}");
    for escape in ["\x1b]0;", "\x1b]52;", "\x1b[2J", "\x1b[8m"] {
        ensure!(!shown.contains(escape), "{escape:?} reached the terminal: {shown:?}");
    }
    Ok(())
}
