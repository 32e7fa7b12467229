//! Domain names that lead to content, as a DNS server says.

use crate::programs;
use adit_tests::{Connection, Node};
use anyhow::{Context, Result, ensure};
use std::{
    io::{Read, Write},
    net::{TcpListener, UdpSocket},
};

/// Longest answer over UDP that the server sends; more only over TCP.
const LONGEST: usize = 512;
const NO_ERROR: u8 = 0;
const SERVER_FAILURE: u8 = 2;
const NO_SUCH_NAME: u8 = 3;

/// A DNS server on loopback, over UDP and TCP at one port, that knows some TXT entries. It ends with the test's process.
struct Server(std::net::SocketAddr);

impl Server {
    /// `entries`: names, and the entries there, each of one or more strings.
    fn start(entries: Vec<(String, Vec<Vec<String>>)>) -> Result<Self> {
        let (udp, tcp) = (0..20)
            .find_map(|_| {
                let udp = UdpSocket::bind("127.0.0.1:0").ok()?;
                let tcp = TcpListener::bind(udp.local_addr().ok()?).ok()?;
                Some((udp, tcp))
            })
            .context("a port for UDP and TCP")?;
        let at = udp.local_addr()?;
        let known = entries.clone();
        std::thread::spawn(move || {
            let mut space = [0; 1500];
            while let Ok((length, from)) = udp.recv_from(&mut space) {
                if let Some(mut answer) = answer(&space[..length], &known) {
                    if answer.len() > LONGEST {
                        answer.truncate(question_end(&answer).unwrap_or(12));
                        answer[2] |= 0x02;
                        answer[6..8].fill(0);
                    }
                    let _ = udp.send_to(&answer, from);
                }
            }
        });
        std::thread::spawn(move || {
            for stream in tcp.incoming().flatten() {
                let _ = over_tcp(stream, &entries);
            }
        });
        Ok(Server(at))
    }
}

fn over_tcp(mut stream: std::net::TcpStream, entries: &[(String, Vec<Vec<String>>)]) -> Result<()> {
    loop {
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut question)?;
        let answer = answer(&question, entries).context("a question")?;
        stream.write_all(&u16::try_from(answer.len())?.to_be_bytes())?;
        stream.write_all(&answer)?;
    }
}

/// Where the first question of a message ends.
fn question_end(message: &[u8]) -> Option<usize> {
    let mut at = 12;
    while *message.get(at)? != 0 {
        at += usize::from(message[at]) + 1;
    }
    Some(at + 5)
}

/// RFC 1035, as far as it takes to answer a question for TXT entries.
fn answer(question: &[u8], entries: &[(String, Vec<Vec<String>>)]) -> Option<Vec<u8>> {
    let end = question_end(question)?;
    let mut labels = Vec::new();
    let mut at = 12;
    while question[at] != 0 {
        let length = usize::from(question[at]);
        labels.push(String::from_utf8_lossy(question.get(at + 1..at + 1 + length)?).to_ascii_lowercase());
        at += length + 1;
    }
    let name = labels.join(".");
    let known = entries.iter().find(|(known, _)| *known == name).map(|(_, entries)| entries);
    let code = match known {
        _ if name.ends_with("broken.test") => SERVER_FAILURE,
        None => NO_SUCH_NAME,
        Some(_) => NO_ERROR,
    };
    let known: &[Vec<String>] = known.map_or(&[], Vec::as_slice);
    let mut answer = question.get(..2)?.to_vec();
    answer.extend([0x85, 0x80 | code, 0, 1, 0, known.len() as u8, 0, 0, 0, 0]);
    answer.extend(question.get(12..end)?);
    for strings in known {
        let length: usize = strings.iter().map(|text| text.len() + 1).sum();
        // The question's name; TXT; IN; a time to live of a minute.
        answer.extend([0xc0, 12, 0, 16, 0, 1, 0, 0, 0, 60]);
        answer.extend(u16::try_from(length).ok()?.to_be_bytes());
        for text in strings {
            answer.push(u8::try_from(text.len()).ok()?);
            answer.extend(text.as_bytes());
        }
    }
    Some(answer)
}

#[test]
fn a_domain_leads_where_its_dns_entries_say() -> Result<()> {
    let mut node = Node::start(&programs(), &[("host.cpus", "1")])?;
    let file = node.repository().with_extension("page");
    std::fs::write(&file, "a page")?;
    let cid = node.add(&file)?;
    let link = format!("dnslink=/ipfs/{cid}");
    let entry = |text: &str| vec![text.to_owned()];
    let (first, second) = link.split_at(20);
    // More than fits a datagram of 512 bytes.
    let mut many: Vec<_> = (0..12).map(|n| entry(&format!("{n}{}", "x".repeat(90)))).collect();
    many.push(entry(&link));
    let server = Server::start(vec![
        ("_dnslink.one.test".into(), vec![entry("v=spf1 -all"), vec![first.to_owned(), second.to_owned()]]),
        ("old.test".into(), vec![entry(&link)]),
        ("_dnslink.many.test".into(), many),
        ("_dnslink.two.test".into(), vec![entry("dnslink=/ipns/one.test/x")]),
        ("_dnslink.none.test".into(), vec![entry("dnslink=nonsense")]),
    ])?;
    node.adit(&["config", "set", "names.dns", &server.0.to_string()])?.expect(0)?;
    node.kill()?;
    node.launch()?;

    for (domain, path) in [
        ("one.test", format!("/ipfs/{cid}")),
        ("old.test", format!("/ipfs/{cid}")),
        ("many.test", format!("/ipfs/{cid}")),
        ("two.test/y", format!("/ipfs/{cid}/x/y")),
    ] {
        let output = node.adit(&["name", "resolve", &format!("/ipns/{domain}")])?.expect(0)?;
        ensure!(output.line() == path, "{domain}: {}", output.line());
    }
    ensure!(node.adit(&["cat", "/ipns/one.test"])?.expect(0)?.line() == "a page");
    for (domain, what) in
        [("none.test", "not found"), ("absent.test", "not found"), ("broken.test", "cannot be resolved now")]
    {
        let output = node.adit(&["name", "resolve", &format!("/ipns/{domain}")])?;
        ensure!(output.code != 0 && output.stderr.contains(what), "{domain}: {output:?}");
    }

    // The gateway, by path and by the domain's own name.
    let text = std::fs::read_to_string(node.repository().join("api.json"))?;
    let running: serde_json::Value = serde_json::from_str(&text)?;
    let gateway = running["gateway"].as_str().context("no gateway")?.trim_start_matches("http://").parse()?;
    let page = Connection::open(gateway)?.get("/ipns/old.test")?;
    ensure!((page.status, &page.body[..]) == (200, b"a page"), "{page:?}");
    Ok(())
}
