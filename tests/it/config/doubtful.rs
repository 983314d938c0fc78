//! The warnings about settings that are valid and probably a mistake.

use super::{MINIMAL, warnings};

#[test]
fn each_doubtful_setting_has_its_warning() {
    let tls = |certificate: &str, key: &str| {
        let tls = format!("tls: {{ certificate: {certificate}, key: {key} }}, external_url");
        warnings(&MINIMAL.replace("external_url", &tls))
    };
    assert_eq!(tls("tls.crt", "tls.key"), [""; 0]);
    assert_eq!(warnings(MINIMAL).len(), 1);
    assert!(warnings(MINIMAL)[0].starts_with(
        "moorgate.yml:2:1: `http.tls`: TLS is off, so credentials cross the network in the clear"
    ));
    let soon = &tls("soon.crt", "soon.key")[0];
    assert!(
        soon.starts_with("moorgate.yml:2:29: `http.tls.certificate`: the certificate expires on ")
            && soon.contains(" (days left: 9); renew it"),
        "{soon}"
    );
    assert!(tls("expired.crt", "expired.key")[0].contains("the certificate expired on "));
    assert!(tls("future.crt", "future.key")[0].contains("the certificate becomes valid on "));
    if cfg!(unix) {
        assert!(
            tls("tls.crt", "open.key")[0]
                .contains("every user of this machine may read `open.key`; run chmod o-r")
        );
    }

    let with_tls = MINIMAL
        .replace("external_url", "tls: { certificate: tls.crt, key: tls.key }, external_url");
    let only = |from: &str, to: &str| {
        let warnings = warnings(&with_tls.replace(from, to));
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        warnings[0].clone()
    };
    assert!(
        only("https://registry", "http://registry")
            .contains("the URL directs clients to http although http.tls is set")
    );
    let networks = only("external_url", "trusted_proxies: [10.0.0.0/8, 0.0.0.0/0], external_url");
    assert!(networks.contains("any client could claim any address"), "{networks}");
    let identity = "}, { name: local, type: htpasswd, file: htpasswd, \
                    scopes: [read_registry, read_regsitry] }]";
    let both = warnings(&with_tls.replace("}]", identity));
    assert!(
        both[0].contains("`local` verifies passwords offline but is listed after `gitlab`"),
        "{both:?}"
    );
    assert!(both[1].contains("`read_regsitry` has no effect: no operation"), "{both:?}");
    providers_warn(&with_tls);
    let basic = "authorization: basic, username: gate, password_file: upstream.password, \
                 urls: [\"http://registry";
    assert!(
        only("urls: [\"http://127.0.0.1", basic)
            .contains("the password for the registry crosses the network")
    );
    let grant = "authorization: grant, urls: [\"http://registry";
    assert!(
        only("urls: [\"http://127.0.0.1", grant)
            .contains("the tokens for the registry cross the network in the")
    );
    if cfg!(unix) {
        let open = only("version: 1\n", "version: 1\ntokens: { key_file: open.keys }\n");
        assert!(
            open.contains("`tokens.key_file`: every user of this machine may read `open.keys`"),
            "{open}"
        );
    }
    assert!(
        only("upstream: {", "upstream: { ca: ca.pem,")
            .contains("has no effect because the URL is http")
    );

    let in_the_clear = warnings(&MINIMAL.replace("https://registry", "http://registry"));
    assert!(
        in_the_clear
            .iter()
            .any(|warning| warning.contains("clients send their credentials in the clear"))
    );
    assert_eq!(
        warnings(&MINIMAL.replace("https://registry.example.com", "http://localhost")).len(),
        1,
        "loopback"
    );
}

/// Asserts the warnings about a provider that is shown secrets meant for another one, and about
/// secrets that cross the network without TLS.
fn providers_warn(with_tls: &str) {
    const GITLAB: &str = "{ name: gitlab, type: gitlab, url: \"https://gitlab.example.com\" }";
    const HARBOR: &str = "{ name: harbor, type: registry_token, \
                          realm: \"https://harbor.example.com/token\", service: harbor }";
    const SSO: &str = "{ name: sso, type: introspection, url: \"https://sso.example.com\" }";
    const JWT: &str = "{ name: jobs, type: jwt, issuer: \"https://ci.example.com\", \
                       jwks_file: jwks.json, audience: a, any_tenant: true }";
    const LOCAL: &str = "{ name: local, type: htpasswd, file: htpasswd, scopes: [read_registry] }";
    let start = with_tls.find("identity:").expect("a chain");
    let of = |chain: &[&str]| {
        warnings(&format!("{}identity: [{}]\n", &with_tls[..start], chain.join(", ")))
    };
    let accepting = |provider: &str| provider.replace(" }", ", accepts: { prefixes: [x-] } }");

    for quiet in [
        vec![LOCAL.to_owned(), GITLAB.to_owned()],
        vec![LOCAL.to_owned(), JWT.to_owned(), GITLAB.to_owned()],
        vec![GITLAB.to_owned(), JWT.to_owned()],
        vec![JWT.to_owned(), LOCAL.to_owned()],
        vec![accepting(GITLAB), accepting(HARBOR), SSO.to_owned()],
        vec![accepting(SSO), LOCAL.to_owned()],
    ] {
        let chain: Vec<&str> = quiet.iter().map(String::as_str).collect();
        assert_eq!(of(&chain), [""; 0], "{quiet:?}");
    }
    for (earlier, later) in
        [(GITLAB, SSO), (SSO, HARBOR), (HARBOR, GITLAB), (GITLAB, &accepting(SSO))]
    {
        let warnings = of(&[earlier, later]);
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(
            warnings[0].contains("receives the credentials that are meant for"),
            "{warnings:?}"
        );
        assert!(warnings[0].starts_with("moorgate.yml:4:20: `identity[0].name`"), "{warnings:?}");
    }
    let mistyped = of(&[SSO, JWT, LOCAL]);
    assert_eq!(mistyped.len(), 1, "{mistyped:?}");
    assert!(
        mistyped[0].contains("`local` verifies passwords offline but is listed after `sso`"),
        "{mistyped:?}"
    );

    let clear = GITLAB.replace("https://", "http://").replace(" }", ", insecure: true }");
    assert!(
        of(&[&clear])[0]
            .contains("credentials cross the network in the clear, as insecure: true allows")
    );
    let clear = JWT.replace(
        "jwks_file: jwks.json",
        "jwks_url: \"http://ci.example.com/keys\", insecure: true",
    );
    assert!(
        of(&[&clear])[0].contains("an attacker on the network could replace the keys"),
        "{:?}",
        of(&[&clear])
    );
    let useless = of(&[&JWT.replace(" }", ", scopes: [read_registry, raed] }")]);
    assert!(
        useless.len() == 1 && useless[0].contains("`raed` has no effect: no operation"),
        "{useless:?}"
    );
    if cfg!(unix) {
        let open = of(&[&SSO
            .replace(" }", ", client_secret_file: open.key }")
            .replace("open.key", "open.secret")]);
        assert!(
            open.len() == 1
                && open[0].contains("every user of this machine may read `open.secret`"),
            "{open:?}"
        );
    }
}
