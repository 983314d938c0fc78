//! The command line.

pub mod check_config;
mod core_dumps;
mod demo;
mod explain;
mod hash_password;
mod healthcheck;
mod logging;
pub mod print_config;
mod serve;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

/// An authenticating reverse proxy in front of an existing container registry.
///
/// To see it work, with nothing to install: moorgate demo
#[derive(Parser)]
#[command(version, arg_required_else_help = true, disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the gate
    ///
    /// SIGTERM and SIGINT end it: no new connections, requests under way come to their end
    /// (http.drain_timeout), exit 0. A second signal ends it at once, exit 1. SIGHUP, or a
    /// change of a file that the config names, has it read again. A config that cannot be used:
    /// exit 78.
    Serve(Config),
    /// Check a config and every file that it names
    ///
    /// Prints all problems at once, one a line, as FILE:LINE:COLUMN: what is wrong; what would be
    /// right. Nothing is contacted without --online. Exit 0 or 78.
    #[command(alias = "validate")]
    CheckConfig(CheckConfig),
    /// Print the config in effect: defaults filled in, environment applied, secrets redacted
    PrintConfig(Config),
    /// Print the JSON schema of the config
    ///
    /// Editors use it to complete and check: put "# yaml-language-server: $schema=schema.json" at
    /// the top of the config.
    Schema,
    /// Run a gate, a small registry and a stand-in for GitLab in one process, to try it out
    Demo(Demo),
    /// Read a password from standard input and print its bcrypt hash
    ///
    /// For an htpasswd file: moorgate hash-password alice >> htpasswd
    HashPassword {
        /// Print a whole htpasswd line for this user
        user: Option<String>,
    },
    /// Say what a request would get, and why: who it is, what it has, what each rule says
    ///
    /// The secret comes on standard input: moorgate explain --method PUT --path
    /// /v2/group/image/manifests/v1 -u alice < token. Without -u it is sent as Bearer; without
    /// a secret the caller is nobody. A token of the gate's own works where tokens.key_file is
    /// set.
    ///
    /// The request goes through the gate of the config as if it came from this machine, up to where
    /// it would go to the registry. Providers are asked, and nothing from before is used. It is
    /// never written to the registry, which is asked only whether an immutable tag exists; but
    /// a GitLab that is asked about a push and grants it creates the record of the image's
    /// repository, as with any push.
    ///
    /// Exit 0 allowed, 1 refused, 2 not asked, 69 a provider gave no answer, 78 a bad config.
    Explain(explain::Explain),
    /// Ask a running gate whether it is ready
    ///
    /// For images without curl. Asks /readyz of the admin listener of the config. Exit 0 or 1.
    Healthcheck(Config),
}

#[derive(Args)]
struct Config {
    /// The config file [default: $MOORGATE_CONFIG, then /etc/moorgate/moorgate.yml]
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Args)]
struct CheckConfig {
    #[command(flatten)]
    config: Config,
    /// Then ask the registry and every identity provider, with no credential of a user, and say
    /// what each answered
    #[arg(long)]
    online: bool,
}

impl Config {
    /// An empty variable is none: compose files make them.
    fn file(self) -> PathBuf {
        let variable = || {
            std::env::var_os("MOORGATE_CONFIG").filter(|file| !file.is_empty()).map(PathBuf::from)
        };
        self.config.or_else(variable).unwrap_or_else(|| PathBuf::from("/etc/moorgate/moorgate.yml"))
    }
}

#[derive(Args)]
struct Demo {
    /// Where the gate listens
    #[arg(long, value_name = "PORT", default_value_t = 8443)]
    port: u16,
}

/// Runs the command that the arguments name.
pub fn main() -> ExitCode {
    core_dumps::forbid();
    match Arguments::parse().command {
        Command::Serve(config) => serve::serve(&config.file()),
        Command::CheckConfig(CheckConfig { config, online }) => check_config::check_config(
            &config.file(),
            environment(),
            online,
            &mut io::stdout(),
            &mut io::stderr(),
        )
        .unwrap_or_else(no_terminal),
        Command::PrintConfig(config) => print_config::print_config(
            &config.file(),
            environment(),
            &mut io::stdout(),
            &mut io::stderr(),
        )
        .unwrap_or_else(no_terminal),
        Command::Schema => say(&crate::config::schema()),
        Command::Demo(demo) => demo::demo(demo.port),
        Command::HashPassword { user } => hash_password::hash_password(user.as_deref()),
        Command::Explain(arguments) => explain::explain(arguments),
        Command::Healthcheck(config) => healthcheck::healthcheck(&config.file()),
    }
}

/// The environment as text. What is no UTF-8 is no variable of ours, and no value of ours either.
fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().map(|(name, value)| {
        (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned())
    })
}

/// Prints to standard output. `print!` would panic where nobody reads it.
fn say(text: &str) -> ExitCode {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    written.map_or_else(no_terminal, |()| ExitCode::SUCCESS)
}

/// Nobody reads what is printed.
fn no_terminal(_: io::Error) -> ExitCode {
    ExitCode::FAILURE
}

/// Says what went wrong, with everything beneath it.
fn failed(error: &anyhow::Error) -> ExitCode {
    eprintln!("moorgate: {error:#}");
    ExitCode::FAILURE
}
