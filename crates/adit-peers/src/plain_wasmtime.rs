//! `plain-wasmtime PROGRAM.wasm FOLDER`: runs a preview-1 program on `/in/data` in a host folder with wasmtime as it
//! comes, and prints how many nanoseconds it took, without compiling.

use anyhow::{Context, Result, ensure};
use std::time::Instant;
use wasmtime::{Engine, Linker, Module, Store};
use wasmtime_wasi::{FsPerms, I32Exit, WasiCtxBuilder, p1};

fn main() -> Result<()> {
    let mut words = std::env::args_os().skip(1);
    let (Some(program), Some(folder)) = (words.next(), words.next()) else {
        anyhow::bail!("usage: plain-wasmtime PROGRAM.wasm FOLDER");
    };
    let wasm = std::fs::read(&program).with_context(|| program.display().to_string())?;
    let engine = Engine::default();
    let module = Module::new(&engine, wasm)?;
    let mut linker = Linker::new(&engine);
    p1::add_to_linker_sync(&mut linker, |context: &mut p1::WasiP1Ctx| context)?;
    let context = WasiCtxBuilder::new()
        .args(&["program", "/in/data"])
        .preopened_dir(folder, "/in", FsPerms::ReadOnly)?
        .build_p1();
    let mut store = Store::new(&engine, context);
    let began = Instant::now();
    let instance = linker.instantiate(&mut store, &module)?;
    let start = instance.get_typed_func::<(), ()>(&mut store, "_start")?;
    if let Err(error) = start.call(&mut store, ()) {
        let ended_well = error.downcast_ref::<I32Exit>().is_some_and(|exit| exit.0 == 0);
        ensure!(ended_well, "the guest failed: {error:?}");
    }
    println!("{}", began.elapsed().as_nanos());
    Ok(())
}
