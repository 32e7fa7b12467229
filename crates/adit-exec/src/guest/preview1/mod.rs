//! WASI preview 1: what core modules import, on the same files, clocks and randomness as WASI 0.2.
//!
//! A function of preview 1 gets numbers and answers with an error number; everything else passes through the guest's
//! memory. So each one is a method of [`Call`], which holds that memory and the [`Host`] for as long as one call
//! takes. [`memory`] is the only place that knows how pointers are followed, and none is believed: what lies outside
//! of the memory is answered with `FAULT`, and nothing is allocated because a guest names a length.
//!
//! The functions are grouped by what they are about: [`descriptors`], [`transfer`] (reading and writing),
//! [`directories`], [`paths`], [`polling`] (clocks, too) and [`program`] (arguments, exit, and what no job has).

mod descriptors;
mod directories;
mod errno;
mod memory;
mod paths;
mod polling;
mod program;
mod transfer;

use super::{Host, stop::Stop};
use crate::fault::{Fault, FaultKind};
use descriptors::Table;
use errno::{Answer, Failure};
use memory::Memory;
use wasmtime::{Caller, Engine, Instance, InstancePre, Linker, Module, Result, Store};

/// The module that preview-1 programs import.
pub(crate) const MODULE: &str = "wasi_snapshot_preview1";

/// What a preview-1 program has besides the rest of its [`Host`].
#[derive(Default)]
pub(crate) struct Preview1 {
    table: Table,
    /// The program's memory, once it was looked for.
    memory: Option<wasmtime::Memory>,
}

/// One call of one function.
struct Call<'a> {
    memory: Memory<'a>,
    host: &'a mut Host,
}

/// Runs a function on the guest's memory, and turns what came of it into what the guest sees. Every call is paid for
/// here, before anything else.
fn call(mut caller: Caller<'_, Host>, function: impl FnOnce(&mut Call<'_>) -> Answer) -> Result<u32> {
    caller.data_mut().charge(0)?;
    let memory = match caller.data().preview1.memory {
        Some(memory) => memory,
        None => find_memory(&mut caller)?,
    };
    let (bytes, host) = memory.data_and_store_mut(&mut caller);
    match function(&mut Call { memory: Memory::new(bytes), host }) {
        Ok(()) => Ok(0),
        Err(Failure::Errno(errno)) => Ok(errno.into()),
        Err(Failure::Stop(stop)) => Err(stop),
    }
}

fn find_memory(caller: &mut Caller<'_, Host>) -> Result<wasmtime::Memory> {
    let Some(memory) = caller.get_export("memory").and_then(wasmtime::Extern::into_memory) else {
        let detail = "the program called the host, but exports no memory `memory`";
        return Err(Stop::Fault(Fault::new(FaultKind::Trap, detail)).into());
    };
    caller.data_mut().preview1.memory = Some(memory);
    Ok(memory)
}

/// Defines the functions that answer with an error number, and lists them all.
macro_rules! functions {
    ($($name:ident($($arg:ident: $ty:ty),*);)*) => {
        /// Every function of preview 1.
        pub(crate) const FUNCTIONS: &[&str] = &["proc_exit", $(stringify!($name)),*];

        fn define(linker: &mut Linker<Host>) -> Result<()> {
            $(linker.func_wrap(MODULE, stringify!($name), |caller: Caller<'_, Host>, $($arg: $ty),*| {
                call(caller, |call| call.$name($($arg),*))
            })?;)*
            Ok(())
        }
    };
}

