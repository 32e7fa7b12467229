//! `adit name`: names whose meaning can change.

use adit_api::types::PublishBody;
use adit_node::config::Span;

use crate::context::Context;
use crate::exit::Failure;
use crate::output::escape::one_line;

/// Subcommands of `adit name`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Name {
    /// Let a name stand for content, and renew it from now on
    Publish {
        /// /ipfs/…, /ipns/… or a CID
        path: String,
        /// The key to publish under
        #[arg(long, default_value = "self")]
        key: String,
        /// How long each record holds, such as 48h
        #[arg(long, default_value = "48h")]
        lifetime: Span,
        /// How long others may remember it without asking again
        #[arg(long, default_value = "5m")]
        ttl: Span,
    },
    /// Print what a name stands for
    Resolve {
        /// A key (k51…, 12D3KooW…) or a domain, with or without /ipns/ before it and a path behind it
        name: String,
        /// Only what the name itself says, which may be another name
        #[arg(long)]
        one_step: bool,
    },
}

/// Publishes or resolves.
pub(crate) async fn name(context: &Context, command: Name) -> Result<(), Failure> {
    let client = context.client()?;
    match command {
        Name::Publish { path, key, lifetime, ttl } => {
            let body = PublishBody {
                value: path,
                key: Some(key),
                lifetime_s: Some(lifetime.0.as_secs()),
                ttl_s: Some(ttl.0.as_secs()),
            };
            let published = client.publish_name(&body).await?;
            context.out.either(&published, |out, published| out.line(format!("/ipns/{}", published.name)))?;
            context.out.note(format!("stands for {}", one_line(&published.value)));
        }
        Name::Resolve { name, one_step } => {
            let name = name.strip_prefix("/ipns/").unwrap_or(&name);
            let resolved = client.resolve_name(name, one_step).await?;
            context.out.either(&resolved, |out, resolved| out.line(one_line(&resolved.path)))?;
        }
    }
    Ok(())
}
