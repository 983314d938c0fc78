//! Tests for each operation in its accepted spelling, and for request lines that are refused.

use super::*;
use crate::registry::{Access, Action, Operation};

fn sha256(letter: char) -> String {
    format!("sha256:{}", letter.to_string().repeat(64))
}

fn read(method: &str, target: &str) -> Result<RegistryRequest, RequestError> {
    let (path, query) =
        target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    RegistryRequest::parse(&method.parse().unwrap(), path, query)
}

/// Method and target are rendered unchanged, and each request is one operation that needs one
/// right.
#[test]
fn every_operation_is_parsed_and_rendered_unchanged() {
    use Operation as O;
    let (a, b) = (sha256('a'), sha256('b'));
    let (pull, push, delete) = (Some(Action::Pull), Some(Action::Push), Some(Action::Delete));
    for (method, target, operation, takes) in [
        ("GET", "/v2/".to_owned(), O::Ping, None),
        ("GET", "/v2/_catalog".into(), O::Catalog, None),
        ("GET", "/v2/_catalog?n=10&last=a/b".into(), O::Catalog, None),
        ("GET", "/v2/_catalog?next_page=%3D&last=a/b&n=1".into(), O::Catalog, None),
        ("GET", "/v2/x/y/tags/list".into(), O::Tags, pull),
        ("GET", "/v2/x/y/tags/list?n=0&last=v1".into(), O::Tags, pull),
        ("GET", "/v2/x/y/tags/list?next_page=gAAA%3D%3D&n=5&x".into(), O::Tags, pull),
        ("GET", format!("/v2/x/y/referrers/{a}"), O::Referrers, pull),
        ("GET", format!("/v2/x/y/referrers/{a}?artifactType=a/b&n=1"), O::Referrers, pull),
        (
            "GET",
            format!("/v2/x/y/referrers/{a}?artifactType=a/b&nextToken=a%2Bb"),
            O::Referrers,
            pull,
        ),
        ("GET", "/v2/x/y/manifests/v1".into(), O::ManifestGet, pull),
        ("HEAD", "/v2/x/y/manifests/v1".into(), O::ManifestGet, pull),
        ("GET", format!("/v2/x/y/manifests/{a}"), O::ManifestGet, pull),
        ("PUT", "/v2/x/y/manifests/v1".into(), O::ManifestPut, push),
        ("PUT", format!("/v2/x/y/manifests/{a}?tag=v1&tag=v2"), O::ManifestPut, push),
        ("DELETE", "/v2/x/y/manifests/v1".into(), O::ManifestDelete, delete),
        ("DELETE", format!("/v2/x/y/manifests/{a}"), O::ManifestDelete, delete),
        ("GET", format!("/v2/x/y/blobs/{a}"), O::BlobGet, pull),
        ("HEAD", format!("/v2/x/y/blobs/{a}"), O::BlobGet, pull),
        ("DELETE", format!("/v2/x/y/blobs/{a}"), O::BlobDelete, delete),
        ("POST", "/v2/x/y/blobs/uploads/".into(), O::UploadStart, push),
        ("POST", format!("/v2/x/y/blobs/uploads/?digest={a}"), O::UploadStart, push),
        ("POST", "/v2/x/y/blobs/uploads/?digest-algorithm=sha512".into(), O::UploadStart, push),
        ("POST", format!("/v2/x/y/blobs/uploads/?mount={a}&from=z"), O::UploadStart, push),
        ("PATCH", "/v2/x/y/blobs/uploads/id".into(), O::UploadChunk, push),
        ("PATCH", "/v2/x/y/blobs/uploads/id?_state=a-b._~%3D=+/:,c".into(), O::UploadChunk, push),
        (
            "PATCH",
            "/v2/x/y/blobs/uploads/id?_stateHash=x&_state=y&a!$'()*@?/:=b".into(),
            O::UploadChunk,
            push,
        ),
        (
            "PUT",
            format!("/v2/x/y/blobs/uploads/id?_nouploadcache=false&z&_a=&digest={b}"),
            O::UploadFinish,
            push,
        ),
        ("PUT", format!("/v2/x/y/blobs/uploads/id?_state=s&digest={b}"), O::UploadFinish, push),
        ("GET", "/v2/x/y/blobs/uploads/id?_state=s".into(), O::UploadStatus, push),
        ("HEAD", "/v2/x/y/blobs/uploads/id?_state=s".into(), O::UploadStatus, push),
        ("PATCH", "/v2/x/y/blobs/upload/1.2:a~%3D?x=[1]|2^{3}`".into(), O::UploadChunk, push),
        (
            "PATCH",
            "/v2/x/y/blobs/uploads/id?from=y&mount=z&tag=v&digest=q".into(),
            O::UploadChunk,
            push,
        ),
        ("DELETE", "/v2/x/y/blobs/uploads/id?_state=s".into(), O::UploadCancel, push),
    ] {
        let request =
            read(method, &target).unwrap_or_else(|error| panic!("{method} {target}: {error}"));
        assert_eq!((request.method().as_str(), request.render()), (method, target.clone()));
        assert_eq!(request.operation(), operation, "{target}");
        assert_eq!(request.is_read(), matches!(method, "GET" | "HEAD"), "{method} {target}");
        let repository = takes.map(|_| RepositoryName::parse("x/y").unwrap());
        assert_eq!(request.repository(), repository.as_ref(), "{target}");
        let required = match (operation, repository.zip(takes)) {
            (_, Some((name, action))) => Access::Repository(name, action),
            (O::Catalog, None) => Access::Catalog,
            (_, None) => Access::Login,
        };
        assert_eq!(request.required(), required, "{target}");
        let source = target
            .contains("from=z")
            .then(|| Access::Repository(RepositoryName::parse("z").unwrap(), Action::Pull));
        assert_eq!(request.mount_source(), source, "{target}");
    }
}

