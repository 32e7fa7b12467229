//! A first look at code: is it WebAssembly, is it a command, is it small enough, does it compute with floats?
//!
//! Nothing is compiled before this has passed. Its errors are for the code's author, so they name what was found
//! and what would be right.

use crate::{
    engine::{MAX_MEMORIES, MAX_TABLE_ELEMENTS, MAX_TABLES},
    fault::{CodeFault, CodeFaultKind},
    guest::preview1,
};
use wasmparser::{
    BinaryReaderError, ComponentExternalKind, Encoding, ExternalKind, FunctionBody, Operator, Parser,
    Payload, TypeRef,
};

/// Longest code in bytes. The largest component seen in the wild, a JavaScript engine, has 13 MB.
pub const MAX_CODE: usize = 64 << 20;

/// Most functions, in all modules together.
const MAX_FUNCTIONS: u64 = 250_000;

/// Most modules, most instances that one component makes, deepest nesting of components.
const MAX_MODULES: u32 = 100;
const MAX_INSTANCES: u32 = 1000;
const MAX_NESTING: usize = 16;

/// What the module was called that preview-1 programs import, before it was called that.
const OLDER: &str = "wasi_unstable";

/// Packages whose imports are answered, by function or by refusal.
const PACKAGES: [&str; 7] = [
    "wasi:cli/",
    "wasi:io/",
    "wasi:clocks/",
    "wasi:random/",
    "wasi:filesystem/",
    "wasi:sockets/",
    "wasi:http/",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// A preview-1 program.
    Module,
    Component,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Inspected {
    pub(crate) form: Form,
    /// Whether operators occur whose result could be a NaN of the processor's choice.
    pub(crate) floats: bool,
}

/// What has been counted so far.
#[derive(Default)]
struct Tally {
    functions: u64,
    modules: u32,
    instances: u32,
    memories: u32,
    tables: u32,
    floats: bool,
    start: bool,
    memory: bool,
    run: bool,
}

pub(crate) fn inspect(code: &[u8]) -> Result<Inspected, CodeFault> {
    if code.len() > MAX_CODE {
        return Err(too_much("bytes", code.len() as u64, MAX_CODE as u64));
    }
    let form = if Parser::is_core_wasm(code) {
        Form::Module
    } else if Parser::is_component(code) {
        Form::Component
    } else {
        let detail = "this is not WebAssembly: the first bytes are neither a module's nor a component's";
        return Err(CodeFault::new(CodeFaultKind::Invalid, detail));
    };
    let tally = walk(code, form)?;
    let missing = match form {
        Form::Module if !tally.start => Some("the module exports no function `_start`, so it is a library"),
        Form::Module if !tally.memory => Some("the module exports no memory `memory`"),
        Form::Component if !tally.run => {
            Some("the component exports neither `wasi:cli/run@0.2` nor `wasi:http/incoming-handler@0.2`")
        }
        _ => None,
    };
    match missing {
        Some(detail) => Err(CodeFault::new(CodeFaultKind::NotACommand, detail)),
        None => Ok(Inspected { form, floats: tally.floats }),
    }
}

fn walk(code: &[u8], form: Form) -> Result<Tally, CodeFault> {
    let mut tally = Tally::default();
    let mut nesting: Vec<Encoding> = Vec::new();
    for payload in Parser::new(0).parse_all(code) {
        let top = nesting.len() == 1;
        match payload.map_err(invalid)? {
            Payload::Version { encoding, .. } => {
                nesting.push(encoding);
                if nesting.len() > MAX_NESTING {
                    return Err(too_much("levels of nesting", nesting.len() as u64, MAX_NESTING as u64));
                }
                if encoding == Encoding::Module {
                    tally.modules += 1;
                    at_most("modules", tally.modules, MAX_MODULES)?;
                }
            }
            Payload::End(_) => {
                nesting.pop();
            }
            Payload::FunctionSection(section) => {
                tally.functions += u64::from(section.count());
                if tally.functions > MAX_FUNCTIONS {
                    return Err(too_much("functions", tally.functions, MAX_FUNCTIONS));
                }
            }
            Payload::MemorySection(section) => {
                tally.memories += section.count();
                at_most("memories", tally.memories, MAX_MEMORIES)?;
            }
            Payload::TableSection(section) => {
                tally.tables += section.count();
                at_most("tables", tally.tables, MAX_TABLES)?;
                for table in section {
                    let initial = table.map_err(invalid)?.ty.initial;
                    if initial > u64::from(MAX_TABLE_ELEMENTS) {
                        return Err(too_much("table elements", initial, MAX_TABLE_ELEMENTS.into()));
                    }
                }
            }
            Payload::InstanceSection(section) => {
                tally.instances = tally.instances.saturating_add(section.count());
                at_most("instances", tally.instances, MAX_INSTANCES)?;
            }
            Payload::ComponentInstanceSection(section) => {
                tally.instances = tally.instances.saturating_add(section.count());
                at_most("instances", tally.instances, MAX_INSTANCES)?;
            }
            Payload::CodeSectionEntry(body) if !tally.floats => tally.floats = computes_with_floats(&body)?,
            Payload::ImportSection(section) if form == Form::Module => {
                for import in section.into_imports() {
                    let import = import.map_err(invalid)?;
                    let function = matches!(import.ty, TypeRef::Func(_) | TypeRef::FuncExact(_));
                    let known =
                        import.module == preview1::MODULE && preview1::FUNCTIONS.contains(&import.name);
                    if import.module == OLDER {
                        return Err(older());
                    }
                    if !known || !function {
                        return Err(unknown_import(&format!("{}.{}", import.module, import.name)));
                    }
                }
            }
            Payload::ExportSection(section) if form == Form::Module => {
                for export in section {
                    let export = export.map_err(invalid)?;
                    match (export.name, export.kind) {
                        ("_start", ExternalKind::Func) => tally.start = true,
                        ("memory", ExternalKind::Memory) => tally.memory = true,
                        _ => {}
                    }
                }
            }
            Payload::ComponentImportSection(section) if top => {
                for import in section {
                    let name = import.map_err(invalid)?.name.name;
                    let known = PACKAGES.iter().any(|package| name.starts_with(package));
                    if !known || !name.contains("@0.2.") {
                        return Err(unknown_import(name));
                    }
                }
            }
            Payload::ComponentExportSection(section) if top => {
                for export in section {
                    let export = export.map_err(invalid)?;
                    let name = export.name.name;
                    tally.run |= export.kind == ComponentExternalKind::Instance
                        && (name.starts_with("wasi:cli/run@0.2.")
                            || name.starts_with("wasi:http/incoming-handler@0.2."));
                }
            }
            _ => {}
        }
    }
    Ok(tally)
}

fn computes_with_floats(body: &FunctionBody<'_>) -> Result<bool, CodeFault> {
    let mut operators = body.get_operators_reader().map_err(invalid)?;
    while !operators.eof() {
        if is_float(&operators.read().map_err(invalid)?) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether an operator's name says that it computes with floats. Moving them about leaves NaNs as they are.
const fn names_a_float(name: &str) -> bool {
    const fn has(name: &[u8], word: &[u8]) -> bool {
        let mut at = 0;
        while at + word.len() <= name.len() {
            let mut same = 0;
            while same < word.len() && name[at + same] == word[same] {
                same += 1;
            }
            if same == word.len() {
                return true;
            }
            at += 1;
        }
        false
    }
    let name = name.as_bytes();
    (has(name, b"F32") || has(name, b"F64"))
        && !has(name, b"Load")
        && !has(name, b"Store")
        && !has(name, b"Const")
        && !has(name, b"Reinterpret")
}

macro_rules! define_is_float {
    ($( @$proposal:ident $op:ident $({ $($arg:ident: $argty:ty),* })? => $visit:ident ($($annotation:tt)*) )*) => {
        fn is_float(operator: &Operator<'_>) -> bool {
            match operator {
                $( Operator::$op { .. } => const { names_a_float(stringify!($op)) }, )*
                _ => true,
            }
        }
    };
}
wasmparser::for_each_operator!(define_is_float);

fn invalid(error: BinaryReaderError) -> CodeFault {
    let detail = format!("not valid WebAssembly: {} (at byte {})", error.message(), error.offset());
    CodeFault::new(CodeFaultKind::Invalid, detail)
}

fn unknown_import(name: &str) -> CodeFault {
    let name: String = name.chars().take(200).collect();
    let detail = format!(
        "the code imports {name:?}, which no job has; programs for WASI preview 1 and components for \
         `wasi:cli/command` 0.2 can run"
    );
    CodeFault::new(CodeFaultKind::NotACommand, detail)
}

fn older() -> CodeFault {
    let detail = format!(
        "the code imports {OLDER:?}, WASI as it was before preview 1; a compiler of 2020 or later makes it import \
         {:?}",
        preview1::MODULE
    );
    CodeFault::new(CodeFaultKind::NotACommand, detail)
}

fn too_much(what: &str, found: u64, limit: u64) -> CodeFault {
    CodeFault::new(CodeFaultKind::TooMuch, format!("the code has {found} {what}; at most {limit} are taken"))
}

fn at_most(what: &str, found: u32, limit: u32) -> Result<(), CodeFault> {
    if found > limit { Err(too_much(what, found.into(), limit.into())) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(wat: &str) -> Result<Inspected, CodeFault> {
        inspect(&wat::parse_str(wat).unwrap())
    }

    fn module(inside: &str) -> Result<Inspected, CodeFault> {
        of(&format!(r#"(module (memory (export "memory") 1) (func (export "_start")) {inside})"#))
    }

    #[test]
    fn commands_pass_and_floats_are_seen_where_they_are_computed_with() {
        let plain = Inspected { form: Form::Module, floats: false };
        assert_eq!(module("").unwrap(), plain);
        assert_eq!(module("(func (drop (f64.load (i32.const 0))))").unwrap(), plain);
        assert!(module("(func (drop (f64.add (f64.const 1) (f64.const 2))))").unwrap().floats);
        assert!(module("(func (drop (i32.trunc_f32_s (f32.const 1))))").unwrap().floats);
        let simd = "(func (drop (f32x4.add (v128.const i64x2 0 0) (v128.const i64x2 0 0))))";
        assert!(module(simd).unwrap().floats);
    }

    #[test]
    fn what_is_no_command_says_what_it_lacks() {
        let kind = |result: Result<_, CodeFault>| result.unwrap_err().kind;
        assert_eq!(kind(inspect(b"")), CodeFaultKind::Invalid);
        assert_eq!(kind(inspect(b"#!/bin/sh\n")), CodeFaultKind::Invalid);
        assert_eq!(kind(inspect(b"\0asm\x01\0\0")), CodeFaultKind::Invalid);
        assert_eq!(kind(of("(module)")), CodeFaultKind::NotACommand);
        assert_eq!(kind(of(r#"(module (func (export "_start")))"#)), CodeFaultKind::NotACommand);
        assert_eq!(kind(of("(component)")), CodeFaultKind::NotACommand);
        let fault =
            of(r#"(module (import "env" "f" (func)) (memory (export "memory") 1) (func (export "_start")))"#)
                .err();
        assert!(fault.is_none_or(|fault| fault.detail.contains("env.f")), "named");
        let importing = |module: &str, name: &str| {
            let import = format!(r#"(import "{module}" "{name}" (func))"#);
            let code = format!(r#"(module {import} (memory (export "memory") 1) (func (export "_start")))"#);
            of(&code).unwrap_err().detail
        };
        assert!(importing("wasi_snapshot_preview1", "fd_steal").contains("fd_steal"));
        assert!(importing("wasi_unstable", "fd_write").contains("before preview 1"));
        let component = r#"(component (import "wasi:nn/tensor@0.2.0" (instance)))"#;
        assert!(of(component).unwrap_err().detail.contains("wasi:nn"));
    }

    #[test]
    fn every_cut_of_a_module_is_refused_or_inspected_without_a_panic() {
        let code = wat::parse_str(
            r#"(module (import "wasi_snapshot_preview1" "proc_exit" (func (param i32)))
                (memory (export "memory") 1) (table 5 funcref) (func (export "_start") (call 0 (i32.const 3))))"#,
        );
        let code = code.unwrap();
        assert!(inspect(&code).is_ok());
        for cut in 0..code.len() {
            let _ = inspect(&code[..cut]);
        }
    }

    #[test]
    fn more_than_a_worker_has_room_for_is_refused() {
        for bomb in ["(table 2147483648 funcref)", "(table 200001 funcref)"] {
            assert_eq!(module(bomb).unwrap_err().kind, CodeFaultKind::TooMuch);
        }
        assert_eq!(module(&"(table 1 funcref)".repeat(17)).unwrap_err().kind, CodeFaultKind::TooMuch);
        let deep = format!("{}{}", "(component ".repeat(20), ")".repeat(20));
        assert_eq!(of(&deep).unwrap_err().kind, CodeFaultKind::TooMuch);
        let modules = format!("(component {})", "(core module)".repeat(101));
        assert_eq!(of(&modules).unwrap_err().kind, CodeFaultKind::TooMuch);
    }
}
