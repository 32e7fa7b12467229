//! The jailed process that turns one module or component into machine code, and ends.
//!
//! A compiler is the largest program that ever touches a stranger's bytes, so it gets a process of its own for each
//! module, with memory and processor time limited: a module made to blow up the compiler takes only that
//! process with it.

use crate::{
    engine::{self, Profile},
    entry::{self, ProcessError},
    fault::{CodeFault, CodeFaultKind},
    inspect::{Form, inspect},
    jail::{Filter, Role, Stage},
    worker_wire::{FromCompiler, ToCompiler},
};
use adit_wire::{
    Channel, Inbox, Message,
    memory::{Mapping, require_sealed, sealed},
};
use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{Arc, Barrier},
    thread,
};
use wasmtime::Engine;

/// Most threads of a compiler: a node has other things to do.
const MAX_THREADS: usize = 4;

/// Compiles what the enclave sends. `args` are those after the program's and the role's name.
pub fn main(args: &[String]) -> Result<(), ProcessError> {
    let entered = entry::enter(Role::Compiler, args)?;
    let engines = Engines::new(entered.profile).map_err(ProcessError::Engine)?;
    Engine::tls_eager_initialize();
    make_threads()?;
    Filter::new(Role::Compiler, Stage::Loading)?.apply()?;

    let channel = entered.channel;
    let mut inbox = Inbox::new();
    let Some(frame) = channel.receive(&mut inbox).map_err(ProcessError::Enclave)? else { return Ok(()) };
    let message = ToCompiler::decode(frame.bytes, frame.descriptors.len());
    let message = message.map_err(|error| ProcessError::Protocol(format!("a malformed frame: {error}")))?;
    let Ok([code]) = <[OwnedFd; 1]>::try_from(frame.descriptors) else {
        return Err(ProcessError::Protocol("no code".into()));
    };
    require_sealed(code.as_fd(), message.length).map_err(ProcessError::Memory)?;
    let mapping = match message.length {
        0 => None,
        length => Some(Mapping::read_only(code.as_fd(), length as usize).map_err(ProcessError::Memory)?),
    };
    match engines.compile(mapping.as_ref().map_or(&[], Mapping::bytes)) {
        Err(fault) => answer(&channel, &FromCompiler::Refused(fault), None),
        Ok(machine_code) => match sealed(c"machine code", &machine_code) {
            Ok(file) => {
                let compiled = FromCompiler::Compiled { length: machine_code.len() as u64 };
                answer(&channel, &compiled, Some(file.as_fd()))
            }
            Err(error) => answer(&channel, &FromCompiler::Host(error.to_string()), None),
        },
    }
}

/// The threads that share a program's functions among them. All of them are up when this returns: the jail is shut
/// around them next, and starting takes system calls that it does not know.
fn make_threads() -> Result<(), ProcessError> {
    // glibc gives memory of threads back to the system only after a look at a file under /proc, which the jail denies.
    // A compiler soon gives all of it back at once.
    #[cfg(target_env = "gnu")]
    // SAFETY: there is one thread.
    unsafe {
        libc::mallopt(libc::M_TRIM_THRESHOLD, libc::c_int::MAX);
    }
    let count = thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
    let up = Arc::new(Barrier::new(count + 1));
    let theirs = up.clone();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(count).start_handler(move |_| {
        Engine::tls_eager_initialize();
        theirs.wait();
    });
    pool.build_global().map_err(|error| ProcessError::Threads(error.to_string()))?;
    up.wait();
    Ok(())
}

fn answer(
    channel: &Channel,
    message: &FromCompiler,
    descriptor: Option<BorrowedFd<'_>>,
) -> Result<(), ProcessError> {
    let mut frame = Vec::new();
    message.encode(&mut frame);
    channel.send(&frame, descriptor.as_slice()).map_err(ProcessError::Enclave)
}

/// Both are made before anybody's code is seen: making one needs system calls that compiling does not.
struct Engines {
    plain: Engine,
    canonical: Engine,
}

impl Engines {
    fn new(profile: Profile) -> wasmtime::Result<Self> {
        Ok(Engines {
            plain: engine::compiling(profile, false)?,
            canonical: engine::compiling(profile, true)?,
        })
    }

    fn compile(&self, code: &[u8]) -> Result<Vec<u8>, CodeFault> {
        let inspected = inspect(code)?;
        let engine = if inspected.floats { &self.canonical } else { &self.plain };
        let compiled = match inspected.form {
            Form::Module => engine.precompile_module(code),
            Form::Component => engine.precompile_component(code),
        };
        compiled.map_err(|error| CodeFault::new(CodeFaultKind::Invalid, first_words(&format!("{error:#}"))))
    }
}

/// Enough of an error for its reader.
fn first_words(error: &str) -> String {
    error.chars().take(1000).collect()
}