#[test]
fn repository_names_may_contain_the_words_of_paths() {
    let a = sha256('a');
    for (target, name) in [
        ("/v2/blobs/uploads/manifests/v1".to_owned(), "blobs/uploads"),
        ("/v2/tags/list/tags/list".into(), "tags/list"),
        (format!("/v2/manifests/blobs/{a}"), "manifests"),
        (format!("/v2/a/blobs/uploads/blobs/{a}"), "a/blobs/uploads"),
    ] {
        assert_eq!(read("GET", &target).unwrap().repository().unwrap().as_str(), name, "{target}");
    }
    let upload = read("PATCH", "/v2/a/blobs/blobs/uploads/id").unwrap();
    assert_eq!(upload.repository().unwrap().as_str(), "a/blobs");
}

#[test]
fn unknown_keys_go_on_as_they_came_and_known_values_in_one_spelling() {
    let (a, escaped) = (sha256('a'), sha256('a').replace(':', "%3a"));
    for (method, target, rendered) in [
        ("GET", "/v2/?n=1".to_owned(), "/v2/".to_owned()),
        (
            "GET",
            "/v2/x/tags/list?x=1&last=b&&n=02".into(),
            "/v2/x/tags/list?x=1&last=b&n=02".into(),
        ),
        (
            "GET",
            "/v2/x/tags/list?%6E=2&last=a+b%26c".into(),
            "/v2/x/tags/list?%6E=2&last=a+b%26c".into(),
        ),
        (
            "GET",
            "/v2/x/tags/list?ns=docker.io&y=%00&from=z&N=1".into(),
            "/v2/x/tags/list?y=%00&from=z&N=1".into(),
        ),
        ("GET", "/v2/x/tags/list?last".into(), "/v2/x/tags/list?last".into()),
        ("GET", "/v2/x/tags/list?last=%C3%A9".into(), "/v2/x/tags/list?last=%C3%A9".into()),
        ("GET", "/v2/x/manifests/v1?tag=v2&ns=docker.io".into(), "/v2/x/manifests/v1".into()),
        ("GET", "/v2/x/manifests/v1?\u{e9}=|&y={".into(), "/v2/x/manifests/v1".into()),
        ("PUT", "/v2/x/manifests/v1?tag=v2".into(), "/v2/x/manifests/v1".into()),
        (
            "PUT",
            format!("/v2/x/manifests/{a}?tag=v2&y=1&tag=v1"),
            format!("/v2/x/manifests/{a}?tag=v2&tag=v1"),
        ),
        ("DELETE", format!("/v2/x/blobs/{a}?y=1"), format!("/v2/x/blobs/{a}")),
        ("POST", "/v2/x/blobs/uploads/?y=1&ns=a&_state=b".into(), "/v2/x/blobs/uploads/".into()),
        (
            "POST",
            format!("/v2/x/blobs/uploads/?digest-algorithm=sha512&digest={escaped}"),
            format!("/v2/x/blobs/uploads/?digest={a}&digest-algorithm=sha512"),
        ),
        (
            "POST",
            format!("/v2/x/blobs/uploads/?from=y&mount={escaped}"),
            format!("/v2/x/blobs/uploads/?mount={a}&from=y"),
        ),
        ("POST", format!("/v2/x/blobs/uploads/?mount={a}"), "/v2/x/blobs/uploads/".into()),
        ("POST", "/v2/x/blobs/uploads/?from=y".into(), "/v2/x/blobs/uploads/".into()),
        (
            "POST",
            format!("/v2/x/blobs/uploads/?mount={a}&from=../y"),
            "/v2/x/blobs/uploads/".into(),
        ),
        ("POST", format!("/v2/x/blobs/uploads/?mount={a}&from="), "/v2/x/blobs/uploads/".into()),
        ("POST", format!("/v2/x/blobs/uploads/?mount={a}&from"), "/v2/x/blobs/uploads/".into()),
        ("POST", format!("/v2/x/blobs/uploads/?mount={a}&from=%zz"), "/v2/x/blobs/uploads/".into()),
        ("POST", format!("/v2/x/blobs/uploads/?mount={a}&from=Y"), "/v2/x/blobs/uploads/".into()),
        (
            "PATCH",
            format!(
                "/v2/x/blobs/uploads/id?digest={a}&b=1&from=y&mount=z&a=2&digest-algorithm=q&tag=-\
                 &ns="
            ),
            format!(
                "/v2/x/blobs/uploads/id?digest={a}&b=1&from=y&mount=z&a=2&digest-algorithm=q&tag=-"
            ),
        ),
        (
            "PUT",
            format!("/v2/x/blobs/uploads/id?z=1&digest={escaped}&y=2&digest-algorithm=sha512"),
            format!("/v2/x/blobs/uploads/id?z=1&digest={a}&y=2&digest-algorithm=sha512"),
        ),
    ] {
        assert_eq!(read(method, &target).unwrap().render(), rendered, "{target}");
    }
}

