//! Networks, which no job has; and a function has HTTP alone.
//!
//! Programs built with Rust's, Go's or Python's standard library import `wasi:sockets` or `wasi:http` whether they
//! use them or not, so the imports must be there. Every function says no in the way that its own type has for it;
//! one that has none stops the guest, if it is ever called.

use super::Host;
use super::stop::Stop;
use crate::fault::{Fault, FaultKind};
use wasmtime::{
    Result,
    component::{
        Component, Linker, LinkerInstance, Resource, ResourceType, Type, Val,
        types::{ComponentFunc, ComponentInstance, ComponentItem},
    },
};

/// The packages that are answered here.
pub(super) const NETWORKS: [&str; 2] = ["wasi:sockets/", "wasi:http/"];
/// Those that a function does not have.
pub(super) const SOCKETS: [&str; 1] = ["wasi:sockets/"];

/// What every handle here stands for.
struct Nothing;

/// Defines what `component` imports of these packages.
pub(super) fn add_to_linker(
    linker: &mut Linker<Host>,
    component: &Component,
    refused: &[&str],
) -> Result<()> {
    let engine = component.engine().clone();
    let mut shadowing = false;
    for (name, import) in component.component_type().imports(&engine) {
        let ComponentItem::ComponentInstance(interface) = import.ty else { continue };
        if refused.iter().any(|package| name.starts_with(package)) {
            if !shadowing {
                linker.allow_shadowing(true);
                shadowing = true;
            }
            refuse(&mut linker.instance(name)?, &interface, &engine)?;
        }
    }
    Ok(())
}

fn refuse(
    linker: &mut LinkerInstance<'_, Host>,
    interface: &ComponentInstance,
    engine: &wasmtime::Engine,
) -> Result<()> {
    for (name, item) in interface.exports(engine) {
        match item.ty {
            ComponentItem::ComponentFunc(_) => {
                let called = name.to_owned();
                linker.func_new(name, move |mut store, ty, _, results| {
                    store.data_mut().charge(0)?;
                    answer(&mut store, &called, &ty, results)
                })?;
            }
            ComponentItem::Resource(_) => {
                linker.resource(name, ResourceType::host::<Nothing>(), |_, _| Ok(()))?;
            }
            // Types of values need no definition.
            _ => {}
        }
    }
    Ok(())
}

fn answer(
    store: &mut wasmtime::StoreContextMut<'_, Host>,
    name: &str,
    ty: &ComponentFunc,
    results: &mut [Val],
) -> Result<()> {
    for (slot, ty) in results.iter_mut().zip(ty.results()) {
        let refused = match &ty {
            Type::Result(result) => refusal(result.err()).map(|error| Val::Result(Err(error.map(Box::new)))),
            Type::Option(_) => Some(Val::Option(None)),
            Type::Own(_) => {
                let handle = Resource::<Nothing>::new_own(0).try_into_resource_any(&mut *store)?;
                Some(Val::Resource(handle))
            }
            _ => None,
        };
        let Some(refused) = refused else {
            let detail = format!("`{name}` was called, but a job has no network");
            return Err(Stop::Fault(Fault::new(FaultKind::Trap, detail)).into());
        };
        *slot = refused;
    }
    Ok(())
}

/// The value of an error type that says "not here".
fn refusal(error: Option<Type>) -> Option<Option<Val>> {
    const WORDS: [&str; 4] = ["access-denied", "not-supported", "HTTP-request-denied", "immutable"];
    match error {
        None => Some(None),
        Some(Type::Enum(ty)) => {
            let word = WORDS.iter().find(|word| ty.names().any(|name| name == **word))?;
            Some(Some(Val::Enum((*word).into())))
        }
        Some(Type::Variant(ty)) => {
            let fits = |word: &&&str| ty.cases().any(|case| case.name == **word && case.ty.is_none());
            let word = WORDS.iter().find(fits)?;
            Some(Some(Val::Variant((*word).into(), None)))
        }
        _ => None,
    }
}
