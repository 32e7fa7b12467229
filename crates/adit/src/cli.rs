//! The command line as a whole: global options, and the list of commands.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::commands;

/// Run programs at the node that holds the data
#[derive(Debug, Parser)]
#[command(
    name = "adit",
    version,
    propagate_version = false,
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    after_help = "\
Data goes to stdout, progress and remarks to stderr.

Exit codes: 1 failed, 2 usage, 3 not found, 4 no daemon, 5 trust refused, 124 timeout, 130 interrupted.
`adit run` ends with the program's own exit code, and adds 100 to these.

A setting is taken from a flag, else the environment, else config.toml, else its default;
`adit config show --origin` tells which."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// Options that every command takes.
#[derive(Clone, Debug, Args)]
pub(crate) struct Global {
    /// Print JSON instead of text
    #[arg(long, global = true, help_heading = "Global options")]
    pub json: bool,
    /// No progress, no remarks
    #[arg(long, short, global = true, help_heading = "Global options")]
    pub quiet: bool,
    /// The node to talk to; the local daemon if not given
    #[arg(long, global = true, value_name = "URL", env = "ADIT_API", help_heading = "Global options")]
    pub api: Option<String>,
    /// File with the API token (or ADIT_TOKEN holds it); a local daemon's own is found by itself
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "ADIT_TOKEN_FILE",
        help_heading = "Global options"
    )]
    pub token_file: Option<PathBuf>,
    /// The node's directory [default: ~/.adit]
    #[arg(long, global = true, value_name = "DIR", env = "ADIT_PATH", help_heading = "Global options")]
    pub repo: Option<PathBuf>,
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a node: its directory, keys and settings
    Init(commands::init::Args),
    /// Run the node until ctrl-C
    Daemon(commands::daemon::Args),
    /// Run a network of local nodes until ctrl-C
    Devnet(commands::devnet::Args),

    /// Add files or directories and print their CIDs
    Add(commands::files::AddArgs),
    /// Print a file
    Cat(commands::files::CatArgs),
    /// Write a file or directory to disk
    Get(commands::files::GetArgs),
    /// List a directory
    Ls(commands::files::PathArgs),
    /// Describe what a path names
    Stat(commands::files::PathArgs),
    /// Seal a file: only those that are named can open it
    Seal(commands::seal::SealArgs),
    /// Open what was sealed to you
    Unseal(commands::seal::UnsealArgs),
    /// Keep content from garbage collection
    #[command(subcommand)]
    Pin(commands::pin::Pin),
    /// Look after the block store
    #[command(subcommand)]
    Repo(commands::repo::Repo),
    /// Blocks in CAR files
    #[command(subcommand)]
    Dag(commands::dag::Dag),

    /// Run a program where its data is
    Run(Box<commands::run::Args>),
    /// Jobs and their results
    #[command(subcommand)]
    Job(commands::job::Job),
    /// Signed receipts of jobs
    #[command(subcommand)]
    Receipt(commands::receipt::Receipt),
    /// What may be done with sealed data
    #[command(subcommand)]
    Policy(commands::policy::PolicyCommand),
    /// What evidence of trusted hardware is worth
    #[command(subcommand)]
    Trust(commands::trust::Trust),

    /// Programs that answer HTTP requests
    #[command(subcommand)]
    Http(commands::http::Http),

    /// Who this node is
    Id,
    /// Nodes that run jobs
    #[command(subcommand)]
    Node(commands::node::Node),
    /// Connections to other peers
    #[command(subcommand)]
    Swarm(commands::swarm::Swarm),
    /// Who has content, and where peers are
    #[command(subcommand)]
    Routing(commands::routing::Routing),
    /// Names that stand for content, and can stand for other content later
    #[command(subcommand)]
    Name(commands::name::Name),
    /// Your own keys, and those that names are published under
    #[command(subcommand)]
    Key(commands::key::Key),
    /// Find out what is wrong
    Doctor,
    /// Take no new jobs, and wait for those that run
    Drain(commands::drain::Args),
    /// Settings and where they come from
    #[command(subcommand)]
    Config(commands::config::Config),
    /// Print a script that completes commands in a shell
    Completions(commands::completions::Args),
}
