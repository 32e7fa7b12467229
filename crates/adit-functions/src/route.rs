//! Which function a request is for.

use adit_node::{Node, functions::Function};
use cid::Cid;
use hyper::{HeaderMap, Uri};
use std::{net::IpAddr, sync::Arc};

/// What a request is for, and the path that the function is to see.
pub(crate) enum Route {
    Published(Arc<Function>, String),
    /// Asked for by CID, and published elsewhere, if anywhere.
    Foreign(Cid, String),
    Nothing,
    /// Not a path that anything is asked for by.
    Malformed,
}

/// Finds it. The function's own part of the path keeps its query.
pub(crate) fn route(node: &Node, uri: &Uri) -> Route {
    let path = uri.path();
    let lower = path.to_ascii_lowercase().replace("%2e", ".");
    if !path.starts_with('/')
        || lower.contains('\\')
        || lower.split('/').any(|part| matches!(part, "." | ".."))
    {
        return Route::Malformed;
    }
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    if let Some(rest) = path.strip_prefix("/fn/") {
        let (name, rest) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let Ok(code) = name.parse::<Cid>() else { return Route::Nothing };
        let target = if rest.is_empty() { format!("/{query}") } else { format!("{rest}{query}") };
        return match node.functions().of_code(&code) {
            Some(function) => Route::Published(function, target),
            None if node.settings().config().http.run => Route::Foreign(code, target),
            None => Route::Nothing,
        };
    }
    match node.functions().find(path) {
        Some((function, rest)) => Route::Published(function, format!("{rest}{query}")),
        None => Route::Nothing,
    }
}

/// The host that a request names, if functions may be asked under it.
pub(crate) fn host(uri: &Uri, headers: &HeaderMap, hosts: &[String]) -> Option<String> {
    let authority = match uri.authority() {
        Some(authority) => authority.as_str(),
        None => {
            let mut named = headers.get_all("host").iter();
            let host = named.next()?.to_str().ok()?;
            if named.next().is_some() {
                return None;
            }
            host
        }
    };
    let parsed: hyper::http::uri::Authority = authority.parse().ok()?;
    let name = parsed.host().trim_start_matches('[').trim_end_matches(']');
    let known = name.parse::<IpAddr>().is_ok()
        || name.eq_ignore_ascii_case("localhost")
        || hosts.iter().any(|host| host.eq_ignore_ascii_case(name));
    (known && !authority.contains('@')).then(|| authority.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_hosts_are_answered() {
        let named = |name: &str| {
            let mut headers = HeaderMap::new();
            headers.append("host", name.parse().unwrap());
            host(&Uri::from_static("/x"), &headers, &["fn.example".to_owned()])
        };
        for good in ["localhost:80", "127.0.0.1:4716", "[::1]:4716", "fn.example", "FN.example:80"] {
            assert_eq!(named(good).as_deref(), Some(good));
        }
        for bad in ["evil.example", "a@localhost", "", "localhost evil"] {
            assert!(named(bad).is_none(), "{bad}");
        }
    }
}
