//! Who may call what.

use crate::stand_in::{PAGE, serve, serve_with, within};
use adit_api::access::Scope;
use adit_api::client::ClientError;
use adit_api::types::RunBody;
use adit_api::{Code, ErrorBody, Limits};
use std::time::Duration;

/// Method, path with every parameter filled, and scope of every route, from the OpenAPI document.
fn routes() -> Vec<(String, String, Option<String>)> {
    let document: serde_json::Value = serde_json::from_str(&adit_api::routes::openapi_json()).unwrap();
    let mut routes = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let scope = operation["security"][0]["token"][0].as_str().map(str::to_owned);
            let filled: Vec<&str> =
                path.split('/').map(|part| if part.starts_with('{') { "x" } else { part }).collect();
            routes.push((method.to_uppercase(), filled.join("/"), scope));
        }
    }
    assert!(routes.len() > 30);
    routes
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or("none")
}

fn body(answer: &str) -> ErrorBody {
    serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap()
}

#[tokio::test]
async fn every_route_but_the_public_ones_needs_a_token() {
    let served = serve().await;
    for (method, path, scope) in routes() {
        let answer = served
            .raw(&format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"))
            .await;
        match scope {
            None => assert!(matches!(path.as_str(), "/livez" | "/readyz"), "{path} is public"),
            Some(_) => assert_eq!(status(&answer), "401", "{method} {path}"),
        }
    }
}

#[tokio::test]
async fn every_route_refuses_a_token_of_a_lesser_scope() {
    let served = serve().await;
    let read = served.token(Scope::Read).await.token;
    let run = served.token(Scope::Run).await.token;
    let spend = served.token(Scope::Spend).await.token;
    for (method, path, scope) in routes() {
        let lesser: &[&str] = match scope.as_deref() {
            Some("run") => &[&read],
            Some("admin") => &[&read, &run, &spend],
            _ => &[],
        };
        for token in lesser {
            let head = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n");
            let answer = served.raw(&format!("{head}authorization: Bearer {token}\r\n\r\n")).await;
            assert_eq!(status(&answer), "403", "{method} {path}");
            assert_eq!(body(&answer).code, Code::ForbiddenScope, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn tokens_are_made_listed_and_revoked() {
    let served = serve().await;
    let admin = served.client();
    let issued = admin.issue_token("laptop", Scope::Read).await.unwrap();
    let client = served.with_token(Some(&issued.token));
    client.id().await.unwrap();
    assert_eq!(admin.tokens().await.unwrap(), std::slice::from_ref(&issued.view));
    admin.revoke_token(&issued.view.id).await.unwrap();
    assert_eq!(client.id().await.unwrap_err().api().unwrap().code, Code::Unauthorized);
    let nobody = served.with_token(Some("adit_guess")).id().await.unwrap_err();
    assert_eq!(nobody.api().unwrap().code, Code::Unauthorized);
}

#[tokio::test]
async fn another_host_or_an_unknown_page_is_refused_before_anything_else() {
    let served = serve().await;
    let rebound = served.raw("GET /livez HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n").await;
    assert_eq!((status(&rebound), body(&rebound).code), ("403", Code::ForbiddenHost));
    let head = "GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n";
    let page = served.raw(&format!("{head}origin: https://evil.example\r\n\r\n")).await;
    assert_eq!((status(&page), body(&page).code), ("403", Code::ForbiddenOrigin));
    assert!(!page.contains("access-control-allow-origin"));
}

#[tokio::test]
async fn a_page_that_the_operator_named_may_call() {
    let served = serve().await;
    let head = "/api/v1/id HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n";
    let asked = served.raw(&format!("OPTIONS {head}origin: {PAGE}\r\n\r\n")).await;
    assert_eq!(status(&asked), "204");
    assert!(asked.contains(&format!("access-control-allow-origin: {PAGE}")));
    // It still needs a token.
    let called = served.raw(&format!("GET {head}origin: {PAGE}\r\n\r\n")).await;
    assert_eq!(status(&called), "401");
}

#[tokio::test]
async fn alive_and_ready_are_told_apart() {
    let served = serve_with(false, Limits::default()).await;
    let alive = served.raw("GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await;
    assert_eq!(status(&alive), "200");
    let error = served.with_token(None).ready().await.unwrap_err();
    assert_eq!(error.api().unwrap().code, Code::EnclaveDown);
    serve().await.with_token(None).ready().await.unwrap();
}

#[tokio::test]
async fn bodies_that_are_too_long_or_not_json_are_refused() {
    let served = serve().await;
    let token = served.token(Scope::Run).await.token;
    let head = format!(
        "POST /api/v1/run HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nauthorization: Bearer {token}\r\n"
    );
    let too_long = format!("{head}content-type: application/json\r\ncontent-length: 99999999\r\n\r\n");
    assert_eq!(body(&served.raw(&too_long).await).code, Code::TooLarge);
    let form = format!("{head}content-type: text/plain\r\ncontent-length: 2\r\n\r\n{{}}");
    assert_eq!(body(&served.raw(&form).await).code, Code::BadRequest);
    for json in [
        "{}",
        "[]",
        "{\"code\":\"x\"}",
        "{\"code\":\"bafkqaaa\",\"colour\":1}",
        "{\"code\":\"bafkqaaa\",\"place\":\"moon\"}",
    ] {
        let request =
            format!("{head}content-type: application/json\r\ncontent-length: {}\r\n\r\n{json}", json.len());
        assert_eq!(body(&served.raw(&request).await).code, Code::BadRequest, "{json}");
    }
}

#[tokio::test]
async fn unknown_routes_and_methods_answer_in_our_own_words() {
    let served = serve().await;
    for request in ["GET /", "GET /api/v1/nothing", "DELETE /api/v1/run", "GET /api/v1/jobs/x/y/z"] {
        let answer =
            served.raw(&format!("{request} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")).await;
        assert_eq!((status(&answer), body(&answer).code), ("404", Code::NotFound), "{request}");
    }
}

#[tokio::test]
async fn a_connection_that_sends_no_request_is_closed() {
    let limits = Limits { header_timeout: Duration::from_millis(100), ..Limits::default() };
    let served = serve_with(true, limits).await;
    // Half a header, then silence: the read ends because the server closes.
    served.raw("GET /livez HTTP/1.1\r\nhost: local").await;
}

#[tokio::test]
async fn no_more_connections_are_served_than_allowed() {
    let served = serve_with(true, Limits { connections: 1, ..Limits::default() }).await;
    let first = tokio::net::TcpStream::connect(served.address()).await.unwrap();
    let mut second = tokio::spawn({
        let client = served.with_token(None);
        async move { client.ready().await }
    });
    assert!(tokio::time::timeout(Duration::from_millis(200), &mut second).await.is_err());
    drop(first);
    within(second).await.unwrap().unwrap();
}

#[tokio::test]
async fn shutdown_closes_connections_and_frees_the_port() {
    let limits = Limits { grace: Duration::from_millis(200), ..Limits::default() };
    let mut served = serve_with(true, limits).await;
    let client = served.client();
    let hanging = tokio::spawn(async move {
        let mut body = RunBody::new("bafkqaaa".parse().unwrap());
        body.args.push("hang".into());
        client.run(&body).await
    });
    within(served.begun.wait_for(|count| *count == 1)).await.unwrap();
    let address = served.address();
    let idle = served.client();
    idle.id().await.unwrap();
    within(served.server.shutdown()).await;
    let broken = within(hanging).await.unwrap().unwrap_err();
    assert!(broken.api().is_none());
    let refused = idle.id().await.unwrap_err();
    assert!(matches!(refused, ClientError::Unreachable { .. }) && refused.is_unreachable(), "{refused:?}");
    tokio::net::TcpListener::bind(address).await.unwrap();
}

#[tokio::test]
async fn metrics_count_answers() {
    let served = serve().await;
    let token = served.token(Scope::Read).await.token;
    let answer = served
        .raw(&format!("GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nauthorization: Bearer {token}\r\n\r\n"))
        .await;
    assert!(answer.contains("adit_stand_in 1\n"));
    assert!(answer.contains("adit_api_responses_2xx_total 1\n"), "{answer}");
    assert_eq!(answer.matches("# EOF").count(), 1);
}
