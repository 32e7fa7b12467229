//! Writing: headers and padding as bytes; the data between them is the caller's to send.

use super::{BLOCK, Entry, Kind};

/// What ends a tar stream: two blocks of zeros.
pub const END: &[u8] = &[0; 2 * BLOCK];

/// The zeros that follow a file's data, up to the next block.
pub fn padding(size: u64) -> &'static [u8] {
    let used = (size % BLOCK as u64) as usize;
    if used == 0 { &[] } else { &END[..BLOCK - used] }
}

/// The header of an entry, with a pax header before it where ustar has no room.
pub fn header(entry: &Entry) -> Vec<u8> {
    let (kind, size, target) = match &entry.kind {
        Kind::File { size } => (b'0', *size, ""),
        Kind::Directory => (b'5', 0, ""),
        Kind::Symlink { target } => (b'2', 0, target.as_str()),
    };
    // A directory is told by its kind; Kubo's own reader refuses a first entry whose name ends with a slash.
    let path = if entry.path.is_empty() { "./" } else { entry.path.as_str() };
    let mut pax = Vec::new();
    let mut record = |key: &str, value: &str| {
        // The length counts itself: try until it fits.
        let rest = key.len() + value.len() + 3;
        let mut len = rest + 1;
        while rest + len.to_string().len() != len {
            len = rest + len.to_string().len();
        }
        pax.extend(format!("{len} {key}={value}\n").into_bytes());
    };
    if path.len() > 100 || !path.is_ascii() {
        record("path", path);
    }
    if target.len() > 100 || !target.is_ascii() {
        record("linkpath", target);
    }
    if size > MAX_OCTAL {
        record("size", &size.to_string());
    }
    if u64::try_from(entry.mtime).is_err() {
        record("mtime", &entry.mtime.to_string());
    }
    let mut out = Vec::with_capacity(BLOCK);
    if !pax.is_empty() {
        out.extend(block("pax", b'x', pax.len() as u64, "", 0o644, 0));
        out.extend(&pax);
        out.extend(padding(pax.len() as u64));
    }
    out.extend(block(path, kind, size.min(MAX_OCTAL), target, entry.mode, entry.mtime.max(0) as u64));
    out
}

/// The largest number that eleven octal digits hold.
const MAX_OCTAL: u64 = (1 << 33) - 1;

fn block(path: &str, kind: u8, size: u64, target: &str, mode: u32, mtime: u64) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let mut text = |at: usize, room: usize, text: &str| {
        let len = text.len().min(room);
        block[at..at + len].copy_from_slice(&text.as_bytes()[..len]);
    };
    text(0, 100, path);
    text(100, 8, &format!("{:07o}", mode & 0o7777));
    text(108, 8, "0000000");
    text(116, 8, "0000000");
    text(124, 12, &format!("{size:011o}"));
    text(136, 12, &format!("{:011o}", mtime.min(MAX_OCTAL)));
    text(148, 8, "        ");
    text(157, 100, target);
    text(257, 8, "ustar\x0000");
    block[156] = kind;
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    block
}
