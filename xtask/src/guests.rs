//! The Wasm programs under `guests/`: source and result are both checked in, rebuilt and compared by this script.
//!
//! A toolchain that cannot be had leaves its programs unchecked, and that is said by name. It is no error, because
//! the checked-in programs are what the tests run; rustup's targets are not to be had everywhere.

use crate::{
    build::{check as run_command, root},
    peers::cache,
};
use anyhow::{Context, Result, bail};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Pinned: another version may produce other bytes.
const ZIGLANG: &str = "0.17.1";
const SQLITE_PACKAGE: &str = "6.0.1";
const SQLITE: &str = "3520000";
const RUST: &str = "1.95.0";
const GO: &str = "go1.26.8";

pub(crate) fn check() -> Result<()> {
    run(true)
}

/// Rebuilds all; with `compare` into a folder of its own, and fails where the bytes differ.
pub(crate) fn run(compare: bool) -> Result<()> {
    let guests = root().join("guests");
    let bin = guests.join("bin");
    let target = if compare { scratch("guests-check")? } else { bin.clone() };
    let mut skipped = Vec::new();
    for (language, build) in [
        ("C", c as fn(&Path, &Path) -> Result<bool>),
        ("Rust", rust),
        ("Rust, as components", functions),
        ("Go", go),
    ] {
        if !build(&guests, &target)? {
            skipped.push(language);
        }
    }
    let mut different = Vec::new();
    if compare {
        for entry in fs::read_dir(&target)? {
            let built = entry?.path();
            let name = built.file_name().unwrap_or_default();
            if fs::read(&built)? != fs::read(bin.join(name)).unwrap_or_default() {
                different.push(name.to_string_lossy().into_owned());
            }
        }
    }
    if !different.is_empty() {
        bail!("built otherwise than checked in: {}; run `cargo xtask guests`", different.join(", "));
    }
    if !skipped.is_empty() {
        println!(
            "not rebuilt, because the pinned toolchain is not to be had here: guests in {}",
            skipped.join(", ")
        );
    }
    println!("guests: {}", if compare { "as checked in" } else { "rebuilt" });
    Ok(())
}

