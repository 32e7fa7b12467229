//! A directory as a page.

use std::fmt::Write;
use std::sync::LazyLock;

use adit_store::BlockSource;
use adit_unixfs::read::{Lister, sorted};
use data_encoding::BASE64;
use hyper::Response;
use hyper::header;
use sha2::{Digest, Sha256};

use crate::answer::{Ask, Gateway, Keep, Site, describe, not_modified, set};
use crate::ask::Space;
use crate::body::Body;
use crate::escape;
use crate::limits;
use crate::refusal::Refusal;
use crate::walk::Found;

/// Changes with the page's form, so that caches ask again.
pub(crate) const FORM: &str = "adit1";

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;margin:2em auto;max-width:60em;padding:0 1em;color:#222}\
table{border-collapse:collapse;width:100%}td{padding:.2em .6em .2em 0;border-top:1px solid #ddd}\
.size{text-align:right;white-space:nowrap;color:#555}.ipfs-hash{font-family:monospace;color:#555}\
a{color:#06c;text-decoration:none}a:hover{text-decoration:underline}h1{font-size:1.2em;word-break:break-all}\
pre{white-space:pre-wrap;word-break:break-all;background:#f5f5f5;padding:1em}\
@media(prefers-color-scheme:dark){body{background:#181818;color:#ddd}a{color:#6af}td{border-color:#333}pre{background:#222}}";

/// Pages have one style and nothing else: no script, no frame, no image, no form.
pub(crate) static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = BASE64.encode(&Sha256::digest(STYLE));
    format!(
        "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
});

/// A page around a body that is HTML already.
pub(crate) fn page(title: &str, body: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{body}</body>\n</html>\n",
        escape::html(title)
    )
}

/// Sets what every page of ours says.
pub(crate) fn as_page(response: &mut Response<Body>) {
    set(response, header::CONTENT_TYPE, "text/html; charset=utf-8");
    set(response, header::CONTENT_SECURITY_POLICY, &POLICY);
    set(response, header::REFERRER_POLICY, "no-referrer");
}

impl Gateway {
    pub(crate) async fn list(&self, ask: &Ask, found: &Found) -> Result<Response<Body>, Refusal> {
        let mut response = Response::new(Body::empty());
        let etag = format!("\"DirIndex-{FORM}_CID-{}\"", found.cid);
        let known = describe(&mut response, ask, found, &etag, Keep::Page)?;
        as_page(&mut response);
        if known {
            return Ok(not_modified(response));
        }
        let mut lister = Lister::new(found.cid);
        let mut entries = Vec::new();
        let mut more = false;
        while let Some(want) = lister.want() {
            if entries.len() >= limits::LISTED {
                more = true;
                break;
            }
            let ahead: Vec<_> = lister.ahead().take(32).collect();
            ask.blocks.prefetch(&ahead);
            entries.extend(lister.supply(&ask.blocks.common(&want).await?)?);
        }
        more |= entries.len() > limits::LISTED;
        entries.truncate(limits::LISTED);
        let here = format!("{}{}", ask.base(), escape::path(&ask.segments));
        let mut rows = String::new();
        if !ask.segments.is_empty() {
            let _ = writeln!(rows, "<tr><td><a href=\"{here}/..\">..</a></td><td></td><td></td></tr>");
        }
        for entry in sorted(entries) {
            let _ = writeln!(
                rows,
                "<tr><td><a href=\"{here}/{}\">{}</a></td><td>{}</td><td class=\"size\">{}</td></tr>",
                escape::segment(&entry.name),
                escape::html(&entry.name),
                hash_link(ask, &entry.cid.to_string(), &entry.name),
                size(entry.tsize),
            );
        }
        let note = match more {
            true => format!("<p>Only {} entries are shown; the directory has more.</p>\n", limits::LISTED),
            false => String::new(),
        };
        let crumbs = crumbs(ask);
        let title = format!(
            "/{}/{}",
            ask.space.text(),
            std::iter::once(&ask.root).chain(&ask.segments).cloned().collect::<Vec<_>>().join("/")
        );
        let body = format!(
            "<h1>Index of {crumbs}</h1>\n<p class=\"ipfs-hash\">{}</p>\n{note}<table>\n{rows}</table>\n",
            found.cid
        );
        *response.body_mut() = Body::full(page(&title, &body));
        Ok(response)
    }
}

/// The path, each part a link to its own page.
fn crumbs(ask: &Ask) -> String {
    let space = ask.space.text();
    let root = escape::html(&ask.root);
    let (top, base) = match &ask.site {
        Site::Path => (ask.base(), ask.base()),
        Site::Subdomain { gateway } => {
            let base = format!("//{gateway}/{space}/{}", escape::segment(&ask.root));
            (base.clone(), base)
        }
        Site::DnsLink => {
            (format!("//{}/", escape::segment(&ask.root)), format!("//{}", escape::segment(&ask.root)))
        }
    };
    let mut out = format!("/{space}/<a href=\"{top}\">{root}</a>");
    for (index, name) in ask.segments.iter().enumerate() {
        let path = escape::path(&ask.segments[..=index]);
        let _ = write!(out, "/<a href=\"{base}{path}\">{}</a>", escape::html(name));
    }
    out
}

/// A link to an entry by its own CID. The name in it is escaped twice, as other gateways and the
/// conformance suite have it.
fn hash_link(ask: &Ask, cid: &str, name: &str) -> String {
    let query = escape::strict(&escape::segment(name));
    let attributes = match (&ask.site, ask.space) {
        (Site::Path, _) => format!("href=\"/ipfs/{cid}?filename={query}\""),
        (Site::Subdomain { gateway }, _) => format!("href=\"//{gateway}/ipfs/{cid}?filename={query}\""),
        (Site::DnsLink, Space::Ipns | Space::Ipfs) => {
            format!("href=\"https://cid.ipfs.tech/#{cid}\" target=\"_blank\" rel=\"noreferrer noopener\"")
        }
    };
    format!(
        "<a class=\"ipfs-hash\" translate=\"no\" {attributes}>{}…{}</a>",
        &cid[..cid.len().min(6)],
        &cid[cid.len().saturating_sub(4)..]
    )
}

/// A size for people.
fn size(bytes: u64) -> String {
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64;
    let mut unit = "B";
    for next in ["KiB", "MiB", "GiB", "TiB"] {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    format!("{value:.1} {unit}")
}
