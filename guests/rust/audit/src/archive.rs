//! Just enough gzip and tar for `.crate` files, which cargo itself wrote.

use miniz_oxide::inflate::decompress_to_vec_with_limit;
use std::io;

/// No package on crates.io unpacks to more.
const LARGEST: usize = 512 << 20;

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// RFC 1952, one member.
pub fn gunzip(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let header = bytes.get(..10).ok_or_else(|| bad("shorter than a gzip header"))?;
    if header[..3] != [0x1f, 0x8b, 8] {
        return Err(bad("not gzip"));
    }
    let flags = header[3];
    let mut rest = &bytes[10..];
    if flags & 4 != 0 {
        let length = rest.get(..2).ok_or_else(|| bad("cut off"))?;
        let length = usize::from(u16::from_le_bytes([length[0], length[1]]));
        rest = rest.get(2 + length..).ok_or_else(|| bad("cut off"))?;
    }
    for flag in [8, 16] {
        if flags & flag != 0 {
            let end = rest.iter().position(|byte| *byte == 0).ok_or_else(|| bad("cut off"))?;
            rest = &rest[end + 1..];
        }
    }
    if flags & 2 != 0 {
        rest = rest.get(2..).ok_or_else(|| bad("cut off"))?;
    }
    decompress_to_vec_with_limit(rest, LARGEST).map_err(|error| bad(&format!("cannot inflate: {error}")))
}

/// Calls `take` for each regular file (ustar, with GNU long names and PAX paths).
pub fn each_file(tar: &[u8], mut take: impl FnMut(&str, &[u8])) -> io::Result<()> {
    let mut at = 0;
    let mut long_name = None;
    while let Some(header) = tar.get(at..at + 512) {
        if header.iter().all(|byte| *byte == 0) {
            break;
        }
        let size = octal(&header[124..136]).ok_or_else(|| bad("a tar size that is not octal"))?;
        let content = tar.get(at + 512..at + 512 + size).ok_or_else(|| bad("a tar entry is cut off"))?;
        match header[156] {
            b'L' => long_name = Some(text(content)),
            b'x' => long_name = pax_path(content).or(long_name),
            b'0' | 0 => {
                let name = long_name.take().unwrap_or_else(|| match text(&header[345..500]) {
                    prefix if prefix.is_empty() => text(&header[..100]),
                    prefix => format!("{prefix}/{}", text(&header[..100])),
                });
                take(&name, content);
            }
            _ => long_name = None,
        }
        at += 512 + size.div_ceil(512) * 512;
    }
    Ok(())
}

fn octal(field: &[u8]) -> Option<usize> {
    let digits = text(field);
    usize::from_str_radix(digits.trim(), 8).ok()
}

fn text(field: &[u8]) -> String {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    String::from_utf8_lossy(&field[..end]).into_owned()
}

/// `"<length> path=<value>\n"` among the records of a PAX header.
fn pax_path(content: &[u8]) -> Option<String> {
    let content = String::from_utf8_lossy(content);
    content.lines().find_map(|line| Some(line.split_once(" path=")?.1.to_owned()))
}
