//! The store's figures, measured beside what this disk can do, in one run.
//!
//! ```text
//! cargo run --release -p adit-store --example store_bench -- [all|add|gc|rss] [DIR]
//! ```
//!
//! `DIR` (default: the system's temporary directory) decides which disk is measured. `BENCH_MIB`
//! sets the size of the add (1024), `BENCH_BLOCKS` the blocks of the collection (1,000,000),
//! `BENCH_RSS_MIB` the size of the import whose memory is watched (10,240).

use std::{
    fs::File,
    io::Write,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use adit_store::{
    Block, PinOptions, Repo, RepoOptions,
    export::{self, Range},
    import::{self, ImportOptions},
};
use futures::TryStreamExt;
use tokio::io::{AsyncRead, ReadBuf};

const MIB: usize = 1 << 20;

fn env(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

fn row(what: &str, measured: String, reach: &str) {
    println!("{what:<44} {measured:>16}   {reach}");
}

fn rate(bytes: usize, time: Duration) -> f64 {
    bytes as f64 / 1e6 / time.as_secs_f64()
}

/// Bytes that do not compress or repeat, quickly.
struct Noise(u64);

impl Noise {
    fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            chunk.copy_from_slice(&self.0.to_le_bytes()[..chunk.len()]);
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let which = args.next().unwrap_or_else(|| "all".into());
    if which == "crash" {
        crash(args.next().ok_or("crash needs the repo's directory")?.as_ref());
    }
    let dir = match args.next() {
        Some(dir) => tempfile::tempdir_in(dir)?,
        None => tempfile::tempdir()?,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    println!("{:<44} {:>16}   to reach", "", "measured");
    let all = which == "all";
    if all || which == "add" {
        runtime.block_on(add(dir.path()))?;
    }
    if all || which == "gc" {
        runtime.block_on(collect(dir.path()))?;
    }
    if all || which == "rss" {
        runtime.block_on(memory(dir.path()))?;
    }
    Ok(())
}

/// What the disk takes when asked for nothing but that: (through the page cache, direct) in MB/s.
fn disk_baseline(dir: &Path, source: &[u8], count: usize) -> std::io::Result<(f64, f64)> {
    let run = |direct: bool| {
        let path = dir.join("baseline");
        let mut options = File::options();
        options.write(true).create_new(true);
        if direct {
            options.custom_flags(rustix::fs::OFlags::DIRECT.bits() as i32);
        }
        let file = options.open(&path)?;
        // Direct I/O wants aligned memory.
        let skip = source.as_ptr().align_offset(4096);
        let aligned = &source[skip..skip + 4 * MIB];
        let started = Instant::now();
        for i in 0..count / 4 {
            file.write_all_at(aligned, (i * aligned.len()) as u64)?;
        }
        file.sync_data()?;
        let time = started.elapsed();
        std::fs::remove_file(&path)?;
        Ok::<_, std::io::Error>(rate(count * MIB, time))
    };
    Ok((run(false)?, run(true)?))
}

async fn add(dir: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let mib = env("BENCH_MIB", 1024) / 4 * 4;
    let source = dir.join("source");
    let mut noise = Noise(0x1234_5678_9abc_def1);
    let mut buffer = vec![0; 5 * MIB];
    let mut file = File::create(&source)?;
    for _ in 0..mib {
        noise.fill(&mut buffer[..MIB]);
        file.write_all(&buffer[..MIB])?;
    }
    file.sync_all()?;
    drop(file);

    let (before_cached, before_direct) = disk_baseline(dir, &buffer, mib)?;
    let repo = Repo::open(&dir.join("add"), RepoOptions::default())?;
    let lease = repo.lease("bench");
    let started = Instant::now();
    let imported = import::path(&lease.store(), &source, &ImportOptions::default()).await?;
    repo.pin_leased(&imported.root, &lease, PinOptions::default()).await?;
    let time = started.elapsed();
    let (after_cached, after_direct) = disk_baseline(dir, &buffer, mib)?;
    let (cached, direct) =
        (f64::midpoint(before_cached, after_cached), f64::midpoint(before_direct, after_direct));
    let measured = rate(mib * MIB, time);
    row("disk: write + fdatasync, page cache", format!("{cached:.0} MB/s"), "(baseline)");
    row("disk: write + fdatasync, direct", format!("{direct:.0} MB/s"), "(baseline)");
    row(
        &format!("durable add of {mib} MiB, pinned"),
        format!("{measured:.0} MB/s"),
        &format!(">= 400 MB/s, or >= 80 % of the disk: {:.0} %", 100.0 * measured / cached.max(direct)),
    );

    let store = repo.blocks();
    for round in ["first read", "again, cached"] {
        let started = Instant::now();
        let mut content = export::cat(store.clone(), &imported.root, Range::ALL).await?.content;
        let mut bytes = 0;
        while let Some(part) = content.try_next().await? {
            bytes += part.len();
        }
        assert_eq!(bytes, mib * MIB);
        row(&format!("cat, verified, {round}"), format!("{:.0} MB/s", rate(bytes, started.elapsed())), "");
    }
    let small = import::bytes(&store, vec![7; 1000], &ImportOptions::default()).await?;
    let started = Instant::now();
    let rounds = 20_000;
    for _ in 0..rounds {
        store.get(&small.root).await?;
    }
    row(
        "get of a hot 1 KB block",
        format!("{:.1} us", started.elapsed().as_secs_f64() * 1e6 / f64::from(rounds)),
        "",
    );
    let started = Instant::now();
    for i in 0..200u32 {
        store.put(vec![Block::new(0x55, i.to_le_bytes().to_vec())]).await?;
        store.sync().await?;
    }
    row(
        "put + sync of one small block",
        format!("{:.2} ms", started.elapsed().as_secs_f64() * 1e3 / 200.0),
        "",
    );
    repo.close().await;
    std::fs::remove_file(source)?;
    Ok(())
}

async fn collect(dir: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let count = env("BENCH_BLOCKS", 1_000_000);
    let path = dir.join("gc");
    let repo = Repo::open(&path, RepoOptions::default())?;
    let store = repo.blocks();
    let started = Instant::now();
    // Half of them pinned, in turns, so that live and dead lie side by side everywhere.
    let mut kept = adit_unixfs::build::FileLayout::new(adit_unixfs::Profile::default(), Default::default());
    let mut nodes = Vec::new();
    for part in 0..count / 1000 {
        let block = |i: usize| {
            let mut data = vec![0; 512];
            Noise((part * 1000 + i) as u64 * 2 + 1).fill(&mut data);
            data[..8].copy_from_slice(&((part * 1000 + i) as u64).to_le_bytes());
            Block::new(0x55, data)
        };
        let blocks: Vec<_> = (0..1000).map(block).collect();
        for block in blocks.iter().step_by(2) {
            let len = block.data.len() as u64;
            kept.leaf(adit_unixfs::build::Built { cid: block.cid, tsize: len, content: len }, &mut nodes);
        }
        store.put(blocks).await?;
    }
    let root = kept.finish(&mut nodes);
    store.put(nodes).await?;
    repo.pin(&root.cid, &store, PinOptions::default()).await?;
    let time = started.elapsed().as_secs_f64();
    row(&format!("put and pin of {count} small blocks"), format!("{time:.1} s"), "");

    let report = repo.gc().await?;
    row(
        &format!("gc of {count} small blocks, half of them garbage"),
        format!("{:.1} s", report.elapsed.as_secs_f64()),
        "<= 10 s for 1,000,000",
    );
    println!("    {report:?}");
    drop(store);
    repo.close().await;
    drop(repo);
    let started = Instant::now();
    let repo = Repo::open(&path, RepoOptions::default())?;
    row("restart after a clean stop", format!("{:.3} s", started.elapsed().as_secs_f64()), "<= 5 s");
    drop(repo);
    let crashed = std::process::Command::new(std::env::current_exe()?).arg("crash").arg(&path).status()?;
    assert!(!crashed.success());
    let started = Instant::now();
    let repo = Repo::open(&path, RepoOptions::default())?;
    let time = started.elapsed().as_secs_f64();
    row("restart after a crash, 50,000 blocks unindexed", format!("{time:.3} s"), "<= 5 s");
    repo.unpin(&root.cid, None).await?;
    let report = repo.gc().await?;
    row("gc of the other half", format!("{:.1} s", report.elapsed.as_secs_f64()), "");
    println!("    {report:?}");
    Ok(())
}

/// A process of its own that puts blocks, syncs, and dies.
fn crash(dir: &Path) -> ! {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let repo = Repo::open(dir, RepoOptions::default()).expect("the repo opens");
        let blocks =
            (0..50_000u64).map(|i| Block::new(0x55, (i + (1 << 60)).to_le_bytes().to_vec())).collect();
        repo.blocks().put(blocks).await.expect("blocks are taken");
        repo.blocks().sync().await.expect("the disk syncs");
    });
    std::process::abort();
}

/// Endless noise, cut at a length.
struct NoiseReader {
    noise: Noise,
    left: u64,
}

impl AsyncRead for NoiseReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let len = (buffer.remaining() as u64).min(self.left) as usize;
        self.noise.fill(buffer.initialize_unfilled_to(len));
        buffer.advance(len);
        self.left -= len as u64;
        Poll::Ready(Ok(()))
    }
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().split(' ').next()?.parse().ok()).unwrap_or(0) / 1024
}

async fn memory(dir: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let mib = env("BENCH_RSS_MIB", 10 * 1024) as u64;
    let repo = Arc::new(Repo::open(&dir.join("rss"), RepoOptions::default())?);
    let before = resident();
    let watcher = tokio::spawn(async {
        // Ends with the abort below; the highest value is in the shared cell.
        loop {
            PEAK.fetch_max(resident(), std::sync::atomic::Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let lease = repo.lease("bench");
    let reader = NoiseReader { noise: Noise(99), left: mib << 20 };
    let started = Instant::now();
    let imported = import::reader(&lease.store(), reader, &ImportOptions::default()).await?;
    let time = started.elapsed();
    watcher.abort();
    assert_eq!(imported.content, mib << 20);
    let peak = PEAK.load(std::sync::atomic::Ordering::Relaxed);
    row(&format!("peak RSS while importing {mib} MiB"), format!("{peak} MB"), "<= 100 MB");
    println!("    {before} MB before; {:.0} MB/s as a stream", rate((mib << 20) as usize, time));
    Ok(())
}

static PEAK: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
