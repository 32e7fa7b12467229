//! `serve-component PROGRAM.wasm`: serves a `wasi:http/proxy` component on a loopback port, which it prints, with wasmtime
//! and wasmtime-wasi-http as they come, until it is killed.
//!
//! It stands for `wasmtime serve`, which can't be had from a registry as a library or a program of the same version. It
//! does for each request what that does: a store and an instance of its own, from the pooling allocator, in a task of
//! its own. It leaves out what that adds: a deadline by epochs, prefixes of output, logging.

use anyhow::{Context, bail};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use std::{future::Future, io::Write, sync::Arc};
use tokio::net::TcpListener;
use wasmtime::{
    Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store,
    component::{Component, Linker, ResourceTable},
};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{
    Error, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView,
    io::TokioIo,
    p2::{
        bindings::{ProxyPre, http::types::Scheme},
        body::HyperOutgoingBody,
    },
};

/// What one request has.
struct State {
    wasi: WasiCtx,
    http: WasiHttpCtx,
    table: ResourceTable,
    outside: Nobody,
}

/// Whom a program can ask: the TLS client of wasmtime-wasi-http is left out of the build.
struct Nobody;

type Ended = Box<dyn Future<Output = Result<(), Error>> + Send>;

impl WasiHttpHooks for Nobody {
    fn send_request(
        &mut self,
        _: hyper::Request<WasiBody>,
        _: Option<RequestOptions>,
        _: Ended,
    ) -> Box<dyn Future<Output = Result<(hyper::Response<WasiBody>, Ended), Error>> + Send> {
        Box::new(async { Err(Error::HttpRequestDenied) })
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: &mut self.outside }
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let program = std::env::args_os().nth(1).context("usage: serve-component PROGRAM.wasm")?;
    let mut config = Config::new();
    let pool = PoolingAllocationConfig::default();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    let engine = Engine::new(&config)?;
    let component = Component::from_file(&engine, &program)?;
    let mut linker = Linker::new(&engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    let program = Arc::new(ProxyPre::new(linker.instantiate_pre(&component)?)?);

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    std::io::stdout().flush()?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let program = Arc::clone(&program);
        tokio::spawn(async move {
            let answers = service_fn(move |request| answer(Arc::clone(&program), request));
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answers).await;
        });
    }
}

async fn answer(
    program: Arc<ProxyPre<State>>,
    request: Request<Incoming>,
) -> anyhow::Result<Response<HyperOutgoingBody>> {
    let (wasi, http) = (WasiCtx::builder().build(), WasiHttpCtx::new());
    let state = State { wasi, http, table: ResourceTable::new(), outside: Nobody };
    let mut store = Store::new(program.engine(), state);
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let request = store.data_mut().http().new_incoming_request(Scheme::Http, request)?;
    let slot = store.data_mut().http().new_response_outparam(sender)?;
    let ended = tokio::spawn(async move {
        let instance = program.instantiate_async(&mut store).await?;
        instance.wasi_http_incoming_handler().call_handle(&mut store, request, slot).await
    });
    match receiver.await {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(code)) => bail!("the program answers with {code:?}"),
        Err(_) => match ended.await? {
            Ok(()) => bail!("the program gave no answer"),
            Err(error) => Err(error.into()),
        },
    }
}
