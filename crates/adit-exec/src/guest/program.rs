//! A guest's machine code, from loading to running: a component or a core module.
//!
//! wasmtime writes into machine code which of the two it is, and loads neither as the other. So that is where the
//! worker looks, and nobody has to be believed.

use super::{
    Host,
    bindings::{Command, CommandPre},
    function_bindings::{
        FunctionPre,
        wasi::http::{outgoing_handler, types},
    },
    http::{IncomingRequest, Outparam},
    preview1, refusals,
};
use adit_wire::http::RequestHead;
use wasmtime::{
    Engine, InstancePre, Linker, Module, Precompiled, Result, Store,
    component::{self, Component, HasSelf},
};

/// Machine code, loaded.
pub(crate) enum Code {
    Module(Module),
    Component(Component),
}

impl Code {
    /// # Safety
    ///
    /// As for [`Module::deserialize`]: the code must come unchanged from a compiler of this build.
    pub(crate) unsafe fn load(engine: &Engine, code: &[u8]) -> Result<Self> {
        // SAFETY: the caller's.
        unsafe {
            match Engine::detect_precompiled(code) {
                Some(Precompiled::Component) => Component::deserialize(engine, code).map(Code::Component),
                _ => Module::deserialize(engine, code).map(Code::Module),
            }
        }
    }

    /// Makes the images of its memories, which needs system calls that running does not.
    pub(crate) fn prepare(&self) -> Result<()> {
        match self {
            Code::Module(module) => module.initialize_copy_on_write_image(),
            Code::Component(component) => component.initialize_copy_on_write_image(),
        }
    }
}

/// What code of either kind can import.
pub(crate) struct Linkers {
    modules: Linker<Host>,
    components: component::Linker<Host>,
    functions: component::Linker<Host>,
}

impl Linkers {
    pub(crate) fn new(engine: &Engine) -> Result<Self> {
        let mut components = component::Linker::new(engine);
        Command::add_to_linker::<Host, HasSelf<Host>>(&mut components, |host| host)?;
        let mut functions = components.clone();
        let options = types::LinkOptions::default();
        types::add_to_linker::<Host, HasSelf<Host>>(&mut functions, &options, |host| host)?;
        outgoing_handler::add_to_linker::<Host, HasSelf<Host>>(&mut functions, |host| host)?;
        Ok(Linkers { modules: preview1::linker(engine)?, components, functions })
    }

    /// Links code that answers HTTP requests, without running any of it.
    pub(crate) fn link_function(&self, code: &Code) -> Result<Program> {
        let Code::Component(component) = code else {
            wasmtime::bail!(
                "this is a core module; an HTTP function is a component of the world `wasi:http/proxy`"
            );
        };
        let mut linker = self.functions.clone();
        refusals::add_to_linker(&mut linker, component, &refusals::SOCKETS)?;
        FunctionPre::new(linker.instantiate_pre(component)?).map(Program::Function)
    }

    /// Links code, without running any of it. A component's imports of networks are answered with refusals.
    pub(crate) fn link(&self, code: &Code) -> Result<Program> {
        match code {
            Code::Module(module) => preview1::link(&self.modules, module).map(Program::Module),
            Code::Component(component) => {
                let mut linker = self.components.clone();
                refusals::add_to_linker(&mut linker, component, &refusals::NETWORKS)?;
                CommandPre::new(linker.instantiate_pre(component)?).map(Program::Component)
            }
        }
    }
}

/// Code that can be run, as often as wanted.
pub(crate) enum Program {
    Module(InstancePre<Host>),
    Component(CommandPre<Host>),
    Function(FunctionPre<Host>),
}

impl Program {
    /// Runs it to its end, and tells how it exits when it returns.
    pub(crate) fn run(&self, store: &mut Store<Host>) -> Result<u8> {
        match self {
            Program::Module(module) => {
                let instance = preview1::instantiate(module, store)?;
                store.data_mut().running();
                preview1::run(instance, store)?;
                Ok(0)
            }
            Program::Component(command) => {
                let instance = command.instantiate(&mut *store)?;
                store.data_mut().running();
                Ok(match instance.wasi_cli_run().call_run(&mut *store)? {
                    Ok(()) => 0,
                    Err(()) => 1,
                })
            }
            Program::Function(_) => wasmtime::bail!("a function does not run as a command"),
        }
    }

    /// Has it answer one request, in an instance of its own.
    pub(crate) fn answer(&self, store: &mut Store<Host>, head: RequestHead) -> Result<()> {
        let Program::Function(function) = self else { wasmtime::bail!("a command answers no requests") };
        let instance = function.instantiate(&mut *store)?;
        store.data_mut().running();
        let request = store.data_mut().handle(IncomingRequest::new(head))?;
        let outparam = store.data_mut().handle(Outparam)?;
        instance.wasi_http_incoming_handler().call_handle(&mut *store, request, outparam)
    }
}
