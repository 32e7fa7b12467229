//! Reading: entries one by one, each file's data between them.

use super::{BLOCK, Entry, Kind, MAX_PAX, TarError, clean_path};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};

/// Reads a tar stream. After [`next`](Self::next) gave a file, the reader itself reads that file's data.
pub struct Reader<R> {
    inner: R,
    /// Data bytes of the present file that have not been read.
    left: u64,
    /// Zeros after them.
    padding: u64,
}

/// What pax headers say about the next entry.
#[derive(Default)]
struct Pax {
    path: Option<String>,
    target: Option<String>,
    size: Option<u64>,
    mtime: Option<i64>,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    /// Starts at the beginning of a stream.
    pub fn new(inner: R) -> Self {
        Self { inner, left: 0, padding: 0 }
    }

    /// The next entry, skipping what was not read of the one before; `None` at the end of the archive.
    pub async fn next(&mut self) -> Result<Option<Entry>, TarError> {
        let skip = self.left + self.padding;
        self.discard(skip).await?;
        (self.left, self.padding) = (0, 0);
        let mut pax = Pax::default();
        loop {
            let mut block = [0; BLOCK];
            self.inner.read_exact(&mut block).await?;
            if block.iter().all(|byte| *byte == 0) {
                // The rest (a second block of zeros, a tape's padding) says nothing more.
                return Ok(None);
            }
            check_sum(&block)?;
            let size = number(&block[124..136])?;
            match block[156] {
                b'x' => pax = self.pax(size).await?,
                // A global pax header holds comments such as git's commit: nothing that we use.
                b'g' => {
                    self.pax(size).await?;
                }
                kind => return self.entry(&block, kind, size, pax).map(Some),
            }
        }
    }

    fn entry(&mut self, block: &[u8; BLOCK], kind: u8, size: u64, pax: Pax) -> Result<Entry, TarError> {
        let raw = match pax.path {
            Some(path) => path,
            None => ustar_path(block)?,
        };
        let path = clean_path(&raw)?;
        let size = pax.size.unwrap_or(size);
        let kind = match kind {
            b'0' | 0 => {
                (self.left, self.padding) = (size, size.wrapping_neg() % BLOCK as u64);
                Kind::File { size }
            }
            b'5' => Kind::Directory,
            b'2' => {
                let target = match pax.target {
                    Some(target) => target,
                    None => text(&block[157..257])?,
                };
                if target.is_empty() || target.len() > super::MAX_PATH || target.contains('\0') {
                    return Err(TarError::Malformed("a symbolic link leads nowhere, or too far"));
                }
                Kind::Symlink { target }
            }
            b'1' => return Err(TarError::Kind { path, kind: "hard link" }),
            b'3' | b'4' => return Err(TarError::Kind { path, kind: "device" }),
            b'6' => return Err(TarError::Kind { path, kind: "pipe" }),
            b'L' | b'K' => return Err(TarError::Malformed("GNU long names: use `tar --format=pax`")),
            _ => return Err(TarError::Kind { path, kind: "special entry" }),
        };
        if path.is_empty() && kind != Kind::Directory {
            return Err(TarError::Malformed("an entry without a name"));
        }
        let mode = number(&block[100..108])? as u32 & 0o7777;
        let mtime = match pax.mtime {
            Some(mtime) => mtime,
            None => number(&block[136..148])?.try_into().unwrap_or(i64::MAX),
        };
        Ok(Entry { path, kind, mode, mtime })
    }

