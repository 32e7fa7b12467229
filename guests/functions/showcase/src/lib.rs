//! An HTTP function that shows what one can do, and what one must not get away with: one path for each.

use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    ErrorCode, Fields, IncomingBody, IncomingRequest, Method, OutgoingBody, OutgoingRequest, OutgoingResponse,
    ResponseOutparam, Scheme,
};
use wasip2::io::streams::{InputStream, OutputStream, StreamError};

struct Showcase;

wasip2::http::proxy::export!(Showcase);

impl wasip2::exports::http::incoming_handler::Guest for Showcase {
    fn handle(request: IncomingRequest, answer: ResponseOutparam) {
        let target = request.path_with_query().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        match path {
            "/echo" => echo(request, answer),
            "/headers" => headers(&request, answer),
            "/stream" => stream(query.parse().unwrap_or(10), answer),
            "/ticks" => ticks(answer),
            "/fetch" => fetch(query, answer),
            "/count" => count(request, answer),
            "/loop" => loop {
                std::hint::black_box(0);
            },
            "/bomb" => bomb(answer),
            "/panic" => panic!("asked to"),
            "/silent" => {}
            "/half" => half(answer),
            "/missing" => say(answer, 404, b"there is nothing here\n"),
            _ => say(answer, 200, b"Hello from a function.\n"),
        }
    }
}

fn begin(answer: ResponseOutparam, status: u16, kind: &[u8]) -> OutgoingBody {
    let headers = Fields::new();
    headers.set("content-type", &[kind.to_vec()]).unwrap();
    let response = OutgoingResponse::new(headers);
    response.set_status_code(status).unwrap();
    let body = response.body().unwrap();
    ResponseOutparam::set(answer, Ok(response));
    body
}

fn say(answer: ResponseOutparam, status: u16, text: &[u8]) {
    let body = begin(answer, status, b"text/plain");
    let out = body.write().unwrap();
    write(&out, text);
    drop(out);
    OutgoingBody::finish(body, None).unwrap();
}

fn write(out: &OutputStream, bytes: &[u8]) {
    for piece in bytes.chunks(4096) {
        out.blocking_write_and_flush(piece).unwrap();
    }
}

fn each(input: &InputStream, mut take: impl FnMut(&[u8])) {
    loop {
        match input.blocking_read(64 << 10) {
            Ok(bytes) => take(&bytes),
            Err(StreamError::Closed) => return,
            Err(error) => panic!("{error:?}"),
        }
    }
}

/// The body as it comes.
fn echo(request: IncomingRequest, answer: ResponseOutparam) {
    let incoming = request.consume().unwrap();
    let body = begin(answer, 200, b"application/octet-stream");
    let (input, out) = (incoming.stream().unwrap(), body.write().unwrap());
    each(&input, |bytes| write(&out, bytes));
    drop((input, out));
    drop(incoming);
    OutgoingBody::finish(body, None).unwrap();
}

/// How long the body is.
fn count(request: IncomingRequest, answer: ResponseOutparam) {
    let incoming = request.consume().unwrap();
    let input = incoming.stream().unwrap();
    let mut bytes = 0;
    each(&input, |piece| bytes += piece.len());
    drop(input);
    drop(incoming);
    say(answer, 200, format!("{bytes}\n").as_bytes());
}

fn headers(request: &IncomingRequest, answer: ResponseOutparam) {
    let method = match request.method() {
        Method::Get => "GET".into(),
        Method::Post => "POST".into(),
        other => format!("{other:?}"),
    };
    let mut text = format!("{method} {}\n", request.authority().unwrap_or_default());
    for (name, value) in request.headers().entries() {
        text += &format!("{name}: {}\n", String::from_utf8_lossy(&value));
    }
    say(answer, 200, text.as_bytes());
}

/// So many KiB.
fn stream(count: usize, answer: ResponseOutparam) {
    let body = begin(answer, 200, b"application/octet-stream");
    let out = body.write().unwrap();
    (0..count).for_each(|number| write(&out, &[number as u8; 1024]));
    drop(out);
    OutgoingBody::finish(body, None).unwrap();
}

/// Three lines, with a pause before each but the first.
fn ticks(answer: ResponseOutparam) {
    let body = begin(answer, 200, b"text/plain");
    let out = body.write().unwrap();
    for number in 0..3 {
        if number > 0 {
            wasip2::clocks::monotonic_clock::subscribe_duration(50_000_000).block();
        }
        write(&out, format!("tick {number}\n").as_bytes());
    }
    drop(out);
    OutgoingBody::finish(body, None).unwrap();
}

/// What another server says, or why it could not be asked.
fn fetch(url: &str, answer: ResponseOutparam) {
    match ask(url) {
        Ok((status, bytes)) => {
            let mut text = format!("{status}\n").into_bytes();
            text.extend(bytes);
            say(answer, 200, &text);
        }
        Err(error) => say(answer, 200, format!("{error:?}\n").as_bytes()),
    }
}

fn ask(url: &str) -> Result<(u16, Vec<u8>), ErrorCode> {
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    let (authority, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, "/"),
    };
    let request = OutgoingRequest::new(Fields::new());
    request.set_scheme(Some(&if scheme == "https" { Scheme::Https } else { Scheme::Http })).unwrap();
    request.set_authority(Some(authority)).map_err(|()| ErrorCode::HttpRequestUriInvalid)?;
    request.set_path_with_query(Some(path)).map_err(|()| ErrorCode::HttpRequestUriInvalid)?;
    let future = outgoing_handler::handle(request, None)?;
    let response = loop {
        match future.get() {
            Some(response) => break response.unwrap()?,
            None => future.subscribe().block(),
        }
    };
    let status = response.status();
    let body: IncomingBody = response.consume().unwrap();
    let input = body.stream().unwrap();
    let mut bytes = Vec::new();
    each(&input, |piece| bytes.extend_from_slice(piece));
    Ok((status, bytes))
}

/// More memory than anybody gives.
fn bomb(answer: ResponseOutparam) {
    let mut hoard: Vec<Vec<u8>> = Vec::new();
    for _ in 0..4096 {
        hoard.push(vec![1; 1 << 20]);
    }
    say(answer, 200, format!("{}\n", hoard.len()).as_bytes());
}

/// An answer that breaks off.
fn half(answer: ResponseOutparam) {
    let body = begin(answer, 200, b"text/plain");
    let out = body.write().unwrap();
    write(&out, &[b'x'; 40_000]);
    panic!("in the middle");
}
