//! The gateway-conformance suite itself, against the gateway of a real daemon.
//!
//! What fails has to stand in `conformance-expected.txt`, by name and with the reason, and what stands there has to
//! fail: either surprise fails this test.

use crate::programs;
use adit_tests::{Connection, Node};
use anyhow::{Context, Result, bail, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Cases that the suite has at least; fewer mean that it did not run.
const CASES: usize = 400;

#[test]
fn gateway_conformance_finds_nothing_unexpected() -> Result<()> {
    let Some(suite) = std::env::var_os("ADIT_CONFORMANCE").map(PathBuf::from) else {
        println!("skipped: ADIT_CONFORMANCE names no gateway-conformance");
        return Ok(());
    };
    let home = suite.parent().context("the suite lies in a folder")?;
    let folder = tempfile::tempdir()?;
    let fixtures = folder.path().join("fixtures");
    let mut extract = Command::new(&suite);
    extract.env("GATEWAY_CONFORMANCE_HOME", home).args(["extract-fixtures", "--directory"]).arg(&fixtures);
    ensure!(extract.status()?.success(), "the suite gives no fixtures");
    let fixtures = Fixtures::read(&fixtures)?;

    let links = folder.path().join("links");
    fs::write(&links, &fixtures.links)?;
    let links = links.to_str().context("a path that is not text")?;
    let settings = [
        ("gateway.hosts", "localhost,example.com"),
        ("gateway.fetch", "false"),
        ("names.dnslink", links),
        ("host.cpus", "1"),
    ];
    let node = Node::start(&programs(), &settings)?;
    for car in &fixtures.cars {
        let sound = folder.path().join("sound.car");
        fs::write(&sound, verifiable(&fs::read(car)?)?)?;
        // Not pinned: some lack blocks on purpose.
        node.adit(&["dag", "import", "--no-pin", sound.to_str().context("text")?])?.expect(0)?;
    }
    let gateway = gateway(&node)?;
    for (name, record) in &fixtures.records {
        let mut connection = Connection::open(gateway)?;
        let kind = Some("application/vnd.ipfs.ipns-record");
        let reply =
            connection.request("PUT", &format!("/routing/v1/ipns/{name}"), kind, &fs::read(record)?)?;
        let file = record.display().to_string();
        let broken =
            ["_v1_", "broken-v1-value", "broken-signature-v2"].iter().any(|kind| file.contains(kind));
        ensure!(reply.status == if broken { 400 } else { 200 }, "{file}: {}", reply.status);
    }

    let report = folder.path().join("report.json");
    let output = Command::new(&suite)
        .env("GATEWAY_CONFORMANCE_HOME", home)
        .args([
            "test",
            "--gateway-url",
            &format!("http://{gateway}"),
            "--subdomain-url",
            "http://example.com",
        ])
        .arg("--json-output")
        .arg(&report)
        .output()?;
    judge(&fs::read_to_string(&report)?).with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

fn gateway(node: &Node) -> Result<SocketAddr> {
    let text = fs::read_to_string(node.repository().join("api.json"))?;
    let value: serde_json::Value = serde_json::from_str(&text)?;
    let url = value["gateway"].as_str().context("api.json names no gateway")?;
    Ok(url.trim_start_matches("http://").parse()?)
}

/// What the suite wants the gateway to have.
struct Fixtures {
    cars: Vec<PathBuf>,
    records: Vec<(String, PathBuf)>,
    /// In the form of `names.dnslink`.
    links: String,
}

impl Fixtures {
    fn read(folder: &Path) -> Result<Self> {
        let mut fixtures = Fixtures { cars: Vec::new(), records: Vec::new(), links: String::new() };
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).context("a name that is not text")?;
            if name.ends_with(".car") {
                fixtures.cars.push(path);
            } else if name.ends_with(".ipns-record") {
                let key = name.split('_').next().context("a key")?.to_owned();
                fixtures.records.push((key, path));
            } else if name == "dnslinks.json" {
                let links: serde_json::Value = serde_json::from_slice(&fs::read(&path)?)?;
                for (domain, path) in links["domains"].as_object().context("domains")? {
                    let path = path.as_str().context("a path")?;
                    fixtures.links.push_str(&format!("{domain} {path}\n"));
                }
            }
        }
        ensure!(fixtures.cars.len() > 20 && fixtures.records.len() > 10 && !fixtures.links.is_empty());
        Ok(fixtures)
    }
}

/// A CAR without the blocks whose hash this node does not compute. The suite has one, for a CID that is too long for a
/// host name, and asks for nothing but the refusal.
fn verifiable(car: &[u8]) -> Result<Vec<u8>> {
    fn number(bytes: &[u8], at: &mut usize) -> Result<usize> {
        let (mut value, mut shift) = (0usize, 0);
        loop {
            let byte = *bytes.get(*at).context("the CAR ends within a number")?;
            *at += 1;
            value |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                return Ok(value);
            }
            ensure!(shift < 56, "too long a number");
        }
    }
    let mut at = 0;
    let header = number(car, &mut at)?;
    at += header;
    let mut out = car.get(..at).context("the CAR ends within its header")?.to_vec();
    while at < car.len() {
        let start = at;
        let len = number(car, &mut at)?;
        let section = car.get(at..at + len).context("the CAR ends within a block")?;
        at += len;
        let mut inner = 0;
        let known = match number(section, &mut inner)? {
            // The beginning of a CIDv0, which is the hash itself.
            0x12 => true,
            _ => {
                number(section, &mut inner)?;
                matches!(number(section, &mut inner)?, 0x12 | 0x00)
            }
        };
        if known {
            out.extend_from_slice(&car[start..at]);
        }
    }
    Ok(out)
}

/// Compares the report with what is expected.
fn judge(report: &str) -> Result<()> {
    let mut ended: BTreeMap<String, bool> = BTreeMap::new();
    for line in report.lines() {
        let Ok(event) = serde_json::from_str::<serde_json::Value>(line) else { continue };
        let (Some(action), Some(test)) = (event["Action"].as_str(), event["Test"].as_str()) else { continue };
        match action {
            "pass" => ended.insert(test.to_owned(), true),
            "fail" => ended.insert(test.to_owned(), false),
            _ => None,
        };
    }
    ensure!(ended.len() >= CASES, "only {} cases ran", ended.len());
    // Cases are two names deep; what is above and below them fails with them.
    let depth = |test: &str| test.matches('/').count();
    let failed: BTreeSet<&str> = ended
        .iter()
        .filter(|(test, passed)| {
            let below = format!("{test}/");
            let has_cases =
                ended.range(below.clone()..).next().is_some_and(|(next, _)| next.starts_with(&below));
            !**passed && (depth(test) == 1 || (depth(test) == 0 && !has_cases))
        })
        .map(|(test, _)| test.as_str())
        .collect();
    let text = include_str!("conformance-expected.txt");
    let mut expected = BTreeSet::new();
    let mut lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).peekable();
    while let Some(name) = lines.next() {
        ensure!(
            lines.next_if(|line| line.starts_with("  ")).is_some(),
            "{name} is expected without a reason"
        );
        while lines.next_if(|line| line.starts_with("  ")).is_some() {}
        expected.insert(name);
    }
    let news: Vec<_> = failed.difference(&expected).collect();
    let gone: Vec<_> = expected.difference(&failed).collect();
    if !news.is_empty() || !gone.is_empty() {
        bail!("failed and not expected to: {news:#?}\nexpected to fail and did not: {gone:#?}");
    }
    println!(
        "{} cases, {} failed as expected",
        ended.keys().filter(|test| depth(test) == 1).count(),
        failed.len()
    );
    Ok(())
}
