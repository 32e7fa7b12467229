//! Exit codes of preview-1 programs, intact.
//!
//! The preview-1 adapter turns `proc_exit(3)` into "failed", which a host can only report as 1. `wasi:cli/exit` has
//! had `exit-with-code` since 0.2.12, with the very same signature once lowered: so the module's import of
//! `proc_exit` is given that name, and the module says, in the custom section made for it, that it imports that
//! interface.

use std::borrow::Cow;
use wasmparser::{BinaryReaderError, Imports, Parser, Payload, TypeRef};
use wit_component::{StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

const OLD: (&str, &str) = ("wasi_snapshot_preview1", "proc_exit");
const NEW: (&str, &str) = ("wasi:cli/exit@0.2.12", "exit-with-code");

/// The interface as WASI 0.2.12 has it, and a world that imports it.
const INTERFACE: &str = r#"
package wasi:cli@0.2.12;

interface exit {
  exit: func(status: result);
  exit-with-code: func(status-code: u8);
}

world exits {
  import exit;
}
"#;

/// The module with `proc_exit` renamed, if it has that import in a form that is understood here.
pub(crate) fn redirect(module: &[u8]) -> anyhow::Result<Cow<'_, [u8]>> {
    let Some((section, imports)) = import_section(module)? else { return Ok(Cow::Borrowed(module)) };
    let mut renamed = Vec::with_capacity(module.len() + 1024);
    // The section's id and length precede its range.
    renamed.extend_from_slice(&module[..section.header]);
    renamed.push(IMPORT_SECTION);
    number(&mut renamed, imports.len());
    renamed.extend_from_slice(&imports);
    renamed.extend_from_slice(&module[section.end..]);
    let mut resolve = Resolve::default();
    let package = resolve.push_source("exit.wit", INTERFACE)?;
    let world = resolve.select_world(&[package], Some("exits"))?;
    embed_component_metadata(&mut renamed, &resolve, world, StringEncoding::UTF8)?;
    Ok(Cow::Owned(renamed))
}

const IMPORT_SECTION: u8 = 2;

struct Section {
    /// Where its id is.
    header: usize,
    end: usize,
}

/// Where the import section is and what it is to be; `None` when there is nothing to rename.
fn import_section(module: &[u8]) -> Result<Option<(Section, Vec<u8>)>, BinaryReaderError> {
    let mut header = 8;
    for payload in Parser::new(0).parse_all(module) {
        let payload = payload?;
        let Some((id, range)) = payload.as_section() else { continue };
        if id != IMPORT_SECTION {
            header = range.end;
            continue;
        }
        let Payload::ImportSection(reader) = payload else { return Ok(None) };
        let mut found = false;
        let mut imports = Vec::new();
        number(&mut imports, reader.count() as usize);
        let ends: Vec<usize> = reader
            .clone()
            .into_iter_with_offsets()
            .map(|item| Ok(item?.0))
            .collect::<Result<_, BinaryReaderError>>()?;
        for (at, item) in reader.into_iter_with_offsets().enumerate() {
            let (start, item) = item?;
            let end = ends.get(at + 1).copied().unwrap_or(range.end);
            // Several imports under one module name: a newer encoding, which no compiler writes for preview 1.
            let Imports::Single(_, import) = item else { return Ok(None) };
            if (import.module, import.name) == OLD && matches!(import.ty, TypeRef::Func(_)) {
                found = true;
                // What follows the two names stays.
                let names = name_length(OLD.0) + name_length(OLD.1);
                name(&mut imports, NEW.0);
                name(&mut imports, NEW.1);
                imports.extend_from_slice(&module[start + names..end]);
            } else {
                imports.extend_from_slice(&module[start..end]);
            }
        }
        return Ok(found.then_some((Section { header, end: range.end }, imports)));
    }
    Ok(None)
}

/// Bytes of a short name: one of length, then itself.
const fn name_length(name: &str) -> usize {
    assert!(name.len() < 128);
    1 + name.len()
}

fn name(out: &mut Vec<u8>, name: &str) {
    number(out, name.len());
    out.extend_from_slice(name.as_bytes());
}

/// An unsigned LEB128 number.
fn number(out: &mut Vec<u8>, mut value: usize) {
    loop {
        let low = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_that_one_import_is_renamed_and_the_module_stays_valid() {
        let module = wat::parse_str(
            r#"(module
                (import "wasi_snapshot_preview1" "sched_yield" (func (result i32)))
                (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
                (import "wasi_snapshot_preview1" "proc_raise" (func (param i32) (result i32)))
                (memory (export "memory") 1) (func (export "_start") (call $exit (i32.const 3))))"#,
        );
        let module = module.unwrap();
        let renamed = redirect(&module).unwrap();
        wasmparser::Validator::new().validate_all(&renamed).unwrap();
        let mut names = Vec::new();
        for payload in Parser::new(0).parse_all(&renamed) {
            if let Payload::ImportSection(section) = payload.unwrap() {
                names.extend(section.into_imports().map(|import| import.unwrap().name.to_owned()));
            }
        }
        assert_eq!(names, ["sched_yield", "exit-with-code", "proc_raise"]);
    }

    #[test]
    fn a_module_without_it_is_left_alone() {
        let module = wat::parse_str(r#"(module (func (export "_start")))"#).unwrap();
        assert!(matches!(redirect(&module).unwrap(), Cow::Borrowed(_)));
    }
}
