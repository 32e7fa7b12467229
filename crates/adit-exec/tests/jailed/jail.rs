//! What the jail forbids, each tried for real in a process that is in it.

use crate::enclave::{describe, start};
use adit_exec::jail::{self, Filter, Role, Stage};
use std::{io, mem::zeroed, process::ExitCode, ptr};

crate::tests![
    a_running_worker_dies_of_every_forbidden_call,
    a_loading_worker_dies_of_all_but_making_code_executable,
    a_compiler_dies_of_every_forbidden_call,
    without_the_filter_landlock_and_the_limits_still_refuse,
    nothing_is_writable_and_executable_at_once,
    an_orphan_does_not_start,
    descriptors_other_than_the_channel_are_gone,
];

const FORBIDDEN: &[&str] = &[
    "open",
    "openat2",
    "stat",
    "unlink",
    "mkdir",
    "socket",
    "connect",
    "socketpair",
    "bind-abstract",
    "fork",
    "clone3",
    "exec",
    "kill-parent",
    "kill-self-group",
    "ptrace",
    "process-read",
    "io_uring",
    "mount",
    "unshare",
    "setuid",
    "bpf",
    "perf",
    "keyctl",
    "userfaultfd",
    "memfd-exec",
    "writable-code",
    "late-code",
    "dup",
    "ioctl",
    "clock-set",
    "reboot",
    "pidfd-getfd",
    "prctl-dumpable",
    "rlimit",
    "shm",
    "nanosleep",
    "getpid-allowed-nowhere",
    "sendto",
];

/// The child's side: enters the jail as `role`, applies the filter of `stage` (or none), tries `what`. Exit 0: it
/// worked; 1: it was refused; the filter kills.
pub fn probe(args: &[String]) -> ExitCode {
    let [role, stage, parent, what] = args else { return ExitCode::from(9) };
    let role = if role == "compiler" { Role::Compiler } else { Role::Worker };
    if let Err(error) = jail::enter(role, parent.parse().unwrap()) {
        eprintln!("{error}");
        return ExitCode::from(8);
    }
    let stage = match stage.as_str() {
        "running" => Some(Stage::Running),
        "loading" => Some(Stage::Loading),
        _ => None,
    };
    if let Some(stage) = stage {
        Filter::new(role, stage).unwrap().apply().unwrap();
    }
    match attempt(what) {
        Ok(()) => exit(0),
        Err(_) => exit(1),
    }
}

/// Leaves without what a runtime does at its end, some of which is forbidden too.
fn exit(code: i32) -> ! {
    // SAFETY: ends the process; nothing comes after.
    unsafe { libc::_exit(code) }
}

