//! The order in which a request is judged, and what all answers have in common.

use std::sync::Arc;
use std::time::Duration;

use adit_deny::Denials;
use adit_names::{Name, NameSystem};
use adit_store::BlockSource;
use adit_unixfs::block::{DAG_CBOR, DAG_JSON, DAG_PB, RAW};
use cid::Cid;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{HeaderMap, Method, Request, Response, StatusCode, Uri};

use crate::ask::{self, Format, Parameters, Query, Space};
use crate::blocks::{Blocks, Hot};
use crate::body::Body;
use crate::host::{self, Host, Reached};
use crate::limits;
use crate::refusal::Refusal;
use crate::routing::{self, Routing};
use crate::walk::{Found, walk};

/// What an operator decides.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Host names, without port, that are subdomain gateways.
    pub hosts: Vec<String>,
    /// Whether files, listings and views are served, or only what the asker can verify.
    pub deserialized: bool,
    /// How long one block may take to come.
    pub idle: Duration,
    /// How long one answer may take.
    pub longest: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            hosts: vec!["localhost".into()],
            deserialized: true,
            idle: Duration::from_secs(30),
            longest: Duration::from_secs(3600),
        }
    }
}

/// What a gateway stands on.
pub struct Parts {
    /// Asked for every block.
    pub source: Arc<dyn BlockSource>,
    /// Asked where the client wants only what is here; never reaches for a network.
    pub local: Arc<dyn BlockSource>,
    /// Resolves names.
    pub names: Arc<dyn NameSystem>,
    /// Answers `/routing/v1`.
    pub routing: Arc<dyn Routing>,
    /// What the operator does not want served.
    pub denials: Denials,
    /// The operator's choices.
    pub settings: Settings,
}

/// The gateway: cheap to clone, used by all connections.
#[derive(Clone)]
pub struct Gateway(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) blocks: Blocks,
    local: Blocks,
    pub(crate) names: Arc<dyn NameSystem>,
    pub(crate) routing: Arc<dyn Routing>,
    denials: Denials,
    pub(crate) settings: Settings,
}

/// One request for content, after its host was read.
pub(crate) struct Ask {
    pub(crate) method: Method,
    pub(crate) headers: HeaderMap,
    pub(crate) query: Query,
    pub(crate) format: Option<Format>,
    pub(crate) parameters: Parameters,
    pub(crate) space: Space,
    /// The CID or name as it was written.
    pub(crate) root: String,
    /// The path below it.
    pub(crate) segments: Vec<String>,
    pub(crate) trailing: bool,
    pub(crate) site: Site,
    pub(crate) blocks: Blocks,
    /// How long the root's content holds; `None` for ever.
    pub(crate) ttl: Option<Duration>,
}

/// Below which address the content stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Site {
    /// `/ipfs/CID`.
    Path,
    /// An origin of its own, below this gateway.
    Subdomain { gateway: String },
    /// A domain's own site.
    DnsLink,
}

impl Ask {
    /// What stands before paths in links that stay on this site.
    pub(crate) fn base(&self) -> String {
        match self.site {
            Site::Path => format!("/{}/{}", self.space.text(), crate::escape::segment(&self.root)),
            _ => String::new(),
        }
    }

    /// The content path, for `X-Ipfs-Path`.
    pub(crate) fn content_path(&self) -> String {
        let path = crate::escape::path(&self.segments);
        let end = if self.trailing { "/" } else { "" };
        format!("/{}/{}{path}{end}", self.space.text(), crate::escape::segment(&self.root))
    }

    /// Whether nobody else's content shares the origin, so that `_redirects` may act.
    pub(crate) fn isolated(&self) -> bool {
        self.site != Site::Path
    }
}

impl Gateway {
    /// Puts the parts together.
    pub fn new(parts: Parts) -> Self {
        let Parts { source, local, names, routing, denials, mut settings } = parts;
        settings.hosts.iter_mut().for_each(|host| host.make_ascii_lowercase());
        let hot = Arc::new(Hot::new(limits::HOT));
        let blocks = Blocks::new(source, hot.clone(), settings.idle, denials.clone());
        let local = Blocks::new(local, hot, settings.idle, denials.clone());
        Self(Arc::new(Inner { blocks, local, names, routing, denials, settings }))
    }