functions! {
    args_get(pointers: u32, bytes: u32);
    args_sizes_get(count: u32, size: u32);
    environ_get(pointers: u32, bytes: u32);
    environ_sizes_get(count: u32, size: u32);
    clock_res_get(clock: u32, out: u32);
    clock_time_get(clock: u32, precision: u64, out: u32);
    fd_advise(fd: u32, offset: u64, length: u64, advice: u32);
    fd_allocate(fd: u32, offset: u64, length: u64);
    fd_close(fd: u32);
    fd_datasync(fd: u32);
    fd_fdstat_get(fd: u32, out: u32);
    fd_fdstat_set_flags(fd: u32, flags: u32);
    fd_fdstat_set_rights(fd: u32, base: u64, inheriting: u64);
    fd_filestat_get(fd: u32, out: u32);
    fd_filestat_set_size(fd: u32, size: u64);
    fd_filestat_set_times(fd: u32, accessed: u64, modified: u64, which: u32);
    fd_pread(fd: u32, buffers: u32, count: u32, offset: u64, out: u32);
    fd_prestat_get(fd: u32, out: u32);
    fd_prestat_dir_name(fd: u32, name: u32, size: u32);
    fd_pwrite(fd: u32, buffers: u32, count: u32, offset: u64, out: u32);
    fd_read(fd: u32, buffers: u32, count: u32, out: u32);
    fd_readdir(fd: u32, buffer: u32, size: u32, cookie: u64, out: u32);
    fd_renumber(from: u32, to: u32);
    fd_seek(fd: u32, offset: i64, whence: u32, out: u32);
    fd_sync(fd: u32);
    fd_tell(fd: u32, out: u32);
    fd_write(fd: u32, buffers: u32, count: u32, out: u32);
    path_create_directory(fd: u32, path: u32, length: u32);
    path_filestat_get(fd: u32, lookup: u32, path: u32, length: u32, out: u32);
    path_filestat_set_times(
        fd: u32, lookup: u32, path: u32, length: u32, accessed: u64, modified: u64, which: u32
    );
    path_link(fd: u32, lookup: u32, path: u32, length: u32, new_fd: u32, new_path: u32, new_length: u32);
    path_open(
        fd: u32, lookup: u32, path: u32, length: u32, open: u32, base: u64, inheriting: u64, flags: u32, out: u32
    );
    path_readlink(fd: u32, path: u32, length: u32, buffer: u32, size: u32, out: u32);
    path_remove_directory(fd: u32, path: u32, length: u32);
    path_rename(fd: u32, path: u32, length: u32, new_fd: u32, new_path: u32, new_length: u32);
    path_symlink(target: u32, target_length: u32, fd: u32, path: u32, length: u32);
    path_unlink_file(fd: u32, path: u32, length: u32);
    poll_oneoff(subscriptions: u32, events: u32, count: u32, out: u32);
    proc_raise(signal: u32);
    random_get(buffer: u32, size: u32);
    sched_yield();
    sock_accept(fd: u32, flags: u32, out: u32);
    sock_recv(fd: u32, buffers: u32, count: u32, flags: u32, out: u32, out_flags: u32);
    sock_send(fd: u32, buffers: u32, count: u32, flags: u32, out: u32);
    sock_shutdown(fd: u32, how: u32);
}

/// A linker for core modules.
pub(crate) fn linker(engine: &Engine) -> Result<Linker<Host>> {
    let mut linker = Linker::new(engine);
    define(&mut linker)?;
    // Only the low byte is told, as on any Unix.
    linker
        .func_wrap(MODULE, "proc_exit", |code: u32| -> Result<()> { Err(Stop::Exit(code as u8).into()) })?;
    Ok(linker)
}

/// Links a module, without running any of it.
pub(crate) fn link(linker: &Linker<Host>, module: &Module) -> Result<InstancePre<Host>> {
    match module.get_export("_start").map(|export| export.func().cloned()) {
        Some(Some(start)) if start.params().len() == 0 && start.results().len() == 0 => {
            linker.instantiate_pre(module)
        }
        _ => wasmtime::bail!("`_start` is not a function without parameters and results"),
    }
}

/// Makes the instance that a job runs in. A start section runs here.
pub(crate) fn instantiate(pre: &InstancePre<Host>, store: &mut Store<Host>) -> Result<Instance> {
    Table::fill(store.data_mut());
    pre.instantiate(store)
}

/// Runs the program; one that returns has succeeded.
pub(crate) fn run(instance: Instance, store: &mut Store<Host>) -> Result<()> {
    instance.get_typed_func::<(), ()>(&mut *store, "_start")?.call(store, ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_functions_of_the_standard_are_there_and_each_once() {
        let mut names = FUNCTIONS.to_vec();
        names.sort_unstable();
        names.dedup();
        assert_eq!((FUNCTIONS.len(), names.len()), (46, 46));
    }
}
