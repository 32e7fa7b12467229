//! Which IPFS node holds blocks below this one.

use std::{fmt, str::FromStr};

/// Where content is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IpfsBackend {
    /// In this node's own store.
    Embedded,
    /// By the Kubo whose RPC has this URL.
    Kubo(String),
    /// In this node's own store; what the gateway at this URL holds is this node's as well, to be read.
    Gateway(String),
}

impl FromStr for IpfsBackend {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.trim().split_once('=') {
            None if text.trim() == "embedded" => Ok(Self::Embedded),
            Some(("kubo", url)) => {
                let options = adit_kubo::Options { url: url.trim().to_owned(), ..Default::default() };
                adit_kubo::Kubo::new(options).map_err(|error| error.to_string())?;
                Ok(Self::Kubo(url.trim().to_owned()))
            }
            Some(("gateway", url)) => {
                let endpoint: adit_retrieval::Endpoint =
                    url.parse().map_err(|error: adit_retrieval::InvalidEndpoint| error.to_string())?;
                Ok(Self::Gateway(endpoint.to_string()))
            }
            _ => Err(format!("`{text}` is not one of embedded, kubo=URL, gateway=URL")),
        }
    }
}

impl fmt::Display for IpfsBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedded => f.write_str("embedded"),
            Self::Kubo(url) => write!(f, "kubo={url}"),
            Self::Gateway(url) => write!(f, "gateway={url}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_reads_back_and_a_secret_in_a_url_is_refused() {
        for text in ["embedded", "kubo=http://127.0.0.1:5001", "gateway=http://127.0.0.1:8080"] {
            assert_eq!(text.parse::<IpfsBackend>().unwrap().to_string(), text);
        }
        for wrong in [
            "",
            "kubo",
            "kubo=",
            "kubo=127.0.0.1:5001",
            "kubo=http://me:secret@h:1",
            "kubo=http://h/x?y",
            "gateway",
            "gateway=h",
            "gateway=http://me:secret@h:1",
        ] {
            assert!(wrong.parse::<IpfsBackend>().is_err(), "{wrong}");
        }
    }
}
