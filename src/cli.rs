//! The command line.

pub mod check_config;
mod core_dumps;
mod credential_provider;
mod demo;
mod explain;
mod hash_password;
mod healthcheck;
mod logging;
pub mod print_config;
mod serve;
mod shell_files;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use check_config::{Extent, check_config};
use clap::{Args, CommandFactory, Parser, Subcommand, ValueHint};
use clap_complete::Shell;

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
    /// SIGTERM and SIGINT drain the gate: after http.drain_delay it accepts no new connections,
    /// requests in progress may finish within http.drain_timeout, and it exits with 0. A second
    /// signal ends it at once, with exit code 1. SIGHUP, or a change of the config or of a file
    /// that it names, reloads the config. If the config is not valid at the start, it exits with
    /// 78.
    Serve(ConfigPath),
    /// Check a config and every file that it names
    ///
    /// Prints all problems at once, one per line, as FILE:LINE:COLUMN: the problem; the remedy.
    /// It checks the config of --config, or each FILE, such as: moorgate check-config
    /// --allow-missing-files deploy/*.yml
    ///
    /// Without --online it contacts no server. With --online it asks the registry and every
    /// provider, and begins and cancels an upload in the registry's repository
    /// moorgate-check-config/probe, because only an upload shows where the registry leads pushes.
    ///
    /// Exit code 0, or 78 if a config is not valid.
    #[command(alias = "validate")]
    CheckConfig(CheckConfig),
    /// Print the config in effect: defaults filled in, environment applied, secrets stay in
    /// their files
    PrintConfig(ConfigPath),
    /// Print the JSON schema of the config
    ///
    /// Editors use it to complete and to check values: put
    /// "# yaml-language-server: $schema=schema.json" at the top of the config.
    Schema,
    /// Run a gate, a small registry and stand-ins for GitLab's token endpoint, an RFC 7662
    /// introspection server and an OIDC issuer in one process
    Demo(Demo),
    /// Read a password from standard input and print its bcrypt hash
    ///
    /// For an htpasswd file: moorgate hash-password alice >> htpasswd
    HashPassword {
        /// Print a whole htpasswd line for this user
        user: Option<String>,
    },
    /// Show the answer that a request would get, and why: the caller, its rights, each rule
    ///
    /// The secret is read from standard input: moorgate explain --method PUT --path
    /// /v2/group/image/manifests/v1 -u alice < token. Without -u it is sent as a Bearer token;
    /// without a secret the request has no credential. A gate token works if tokens.key_file is
    /// set. With --as, no credential is asked for: it shows what the rules say of that caller, such
    /// as moorgate explain --as gitlab/alice --method PUT --path /v2/group/image/manifests/v1.
    ///
    /// The request passes through the gate of the config as if it came from this machine, up to the
    /// point where it would be forwarded. Providers are asked, and cached answers are not used.
    /// Nothing is written to the registry; it is asked only whether an immutable tag exists. A
    /// GitLab that is asked about a push and grants it creates the record of the image's
    /// repository, as with any push.
    ///
    /// Exit codes: 0 allowed, 1 refused, 2 not evaluated, 69 a provider gave no usable answer, 78 a
    /// bad config.
    Explain(explain::Explain),
    /// Give kubelet the token of a pod's service account as the password for the gate
    ///
    /// Pods then pull without a pull secret: the gate checks the token with a provider of type jwt.
    /// It is a credential provider plugin (credentialprovider.kubelet.k8s.io/v1), which kubelet
    /// runs itself: put this program, with the name moorgate, into the folder of kubelet's
    /// --image-credential-provider-bin-dir, and write into the file of its
    /// --image-credential-provider-config:
    ///
    /// {"apiVersion": "kubelet.config.k8s.io/v1", "kind": "CredentialProviderConfig", "providers":
    /// [{"name": "moorgate", "apiVersion": "credentialprovider.kubelet.k8s.io/v1", "args":
    /// ["credential-provider", "--registry=registry.example.com"], "matchImages":
    /// ["registry.example.com"], "defaultCacheDuration": "0s", "tokenAttributes":
    /// {"serviceAccountTokenAudience": "registry.example.com", "requireServiceAccount": true,
    /// "cacheType": "Token"}}]}
    ///
    /// It reads a CredentialProviderRequest from standard input and writes a
    /// CredentialProviderResponse, which kubelet may keep until the token ends. Exit code 0, or 1
    /// with the wrong field on standard error, for example if the image is of another registry.
    CredentialProvider(credential_provider::CredentialProvider),
    /// Ask a running gate whether it is ready
    ///
    /// For images without curl: it requests /readyz from the admin listener. Exit code 0 or 1.
    Healthcheck(ConfigPath),
    /// Print the completions of a shell for this program
    ///
    /// The packages install them. By hand, for the current user:
    ///
    /// bash: moorgate completions bash > ~/.local/share/bash-completion/completions/moorgate
    ///
    /// zsh: moorgate completions zsh > FOLDER/_moorgate, with FOLDER in $fpath before compinit runs
    ///
    /// fish: moorgate completions fish > ~/.config/fish/completions/moorgate.fish
    ///
    /// elvish: moorgate completions elvish > ~/.config/elvish/lib/moorgate.elv, and the line
    /// "use moorgate" in rc.elv
    ///
    /// PowerShell: moorgate completions powershell >> $PROFILE
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Write the manual pages into a folder: moorgate.1, and one page for each command
    ///
    /// The packages install them. By hand: moorgate man /usr/local/share/man/man1, as root, and
    /// then: man moorgate-serve. The folder is created if it does not exist.
    Man {
        /// The folder
        #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
        folder: PathBuf,
    },
}

