//! From arguments and job file to a request: local files are added, paths are resolved to CIDs.

use std::path::Path;

use adit_api::client::Client;
use adit_api::types::{AddQuery, CidText, RunBody, Where};
use adit_model::check_guest_path;
use adit_node::Placement;
use adit_unixfs::IpfsPath;
use cid::Cid;

use super::Args;
use super::file::JobFile;
use crate::context::{Context, NAMES, key_value};
use crate::exit::{Exit, Failure};

/// Builds the request, adding what it names on this machine.
pub(crate) async fn prepare(context: &Context, client: &Client, args: &Args) -> Result<RunBody, Failure> {
    let mut job = match &args.file {
        Some(path) => JobFile::read(path)?,
        None => JobFile::default(),
    };
    for input in &args.inputs {
        let (path, content) = key_value("--in", input)?;
        job.inputs.insert(path, content);
    }
    for variable in &args.env {
        let (name, value) = key_value("--env", variable)?;
        job.env.insert(name, value);
    }
    if !args.args.is_empty() {
        job.args.clone_from(&args.args);
    }
    // What needs no network is refused before anything is sent.
    for path in job.inputs.keys() {
        check_guest_path(path).map_err(|error| {
            Failure::because(Exit::Usage, format!("--in {path}"), &error).hint("such as --in /in/data=CID")
        })?;
    }
    let profile = match (&args.profile, &job.profile) {
        (Some(profile), _) => Some(*profile),
        (None, Some(name)) => Some(
            name.parse()
                .map_err(|error| Failure::because(Exit::Usage, format!("profile {name:?}"), &error))?,
        ),
        (None, None) => None,
    };
    let code = args.code.as_ref().or(job.code.as_ref()).ok_or_else(|| {
        Failure::new(Exit::Usage, "no program is named").hint("adit run CODE, or `code` in the file of -f")
    })?;

    let mut request = RunBody::new(content(context, client, code).await?);
    for (path, what) in &job.inputs {
        request.inputs.insert(path.clone(), CidText(content(context, client, what).await?));
    }
    request.stdin = match args.stdin.as_ref().or(job.stdin.as_ref()).map(String::as_str) {
        None => None,
        Some("-") => Some(client.add_file(tokio::io::stdin(), &unpinned()).await?.cid),
        Some(what) => Some(content(context, client, what).await?),
    };
    request.args = job.args;
    request.env = job.env;
    request.fuel = args.fuel.or(job.fuel);
    request.memory = args.memory.or(job.memory).map(|size| size.0);
    request.output = args.max_output.or(job.output).map(|size| size.0);
    request.profile = profile;
    request.timeout_ms = args.timeout.or(job.timeout).map(|span| span.0.as_millis() as u64);
    request.place = Where(match (args.at, args.near, args.local) {
        (Some(node), ..) => Placement::At(node),
        (None, true, _) => Placement::Near,
        (None, false, true) => Placement::Local,
        (None, false, false) => Placement::Cost,
    });
    request.wait = args.wait;
    request.fresh = args.fresh;
    request.fetch_result = args.output.is_some();
    request.idempotency_key.clone_from(&args.idempotency_key);
    Ok(request)
}

/// A CID, a path below one or below a name, or something on this machine that is added now.
pub(crate) async fn content(context: &Context, client: &Client, what: &str) -> Result<Cid, Failure> {
    if what.starts_with(NAMES) || what.parse::<IpfsPath>().is_ok() {
        return context.resolve(client, what).await;
    }
    let path = Path::new(what);
    match tokio::fs::metadata(path).await {
        Ok(_) => Ok(client.add_path(path, &unpinned()).await?.cid),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(Failure::new(Exit::NotFound, format!("{what:?} is neither a CID nor a file here")))
        }
        Err(error) => Err(Failure::because(Exit::Failed, format!("cannot read {what}"), &error)),
    }
}

/// What is added for one job need not outlive it.
fn unpinned() -> AddQuery {
    AddQuery { pin: Some(false), ..AddQuery::default() }
}
