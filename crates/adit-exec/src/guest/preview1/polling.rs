//! Clocks, and waiting for them: as in [`time`](crate::guest::time), a moment that is waited for comes at once.

use super::{
    Call,
    descriptors::{READ, Thing, WRITE},
    errno::{Answer, Errno, Failure},
};
use crate::guest::time::{MAX_POLLED, TICK};

const REALTIME: u32 = 0;
const MONOTONIC: u32 = 1;

const SUBSCRIPTION: u32 = 48;
const EVENT: u32 = 32;

const CLOCK: u8 = 0;
const FD_READ: u8 = 1;
const FD_WRITE: u8 = 2;

const ABSOLUTE: u16 = 1;

/// Nanoseconds in a second, which is as fine as the wall clock is: it stands at the epoch.
const SECOND: u64 = 1_000_000_000;

/// What is waited for, and what will be said about it.
struct Awaited {
    userdata: [u8; 8],
    kind: u8,
    error: Option<Errno>,
    bytes: u64,
    /// From which moment on it is there.
    from: u64,
}

impl Call<'_> {
    pub(super) fn clock_res_get(&mut self, clock: u32, out: u32) -> Answer {
        let resolution = match clock {
            REALTIME => SECOND,
            MONOTONIC => TICK,
            _ => return Err(Errno::Inval.into()),
        };
        self.memory.write_u64(out, resolution)
    }

    pub(super) fn clock_time_get(&mut self, clock: u32, _: u64, out: u32) -> Answer {
        let now = match clock {
            REALTIME => 0,
            MONOTONIC => self.host.clock.tick(),
            _ => return Err(Errno::Inval.into()),
        };
        self.memory.write_u64(out, now)
    }

    pub(super) fn sched_yield(&mut self) -> Answer {
        Ok(())
    }

    pub(super) fn poll_oneoff(&mut self, subscriptions: u32, events: u32, count: u32, out: u32) -> Answer {
        if count == 0 || count as usize > MAX_POLLED {
            return Err(Errno::Inval.into());
        }
        self.memory.require(subscriptions, count * SUBSCRIPTION)?;
        self.memory.require(events, count * EVENT)?;
        self.memory.require(out, 4)?;
        self.host.meter.pay(u64::from(count * SUBSCRIPTION))?;
        let awaited = (0..count).map(|number| self.awaited(subscriptions + number * SUBSCRIPTION));
        let awaited: Vec<Awaited> = awaited.collect::<Answer<_>>()?;
        let now = self.host.clock.wait(awaited.iter().map(|awaited| awaited.from));
        let mut told = 0;
        for ready in awaited.iter().filter(|awaited| awaited.from <= now) {
            let mut event = [0; EVENT as usize];
            event[..8].copy_from_slice(&ready.userdata);
            event[8..10].copy_from_slice(&(ready.error.map_or(0, u32::from) as u16).to_le_bytes());
            event[10] = ready.kind;
            event[16..24].copy_from_slice(&ready.bytes.to_le_bytes());
            self.memory.write(events + told * EVENT, &event)?;
            told += 1;
        }
        self.memory.write_u32(out, told)
    }

    fn awaited(&mut self, at: u32) -> Answer<Awaited> {
        let userdata = self.memory.read(at)?;
        let [kind] = self.memory.read(at + 8)?;
        let mut awaited = Awaited { userdata, kind, error: None, bytes: 0, from: 0 };
        let answer = match kind {
            CLOCK => self.moment(at + 16).map(|from| awaited.from = from),
            FD_READ | FD_WRITE => {
                let fd = u32::from_le_bytes(self.memory.read(at + 16)?);
                self.ready(fd, kind).map(|bytes| awaited.bytes = bytes)
            }
            _ => return Err(Errno::Inval.into()),
        };
        match answer {
            Ok(()) => {}
            Err(Failure::Errno(errno)) => awaited.error = Some(errno),
            Err(stop) => return Err(stop),
        }
        Ok(awaited)
    }

    /// When a clock will have come where it is waited for. The wall clock stands still, so a time of day comes after
    /// as long as it is away.
    fn moment(&self, at: u32) -> Answer<u64> {
        let clock = u32::from_le_bytes(self.memory.read(at)?);
        let timeout = u64::from_le_bytes(self.memory.read(at + 8)?);
        let flags = u16::from_le_bytes(self.memory.read(at + 24)?);
        match (clock, flags) {
            (MONOTONIC, ABSOLUTE) => Ok(timeout),
            (MONOTONIC, 0) | (REALTIME, 0 | ABSOLUTE) => Ok(self.host.clock.after(timeout)),
            _ => Err(Errno::Inval.into()),
        }
    }

    /// How many bytes wait to be read. Reading and writing wait for themselves, so both can always begin.
    fn ready(&mut self, fd: u32, kind: u8) -> Answer<u64> {
        let open = self.open(fd)?;
        let right = if kind == FD_READ { READ } else { WRITE };
        if open.rights & right == 0 {
            return Err(Errno::Badf.into());
        }
        match &open.thing {
            Thing::Stdin => Ok(self.host.stdin_available(u64::MAX)?),
            Thing::File { descriptor, offset } if kind == FD_READ => {
                let (place, offset) = (descriptor.place.clone(), *offset);
                Ok(self.host.stat_of(&place)?.size.saturating_sub(offset))
            }
            Thing::Directory { .. } => Err(Errno::Badf.into()),
            _ => Ok(0),
        }
    }
}
