//! Where a TPM is reached.

use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// Longer than any command takes: making an RSA key may take a slow chip a minute.
const PATIENCE: Duration = Duration::from_secs(180);

/// Where a TPM is reached: `/dev/tpmrm0`, `unix:PATH` or `tcp:IP:PORT`. The latter two are how a software TPM is spoken
/// to; what travels there can be read and changed on the way, as on the wires of a real one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A character device. `/dev/tpmrm0` goes through the kernel's resource manager, which many may use at once.
    Device(PathBuf),
    /// A Unix socket.
    Unix(PathBuf),
    /// A TCP socket.
    Tcp(SocketAddr),
}

impl Address {
    /// The kernel's resource manager of the first TPM.
    pub fn of_this_machine() -> Self {
        Address::Device("/dev/tpmrm0".into())
    }

    pub(super) fn open(&self) -> io::Result<Box<dyn Channel>> {
        Ok(match self {
            Address::Device(path) => Box::new(OpenOptions::new().read(true).write(true).open(path)?),
            #[cfg(unix)]
            Address::Unix(path) => {
                let stream = std::os::unix::net::UnixStream::connect(path)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                Box::new(stream)
            }
            #[cfg(not(unix))]
            Address::Unix(_) => return Err(io::ErrorKind::Unsupported.into()),
            Address::Tcp(address) => {
                let stream = TcpStream::connect_timeout(address, PATIENCE)?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                Box::new(stream)
            }
        })
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Address::Unix(path.into()));
        }
        if let Some(address) = text.strip_prefix("tcp:") {
            return address.parse().map(Address::Tcp).map_err(|_| format!("{address:?} is not IP:PORT"));
        }
        if text.starts_with('/') {
            Ok(Address::Device(text.into()))
        } else {
            Err("not a device's path, unix:PATH or tcp:IP:PORT".into())
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Device(path) => write!(to, "{}", path.display()),
            Address::Unix(path) => write!(to, "unix:{}", path.display()),
            Address::Tcp(address) => write!(to, "tcp:{address}"),
        }
    }
}

/// What carries commands and answers.
pub(super) trait Channel: Read + Write + Send {}
impl<T: Read + Write + Send> Channel for T {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_they_are_written() {
        for text in ["/dev/tpmrm0", "unix:/run/tpm", "tcp:127.0.0.1:2321", "tcp:[::1]:2321"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        for text in ["", "tpm0", "tcp:localhost:2321", "tcp:127.0.0.1"] {
            text.parse::<Address>().unwrap_err();
        }
    }
}
