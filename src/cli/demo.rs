//! `moorgate demo`

use std::process::ExitCode;

use super::serve::Signals;
use super::{failed, logging, say};
use crate::demo::Demo;
use crate::demo::gitlab::{SampleCredential, sample_credentials};
use crate::demo::introspection::sample_tokens;
use crate::record::LogFormat;

/// Runs the demo until a signal ends it.
pub(super) fn demo(port: u16) -> ExitCode {
    let _ = logging::start(tracing::Level::INFO, LogFormat::Text);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    match runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(run(port))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

async fn run(port: u16) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    let demo = Demo::start(port)?;
    say(&introduction(&demo));
    signals.next().await;
    say("\nThe demo ends.\n");
    tokio::select! {
        _ = demo.drain() => {}
        _ = signals.next() => {}
    }
    Ok(())
}

/// Returns instructions for trying the demo, with commands to copy.
fn introduction(demo: &Demo) -> String {
    let host = format!("localhost:{}", demo.address().port());
    let credentials = sample_credentials();
    let reads_only = credentials.iter().find(|credential| credential.note == "may only pull");
    let active =
        credentials.iter().filter(|credential| credential.password.ends_with("read-write"));
    let logins: String = active.clone().map(|credential| login(&host, credential)).collect();
    let reads_only: String =
        reads_only.map(|credential| login(&host, credential)).into_iter().collect();
    // The program need not be on the `PATH`, for example after `cargo run`.
    let moorgate = std::env::current_exe()
        .map_or_else(|_| "moorgate".to_owned(), |path| path.display().to_string());
    let (user, password) =
        active.clone().next().map(|first| (&*first.user, &*first.password)).unwrap_or_default();
    let sso = sample_tokens().into_iter().next().map(|sample| sample.token).unwrap_or_default();
    let [config, certificate, id_token] =
        [demo.config(), demo.certificate(), demo.id_token()].map(|path| path.display().to_string());
    let admin = demo.admin();
    format!(
        "moorgate demo: the gate is on https://{host}, in front of a small registry, with
stand-ins for GitLab, for a single sign-on server (RFC 7662) and for an OIDC issuer.

Log in with one of GitLab's six kinds of credential:

{logins}
or with a token of the single sign-on server, or with a CI job's id_token, for which no secret is
stored anywhere:

  echo {sso} | docker login -u sso --password-stdin {host}    # any user name works
  docker login -u oidc --password-stdin {host} < {id_token}

A tool can also send a token directly, as a Bearer token:

  curl --fail --cacert {certificate} -H 'Authorization: Bearer {sso}' https://{host}/v2/

Then push and pull. Repository names begin with demo/, the group that these credentials may use.
Any image works. To create and push a tiny one:

  echo hello > hello.txt && tar -c hello.txt | docker import - {host}/demo/hello:v1
  docker push {host}/demo/hello:v1
  docker rmi {host}/demo/hello:v1 && docker pull {host}/demo/hello:v1

To see a refusal with its reason, log in with a token that may only pull, and push again:

{reads_only}
The same with podman and skopeo (the certificate is self-signed, so the options turn its check off):

  echo {password} | podman login --tls-verify=false -u {user} --password-stdin {host}
  podman pull --tls-verify=false {host}/demo/hello:v1
  echo {password} | skopeo login --tls-verify=false -u {user} --password-stdin {host}
  skopeo inspect --tls-verify=false docker://{host}/demo/hello:v1

Inspect the gate:

  {moorgate} print-config --config {config}
  echo {password} | {moorgate} explain --config {config} --method PUT \
         --path /v2/demo/hello/manifests/v1 -u {user}
  curl http://{admin}/metrics
  http://{admin}/    # the status page of the gate, for a browser

Each request is one line below. Ctrl-C ends the demo and deletes everything that was pushed to it.

"
    )
}

fn login(host: &str, credential: &SampleCredential) -> String {
    let SampleCredential { kind, user, password, note, .. } = credential;
    format!(
        "  echo {password} | docker login -u {user} --password-stdin {host}    # {kind}: {note}\n"
    )
}
