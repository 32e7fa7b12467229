//! Preview 1, call by call and with arguments that no compiler would make.
//!
//! Each test is a list of calls with numbers as they come. A module is made of them that keeps what each call answers,
//! and at its end shows its whole memory: so a test sees every answer and every byte that the host wrote.

use crate::{
    content::Content,
    enclave::{Ran, Worker, code, compile, job, job_on, run},
};
use adit_exec::{engine::Profile, fault::CodeFaultKind, worker_wire::Job};

crate::tests![
    every_function_has_the_standards_signature,
    what_lies_outside_of_the_memory_is_a_fault,
    buffers_may_overlap_each_other_and_their_own_list,
    descriptors_that_are_not_open_are_bad_ones,
    rights_and_flags_are_kept,
    directories_are_read_alike_with_any_buffer_and_any_cookie,
    paths_that_make_no_sense_are_refused,
    only_so_many_files_are_open_at_once,
    waiting_takes_no_time_and_comes_to_an_end,
    the_same_job_costs_the_same_everywhere,
    code_that_cannot_be_linked_says_why,
];

/// Parameters by function: `i` and `I` are numbers of 32 and of 64 bits.
const SIGNATURES: &[(&str, &str)] = &[
    ("args_get", "ii"),
    ("args_sizes_get", "ii"),
    ("environ_get", "ii"),
    ("environ_sizes_get", "ii"),
    ("clock_res_get", "ii"),
    ("clock_time_get", "iIi"),
    ("fd_advise", "iIIi"),
    ("fd_allocate", "iII"),
    ("fd_close", "i"),
    ("fd_datasync", "i"),
    ("fd_fdstat_get", "ii"),
    ("fd_fdstat_set_flags", "ii"),
    ("fd_fdstat_set_rights", "iII"),
    ("fd_filestat_get", "ii"),
    ("fd_filestat_set_size", "iI"),
    ("fd_filestat_set_times", "iIIi"),
    ("fd_pread", "iiiIi"),
    ("fd_prestat_get", "ii"),
    ("fd_prestat_dir_name", "iii"),
    ("fd_pwrite", "iiiIi"),
    ("fd_read", "iiii"),
    ("fd_readdir", "iiiIi"),
    ("fd_renumber", "ii"),
    ("fd_seek", "iIii"),
    ("fd_sync", "i"),
    ("fd_tell", "ii"),
    ("fd_write", "iiii"),
    ("path_create_directory", "iii"),
    ("path_filestat_get", "iiiii"),
    ("path_filestat_set_times", "iiiiIIi"),
    ("path_link", "iiiiiii"),
    ("path_open", "iiiiiIIii"),
    ("path_readlink", "iiiiii"),
    ("path_remove_directory", "iii"),
    ("path_rename", "iiiiii"),
    ("path_symlink", "iiiii"),
    ("path_unlink_file", "iii"),
    ("poll_oneoff", "iiii"),
    ("proc_raise", "i"),
    ("random_get", "ii"),
    ("sched_yield", ""),
    ("sock_accept", "iii"),
    ("sock_recv", "iiiiii"),
    ("sock_send", "iiiii"),
    ("sock_shutdown", "ii"),
];

const SUCCESS: u32 = 0;
const BADF: u32 = 8;
const FAULT: u32 = 21;
const ILSEQ: u32 = 25;
const INVAL: u32 = 28;
const ISDIR: u32 = 31;
const LOOP: u32 = 32;
const MFILE: u32 = 33;
const NAMETOOLONG: u32 = 37;
const NOENT: u32 = 44;
const NOTDIR: u32 = 54;
const NOTSOCK: u32 = 57;
const NOTSUP: u32 = 58;
const PERM: u32 = 63;
const ROFS: u32 = 69;
const SPIPE: u32 = 70;
const NOTCAPABLE: u32 = 76;

const ROOT: i64 = 3;
const READ: i64 = 1 << 1;
const WRITE: i64 = 1 << 6;

/// One page, and nothing behind it.
const END: i64 = 65_536;
/// Where answers are kept, and where the list for showing it all is.
const ANSWERS: usize = 60_000;
const SHOW: i64 = 59_990;
/// A place that tests may have written to.
const OUT: i64 = 40_000;

type Call<'a> = (&'a str, &'a [i64]);