fn attempt(what: &str) -> io::Result<()> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let path = c"/etc/passwd".as_ptr();
    // SAFETY: each is a lone system call whose pointers are null or outlive it.
    let result: i64 = unsafe {
        match what {
            "nothing" => 0,
            "open" => libc::open(path, libc::O_RDONLY).into(),
            "openat2" => libc::syscall(libc::SYS_openat2, libc::AT_FDCWD, path, [0_u64; 3].as_ptr(), 24),
            "stat" => libc::stat(path, &mut zeroed()).into(),
            "unlink" => libc::unlink(c"/nothing/here".as_ptr()).into(),
            "mkdir" => libc::mkdir(c"/tmp/adit-probe".as_ptr(), 0o700).into(),
            "socket" => libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0).into(),
            "connect" => {
                let mut address: libc::sockaddr_in = zeroed();
                address.sin_family = libc::AF_INET as _;
                address.sin_port = 80_u16.to_be();
                address.sin_addr.s_addr = u32::from_ne_bytes([127, 0, 0, 1]);
                let socket = libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0);
                libc::connect(socket, (&raw const address).cast(), size_of_val(&address) as _).into()
            }
            "socketpair" => libc::socketpair(libc::AF_UNIX, libc::SOCK_STREAM, 0, [0; 2].as_mut_ptr()).into(),
            "bind-abstract" => libc::socket(libc::AF_UNIX, libc::SOCK_DGRAM, 0).into(),
            "fork" => match libc::fork() {
                0 => exit(0),
                pid => pid.into(),
            },
            "clone3" => libc::syscall(libc::SYS_clone3, ptr::null::<u8>(), 0),
            "exec" => {
                let none = [ptr::null()];
                libc::execve(c"/bin/true".as_ptr(), none.as_ptr(), none.as_ptr()).into()
            }
            "kill-parent" => libc::kill(libc::getppid(), 0).into(),
            "kill-self-group" => libc::kill(0, 0).into(),
            "ptrace" => libc::ptrace(libc::PTRACE_ATTACH, libc::getppid(), 0, 0),
            "process-read" => libc::process_vm_readv(1, ptr::null(), 0, ptr::null(), 0, 0) as i64,
            "io_uring" => libc::syscall(libc::SYS_io_uring_setup, 1, 0),
            "mount" => libc::mount(path, path, ptr::null(), 0, ptr::null()).into(),
            "unshare" => libc::unshare(libc::CLONE_NEWUSER).into(),
            "setuid" => libc::setuid(0).into(),
            "bpf" => libc::syscall(libc::SYS_bpf, 0, 0, 0),
            "perf" => libc::syscall(libc::SYS_perf_event_open, 0, 0, 0, 0, 0),
            "keyctl" => libc::syscall(libc::SYS_keyctl, 0, 0, 0, 0, 0),
            "userfaultfd" => libc::syscall(libc::SYS_userfaultfd, 0),
            "memfd-exec" => libc::syscall(libc::SYS_execveat, 3, c"".as_ptr(), 0, 0, libc::AT_EMPTY_PATH),
            "writable-code" => {
                let all = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
                libc::mmap(ptr::null_mut(), 4096, all, flags, -1, 0) as i64
            }
            "late-code" => {
                let page = libc::mmap(ptr::null_mut(), 4096, libc::PROT_READ, flags, -1, 0);
                libc::mprotect(page, 4096, libc::PROT_READ | libc::PROT_EXEC).into()
            }
            "writable-code-by-mprotect" => {
                let page = libc::mmap(ptr::null_mut(), 4096, libc::PROT_READ, flags, -1, 0);
                libc::mprotect(page, 4096, libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC).into()
            }
            "dup" => libc::dup(3).into(),
            "ioctl" => libc::ioctl(3, libc::FIONREAD, 0).into(),
            "clock-set" => libc::clock_settime(libc::CLOCK_REALTIME, &zeroed()).into(),
            "reboot" => libc::syscall(libc::SYS_reboot, 0, 0, 0, 0),
            "pidfd-getfd" => libc::syscall(libc::SYS_pidfd_getfd, 3, 0, 0),
            "prctl-dumpable" => libc::prctl(libc::PR_SET_DUMPABLE, 1).into(),
            "rlimit" => {
                libc::setrlimit(libc::RLIMIT_NOFILE, &libc::rlimit { rlim_cur: 64, rlim_max: 64 }).into()
            }
            "shm" => libc::shmget(0, 4096, 0).into(),
            "nanosleep" => libc::syscall(libc::SYS_nanosleep, &zeroed::<libc::timespec>(), 0),
            "getpid-allowed-nowhere" => libc::syscall(libc::SYS_getpid),
            "sendto" => libc::syscall(libc::SYS_sendto, 3, ptr::null::<u8>(), 0, 0, 0, 0),
            "descriptors" => {
                // None but 0 to 3 may be open.
                let open = (4..1024).any(|number| libc::fcntl(number, libc::F_GETFD) >= 0);
                return if open { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) };
            }
            _ => exit(7),
        }
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn outcome(role: &str, stage: &str, what: &str) -> String {
    let parent = std::process::id().to_string();
    let (mut child, _channel) = start(&["probe", role, stage, &parent, what], true);
    describe(child.wait().unwrap())
}

fn all_die(role: &str, stage: &str, except: &[&str]) {
    assert_eq!(outcome(role, stage, "nothing"), "exit 0", "the probe itself works");
    for what in FORBIDDEN.iter().filter(|what| !except.contains(what)) {
        assert_eq!(outcome(role, stage, what), "killed by the filter", "{role} {stage} {what}");
    }
}

fn a_running_worker_dies_of_every_forbidden_call() {
    all_die("worker", "running", &[]);
}

fn a_loading_worker_dies_of_all_but_making_code_executable() {
    all_die("worker", "loading", &["late-code"]);
    assert_eq!(outcome("worker", "loading", "late-code"), "exit 0");
}

fn a_compiler_dies_of_every_forbidden_call() {
    all_die("compiler", "loading", &["late-code"]);
}

/// The second wall: what would happen if the list of system calls were too wide.
fn without_the_filter_landlock_and_the_limits_still_refuse() {
    for what in ["open", "mkdir", "unlink", "connect", "kill-parent", "ptrace", "exec", "mount", "setuid"] {
        let expected = if what == "setuid" && running_as_root() { "exit 0" } else { "exit 1" };
        assert_eq!(outcome("worker", "none", what), expected, "{what}");
    }
}

fn running_as_root() -> bool {
    // SAFETY: takes nothing, cannot fail.
    unsafe { libc::getuid() == 0 }
}

fn nothing_is_writable_and_executable_at_once() {
    for stage in ["loading", "running"] {
        for what in ["writable-code", "writable-code-by-mprotect"] {
            assert_eq!(outcome("worker", stage, what), "killed by the filter", "{stage} {what}");
        }
    }
}

fn an_orphan_does_not_start() {
    let (mut child, _channel) = start(&["probe", "worker", "none", "1", "nothing"], true);
    assert_eq!(describe(child.wait().unwrap()), "exit 8");
}

fn descriptors_other_than_the_channel_are_gone() {
    // One that is not closed on exec, as a careless library might leave it.
    let file = std::fs::File::open("/dev/null").unwrap();
    // SAFETY: duplicates a descriptor that is open; the copy is ours to close.
    let copy = unsafe { libc::dup2(std::os::fd::AsRawFd::as_raw_fd(&file), 77) };
    assert_eq!(copy, 77);
    let found = outcome("worker", "none", "descriptors");
    // SAFETY: the copy made above.
    unsafe { libc::close(copy) };
    assert_eq!(found, "exit 1");
}
