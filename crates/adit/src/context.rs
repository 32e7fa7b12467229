//! What every command is given: where to print, which repository, which API.

use std::path::PathBuf;

use adit_api::client::{Client, ClientError};
use adit_api::error::Code;
use adit_unixfs::IpfsPath;
use cid::Cid;
use serde::{Deserialize, Serialize};

use crate::cli::Global;
use crate::exit::{Exit, Failure};
use crate::output::Output;

/// The surroundings of one command.
#[derive(Debug)]
pub(crate) struct Context {
    /// Where to print.
    pub out: Output,
    global: Global,
}

/// Environment variable that holds an API token. There is no flag for it: the arguments of a process can be
/// read by everybody on the machine.
const TOKEN: &str = "ADIT_TOKEN";

impl Context {
    /// From the global options.
    pub(crate) fn new(global: Global) -> Self {
        Context { out: Output::new(global.json, global.quiet), global }
    }

    /// The repository's directory, which may not exist.
    pub(crate) fn repo(&self) -> Result<PathBuf, Failure> {
        if let Some(repo) = &self.global.repo {
            return Ok(repo.clone());
        }
        let home = etcetera::home_dir().map_err(|_| {
            Failure::new(Exit::Usage, "there is no home directory to keep a node in")
                .hint("name a directory by --repo or ADIT_PATH")
        })?;
        Ok(home.join(".adit"))
    }

    /// The repository's directory, which was initialised.
    pub(crate) fn existing_repo(&self) -> Result<PathBuf, Failure> {
        let repo = self.repo()?;
        if repo.join("identity").is_dir() {
            return Ok(repo);
        }
        Err(Failure::new(Exit::NotFound, format!("{} is not a node's directory", repo.display()))
            .hint("`adit init` makes one; --repo or ADIT_PATH names another"))
    }
}

/// Where a running daemon can be asked, as it stands in its repository's `api.json`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Running {
    /// The API's URL.
    pub address: String,
    /// The gateway's URL, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<String>,
    /// Where HTTP functions are served, if they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub functions: Option<String>,
    /// The daemon's process.
    pub pid: u32,
}

impl Running {
    /// The file's name.
    pub(crate) const FILE: &str = "api.json";

    /// What the repository's file says, if there is one.
    pub(crate) fn read(repo: &std::path::Path) -> Option<Running> {
        let text = std::fs::read_to_string(repo.join(Running::FILE)).ok()?;
        serde_json::from_str(&text).ok()
    }
}

impl Context {
    /// Whether another node than the local daemon is meant.
    pub(crate) fn is_remote(&self) -> bool {
        self.global.api.is_some()
    }

    /// A client of the node that is meant. Nothing is sent yet.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        let (url, local_token) = match &self.global.api {
            Some(url) => (url.clone(), None),
            None => {
                let repo = self.existing_repo()?;
                let running = Running::read(&repo).ok_or_else(|| no_daemon(&repo))?;
                (running.address, Client::local_token(&repo))
            }
        };
        let token = self.token()?.or(local_token);
        Client::new(&url, token.as_deref()).map_err(Failure::from)
    }

    /// A token from the environment or the file that was named; it never stands in arguments.
    fn token(&self) -> Result<Option<String>, Failure> {
        if let Some(file) = &self.global.token_file {
            let token = std::fs::read_to_string(file).map_err(|error| {
                Failure::because(Exit::Usage, format!("cannot read the token in {}", file.display()), &error)
            })?;
            return Ok(Some(token.trim().to_owned()));
        }
        Ok(std::env::var(TOKEN).ok().filter(|token| !token.is_empty()))
    }

    /// The CID that a CID or path names.
    pub(crate) async fn resolve(&self, client: &Client, text: &str) -> Result<Cid, Failure> {
        let path = self.path(client, text).await?;
        if path.segments.is_empty() {
            return Ok(path.root);
        }
        Ok(client.stat(&path.to_string()).await?.cid)
    }

    /// A CID or a path below one; a name (`/ipns/NAME/…`) is followed to what it stands for now.
    pub(crate) async fn path(&self, client: &Client, text: &str) -> Result<IpfsPath, Failure> {
        match text.strip_prefix(NAMES).filter(|name| !name.is_empty()) {
            Some(name) => path(&client.resolve_name(name, false).await?.path),
            None => path(text),
        }
    }
}

/// What paths of names begin with.
pub(crate) const NAMES: &str = "/ipns/";

fn path(text: &str) -> Result<IpfsPath, Failure> {
    text.parse().map_err(|error| Failure::because(Exit::Usage, format!("{text:?} is no path"), &error))
}

fn no_daemon(repo: &std::path::Path) -> Failure {
    Failure::new(Exit::NoDaemon, format!("no daemon is running on {}", repo.display()))
        .hint("start it with `adit daemon`, or name another node with --api URL")
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        if error.is_unreachable() {
            return Failure::because(Exit::NoDaemon, "no daemon is running", &error)
                .hint("start it with `adit daemon`, or name another node with --api URL");
        }
        let Some(body) = error.api() else {
            let exit = match error {
                ClientError::Url(..) | ClientError::Token => Exit::Usage,
                // A block that is not what its CID says counts among these.
                ClientError::Protocol(_) => Exit::TrustRefused,
                _ => Exit::Failed,
            };
            return Failure::new(exit, crate::exit::chain(&error));
        };
        let exit = match body.code {
            Code::BadRequest | Code::TooLarge => Exit::Usage,
            Code::NotFound | Code::ContentUnavailable => Exit::NotFound,
            Code::Unauthorized | Code::ForbiddenScope | Code::ForbiddenHost | Code::ForbiddenOrigin => {
                Exit::TrustRefused
            }
            Code::Timeout => Exit::Timeout,
            Code::Cancelled => Exit::Interrupted,
            Code::Unavailable => Exit::NoDaemon,
            _ => Exit::Failed,
        };
        let failure = Failure::new(exit, body.message.clone());
        match &body.hint {
            Some(hint) => failure.hint(hint.clone()),
            None => failure,
        }
    }
}

/// Splits the `KEY=VALUE` of an option.
pub(crate) fn key_value(option: &str, text: &str) -> Result<(String, String), Failure> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(Failure::new(Exit::Usage, format!("{option} {text}: this is not of the form KEY=VALUE"))),
    }
}

/// Splits the settings of `--set` options.
pub(crate) fn parse_settings(texts: &[String]) -> Result<Vec<(String, String)>, Failure> {
    texts.iter().map(|text| key_value("--set", text)).collect()
}
