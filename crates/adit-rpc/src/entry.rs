//! What every request passes: method, Host and Origin, token, options, and the time it may take.

use crate::args::Args;
use crate::error::RpcError;
use crate::{Access, Rpc, commands};
use adit_api::access::Scope;
use adit_api::{ApiError, App, Code};
use axum::extract::{Path, Request, State};
use axum::http::Method;
use axum::http::header::{AUTHORIZATION, CONNECTION, HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use data_encoding::BASE64;
use std::sync::Arc;

pub(crate) async fn entry(
    State(rpc): State<Arc<Rpc>>,
    Path(command): Path<String>,
    request: Request,
) -> Response {
    let has_body = request.headers().contains_key(axum::http::header::CONTENT_TYPE);
    let mut response = match checked(rpc, command, request).await {
        Ok(response) => response,
        Err(error) => error.into_response(),
    };
    let headers = response.headers_mut();
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    if has_body {
        // The answer to an upload begins while the upload goes on; Go's clients cannot use such a connection again.
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

async fn checked(rpc: Arc<Rpc>, command: String, request: Request) -> Result<Response, RpcError> {
    let guard = match &rpc.access {
        Access::Tokens => rpc.app.guard(),
        Access::Everyone(guard) => guard,
    };
    guard.check(request.headers())?;
    if request.method() != Method::POST {
        return Err(RpcError::method());
    }
    let command = command.trim_end_matches('/');
    let scope = commands::scope(command).ok_or_else(|| RpcError::no_command(command))?;
    if matches!(rpc.access, Access::Tokens) {
        authorize(&rpc.app, request.headers(), scope)?;
    }
    let mut args = Args::parse(request.uri())?;
    let timeout = args.timeout()?;
    let run = commands::run(rpc.app.clone(), command, args, request);
    match timeout {
        None => run.await,
        Some(time) => match tokio::time::timeout(time, run).await {
            Ok(answer) => answer,
            // The words by which kubo-rpc-client knows a timeout.
            Err(_) => Err(RpcError::failed("context deadline exceeded")),
        },
    }
}

/// A token is shown as `Bearer TOKEN`, or as the password of `Basic`, whatever the user's name.
pub(crate) fn authorize(app: &App, headers: &HeaderMap, needed: Scope) -> Result<(), RpcError> {
    let refuse = |message: &str| {
        ApiError::new(Code::Unauthorized, message).hint(
            "give a token of this node: `ipfs --api-auth bearer:TOKEN`, or `Authorization: Bearer TOKEN`",
        )
    };
    let header = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = match header.and_then(|header| header.split_once(' ')) {
        Some((kind, token)) if kind.eq_ignore_ascii_case("bearer") => token.trim().to_owned(),
        Some((kind, secret)) if kind.eq_ignore_ascii_case("basic") => {
            let pair =
                BASE64.decode(secret.trim().as_bytes()).ok().and_then(|pair| String::from_utf8(pair).ok());
            let pair = pair.ok_or_else(|| refuse("the Basic credentials cannot be read"))?;
            pair.split_once(':').map(|(_, password)| password.to_owned()).unwrap_or_default()
        }
        _ => return Err(refuse("this needs a token").into()),
    };
    let (scope, _) =
        app.tokens().check(&token).ok_or_else(|| refuse("the token is not known here, or was revoked"))?;
    if scope < needed {
        let message = format!("this needs a token of scope `{needed}`, this one has `{scope}`");
        return Err(ApiError::new(Code::ForbiddenScope, message).into());
    }
    Ok(())
}
