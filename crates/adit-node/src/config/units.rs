//! The small languages settings are written in: sizes, spans of time, hours of the day, lists.
//!
//! Every type here reads the text a person would write and prints the shortest text that reads
//! back as the same value, because `config set` writes what `config get` prints.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A number of bytes: `256MiB`, `10GB`, `4096`. Zero means "no limit" where a setting says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(pub u64);

const BINARY: [(&str, u64); 4] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
const DECIMAL: [(&str, u64); 4] =
    [("TB", 1_000_000_000_000), ("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1_000)];

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0");
        }
        for (unit, size) in BINARY.into_iter().chain(DECIMAL) {
            if self.0.is_multiple_of(size) {
                return write!(f, "{}{unit}", self.0 / size);
            }
        }
        write!(f, "{}", self.0)
    }
}

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| size_help(text))?;
        let unit = unit.trim();
        let factor = match unit {
            "" | "B" => 1,
            "k" | "K" | "KB" => 1_000,
            "Ki" => 1 << 10,
            "M" => 1_000_000,
            "Mi" => 1 << 20,
            "G" => 1_000_000_000,
            "Gi" => 1 << 30,
            _ => BINARY
                .into_iter()
                .chain(DECIMAL)
                .find(|(name, _)| *name == unit)
                .map(|(_, size)| size)
                .ok_or_else(|| size_help(text))?,
        };
        number
            .checked_mul(factor)
            .map(ByteSize)
            .ok_or_else(|| format!("`{text}` is more bytes than fit in 64 bits"))
    }
}

fn size_help(text: &str) -> String {
    format!("`{text}` is not a size: write a whole number with a unit, such as 256MiB, 10GB or 4096")
}

/// A span of time: `30s`, `15m`, `24h`, `7d`, `250ms`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(pub Duration);

impl Span {
    /// The span of this many seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Span(Duration::from_secs(seconds))
    }
}

const SPANS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis() as u64;
        if millis == 0 {
            return f.write_str("0s");
        }
        let (unit, size) =
            SPANS.into_iter().find(|(_, size)| millis.is_multiple_of(*size)).unwrap_or(("ms", 1));
        write!(f, "{}{unit}", millis / size)
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let help = || format!("`{text}` is not a span of time: write 250ms, 30s, 15m, 24h or 7d");
        let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(help)?;
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| help())?;
        let (_, size) = SPANS.into_iter().find(|(name, _)| *name == unit.trim()).ok_or_else(help)?;
        number.checked_mul(size).map(|ms| Span(Duration::from_millis(ms))).ok_or_else(help)
    }
}

/// When the operator's machine takes other people's jobs: `always`, or a range of UTC hours such
/// as `22:00-06:00` (which passes midnight).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hours {
    /// At any time.
    #[default]
    Always,
    /// From one minute of the UTC day up to, not including, another.
    Between {
        /// First minute of the day that is open, 0–1439.
        from: u16,
        /// First minute of the day that is closed again, 0–1440.
        to: u16,
    },
}

impl Hours {
    /// Whether the moment (Unix seconds, UTC) lies in these hours.
    pub fn contains(&self, unix_seconds: u64) -> bool {
        match *self {
            Hours::Always => true,
            Hours::Between { from, to } => {
                let minute = ((unix_seconds / 60) % 1440) as u16;
                if from <= to { (from..to).contains(&minute) } else { minute >= from || minute < to }
            }
        }
    }
}

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Hours::Always => f.write_str("always"),
            Hours::Between { from, to } => {
                write!(f, "{:02}:{:02}-{:02}:{:02}", from / 60, from % 60, to / 60, to % 60)
            }
        }
    }
}

