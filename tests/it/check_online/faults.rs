//! The report about servers that give wrong answers or no answer.

use std::io::Write;
use std::net::SocketAddr;

use moorgate::demo::gitlab::GitLab;
use socket2::{Domain, Socket, Type};

use super::{Canned, check, gitlab, harbor, jobs, sso, urls};
use crate::harness::listener;

/// Each wrong answer is reported with the config key to change, and none of them hides another.
#[tokio::test(flavor = "multi_thread")]
async fn each_wrong_answer_is_reported_with_the_config_key_to_change() {
    let page = Canned::start(
        "200 OK",
        "Content-Type: text/html\r\n",
        "\n<!DOCTYPE html><title>Log in</title>",
    )
    .address;
    let redirect = Canned::start(
        "302 Found",
        "Location: https://elsewhere.example.com/sign_in\u{202e}\r\n",
        "",
    )
    .address;
    let nothing = Canned::start("404 Not Found", "", "{}").address;
    let refusing = Canned::start("401 Unauthorized", "", "{\"error\": \"invalid_client\"}").address;
    let banned = Canned::start("403 Forbidden", "", "banned").address;
    let broken = Canned::start("500 Internal Server Error", "", "{}").address;
    let list = Canned::start("200 OK", "", "[]").address;
    let gullible = Canned::start("200 OK", "", "{\"active\": true}").address;
    let twice = Canned::start("200 OK", "", "{\"active\": false, \"active\": false}").address;
    // The port is bound so that no other process gets it, and it is not listened on.
    let unused = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    unused.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let closed = unused.local_addr().unwrap().as_socket().unwrap();
    let all = |address| [gitlab(address), harbor(address), sso(address), jobs(address)];

    for (address, part) in [
        (page, "with a web page"),
        (
            redirect,
            "it answers 302, a redirect to `https://elsewhere.example.com/sign_in\\u{202e}`, \
             and the gate follows no redirect",
        ),
        (broken, "it answers 500; "),
        (closed, "the request failed: "),
    ] {
        let said = check(&urls(address), &all(address)).await;
        assert_eq!(said.code, Some(78));
        for key in [
            "upstream.urls[0]",
            "identity[0].url",
            "identity[1].realm",
            "identity[2].url",
            "identity[3].jwks_url",
        ] {
            assert!(
                said.problem(&format!("`{key}`: ")).contains(part),
                "{part} is not in\n{}",
                said.stderr
            );
        }
        assert_eq!(said.stdout.lines().count(), 2, "{}", said.stdout);
    }

    let right = Canned::start("200 OK", "", "{}").address;
    for (provider, key, part) in [
        (gitlab(nothing), "url", "it answers 404: no GitLab is at this address"),
        (gitlab(banned), "url", "GitLab may have banned the gate's address"),
        (gitlab(list), "url", "it answers 200; "),
        (harbor(nothing), "realm", "it does not know the service `my harbor`"),
        (sso(nothing), "url", "it answers 404; "),
        (
            sso(refusing),
            "client_secret_file",
            "it does not know the client `moorgate` with this secret",
        ),
        (sso(banned), "client_secret_file", "it answers 403"),
        (sso(gullible), "url", "it reports a made-up token as active"),
        (sso(list), "url", "without `active`"),
        (sso(twice), "url", "without `active`"),
        (jobs(list), "jwks_url", "its answer cannot be used: it is not a JSON Web Key Set"),
        (jobs(refusing), "jwks_url", "it answers 401; "),
    ] {
        let said = check(&urls(right), &[provider]).await;
        assert_eq!(said.code, Some(78), "{part}: {}", said.stdout);
        assert!(
            said.problem(part).contains(&format!(": `identity[0].{key}`: ")),
            "{}",
            said.stderr
        );
        assert!(
            said.stdout.contains("upstream http://"),
            "one fault hides the rest: {}",
            said.stdout
        );
        assert!(!said.stderr.contains("canary"), "{}", said.stderr);
    }
}

/// The check of a server that does not answer ends after the timeout in the config.
#[tokio::test(flavor = "multi_thread")]
async fn silent_servers_and_wrong_certificates_are_reported() {
    let silent = listener();
    let address = silent.local_addr().unwrap();
    let right = Canned::start("200 OK", "", "{}").address;
    let said = check(&urls(right), &[gitlab(address).replace("1m", "50ms")]).await;
    assert_eq!(said.code, Some(78));
    assert!(
        said.problem("no complete answer within 50ms").contains("`identity[0].url`"),
        "{}",
        said.stderr
    );

    // The certificate is from another authority than the configured one, and a server without TLS
    // has none.
    let gitlab = GitLab::start(listener()).unwrap();
    let (port, _) = crate::tls::tls_front(gitlab.address());
    let at = |port: u16| {
        format!("name: a, type: gitlab, url: \"https://localhost:{port}\", timeout: 1m, ca: ca.pem")
    };
    let said = check(&urls(right), &[at(port)]).await;
    assert!(
        said.problem("another key has signed it").contains("`identity[0].ca`"),
        "{}",
        said.stderr
    );
    let plain = listener();
    let port = plain.local_addr().unwrap().port();
    std::thread::spawn(move || {
        plain.accept().unwrap().0.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    });
    let said = check(&urls(right), &[at(port)]).await;
    assert!(
        said.problem("the server does not use TLS on this port").contains("`identity[0].url`"),
        "{}",
        said.stderr
    );
}