/// What came of some calls.
struct Answered {
    answers: Vec<u32>,
    memory: Vec<u8>,
    ran: Ran,
}

impl Answered {
    fn u32(&self, at: i64) -> u32 {
        u32::from_le_bytes(self.memory[at as usize..at as usize + 4].try_into().unwrap())
    }

    fn u64(&self, at: i64) -> u64 {
        u64::from_le_bytes(self.memory[at as usize..at as usize + 8].try_into().unwrap())
    }

    fn bytes(&self, at: i64, length: usize) -> &[u8] {
        &self.memory[at as usize..at as usize + length]
    }
}

/// A module that makes these calls, on a memory that begins like this.
fn module(memory: &[(i64, &[u8])], calls: &[Call<'_>]) -> String {
    let import = |(name, parameters): &(&str, &str)| {
        let types: String = parameters.chars().map(|ty| if ty == 'i' { " i32" } else { " i64" }).collect();
        format!("(import \"wasi_snapshot_preview1\" \"{name}\" (func ${name} (param{types}) (result i32)))\n")
    };
    let imports: String = SIGNATURES.iter().map(import).collect();
    let data = |(at, bytes): &(i64, &[u8])| {
        let text: String = bytes.iter().map(|byte| format!("\\{byte:02x}")).collect();
        format!("(data (i32.const {at}) \"{text}\")\n")
    };
    let data: String = memory.iter().map(data).collect();
    let body: String = calls
        .iter()
        .enumerate()
        .map(|(number, (name, arguments))| {
            let parameters = SIGNATURES.iter().find(|(known, _)| known == name).expect("a function").1;
            assert_eq!(parameters.len(), arguments.len(), "{name}");
            let arguments: String = parameters
                .chars()
                .zip(*arguments)
                .map(|(ty, value)| match ty {
                    'i' => format!("(i32.const {})", *value as u32),
                    _ => format!("(i64.const {value})"),
                })
                .collect();
            format!("(i32.store (i32.const {}) (call ${name} {arguments}))\n", ANSWERS + number * 4)
        })
        .collect();
    format!(
        "(module {imports} (memory (export \"memory\") 1) {data}
            (func (export \"_start\") {body}
                (i32.store (i32.const {SHOW}) (i32.const 0))
                (i32.store (i32.const {}) (i32.const {END}))
                (drop (call $fd_write (i32.const 1) (i32.const {SHOW}) (i32.const 1) (i32.const {})))))",
        SHOW + 4,
        SHOW - 8
    )
}

#[track_caller]
fn answered_in(content: &Content, job: Job, memory: &[(i64, &[u8])], calls: &[Call<'_>]) -> Answered {
    let ran = run(&code(module(memory, calls)), job, content);
    assert_eq!(ran.exit(), 0);
    let memory = ran.stdout[ran.stdout.len() - END as usize..].to_vec();
    let answers = memory[ANSWERS..].chunks_exact(4).take(calls.len());
    let answers = answers.map(|answer| u32::from_le_bytes(answer.try_into().unwrap())).collect();
    Answered { answers, memory, ran }
}

#[track_caller]
fn answered(memory: &[(i64, &[u8])], calls: &[Call<'_>]) -> Answered {
    answered_in(&Content::default(), job(&["program", "argument"]), memory, calls)
}

/// Makes calls, each of which must answer as said.
#[track_caller]
fn check(memory: &[(i64, &[u8])], calls: &[(Call<'_>, u32)]) -> Answered {
    let asked: Vec<Call<'_>> = calls.iter().map(|(call, _)| *call).collect();
    let answered = answered(memory, &asked);
    for ((call, expected), answer) in calls.iter().zip(&answered.answers) {
        assert_eq!(answer, expected, "{call:?}");
    }
    answered
}

/// A list of buffers.
fn list(buffers: &[(i64, i64)]) -> Vec<u8> {
    let numbers = buffers.iter().flat_map(|(at, length)| [*at as u32, *length as u32]);
    numbers.flat_map(u32::to_le_bytes).collect()
}

fn every_function_has_the_standards_signature() {
    let name = b"name";
    check(
        &[(100, name)],
        &[
            (("sched_yield", &[]), SUCCESS),
            (("proc_raise", &[6]), NOTSUP),
            (("path_link", &[ROOT, 0, 100, 4, ROOT, 100, 4]), NOTSUP),
            (("sock_accept", &[0, 0, OUT]), NOTSOCK),
            (("sock_recv", &[ROOT, 0, 0, 0, OUT, OUT]), NOTSOCK),
            (("sock_send", &[1, 0, 0, 0, OUT]), NOTSOCK),
            (("sock_shutdown", &[77, 0]), BADF),
            (("fd_prestat_get", &[ROOT, OUT]), SUCCESS),
            (("fd_prestat_get", &[4, OUT]), BADF),
            (("fd_prestat_get", &[0, OUT]), BADF),
            (("fd_prestat_dir_name", &[ROOT, OUT, 0]), NAMETOOLONG),
            (("fd_prestat_dir_name", &[ROOT, OUT, 1]), SUCCESS),
            (("clock_res_get", &[0, OUT]), SUCCESS),
            (("clock_res_get", &[1, OUT]), SUCCESS),
            (("clock_time_get", &[2, 0, OUT]), INVAL),
            (("clock_time_get", &[9, 0, OUT]), INVAL),
        ],
    );
}

fn what_lies_outside_of_the_memory_is_a_fault() {
    let outside = list(&[(END, 1)]);
    let far = list(&[(0, 8), (0xffff_ffff, 0xffff_ffff)]);
    let inside = list(&[(0, 8)]);
    let answered = check(
        &[(100, &outside), (200, &far), (300, &inside), (400, b"in")],
        &[
            (("args_get", &[END - 4, 0]), FAULT),
            (("args_get", &[0xffff_fff0, 0xffff_fff0]), FAULT),
            (("args_get", &[OUT, END - 8]), FAULT),
            (("args_sizes_get", &[OUT, END - 3]), FAULT),
            (("environ_sizes_get", &[END, OUT]), FAULT),
            (("clock_time_get", &[1, 0, END - 7]), FAULT),
            (("clock_res_get", &[1, 0xffff_ffff]), FAULT),
            (("random_get", &[END - 7, 8]), FAULT),
            (("random_get", &[0, 0xffff_ffff]), FAULT),
            (("random_get", &[0xffff_ffff, 1]), FAULT),
            (("random_get", &[END, 0]), SUCCESS),
            (("fd_write", &[1, 100, 1, OUT]), FAULT),
            (("fd_write", &[1, 200, 2, OUT]), FAULT),
            (("fd_write", &[1, END - 4, 1, OUT]), FAULT),
            (("fd_write", &[1, 300, 1, END - 3]), FAULT),
            (("fd_write", &[1, 300, 1025, OUT]), INVAL),
            (("fd_write", &[1, 300, 0xffff_ffff, OUT]), INVAL),
            (("fd_read", &[0, 100, 1, OUT]), FAULT),
            (("fd_read", &[0, 300, 1, END]), FAULT),
            (("fd_fdstat_get", &[1, END - 23]), FAULT),
            (("fd_filestat_get", &[ROOT, END - 63]), FAULT),
            (("fd_prestat_get", &[ROOT, END - 7]), FAULT),
            (("fd_prestat_dir_name", &[ROOT, END, 1]), FAULT),
            (("fd_readdir", &[ROOT, END - 10, 11, 0, OUT]), FAULT),
            (("fd_readdir", &[ROOT, OUT, 100, 0, END - 3]), FAULT),
            (("fd_readdir", &[ROOT, 0, 0xffff_ffff, 0, OUT]), FAULT),
            (("path_open", &[ROOT, 0, END - 1, 2, 0, READ, 0, 0, OUT]), FAULT),
            (("path_open", &[ROOT, 0, 400, 2, 0, READ, 0, 0, END - 3]), FAULT),
            (("path_filestat_get", &[ROOT, 0, 400, 2, END - 63]), FAULT),
            (("path_create_directory", &[ROOT, 400, 0xffff_ffff]), FAULT),
            (("path_readlink", &[ROOT, 400, 2, END - 1, 2, OUT]), FAULT),
            (("path_rename", &[ROOT, 400, 2, ROOT, END, 1]), FAULT),
            (("path_symlink", &[0xffff_ffff, 4, ROOT, 400, 2]), FAULT),
            (("poll_oneoff", &[END - 47, OUT, 1, OUT]), FAULT),
            (("poll_oneoff", &[0, END - 31, 1, OUT]), FAULT),
            (("poll_oneoff", &[0, OUT, 1, END]), FAULT),
            (("poll_oneoff", &[0, OUT, 0xffff_ffff, OUT]), INVAL),
            (("fd_seek", &[1, 0, 0, END]), FAULT),
            // A call that failed so has opened nothing.
            (("fd_close", &[4]), BADF),
        ],
    );
    assert_eq!(answered.ran.stdout.len(), END as usize, "nothing was written on the way");
}

fn buffers_may_overlap_each_other_and_their_own_list() {
    let mut content = Content::default();
    let file = content.file("0123456789abcdefghijklmnopqrstuvwxyz".repeat(2));
    // Read over the list itself, then over each other; the last is longer than the file.
    let buffers = list(&[(100, 16), (1000, 4), (1002, 4), (5000, 0), (6000, 1000)]);
    let odd = list(&[(7000, 3), (7000, 3)]);
    let answered = answered_in(
        &content,
        job_on(file.cid, &["x"]),
        &[(100, &buffers), (300, b"in/data"), (400, &odd), (500, b"out/f"), (7000, b"abc")],
        &[
            ("path_open", &[ROOT, 0, 300, 7, 0, READ, 0, 0, OUT]),
            ("fd_read", &[4, 100, 5, OUT + 4]),
            ("fd_tell", &[4, OUT + 8]),
            ("fd_read", &[4, 400, 0, OUT + 16]),
            ("path_open", &[ROOT, 0, 500, 5, 1, READ | WRITE, 0, 0, OUT + 20]),
            ("fd_write", &[5, 400, 2, OUT + 24]),
            ("fd_pwrite", &[5, 400, 1, 100, OUT + 28]),
            ("fd_pwrite", &[5, 400, 1, -1, OUT + 28]),
            ("fd_pread", &[4, 400, 1, -1, OUT + 32]),
            ("fd_pread", &[4, 400, 1, 70, OUT + 36]),
        ],
    );
    assert_eq!(answered.answers, [0, 0, 0, 0, 0, 0, 0, 51, 0, 0], "{:?}", answered.answers);
    assert_eq!(answered.bytes(100, 16), b"0123456789abcdef");
    assert_eq!(answered.bytes(1000, 6), b"ghklmn", "the later one lies on top");
    assert_eq!(answered.u32(OUT + 4), 72);
    assert_eq!(answered.u64(OUT + 8), 72);
    assert_eq!((answered.u32(OUT + 16), answered.u32(OUT + 24), answered.u32(OUT + 28)), (0, 6, 3));
    assert_eq!((answered.u32(OUT + 32), answered.u32(OUT + 36)), (0, 2));
    let written = answered.ran.file("f").unwrap();
    assert_eq!((written.len(), &written[..6], &written[100..]), (103, &b"abcabc"[..], &b"abc"[..]));
}

fn descriptors_that_are_not_open_are_bad_ones() {
    let one = list(&[(0, 8)]);
    check(
        &[(100, &one), (300, b"out/f"), (400, b"out")],
        &[
            (("fd_close", &[4]), BADF),
            (("fd_close", &[0xffff_ffff]), BADF),
            (("fd_read", &[1, 100, 1, OUT]), BADF),
            (("fd_write", &[0, 100, 1, OUT]), BADF),
            (("fd_read", &[ROOT, 100, 1, OUT]), BADF),
            (("fd_write", &[ROOT, 100, 1, OUT]), BADF),
            (("fd_seek", &[ROOT, 0, 0, OUT]), BADF),
            (("fd_seek", &[0, 0, 1, OUT]), SPIPE),
            (("fd_tell", &[2, OUT]), SPIPE),
            (("fd_pread", &[0, 100, 1, 0, OUT]), SPIPE),
            (("fd_filestat_set_size", &[ROOT, 5]), BADF),
            (("fd_allocate", &[1, 0, 5]), BADF),
            (("fd_readdir", &[0, 0, 100, 0, OUT]), NOTDIR),
            (("path_open", &[1, 0, 300, 5, 0, READ, 0, 0, OUT]), NOTDIR),
            (("path_open", &[ROOT, 0, 300, 5, 1, WRITE, 0, 0, OUT]), SUCCESS),
            (("fd_readdir", &[4, 0, 100, 0, OUT]), NOTDIR),
            (("fd_read", &[4, 100, 1, OUT]), BADF),
            (("fd_seek", &[4, i64::MIN, 0, OUT]), INVAL),
            (("fd_seek", &[4, i64::MAX, 0, OUT]), SUCCESS),
            (("fd_seek", &[4, 1, 1, OUT]), INVAL),
            (("fd_seek", &[4, 0, 3, OUT]), INVAL),
            (("fd_allocate", &[4, 10, 0]), INVAL),
            (("fd_allocate", &[4, 10, 10]), SUCCESS),
            (("fd_advise", &[4, -1, -1, 5]), SUCCESS),
            (("fd_advise", &[4, 0, 0, 6]), INVAL),
            (("fd_renumber", &[4, 9]), BADF),
            (("fd_renumber", &[9, 4]), BADF),
            (("fd_renumber", &[4, 4]), SUCCESS),
            (("fd_renumber", &[4, 2]), SUCCESS),
            (("fd_close", &[4]), BADF),
            (("fd_tell", &[2, OUT]), SUCCESS),
            (("path_open", &[ROOT, 0, 400, 3, 2, 0, 0, 0, OUT + 4]), SUCCESS),
            (("fd_close", &[ROOT]), SUCCESS),
            (("path_open", &[ROOT, 0, 400, 3, 0, 0, 0, 0, OUT]), BADF),
            (("fd_renumber", &[4, 2]), SUCCESS),
            (("fd_sync", &[2]), SUCCESS),
            (("fd_datasync", &[ROOT]), BADF),
        ],
    );
}

fn rights_and_flags_are_kept() {
    let one = list(&[(100, 8)]);
    let answered = check(
        &[(100, &one), (300, b"out/f"), (400, b"out")],
        &[
            (("path_open", &[ROOT, 0, 300, 5, 1, READ | WRITE, 0, 1, OUT]), SUCCESS),
            (("fd_write", &[4, 100, 1, OUT]), SUCCESS),
            (("fd_seek", &[4, 0, 0, OUT]), SUCCESS),
            (("fd_write", &[4, 100, 1, OUT]), SUCCESS),
            (("fd_tell", &[4, OUT + 8]), SUCCESS),
            (("fd_fdstat_get", &[4, OUT + 16]), SUCCESS),
            (("fd_fdstat_set_flags", &[4, 0]), SUCCESS),
            (("fd_fdstat_set_flags", &[4, 0x10]), NOTSUP),
            (("fd_fdstat_set_flags", &[4, 0x20]), INVAL),
            (("fd_fdstat_set_rights", &[4, WRITE, 0]), SUCCESS),
            (("fd_read", &[4, 100, 1, OUT]), BADF),
            (("fd_fdstat_set_rights", &[4, READ, 0]), NOTCAPABLE),
            (("fd_filestat_set_times", &[4, 0, 0, 3]), INVAL),
            (("fd_filestat_set_times", &[4, 5, 5, 5]), SUCCESS),
            (("fd_filestat_get", &[4, OUT + 48]), SUCCESS),
            (("path_open", &[ROOT, 0, 400, 3, 0, WRITE, 0, 0, OUT]), ISDIR),
            (("path_open", &[ROOT, 0, 400, 3, 0, READ, 0, 0x20, OUT]), INVAL),
            (("path_open", &[ROOT, 2, 400, 3, 0, READ, 0, 0, OUT]), INVAL),
            (("path_open", &[ROOT, 0, 400, 3, 0x10, READ, 0, 0, OUT]), INVAL),
        ],
    );
    assert_eq!(answered.u64(OUT + 8), 16, "appended");
    let (kind, flags) = (answered.bytes(OUT + 16, 1)[0], answered.bytes(OUT + 18, 1)[0]);
    assert_eq!((kind, flags), (4, 1), "a file that is appended to");
    assert_eq!(answered.u64(OUT + 24), (READ | WRITE) as u64);
    assert_eq!((answered.u64(OUT + 48), answered.bytes(OUT + 64, 1)[0]), (2, 4));
    assert_eq!((answered.u64(OUT + 80), answered.u64(OUT + 96)), (16, 0), "its size, and no time");
}

/// Entries as a buffer holds them: cookie, name and type; and how many bytes they take.
fn entries(mut bytes: &[u8]) -> Vec<(u64, String, u8)> {
    let mut found = Vec::new();
    while bytes.len() >= 24 {
        let length = u32::from_le_bytes(bytes[16..20].try_into().unwrap()) as usize;
        let Some(name) = bytes.get(24..24 + length) else { break };
        let next = u64::from_le_bytes(bytes[..8].try_into().unwrap());
        found.push((next, String::from_utf8(name.to_vec()).unwrap(), bytes[20]));
        bytes = &bytes[24 + length..];
    }
    found
}

fn directories_are_read_alike_with_any_buffer_and_any_cookie() {
    let mut content = Content::default();
    let file = content.file("x");
    let large = content.file(vec![7; 3 << 20]);
    let link = content.symlink("file");
    let inner = content.directory(&[]);
    let root = content.directory(&[
        ("file", file),
        ("inner", inner),
        ("large", large),
        ("link", link),
        ("ünï", file),
    ]);
    let open: Call<'_> = ("path_open", &[ROOT, 0, 100, 7, 2, 0, 0, 0, OUT]);
    let whole: Call<'_> = ("fd_readdir", &[4, 1000, 1000, 0, OUT]);
    let memory: &[(i64, &[u8])] = &[(100, b"in/data")];
    let asked = job_on(root.cid, &["x"]);
    let all = answered_in(&content, asked.clone(), memory, &[open, whole]);
    assert_eq!(all.answers, [0, 0]);
    let listed = entries(all.bytes(1000, all.u32(OUT) as usize));
    let expected: Vec<(u64, String, u8)> =
        [(".", 3), ("..", 3), ("file", 4), ("inner", 3), ("large", 4), ("link", 7), ("ünï", 4)]
            .iter()
            .zip(1..)
            .map(|((name, kind), next)| (next, (*name).to_owned(), *kind))
            .collect();
    assert_eq!(listed, expected);
    // One entry at a time, from each cookie, with room for little more than one.
    for (at, entry) in expected.iter().enumerate() {
        let one = answered_in(
            &content,
            asked.clone(),
            memory,
            &[open, ("fd_readdir", &[4, 1000, 34, at as i64, OUT])],
        );
        assert_eq!(one.answers, [0, 0]);
        assert_eq!(entries(one.bytes(1000, one.u32(OUT) as usize))[0], *entry);
    }
    // No room for anything, and cookies that nobody gave out.
    for (size, cookie, used) in
        [(0, 0, 0), (1, 0, 1), (23, 3, 23), (1000, 7, 0), (1000, 8, 0), (1000, i64::MAX, 0), (1000, -1, 0)]
    {
        let odd = answered_in(
            &content,
            asked.clone(),
            memory,
            &[open, ("fd_readdir", &[4, 1000, size, cookie, OUT])],
        );
        assert_eq!((odd.answers[1], odd.u32(OUT)), (0, used), "{size} {cookie}");
        assert!(odd.bytes(1000 + i64::from(used), 24).iter().all(|byte| *byte == 0), "no more than said");
    }
}

fn paths_that_make_no_sense_are_refused() {
    let long = vec![b'a'; 5000];
    let name = [b"out/", &[b'n'; 256][..]].concat();
    let open = |at: i64, length: i64| [ROOT, 1, at, length, 0, READ, 0, 0, OUT];
    let ((nul, bad, far), (up, over, absolute)) =
        ((open(100, 8), open(110, 4), open(10_000, 5000)), (open(120, 10), open(130, 13), open(150, 4)));
    let (circle, empty, create) = (open(200, 8), open(0, 0), [ROOT, 0, 300, 260, 1, WRITE, 0, 0, OUT]);
    check(
        &[
            (100, b"in/\0data"),
            (110, b"in/\xff"),
            (120, b"../../etc/"),
            (130, b"in/../../proc"),
            (150, b"/out"),
            (200, b"out/loop"),
            (210, b"loop"),
            (220, b"../in/x"),
            (230, b"out/link"),
            (240, b"/etc/passwd"),
            (300, &name),
            (600, b"in/new"),
            (10_000, &long),
        ],
        &[
            (("path_open", &nul), INVAL),
            (("path_open", &bad), ILSEQ),
            (("path_open", &far), NAMETOOLONG),
            (("path_open", &up), PERM),
            (("path_open", &over), PERM),
            (("path_open", &absolute), PERM),
            (("path_open", &empty), NOENT),
            (("path_open", &create), NAMETOOLONG),
            (("path_symlink", &[210, 4, ROOT, 200, 8]), SUCCESS),
            (("path_open", &circle), LOOP),
            (("path_filestat_get", &[ROOT, 1, 200, 8, OUT]), LOOP),
            (("path_filestat_get", &[ROOT, 0, 200, 8, OUT]), SUCCESS),
            (("path_symlink", &[240, 11, ROOT, 230, 8]), PERM),
            (("path_symlink", &[220, 7, ROOT, 230, 8]), SUCCESS),
            (("path_open", &[ROOT, 1, 230, 8, 0, READ, 0, 0, OUT]), NOENT),
            (("path_readlink", &[ROOT, 230, 8, OUT + 8, 4, OUT]), SUCCESS),
            (("path_readlink", &[ROOT, 600, 2, OUT + 8, 4, OUT]), INVAL),
            (("path_create_directory", &[ROOT, 600, 6]), ROFS),
            (("path_unlink_file", &[ROOT, 600, 6]), ROFS),
            (("path_remove_directory", &[ROOT, 600, 2]), ROFS),
            (("path_rename", &[ROOT, 200, 8, ROOT, 600, 6]), ROFS),
            (("path_filestat_set_times", &[ROOT, 0, 600, 2, 0, 0, 0]), ROFS),
            (("path_filestat_set_times", &[ROOT, 0, 230, 8, 0, 0, 16]), INVAL),
        ],
    );
}

fn only_so_many_files_are_open_at_once() {
    let open: Call<'_> = ("path_open", &[ROOT, 0, 100, 3, 0, 0, 0, 0, OUT]);
    let many = vec![open; 1030];
    let answered = answered(&[(100, b"out")], &many);
    let opened = answered.answers.iter().filter(|answer| **answer == SUCCESS).count();
    assert_eq!(opened, 1023, "with the root, 1024");
    assert!(answered.answers[opened..].iter().all(|answer| *answer == MFILE));
    let again: Vec<Call<'_>> = (0..1300).flat_map(|_| [open, ("fd_close", &[4])]).take(1300).collect();
    assert!(self::answered(&[(100, b"out")], &again).answers.iter().all(|answer| *answer == SUCCESS));
}

/// A subscription: to a clock, or to a descriptor.
fn clock(userdata: u64, clock: u32, timeout: u64, absolute: bool) -> Vec<u8> {
    let mut bytes = vec![0; 48];
    bytes[..8].copy_from_slice(&userdata.to_le_bytes());
    bytes[16..20].copy_from_slice(&clock.to_le_bytes());
    bytes[24..32].copy_from_slice(&timeout.to_le_bytes());
    bytes[40] = absolute.into();
    bytes
}

fn descriptor(userdata: u64, kind: u8, fd: u32) -> Vec<u8> {
    let mut bytes = clock(userdata, fd, 0, false);
    bytes[8] = kind;
    bytes
}

fn waiting_takes_no_time_and_comes_to_an_end() {
    const HOUR: u64 = 3_600_000_000_000;
    let hours = [clock(1, 1, HOUR, false), clock(2, 1, 2 * HOUR, false)].concat();
    let moment = clock(3, 1, 10 * HOUR, true);
    let forever = clock(4, 0, u64::MAX, false);
    let things =
        [descriptor(5, 1, 0), descriptor(6, 2, 1), descriptor(7, 1, 99), clock(8, 1, HOUR, false)].concat();
    let (unknown, odd) = (descriptor(9, 7, 0), clock(10, 5, HOUR, false));
    let answered = check(
        &[(1000, &hours), (2000, &moment), (3000, &forever), (4000, &things), (5000, &unknown), (6000, &odd)],
        &[
            (("poll_oneoff", &[1000, OUT, 2, 100]), SUCCESS),
            (("clock_time_get", &[1, 0, 104]), SUCCESS),
            (("poll_oneoff", &[2000, OUT + 100, 1, 112]), SUCCESS),
            (("clock_time_get", &[1, 0, 120]), SUCCESS),
            (("poll_oneoff", &[4000, OUT + 200, 4, 128]), SUCCESS),
            (("poll_oneoff", &[5000, OUT + 400, 1, 132]), INVAL),
            (("poll_oneoff", &[6000, OUT + 400, 1, 132]), SUCCESS),
            (("poll_oneoff", &[1000, OUT + 500, 0, 136]), INVAL),
            (("poll_oneoff", &[3000, OUT + 500, 1, 136]), SUCCESS),
            (("clock_time_get", &[0, 0, 144]), SUCCESS),
        ],
    );
    assert_eq!((answered.u32(100), answered.u64(OUT)), (1, 1), "the first of two hours");
    assert!((HOUR..HOUR + 10_000).contains(&answered.u64(104)));
    assert_eq!((answered.u32(112), answered.u64(OUT + 100)), (1, 3));
    assert!((10 * HOUR..10 * HOUR + 10_000).contains(&answered.u64(120)));
    assert_eq!(answered.u32(128), 3, "what is ready, but no hour");
    let error = |at: i64| answered.u32(at + 8) & 0xffff;
    assert_eq!([error(OUT + 200), error(OUT + 232), error(OUT + 264)], [0, 0, BADF]);
    assert_eq!((answered.u32(132), error(OUT + 400)), (1, INVAL), "no such clock");
    assert_eq!(answered.u64(144), 0, "the wall clock stands");
}

fn the_same_job_costs_the_same_everywhere() {
    let mut content = Content::default();
    let file = content.file("some data\n".repeat(100_000));
    let one = list(&[(1000, 30_000)]);
    let code = code(module(
        &[(100, b"in/data"), (200, &one)],
        &[
            ("path_open", &[ROOT, 0, 100, 7, 0, READ, 0, 0, OUT]),
            ("fd_read", &[4, 200, 1, OUT]),
            ("random_get", &[1000, 100]),
            ("fd_readdir", &[ROOT, 2000, 100, 0, OUT]),
        ],
    ));
    let mut worker = Worker::loaded(&code);
    let first = worker.run(job_on(file.cid, &["x"]), &content);
    for ran in
        [worker.run(job_on(file.cid, &["x"]), &content), run(&code, job_on(file.cid, &["x"]), &content)]
    {
        assert_eq!((ran.done.fuel, &ran.stdout), (first.done.fuel, &first.stdout));
    }
    // What is read is paid for by the byte, besides the calls and what is shown at the end.
    assert!((95_000..110_000).contains(&first.done.fuel), "{}", first.done.fuel);
}

fn code_that_cannot_be_linked_says_why() {
    let compiled = |wat: &str| compile(Profile::Deterministic, &wat::parse_str(wat).unwrap());
    let refused = |wat: &str| match compiled(wat) {
        Err(crate::enclave::CompileError::Refused(fault)) => fault,
        Err(other) => panic!("{other:?}"),
        Ok(code) => match Worker::start(Profile::Deterministic).load(&code) {
            Some(adit_exec::worker_wire::FromWorker::Refused(fault)) => fault,
            other => panic!("{other:?}"),
        },
    };
    let rest = r#"(memory (export "memory") 1) (func (export "_start"))"#;
    for (module, word) in [
        (format!(r#"(module (import "wasi_snapshot_preview1" "fd_steal" (func)) {rest})"#), "fd_steal"),
        (format!(r#"(module (import "wasi_snapshot_preview1" "fd_write" (func)) {rest})"#), "fd_write"),
        (format!(r#"(module (import "wasi_unstable" "fd_write" (func)) {rest})"#), "wasi_unstable"),
        (format!(r#"(module (import "env" "f" (func)) {rest})"#), "env.f"),
        (r#"(module (memory (export "memory") 1) (func (export "_initialize")))"#.into(), "_start"),
        (r#"(module (memory (export "memory") 1) (func (export "_start") (param i32)))"#.into(), "_start"),
        (r#"(module (func (export "_start")))"#.into(), "memory"),
    ] {
        let fault = refused(&module);
        assert_eq!(fault.kind, CodeFaultKind::NotACommand, "{fault}");
        assert!(fault.detail.contains(word), "{fault}");
    }
}
