//! The instructions that `moorgate demo` prints. Each command is a line of its own, with two spaces
//! in front and nothing behind it: zsh would run what follows a `#`.

use std::borrow::Cow;

use crate::demo::Demo;
use crate::demo::gitlab::{SampleCredential, sample_credentials};
use crate::demo::introspection::sample_tokens;

/// Returns instructions for trying the demo, with commands to copy.
pub(super) fn introduction(demo: &Demo) -> String {
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
    let [config, certificate, id_token, second] =
        [demo.config(), demo.certificate(), demo.id_token(), demo.second_config()]
            .map(|path| path.display().to_string());
    let [moorgate, config, certificate, id_token, second] =
        [&moorgate, &config, &certificate, &id_token, &second].map(|path| quoted(path));
    let (admin, public, second_port) = (demo.admin(), demo.public_image(), demo.second_port());
    format!(
        "moorgate demo: the gate is on https://{host}, in front of a small registry, with
stand-ins for GitLab's token endpoint, for an RFC 7662 introspection server (single sign-on) and for
an OIDC issuer.

One image is public. To pull it without a login:

  docker pull {host}/{public}

For everything else, log in with one of GitLab's six kinds of credential:

{logins}
or with a token of the single sign-on server, where any user name works:

  echo {sso} | docker login -u sso --password-stdin {host}

or with the id_token of a CI job, for which no secret is stored anywhere:

  docker login -u oidc --password-stdin {host} < {id_token}

A tool can also send a token directly, as a Bearer token:

  curl --fail --cacert {certificate} -H 'Authorization: Bearer {sso}' https://{host}/v2/

Then push and pull. Repository names begin with demo/, the group that these credentials may use.
Any image works. To create and push a tiny one, and to pull it again:

  echo hello > hello.txt
  tar -cf - hello.txt | docker import - {host}/demo/hello:v1
  docker push {host}/demo/hello:v1
  docker rmi {host}/demo/hello:v1
  docker pull {host}/demo/hello:v1

To see a refusal with its reason, log in with a token that may only pull, and push again:

{reads_only}  docker push {host}/demo/hello:v1

The same with podman, skopeo and oras (the certificate is self-signed, so the options turn its check
off; without --plain-http=false, oras speaks plain HTTP to localhost):

  echo {password} | podman login --tls-verify=false -u {user} --password-stdin {host}
  podman pull --tls-verify=false {host}/demo/hello:v1
  echo {password} | skopeo login --tls-verify=false -u {user} --password-stdin {host}
  skopeo inspect --tls-verify=false docker://{host}/demo/hello:v1
  echo {password} | oras login --plain-http=false --insecure -u {user} --password-stdin {host}
  oras push --plain-http=false --insecure {host}/demo/notes:v1 hello.txt
  oras pull --plain-http=false --insecure -o pulled {host}/demo/notes:v1

Inspect the gate. The first three commands show its config, what its rules say of a user, and why
it would allow a push:

  {moorgate} print-config --config {config}
  {moorgate} explain --config {config} --method PUT --path {path} --as gitlab/{user}
  echo {password} | {moorgate} explain --config {config} --method PUT --path {path} -u {user}
  curl http://{admin}/metrics

The status page of the gate, for a browser: http://{admin}/

Run a gate of your own. This config is for a second gate in front of the same servers. Read it,
change it if you like, and serve it in another terminal while the demo runs:

  cat {second}
  {moorgate} serve --config {second}
  curl --fail --cacert {certificate} -H 'Authorization: Bearer {sso}' https://localhost:{second_port}/v2/

Each request is one line below. Ctrl-C ends the demo and deletes everything that was pushed to it.

",
        path = "/v2/demo/hello/manifests/v1",
    )
}

fn login(host: &str, credential: &SampleCredential) -> String {
    let SampleCredential { kind, user, password, note, .. } = credential;
    format!(
        "{kind} ({note}):\n  echo {password} | docker login -u {user} --password-stdin {host}\n"
    )
}

/// Returns a word as a shell reads it back: in quotes if it contains any other character than
/// those of plain paths.
fn quoted(word: &str) -> Cow<'_, str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+,@%".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        return word.into();
    }
    format!("'{}'", word.replace('\'', "'\\''")).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_quoted_if_a_shell_would_read_it_differently() {
        for (word, expected) in [
            ("/srv/moorgate-demo-x/tls.crt", "/srv/moorgate-demo-x/tls.crt"),
            ("/srv/a b/tls.crt", "'/srv/a b/tls.crt'"),
            ("/srv/it's $HOME", "'/srv/it'\\''s $HOME'"),
            ("/srv/~x#", "'/srv/~x#'"),
            ("/srv/\u{e9}", "'/srv/\u{e9}'"),
            ("", "''"),
        ] {
            assert_eq!(quoted(word), expected);
        }
    }
}
