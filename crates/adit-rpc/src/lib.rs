//! Kubo's HTTP RPC, `/api/v0`, over an Adit node: tools that were written for `ipfs daemon` go on working.
//!
//! A request is `POST /api/v0/COMMAND?arg=…&option=…`, with files as a multipart body; answers are JSON, a stream of
//! JSON values, or bytes. [`entry`] checks who asks (Host and Origin, then a token, unless this router was made for
//! the port without tokens), reads the [`args`], and hands over to [`commands`], one file for each group of Kubo's.
//! [`reply`] and [`error`] give answers their shapes. Everything is driven in CI by Kubo's own `ipfs --api` and by
//! npm's kubo-rpc-client.
//!
//! [`psa`] is the IPFS Pinning Service API beside it: others ask this node to keep what they name.
//!
//! What it never does: answer another method than POST; take an option it does not honour for one it may ignore (such
//! options are refused by name); acknowledge what is not synced.
//!
//! Start reading at [`commands::run`], the table of everything that can be called.
//!
//! Reference: <https://docs.ipfs.tech/reference/kubo/rpc/>.

mod args;
mod commands;
mod entry;
mod error;
mod multipart;
mod path;
pub mod psa;
mod reply;
mod throwaway;

use adit_api::App;
use adit_api::access::Guard;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use std::sync::Arc;

/// Who may call.
#[derive(Debug, Clone)]
pub enum Access {
    /// Whoever shows one of the node's tokens, with the scope that the command needs.
    Tokens,
    /// Everybody who reaches the port: only for one on loopback, which the operator opened.
    Everyone(Guard),
}

pub(crate) struct Rpc {
    app: Arc<App>,
    access: Access,
}

/// The routes below `/api/v0`, to be merged with the API's or served alone.
pub fn router(app: Arc<App>, access: Access) -> Router {
    let rpc = Arc::new(Rpc { app, access });
    Router::new()
        .route("/api/v0/{*command}", axum::routing::any(entry::entry))
        .layer(DefaultBodyLimit::disable())
        .layer(axum::middleware::from_fn(async |request, next| {
            adit_api::routes::answer_upload(request, next).await
        }))
        .with_state(rpc)
}
