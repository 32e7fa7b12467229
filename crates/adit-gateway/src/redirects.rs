//! `_redirects` (<https://specs.ipfs.tech/http-gateways/web-redirects-file/>): what a site answers where it has
//! nothing. Only for sites with an origin of their own.

use adit_store::export;
use cid::Cid;
use hyper::{Response, StatusCode};

use crate::answer::{Ask, Gateway, redirect};
use crate::body::Body;
use crate::escape;
use crate::limits;
use crate::refusal::Refusal;
use crate::walk::walk;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    from: Vec<Piece>,
    splat: bool,
    to: String,
    status: StatusCode,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Named(String),
}

/// Reads a file's rules.
///
/// # Errors
/// The first line that is wrong, and why.
pub fn parse(text: &str) -> Result<Vec<Rule>, String> {
    let mut rules = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if rules.len() == limits::REDIRECT_RULES {
            return Err(format!("more than {} rules", limits::REDIRECT_RULES));
        }
        rules.push(rule(line).map_err(|why| format!("line {}: {why}", number + 1))?);
    }
    Ok(rules)
}

fn rule(line: &str) -> Result<Rule, String> {
    let mut words = line.split_whitespace().take_while(|word| !word.starts_with('#'));
    let from = words.next().ok_or("a rule needs a path")?;
    let to = words.next().ok_or("a rule needs a path and a target")?;
    let status = match words.next() {
        None => 301,
        Some(word) => word.parse::<u16>().map_err(|_| format!("{word:.20?} is no status"))?,
    };
    if words.next().is_some() {
        return Err("a rule has a path, a target and a status, and nothing else".into());
    }
    if !matches!(status, 200 | 301 | 302 | 303 | 307 | 308 | 404 | 410 | 451) {
        return Err(format!("unsupported redirect status {status}"));
    }
    let from = from.strip_prefix('/').ok_or("the path has to begin with /")?;
    let mut pieces = Vec::new();
    let mut splat = false;
    for part in from.split('/').filter(|part| !part.is_empty()) {
        if splat {
            return Err("* can only stand at the end".into());
        }
        match part.strip_prefix(':') {
            _ if part == "*" => splat = true,
            _ if part.contains('*') => return Err("* can only stand at the end".into()),
            Some(name) if !name.is_empty() => pieces.push(Piece::Named(name.to_owned())),
            _ => pieces.push(Piece::Text(escape::decode(part).ok_or("the path is not text")?)),
        }
    }
    let is_url = to.starts_with("https://") || to.starts_with("http://");
    let elsewhere = is_url && (300..400).contains(&status);
    if !to.starts_with('/') && !elsewhere {
        return Err("the target has to begin with /, or be a URL that is redirected to".into());
    }
    let status = StatusCode::from_u16(status).map_err(|_| "no status")?;
    Ok(Rule { from: pieces, splat, to: to.to_owned(), status })
}

impl Rule {
    /// The target, where the path fits.
    fn matched(&self, segments: &[String]) -> Option<String> {
        let fits =
            if self.splat { segments.len() >= self.from.len() } else { segments.len() == self.from.len() };
        if !fits {
            return None;
        }
        let mut values = Vec::new();
        for (piece, segment) in self.from.iter().zip(segments) {
            match piece {
                Piece::Text(text) if text == segment => {}
                Piece::Text(_) => return None,
                Piece::Named(name) => values.push((name.as_str(), escape::segment(segment))),
            }
        }
        if self.splat {
            let rest: Vec<_> = segments[self.from.len()..].iter().map(|part| escape::segment(part)).collect();
            values.push(("splat", rest.join("/")));
        }
        // The longest names first, so that `:year` is not taken for `:y` with an `ear` behind it.
        values.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
        let mut to = self.to.clone();
        for (name, value) in values {
            to = to.replace(&format!(":{name}"), &value);
        }
        Some(to)
    }
}

impl Gateway {
    /// The answer that a site's `_redirects` gives where nothing stands; `None` where it has none.
    pub(crate) async fn redirected(
        &self,
        ask: &Ask,
        root: Cid,
        before: &[String],
    ) -> Result<Option<Response<Body>>, Refusal> {
        let at = |name: &str| {
            let mut path = before.to_vec();
            path.push(name.to_owned());
            path
        };
        let file = match walk(&ask.blocks, root, &at("_redirects")).await {
            Ok(found) => found.cid,
            Err(refusal) if refusal.status == StatusCode::NOT_FOUND => return Ok(None),
            Err(refusal) => return Err(refusal),
        };
        let wrong = |why: String| {
            Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, format!("could not parse _redirects: {why}"))
        };
        let text = match export::read(&ask.blocks, &file, limits::REDIRECTS as u64).await {
            Ok(bytes) => bytes,
            Err(export::ExportError::TooLarge { .. }) => {
                return Err(wrong(format!("redirects file size cannot exceed {} bytes", limits::REDIRECTS)));
            }
            Err(error) => return Err(error.into()),
        };
        let text = std::str::from_utf8(&text).map_err(|_| wrong("it is not text".into()))?;
        let rules = parse(text).map_err(wrong)?;
        let Some((rule, to)) = rules.iter().find_map(|rule| Some((rule, rule.matched(&ask.segments)?)))
        else {
            return Ok(None);
        };
        if rule.status.is_redirection() {
            // A path never becomes another host: `//` would.
            let to = if to.starts_with('/') { format!("/{}", to.trim_start_matches('/')) } else { to };
            return redirect(rule.status, &to).map(Some);
        }
        let (segments, _) = crate::ask::segments(&to)?;
        let mut path = before.to_vec();
        path.extend(segments.iter().cloned());
        let found = walk(&ask.blocks, root, &path).await?;
        let etag = format!("\"{}\"", found.cid);
        let name = segments.last().map(String::as_str);
        self.file(ask, &found, name, &etag, rule.status).await.map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn go(rules: &str, path: &str) -> Option<(u16, String)> {
        let (segments, _) = crate::ask::segments(path).unwrap();
        let rules = parse(rules).unwrap();
        rules.iter().find_map(|rule| Some((rule.status.as_u16(), rule.matched(&segments)?)))
    }

    #[test]
    fn the_first_rule_that_fits_counts() {
        let rules = "# comment\r\n/a /b\r\n/a /c 302\n/posts/:y/:year/* /p/:year-:y/:splat 307 # why\n/* /index.html 200";
        assert_eq!(go(rules, "/a"), Some((301, "/b".into())));
        assert_eq!(go(rules, "/posts/1/2/x/y"), Some((307, "/p/2-1/x/y".into())));
        assert_eq!(go(rules, "/nowhere/else"), Some((200, "/index.html".into())));
        assert_eq!(go("/a /b", "/c"), None);
    }

    #[test]
    fn captured_text_stays_one_escaped_part() {
        assert_eq!(
            go("/x/:v /y/:v", "/x/%0d%0aSet-Cookie%3A%20a"),
            Some((301, "/y/%0D%0ASet-Cookie:%20a".into()))
        );
    }

    #[test]
    fn what_the_specification_does_not_allow_is_refused() {
        for rules in [
            "/a",
            "a /b",
            "/a /b 301!",
            "/a /b 418",
            "/a/*/b /c",
            "/a b",
            "/a https://e.org/ 200",
            "/a /b 301 x",
        ] {
            assert!(parse(rules).is_err(), "{rules}");
        }
        assert!(parse(&"/a /b\n".repeat(limits::REDIRECT_RULES + 1)).is_err());
    }
}
