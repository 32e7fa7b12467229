//! What a jailed process may still do: compute, and talk to its one socket.
//!
//! Two walls that do not depend on each other. Landlock denies every path, TCP port, abstract socket and foreign
//! signal; seccomp allows the system calls listed here and kills the process on any other. A process that cannot
//! shut both ends before it has seen a byte of anybody's code: there is no weaker mode.
//!
//! The order matters and is [`enter`]'s, then the process builds its engine, then [`Filter::apply`] for
//! [`Stage::Loading`], and once a worker's code is loaded [`Stage::Running`], after which nothing becomes
//! executable any more.

use adit_wire::channel::check;
use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetError,
    RulesetStatus, Scope,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};
use std::{collections::BTreeMap, io};

/// Which process this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Worker,
    Compiler,
}

/// How far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Machine code may still be made executable (written first, then never again).
    Loading,
    /// Someone else's code runs.
    Running,
}

/// Memory and processor time of a compiler; a module that needs more is a compile bomb. A worker has no such
/// limits, since its pool reserves terabytes of addresses and it lives for many jobs: linear memory, fuel and the
/// enclave's clock bound it.
const COMPILER_MEMORY: u64 = 3 << 30;
const COMPILER_SECONDS: u64 = 60;

/// Why the jail could not be shut.
#[derive(Debug, thiserror::Error)]
pub enum JailError {
    #[error("the parent died before the jail was shut")]
    Orphan,
    #[error("{what}: {source}")]
    System { what: &'static str, source: io::Error },
    #[error("Landlock: {0}")]
    Landlock(#[from] RulesetError),
    #[error("Landlock is not fully enforced by this kernel (6.12 or later is needed)")]
    LandlockTooOld,
    #[error("system call filter: {0}")]
    Backend(#[from] seccompiler::BackendError),
    #[error("system call filter: {0}")]
    Filter(#[from] seccompiler::Error),
}

fn step(what: &'static str, result: libc::c_int) -> Result<(), JailError> {
    check(result).map(drop).map_err(|source| JailError::System { what, source })
}

/// Everything but the system call filter. To be called with one thread, before anything else; `parent` is the
/// process that started this one, as it said itself.
pub fn enter(role: Role, parent: libc::pid_t) -> Result<(), JailError> {
    // SAFETY: plain system calls on integers; nothing else in the process relies on what they change.
    unsafe {
        step("parent death signal", libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL))?;
        if libc::getppid() != parent {
            return Err(JailError::Orphan);
        }
        // 0 to 2 stay (or a memory file that lands on 2 would collect panic messages), 3 is the channel.
        step("inherited descriptors", libc::close_range(4, libc::c_uint::MAX, 0))?;
        step("dumpable", libc::prctl(libc::PR_SET_DUMPABLE, 0))?;
        step("no new privileges", libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))?;
    }
    limit("core limit", libc::RLIMIT_CORE, 0)?;
    limit("descriptor limit", libc::RLIMIT_NOFILE, 32)?;
    limit("locked memory limit", libc::RLIMIT_MEMLOCK, 0)?;
    limit("file size limit", libc::RLIMIT_FSIZE, u64::MAX)?;
    if role == Role::Compiler {
        limit("memory limit", libc::RLIMIT_AS, COMPILER_MEMORY)?;
        limit("processor time limit", libc::RLIMIT_CPU, COMPILER_SECONDS)?;
    }
    drop_capabilities()?;
    shut_landlock()
}

fn limit(what: &'static str, resource: libc::__rlimit_resource_t, value: u64) -> Result<(), JailError> {
    // SAFETY: an all-zero rlimit is valid; `limit` outlives both calls.
    unsafe {
        let mut limit: libc::rlimit = std::mem::zeroed();
        step(what, libc::getrlimit(resource, &raw mut limit))?;
        limit.rlim_max = limit.rlim_max.min(value);
        limit.rlim_cur = limit.rlim_max;
        step(what, libc::setrlimit(resource, &raw const limit))
    }
}

fn drop_capabilities() -> Result<(), JailError> {
    /// `_LINUX_CAPABILITY_VERSION_3`: 64 capabilities, in two halves of three words.
    const VERSION: u32 = 0x2008_0522;
    let header = [VERSION, 0];
    let none = [0_u32; 6];
    // SAFETY: both structures have the layout that version 3 prescribes, and outlive the call.
    let result = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr()) };
    step("capabilities", result as libc::c_int)
}

