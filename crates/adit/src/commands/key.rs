//! `adit key`: a person's own keys, and those that names are published under.

use std::io::Read;

use adit_seal::OsRandom;
use adit_seal::phrase::RecoveryPhrase;
use zeroize::Zeroizing;

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::output::Table;
use crate::own_keys::{OwnKeys, shared};

/// Subcommands of `adit key`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Key {
    /// Make your own keys; or, given a name, a key of the node's to publish a name under
    New {
        /// What to call the node's key
        key: Option<String>,
    },
    /// List the node's keys and their names
    Ls,
    /// Print whom others seal to (age1…), for you to share
    Export {
        /// Print the secret age identity instead, for age's own programs
        #[arg(long)]
        secret: bool,
    },
    /// Print the recovery phrase, for you to write down
    Backup,
    /// Take a recovery phrase from standard input
    Restore,
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
        Key::Ls => {
            let keys = context.client()?.keys().await?;
            if context.out.json() {
                return Ok(context.out.document(&keys)?);
            }
            let mut table = Table::new(["key", "name"], "There are no keys.");
            for key in keys {
                table.row([key.key, key.name]);
            }
            table.print(&context.out)?;
        }
        Key::Export { secret: false } => show(context, &OwnKeys::here()?.existing()?)?,
        Key::Export { secret: true } => {
            let text = OwnKeys::here()?.existing()?.identity().to_secret_text();
            context.out.line(text.as_str())?;
        }
        Key::Backup => context.out.line(OwnKeys::here()?.existing()?.words().as_str())?,
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

fn show(context: &Context, phrase: &RecoveryPhrase) -> Result<(), Failure> {
    let shared = shared(phrase)?;
    context.out.either(&shared, |out, shared| out.line(&shared.recipient))?;
    context.out.note(format!("account {}", shared.account));
    Ok(())
}
