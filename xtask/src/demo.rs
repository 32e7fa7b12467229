//! The main job, on a network of three real nodes and on real data: the packages that cargo downloaded to build Adit.
//!
//! Everything is done as a user would, with the command line; every claim in the closing table is checked, and the
//! exit code says whether all of them held.

use crate::build;
use adit_tests::{Node, Programs};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

pub(crate) fn run(data: Option<&Path>) -> Result<()> {
    println!("building the enclave, alone, then the node (about eleven minutes the first time on two cores)");
    let programs = Programs::in_folder(&build::all_programs()?);
    let folder = tempfile::Builder::new().prefix("adit-demo-").tempdir()?;
    let (data, about) = match data {
        Some(folder) => (fs::canonicalize(folder)?, format!("the folder {}", folder.display())),
        None => packages(&folder.path().join("packages"))?,
    };
    Demo { programs, folder: folder.path().to_owned(), checks: Vec::new() }.run(&data, &about)
}

/// The `.crate` archives of Adit's own dependencies, linked into one folder.
fn packages(target: &Path) -> Result<(PathBuf, String)> {
    let metadata = Command::new("cargo")
        .current_dir(build::root())
        .args(["metadata", "--format-version", "1", "--locked"])
        .output()?;
    let metadata: Value = serde_json::from_slice(&metadata.stdout).context("cargo metadata")?;
    fs::create_dir_all(target)?;
    let (mut count, mut bytes) = (0, 0);
    for package in metadata["packages"].as_array().context("cargo metadata lists no packages")? {
        // …/registry/src/<index>/<name-version>/Cargo.toml → …/registry/cache/<index>/<name-version>.crate
        let manifest = Path::new(package["manifest_path"].as_str().unwrap_or_default());
        let Some(source) = manifest.parent() else { continue };
        let (Some(name), Some(index)) = (source.file_name(), source.parent().and_then(Path::file_name))
        else {
            continue;
        };
        let Some(registry) = source.ancestors().nth(3) else { continue };
        let archive = registry.join("cache").join(index).join(format!("{}.crate", name.to_string_lossy()));
        let Ok(size) = fs::metadata(&archive).map(|found| found.len()) else { continue };
        let link = target.join(archive.file_name().unwrap_or_default());
        if fs::hard_link(&archive, &link).is_err() {
            fs::copy(&archive, &link)?;
        }
        (count, bytes) = (count + 1, bytes + size);
    }
    if count == 0 {
        bail!("cargo keeps no package archives here; name a folder with --data DIR");
    }
    Ok((target.to_owned(), format!("{count} packages that cargo downloaded, {}", mega(bytes))))
}

struct Demo {
    programs: Programs,
    folder: PathBuf,
    /// What was to be shown, what was seen, and whether that is it.
    checks: Vec<(String, String, bool)>,
}

impl Demo {
    fn node(&self, name: &str, bootstrap: &str) -> Result<Node> {
        let settings = [("network", "demo"), ("swarm.bootstrap", bootstrap)];
        Node::start_in(&self.programs, &self.folder.join(name), &settings)
    }

    fn check(&mut self, claim: &str, seen: impl Into<String>, holds: bool) {
        let seen = seen.into();
        println!("  {} {claim}: {seen}", if holds { "✓" } else { "✗" });
        self.checks.push((claim.into(), seen, holds));
    }

