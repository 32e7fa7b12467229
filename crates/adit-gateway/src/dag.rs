//! Documents: JSON, CBOR and their DAG forms, as they are stored or as a page.

use std::fmt::Write;

use adit_unixfs::codec::{self, dag_json};
use hyper::header;
use hyper::{Response, StatusCode};
use ipld_core::ipld::Ipld;

use crate::answer::{Ask, Gateway, Keep, describe, not_modified, set};
use crate::ask::Format;
use crate::body::Body;
use crate::escape;
use crate::file::{Content, Label, named};
use crate::limits;
use crate::listing::{FORM, as_page, page};
use crate::refusal::Refusal;
use crate::walk::Found;

impl Gateway {
    /// A document's block. Codecs are not converted (IPIP-524); `format` is the block's own, or its plain form.
    pub(crate) async fn document(
        &self,
        ask: &Ask,
        found: &Found,
        format: Format,
    ) -> Result<Response<Body>, Refusal> {
        let content = Content::Memory(ask.blocks.common(&found.cid).await?);
        let json = matches!(format, Format::Json | Format::DagJson);
        let kind = if json && !ask.query.download { "inline" } else { "attachment" };
        let own = format!("{}.{}", found.cid, if json { "json" } else { "cbor" });
        let etag = match ask.format {
            None | Some(Format::Html) if !matches!(format, Format::DagJson | Format::DagCbor) => {
                format!("\"{}\"", found.cid)
            }
            _ => format!("\"{}.{}\"", found.cid, format.name()),
        };
        let label = Label {
            status: StatusCode::OK,
            media: format.media(),
            etag: &etag,
            disposition: named(ask, kind, Some(&own)),
        };
        self.deliver(ask, found, label, content).await
    }

    /// A document for people: its values as text, its links to follow.
    pub(crate) async fn preview(&self, ask: &Ask, found: &Found) -> Result<Response<Body>, Refusal> {
        let mut response = Response::new(Body::empty());
        let etag = format!("\"DagIndex-{FORM}_CID-{}\"", found.cid);
        let known = describe(&mut response, ask, found, &etag, Keep::Page)?;
        as_page(&mut response);
        if known {
            return Ok(not_modified(response));
        }
        let bytes = ask.blocks.common(&found.cid).await?;
        let codec = found.cid.codec();
        let mut body = format!(
            "<h1>{}</h1>\n<p>A document of codec 0x{codec:x}, {} bytes. \
             <a href=\"?format=raw\">Block</a> · <a href=\"?format={}\">Document</a></p>\n",
            escape::html(&found.cid.to_string()),
            bytes.len(),
            if codec == adit_unixfs::block::DAG_JSON { "dag-json" } else { "dag-cbor" },
        );
        match (bytes.len() <= limits::PREVIEW).then(|| codec::decode(codec, &bytes)) {
            None => body.push_str("<p>It is too large to be shown.</p>\n"),
            Some(Err(error)) => {
                let _ = writeln!(body, "<p>It is malformed: {}</p>", escape::html(&error.to_string()));
            }
            Some(Ok(value)) => {
                let text = dag_json::encode(&value).map(|text| String::from_utf8_lossy(&text).into_owned());
                let _ = writeln!(body, "<pre>{}</pre>", escape::html(&text.unwrap_or_default()));
                let mut rows = String::new();
                links(&value, &mut Vec::new(), &mut |path, cid| {
                    let href = format!("{}{}{}", ask.base(), escape::path(&ask.segments), escape::path(path));
                    let _ = writeln!(
                        rows,
                        "<tr><td><a href=\"{href}\">{}</a></td><td class=\"ipfs-hash\">{cid}</td></tr>",
                        escape::html(&path.join("/"))
                    );
                });
                if !rows.is_empty() {
                    let _ = writeln!(body, "<table>\n{rows}</table>");
                }
            }
        }
        set(&mut response, header::CONTENT_TYPE, "text/html; charset=utf-8");
        *response.body_mut() = Body::full(page(&found.cid.to_string(), &body));
        Ok(response)
    }
}

/// Tells of each link and the path to it. The decoder has bounded depth and number of values.
fn links(value: &Ipld, path: &mut Vec<String>, tell: &mut impl FnMut(&[String], &cid::Cid)) {
    match value {
        Ipld::Link(cid) => tell(path, cid),
        Ipld::List(items) => {
            for (index, item) in items.iter().enumerate() {
                path.push(index.to_string());
                links(item, path, tell);
                path.pop();
            }
        }
        Ipld::Map(map) => {
            for (key, item) in map {
                path.push(key.clone());
                links(item, path, tell);
                path.pop();
            }
        }
        _ => {}
    }
}
