//! What sealing costs, on one core, beside the cipher alone in the same run; and, where `ADIT_BIN` names the program, what
//! `adit seal` and `adit unseal` take for a large file, memory included.

use adit_seal::OsRandom;
use adit_seal::age::{CHUNK, FileKey, Header, Identity, Opener, PayloadNonce, Ranges, Sealer, last_chunk};
use adit_seal::file::{FileWriter, LEAF};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use std::hint::black_box;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const LEN: usize = 512 << 20;
const PIECE: usize = LEAF as usize;
const RUNS: usize = 5;

/// The best of some runs of each, in GB/s: what the machine can do when nobody disturbs it. Its speed changes from
/// second to second, so they take turns.
fn rates<const N: usize>(bytes: usize, mut runs: [&mut dyn FnMut(); N]) -> [f64; N] {
    let mut best = [0.0f64; N];
    for _ in 0..RUNS {
        for (run, best) in runs.iter_mut().zip(&mut best) {
            let start = Instant::now();
            run();
            *best = best.max(bytes as f64 / start.elapsed().as_secs_f64() / 1e9);
        }
    }
    best
}

fn main() {
    let key = FileKey::generate(&mut OsRandom);
    let nonce = PayloadNonce::generate(&mut OsRandom);
    let plain: Vec<u8> = (0..PIECE).map(|i| (i ^ i >> 8) as u8).collect();
    let pieces = LEN / PIECE;
    let bytes = pieces * PIECE;

    let cipher = LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &[1; 32]).expect("32 bytes"));
    let mut buffer = plain.clone();
    let mut alone = || {
        for (at, chunk) in (0..pieces).flat_map(|_| 0..PIECE / CHUNK).enumerate() {
            let chunk = &mut buffer[chunk * CHUNK..][..CHUNK];
            let mut number = [0; 12];
            number[..8].copy_from_slice(&(at as u64).to_le_bytes());
            let tag =
                cipher.seal_in_place_separate_tag(Nonce::assume_unique_for_key(number), Aad::empty(), chunk);
            black_box(tag.expect("short enough").as_ref());
        }
    };

    // What is opened is copied first: opening in place destroys it.
    let number = || Nonce::assume_unique_for_key([0; 12]);
    let mut one = plain[..CHUNK].to_vec();
    cipher.seal_in_place_append_tag(number(), Aad::empty(), &mut one).expect("short enough");
    let mut copy = one.clone();
    let mut alone_open = || {
        for _ in 0..bytes / CHUNK {
            copy.copy_from_slice(&one);
            black_box(cipher.open_in_place(number(), Aad::empty(), &mut copy).expect("what was sealed"));
        }
    };

    let mut out = Vec::with_capacity(2 * PIECE);
    let mut seal = || {
        let mut sealer = Sealer::new(&key, nonce);
        for _ in 0..pieces {
            out.clear();
            sealer.update(black_box(&plain), &mut out);
        }
        sealer.finish(&mut out);
        black_box(&out);
    };

    let mut blocks = Vec::new();
    let identity = Identity::generate(&mut OsRandom);
    let header = Header::write(&key, &[identity.recipient()], &mut OsRandom).expect("one recipient");
    let mut to_blocks = || {
        let mut writer = FileWriter::new(&key, &header, nonce, &mut blocks);
        for _ in 0..pieces {
            blocks.clear();
            writer.push(black_box(&plain), &mut blocks);
        }
        black_box(writer.finish(&mut blocks));
    };

    let mut sealed = nonce.0.to_vec();
    let mut sealer = Sealer::new(&key, nonce);
    (0..pieces).for_each(|_| sealer.update(&plain, &mut sealed));
    sealer.finish(&mut sealed);
    let mut out = Vec::with_capacity(2 * PIECE);
    let mut unseal = || {
        let mut opener = Opener::new(&key, nonce);
        for piece in sealed[PayloadNonce::LEN..].chunks(PIECE) {
            out.clear();
            opener.update(black_box(piece), &mut out).expect("what was sealed");
        }
        opener.finish(&mut out).expect("what was sealed");
        black_box(&out);
    };

    let last = last_chunk(sealed.len() as u64).expect("a payload");
    let last = &sealed[last.start as usize..last.end as usize];
    let ranges = Ranges::new(&key, nonce, sealed.len() as u64, last).expect("what was sealed");
    let mut out = Vec::with_capacity(2 * PIECE);
    let mut by_range = || {
        for piece in 0..pieces {
            let window = ranges.window((piece * PIECE) as u64..((piece + 1) * PIECE) as u64).expect("inside");
            out.clear();
            out.extend_from_slice(&sealed[window.sealed.start as usize..window.sealed.end as usize]);
            ranges.open(&window, &mut out).expect("what was sealed");
            black_box(&out);
        }
    };

    let [alone, alone_open, seal, unseal, by_range, to_blocks] =
        rates(bytes, [&mut alone, &mut alone_open, &mut seal, &mut unseal, &mut by_range, &mut to_blocks]);

    let opens = 200;
    let start = Instant::now();
    for _ in 0..opens {
        let read = Header::parse(black_box(header.as_bytes())).expect("a header").expect("whole");
        black_box(read.unwrap(std::slice::from_ref(&identity)).expect("ours"));
    }
    let open = start.elapsed().as_secs_f64() * 1e6 / f64::from(opens);

    println!(
        "one core, {} MB, best of {RUNS}; to reach: 1 GB/s each, or 80 % of the cipher alone",
        bytes / 1_000_000
    );
    println!("cipher alone (ring), sealing   {alone:5.2} GB/s");
    println!("cipher alone (ring), opening   {alone_open:5.2} GB/s");
    for (what, rate, alone, wanted) in [
        ("seal, in memory", seal, alone, true),
        ("unseal, in memory", unseal, alone_open, true),
        ("unseal by ranges of 1 MB", by_range, alone_open, true),
        ("seal into blocks, with SHA-256", to_blocks, alone, false),
    ] {
        let reached = match wanted {
            false => "",
            true if rate >= 1.0 || rate >= 0.8 * alone => "reached",
            true => "missed",
        };
        println!("{what:<30} {rate:5.2} GB/s  {:3.0} %  {reached}", rate / alone * 100.0);
    }
    println!("open a header of one recipient {open:5.0} µs");
    if let Some(adit) = std::env::var_os("ADIT_BIN") {
        program(Path::new(&adit)).expect("the program seals and opens a file");
    }
}