fn scratch(name: &str) -> Result<PathBuf> {
    let folder = crate::build::programs().with_file_name(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// zig as a C compiler for WASI, from PyPI, in an environment of its own.
fn zig() -> Result<Option<PathBuf>> {
    let venv = cache()?.join(format!("ziglang-{ZIGLANG}"));
    let python = venv.join("bin/python");
    let works = |python: &Path| {
        let version = Command::new(python).args(["-m", "ziglang", "version"]).output();
        version.is_ok_and(|output| output.status.success())
    };
    if !works(&python) {
        let _ = fs::remove_dir_all(&venv);
        // Debian keeps `venv` in a package of its own; `--target` needs only pip.
        if run_command(Command::new("python3").args(["-m", "venv"]).arg(&venv)).is_err() {
            return Ok(None);
        }
        let pip = venv.join("bin/pip");
        let package = format!("ziglang=={ZIGLANG}");
        if run_command(Command::new(pip).args(["install", "--quiet", &package])).is_err() {
            return Ok(None);
        }
    }
    Ok(works(&python).then_some(python))
}

fn c(guests: &Path, target: &Path) -> Result<bool> {
    let Some(python) = zig()? else { return Ok(false) };
    for folder in ["c", "hostile"] {
        for source in sources(&guests.join(folder), "c")? {
            let name = source.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let prefix = if folder == "hostile" { "hostile-" } else { "" };
            compile(&python, &[&source], &[], &target.join(format!("{prefix}{name}.wasm")))?;
        }
    }
    sqlite(&python, target)
}

/// SQLite's own shell, unchanged, from the amalgamation that the npm package carries. Public domain.
fn sqlite(python: &Path, target: &Path) -> Result<bool> {
    let folder = cache()?.join(format!("npm-sqlite3-{SQLITE_PACKAGE}"));
    let autoconf = format!("sqlite-autoconf-{SQLITE}");
    let source = folder.join(&autoconf);
    if !source.join("shell.c").is_file() {
        fs::create_dir_all(&folder)?;
        let mut npm = Command::new("npm");
        npm.current_dir(&folder).args(["pack", "--silent", &format!("sqlite3@{SQLITE_PACKAGE}")]);
        if run_command(&mut npm).is_err() {
            return Ok(false);
        }
        let mut tar = Command::new("tar");
        run_command(tar.current_dir(&folder).args(["xzf", &format!("sqlite3-{SQLITE_PACKAGE}.tgz")]))?;
        let mut tar = Command::new("tar");
        run_command(tar.current_dir(&folder).args(["xzf", &format!("package/deps/{autoconf}.tar.gz")]))?;
    }
    let options = [
        "-D_WASI_EMULATED_SIGNAL",
        "-D_WASI_EMULATED_GETPID",
        "-D_WASI_EMULATED_PROCESS_CLOCKS",
        "-D_WASI_EMULATED_MMAN",
        "-DSQLITE_THREADSAFE=0",
        "-DSQLITE_OMIT_LOAD_EXTENSION",
        "-DSQLITE_OMIT_POPEN",
        "-DSQLITE_NOHAVE_SYSTEM",
        "-lwasi-emulated-signal",
        "-lwasi-emulated-getpid",
        "-lwasi-emulated-process-clocks",
        "-lwasi-emulated-mman",
        "-Wl,--stack,1048576",
    ];
    let sources = [source.join("shell.c"), source.join("sqlite3.c")];
    let sources = sources.each_ref().map(PathBuf::as_path);
    compile(python, &sources, &options, &target.join("sqlite3.wasm"))?;
    Ok(true)
}

fn compile(python: &Path, sources: &[&Path], options: &[&str], target: &Path) -> Result<()> {
    let mut zig = Command::new(python);
    zig.args(["-m", "ziglang", "cc", "--target=wasm32-wasi", "-mcpu=generic+bulk_memory", "-O2", "-s"]);
    run_command(zig.args(options).args(sources).arg("-o").arg(target))
}

fn sources(folder: &Path, end: &str) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut paths: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    paths.retain(|path| path.extension().is_some_and(|found| found == end));
    paths.sort();
    Ok(paths)
}

fn rust(guests: &Path, target: &Path) -> Result<bool> {
    cargo_packages(&guests.join("rust"), "wasm32-wasip1", "", target)
}

/// HTTP functions are components, which this target's linker makes.
fn functions(guests: &Path, target: &Path) -> Result<bool> {
    cargo_packages(&guests.join("functions"), "wasm32-wasip2", "http-", target)
}

fn cargo_packages(folder: &Path, triple: &str, prefix: &str, target: &Path) -> Result<bool> {
    let version = Command::new("rustc").arg("--version").output()?;
    if !String::from_utf8_lossy(&version.stdout).contains(RUST) {
        return Ok(false);
    }
    // Fails where rustup is not what installed Rust; then the target may be there all the same.
    let _ = Command::new("rustup").args(["target", "add", triple]).output();
    let sysroot = Command::new("rustc").args(["--print", "sysroot"]).output()?;
    let sysroot = String::from_utf8_lossy(&sysroot.stdout).trim().to_owned();
    if !Path::new(&sysroot).join("lib/rustlib").join(triple).is_dir() {
        return Ok(false);
    }
    for entry in fs::read_dir(folder)? {
        let package = entry?.path();
        let name = package.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let output = scratch("guests-rust")?;
        let mut cargo = Command::new("cargo");
        cargo.current_dir(&package).args(["build", "--release", "--locked", "--quiet", "--target", triple]);
        // Absolute paths would otherwise end up in panic messages, and so in the program.
        let home =
            std::env::var("CARGO_HOME").or_else(|_| std::env::var("HOME").map(|home| home + "/.cargo"))?;
        let flags = [
            format!("--remap-path-prefix={}=/guests", package.display()),
            format!("--remap-path-prefix={home}=/cargo"),
            format!("--remap-path-prefix={sysroot}=/rust"),
        ];
        cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f")).env("CARGO_TARGET_DIR", &output);
        // Built in increments, a program has other bytes.
        cargo.env("CARGO_INCREMENTAL", "0");
        run_command(&mut cargo)?;
        fs::copy(
            output.join(triple).join("release").join(format!("{name}.wasm")),
            target.join(format!("{prefix}{name}.wasm")),
        )?;
    }
    Ok(true)
}

fn go(guests: &Path, target: &Path) -> Result<bool> {
    let version = Command::new("go").arg("version").output();
    if !version.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains(GO)) {
        return Ok(false);
    }
    for entry in fs::read_dir(guests.join("go"))? {
        let package = entry?.path();
        let name = package.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut go = Command::new("go");
        go.current_dir(&package).env("GOOS", "wasip1").env("GOARCH", "wasm").env("CGO_ENABLED", "0");
        go.args(["build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o"]);
        run_command(go.arg(target.join(format!("{name}.wasm"))).arg("."))?;
    }
    Ok(true)
}