#[test]
fn each_path_allows_only_its_own_methods() {
    let a = sha256('a');
    for (target, allow) in [
        ("/v2/".to_owned(), "GET, HEAD"),
        ("/v2/_catalog".into(), "GET"),
        ("/v2/x/tags/list".into(), "GET"),
        (format!("/v2/x/referrers/{a}"), "GET"),
        ("/v2/x/manifests/v1".into(), "GET, HEAD, PUT, DELETE"),
        (format!("/v2/x/blobs/{a}"), "GET, HEAD, DELETE"),
        ("/v2/x/blobs/uploads/".into(), "POST"),
        ("/v2/x/blobs/uploads/id".into(), "GET, HEAD, PATCH, PUT, DELETE"),
    ] {
        for method in [
            "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE", "get",
            "PROPFIND",
        ] {
            let expected = (!allow.split(", ").any(|one| one == method))
                .then_some(RequestError::MethodNotAllowed { allow });
            assert_eq!(read(method, &target).err(), expected, "{method} {target}");
        }
    }
}

#[test]
fn invalid_requests_are_refused_with_the_matching_error() {
    use RequestError as E;
    let a = sha256('a');
    let tags = |count: usize| format!("/v2/x/manifests/{a}?{}", vec!["tag=v"; count].join("&"));
    assert!(read("PUT", &tags(64)).is_ok());
    for (method, target, error) in [
        ("GET", "/".to_owned(), E::NoSuchOperation),
        ("GET", "/v2".into(), E::NoSuchOperation),
        ("GET", "/v1/_ping".into(), E::NoSuchOperation),
        ("GET", "/v2/x".into(), E::NoSuchOperation),
        ("GET", "/v2/x/y".into(), E::NoSuchOperation),
        ("GET", "/v2/x/y/z".into(), E::NoSuchOperation),
        ("GET", "/v2/x/uploads/id".into(), E::NoSuchOperation),
        ("GET", "/v2/x/y/%2e%2e".into(), E::NameInvalid),
        ("GET", "/v2/x/../y/manifests/v1".into(), E::NameInvalid),
        ("GET", "/v2/X/manifests/v1".into(), E::NameInvalid),
        ("GET", "/v2//manifests/v1".into(), E::NameInvalid),
        ("GET", "/v2/X/tags/list".into(), E::NameInvalid),
        ("GET", format!("/v2/X/blobs/{a}"), E::NameInvalid),
        ("GET", format!("/v2/X/referrers/{a}"), E::NameInvalid),
        ("POST", "/v2/X/blobs/uploads/".into(), E::NameInvalid),
        ("PATCH", "/v2/X/blobs/uploads/id".into(), E::NameInvalid),
        ("GET", "/v2/x/manifests/-v1".into(), E::ReferenceInvalid),
        ("GET", "/v2/x/manifests/".into(), E::ReferenceInvalid),
        ("GET", "/v2/x/manifests/sha256:abc".into(), E::ReferenceInvalid),
        ("GET", "/v2/x/blobs/v1".into(), E::DigestInvalid),
        ("GET", "/v2/x/referrers/v1".into(), E::DigestInvalid),
        ("PATCH", "/v2/x/blobs/uploads/..".into(), E::UploadInvalid),
        ("PATCH", "/v2/x/blobs/uploads/id?_state=a b".into(), E::QueryCharacter),
        ("PATCH", "/v2/x/blobs/uploads/id?_state=a\"b".into(), E::QueryCharacter),
        ("PATCH", "/v2/x/blobs/uploads/id?_state=\u{e9}".into(), E::QueryCharacter),
        ("DELETE", "/v2/x/blobs/uploads/id?a\\=1".into(), E::QueryCharacter),
        ("GET", "/v2/x/tags/list?next<page=1".into(), E::QueryCharacter),
        ("GET", "/v2/x/blobs/uploads/id?x=%4".into(), E::QueryEscape),
        ("PATCH", "/v2/x/blobs/uploads/id?_state=a;b".into(), E::QuerySemicolon),
        ("GET", "/v2/?;".into(), E::QuerySemicolon),
        ("GET", "/v2/x/manifests/v1?ns=a;b".into(), E::QuerySemicolon),
        (
            "PUT",
            format!("/v2/x/blobs/uploads/id?digest={a}&digest={a}"),
            E::QueryRepeated("digest"),
        ),
        ("POST", "/v2/x/blobs/uploads/?digest-algorithm=SHA256".into(), E::AlgorithmInvalid),
        ("POST", "/v2/x/blobs/uploads/?digest-algorithm=".into(), E::AlgorithmInvalid),
        (
            "POST",
            "/v2/x/blobs/uploads/?digest-algorithm=sha256&digest-algorithm=sha256".into(),
            E::QueryRepeated("digest-algorithm"),
        ),
        ("GET", "/v2/?%66rom=a".into(), E::QueryKey("from")),
        ("GET", "/v2/x/manifests/v1?NS=a".into(), E::QueryKey("ns")),
        ("PUT", format!("/v2/x/manifests/{a}?ta%67=v"), E::QueryKey("tag")),
        ("POST", format!("/v2/x/blobs/uploads/?mount={a}&From=y"), E::QueryKey("from")),
        ("POST", format!("/v2/x/blobs/uploads/?mount={a}&from=y&from[]=z"), E::QueryKey("from")),
        ("PATCH", "/v2/x/blobs/uploads/id?dige%C5%BFt=a".into(), E::QueryKey("digest")),
        ("PUT", format!("/v2/x/blobs/uploads/id?digest={a}&+digest={a}"), E::QueryKey("digest")),
        ("GET", "/v2/x/tags/list?Digest-Algorithm=a".into(), E::QueryKey("digest-algorithm")),
        ("POST", "/v2/x/blobs/uploads/?digest=x".into(), E::DigestInvalid),
        ("POST", "/v2/x/blobs/uploads/?mount=x&from=y".into(), E::DigestInvalid),
        ("PUT", format!("/v2/x/manifests/{a}?tag=-v"), E::ReferenceInvalid),
        ("PUT", tags(65), E::TooManyTags),
        ("GET", "/v2/_catalog?n=".into(), E::PageInvalid),
        ("GET", "/v2/_catalog?n=%2B1".into(), E::PageInvalid),
        ("GET", "/v2/_catalog?n=-1".into(), E::PageInvalid),
        ("GET", "/v2/_catalog?n=4294967296".into(), E::PageInvalid),
        ("GET", "/v2/_catalog?n=1&n=1".into(), E::QueryRepeated("n")),
        ("GET", "/v2/_catalog?n=1&%6e=1".into(), E::QueryRepeated("n")),
        ("POST", format!("/v2/x/blobs/uploads/?mount={a}&from=y&from=z"), E::QueryRepeated("from")),
        ("GET", "/v2/_catalog?last=%".into(), E::QueryEscape),
        ("GET", "/v2/_catalog?last=%4".into(), E::QueryEscape),
        ("GET", "/v2/_catalog?last=%4g".into(), E::QueryEscape),
        ("GET", "/v2/_catalog?last=%ff".into(), E::QueryEscape),
        ("GET", "/v2/_catalog?last=a%0ab".into(), E::QueryEscape),
        ("GET", "/v2/_catalog?%zz=1".into(), E::QueryEscape),
    ] {
        assert_eq!(read(method, &target), Err(error), "{method} {target}");
    }
}

#[test]
fn a_mount_is_taken_out_and_put_back() {
    let target = format!("/v2/x/blobs/uploads/?mount={}&from=y", sha256('a'));
    let (plain, mount) = read("POST", &target).unwrap().split_mount();
    assert_eq!(plain.render(), "/v2/x/blobs/uploads/");
    assert_eq!(plain.with_mount(mount.clone().unwrap()).render(), target);
    let (other, none) = read("GET", "/v2/x/manifests/v1").unwrap().split_mount();
    assert_eq!((other.render(), none), ("/v2/x/manifests/v1".to_owned(), None));
    assert_eq!(other.with_mount(mount.unwrap()).render(), "/v2/x/manifests/v1");
}