/// Seals and opens a file of 1 GiB with the real program, durably, and watches its memory.
fn program(adit: &Path) -> std::io::Result<()> {
    const LEN: u64 = 1 << 30;
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name);
    // Zeros are sealed like anything else, and reading them costs the disk nothing.
    std::fs::File::create(path("plain"))?.set_len(LEN)?;
    let run = |words: &[&str]| -> std::io::Result<(Duration, u64)> {
        let start = Instant::now();
        let mut command = Command::new(adit);
        command.args(words).current_dir(folder.path()).env("ADIT_KEYS", path("keys"));
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let (status, mut peak) = (format!("/proc/{}/status", child.id()), 0);
        loop {
            let text = std::fs::read_to_string(&status).unwrap_or_default();
            let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
            peak = line.trim().trim_end_matches(" kB").parse().unwrap_or(0).max(peak);
            if let Some(ended) = child.try_wait()? {
                assert!(ended.success(), "adit {}: {ended}", words.join(" "));
                return Ok((start.elapsed(), peak << 10));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    };
    run(&["key", "new"])?;
    println!("the program, 1 GiB from file to file, synced:");
    for words in [["seal", "plain", "-o", "sealed"], ["unseal", "sealed", "-o", "back"]] {
        let (took, peak) = run(&words)?;
        let rate = LEN as f64 / took.as_secs_f64() / 1e6;
        println!("adit {:<25} {rate:5.0} MB/s, at most {:.1} MB of memory", words[0], peak as f64 / 1e6);
    }
    Ok(())
}
