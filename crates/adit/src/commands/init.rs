//! `adit init`: makes a node's directory, keys and settings.

use adit_node::Identity;
use adit_node::config::{ConfigFile, FILE_NAME};
use adit_node::identity::IdentityError;
use serde::Serialize;

use crate::context::{Context, parse_settings};
use crate::exit::{Exit, Failure};

/// Arguments of `adit init`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Write a setting into config.toml, such as host.accept=anyone (repeatable)
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
}

#[derive(Serialize)]
struct Made {
    node: String,
    account: String,
    repo: std::path::PathBuf,
}

/// Makes the node.
pub(crate) fn init(context: &Context, args: Args) -> Result<(), Failure> {
    let repo = context.repo()?;
    let settings = parse_settings(&args.settings)?;
    let path = repo.join(FILE_NAME);
    let config_error = |error: &(dyn std::error::Error + 'static)| {
        Failure::because(Exit::Usage, format!("cannot write {}", path.display()), error)
    };
    let mut file = ConfigFile::read(&path).map_err(|error| config_error(&error))?;
    for (key, value) in &settings {
        file.set(key, value).map_err(|error| config_error(&error))?;
    }
    let identity = Identity::create(&repo).map_err(|error| match error {
        IdentityError::Exists(_) => Failure::because(Exit::Failed, "this is a node already", &error),
        error => Failure::because(Exit::Failed, format!("cannot make a node in {}", repo.display()), &error),
    })?;
    file.write(&path).map_err(|error| config_error(&error))?;
    let made =
        Made { node: identity.node_id().to_string(), account: identity.account_id().to_string(), repo };
    context.out.either(&made, |out, made| {
        out.line(format!("node      {}", made.node))?;
        out.line(format!("account   {}", made.account))?;
        out.line(format!("directory {}", made.repo.display()))
    })?;
    context.out.note("Start it with `adit daemon`. The keys in identity/ exist only there: back them up.");
    Ok(())
}
