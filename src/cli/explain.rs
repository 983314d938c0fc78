//! `moorgate explain`: shows the answer that a request would get, and the reasons.

mod assumed;
mod text;

use std::io::{self, IsTerminal, Read};
use std::net::{IpAddr, Ipv4Addr};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use http::request::Parts;
use http::{HeaderValue, Method, Request, Uri, header};
use secrecy::SecretString;
use tokio::task::LocalSet;
use zeroize::Zeroizing;

use super::check_config::{EXIT_BAD_CONFIG, load_or_report};
use super::{ConfigPath, environment, logging, no_terminal, say};
use crate::config::{Loaded, load_without_logs};
use crate::gate::{ExplainedAnswer, Explanation};
use crate::identity::model::credential::basic;
use crate::record::LogFormat;
use crate::run;
use crate::upstream::Upstream;
use assumed::AssumedArguments;

/// The exit code if the request could not be evaluated. clap uses the same code for bad arguments.
const EXIT_NOT_ASKED: u8 = 2;

/// The exit code if a provider gave no usable answer: `EX_UNAVAILABLE` of sysexits.h.
const EXIT_UNAVAILABLE: u8 = 69;

/// The longest input, in bytes. Secrets are much shorter, and a file that was passed by mistake can
/// be endless.
const MAX_SECRET_BYTES: usize = 64 * 1024;

#[derive(Args)]
pub(super) struct Explain {
    #[command(flatten)]
    config: ConfigPath,
    /// The request's method, such as GET, PUT or POST
    #[arg(long, value_name = "METHOD")]
    method: String,
    /// The request's path, with its query, such as '/v2/group/image/manifests/v1'
    #[arg(long)]
    path: String,
    /// The user name of a Basic credential; without it, the secret is sent as a Bearer token
    #[arg(long, short, value_name = "USER")]
    user: Option<String>,
    /// The address of the client, for rules with `from` and for GitLab's address rules
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    from: IpAddr,
    #[command(flatten)]
    assumed: AssumedArguments,
}

/// The reasons why a request could not be evaluated.
enum Unasked {
    BadConfig,
    /// The output could not be written.
    NoTerminal(io::Error),
    Failed(anyhow::Error),
}

/// Runs a request through the gate of a config, and prints the result.
pub(super) fn explain(arguments: Explain) -> ExitCode {
    match run(arguments) {
        Ok(code) => code,
        Err(Unasked::BadConfig) => EXIT_BAD_CONFIG.into(),
        Err(Unasked::NoTerminal(error)) => no_terminal(error),
        Err(Unasked::Failed(error)) => {
            eprintln!("moorgate: {error:#}");
            EXIT_NOT_ASKED.into()
        }
    }
}

fn run(arguments: Explain) -> Result<ExitCode, Unasked> {
    let Explain { config, method, path, user, from, assumed } = arguments;
    let address = from.to_canonical();
    let loaded =
        load_or_report(load_without_logs(&config.file(), environment()), &mut io::stderr());
    let loaded = loaded.map_err(Unasked::NoTerminal)?.ok_or(Unasked::BadConfig)?;
    let _ = logging::start(loaded.config.log.level, LogFormat::Text);
    let assumed = assumed.caller(&loaded.config.identity)?;
    let authorization = match assumed {
        Some(_) => None,
        None => authorization(user.as_deref(), &secret(user.as_deref())?)?,
    };
    let head = match head(&method, &path, authorization) {
        Ok(head) => head,
        Err(why) => {
            let code = say(&text::unreadable(&method, &path, &why));
            return Ok(if code == ExitCode::SUCCESS { ExitCode::FAILURE } else { code });
        }
    };
    if let Some(caller) = assumed {
        let rule_book = run::rule_book(&loaded.config)?;
        return Ok(tell(&head, &rule_book.explain(&head, address, &caller), true));
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)?;
    Ok(LocalSet::new().block_on(&runtime, ask(loaded, &head, address))?)
}

