//! What the audit knows about one package.

use crate::rust_source;

pub struct Package {
    pub name: String,
    licence: Option<String>,
    pub files: u64,
    pub bytes: u64,
    pub rust_bytes: u64,
    pub rust_lines: u64,
    pub unsafes: u64,
    pub build_script: bool,
    pub proc_macro: bool,
}

impl Package {
    pub fn new(name: &str) -> Self {
        let name = name.to_owned();
        Package {
            name,
            licence: None,
            files: 0,
            bytes: 0,
            rust_bytes: 0,
            rust_lines: 0,
            unsafes: 0,
            build_script: false,
            proc_macro: false,
        }
    }

    pub fn licence(&self) -> &str {
        self.licence.as_deref().unwrap_or("not stated")
    }

    /// Takes one file of the package into account; `path` is relative to its root.
    pub fn add(&mut self, path: &str, content: &[u8]) {
        self.files += 1;
        self.bytes += content.len() as u64;
        match path {
            "Cargo.toml" => self.manifest(&String::from_utf8_lossy(content)),
            "build.rs" => self.build_script = true,
            _ => {}
        }
        if path.ends_with(".rs") {
            self.rust_bytes += content.len() as u64;
            self.rust_lines += content.iter().filter(|byte| **byte == b'\n').count() as u64;
            self.unsafes += rust_source::count_unsafe(content);
        }
    }

    /// Cargo normalises manifests when it packages them, so a line at a time is enough.
    fn manifest(&mut self, text: &str) {
        let mut section = "";
        for line in text.lines().map(str::trim) {
            if line.starts_with('[') {
                section = line;
            }
            let Some((key, value)) = line.split_once('=') else { continue };
            let value = value.trim().trim_matches('"');
            match (section, key.trim()) {
                ("[package]", "license") => self.licence = Some(sorted(value)),
                ("[package]", "license-file") if self.licence.is_none() => self.licence = Some(format!("file {value}")),
                ("[lib]", "proc-macro" | "proc_macro") => self.proc_macro = value == "true",
                _ => {}
            }
        }
    }
}

/// `Apache-2.0/MIT` and `MIT OR Apache-2.0` are the same choice.
fn sorted(expression: &str) -> String {
    if expression.contains("AND") || expression.contains('(') {
        return expression.to_owned();
    }
    let expression = expression.replace('/', " OR ");
    let mut parts: Vec<&str> = expression.split(" OR ").map(str::trim).collect();
    parts.sort_unstable();
    parts.join(" OR ")
}
