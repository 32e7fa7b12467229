//! The least HTTP/1.1 that tests and load generators need: one kept connection, no dependencies, little cost of its own.

use anyhow::{Context, Result, bail};
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// A connection that is kept between requests.
pub struct Connection {
    stream: BufReader<TcpStream>,
    host: String,
    /// Sent as `Authorization: Bearer …`.
    pub bearer: Option<String>,
    /// Sent as they are, with every request: `Name: value`.
    pub headers: Vec<String>,
    request: Vec<u8>,
}

/// An answer, body included.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_slice(&self.body).with_context(|| {
            format!("status {}, no JSON: {}", self.status, String::from_utf8_lossy(&self.body))
        })
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

impl Connection {
    pub fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(120)))?;
        Ok(Connection {
            stream: BufReader::with_capacity(64 << 10, stream),
            host: address.to_string(),
            bearer: None,
            headers: Vec::new(),
            request: Vec::new(),
        })
    }

    pub fn get(&mut self, path: &str) -> Result<Reply> {
        self.request("GET", path, None, b"")
    }

    pub fn post_json(&mut self, path: &str, body: &[u8]) -> Result<Reply> {
        self.request("POST", path, Some("application/json"), body)
    }

    pub fn request(&mut self, method: &str, path: &str, kind: Option<&str>, body: &[u8]) -> Result<Reply> {
        self.request.clear();
        // Writing to a vector cannot fail.
        let request = &mut self.request;
        write!(
            request,
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n",
            self.host,
            body.len()
        )?;
        if let Some(token) = &self.bearer {
            write!(request, "Authorization: Bearer {token}\r\n")?;
        }
        if let Some(kind) = kind {
            write!(request, "Content-Type: {kind}\r\n")?;
        }
        for header in &self.headers {
            write!(request, "{header}\r\n")?;
        }
        request.extend_from_slice(b"\r\n");
        request.extend_from_slice(body);
        self.stream.get_mut().write_all(&self.request)?;
        self.reply()
    }

    fn reply(&mut self) -> Result<Reply> {
        let line = self.line()?;
        let status =
            line.split(' ').nth(1).and_then(|word| word.parse().ok()).with_context(|| line.clone())?;
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            let Some((name, value)) = line.split_once(':') else { break };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let mut reply = Reply { status, headers, body: Vec::new() };
        if reply.header("transfer-encoding") == Some("chunked") {
            loop {
                let line = self.line()?;
                let size = usize::from_str_radix(line.trim(), 16).with_context(|| line.clone())?;
                let at = reply.body.len();
                reply.body.resize(at + size, 0);
                self.stream.read_exact(&mut reply.body[at..])?;
                self.line()?;
                if size == 0 {
                    break;
                }
            }
        } else {
            let length = reply.header("content-length").map_or(Ok(0), str::parse)?;
            reply.body.resize(length, 0);
            self.stream.read_exact(&mut reply.body)?;
        }
        Ok(reply)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            bail!("the connection ended");
        }
        line.truncate(line.trim_end().len());
        Ok(line)
    }
}