fn shut_landlock() -> Result<(), JailError> {
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(ABI::V5))?
        .handle_access(AccessNet::from_all(ABI::V5))?
        .scope(Scope::from_all(ABI::V6))?
        .create()?
        .restrict_self()?;
    match status.ruleset {
        RulesetStatus::FullyEnforced => Ok(()),
        _ => Err(JailError::LandlockTooOld),
    }
}

/// A system call filter, compiled and ready.
pub struct Filter(BpfProgram);

impl Filter {
    pub fn new(role: Role, stage: Stage) -> Result<Self, JailError> {
        let arch = std::env::consts::ARCH.try_into()?;
        let rules = rules(role, stage)?;
        let filter = SeccompFilter::new(rules, SeccompAction::KillProcess, SeccompAction::Allow, arch)?;
        Ok(Filter(filter.try_into()?))
    }

    /// From here on, for all threads. Filters add up: a later one can only take away.
    pub fn apply(&self) -> Result<(), JailError> {
        Ok(seccompiler::apply_filter_all_threads(&self.0)?)
    }
}

/// An argument, masked, has this value.
fn argument(index: u8, mask: u64, value: u64) -> Result<SeccompRule, seccompiler::BackendError> {
    let condition =
        SeccompCondition::new(index, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(mask), value)?;
    SeccompRule::new(vec![condition])
}

fn rules(role: Role, stage: Stage) -> Result<BTreeMap<i64, Vec<SeccompRule>>, seccompiler::BackendError> {
    const EXECUTABLE: u64 = libc::PROT_EXEC as u64;
    const WRITABLE: u64 = libc::PROT_WRITE as u64;
    let mut rules = BTreeMap::new();
    for call in [
        // The channel.
        libc::SYS_sendmsg,
        libc::SYS_recvmsg,
        libc::SYS_close,
        // Memory.
        libc::SYS_munmap,
        libc::SYS_mremap,
        libc::SYS_madvise,
        libc::SYS_brk,
        libc::SYS_futex,
        // Traps arrive as signals.
        libc::SYS_sigaltstack,
        libc::SYS_rt_sigprocmask,
        libc::SYS_rt_sigreturn,
        libc::SYS_restart_syscall,
        // Seeds of hash tables.
        libc::SYS_getrandom,
        libc::SYS_exit_group,
    ] {
        rules.insert(call, Vec::new());
    }
    rules.insert(libc::SYS_mmap, vec![argument(2, EXECUTABLE, 0)?]);
    let mut mprotect = vec![argument(2, EXECUTABLE, 0)?];
    if stage == Stage::Loading {
        // Executable only if not writable at the same time.
        mprotect.push(argument(2, EXECUTABLE | WRITABLE, EXECUTABLE)?);
        // Memory files (copy-on-write images of the guest's memory; machine code on its way out), the seals of what
        // comes in, and the step to the next stage. There is nothing else that any of these could be used on.
        for call in [
            libc::SYS_memfd_create,
            libc::SYS_ftruncate,
            libc::SYS_write,
            libc::SYS_fcntl,
            libc::SYS_fstat,
            libc::SYS_seccomp,
        ] {
            rules.insert(call, Vec::new());
        }
        rules.insert(libc::SYS_prctl, vec![argument(0, u64::MAX, libc::PR_SET_NO_NEW_PRIVS as u64)?]);
    } else {
        // Panic messages.
        rules.insert(libc::SYS_write, vec![argument(0, u64::MAX, 2)?]);
    }
    if role == Role::Compiler {
        rules.insert(libc::SYS_sched_getaffinity, Vec::new());
        // Its threads (made before, none can be made now) look for work before they sleep.
        rules.insert(libc::SYS_sched_yield, Vec::new());
    }
    rules.insert(libc::SYS_mprotect, mprotect);
    Ok(rules)
}
