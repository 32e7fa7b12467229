//! HTTP functions: published, asked, limited, allowed out or not, and found again.

use crate::{guest, noise, programs};
use adit_tests::{Connection, Node, Reply, eventually};
use anyhow::{Context, Result, ensure};
use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    time::{Duration, Instant},
};

const SHOWCASE: &str = "http-showcase";

/// A node that serves functions, with short limits so that what runs into them does so soon.
fn edge(more: &[(&str, &str)]) -> Result<Node> {
    let mut settings = vec![("http.listen", "127.0.0.1:0"), ("http.timeout", "3s"), ("http.memory", "64MiB")];
    settings.extend(more);
    Node::start(&programs(), &settings)
}

fn publish(node: &Node, path: &str, hosts: &[&str]) -> Result<String> {
    let code = guest(SHOWCASE);
    let mut words = vec!["http", "publish", &code, "--path", path];
    hosts.iter().for_each(|host| words.extend(["--allow-host", host]));
    let published = node.json(&words)?;
    published["code"].as_str().map(str::to_owned).context("no code")
}

fn address(node: &Node) -> Result<SocketAddr> {
    let text = fs::read_to_string(node.repository().join("api.json"))?;
    let value: serde_json::Value = serde_json::from_str(&text)?;
    let address = value["functions"].as_str().context("no functions are served")?;
    Ok(address.trim_start_matches("http://").parse()?)
}

fn get(node: &Node, path: &str) -> Result<Reply> {
    Connection::open(address(node)?)?.get(path)
}

fn text(reply: &Reply) -> String {
    String::from_utf8_lossy(&reply.body).into_owned()
}

#[test]
fn a_published_program_answers_at_its_path_and_after_a_restart() -> Result<()> {
    let mut node = edge(&[])?;
    let code = publish(&node, "/show", &[])?;
    let mut connection = Connection::open(address(&node)?)?;
    let hello = connection.get("/show")?;
    ensure!(hello.status == 200 && text(&hello) == "Hello from a function.\n", "{hello:?}");
    ensure!(hello.header("content-type") == Some("text/plain"), "{hello:?}");
    ensure!(connection.get("/show/missing")?.status == 404);
    ensure!(text(&connection.get("/nothing")?).contains("no function"));
    // What is sent comes back: small in one frame, large by pieces.
    for length in [0, 1, 40_000, 3_000_000] {
        let body = noise(length, 7);
        let echo = connection.request("POST", "/show/echo", None, &body)?;
        ensure!(echo.status == 200 && echo.body == body, "{length} bytes: {}", echo.status);
        let count = connection.request("PUT", "/show/count", None, &body)?;
        ensure!(text(&count) == format!("{length}\n"), "{}", text(&count));
    }
    let stream = connection.get("/show/stream?500")?;
    ensure!(stream.body.len() == 500 << 10 && stream.body[499 << 10] == (499 % 256) as u8);
    ensure!(text(&connection.get("/show/ticks")?) == "tick 0\ntick 1\ntick 2\n");
    connection.headers = vec!["X-Mine: 1".into(), "Connection: x-hop".into(), "X-Hop: 2".into()];
    let headers = text(&connection.get("/show/headers")?);
    ensure!(headers.contains("x-mine: 1") && !headers.contains("hop"), "{headers}");
    ensure!(headers.starts_with(&format!("GET {}\n", address(&node)?)), "{headers}");
    // By CID, and under paths and hosts that mean nothing here.
    ensure!(text(&get(&node, &format!("/fn/{code}"))?) == "Hello from a function.\n");
    ensure!(get(&node, "/show/%2e%2E/x")?.status == 400);
    let foreign = raw(&node, "GET /show HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n")?;
    ensure!(foreign.starts_with("HTTP/1.1 421"), "{foreign}");
    let head = raw(&node, "HEAD /show HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    ensure!(head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n"), "{head}");

    let shown = node.json(&["http", "show", "/show"])?;
    let figure = |name: &str| shown[name].as_u64().unwrap_or(0);
    ensure!(figure("requests") > 10 && figure("fuel") > 1000 && figure("bytes_in") > 6_000_000, "{shown}");
    ensure!(figure("memory") > 1 << 20 && figure("busy_us") > 0, "{shown}");
    let metrics = text(&node.http()?.get("/metrics")?);
    ensure!(metrics.contains("adit_function_requests_total{path=\"/show\"}"), "{metrics}");
    let wrong = node.adit(&["http", "publish", &guest("tiny"), "--path", "/tiny"])?;
    ensure!(wrong.code != 0 && wrong.stderr.contains("wasi:http/incoming-handler"), "{}", wrong.stderr);
    let wrong = node.adit(&["http", "publish", &guest(SHOWCASE), "--path", "/../up"])?;
    ensure!(wrong.code != 0 && wrong.stderr.contains("cannot be served"), "{}", wrong.stderr);

    node.kill()?;
    node.launch()?;
    ensure!(text(&get(&node, "/show")?) == "Hello from a function.\n");
    let pins = node.json(&["pin", "ls"])?.to_string();
    ensure!(pins.contains(&code), "the code is not pinned: {pins}");
    node.adit(&["http", "rm", "/show"])?.expect(0)?;
    ensure!(get(&node, "/show")?.status == 404);
    ensure!(!node.json(&["pin", "ls"])?.to_string().contains(&code));
    Ok(())
}

