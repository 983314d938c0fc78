//! References to addresses, and their resolution (RFC 3986, sections 4 and 5).

/// A reference, by its form.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::upstream) enum AddressForm<'a> {
    /// An `http` or `https` address. The path includes the query and begins with `/`.
    Absolute { scheme: &'a str, authority: &'a str, path: &'a str },
    /// `//host/path`, from the host on.
    Host(&'a str),
    /// A path from the root, with its query.
    Path(&'a str),
    /// A path that is relative to that of the request, or a query alone.
    Relative(&'a str),
}

impl<'a> AddressForm<'a> {
    /// Parses a reference. Returns `None` if it is empty, contains a character that programs read
    /// in different ways, or has another scheme.
    pub(in crate::upstream) fn parse(text: &'a str) -> Option<Self> {
        let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"\\\"<>".contains(&byte);
        if text.is_empty() || !text.bytes().all(is_plain) {
            return None;
        }
        if let Some(rest) = text.strip_prefix("//") {
            return (!rest.starts_with('/')).then_some(Self::Host(rest));
        }
        if text.starts_with('/') {
            return Some(Self::Path(text));
        }
        // A colon before the first slash, question mark or number sign ends a scheme.
        let first = text.split(['/', '?', '#']).next().unwrap_or_default();
        if !first.contains(':') {
            return Some(Self::Relative(text));
        }
        let (scheme, rest) = text.split_once("://")?;
        if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
            return None;
        }
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let path = if path.starts_with('/') { path } else { "/" };
        (!authority.is_empty()).then_some(Self::Absolute { scheme, authority, path })
    }
}

/// Resolves a relative reference against the path and query of the request (RFC 3986, 5.2).
pub(in crate::upstream) fn resolve(target: &str, relative: &str) -> String {
    let path = target.split('?').next().unwrap_or_default();
    if relative.starts_with('?') {
        return format!("{path}{relative}");
    }
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let (relative, query) = relative.split_at(relative.find('?').unwrap_or(relative.len()));
    let mut segments: Vec<&str> = folder.split('/').collect();
    let mut parts = relative.split('/').peekable();
    while let Some(part) = parts.next() {
        let is_last = parts.peek().is_none();
        match part {
            "." | ".." => {
                if part == ".." && segments.len() > 1 {
                    segments.pop();
                }
                if is_last {
                    segments.push("");
                }
            }
            part => segments.push(part),
        }
    }
    let path = segments.join("/");
    format!("{}{path}{query}", if path.starts_with('/') { "" } else { "/" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_told_apart_by_their_form() {
        for (text, parsed) in [
            (
                "https://a.example.com:1/x?y",
                Some(AddressForm::Absolute {
                    scheme: "https",
                    authority: "a.example.com:1",
                    path: "/x?y",
                }),
            ),
            ("HTTP://a", Some(AddressForm::Absolute { scheme: "HTTP", authority: "a", path: "/" })),
            ("//a/x", Some(AddressForm::Host("a/x"))),
            ("/x?y", Some(AddressForm::Path("/x?y"))),
            ("x/y", Some(AddressForm::Relative("x/y"))),
            ("?y=http://a", Some(AddressForm::Relative("?y=http://a"))),
            ("./sha256:a", Some(AddressForm::Relative("./sha256:a"))),
            ("", None),
            ("///x", None),
            ("https:///x", None),
            ("https:x", None),
            ("javascript:alert(1)", None),
            ("ftp://a/x", None),
            ("/a b", None),
            ("/\\a", None),
            ("/é", None),
        ] {
            assert_eq!(AddressForm::parse(text), parsed, "{text}");
        }
    }

    #[test]
    fn relative_references_are_resolved_against_the_request() {
        let target = "/v2/a/tags/list?n=1";
        for (relative, resolved) in [
            ("?n=1&last=x", "/v2/a/tags/list?n=1&last=x"),
            ("list?last=x", "/v2/a/tags/list?last=x"),
            ("./list", "/v2/a/tags/list"),
            ("../tags/list?last=../x", "/v2/a/tags/list?last=../x"),
            ("../../../../../x", "/x"),
            ("..", "/v2/a/"),
            (".", "/v2/a/tags/"),
        ] {
            assert_eq!(resolve(target, relative), resolved, "{relative}");
        }
        assert_eq!(resolve("/v2/a/blobs/uploads/", "1-2?x"), "/v2/a/blobs/uploads/1-2?x");
    }
}
