//! A supply-chain audit: what did cargo just bring onto this machine?
//!
//! Reads every package under `/in/data` (`.crate` archives as cargo keeps them, or unpacked folders with a
//! `Cargo.toml`), and reports licences, `unsafe` in the sources, build scripts, and the biggest packages. Prints a
//! table, and writes `/out/packages.tsv` with a line for each package.
//!
//! `audit [--top N]`. Exit code 3: nothing to audit; 4: an archive could not be read.

mod archive;
mod package;
mod rust_source;

use package::Package;
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
};

fn main() -> ExitCode {
    let top = top_from_arguments();
    let mut packages = Vec::new();
    let mut broken = Vec::new();
    for path in candidates(Path::new("/in/data")) {
        match read(&path) {
            Ok(package) => packages.push(package),
            Err(error) => broken.push(format!("{}: {error}", path.display())),
        }
    }
    if packages.is_empty() {
        eprintln!("audit: no packages under /in/data");
        return ExitCode::from(3);
    }
    packages.sort_by(|a, b| a.name.cmp(&b.name));
    print_report(&packages, top);
    if let Err(error) = fs::write("/out/packages.tsv", lines(&packages)) {
        eprintln!("audit: cannot write /out/packages.tsv: {error}");
        return ExitCode::FAILURE;
    }
    for line in &broken {
        eprintln!("audit: {line}");
    }
    if broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(4) }
}

fn top_from_arguments() -> usize {
    let mut words = std::env::args().skip(1);
    match (words.next().as_deref(), words.next()) {
        (Some("--top"), Some(count)) => count.parse().unwrap_or(8),
        _ => 8,
    }
}

/// Archives directly in the folder, and folders that are packages, in name order.
fn candidates(root: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(root) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.retain(|path| path.extension().is_some_and(|end| end == "crate") || path.join("Cargo.toml").is_file());
    paths.sort();
    paths
}

fn read(path: &Path) -> io::Result<Package> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut package = Package::new(name.strip_suffix(".crate").unwrap_or(&name));
    if path.is_dir() {
        walk(path, path, &mut package)?;
    } else {
        let tar = archive::gunzip(&fs::read(path)?)?;
        archive::each_file(&tar, |name, content| {
            // Every path starts with `name-version/`.
            package.add(name.split_once('/').map_or(name, |(_, rest)| rest), content);
        })?;
    }
    Ok(package)
}

fn walk(root: &Path, folder: &Path, package: &mut Package) -> io::Result<()> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    for path in paths {
        // `symlink_metadata`: a link could lead round in a circle.
        let kind = fs::symlink_metadata(&path)?.file_type();
        if kind.is_dir() {
            walk(root, &path, package)?;
        } else if kind.is_file() {
            let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
            package.add(&name, &fs::read(&path)?);
        }
    }
    Ok(())
}

fn print_report(packages: &[Package], top: usize) {
    let mut licences: BTreeMap<&str, usize> = BTreeMap::new();
    for package in packages {
        *licences.entry(package.licence()).or_default() += 1;
    }
    let mut licences: Vec<_> = licences.into_iter().collect();
    licences.sort_by_key(|(name, count)| (std::cmp::Reverse(*count), *name));

    let sum = |field: fn(&Package) -> u64| packages.iter().map(field).sum::<u64>();
    println!("{} packages, {} files, {} of Rust in {} lines", packages.len(), sum(|p| p.files), mega(sum(|p| p.rust_bytes)), sum(|p| p.rust_lines));
    println!(
        "{} use unsafe ({} times in all), {} run a build script, {} are proc macros",
        packages.iter().filter(|p| p.unsafes > 0).count(),
        sum(|p| p.unsafes),
        packages.iter().filter(|p| p.build_script).count(),
        packages.iter().filter(|p| p.proc_macro).count(),
    );
    println!("\nlicences");
    for (name, count) in licences.iter().take(top) {
        println!("  {count:>5}  {name}");
    }
    if licences.len() > top {
        println!("  {:>5}  others", licences[top..].iter().map(|(_, count)| count).sum::<usize>());
    }
    ranking("biggest packages", packages, top, |p| p.bytes, mega);
    ranking("most unsafe", packages, top, |p| p.unsafes, |count| count.to_string());
}

fn ranking(title: &str, packages: &[Package], top: usize, by: fn(&Package) -> u64, show: fn(u64) -> String) {
    let mut order: Vec<&Package> = packages.iter().filter(|package| by(package) > 0).collect();
    order.sort_by_key(|package| std::cmp::Reverse(by(package)));
    println!("\n{title}");
    for package in order.into_iter().take(top) {
        println!("  {:>10}  {}", show(by(package)), package.name);
    }
}

fn mega(bytes: u64) -> String {
    format!("{}.{} MB", bytes / 1_000_000, bytes / 100_000 % 10)
}

fn lines(packages: &[Package]) -> String {
    let mut text = String::from("package\tlicence\tfiles\tbytes\trust_lines\tunsafe\tbuild_script\tproc_macro\n");
    for p in packages {
        let Package { name, files, bytes, rust_lines, unsafes, build_script, proc_macro, .. } = p;
        let licence = p.licence();
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{name}\t{licence}\t{files}\t{bytes}\t{rust_lines}\t{unsafes}\t{build_script}\t{proc_macro}"
        );
    }
    text
}
