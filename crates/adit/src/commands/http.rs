//! `adit http`: programs that answer HTTP requests.

use adit_api::types::{FunctionView, PublishFunctionBody};

use crate::context::{Context, Running};
use crate::exit::{Exit, Failure};
use crate::output::{Table, bytes, count, time};

/// Subcommands of `adit http`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Http {
    /// Serve a program from now on
    #[command(after_help = "\
The program is a component of the world wasi:http/proxy. It sees the part of the path behind PATH. Requests of its own
reach hosts that --allow-host and the node's setting http.allow-hosts both list.")]
    Publish {
        /// A file, a CID, or a path below one
        code: String,
        /// Where to serve it, such as /hello
        #[arg(long)]
        path: String,
        /// A host that it may send requests to: HOST, *.HOST or HOST:PORT (repeatable)
        #[arg(long = "allow-host", value_name = "HOST")]
        hosts: Vec<String>,
    },
    /// Serve a program no more
    Rm {
        /// Where it is served
        path: String,
    },
    /// List what is served
    Ls,
    /// Tell what one program has done and cost
    Show {
        /// Where it is served
        path: String,
    },
}

/// Publishes, removes, lists or shows.
pub(crate) async fn http(context: &Context, command: Http) -> Result<(), Failure> {
    let client = context.client()?;
    let out = &context.out;
    match command {
        Http::Publish { code, path, hosts } => {
            let code = super::run::content(context, &client, &code).await?.to_string();
            let published = client.publish_function(&PublishFunctionBody { code, path, hosts }).await?;
            out.either(&published, |out, published| out.line(&published.code))?;
            match url(context, &published.path) {
                Some(url) => out.note(format!("served at {url}")),
                None => out.note(format!("served under {}", published.path)),
            }
        }
        Http::Rm { path } => {
            let removed = client.unpublish_function(&path).await?;
            out.either(&removed, |out, removed| out.line(&removed.path))?;
        }
        Http::Ls => {
            let functions = client.functions().await?;
            if out.json() {
                return Ok(out.document(&functions)?);
            }
            let mut table =
                Table::new(["path", "code", "requests", "failed", "fuel"], "No program is served.");
            for function in functions {
                let FunctionView { path, code, requests, failed, fuel, .. } = function;
                table.row([path, code, count(requests), count(failed), count(fuel)]);
            }
            table.print(out)?;
        }
        Http::Show { path } => {
            let function = client.functions().await?.into_iter().find(|function| function.path == path);
            let Some(function) = function else {
                return Err(Failure::new(Exit::NotFound, format!("nothing is served under {path}"))
                    .hint("`adit http ls` lists what is"));
            };
            if out.json() {
                return Ok(out.document(&function)?);
            }
            let mut lines = vec![("path", function.path.clone()), ("code", function.code.clone())];
            lines.extend(url(context, &function.path).map(|url| ("url", url)));
            lines.extend([
                ("allowed hosts", function.hosts.join(", ")),
                ("published", time(function.published)),
                ("requests", count(function.requests)),
                ("failed", count(function.failed)),
                ("fuel", count(function.fuel)),
                ("most memory", bytes(function.memory)),
                ("time in workers", format!("{:.3} s", function.busy_us as f64 / 1e6)),
                ("bytes in", bytes(function.bytes_in)),
                ("bytes out", bytes(function.bytes_out)),
                ("requests sent", count(function.sent)),
                ("requests denied", count(function.denied)),
            ]);
            for (name, value) in lines {
                out.line(format!("{name:<16} {value}"))?;
            }
        }
    }
    Ok(())
}

/// Where this node's own daemon serves a path.
fn url(context: &Context, path: &str) -> Option<String> {
    let running = Running::read(&context.repo().ok()?)?;
    Some(format!("{}{path}", running.functions?))
}