    /// Answers one request. Errors are answers too.
    pub async fn answer<B>(&self, request: Request<B>) -> Response<Body>
    where
        B: hyper::body::Body + Send + Unpin,
        B::Error: Into<crate::body::BodyError>,
    {
        let head = request.method() == Method::HEAD;
        let mut response = match self.judge(request).await {
            Ok(response) => response,
            Err(refusal) => {
                let mut response = plain(refusal.status, &refusal.message);
                set(&mut response, header::CACHE_CONTROL, "no-store");
                response
            }
        };
        let headers = response.headers_mut();
        for (name, value) in COMMON {
            headers.entry(name).or_insert(HeaderValue::from_static(value));
        }
        if head {
            let len = hyper::body::Body::size_hint(response.body()).exact();
            if let Some(len) = len {
                response.headers_mut().entry(header::CONTENT_LENGTH).or_insert(len.into());
            }
            *response.body_mut() = Body::empty();
        }
        response
    }

    async fn judge<B>(&self, request: Request<B>) -> Result<Response<Body>, Refusal>
    where
        B: hyper::body::Body + Send + Unpin,
        B::Error: Into<crate::body::BodyError>,
    {
        let uri = request.uri();
        if uri.path().len() + uri.query().map_or(0, str::len) > limits::TARGET {
            return Err(Refusal::new(StatusCode::URI_TOO_LONG, "the path is too long"));
        }
        let reached = host::reached(uri, request.headers(), &self.0.settings.hosts);
        let shared = matches!(reached.host, Host::Path | Host::Subdomains { .. } | Host::Domain(_));
        if shared && uri.path().starts_with("/routing/v1/") && !self.is_site(&reached.host).await {
            return routing::answer(self, request).await;
        }
        match *request.method() {
            Method::GET | Method::HEAD => {}
            Method::OPTIONS => return Ok(empty(StatusCode::NO_CONTENT)),
            _ => {
                let mut response =
                    plain(StatusCode::METHOD_NOT_ALLOWED, "only GET, HEAD and OPTIONS are answered here");
                set(&mut response, header::ALLOW, "GET, HEAD, OPTIONS");
                return Ok(response);
            }
        }
        let (parts, _) = request.into_parts();
        let forwarded = reached.forwarded;
        let mut response = self.content(parts.method, parts.uri, parts.headers, reached).await?;
        if forwarded {
            let vary = HeaderValue::from_static("X-Forwarded-Host, X-Forwarded-Proto");
            response.headers_mut().append(header::VARY, vary);
        }
        Ok(response)
    }

    /// Whether a domain has a DNSLink. What cannot be found out soon counts as no.
    async fn is_site(&self, host: &Host) -> bool {
        let Host::Domain(domain) = host else { return false };
        let name = Name::Domain(domain.clone());
        let step = self.0.names.step(&name);
        matches!(tokio::time::timeout(limits::HOST_LOOKUP, step).await, Ok(Ok(_)))
    }

