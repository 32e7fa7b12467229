//! One peer: what it was asked, how fast it delivers, how far it can be trusted.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use cid::Cid;

use super::super::Config;

/// Mean block size assumed at first: one in the middle makes eight wants of the initial window.
const FIRST_MEAN: f64 = (256 << 10) as f64;
/// Throughput assumed of a stranger when peers are compared, bytes a second.
const FIRST_RATE: f64 = 10e6;
/// A window never shrinks below this: two of the usual largest blocks.
const MIN_WINDOW: f64 = (2 << 20) as f64;
/// Least time over which throughput is measured.
const LEAST_SPAN: Duration = Duration::from_millis(20);
/// Settled wants whose blocks may still come: cancels cross blocks on the wire.
const MAX_LATE: usize = 2048;
/// Bytes of unfinished messages that count as a sign of life.
const TRICKLE: u64 = 32 << 10;
/// Unasked blocks, and bytes of them, that are forgiven.
const MAX_WRONG: u32 = 3;
const MAX_WRONG_BYTES: usize = 8 << 20;
/// A stalled peer whose wants went elsewhere gets another chance after this.
const STALL_PAUSE: Duration = Duration::from_secs(10);
/// Failed dials in a row before a peer counts as unreachable.
const MAX_DIALS: u32 = 4;
/// A dial without an answer for this long has failed.
const DIAL_TIMEOUT: Duration = Duration::from_secs(30);
/// Connections closed in a row for being stuck before the peer is left alone.
const MAX_CLOSES: u32 = 2;

#[derive(Debug, Clone, Copy)]
enum Dial {
    /// May be dialled from then on.
    From(Instant),
    Since(Instant),
}

/// What a silent peer needs.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Remedy {
    None,
    /// Its wants go to others as well.
    Stalled,
    /// Ask it again.
    Again,
    /// Close the connection: its ledger is out of step with ours.
    Close,
}

#[derive(Debug)]
pub(super) struct Peer {
    config: Arc<Config>,
    connected: bool,
    pub(super) speaks: bool,
    /// No peer but a source that is asked only for blocks, and only by sessions that were told of it.
    pub(super) outside: bool,
    pub(super) in_flight: HashSet<Cid>,
    /// Bytes that may be in flight.
    window: f64,
    mean_block: f64,
    /// Bytes a second, once measured.
    pub(super) rate: Option<f64>,
    /// The running measurement: its beginning, and bytes since.
    span: Option<(Instant, usize)>,
    /// Its last sign of life, or the last retry.
    waiting_since: Instant,
    trickle: u64,
    retries: u32,
    closes: u32,
    stalled: Option<Instant>,
    /// Whether it has ever delivered, and whether it has stalled since it did last.
    has_delivered: bool,
    has_stalled: bool,
    late: VecDeque<Cid>,
    wrong: u32,
    wrong_bytes: usize,
    penalised: Option<Instant>,
    dial: Dial,
    dial_failures: u32,
}

impl Peer {
    pub(super) fn new(config: &Arc<Config>, now: Instant) -> Self {
        Self {
            config: Arc::clone(config),
            connected: false,
            speaks: true,
            outside: false,
            in_flight: HashSet::new(),
            window: config.initial_window_bytes as f64,
            mean_block: FIRST_MEAN,
            rate: None,
            span: None,
            waiting_since: now,
            trickle: 0,
            retries: 0,
            closes: 0,
            stalled: None,
            has_delivered: false,
            has_stalled: false,
            late: VecDeque::new(),
            wrong: 0,
            wrong_bytes: 0,
            penalised: None,
            dial: Dial::From(now),
            dial_failures: 0,
        }
    }

    // ---- connection ----

    pub(super) fn connected(&mut self, now: Instant) {
        self.connected = true;
        self.speaks = true;
        self.dial_failures = 0;
        self.trickle = 0;
        self.restart(now);
    }

    pub(super) fn disconnected(&mut self, redial_from: Instant) {
        self.connected = false;
        self.dial = Dial::From(redial_from);
    }