impl FromStr for Hours {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text == "always" {
            return Ok(Hours::Always);
        }
        let help = || format!("`{text}` are not hours: write always, or UTC times such as 22:00-06:00");
        let minute = |part: &str| -> Option<u16> {
            let (hour, minute) = part.trim().split_once(':')?;
            let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
            (minute < 60 && hour * 60 + minute <= 1440).then_some(hour * 60 + minute)
        };
        let (from, to) = text.split_once('-').ok_or_else(help)?;
        match (minute(from), minute(to)) {
            (Some(from), Some(to)) if from != to && from < 1440 => Ok(Hours::Between { from, to }),
            _ => Err(help()),
        }
    }
}

macro_rules! serde_as_text {
    ($($name:ty),*) => {$(
        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
                out.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
                String::deserialize(input)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}
serde_as_text!(ByteSize, Span, Hours);

/// An address and port that only this machine can reach, or none (the empty text).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoopbackAddress(pub Option<SocketAddr>);

impl fmt::Display for LoopbackAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |address| address.fmt(f))
    }
}

impl FromStr for LoopbackAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.trim() {
            "" => Ok(Self(None)),
            text => match text.parse::<SocketAddr>() {
                Ok(address) if address.ip().is_loopback() => Ok(Self(Some(address))),
                Ok(_) => Err(format!(
                    "`{text}` can be reached from other machines, and nothing here asks for a token; use 127.0.0.1:4715"
                )),
                Err(_) => Err(format!("`{text}` is not an address and port such as 127.0.0.1:4715")),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_back_as_printed() {
        for text in ["0", "4096", "256MiB", "10GB", "1TiB", "1023", "5kB"] {
            let size: ByteSize = text.parse().unwrap();
            assert_eq!(size.to_string().parse::<ByteSize>().unwrap(), size, "{text}");
        }
        assert_eq!("256MiB".parse::<ByteSize>().unwrap().0, 256 << 20);
        assert_eq!("2 GB".parse::<ByteSize>().unwrap().0, 2_000_000_000);
        for bad in ["", "MiB", "1.5GiB", "-1", "10 apples", "99999999999999999999", "20000000TiB"] {
            assert!(bad.parse::<ByteSize>().is_err(), "{bad}");
        }
    }

    #[test]
    fn spans_read_back_as_printed() {
        for text in ["30s", "15m", "24h", "7d", "250ms", "0s", "90s"] {
            let span: Span = text.parse().unwrap();
            assert_eq!(span.to_string().parse::<Span>().unwrap(), span);
        }
        for bad in ["", "10", "s", "1 fortnight", "-3s"] {
            assert!(bad.parse::<Span>().is_err(), "{bad}");
        }
    }

    #[test]
    fn hours_pass_midnight() {
        let night: Hours = "22:00-06:00".parse().unwrap();
        let at = |hour: u64, minute: u64| 86_400 * 20_000 + hour * 3600 + minute * 60;
        assert!(night.contains(at(22, 0)) && night.contains(at(0, 0)) && night.contains(at(5, 59)));
        assert!(!night.contains(at(6, 0)) && !night.contains(at(21, 59)) && !night.contains(at(12, 0)));
        let day: Hours = "08:30-17:00".parse().unwrap();
        assert!(day.contains(at(8, 30)) && !day.contains(at(8, 29)) && !day.contains(at(17, 0)));
        assert_eq!(day.to_string(), "08:30-17:00");
        assert!(Hours::Always.contains(at(3, 3)));
        for bad in ["25:00-26:00", "12:00", "08:00-08:00", "8-9", "noon-midnight"] {
            assert!(bad.parse::<Hours>().is_err(), "{bad}");
        }
    }

    #[test]
    fn only_loopback_is_open_to_everybody() {
        for text in ["", "127.0.0.1:4715", "[::1]:0"] {
            assert_eq!(text.parse::<LoopbackAddress>().unwrap().to_string(), text);
        }
        for text in ["0.0.0.0:4715", "192.0.2.1:1", "[::]:1", "localhost:1", "127.0.0.1", "4715"] {
            assert!(text.parse::<LoopbackAddress>().is_err(), "{text}");
        }
    }
}