fn raw(node: &Node, request: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address(node)?)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[test]
fn what_a_function_must_not_get_away_with_disturbs_nobody() -> Result<()> {
    let node = edge(&[("http.workers", "3")])?;
    publish(&node, "/bad", &[])?;
    let good = node.adit(&["http", "publish", &guest(SHOWCASE), "--path", "/good"])?;
    good.expect(0)?;
    let at = address(&node)?;
    let began = Instant::now();
    let ends: Vec<_> = ["/bad/loop", "/bad/loop", "/bad/bomb", "/bad/panic", "/bad/silent"]
        .map(|path| {
            std::thread::spawn(move || Ok::<_, anyhow::Error>(Connection::open(at)?.get(path)?.status))
        })
        .into_iter()
        .map(|thread| thread.join().expect("a thread of this test"))
        .collect::<Result<_>>()?;
    // All want a worker of the same function at once: some wait behind those that do not end, until their time is up.
    ensure!(ends.iter().all(|status| [502, 503, 504].contains(status)) && ends.contains(&504), "{ends:?}");
    ensure!(began.elapsed() < Duration::from_secs(20), "limits came late: {:?}", began.elapsed());
    // One after the other each has its own end.
    for (path, status) in [("/bad/bomb", 502), ("/bad/panic", 502), ("/bad/silent", 502), ("/bad/loop", 504)]
    {
        let reply = get(&node, path)?;
        ensure!(reply.status == status, "{path}: {}", reply.status);
    }
    // An answer that breaks off is seen to have.
    let half = Connection::open(at)?.get("/bad/half");
    ensure!(
        half.is_err(),
        "half an answer was taken for a whole one: {:?}",
        half.map(|reply| reply.body.len())
    );
    // A client that goes away, in the middle of its own request and of the answer.
    for request in [
        "POST /good/count HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\nabc",
        "GET /good/stream?100000 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ] {
        for _ in 0..4 {
            let mut stream = TcpStream::connect(at)?;
            stream.write_all(request.as_bytes())?;
            let mut first = [0; 64];
            if request.starts_with("GET") {
                ensure!(stream.read(&mut first)? > 0);
            }
        }
    }
    // A hundred at once, all answered.
    let all: Vec<_> =
        (0..100).map(|_| std::thread::spawn(move || Connection::open(at)?.get("/good"))).collect();
    for thread in all {
        let reply = thread.join().expect("a thread of this test")?;
        ensure!(reply.status == 200, "{}", text(&reply));
    }
    let shown = node.json(&["http", "show", "/bad"])?;
    ensure!(shown["failed"].as_u64() >= Some(4), "{shown}");
    Ok(())
}

#[test]
fn fuel_ends_a_function_before_its_time() -> Result<()> {
    let node = edge(&[("http.fuel", "2000000"), ("http.timeout", "60s")])?;
    publish(&node, "/show", &[])?;
    let began = Instant::now();
    let reply = get(&node, "/show/loop")?;
    ensure!(reply.status == 504, "{}", reply.status);
    ensure!(began.elapsed() < Duration::from_secs(60), "time ended it, not fuel");
    ensure!(get(&node, "/show")?.status == 200);
    Ok(())
}

#[test]
fn a_function_reaches_only_hosts_that_operator_and_publisher_list() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut request = [0; 4096];
            let Ok(length) = stream.read(&mut request) else { continue };
            let redirect = request[..length].starts_with(b"GET /away");
            let _ = stream.write_all(match redirect {
                true => b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
                false => b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nfound",
            });
        }
    });
    let (listed, ip) = (format!("localhost:{port}"), format!("127.0.0.1:{port}"));
    let lists = format!("{listed},other.example");
    let node = edge(&[("http.allow-hosts", &lists), ("http.allow-private-hosts", "true")])?;
    publish(&node, "/show", &[&listed, &ip])?;
    let fetch = |node: &Node, what: &str| {
        Ok::<_, anyhow::Error>(text(&get(node, &format!("/show/fetch?http://{what}"))?))
    };
    ensure!(fetch(&node, &format!("{listed}/x"))? == "200\nfound");
    ensure!(fetch(&node, &format!("{listed}/away"))? == "302\n", "a redirect was followed");
    // Listed by one of the two only, or by nobody.
    for host in [ip.as_str(), "other.example", "nobody.example", "localhost:1"] {
        let answer = fetch(&node, &format!("{host}/"))?;
        ensure!(answer.contains("HttpRequestDenied"), "{host}: {answer}");
    }
    let shown = node.json(&["http", "show", "/show"])?;
    ensure!(shown["denied"].as_u64() == Some(4) && shown["sent"].as_u64() == Some(2), "{shown}");
    drop(node);

    // A name that both list, and that leads inside: what a name that is rebound does.
    let node = edge(&[("http.allow-hosts", &lists)])?;
    publish(&node, "/show", &[&listed])?;
    let answer = fetch(&node, &format!("{listed}/x"))?;
    ensure!(answer.contains("DestinationIpProhibited"), "{answer}");
    Ok(())
}

#[test]
fn another_node_runs_it_by_its_cid() -> Result<()> {
    let publisher = edge(&[])?;
    let code = publish(&publisher, "/show", &[])?;
    let bootstrap = publisher.addresses()?.join(",");
    let other = edge(&[("swarm.bootstrap", &bootstrap), ("http.run", "true")])?;
    let unwilling = edge(&[("swarm.bootstrap", &bootstrap)])?;
    let path = format!("/fn/{code}/stream?3");
    eventually("another node serves it", Duration::from_secs(30), || {
        let reply = get(&other, &path)?;
        Ok((reply.status == 200 && reply.body.len() == 3 << 10).then_some(()))
    })?;
    ensure!(
        text(&get(&other, &format!("/fn/{code}/fetch?http://localhost/"))?).contains("HttpRequestDenied")
    );
    ensure!(
        get(&unwilling, &path)?.status == 404,
        "a stranger's program ran where the operator does not want it"
    );
    Ok(())
}
