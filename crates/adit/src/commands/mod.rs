//! One module per command family, and the table that leads to them.

pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod daemon;
pub(crate) mod dag;
pub(crate) mod devnet;
pub(crate) mod doctor;
pub(crate) mod drain;
pub(crate) mod files;
pub(crate) mod gateway;
pub(crate) mod http;
pub(crate) mod id;
pub(crate) mod init;
pub(crate) mod job;
pub(crate) mod key;
pub(crate) mod memory;
pub(crate) mod name;
pub(crate) mod node;
pub(crate) mod pin;
pub(crate) mod policy;
pub(crate) mod receipt;
pub(crate) mod repo;
pub(crate) mod routing;
pub(crate) mod run;
pub(crate) mod seal;
pub(crate) mod swarm;
pub(crate) mod trust;

use std::future::Future;

use crate::cli::Command;
use crate::context::Context;
use crate::exit::{Exit, Failure};

/// Runs a command to its end and gives the exit code.
pub(crate) fn dispatch(context: &Context, command: Command) -> Result<u8, Failure> {
    match command {
        Command::Init(args) => done(init::init(context, args)),
        Command::Config(command) => done(config::config(context, command)),
        Command::Completions(args) => done(completions::completions(context, args)),
        // These two own their processes and runtimes, and end in their own way on ctrl-C.
        Command::Daemon(args) => done(daemon::daemon(context, args)),
        Command::Devnet(args) => done(devnet::devnet(context, args)),
        Command::Run(args) => client(run::run(context, *args)),
        Command::Add(args) => client(zero(files::add(context, args))),
        Command::Cat(args) => client(zero(files::cat(context, args))),
        Command::Get(args) => client(zero(files::get(context, args))),
        Command::Ls(args) => client(zero(files::ls(context, args))),
        Command::Seal(args) => client(zero(seal::seal(context, args))),
        Command::Unseal(args) => client(zero(seal::unseal(context, args))),
        Command::Stat(args) => client(zero(files::stat(context, args))),
        Command::Pin(command) => client(zero(pin::pin(context, command))),
        Command::Repo(command) => client(repo::repo(context, command)),
        Command::Dag(command) => client(zero(dag::dag(context, command))),
        Command::Job(command) => client(job::job(context, command)),
        Command::Receipt(command) => client(zero(receipt::receipt(context, command))),
        Command::Policy(command) => done(policy::policy(context, command)),
        Command::Trust(command) => done(trust::trust(context, command)),
        Command::Http(command) => client(zero(http::http(context, command))),
        Command::Id => client(zero(id::id(context))),
        Command::Node(command) => client(zero(node::node(context, command))),
        Command::Swarm(command) => client(zero(swarm::swarm(context, command))),
        Command::Routing(command) => client(zero(routing::routing(context, command))),
        Command::Name(command) => client(zero(name::name(context, command))),
        Command::Key(command) => client(zero(key::key(context, command))),
        Command::Doctor => client(doctor::doctor(context)),
        Command::Drain(args) => client(zero(drain::drain(context, args))),
    }
}

fn done(result: Result<(), Failure>) -> Result<u8, Failure> {
    result.map(|()| 0)
}

async fn zero(command: impl Future<Output = Result<(), Failure>>) -> Result<u8, Failure> {
    command.await.map(|()| 0)
}

/// Runs a client command on this thread until it ends or ctrl-C comes. Dropping the command closes its
/// connection, by which the daemon knows; `run` takes its job back first.
fn client(command: impl Future<Output = Result<u8, Failure>>) -> Result<u8, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::because(Exit::Failed, "cannot start", &error))?;
    let ended = runtime.block_on(async {
        tokio::select! {
            ended = command => ended,
            _ = tokio::signal::ctrl_c() => Err(Failure::new(Exit::Interrupted, "interrupted")),
        }
    });
    // A thread that waits for stdin cannot be stopped: do not wait for it.
    runtime.shutdown_background();
    ended
}