    fn restart(&mut self, now: Instant) {
        self.window = self.config.initial_window_bytes as f64;
        self.waiting_since = now;
        self.retries = 0;
        self.stalled = None;
        self.span = None;
    }

    /// Notes that dialling starts, if it is time for it.
    pub(super) fn dial(&mut self, now: Instant) -> bool {
        let due = matches!(self.dial, Dial::From(from) if from <= now);
        let dial = due && !self.connected && self.penalised.is_none();
        if dial {
            self.dial = Dial::Since(now);
        }
        dial
    }

    /// Whether it may still become usable.
    pub(super) fn is_awaited(&self) -> bool {
        !self.connected && self.penalised.is_none()
    }

    /// Notes a failed dial; false if the peer counts as unreachable now.
    pub(super) fn dial_failed(&mut self, now: Instant, pause: Duration) -> bool {
        if self.connected {
            return true;
        }
        self.dial_failures += 1;
        self.dial = Dial::From(now + pause * 2u32.pow(self.dial_failures.min(6)));
        self.dial_failures < MAX_DIALS
    }

    pub(super) fn dial_hangs(&self, now: Instant) -> bool {
        matches!(self.dial, Dial::Since(at) if !self.connected && now - at >= DIAL_TIMEOUT)
    }

    pub(super) fn is_forgettable(&self, now: Instant) -> bool {
        !self.connected && self.penalised.is_none_or(|until| until <= now)
    }

    pub(super) fn is_usable(&self) -> bool {
        self.connected && self.speaks && self.penalised.is_none()
    }

    pub(super) fn is_pulling(&self) -> bool {
        self.is_usable() && self.stalled.is_none()
    }

    /// Whether it has ever delivered a block that it was asked for.
    pub(super) fn has_delivered(&self) -> bool {
        self.has_delivered
    }

    /// Whether it delivers, as far as is known.
    pub(super) fn is_proven(&self) -> bool {
        self.has_delivered && !self.has_stalled
    }

    /// Whether the last thing known of it is that it took wants and delivered nothing. Such a peer is asked last, and
    /// beside others rather than in their place.
    pub(super) fn is_doubtful(&self) -> bool {
        self.has_stalled
    }

    // ---- window ----

    /// Wants it may be given now. An urgent want may use the whole window; others wait until half
    /// of it is empty, so that each message carries many.
    pub(super) fn room(&self, urgent: bool) -> usize {
        if !self.is_pulling() {
            return 0;
        }
        let whole = (self.window / self.mean_block) as usize;
        let whole = whole.clamp(1, self.config.max_wants_per_peer);
        let used = self.in_flight.len();
        if !urgent && used > whole / 2 { 0 } else { whole.saturating_sub(used) }
    }

    /// Seconds until one more block would have come.
    pub(super) fn load(&self) -> f64 {
        let bytes = (self.in_flight.len() + 1) as f64 * self.mean_block;
        bytes / self.rate.unwrap_or(FIRST_RATE)
    }

    pub(super) fn ask(&mut self, cid: Cid, now: Instant) {
        if self.in_flight.is_empty() {
            self.waiting_since = now;
            self.span = Some((now, 0));
        }
        self.in_flight.insert(cid);
    }

    /// A block came whose hash is right, whether asked for or not.
    pub(super) fn delivered(&mut self, cid: &Cid, len: usize, now: Instant) {
        if !self.in_flight.remove(cid) {
            return;
        }
        self.alive(now);
        self.closes = 0;
        (self.has_delivered, self.has_stalled) = (true, false);
        let (len, mean) = (len as f64, self.mean_block);
        // Quick to believe in larger blocks, which could overrun the window, slow otherwise.
        self.mean_block += (len - mean) / if len > mean { 2.0 } else { 16.0 };
        self.mean_block = self.mean_block.max(64.0);
        self.measure(len as usize, now);
        // Open the window with every block, up to what the peer delivers in a second.
        let most = self.config.window_bytes as f64;
        let cap = self.rate.map_or(most, |rate| rate.clamp(MIN_WINDOW.min(most), most));
        self.window = (self.window + len).min(cap);
    }