async fn ask(loaded: Loaded, head: &Parts, address: IpAddr) -> anyhow::Result<ExitCode> {
    let shares_keys = loaded.config.tokens.keys.is_some();
    let snapshot = run::unserved(loaded)?;
    let upstream = Upstream::new(snapshot.upstream.clone());
    let explanation = snapshot.gate.explain(head, address, &upstream).await;
    Ok(tell(head, &explanation, shares_keys))
}

/// Prints an explanation, and returns its exit code.
fn tell(head: &Parts, explanation: &Explanation<'_>, shares_keys: bool) -> ExitCode {
    let written = say(&text::explanation(head, explanation, shares_keys));
    if written == ExitCode::SUCCESS { code(explanation) } else { written }
}

fn code(explanation: &Explanation<'_>) -> ExitCode {
    match &explanation.answer {
        _ if explanation.unavailable().is_some() => EXIT_UNAVAILABLE.into(),
        ExplainedAnswer::Refused { .. } => ExitCode::FAILURE,
        ExplainedAnswer::Pong | ExplainedAnswer::Token(_) | ExplainedAnswer::Registry { .. } => {
            ExitCode::SUCCESS
        }
    }
}

/// Reads one line of standard input.
fn secret(user: Option<&str>) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    if io::stdin().is_terminal() {
        let empty =
            if user.is_none() { ", or nothing for a caller without a credential" } else { "" };
        eprintln!(
            "Enter the secret{empty}, then press Enter and Ctrl-D. The terminal shows the secret; \
             to hide it, pipe it in."
        );
    }
    // The full capacity is allocated at once, because a vector that grows leaves copies in memory
    // that are not zeroed.
    let mut secret = Zeroizing::new(Vec::with_capacity(MAX_SECRET_BYTES + 1));
    let limit = u64::try_from(MAX_SECRET_BYTES + 1).unwrap_or(u64::MAX);
    io::stdin().take(limit).read_to_end(&mut secret).context("standard input cannot be read")?;
    anyhow::ensure!(
        secret.len() <= MAX_SECRET_BYTES,
        "the secret on standard input is larger than 64 KiB; pass only the secret"
    );
    if secret.last() == Some(&b'\n') {
        secret.pop();
    }
    if secret.last() == Some(&b'\r') {
        secret.pop();
    }
    Ok(secret)
}

/// Returns the value of `Authorization` that a client would send.
fn authorization(user: Option<&str>, secret: &[u8]) -> anyhow::Result<Option<HeaderValue>> {
    let value = match user {
        None if secret.is_empty() => return Ok(None),
        None => {
            let line = Zeroizing::new([b"Bearer ", secret].concat());
            HeaderValue::from_bytes(&line).ok()
        }
        Some(user) => {
            anyhow::ensure!(
                !user.contains(':'),
                "-u takes only the user name, which cannot contain a colon; pass the secret on \
                 standard input"
            );
            anyhow::ensure!(
                !secret.is_empty(),
                "-u needs the user's secret on standard input, which is empty; run moorgate \
                 explain -u {user:?} … < FILE"
            );
            let text =
                std::str::from_utf8(secret).context("the secret on standard input is not UTF-8")?;
            basic(user, &SecretString::from(text))
        }
    };
    let mut value = value
        .context("the secret on standard input contains a control character; pass only one line")?;
    value.set_sensitive(true);
    Ok(Some(value))
}

/// Returns the head of the request, parsed as the gate's HTTP library parses it. The error
/// describes what is wrong.
fn head(method: &str, path: &str, authorization: Option<HeaderValue>) -> Result<Parts, String> {
    let method = Method::from_bytes(method.as_bytes())
        .map_err(|_| "the method is not a valid HTTP method".to_owned())?;
    let uri = Uri::try_from(path).map_err(|why| {
        format!("the path is not valid ({why}); begin it with / and percent-encode it")
    })?;
    let (mut head, ()) = Request::new(()).into_parts();
    (head.method, head.uri) = (method, uri);
    head.headers.insert(header::HOST, HeaderValue::from_static("localhost"));
    if let Some(authorization) = authorization {
        head.headers.insert(header::AUTHORIZATION, authorization);
    }
    Ok(head)
}

impl From<anyhow::Error> for Unasked {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}
