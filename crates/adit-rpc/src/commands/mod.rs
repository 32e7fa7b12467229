//! What can be called, and with which scope.

mod add;
mod block;
mod dag;
mod files;
mod node;
mod pin;
mod refs;
mod repo;
mod routing;

use crate::args::Args;
use crate::error::RpcError;
use adit_api::App;
use adit_api::access::Scope;
use adit_store::BlockSource;
use axum::extract::Request;
use axum::response::Response;
use futures::future::BoxFuture;
use std::sync::Arc;

/// What commands work with.
pub(crate) type Node = Arc<App>;

/// What a command answers. Boxed because the compiler cannot show the futures of the store to be `Send` for every
/// lifetime (rust-lang/rust#100013) where they are awaited directly.
type Answer = BoxFuture<'static, Result<Response, RpcError>>;

/// The scope that a command needs; `None` for what is not served here.
pub(crate) fn scope(command: &str) -> Option<Scope> {
    Some(match command {
        "id" | "version" | "cat" | "get" | "ls" | "refs" | "refs/local" | "resolve" => Scope::Read,
        "block/get" | "block/stat" | "dag/get" | "dag/export" | "dag/stat" | "dag/resolve" => Scope::Read,
        "pin/ls" | "pin/verify" | "repo/stat" | "repo/version" => Scope::Read,
        "swarm/peers" | "swarm/addrs" | "swarm/addrs/local" | "swarm/addrs/listen" => Scope::Read,
        "add" | "block/put" | "dag/put" | "dag/import" | "pin/add" => Scope::Run,
        "block/rm" | "pin/rm" | "pin/update" | "repo/gc" | "repo/verify" => Scope::Admin,
        "routing/findprovs" | "routing/findpeer" | "name/resolve" => Scope::Read,
        "routing/provide" => Scope::Run,
        "swarm/connect" | "swarm/disconnect" | "name/publish" => Scope::Admin,
        _ => return None,
    })
}

pub(crate) fn run(node: Node, command: &str, args: Args, request: Request) -> Answer {
    match command {
        "id" => Box::pin(node::id(node, args)),
        "version" => Box::pin(node::version(node, args)),
        "add" => Box::pin(add::add(node, args, request)),
        "cat" => Box::pin(files::cat(node, args)),
        "get" => Box::pin(files::get(node, args)),
        "ls" => Box::pin(files::ls(node, args)),
        "refs" => Box::pin(refs::refs(node, args)),
        "refs/local" => Box::pin(refs::local(node, args)),
        "resolve" => Box::pin(refs::resolve(node, args)),
        "block/get" => Box::pin(block::get(node, args)),
        "block/put" => Box::pin(block::put(node, args, request)),
        "block/stat" => Box::pin(block::stat(node, args)),
        "block/rm" => Box::pin(block::rm(node, args)),
        "dag/get" => Box::pin(dag::get(node, args)),
        "dag/put" => Box::pin(dag::put(node, args, request)),
        "dag/import" => Box::pin(dag::import(node, args, request)),
        "dag/export" => Box::pin(dag::export(node, args)),
        "dag/stat" => Box::pin(dag::stat(node, args)),
        "dag/resolve" => Box::pin(dag::resolve(node, args)),
        "pin/add" => Box::pin(pin::add(node, args)),
        "pin/rm" => Box::pin(pin::rm(node, args)),
        "pin/ls" => Box::pin(pin::ls(node, args)),
        "pin/update" => Box::pin(pin::update(node, args)),
        "pin/verify" => Box::pin(pin::verify(node, args)),
        "repo/stat" => Box::pin(repo::stat(node, args)),
        "repo/version" => Box::pin(repo::version(node, args)),
        "repo/gc" => Box::pin(repo::gc(node, args)),
        "repo/verify" => Box::pin(repo::verify(node, args)),
        "swarm/peers" => Box::pin(node::peers(node, args)),
        "swarm/addrs" => Box::pin(node::addrs(node, args)),
        "swarm/addrs/local" | "swarm/addrs/listen" => Box::pin(node::own_addrs(node, args)),
        "swarm/connect" => Box::pin(node::connect(node, args)),
        "swarm/disconnect" => Box::pin(node::disconnect(node, args)),
        "routing/findprovs" => Box::pin(routing::find_providers(node, args)),
        "routing/findpeer" => Box::pin(routing::find_peer(node, args)),
        "routing/provide" => Box::pin(routing::provide(node, args)),
        "name/publish" => Box::pin(routing::publish(node, args)),
        "name/resolve" => Box::pin(routing::resolve_name(node, args)),
        other => {
            let error = RpcError::no_command(other);
            Box::pin(async { Err(error) })
        }
    }
}

/// Blocks from here, or from the network too.
fn source(node: &Node) -> Arc<dyn BlockSource> {
    node.node().source()
}
