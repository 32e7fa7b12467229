//! So that a daemon takes no more memory than its work needs (decision 0173).
//!
//! Two things would otherwise stay for ever once they were needed: free memory that the allocator keeps, and the pages of
//! the program itself that the start, or a rare command, made the kernel map. Both are given back when the daemon has
//! come to rest after work.

use std::ops::Range;
use std::time::Duration;

/// How often it is looked whether there was work.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Processor time between two looks that counts as work: 5 % of one processor.
const WORK: Duration = Duration::from_millis(250);
/// After so many looks, a quarter of a minute, memory is given back in any case: some daemons never rest, and what one
/// does at rest touches a little more of the program each time: from 8 to 18 MB within 20 seconds.
const LOOKS_AT_MOST: u32 = 3;

/// glibc gives every thread that it can heaps of its own, up to eight for each processor. A node moves blocks from thread
/// to thread, so each heap grows to what all of them need: 10 GiB were added with a peak of 125 MiB, and with one heap
/// for each processor of 70 to 94.
pub(crate) fn bound_the_allocator() {
    #[cfg(target_env = "gnu")]
    {
        let heaps = std::thread::available_parallelism().map_or(2, usize::from).clamp(2, 64);
        // SAFETY: there is one thread, and the call takes two integers.
        unsafe { libc::mallopt(libc::M_ARENA_MAX, heaps as libc::c_int) };
    }
}

/// Gives memory back whenever the daemon comes to rest. Never ends.
pub(crate) async fn give_back_at_rest() {
    let mut rest = Rest { worked: true, ..Rest::default() };
    let mut looks = tokio::time::interval_at(tokio::time::Instant::now() + LOOK_EVERY, LOOK_EVERY);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        if rest.is_due(processor_time()) {
            let _ = tokio::task::spawn_blocking(give_back).await;
        }
    }
}

/// Tells when to give back.
#[derive(Debug, Default)]
struct Rest {
    /// Processor time at the last look.
    used: Duration,
    /// There was work since memory was given back last.
    worked: bool,
    /// Looks since then.
    looks: u32,
}

impl Rest {
    /// Whether memory is to be given back now, the process having used so much processor time altogether.
    fn is_due(&mut self, used: Duration) -> bool {
        let working = used.saturating_sub(self.used) > WORK;
        self.used = used;
        self.worked |= working;
        self.looks += 1;
        let due = self.looks >= LOOKS_AT_MOST || (self.worked && !working);
        if due {
            *self = Rest { used, ..Rest::default() };
        }
        due
    }
}

fn processor_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call fills in the one structure that it is given.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: a call without memory of ours; glibc takes its own locks.
    unsafe {
        libc::malloc_trim(0);
    }
    let program = std::fs::read_link("/proc/self/exe");
    let mappings = std::fs::read_to_string("/proc/self/smaps");
    let (Ok(program), Ok(mappings)) = (program, mappings) else { return };
    let Some(program) = program.to_str() else { return };
    for range in unchanged(&mappings, program) {
        let start = std::ptr::with_exposed_provenance_mut(range.start);
        // SAFETY: the range is one mapping of the program's file, not writable and without a page that differs from the
        // file. What the kernel forgets of it, it maps again from the file when it is touched.
        let forgot = unsafe { rustix::mm::madvise(start, range.len(), rustix::mm::Advice::LinuxDontNeed) };
        if let Err(error) = forgot {
            // Pages that somebody locked, for instance.
            tracing::debug!(%error, "pages of the program stay");
        }
    }
}

/// Mappings of the program's file in which no page can differ from the file, out of `/proc/self/smaps`.
fn unchanged(mappings: &str, program: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut current = None;
    for line in mappings.lines() {
        if let Some(range) = read_only(line, program) {
            current = range;
        } else if let Some(dirty) = line.strip_prefix("Anonymous:")
            && let Some(range) = current.take()
            && dirty.trim() == "0 kB"
        {
            found.push(range);
        }
    }
    found
}

/// `None` for a line that begins no mapping; the mapping's range if it is one of the program and read-only.
fn read_only(line: &str, program: &str) -> Option<Option<Range<usize>>> {
    let (addresses, rest) = line.split_once(' ')?;
    let (start, end) = addresses.split_once('-')?;
    let start = usize::from_str_radix(start, 16).ok()?;
    let end = usize::from_str_radix(end, 16).ok()?;
    let ours = rest.ends_with(&format!(" {program}"));
    let fixed = rest.starts_with("r-xp") || rest.starts_with("r--p");
    Some((ours && fixed && start < end).then_some(start..end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_given_back_after_work_and_every_quarter_of_a_minute() {
        let mut rest = Rest { worked: true, ..Rest::default() };
        let mut used = Duration::ZERO;
        let mut is_due = |milliseconds| {
            used += Duration::from_millis(milliseconds);
            rest.is_due(used)
        };
        assert!(!is_due(1000), "the start is work");
        assert!(is_due(1));
        assert!(!is_due(1), "nothing happened since");
        assert!(!is_due(1000));
        assert!(is_due(249));
        for milliseconds in [1000, 1] {
            let dues = (0..24).filter(|_| is_due(milliseconds)).count();
            assert_eq!(dues, 8, "every quarter of a minute, whether there is work or not");
        }
    }

    #[test]
    fn only_mappings_that_equal_the_file_are_forgotten() {
        let smaps = "\
            1000-3000 r--p 00000000 fe:00 7  /bin/adit\nSize: 8 kB\nAnonymous:             0 kB\nVmFlags: rd\n\
            3000-5000 r-xp 00002000 fe:00 7  /bin/adit\nAnonymous:             0 kB\n\
            5000-6000 r--p 00004000 fe:00 7  /bin/adit\nAnonymous:             4 kB\n\
            6000-7000 rw-p 00005000 fe:00 7  /bin/adit\nAnonymous:             0 kB\n\
            7000-8000 r-xp 00000000 fe:00 9  /lib/libc.so.6\nAnonymous:             0 kB\n\
            8000-9000 rw-p 00000000 00:00 0\nAnonymous:             0 kB\n";
        assert_eq!(unchanged(smaps, "/bin/adit"), [0x1000..0x3000, 0x3000..0x5000]);
        assert!(unchanged(smaps, "/bin/other").is_empty());
    }

    #[test]
    fn a_process_goes_on_after_it_gave_back() {
        let program = std::fs::read_link("/proc/self/exe").unwrap();
        let mapped = || {
            let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
            unchanged(&smaps, program.to_str().unwrap()).len()
        };
        assert!(mapped() >= 1, "this test is code in a file");
        give_back();
        let free: Vec<Vec<u8>> = (0..64).map(|n| vec![n; 1 << 16]).collect();
        assert!(free.iter().enumerate().all(|(n, bytes)| bytes.iter().all(|byte| usize::from(*byte) == n)));
        drop(free);
        give_back();
        assert!(mapped() >= 1);
    }
}
