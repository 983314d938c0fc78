//! The command line.

pub mod check_config;
mod demo;
mod hash_password;
mod healthcheck;
mod logging;
pub mod print_config;
mod serve;

use std::io;
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
    /// SIGTERM and SIGINT end it: no new connections, requests under way come to their end (http.drain_timeout), exit 0.
    /// A second signal ends it at once, exit 1. A config that cannot be used: exit 78.
    Serve(Config),
    /// Check a config and every file that it names
    ///
    /// Prints all problems at once, one a line, as FILE:LINE:COLUMN: what is wrong; what would be right. Nothing is
    /// contacted. Exit 0 or 78.
    #[command(alias = "validate")]
    CheckConfig(Config),
    /// Print the config in effect: defaults filled in, environment applied, secrets redacted
    PrintConfig(Config),
    /// Print the JSON schema of the config
    ///
    /// Editors use it to complete and check: put "# yaml-language-server: $schema=schema.json" at the top of the config.
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
    /// Ask a running gate whether it is ready
    ///
    /// For images without curl. Asks /readyz of the admin listener of the config. Exit 0 or 1.
    Healthcheck(Config),
}

#[derive(Args)]
struct Config {
    /// The config file
    #[arg(long, short, value_name = "FILE", env = "MOORGATE_CONFIG", default_value = "/etc/moorgate/moorgate.yml")]
    config: PathBuf,
}

#[derive(Args)]
struct Demo {
    /// Where the gate listens
    #[arg(long, value_name = "PORT", default_value_t = 8443)]
    port: u16,
}

/// Runs the command that the arguments name.
pub fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Serve(Config { config }) => serve::serve(&config),
        Command::CheckConfig(Config { config }) => {
            check_config::check_config(&config, environment(), &mut io::stdout(), &mut io::stderr())
                .unwrap_or_else(no_terminal)
        }
        Command::PrintConfig(Config { config }) => {
            print_config::print_config(&config, environment(), &mut io::stdout(), &mut io::stderr())
                .unwrap_or_else(no_terminal)
        }
        Command::Schema => {
            print!("{}", crate::config::schema());
            ExitCode::SUCCESS
        }
        Command::Demo(demo) => demo::demo(demo.port),
        Command::HashPassword { user } => hash_password::hash_password(user.as_deref()),
        Command::Healthcheck(Config { config }) => healthcheck::healthcheck(&config),
    }
}

/// The environment as text. What is no UTF-8 is no variable of ours, and no value of ours either.
fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
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