    async fn content(
        &self,
        method: Method,
        uri: Uri,
        headers: HeaderMap,
        reached: Reached,
    ) -> Result<Response<Body>, Refusal> {
        let query = Query::parse(uri.query().unwrap_or_default())?;
        let (segments, trailing) = ask::segments(uri.path())?;
        let is_site = self.is_site(&reached.host).await;
        let (space, root, segments, site) = match reached.host {
            Host::Origin { label, space, gateway } => {
                let root = match self
                    .origin(&label, space, &gateway, reached.scheme, &segments, trailing, &query)
                    .await?
                {
                    Ok(root) => root,
                    Err(redirect) => return Ok(redirect),
                };
                (space, root, segments, Site::Subdomain { gateway })
            }
            Host::Domain(domain) if is_site => (Space::Ipns, domain, segments, Site::DnsLink),
            Host::Path | Host::Domain(_) | Host::Subdomains { .. } => {
                let mut parts = segments.into_iter();
                let space = match parts.next().as_deref() {
                    Some("ipfs") => Space::Ipfs,
                    Some("ipns") => Space::Ipns,
                    None => return Ok(plain(StatusCode::OK, WELCOME)),
                    _ => return Err(Refusal::not_found("content stands below /ipfs/CID and /ipns/NAME")),
                };
                let Some(root) = parts.next() else {
                    return by_uri(space, &query);
                };
                let segments: Vec<String> = parts.collect();
                if let Host::Subdomains { gateway } = reached.host {
                    let label = host::label(space, &root)?;
                    let mut rest = crate::escape::path(&segments);
                    if trailing || rest.is_empty() {
                        rest.push('/');
                    }
                    let to = format!(
                        "{}://{label}.{}.{gateway}{rest}{}",
                        reached.scheme,
                        space.text(),
                        query.behind()
                    );
                    return redirect(StatusCode::MOVED_PERMANENTLY, &to);
                }
                (space, root, segments, Site::Path)
            }
        };
        let (format, parameters) = ask::format(&query, &headers)?;
        let only_here = headers.get_all(header::CACHE_CONTROL).iter().any(|value| {
            value.to_str().is_ok_and(|text| text.to_ascii_lowercase().contains("only-if-cached"))
        });
        let blocks = if only_here { self.0.local.clone() } else { self.0.blocks.clone() };
        let ask = Ask {
            method,
            headers,
            query,
            format,
            parameters,
            space,
            root,
            segments,
            trailing,
            site,
            blocks,
            ttl: None,
        };
        let result = self.rooted(ask).await;
        match result {
            Err(refusal) if only_here && refusal.status == StatusCode::NOT_FOUND => {
                Err(Refusal::new(StatusCode::PRECONDITION_FAILED, format!("not here: {}", refusal.message)))
            }
            result => result,
        }
    }

    /// The root that an origin's label names, or a redirect to the origin's right spelling.
    #[allow(clippy::too_many_arguments)]
    async fn origin(
        &self,
        label: &str,
        space: Space,
        gateway: &str,
        scheme: &str,
        segments: &[String],
        trailing: bool,
        query: &Query,
    ) -> Result<Result<String, Response<Body>>, Refusal> {
        if !host::fits(label) {
            return Err(host::too_long(label));
        }
        let moved = |label: String| {
            let mut rest = crate::escape::path(segments);
            if trailing || rest.is_empty() {
                rest.push('/');
            }
            let to = format!("{scheme}://{label}.{}.{gateway}{rest}{}", space.text(), query.behind());
            redirect(StatusCode::MOVED_PERMANENTLY, &to).map(Err)
        };
        if space == Space::Ipfs {
            let cid: Cid = label.parse().map_err(|_| host::invalid(space, label))?;
            let canonical = host::label(space, &cid.to_string())?;
            return if canonical == label { Ok(Ok(label.to_owned())) } else { moved(canonical) };
        }
        if let Some((key, canonical)) = host::key(label) {
            return if canonical { Ok(Ok(label.to_owned())) } else { moved(key.to_string()) };
        }
        if label.contains('.') {
            // Certificates for one level of subdomains do not cover a domain with its dots.
            return match scheme {
                "https" => moved(host::label(space, label)?),
                _ => Ok(Ok(label.to_owned())),
            };
        }
        Ok(Ok(host::uninline(label)))
    }

    /// Resolves the root, and answers in the form that was asked for.
    async fn rooted(&self, mut ask: Ask) -> Result<Response<Body>, Refusal> {
        let bare = matches!(ask.format, Some(Format::Raw | Format::Car | Format::IpnsRecord));
        if !self.0.settings.deserialized && !bare {
            return Err(Refusal::not_acceptable(
                "this gateway serves only what can be verified: ask for format=raw, car or ipns-record",
            ));
        }
        let cid = match ask.space {
            Space::Ipfs => {
                let cid: Cid = ask.root.parse().map_err(|_| host::invalid(ask.space, &ask.root))?;
                if ask.format == Some(Format::IpnsRecord) {
                    return Err(Refusal::not_acceptable("records are of names: ask below /ipns/"));
                }
                cid
            }
            Space::Ipns => {
                let name: Name = ask.root.parse().map_err(|_| host::invalid(ask.space, &ask.root))?;
                if self.0.denials.now().denies_name(&ask.root, &ask.segments.join("/")) {
                    return Err(Refusal::denied());
                }
                if let (Name::Key(key), Site::Path) = (&name, &ask.site)
                    && (ask.root.starts_with("12D3")
                        || ask.root.starts_with("16U")
                        || ask.root.starts_with("Qm"))
                {
                    ask.root = key.to_string();
                    let to = format!("{}{}", ask.content_path(), ask.query.behind());
                    return redirect(StatusCode::FOUND, &to);
                }
                if ask.format == Some(Format::IpnsRecord) {
                    return self.record(&ask, &name).await;
                }
                let resolved = adit_names::resolve(&*self.0.names, &name, "");
                let resolved =
                    tokio::time::timeout(2 * self.0.settings.idle, resolved).await.map_err(|_| {
                        Refusal::new(
                            StatusCode::GATEWAY_TIMEOUT,
                            format!("{name} could not be resolved in time"),
                        )
                    })??;
                ask.ttl = Some(resolved.ttl);
                return self.at(&ask, resolved.root, resolved.rest).await;
            }
        };
        self.at(&ask, cid, String::new()).await
    }