    async fn pax(&mut self, size: u64) -> Result<Pax, TarError> {
        if size > MAX_PAX as u64 {
            return Err(TarError::Malformed("an extended header is too long"));
        }
        let mut bytes = vec![0; size as usize];
        self.inner.read_exact(&mut bytes).await?;
        self.discard(size.wrapping_neg() % BLOCK as u64).await?;
        let wrong = || TarError::Malformed("a bad extended header");
        let mut pax = Pax::default();
        let mut rest = std::str::from_utf8(&bytes).map_err(|_| TarError::Malformed("names must be UTF-8"))?;
        while !rest.is_empty() {
            let Some((len, _)) = rest.split_once(' ') else { return Err(wrong()) };
            let Some(record) = len.parse().ok().and_then(|len: usize| rest.get(..len)) else {
                return Err(wrong());
            };
            let Some((key, value)) = record
                .get(len.len() + 1..)
                .and_then(|r| r.strip_suffix('\n'))
                .and_then(|r| r.split_once('='))
            else {
                return Err(wrong());
            };
            match key {
                "path" => pax.path = Some(value.to_owned()),
                "linkpath" => pax.target = Some(value.to_owned()),
                "size" => pax.size = Some(value.parse().map_err(|_| wrong())?),
                // A fraction of a second may follow, which UnixFS could keep and we do not.
                "mtime" => {
                    let seconds = value.split('.').next().unwrap_or_default();
                    pax.mtime = Some(seconds.parse().map_err(|_| TarError::Malformed("a bad time"))?);
                }
                key if key.starts_with("GNU.sparse.") => {
                    return Err(TarError::Malformed("sparse files: use `tar` without --sparse"));
                }
                _ => {}
            }
            rest = &rest[record.len()..];
        }
        Ok(pax)
    }

    async fn discard(&mut self, count: u64) -> Result<(), TarError> {
        let skipped = tokio::io::copy(&mut (&mut self.inner).take(count), &mut tokio::io::sink()).await?;
        if skipped == count { Ok(()) } else { Err(TarError::Io(std::io::ErrorKind::UnexpectedEof.into())) }
    }
}

/// Reads the data of the present file; ends where the file ends.
impl<R: AsyncRead + Unpin> AsyncRead for Reader<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if self.left == 0 || buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let room = buf.remaining().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let mut part = ReadBuf::new(buf.initialize_unfilled_to(room));
        ready!(Pin::new(&mut self.inner).poll_read(cx, &mut part))?;
        let read = part.filled().len();
        if read == 0 {
            // The header promised more: a shortened file must not pass for a whole one.
            return Poll::Ready(Err(std::io::ErrorKind::UnexpectedEof.into()));
        }
        buf.advance(read);
        self.left -= read as u64;
        Poll::Ready(Ok(()))
    }
}

fn check_sum(block: &[u8; BLOCK]) -> Result<(), TarError> {
    let stated = number(&block[148..156])?;
    let sum: u64 = block
        .iter()
        .enumerate()
        .map(|(i, byte)| if (148..156).contains(&i) { 32 } else { u64::from(*byte) })
        .sum();
    if stated == sum { Ok(()) } else { Err(TarError::Malformed("a header's checksum is wrong")) }
}

/// A number in octal digits, or in GNU's base 256 for those that do not fit.
fn number(field: &[u8]) -> Result<u64, TarError> {
    let wrong = TarError::Malformed("a header's number is not one");
    if let [0x80, rest @ ..] = field {
        return rest
            .iter()
            .try_fold(0u64, |n, byte| n.checked_mul(256)?.checked_add(u64::from(*byte)))
            .ok_or(wrong);
    }
    let digits = field.split(|byte| *byte == 0).next().unwrap_or_default();
    let digits =
        std::str::from_utf8(digits).map_err(|_| TarError::Malformed("a header's number is not one"))?.trim();
    if digits.is_empty() { Ok(0) } else { u64::from_str_radix(digits, 8).map_err(|_| wrong) }
}

fn text(field: &[u8]) -> Result<String, TarError> {
    let bytes = field.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8(bytes.to_vec()).map_err(|_| TarError::Malformed("names must be UTF-8"))
}

/// The path of a ustar header: prefix and name.
fn ustar_path(block: &[u8; BLOCK]) -> Result<String, TarError> {
    let name = text(&block[..100])?;
    // Only POSIX's own magic has a prefix; GNU's old one keeps times there.
    if &block[257..263] != b"ustar\0" {
        return Ok(name);
    }
    let prefix = text(&block[345..500])?;
    Ok(if prefix.is_empty() { name } else { format!("{prefix}/{name}") })
}