#[derive(Args)]
struct ConfigPath {
    /// The config file [default: $MOORGATE_CONFIG, then /etc/moorgate/moorgate.yml]
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Args)]
struct CheckConfig {
    /// Configs to check one after the other, in place of --config
    #[arg(value_name = "FILE", conflicts_with = "config")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    config: ConfigPath,
    /// Also contact the registry and every identity provider, without a user's credential, and
    /// show their answers; begins and cancels an upload in moorgate-check-config/probe
    #[arg(long)]
    online: bool,
    /// Only warn about a file that a config names and that is not here: for a config in version
    /// control, without its certificates and secrets. What is in such a file is not checked
    #[arg(long, conflicts_with = "online")]
    allow_missing_files: bool,
}

impl CheckConfig {
    /// Checks each config. The exit code is that of a bad config if one of them is bad.
    fn run(self) -> ExitCode {
        let extent = match self {
            Self { online: true, .. } => Extent::Online,
            Self { allow_missing_files: true, .. } => Extent::MissingFilesAllowed,
            _ => Extent::Files,
        };
        let files = if self.files.is_empty() { vec![self.config.file()] } else { self.files };
        let mut exit_code = ExitCode::SUCCESS;
        for file in files {
            let (stdout, stderr) = (&mut io::stdout(), &mut io::stderr());
            match check_config(&file, environment(), extent, stdout, stderr) {
                Ok(ExitCode::SUCCESS) => {}
                Ok(bad) => exit_code = bad,
                Err(error) => return no_terminal(error),
            }
        }
        exit_code
    }
}

impl ConfigPath {
    /// Returns the path of the config file. An empty environment variable counts as unset, because
    /// compose files set variables to nothing.
    fn file(self) -> PathBuf {
        let variable = || {
            std::env::var_os("MOORGATE_CONFIG").filter(|file| !file.is_empty()).map(PathBuf::from)
        };
        self.config.or_else(variable).unwrap_or_else(|| PathBuf::from("/etc/moorgate/moorgate.yml"))
    }
}

#[derive(Args)]
struct Demo {
    /// The port that the gate listens on
    #[arg(long, value_name = "PORT", default_value_t = 8443)]
    port: u16,
}

/// Runs the command that the arguments name.
pub fn main() -> ExitCode {
    core_dumps::forbid();
    match Arguments::parse().command {
        Command::Serve(config) => serve::serve(&config.file()),
        Command::CheckConfig(arguments) => arguments.run(),
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
        Command::CredentialProvider(arguments) => {
            credential_provider::credential_provider(&arguments)
        }
        Command::Healthcheck(config) => healthcheck::healthcheck(&config.file()),
        Command::Completions { shell } => shell_files::completions(Arguments::command(), shell),
        Command::Man { folder } => shell_files::man(Arguments::command(), &folder),
    }
}

/// Returns the environment as text. A name or value that is not UTF-8 cannot be one that the gate
/// reads, so its replacement characters do no harm.
fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().map(|(name, value)| {
        (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned())
    })
}

/// Prints to standard output. `print!` would panic if the reader has closed the pipe.
fn say(text: &str) -> ExitCode {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    written.map_or_else(no_terminal, |()| ExitCode::SUCCESS)
}

/// Returns the exit code for output that could not be written.
fn no_terminal(_: io::Error) -> ExitCode {
    ExitCode::FAILURE
}

/// Prints an error with all its causes.
fn failed(error: &anyhow::Error) -> ExitCode {
    eprintln!("moorgate: {error:#}");
    ExitCode::FAILURE
}
