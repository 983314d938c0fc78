//! A second reader of the request targets of the OCI distribution API, by the specification's own
//! regular expressions. It shares no code with the gate's parser, and both must return the same
//! result.

use std::sync::LazyLock;

use regex::Regex;

/// A repository name and a tag (OCI distribution spec, "Pulling manifests").
const NAME: &str =
    r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*";
const TAG: &str = r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}";
/// A digest (OCI image spec, "Digests").
const DIGEST: &str = r"[a-z0-9]+(?:[+._-][a-z0-9]+)*:[a-zA-Z0-9=_-]+";
const REGISTERED_DIGEST: &str = r"sha256:[a-f0-9]{64}|sha512:[a-f0-9]{128}";
/// Registries choose upload ids. This is the subset that the gate accepts: path segments (RFC 3986,
/// "Path") without the semicolon that do not consist of dots alone. An escape stands for no
/// unreserved character, no control character, and none of `%`, `/`, `\`, `;`, `?` and `#`.
const ID_CHARACTER: &str = r"[A-Za-z0-9_~!$&'()*+,=:@-]";
const ID_ESCAPE: &str = concat!(
    "%(?:2[01246789A-Ca-c]|3[AaCcDdEe]|40|5[BbDdEe]|60|7[BbCcDd]",
    "|[89A-Fa-f][0-9A-Fa-f])"
);
/// A query (RFC 3986, "Query") without the semicolon, and with brackets and other characters that
/// registries send.
const QUERY: &str = r"(?:[A-Za-z0-9._~!$&'()*+,=:@/?\[\]|^`{}-]|%[0-9A-Fa-f]{2})*";
/// The query keys that decide what a request does, or on which object.
const JUDGED: [&str; 6] = ["digest", "digest-algorithm", "mount", "from", "tag", "ns"];

/// The access that a target needs, by the registry protocol's meaning of its method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    Login,
    Catalog,
    Pull,
    Push,
    Delete,
}

/// A request in its one canonical spelling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Canonical {
    /// The method as sent to the registry.
    pub method: &'static str,
    pub target: String,
    /// The access that the caller needs.
    pub needs: Needs,
    /// The repository, or empty for requests that concern no repository.
    pub repository: String,
    /// The source repository of a mount, on which the caller also needs pull.
    pub mounted_from: Option<String>,
}

/// The type of the value of a query key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Value {
    Number,
    Text,
    Digest,
    Name,
    Tags,
    Algorithm,
}

/// The treatment of query keys that are not in the table.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Others {
    Dropped,
    /// They are forwarded among the known keys, in the order sent.
    Among,
}

/// A line of the specification's table of endpoints: methods, the path behind the name, and the
/// query.
struct Endpoint {
    methods: &'static str,
    path: Regex,
    query: &'static [(&'static str, Value)],
    others: Others,
    needs: Needs,
}

const PAGE: [(&str, Value); 2] = [("n", Value::Number), ("last", Value::Text)];
const REFERRERS: &[(&str, Value)] = &[("artifactType", Value::Text), PAGE[0], PAGE[1]];
const UPLOAD: &[(&str, Value)] = &[
    ("digest", Value::Digest),
    ("digest-algorithm", Value::Algorithm),
    ("mount", Value::Digest),
    ("from", Value::Name),
];
const FINISH: &[(&str, Value)] = &[("digest", Value::Digest)];

static ENDPOINTS: LazyLock<Vec<Endpoint>> = LazyLock::new(|| {
    let named = |rest: &str| format!("/v2/({NAME})/{rest}");
    let (manifests, blobs) =
        (named(&format!("manifests/({TAG}|{DIGEST})")), named(&format!("blobs/({DIGEST})")));
    let upload_id = format!(r"\.*(?:{ID_CHARACTER}|{ID_ESCAPE})(?:\.|{ID_CHARACTER}|{ID_ESCAPE})*");
    let upload = named(&format!("blobs/uploads?/({upload_id})"));
    let table = [
        ("GET HEAD", "/v2/()()".to_owned(), &[][..], Others::Dropped, Needs::Login),
        ("GET", "/v2/_catalog()()".to_owned(), &PAGE, Others::Among, Needs::Catalog),
        ("GET", named("tags/list()"), &PAGE, Others::Among, Needs::Pull),
        ("GET", named(&format!("referrers/({DIGEST})")), REFERRERS, Others::Among, Needs::Pull),
        ("GET HEAD", manifests.clone(), &[], Others::Dropped, Needs::Pull),
        ("PUT", named(&format!("manifests/({TAG})")), &[], Others::Dropped, Needs::Push),
        (
            "PUT",
            named(&format!("manifests/({DIGEST})")),
            &[("tag", Value::Tags)],
            Others::Dropped,
            Needs::Push,
        ),
        ("DELETE", manifests, &[], Others::Dropped, Needs::Delete),
        ("GET HEAD", blobs.clone(), &[], Others::Dropped, Needs::Pull),
        ("DELETE", blobs, &[], Others::Dropped, Needs::Delete),
        ("POST", named("blobs/uploads/()"), UPLOAD, Others::Dropped, Needs::Push),
        ("PATCH GET HEAD DELETE", upload.clone(), &[], Others::Among, Needs::Push),
        ("PUT", upload, FINISH, Others::Among, Needs::Push),
    ];
    let endpoint = |(methods, path, query, others, needs): (
        &'static str,
        String,
        &'static [_],
        Others,
        Needs,
    )| { Endpoint { methods, path: whole(&path), query, others, needs } };
    table.map(endpoint).into_iter().collect()
});

