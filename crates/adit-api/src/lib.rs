//! The HTTP API of a node under `/api/v1`, and a typed client of it.
//!
//! The server ([`serve`], [`routes`]) stands over a running [`adit_node::Node`]: it checks who asks ([`access`]), turns
//! requests into calls, and sends what comes back as JSON, as server-sent events ([`sse`]), as tar ([`tar`]) or as
//! CAR. It keeps nothing of its own but tokens. The command line is a [`client`] like any other.
//!
//! What it never does: execute guest code, decide where a job runs, open a file that a request names, or hold an
//! owner's key. Its OpenAPI document is generated from the handlers, checked in at `docs/openapi.json`, and
//! compared by a test.
//!
//! Start reading at [`routes::router`], the table of everything that can be called, then [`types`].

pub mod access;
pub mod backend;
pub mod client;
pub mod error;
mod metrics;
pub mod routes;
mod running;
pub mod serve;
pub mod sse;
pub mod types;

pub use adit_tar as tar;
pub use error::{ApiError, Code, ErrorBody, Source};
pub use routes::{App, router};
pub use serve::{Limits, Server};
