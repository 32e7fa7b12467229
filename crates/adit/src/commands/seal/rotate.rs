//! `adit seal rotate`: what is sealed, sealed anew under a fresh key, for those that are named now.
//!
//! What that can do, and what not, is said in `docs/spec/sealed-data.md`: the old blocks stay what they are.

use std::path::PathBuf;

use tokio::runtime::Handle;

use super::content::Reopened;
use super::source::{By, Found, Opened, Source};
use super::{Fresh, Sealed, seal_to_file, seal_to_node, tree, upload};
use crate::context::Context;
use crate::exit::Failure;
use crate::own_keys;

/// Arguments of `adit seal rotate`.
#[derive(Debug, clap::Args)]
pub(crate) struct RotateArgs {
    /// A file of this machine; else CID, CID/PATH or /ipfs/CID/PATH
    path: String,
    /// Who can open the new one (age1…); you alone if not given. May be given several times
    #[arg(long, value_name = "RECIPIENT")]
    to: Vec<String>,
    /// A file with age identities to open the old one with; your own keys if not given
    #[arg(long, short, value_name = "FILE")]
    identity: Vec<PathBuf>,
    /// Write an age file here, and send nothing to the node
    #[arg(long, short, value_name = "FILE", conflicts_with = "no_pin")]
    output: Option<PathBuf>,
    /// Let the node's garbage collection remove the new one again
    #[arg(long)]
    no_pin: bool,
}

/// Seals anew what was sealed.
pub(crate) async fn rotate(context: &Context, args: RotateArgs) -> Result<(), Failure> {
    let identities = own_keys::identities(&args.identity)?;
    let fresh = Fresh::to(&args.to)?;
    let runtime = Handle::current();
    let built = match Source::find(context, &args.path).await? {
        Found::File(source) => {
            let old = Opened::open(source, By::Identities(&identities)).await?;
            let content = Box::new(Reopened::new(old, runtime));
            if let Some(output) = args.output {
                return seal_to_file(content, output, fresh).await;
            }
            seal_to_node(context, content, fresh, !args.no_pin).await?
        }
        Found::Directory(client, root) => {
            if args.output.is_some() {
                return Err(super::not_into_a_file());
            }
            let old = tree::Open::open((*client).clone(), root, &identities).await?;
            let Fresh { key, header, .. } = fresh;
            upload::upload(&client, !args.no_pin, move |send| old.reseal(&runtime, key, header, send)).await?
        }
    };
    let sealed = Sealed::from(built);
    context.out.either(&sealed, |out, sealed| out.line(format!("{}", sealed.cid)))?;
    context.out.note(format!(
        "{} is what it was: whoever could open it still can, wherever its blocks lie",
        crate::output::escape::one_line(&args.path)
    ));
    Ok(())
}