/// Reads a request. Returns `None` if it is not an operation of the registry or not in its
/// canonical spelling.
pub fn canonical(method: &str, path: &str, query: Option<&str>) -> Option<Canonical> {
    let of_method =
        |endpoint: &&Endpoint| endpoint.methods.split(' ').find(|listed| *listed == method);
    let mut matching = ENDPOINTS.iter().filter_map(|endpoint| {
        Some((of_method(&endpoint)?, endpoint, endpoint.path.captures(path)?))
    });
    let (method, endpoint, parts) = matching.next()?;
    assert!(matching.next().is_none(), "{method} {path} is two operations");

    let (repository, last) = (parts.get(1)?.as_str(), parts.get(2)?.as_str());
    let is_upload = ["upload", "uploads"]
        .iter()
        .any(|collection| path.ends_with(&format!("/blobs/{collection}/{last}")));
    let digest_is_well_formed = is_upload || !last.contains(':') || is_digest(last);
    let longest = if is_upload { 4096 } else { 512 };
    if repository.len() > 255 || last.len() > longest || !digest_is_well_formed {
        return None;
    }

    let given = parameters(query.unwrap_or_default())?;
    // Each entry is kept with its position.
    let mut written: Vec<(usize, &str, String)> = Vec::new();
    let mut mount = (None, None);
    for (row, (key, kind)) in endpoint.query.iter().enumerate() {
        let values: Vec<_> =
            given.iter().enumerate().filter(|(_, (name, _, _))| name == key).collect();
        if values.len() > if *kind == Value::Tags { 64 } else { 1 } {
            return None;
        }
        for (at, (_, value, sent)) in values {
            // A mount from what is not a name is not a mount.
            if *kind == Value::Name && spelled(*kind, value).is_none() {
                continue;
            }
            let value = spelled(*kind, value)?;
            match *key {
                "mount" => mount.0 = Some(value.clone()),
                "from" => mount.1 = Some(value.clone()),
                _ => {}
            }
            let place = match endpoint.others {
                Others::Among => at,
                Others::Dropped => row,
            };
            let text = match kind {
                Value::Number | Value::Text if whole(QUERY).is_match(sent) => (*sent).to_owned(),
                Value::Number | Value::Text => return None,
                _ => format!("{key}={value}"),
            };
            written.push((place, *key, text));
        }
    }
    let mounted_from = mount.0.and(mount.1);
    // A `mount` without `from`, or the reverse, is not a mount.
    if mounted_from.is_none() {
        written.retain(|(_, key, _)| !matches!(*key, "mount" | "from"));
    }
    let is_known = |key: &str| endpoint.query.iter().any(|(known, _)| *known == key);
    for (at, (key, _, sent)) in
        given.iter().enumerate().filter(|_| endpoint.others != Others::Dropped)
    {
        if is_known(key) || *key == "ns" {
            continue;
        }
        let twice = unescaped(key).filter(|_| key.contains('%')).is_some_and(|bare| {
            is_known(&bare) && given.iter().any(|(other, _, _)| *other == bare)
        });
        if twice || !whole(QUERY).is_match(sent) {
            return None;
        }
        written.push((at, *key, (*sent).to_owned()));
    }
    written.sort_by_key(|(place, _, _)| *place);
    let written: Vec<String> = written.into_iter().map(|(_, _, text)| text).collect();
    let target =
        if written.is_empty() { path.to_owned() } else { format!("{path}?{}", written.join("&")) };
    // The gate answers login requests itself and does not forward them.
    let method = if endpoint.needs == Needs::Login { "GET" } else { method };
    Some(Canonical {
        method,
        target,
        needs: endpoint.needs,
        repository: repository.to_owned(),
        mounted_from,
    })
}

/// Returns whether a text is a valid repository name.
pub fn is_name(text: &str) -> bool {
    whole(NAME).is_match(text) && text.len() <= 255
}