    /// Answers for a root and what its name put before the asker's own path.
    async fn at(&self, ask: &Ask, root: Cid, before: String) -> Result<Response<Body>, Refusal> {
        let mut segments: Vec<String> =
            before.split('/').filter(|part| !part.is_empty() && *part != ".").map(str::to_owned).collect();
        if segments.iter().any(|part| part == "..") {
            return Err(Refusal::new(StatusCode::BAD_GATEWAY, "the name stands for a path with `..`"));
        }
        let site_root = segments.len();
        segments.extend(ask.segments.iter().cloned());
        if self.0.denials.now().denies_content(&root, &segments.join("/")) {
            return Err(Refusal::denied());
        }
        let found = match walk(&ask.blocks, root, &segments).await {
            Ok(found) => found,
            Err(refusal) if refusal.status == StatusCode::NOT_FOUND && ask.isolated() => {
                let plain = matches!(ask.format, None | Some(Format::Html));
                let ruled =
                    if plain { self.redirected(ask, root, &segments[..site_root]).await? } else { None };
                return ruled.ok_or(refusal);
            }
            Err(refusal) => return Err(refusal),
        };
        self.formed(ask, found).await
    }

    async fn formed(&self, ask: &Ask, found: Found) -> Result<Response<Body>, Refusal> {
        let codec = found.cid.codec();
        let json = matches!(codec, dag_codec::JSON | DAG_JSON);
        let cbor = matches!(codec, dag_codec::CBOR | DAG_CBOR);
        let files = matches!(codec, RAW | DAG_PB);
        match ask.format {
            Some(Format::Raw) => self.raw(ask, &found).await,
            Some(Format::Car) => self.car(ask, found).await,
            Some(Format::Tar) if files => self.tar(ask, &found).await,
            Some(Format::Html) if codec == DAG_JSON || codec == DAG_CBOR => self.preview(ask, &found).await,
            Some(Format::DagJson) if codec == DAG_JSON => self.document(ask, &found, Format::DagJson).await,
            Some(Format::DagCbor) if codec == DAG_CBOR => self.document(ask, &found, Format::DagCbor).await,
            Some(Format::Json) if json => self.document(ask, &found, Format::Json).await,
            Some(Format::Cbor) if cbor => self.document(ask, &found, Format::Cbor).await,
            None | Some(Format::Html | Format::Json | Format::Cbor) if files => {
                self.unixfs(ask, &found).await
            }
            None | Some(Format::Html) if json || cbor => {
                let own = match codec {
                    dag_codec::JSON => Format::Json,
                    DAG_JSON => Format::DagJson,
                    dag_codec::CBOR => Format::Cbor,
                    _ => Format::DagCbor,
                };
                self.document(ask, &found, own).await
            }
            None | Some(Format::Html) => Err(Refusal::new(
                StatusCode::NOT_IMPLEMENTED,
                format!("content of codec 0x{codec:x} can only be had as a block: ask for format=raw or car"),
            )),
            Some(format) => Err(Refusal::not_acceptable(format!(
                "{} is not stored as {}, and blocks are not converted from one codec to another",
                found.cid,
                format.name()
            ))),
        }
    }
}

/// Codecs without links that the walk does not know.
pub(crate) mod dag_codec {
    /// Plain JSON.
    pub(crate) const JSON: u64 = 0x0200;
    /// Plain CBOR.
    pub(crate) const CBOR: u64 = 0x51;
}

