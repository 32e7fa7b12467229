//! What operators install: a tarball, a Debian package with its units, and a container's recipe, in `target/dist`.
//!
//! The package's files are under `dist/`, as they are installed. Programs go in without debug information. Times are
//! those of the commit, so the same commit packs to the same bytes where the compiler does.

use crate::build::{self, check, root};
use anyhow::{Context, Result, bail};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

const VERSION: &str = env!("CARGO_PKG_VERSION");
const PROGRAMS: [&str; 2] = ["adit", "adit-enclave"];
const DOCUMENTS: [&str; 5] = ["README.md", "CHANGELOG.md", "SECURITY.md", "LICENSE-MIT", "LICENSE-APACHE"];
/// Shell, the file's name there, and the folder that distributions look into.
const COMPLETIONS: [(&str, &str, &str); 3] = [
    ("bash", "adit", "usr/share/bash-completion/completions"),
    ("zsh", "_adit", "usr/share/zsh/vendor-completions"),
    ("fish", "adit.fish", "usr/share/fish/vendor_completions.d"),
];

/// Builds both programs and packs them. Says what lies where.
pub(crate) fn run() -> Result<()> {
    let programs = build::all_programs()?;
    let dist = programs.with_file_name("dist");
    let _ = fs::remove_dir_all(&dist);
    fs::create_dir_all(&dist)?;
    let epoch = commit_time()?;
    let tarball = tarball(&programs, &dist, &epoch)?;
    println!("{}", tarball.display());
    println!("{}", package(&programs, &dist, &epoch)?.display());
    let recipe = dist.join("Containerfile");
    fs::copy(root().join("dist/Containerfile"), &recipe)?;
    println!("{}", recipe.display());
    Ok(())
}

/// The processor as Rust calls it, and as Debian does.
fn machine() -> Result<(&'static str, &'static str)> {
    match std::env::consts::ARCH {
        "x86_64" => Ok(("x86_64", "amd64")),
        "aarch64" => Ok(("aarch64", "arm64")),
        other => bail!("no package is made for {other}"),
    }
}

/// Seconds since 1970.
fn commit_time() -> Result<String> {
    let mut git = Command::new("git");
    let output = git.current_dir(root()).args(["log", "-1", "--format=%ct"]).output()?;
    let text = String::from_utf8(output.stdout)?.trim().to_owned();
    if !output.status.success() || text.is_empty() {
        bail!("git does not tell the commit's time");
    }
    Ok(text)
}

fn copy(from: &Path, to: &Path, mode: u32) -> Result<()> {
    fs::create_dir_all(to.parent().context("a folder")?)?;
    fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))?;
    Ok(fs::set_permissions(to, fs::Permissions::from_mode(mode))?)
}

fn copy_programs(from: &Path, to: &Path) -> Result<()> {
    for name in PROGRAMS {
        let copied = to.join(name);
        copy(&from.join(name), &copied, 0o755)?;
        check(Command::new("strip").arg("--strip-debug").arg(&copied))?;
    }
    Ok(())
}

fn tarball(programs: &Path, dist: &Path, epoch: &str) -> Result<PathBuf> {
    let name = format!("adit-{VERSION}-{}-linux", machine()?.0);
    let folder = dist.join(&name);
    copy_programs(programs, &folder.join("bin"))?;
    for document in DOCUMENTS {
        copy(&root().join(document), &folder.join(document), 0o644)?;
    }
    let tarball = dist.join(format!("{name}.tar.gz"));
    let mut tar = Command::new("tar");
    tar.current_dir(dist).args(["--sort=name", "--owner=0", "--group=0", "--numeric-owner"]);
    tar.arg(format!("--mtime=@{epoch}")).args(["--use-compress-program", "gzip -n", "-cf"]);
    tar.arg(&tarball).arg(&name);
    check(&mut tar)?;
    fs::remove_dir_all(folder)?;
    Ok(tarball)
}

fn package(programs: &Path, dist: &Path, epoch: &str) -> Result<PathBuf> {
    let architecture = machine()?.1;
    let folder = dist.join("package");
    copy_programs(programs, &folder.join("usr/bin"))?;
    for (file, to) in files(&root().join("dist/files"))? {
        copy(&file, &folder.join(to), 0o644)?;
    }
    for (shell, name, to) in COMPLETIONS {
        let script = Command::new(programs.join("adit")).args(["completions", shell]).output()?;
        let to = folder.join(to);
        fs::create_dir_all(&to)?;
        fs::write(to.join(name), script.stdout)?;
    }
    let documents = folder.join("usr/share/doc/adit");
    for document in DOCUMENTS {
        copy(&root().join(document), &documents.join(document), 0o644)?;
    }
    copy(&root().join("dist/debian/copyright"), &documents.join("copyright"), 0o644)?;
    for (name, mode) in [("postinst", 0o755), ("prerm", 0o755), ("postrm", 0o755), ("conffiles", 0o644)] {
        copy(&root().join("dist/debian").join(name), &folder.join("DEBIAN").join(name), mode)?;
    }
    let control = fs::read_to_string(root().join("dist/debian/control"))?;
    let control = control.replace("@VERSION@", VERSION).replace("@ARCHITECTURE@", architecture);
    fs::write(folder.join("DEBIAN/control"), control)?;
    let package = dist.join(format!("adit_{VERSION}_{architecture}.deb"));
    let mut build = Command::new("dpkg-deb");
    build.env("SOURCE_DATE_EPOCH", epoch).args(["--root-owner-group", "-Zxz", "--build"]);
    check(build.arg(&folder).arg(&package))?;
    fs::remove_dir_all(folder)?;
    Ok(package)
}

/// All files below a folder, with their paths from there.
fn files(folder: &Path) -> Result<Vec<(PathBuf, PathBuf)>> {
    let mut found = Vec::new();
    let mut ahead = vec![folder.to_owned()];
    while let Some(next) = ahead.pop() {
        for entry in fs::read_dir(&next).with_context(|| format!("cannot list {}", next.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                ahead.push(path);
            } else {
                found.push((path.clone(), path.strip_prefix(folder)?.to_owned()));
            }
        }
    }
    Ok(found)
}