    fn run(mut self, data: &Path, about: &str) -> Result<()> {
        let start = Instant::now();
        let audit = build::root().join("guests/bin/audit.wasm");
        let du = build::root().join("guests/bin/du.wasm");
        let (audit, du) = (text(&audit)?, text(&du)?);

        println!("\nthree nodes, each a daemon with an enclave of its own");
        let mut anna = self.node("anna", "")?;
        let bootstrap = anna.addresses()?.join(",");
        let berta = self.node("berta", &bootstrap)?;
        let clara = self.node("clara", &bootstrap)?;
        let names = [("anna", anna.peer_id()?), ("berta", berta.peer_id()?), ("clara", clara.peer_id()?)];
        let name_of = |peer: &str| {
            let known = names.iter().find(|(_, id)| id == peer).map(|(name, _)| *name);
            known.unwrap_or("somebody else").to_owned()
        };
        for (name, id) in &names {
            println!("  {name:<6} {id}");
        }

        println!("\nanna adds {about}");
        let before = Instant::now();
        let added = anna.json(&["add", text(data)?])?;
        let cid = added["cid"].as_str().context("`adit add` printed no CID")?.to_owned();
        let size = added["bytes"].as_u64().unwrap_or(0);
        println!(
            "  {cid}, {} in {} files, durable after {:.1} s",
            mega(size),
            added["files"],
            before.elapsed().as_secs_f64()
        );
        let elsewhere = stored(&berta)? + stored(&clara)?;
        self.check(
            "only anna has the data",
            format!("berta and clara store {elsewhere} bytes"),
            elsewhere < 1_000_000,
        );

        println!("\nberta runs an audit over it: adit run audit.wasm --in /in/data={}…", &cid[..16]);
        let input = format!("/in/data={cid}");
        let first = berta.json(&["run", audit, "--in", &input])?;
        println!("\n{}", indent(first["stdout"]["text"].as_str().unwrap_or_default()));
        let job = &first["job"];
        println!("  why there: {}", job["why"].as_str().unwrap_or("not said"));
        self.check(
            "the audit ended well",
            format!("exit code {}", job["result"]["exit"]),
            job["result"]["exit"] == 0,
        );
        let host = job["host"].as_str().unwrap_or_default();
        self.check("it ran where the data is", format!("at {}", name_of(host)), name_of(host) == "anna");
        let stats = &job["stats"];
        let (read, moved) = (number(stats, "bytes_read"), number(stats, "bytes_moved"));
        self.check(
            "the data stayed there",
            format!("{} read, {} kB crossed the wire", mega(read), moved.div_ceil(1000)),
            read >= size && moved * 20 < size.max(20_000_000),
        );
        println!(
            "  compiling {} ms, running {} ms, {} fuel",
            number(stats, "compile_us") / 1000,
            number(stats, "run_us") / 1000,
            number(stats, "fuel")
        );

        let receipt = job["receipt"].as_str().context("the job has no receipt")?;
        let verified = berta.adit(&["receipt", "verify", receipt])?;
        self.check("the receipt verifies", first_line(&verified.text()), verified.code == 0);

        println!("\nberta asks for the same again");
        let again = berta.json(&["run", audit, "--in", &input])?;
        let remembered = again["job"]["stats"]["remembered"] == true && again["outcome"] == first["outcome"];
        let took = number(&again["job"]["stats"], "total_us");
        self.check(
            "it is remembered, with a receipt of its own",
            format!("{:.1} ms", took as f64 / 1000.0),
            remembered && again["receipt"] != first["receipt"],
        );

        println!("\nclara pins a copy, then anna is killed");
        let before = Instant::now();
        clara.adit(&["pin", "add", &cid])?.expect(0)?;
        println!("  pinned in {:.1} s", before.elapsed().as_secs_f64());
        anna.kill()?;
        let second = berta.json(&["run", du, "--in", &input])?;
        println!("\n{}", indent(second["stdout"]["text"].as_str().unwrap_or_default()));
        let host = second["job"]["host"].as_str().unwrap_or_default();
        self.check(
            "another job ran at the copy",
            format!("at {}", name_of(host)),
            name_of(host) == "clara" && second["job"]["result"]["exit"] == 0,
        );

        self.report(start)
    }

    fn report(&self, start: Instant) -> Result<()> {
        let width = self.checks.iter().map(|(claim, ..)| claim.chars().count()).max().unwrap_or(0);
        println!("\n{:<width$}  seen", "shown");
        for (claim, seen, holds) in &self.checks {
            println!("{claim:<width$}  {seen}{}", if *holds { "" } else { "  ✗ NOT AS IT SHOULD BE" });
        }
        println!(
            "\n{:.1} seconds. evidence: none (receipts say so: there is no attestation yet)",
            start.elapsed().as_secs_f64()
        );
        let failed = self.checks.iter().filter(|(.., holds)| !holds).count();
        if failed > 0 {
            bail!("{failed} of {} checks did not hold", self.checks.len());
        }
        Ok(())
    }
}

/// Bytes of all blocks that the node stores.
fn stored(node: &Node) -> Result<u64> {
    let stat = node.json(&["repo", "stat"])?;
    stat["used"].as_u64().with_context(|| format!("`adit repo stat` shows no bytes: {stat}"))
}

fn number(stats: &Value, field: &str) -> u64 {
    stats[field].as_u64().unwrap_or(0)
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("a path that is not text: {}", path.display()))
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

fn mega(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

fn indent(text: &str) -> String {
    text.lines().map(|line| format!("    {line}\n")).collect()
}
