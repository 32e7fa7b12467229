//! `adit key`: a person's own keys, and those that names are published under.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;

use adit_api::types::KeyView;
use adit_seal::OsRandom;
use adit_seal::phrase::RecoveryPhrase;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::output::Table;
use crate::own_keys::{self, OwnKeys, Shared, shared};

/// Subcommands of `adit key`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Key {
    /// Make your own keys; or, given a name, a key of the node's to publish a name under
    New {
        /// What to call the node's key
        key: Option<String>,
    },
    /// List the node's keys and their names, and your own keys
    Ls,
    /// Print whom others seal to (age1…), for you to share
    Export {
        /// Print the secret age identity instead, for age's own programs
        #[arg(long)]
        secret: bool,
        /// Write the secret into a new file that you alone can read
        #[arg(long, short, value_name = "FILE", requires = "secret")]
        output: Option<PathBuf>,
    },
    /// Print the recovery phrase, for you to write down
    Backup {
        /// Write it into a new file that you alone can read
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Take a recovery phrase from standard input
    Restore,
}

/// One of the keys that are listed.
#[derive(Serialize)]
#[serde(untagged)]
enum Listed {
    Node(KeyView),
    Own {
        /// Always `own`.
        key: &'static str,
        #[serde(flatten)]
        shared: Shared,
    },
}

/// Makes, lists, shows or restores keys.
pub(crate) async fn key(context: &Context, command: Key) -> Result<(), Failure> {
    match command {
        Key::New { key: Some(key) } => {
            let made = context.client()?.new_key(&key).await?;
            context.out.either(&made, |out, made| out.line(&made.name))?;
        }
        Key::New { key: None } => {
            let phrase = RecoveryPhrase::generate(&mut OsRandom);
            OwnKeys::here()?.keep(&phrase)?;
            show(context, &phrase)?;
            context.out.note(
                "`adit key backup` prints the recovery phrase: write it down, nothing else restores them",
            );
        }
        Key::Ls => list(context).await?,
        Key::Export { secret: false, .. } => show(context, &OwnKeys::here()?.existing()?)?,
        Key::Export { secret: true, output } => {
            let identity = OwnKeys::here()?.existing()?.identity();
            let text = identity.to_secret_text();
            match output {
                Some(path) => {
                    let file = format!("# public key: {}\n{}", identity.recipient(), text.as_str());
                    own_keys::write_secret(&path, &Zeroizing::new(file))?;
                    context.out.note(format!("the secret is in {}: `age -d -i` takes it", path.display()));
                }
                None => secret(context, "identity", &text)?,
            }
        }
        Key::Backup { output } => {
            let words = OwnKeys::here()?.existing()?.words();
            match output {
                Some(path) => {
                    own_keys::write_secret(&path, &words)?;
                    context.out.note(format!("the recovery phrase is in {}", path.display()));
                }
                None => secret(context, "recovery_phrase", &words)?,
            }
        }
        Key::Restore => {
            context.out.note("type the words of the recovery phrase, then ctrl-D");
            let mut text = Zeroizing::new(String::with_capacity(4096));
            std::io::stdin()
                .take(4096)
                .read_to_string(&mut text)
                .map_err(|error| Failure::because(Exit::Failed, "cannot read the recovery phrase", &error))?;
            let phrase = RecoveryPhrase::parse(&text)
                .map_err(|error| Failure::because(Exit::Usage, "this is no recovery phrase", &error))?;
            OwnKeys::here()?.keep(&phrase)?;
            show(context, &phrase)?;
        }
    }
    Ok(())
}

/// The node's keys, then the person's own. Either alone, where there is no node or the person has none.
async fn list(context: &Context) -> Result<(), Failure> {
    let own = OwnKeys::here()?.find()?.map(|phrase| shared(&phrase)).transpose()?;
    let mut keys: Vec<_> = match of_node(context).await {
        Err(failure) if failure.exit == Exit::NoDaemon && own.is_some() => {
            context.out.note("no daemon is running: these are your own keys alone");
            Vec::new()
        }
        keys => keys?.into_iter().map(Listed::Node).collect(),
    };
    keys.extend(own.map(|shared| Listed::Own { key: "own", shared }));
    if context.out.json() {
        return Ok(context.out.document(&keys)?);
    }
    let mut table = Table::new(["key", "name"], "There are no keys.");
    for key in keys {
        match key {
            Listed::Node(view) => table.row([view.key, view.name]),
            Listed::Own { shared, .. } => {
                table.row(["(yours, to seal to)".to_owned(), shared.recipient]);
                table.row(["(yours, account)".to_owned(), shared.account.to_string()]);
            }
        }
    }
    Ok(table.print(&context.out)?)
}

async fn of_node(context: &Context) -> Result<Vec<KeyView>, Failure> {
    Ok(context.client()?.keys().await?)
}

/// Prints a secret that was asked for, and nothing else.
fn secret(context: &Context, name: &str, text: &str) -> Result<(), Failure> {
    if context.out.json() {
        return Ok(context.out.document(&BTreeMap::from([(name, text)]))?);
    }
    Ok(context.out.line(text)?)
}

fn show(context: &Context, phrase: &RecoveryPhrase) -> Result<(), Failure> {
    let shared = shared(phrase)?;
    context.out.either(&shared, |out, shared| out.line(&shared.recipient))?;
    context.out.note(format!("account {}", shared.account));
    Ok(())
}