    fn measure(&mut self, len: usize, now: Instant) {
        let Some((since, bytes)) = &mut self.span else { return };
        *bytes += len;
        let span = now - *since;
        if span >= LEAST_SPAN {
            let sample = *bytes as f64 / span.as_secs_f64();
            self.rate = Some(self.rate.map_or(sample, |rate| rate + (sample - rate) * 0.4));
            self.span = Some((now, 0));
        }
        if self.in_flight.is_empty() {
            self.span = None;
        }
    }

    pub(super) fn refused(&mut self, cid: &Cid, now: Instant) {
        self.in_flight.remove(cid);
        self.alive(now);
    }

    /// A want is settled without this peer. Its block may still come.
    pub(super) fn settle(&mut self, cid: &Cid) {
        if self.in_flight.remove(cid) && self.in_flight.is_empty() {
            self.span = None;
        }
        self.expect_late(*cid);
    }

    /// Everything it was asked, to be asked of others.
    pub(super) fn release(&mut self) -> Vec<Cid> {
        self.span = None;
        let cids: Vec<Cid> = self.in_flight.drain().collect();
        cids.iter().for_each(|cid| self.expect_late(*cid));
        cids
    }

    fn expect_late(&mut self, cid: Cid) {
        if self.late.len() == MAX_LATE {
            self.late.pop_front();
        }
        self.late.push_back(cid);
    }

    /// Whether a block that nobody waits for is explained by an earlier want.
    pub(super) fn expected_late(&mut self, cid: &Cid) -> bool {
        let at = self.late.iter().position(|c| c == cid);
        at.and_then(|at| self.late.remove(at)).is_some()
    }

    // ---- trust ----

    /// Notes unasked blocks; true if that is enough to leave the peer alone for a while.
    pub(super) fn wrong(&mut self, count: u32, bytes: usize, now: Instant, penalty: Duration) -> bool {
        self.wrong += count;
        self.wrong_bytes += bytes;
        let enough = self.wrong >= MAX_WRONG || self.wrong_bytes >= MAX_WRONG_BYTES;
        if enough {
            (self.wrong, self.wrong_bytes) = (0, 0);
            self.penalised = Some(now + penalty);
        }
        enough
    }

    // ---- time ----

    fn alive(&mut self, now: Instant) {
        self.waiting_since = now;
        self.retries = 0;
        self.stalled = None;
    }

    /// Bytes of messages so far. A large block on a slow line is progress long before it is whole;
    /// less than a trickle is not.
    pub(super) fn trickled(&mut self, total: u64, now: Instant) {
        if total.saturating_sub(self.trickle) >= TRICKLE {
            self.trickle = total;
            self.waiting_since = now;
            self.stalled = None;
        }
    }

    /// Looks after a silent peer.
    pub(super) fn check(&mut self, now: Instant) -> Remedy {
        if self.penalised.is_some_and(|until| until <= now) {
            self.penalised = None;
        }
        if self.in_flight.is_empty() {
            if self.stalled.is_some_and(|since| now - since >= STALL_PAUSE) {
                self.stalled = None;
                self.window = MIN_WINDOW.min(self.config.initial_window_bytes as f64);
            }
            return Remedy::None;
        }
        let silent = now - self.waiting_since;
        if silent >= self.config.retry_after {
            self.waiting_since = now;
            self.stalled.get_or_insert(now);
            self.has_stalled = true;
            self.retries += 1;
            if self.retries > self.config.max_retries {
                self.retries = 0;
                self.closes += 1;
                if self.closes >= MAX_CLOSES {
                    self.closes = 0;
                    self.penalised = Some(now + self.config.penalty);
                }
                return Remedy::Close;
            }
            // Both the first and the repeated answer may come.
            for cid in self.in_flight.iter().copied().collect::<Vec<_>>() {
                self.expect_late(cid);
            }
            return Remedy::Again;
        }
        if silent >= self.config.stall_after && self.stalled.is_none() {
            self.stalled = Some(now);
            self.has_stalled = true;
            return Remedy::Stalled;
        }
        Remedy::None
    }
}
