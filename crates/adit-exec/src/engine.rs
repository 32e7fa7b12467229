//! One engine configuration for the compiler and the worker.
//!
//! Machine code fits an engine only if both were configured alike, and a worker must never meet code that asks
//! for more than its pool has: that would end the worker, not the job. So the limits stand here once;
//! the compiler refuses what exceeds them, and the worker's pool is made to hold exactly what they allow, for one
//! job at a time.

use std::{
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    str::FromStr,
};
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, OperatorCost, PoolingAllocationConfig};

/// Names what an Outcome's figures depend on: wasmtime's version, the costs in [`costs`] and `meter`, and how both
/// WASI interfaces answer. Changes whenever one of these does.
pub const RUNTIME: &str = "wasmtime-48/schedule-2";

/// Most linear memory that a Task can ask for: all that 32 bits address.
pub const MAX_MEMORY: u64 = 4 << 30;

/// Stack for WebAssembly frames. The main thread's stack (8 MiB) has room for it and for host calls on top.
pub const WASM_STACK: usize = 1 << 20;

/// What one command may consist of. A preview-1 module is one core instance, a large component written in Python or
/// JavaScript about forty.
pub(crate) const MAX_CORE_INSTANCES: u32 = 100;
pub(crate) const MAX_MEMORIES: u32 = 8;
pub(crate) const MAX_TABLES: u32 = 16;
pub(crate) const MAX_TABLE_ELEMENTS: u32 = 200_000;

/// Bytes of bookkeeping (globals, function references) of one instance.
const MAX_INSTANCE_SIZE: usize = 2 << 20;

/// How code is run, as the Task says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Profile {
    /// Two honest hosts get the same bytes: fuel metered, NaNs canonical, relaxed SIMD pinned down.
    Deterministic,
    /// Operators are not metered and NaNs are as the processor leaves them. Host work still is; wall time kills.
    Fast,
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Profile::Deterministic => "deterministic",
            Profile::Fast => "fast",
        })
    }
}

/// A word that names no profile.
#[derive(Debug, thiserror::Error)]
#[error("no such profile: {0:?} (there are `deterministic` and `fast`)")]
pub struct UnknownProfile(String);

impl FromStr for Profile {
    type Err = UnknownProfile;

    fn from_str(word: &str) -> Result<Self, UnknownProfile> {
        match word {
            "deterministic" => Ok(Profile::Deterministic),
            "fast" => Ok(Profile::Fast),
            _ => Err(UnknownProfile(word.into())),
        }
    }
}

/// What each operator costs: one unit, except that bulk operators also pay for what they move, and that
/// growing pays for the call and the pages, whether it succeeds or not.
fn costs() -> OperatorCost {
    let mut costs = OperatorCost::new();
    costs.MemoryGrow = 255;
    costs.TableGrow = 255;
    costs.variable.memory_grow_per_page = 255;
    costs
}

fn configure(profile: Profile) -> Config {
    let mut config = Config::new();
    config
        .max_wasm_stack(WASM_STACK)
        .wasm_memory64(false)
        .wasm_backtrace_max_frames(None)
        .generate_address_map(false)
        .native_unwind_info(false)
        .relaxed_simd_deterministic(true)
        .consume_fuel(profile == Profile::Deterministic)
        .operator_cost(costs());
    config
}

/// For compiling. `floats` says whether floating-point operators occur: only then does `deterministic` pay for
/// canonical NaNs (up to 3.5 times on float code, and nothing is gained elsewhere).
pub fn compiling(profile: Profile, floats: bool) -> wasmtime::Result<Engine> {
    let mut config = configure(profile);
    config.cranelift_nan_canonicalization(floats && profile == Profile::Deterministic);
    Engine::new(&config)
}

/// For running, with room for exactly one job.
pub fn running(profile: Profile) -> wasmtime::Result<Engine> {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(1)
        .total_core_instances(MAX_CORE_INSTANCES)
        .max_core_instances_per_component(MAX_CORE_INSTANCES)
        .total_memories(MAX_MEMORIES)
        .max_memories_per_component(MAX_MEMORIES)
        .max_memories_per_module(MAX_MEMORIES)
        .total_tables(MAX_TABLES)
        .max_tables_per_component(MAX_TABLES)
        .max_tables_per_module(MAX_TABLES)
        .table_elements(MAX_TABLE_ELEMENTS as usize)
        .max_memory_size(MAX_MEMORY as usize)
        .max_core_instance_size(MAX_INSTANCE_SIZE)
        .max_component_instance_size(MAX_INSTANCE_SIZE)
        .max_unused_warm_slots(MAX_MEMORIES)
        .linear_memory_keep_resident(256 << 10)
        .table_keep_resident(16 << 10)
        // It would open a file under /proc, which the jail does not have.
        .pagemap_scan(Enabled::No);
    let mut config = configure(profile);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    Engine::new(&config)
}

/// Names the machine code that this build makes under a profile, on this kind of processor. Half of the compile
/// cache's key; the other half is the module's CID.
pub fn code_hash(profile: Profile) -> wasmtime::Result<u64> {
    let mut hasher = DefaultHasher::new();
    compiling(profile, true)?.precompile_compatibility_hash().hash(&mut hasher);
    (RUNTIME, profile).hash(&mut hasher);
    Ok(hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_profile_has_code_of_its_own() {
        let deterministic = code_hash(Profile::Deterministic).unwrap();
        assert_eq!(deterministic, code_hash(Profile::Deterministic).unwrap());
        assert_ne!(deterministic, code_hash(Profile::Fast).unwrap());
    }

    #[test]
    fn profiles_are_named_as_in_a_task() {
        for profile in [Profile::Deterministic, Profile::Fast] {
            assert_eq!(profile.to_string().parse::<Profile>().unwrap(), profile);
        }
        assert!("Fast".parse::<Profile>().is_err());
    }

    #[test]
    fn code_compiled_with_or_without_canonical_nans_runs_in_the_same_worker() {
        for floats in [false, true] {
            let wasm = wat::parse_str("(component (core module (func (export \"f\"))))").unwrap();
            let code =
                compiling(Profile::Deterministic, floats).unwrap().precompile_component(&wasm).unwrap();
            let engine = running(Profile::Deterministic).unwrap();
            // SAFETY: made by the same build a line ago.
            unsafe { wasmtime::component::Component::deserialize(&engine, &code) }.unwrap();
            let wasm = wat::parse_str("(module (func (export \"f\")))").unwrap();
            let code = compiling(Profile::Deterministic, floats).unwrap().precompile_module(&wasm).unwrap();
            // SAFETY: likewise.
            unsafe { wasmtime::Module::deserialize(&engine, &code) }.unwrap();
        }
    }
}