/// Returns the keys, the values and the whole parameters, all as sent. Returns `None` if a more
/// lenient reader could take one of the keys for one that decides what a request does.
fn parameters(query: &str) -> Option<Vec<(&str, &str, &str)>> {
    if query.contains(';') {
        return None;
    }
    let parameters = query.split('&').filter(|parameter| !parameter.is_empty());
    let parameter = |sent| {
        let parts = parameter().captures(sent)?;
        let key = parts.get(1)?.as_str();
        let well_escaped = whole("(?s)(?:[^%]|%[0-9A-Fa-f]{2})*").is_match(key);
        let disguised = !JUDGED.contains(&key) && JUDGED.contains(&&*bare(key));
        (well_escaped && !disguised)
            .then(|| (key, parts.get(2).map_or("", |value| value.as_str()), sent))
    };
    parameters.map(parameter).collect()
}

fn parameter() -> Regex {
    whole("(?s)([^=]*)(?:=(.*))?")
}

/// Returns a key as the most lenient reader would read it.
fn bare(key: &str) -> String {
    let decoded = (0..3).fold(key.to_owned(), |text, _| leniently_unescaped(&text));
    let name = whole(r"(?s)([^\[\x00]*).*")
        .captures(&decoded)
        .and_then(|parts| parts.get(1))
        .map_or("", |it| it.as_str());
    let around = |it: char| it.is_whitespace() || it.is_control() || matches!(it, '?' | '\u{feff}');
    name.trim_matches(around).to_uppercase().to_lowercase()
}

/// Resolves escapes. A `%` that does not start a valid escape stands for itself.
fn leniently_unescaped(text: &str) -> String {
    use regex::bytes::{Captures, Regex};
    static ESCAPE: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"%[0-9A-Fa-f]{2}").expect("a pattern of this file"));
    let spaced = text.replace('+', " ");
    let byte = |found: &Captures<'_>| {
        let digits = String::from_utf8_lossy(&found[0][1..]).into_owned();
        vec![u8::from_str_radix(&digits, 16).expect("two digits")]
    };
    String::from_utf8_lossy(&ESCAPE.replace_all(spaced.as_bytes(), byte)).into_owned()
}

/// Returns a value in its canonical spelling.
fn spelled(kind: Value, sent: &str) -> Option<String> {
    let value = unescaped(sent)?;
    match kind {
        Value::Number => whole("[0-9]+")
            .is_match(&value)
            .then(|| value.parse::<u32>().ok())
            .flatten()
            .map(|number| number.to_string()),
        Value::Digest => is_digest(&value).then(|| escaped(&value)),
        Value::Name => is_name(&value).then_some(value),
        Value::Tags => whole(TAG).is_match(&value).then_some(value),
        Value::Algorithm => (whole(r"[a-z0-9]+(?:[+._-][a-z0-9]+)*").is_match(&value)
            && value.len() <= 64)
            .then(|| escaped(&value)),
        Value::Text => Some(escaped(&value)),
    }
}

fn is_digest(text: &str) -> bool {
    let registered = ["sha256:", "sha512:"].iter().any(|algorithm| text.starts_with(algorithm));
    let grammar = if registered { REGISTERED_DIGEST } else { DIGEST };
    whole(grammar).is_match(text) && text.len() <= 255
}

/// Resolves `%XX` and `+` as in HTML forms. Returns `None` for control characters, which no key or
/// value of the protocol contains.
fn unescaped(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    loop {
        rest = match rest {
            [] => break,
            [b'+', rest @ ..] => {
                bytes.push(b' ');
                rest
            }
            [b'%', digits @ ..] => {
                let (digits, rest) = digits.split_at_checked(2)?;
                let digits = std::str::from_utf8(digits)
                    .ok()
                    .filter(|digits| whole("[0-9A-Fa-f]{2}").is_match(digits))?;
                bytes.push(u8::from_str_radix(digits, 16).ok()?);
                rest
            }
            [byte, rest @ ..] => {
                bytes.push(*byte);
                rest
            }
        };
    }
    String::from_utf8(bytes).ok().filter(|text| !text.chars().any(char::is_control))
}

/// Escapes a value. The unreserved characters of RFC 3986 and `:` and `/` stand for themselves.
fn escaped(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' | b'/' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

/// Returns a pattern that must match a whole text. Each pattern is compiled once.
fn whole(pattern: &str) -> Regex {
    use std::cell::RefCell;
    use std::collections::HashMap;
    thread_local!(static COMPILED: RefCell<HashMap<String, Regex>> = RefCell::default());
    COMPILED.with_borrow_mut(|compiled| {
        let compile =
            || Regex::new(&format!(r"\A(?:{pattern})\z")).expect("a pattern of this file");
        compiled.entry(pattern.to_owned()).or_insert_with(compile).clone()
    })
}
