//! Each kind of address that a registry hands out.

use super::*;

const OWN: &str = "http://127.0.0.1:5000";

fn request(method: Method, target: &str) -> RegistryRequest {
    let (path, query) =
        target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    RegistryRequest::parse(&method, path, query).unwrap()
}

fn origins() -> Origins {
    Origins {
        names: vec!["registry.example.com".into(), "127.0.0.1:5000".into()],
        own: OWN.into(),
        base: String::new(),
    }
}

/// Returns the rewritten values of a header, joined by line feeds.
fn rewritten(
    wanted: (Method, &str),
    status: u16,
    name: header::HeaderName,
    values: &[&str],
) -> Result<String, LeadsElsewhere> {
    let (method, target) = wanted;
    let mut headers = HeaderMap::new();
    for value in values {
        headers.append(name.clone(), HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    let status = StatusCode::from_u16(status).unwrap();
    let answered = Answered {
        wanted: &request(method, target),
        target,
        origins: &origins(),
        elsewhere: None,
        seal: &|_| None,
    };
    rewrite(answered, status, &mut headers)?;
    let lines = headers.get_all(name).iter().map(|line| line.to_str().unwrap());
    Ok(lines.collect::<Vec<_>>().join("\n"))
}

fn location(wanted: (Method, &str), status: u16, value: &str) -> Result<String, LeadsElsewhere> {
    rewritten(wanted, status, header::LOCATION, &[value])
}

const START: (Method, &str) = (Method::POST, "/v2/a/b/blobs/uploads/");

#[test]
fn the_address_of_an_upload_becomes_a_path_and_keeps_its_query() {
    let path = "/v2/a/b/blobs/uploads/1-2?_state=x%3D_-%2Fy==";
    for address in [
        path.to_owned(),
        format!("https://registry.example.com{path}"),
        format!("https://REGISTRY.example.com:443{path}"),
        format!("http://127.0.0.1:5000{path}"),
        format!("//registry.example.com{path}"),
        format!("{path}#fragment"),
        "1-2?_state=x%3D_-%2Fy==".into(),
        "../uploads/1-2?_state=x%3D_-%2Fy==".into(),
    ] {
        assert_eq!(location(START, 202, &address).as_deref(), Ok(path), "{address}");
    }
    for query in [
        "_stateHash=x&_state=y",
        "_nouploadcache=false",
        "digest=x&b&&a=%2f",
        "from=x&mount=y&tag=z",
        "_state=a=b~/?:@!$'()*+,",
        "x=[a]|b^c{d}`",
    ] {
        let path = format!("/v2/a/b/blobs/uploads/1-2?{query}");
        assert_eq!(location(START, 202, &format!("{OWN}{path}")).as_deref(), Ok(&*path));
    }
    for id in ["a~b", "a:b@c", "a%3Db", "a+b=", "..a", "a(b)", "x!$&'*,"] {
        let path = format!("/v2/a/b/blobs/uploads/{id}");
        assert_eq!(location(START, 202, &path).as_deref(), Ok(&*path));
    }
    let singular = "/v2/a/b/blobs/upload/1.2";
    assert_eq!(location(START, 202, singular).as_deref(), Ok(singular));
    let longest = format!("/v2/a/b/blobs/uploads/1?x={}", "x".repeat(8 * 1024 - 26));
    assert_eq!(longest.len(), 8 * 1024);
    assert_eq!(location(START, 202, &longest).as_deref(), Ok(&*longest));
    assert!(location(START, 202, &format!("{longest}x")).is_err());
}

#[test]
fn the_address_of_an_upload_that_leads_elsewhere_is_an_error() {
    for address in [
        "https://evil.example.com/v2/a/b/blobs/uploads/1",
        "https://registry.example.com@evil.example.com/v2/a/b/blobs/uploads/1",
        "https://registry.example.com:444/v2/a/b/blobs/uploads/1",
        "//evil.example.com/v2/a/b/blobs/uploads/1",
        "/v2/other/blobs/uploads/1",
        "/v2/a/b/../c/blobs/uploads/1",
        "/v2/a/b/blobs/uploads/",
        "/v2/a/b/manifests/v1",
        "/elsewhere",
        "ftp://registry.example.com/v2/a/b/blobs/uploads/1",
        "v2/a/b/blobs/uploads/1",
        "https://registry.example.com?/v2/a/b/blobs/uploads/1",
        "",
        // Characters that have no meaning in the query here may have one to a client.
        "/v2/a/b/blobs/uploads/1?x=\\evil.example.com",
        "/v2/a/b/blobs/uploads/1?x=a b",
        "/v2/a/b/blobs/uploads/1?x=a\tb",
        // The gate would refuse these in a request.
        "/v2/a/b/blobs/uploads/1?x=a;b",
        "/v2/a/b/blobs/uploads/1?fro%6d=a",
        "/v2/a/b/blobs/uploads/..",
        "/v2/a/b/blobs/uploads/a%2Fb",
        "/v2/a/b/blobs/uploads/a;b",
    ] {
        for wanted in [START, (Method::PATCH, "/v2/a/b/blobs/uploads/1")] {
            assert!(location(wanted, 202, address).is_err(), "{address}");
        }
    }
    let two = ["/v2/a/b/blobs/uploads/1", "/v2/a/b/blobs/uploads/2"];
    assert!(rewritten(START, 202, header::LOCATION, &two).is_err());
}

#[test]
fn the_error_names_host_and_path_and_no_secret() {
    let error = |address: &str| location(START, 202, address).unwrap_err().0;
    assert_eq!(
        error("https://user:secret@old.example.com:5000/v2/a/b/blobs/uploads/1?_state=secret"),
        "https://old.example.com:5000/v2/a/b/blobs/uploads/1"
    );
    assert_eq!(error("/elsewhere?secret#secret"), "/elsewhere");
    assert!(error(&format!("/{}", "x".repeat(9000))).len() <= 300);
}

#[test]
fn an_address_that_no_client_must_follow_is_dropped_if_it_leads_elsewhere() {
    let digest = format!("sha256:{}", "a".repeat(64));
    let manifest = format!("/v2/a/manifests/{digest}");
    let blob = format!("/v2/a/blobs/{digest}");
    for (method, target, status, good) in [
        (Method::PUT, "/v2/a/manifests/v1", 201, &manifest),
        (Method::PUT, "/v2/a/manifests/v1", 202, &manifest),
        (Method::PUT, "/v2/a/blobs/uploads/1", 201, &blob),
        (Method::POST, "/v2/a/blobs/uploads/", 201, &blob),
        (Method::GET, "/v2/a/blobs/uploads/1", 204, &"/v2/a/blobs/uploads/1".to_owned()),
        (Method::DELETE, "/v2/a/manifests/v1", 202, &manifest),
        (Method::GET, "/v2/a/manifests/v1", 200, &manifest),
        (Method::GET, "/v2/a/manifests/v1", 404, &manifest),
        (Method::PUT, "/v2/a/manifests/v1", 500, &manifest),
    ] {
        let wanted = || (method.clone(), target);
        assert_eq!(location(wanted(), status, &format!("{OWN}{good}")).as_deref(), Ok(&**good));
        for bad in [
            "https://old.example.com/v2/a/manifests/v1",
            "/v2/other/manifests/v1",
            "/elsewhere",
            "not an address",
            "é",
        ] {
            assert_eq!(location(wanted(), status, bad).as_deref(), Ok(""), "{target} {bad}");
        }
        let two = rewritten(wanted(), status, header::LOCATION, &[good, good]);
        assert_eq!(two.as_deref(), Ok(""), "{target}");
    }
}

#[test]
fn a_redirect_of_a_read_passes_and_becomes_absolute() {
    let digest = format!("sha256:{}", "a".repeat(64));
    let blob = format!("/v2/a/blobs/{digest}");
    let referrers = format!("/v2/a/referrers/{digest}");
    let storage = "https://storage.example.com/x?signature=a%2Bb&X=[1]|2;3";
    for target in [&*blob, &*referrers, "/v2/a/manifests/v1", "/v2/a/tags/list", "/v2/_catalog"] {
        for status in [301, 302, 303, 307, 308] {
            let read = || (Method::GET, target);
            assert_eq!(location(read(), status, storage).as_deref(), Ok(storage), "{target}");
            for (relative, absolute) in [
                ("/x?y", format!("{OWN}/x?y")),
                ("//cdn.example.com/x", "http://cdn.example.com/x".into()),
                ("?y=1", format!("{OWN}{target}?y=1")),
                ("../x", format!("{OWN}{}", resolve(target, "../x"))),
            ] {
                assert_eq!(location(read(), status, relative), Ok(absolute), "{target}");
            }
            for bad in ["", "javascript:alert(1)", "https:///x", "/a b", "/\\x"] {
                assert!(location(read(), status, bad).is_err(), "{bad}");
            }
            assert!(rewritten(read(), status, header::LOCATION, &[]).is_err(), "no Location");
            let two = [storage, storage];
            assert!(rewritten(read(), status, header::LOCATION, &two).is_err());
        }
    }
    assert_eq!(location((Method::HEAD, &blob), 307, storage).as_deref(), Ok(storage));
    assert_eq!(location((Method::GET, &blob), 304, storage).as_deref(), Ok(""), "not a redirect");
}

#[test]
fn a_redirect_of_a_write_is_an_error() {
    let same = "/v2/a/blobs/uploads/1";
    for (method, target) in [
        (Method::POST, "/v2/a/blobs/uploads/"),
        (Method::PATCH, same),
        (Method::PUT, same),
        (Method::DELETE, same),
        (Method::PUT, "/v2/a/manifests/v1"),
        (Method::DELETE, "/v2/a/manifests/v1"),
    ] {
        for status in [301, 302, 303, 307, 308] {
            assert!(location((method.clone(), target), status, same).is_err(), "{method} {status}");
            let none = rewritten((method.clone(), target), status, header::LOCATION, &[]);
            assert!(none.is_err(), "{method} {status}");
        }
    }
}

#[test]
fn links_become_paths_and_those_that_lead_elsewhere_are_dropped() {
    let tags = || (Method::GET, "/v2/a/tags/list?n=1");
    let next = "</v2/a/tags/list?n=1&last=x>; rel=\"next\"";
    for link in [
        next,
        "<https://registry.example.com/v2/a/tags/list?n=1&last=x>; rel=\"next\"",
        "<?n=1&last=x>; rel=\"next\"",
        "<list?n=1&last=x>; rel=\"next\"",
    ] {
        assert_eq!(rewritten(tags(), 200, header::LINK, &[link]).as_deref(), Ok(next), "{link}");
    }
    let opaque = "</v2/a/tags/list?next_page=gAAA%3D&n=1&last=a%2fb>; rel=\"next\"";
    assert_eq!(rewritten(tags(), 200, header::LINK, &[opaque]).as_deref(), Ok(opaque));
    for bad in [
        "nonsense",
        "",
        "/v2/a/tags/list?n=1; rel=next",
        "é",
        "<https://evil.example.com/v2/a/tags/list>; rel=\"next\"",
        "<https://registry.example.com/repository/p/v2/a/tags/list>; rel=\"next\"",
        "</v2/other/tags/list>; rel=\"next\"",
        "</\\evil.example.com/v2/a/tags/list>; rel=\"next\"",
        "</\t/evil.example.com/v2/a/tags/list>; rel=\"next\"",
    ] {
        assert_eq!(rewritten(tags(), 200, header::LINK, &[bad]).as_deref(), Ok(""), "{bad}");
        let beside = rewritten(tags(), 200, header::LINK, &[bad, next]);
        assert_eq!(beside.as_deref(), Ok(next), "{bad}");
    }
    let joined = format!("<https://evil.example.com/>; rel=\"first\", {next}");
    assert_eq!(rewritten(tags(), 200, header::LINK, &[&joined]).as_deref(), Ok(next));
    for (target, status) in [("/v2/a/manifests/v1", 200), ("/v2/a/tags/list", 404)] {
        let dropped = rewritten(
            (Method::GET, target),
            status,
            header::LINK,
            &["<https://evil.example.com/x>; rel=x"],
        );
        assert_eq!(dropped.as_deref(), Ok(""));
    }
}

/// The gate reads a filtered list itself, so a link that it cannot follow must not end the list.
#[test]
fn the_next_page_of_a_list_that_the_gate_reads_is_known_or_an_error() {
    let next = |links: &[&str]| {
        let mut headers = HeaderMap::new();
        for link in links {
            headers.append(header::LINK, HeaderValue::from_bytes(link.as_bytes()).unwrap());
        }
        let target = "/v2/_catalog?n=1";
        next_page(&request(Method::GET, target), target, &headers, &origins())
    };
    let page = Some("/v2/_catalog?nextToken=x%3D".to_owned());
    assert_eq!(next(&[]), Ok(None));
    assert_eq!(next(&["</v2/_catalog?nextToken=x%3D>; rel=\"next\""]), Ok(page.clone()));
    assert_eq!(next(&["<?nextToken=x%3D>; rel=\"next\""]), Ok(page.clone()));
    assert_eq!(next(&["</>; rel=\"first\", </v2/_catalog?nextToken=x%3D>; rel=next"]), Ok(page));
    for bad in [
        "nonsense",
        "é",
        "</v2/>; rel=\"next\"",
        "</v2/a/tags/list>; rel=\"next\"",
        "<https://evil.example.com/v2/_catalog>; rel=\"next\"",
        "<?a>; rel=next, <?b>; rel=next",
    ] {
        assert!(next(&[bad]).is_err(), "{bad}");
    }
}
