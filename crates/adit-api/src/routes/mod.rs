//! Everything that can be called.

mod content;
mod extract;
mod functions;
mod health;
mod jobs;
mod names;
mod node;
mod receipts;
mod repo;
mod routing;
mod run;
mod tokens;
mod uploads;

pub use extract::streamed;
pub use uploads::answer as answer_upload;

use crate::access::{Guard, Tokens};
use crate::backend::Node;
use crate::error::ApiError;
use crate::metrics::Metrics;
use adit_store::Repo;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header::{self, HeaderValue};
use axum::http::{Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use std::sync::Arc;
use std::time::Duration;
use utoipa::OpenApi;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa_axum::{router::OpenApiRouter, routes};

/// Longest JSON body, in bytes: the longest task and room for JSON's escapes.
pub const JSON_LIMIT: usize = 2 << 20;
/// How long a JSON body may take to arrive, and how long a streamed body may pause.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// What handlers work with.
pub struct App {
    pub(crate) node: Arc<dyn Node>,
    pub(crate) repo: Arc<Repo>,
    pub(crate) tokens: Tokens,
    pub(crate) guard: Guard,
    pub(crate) metrics: Metrics,
}

impl App {
    /// Puts a node, its repository and its access rules behind the API.
    pub fn new(node: Arc<dyn Node>, repo: Arc<Repo>, tokens: Tokens, guard: Guard) -> Arc<Self> {
        Arc::new(Self { node, repo, tokens, guard, metrics: Metrics::new() })
    }

    /// The node.
    pub fn node(&self) -> &Arc<dyn Node> {
        &self.node
    }

    /// Its blocks and pins.
    pub fn repo(&self) -> &Arc<Repo> {
        &self.repo
    }

    /// Who may call.
    pub fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// The names under which it may be called, and the pages that may.
    pub fn guard(&self) -> &Guard {
        &self.guard
    }
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Adit",
        description = "Runs programs at the node that holds the data, and proves what came of them.\n\n\
            Answers that are not a success have a body `{code, message, hint, source}`. Every route but `/livez`, \
            `/readyz` and `/api/v1/openapi.json` needs a token in `Authorization: Bearer`; each names its scope."
    ),
    tags(
        (name = "run", description = "Run a program"),
        (name = "jobs", description = "What became of programs"),
        (name = "content", description = "Files, directories and blocks"),
        (name = "repo", description = "Pins and the block store"),
        (name = "node", description = "The node, its peers and settings"),
        (name = "names", description = "IPNS names and keys"),
        (name = "functions", description = "Programs that answer HTTP requests"),
        (name = "routing", description = "Who has content, and where peers are"),
        (name = "tokens", description = "Who may call"),
        (name = "health", description = "For supervisors and monitoring")
    )
)]
struct Document;

fn routes() -> OpenApiRouter<Arc<App>> {
    let v1 = OpenApiRouter::new()
        .routes(routes!(run::run))
        .routes(routes!(run::plan))
        .routes(routes!(jobs::start, jobs::list))
        .routes(routes!(jobs::show))
        .routes(routes!(jobs::logs))
        .routes(routes!(jobs::wait))
        .routes(routes!(jobs::result))
        .routes(routes!(jobs::cancel))
        .routes(routes!(receipts::show))
        .routes(routes!(receipts::verify))
        .routes(routes!(content::add))
        .routes(routes!(content::cat))
        .routes(routes!(content::get))
        .routes(routes!(content::ls))
        .routes(routes!(content::stat))
        .routes(routes!(content::block))
        .routes(routes!(repo::import))
        .routes(routes!(repo::export))
        .routes(routes!(repo::pins))
        .routes(routes!(repo::pins_of, repo::pin, repo::unpin))
        .routes(routes!(repo::stat))
        .routes(routes!(repo::gc))
        .routes(routes!(repo::verify))
        .routes(routes!(node::id))
        .routes(routes!(node::status))
        .routes(routes!(node::nodes))
        .routes(routes!(node::show))
        .routes(routes!(node::doctor))
        .routes(routes!(node::drain))
        .routes(routes!(node::peers))
        .routes(routes!(node::connect))
        .routes(routes!(node::settings))
        .routes(routes!(node::setting, node::set))
        .routes(routes!(names::publish))
        .routes(routes!(names::resolve))
        .routes(routes!(names::keys, names::new_key))
        .routes(routes!(functions::publish, functions::list, functions::remove))
        .routes(routes!(routing::find_providers))
        .routes(routes!(routing::find_peer))
        .routes(routes!(routing::provide))
        .routes(routes!(tokens::list, tokens::issue))
        .routes(routes!(tokens::revoke));
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(health::livez))
        .routes(routes!(health::readyz))
        .routes(routes!(health::metrics))
        .nest("/api/v1", v1)
}

/// The OpenAPI document of everything that [`router`] serves.
pub fn openapi() -> utoipa::openapi::OpenApi {
    let mut document = routes().split_for_parts().1;
    // axum writes a parameter that takes the rest of the path as `{*path}`; OpenAPI has no word for it.
    let paths = std::mem::take(&mut document.paths.paths);
    document.paths.paths = paths.into_iter().map(|(path, item)| (path.replace("{*", "{"), item)).collect();
    let components = document.components.get_or_insert_default();
    components.add_security_scheme("token", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
    document
}

/// The OpenAPI document as it is checked in and served.
pub fn openapi_json() -> String {
    openapi().to_pretty_json().expect("an OpenAPI document is JSON") + "\n"
}

/// The API, ready to be served.
pub fn router(app: Arc<App>) -> Router {
    let (router, _) = routes().split_for_parts();
    let document = openapi_json();
    router
        .route(
            "/api/v1/openapi.json",
            axum::routing::get(async move || {
                ([(header::CONTENT_TYPE, "application/json")], document.clone())
            }),
        )
        .fallback(async || ApiError::new(crate::Code::NotFound, "there is no such route"))
        .method_not_allowed_fallback(async || {
            ApiError::new(crate::Code::NotFound, "there is no such method on this route")
        })
        // Bodies are bounded where they are read: JSON by `extract`, content by the disk and by time.
        .layer(DefaultBodyLimit::disable())
        .layer(middleware::from_fn_with_state(app.clone(), entry))
        .with_state(app)
}

/// Counts a request that its client gave up on: dropped with the future before there was an answer.
struct UnderWay<'a>(Option<&'a Metrics>);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if let Some(metrics) = self.0 {
            metrics.gave_up();
        }
    }
}

/// What every request passes: Host and Origin, then the count; and what browsers need to hear.
async fn entry(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    app.metrics.began();
    let mut under_way = UnderWay(Some(&app.metrics));
    let origin = request.headers().get(header::ORIGIN).cloned();
    let mut response = match app.guard.check(request.headers()) {
        Err(refusal) => refusal.into_response(),
        Ok(()) if request.method() == Method::OPTIONS && origin.is_some() => preflight(),
        Ok(()) => uploads::answer(request, next).await,
    };
    if let Some(origin) = origin.filter(|origin| app.guard.allows_origin(origin)) {
        response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        response.headers_mut().insert(header::VARY, HeaderValue::from_static("origin"));
    }
    // Content is other people's: no browser shall guess what it is and run it.
    let nosniff = HeaderValue::from_static("nosniff");
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    under_way.0 = None;
    app.metrics.answered(response.status());
    response
}

/// The answer to a browser that asks whether one of the named pages may call.
fn preflight() -> Response {
    let headers = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, PUT, DELETE"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "authorization, content-type"),
        (header::ACCESS_CONTROL_MAX_AGE, "600"),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}