const WELCOME: &str = "This is an IPFS gateway. Ask it for /ipfs/CID or /ipns/NAME.\n";

/// What every answer says.
const COMMON: [(HeaderName, &str); 5] = [
    (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
    (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD, OPTIONS"),
    (header::ACCESS_CONTROL_ALLOW_HEADERS, "Content-Type, Range, User-Agent, X-Requested-With"),
    (
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        "Content-Length, Content-Range, X-Chunked-Output, X-Ipfs-Path, X-Ipfs-Roots, X-Stream-Output",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
];

/// How long a cache may keep an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    /// Exactly what the CID names.
    Content,
    /// A page that we made of it, which another version of this program may make otherwise.
    Page,
}

/// Sets the headers that say what content this is and how long it holds; true where the client has it already.
pub(crate) fn describe(
    response: &mut Response<Body>,
    ask: &Ask,
    found: &Found,
    etag: &str,
    keep: Keep,
) -> Result<bool, Refusal> {
    let cache = match (ask.ttl, keep) {
        (Some(ttl), _) => format!("public, max-age={}, stale-while-revalidate=2678400", ttl.as_secs()),
        (None, Keep::Content) => "public, max-age=29030400, immutable".to_owned(),
        (None, Keep::Page) => "public, max-age=604800, stale-while-revalidate=2678400".to_owned(),
    };
    let mut roots = String::new();
    for root in &found.roots {
        if !roots.is_empty() {
            roots.push(',');
        }
        // A path can be long, and a header has to be read by everybody on the way.
        if roots.len() > 6 << 10 {
            roots.push_str("...");
            break;
        }
        roots.push_str(&root.to_string());
    }
    set(response, header::CACHE_CONTROL, &cache);
    set(response, header::ETAG, etag);
    set(response, HeaderName::from_static("x-ipfs-path"), &ask.content_path());
    set(response, HeaderName::from_static("x-ipfs-roots"), &roots);
    if ask.query.format.is_none() {
        response.headers_mut().append(header::VARY, HeaderValue::from_static("Accept"));
    }
    let known = ask.headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    Ok(known.flat_map(|list| list.split(',')).map(str::trim).any(|tag| {
        tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag.strip_prefix("W/").unwrap_or(etag)
    }))
}

/// The answer to a client that has the content already.
pub(crate) fn not_modified(mut response: Response<Body>) -> Response<Body> {
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    *response.body_mut() = Body::empty();
    response
}

/// Sets a header; what cannot stand in one is left out.
pub(crate) fn set(response: &mut Response<Body>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

pub(crate) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

pub(crate) fn plain(status: StatusCode, text: &str) -> Response<Body> {
    let end = if text.ends_with('\n') { "" } else { "\n" };
    let mut response = Response::new(Body::full(format!("{text}{end}")));
    *response.status_mut() = status;
    set(&mut response, header::CONTENT_TYPE, "text/plain; charset=utf-8");
    response
}

pub(crate) fn redirect(status: StatusCode, to: &str) -> Result<Response<Body>, Refusal> {
    let location = HeaderValue::from_str(to).map_err(|_| Refusal::bad("cannot redirect to such a path"))?;
    let mut response = plain(status, &format!("moved to {to}"));
    response.headers_mut().insert(header::LOCATION, location);
    Ok(response)
}

/// `/ipfs/?uri=ipfs://…`, which browsers send for links that they do not know themselves.
fn by_uri(space: Space, query: &Query) -> Result<Response<Body>, Refusal> {
    let uri = query
        .uri
        .as_deref()
        .ok_or_else(|| Refusal::bad(format!("/{}/ needs a root behind it", space.text())))?;
    let (scheme, rest) = uri.split_once("://").ok_or_else(|| Refusal::bad("uri is not a URL"))?;
    if !matches!(scheme, "ipfs" | "ipns") {
        return Err(Refusal::bad("uri has to begin with ipfs:// or ipns://"));
    }
    let path = rest.split(['?', '#']).next().unwrap_or_default();
    let (segments, trailing) = ask::segments(path)?;
    if segments.is_empty() {
        return Err(Refusal::bad("uri names no root"));
    }
    let end = if trailing { "/" } else { "" };
    redirect(StatusCode::MOVED_PERMANENTLY, &format!("/{scheme}{}{end}", crate::escape::path(&segments)))
}
