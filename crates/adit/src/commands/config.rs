//! `adit config`: settings and where they come from. Works on the repository's own file, with or without a
//! running daemon; a daemon reads it when it starts.

use adit_node::config::{ConfigFile, FILE_NAME, SettingError, Settings};
use serde::Serialize;

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::output::Table;

/// Subcommands of `adit config`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Config {
    /// List all settings
    Show {
        /// Also tell where each value comes from
        #[arg(long)]
        origin: bool,
    },
    /// Print one setting
    Get {
        /// Its name, such as host.accept
        key: String,
    },
    /// Change a setting in config.toml
    Set {
        /// Its name, such as host.accept
        key: String,
        /// Its new value
        value: String,
    },
}

#[derive(Serialize)]
struct Row {
    key: &'static str,
    value: String,
    origin: String,
    what: &'static str,
}

/// Shows or changes settings.
pub(crate) fn config(context: &Context, command: Config) -> Result<(), Failure> {
    match command {
        Config::Show { origin } => show(context, origin),
        Config::Get { key } => {
            let value = settings(context)?.get(&key).map_err(refused)?;
            context.out.either(&value, |out, value| out.line(value))?;
            Ok(())
        }
        Config::Set { key, value } => set(context, &key, &value),
    }
}

fn show(context: &Context, origin: bool) -> Result<(), Failure> {
    let settings = settings(context)?;
    let rows: Vec<Row> = settings
        .rows()
        .map(|(setting, value, origin)| Row {
            key: setting.key,
            value,
            origin: origin.to_string(),
            what: setting.what,
        })
        .collect();
    if context.out.json() {
        return Ok(context.out.document(&rows)?);
    }
    if origin {
        let mut table = Table::new(["setting", "value", "origin"], "");
        rows.into_iter().for_each(|row| table.row([row.key.to_owned(), row.value, row.origin]));
        return Ok(table.print(&context.out)?);
    }
    let mut table = Table::new(["setting", "value", "meaning"], "");
    rows.into_iter().for_each(|row| table.row([row.key.to_owned(), row.value, row.what.to_owned()]));
    Ok(table.print(&context.out)?)
}

fn set(context: &Context, key: &str, value: &str) -> Result<(), Failure> {
    let path = context.existing_repo()?.join(FILE_NAME);
    let failed = |error: &(dyn std::error::Error + 'static)| {
        Failure::because(Exit::Failed, "cannot change settings", error)
    };
    let mut file = ConfigFile::read(&path).map_err(|error| failed(&error))?;
    file.set(key, value).map_err(refused)?;
    // The file as a whole must still make sense, or the next daemon would not start.
    Settings::resolve(Some(&file), |_| None, &[]).map_err(refused)?;
    file.write(&path).map_err(|error| failed(&error))?;
    context.out.note("Settings are read when the daemon starts.");
    Ok(())
}

/// The settings that a daemon started here and now would have.
fn settings(context: &Context) -> Result<Settings, Failure> {
    let path = context.repo()?.join(FILE_NAME);
    let file = ConfigFile::read(&path)
        .map_err(|error| Failure::because(Exit::Failed, "cannot read settings", &error))?;
    Settings::resolve(Some(&file), |name| std::env::var(name).ok(), &[]).map_err(refused)
}

fn refused(error: SettingError) -> Failure {
    let exit = if matches!(error, SettingError::Unknown { .. }) { Exit::NotFound } else { Exit::Usage };
    Failure::new(exit, crate::exit::chain(&error))
}
