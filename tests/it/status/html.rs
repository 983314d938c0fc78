//! The HTML of the status page and of the runbook, as a browser without JavaScript shows it.

use moorgate::demo::Scripted;

use super::{PULL, answer, page};
use crate::harness::{READ_WRITE, Setup, TestGate};

/// A page, read element by element. Every element must be closed in its turn.
pub(super) struct Html {
    /// The start tags, without their angle brackets, in order.
    pub(super) tags: Vec<String>,
    /// The text that is visible, with references resolved and white space as one blank.
    pub(super) text: String,
}

impl Html {
    pub(super) fn read(html: &str) -> Self {
        const EMPTY: [&str; 4] = ["!DOCTYPE", "meta", "link", "br"];
        let (mut tags, mut text) = (Vec::new(), String::new());
        let mut open: Vec<(&str, bool)> = Vec::new();
        for part in html.split('<').skip(1) {
            let (tag, after) = part.split_once('>').expect("a tag that does not end");
            let name = tag.split_whitespace().next().unwrap();
            if let Some(closed) = name.strip_prefix('/') {
                assert_eq!(open.pop().map(|(name, _)| name), Some(closed), "before {after}");
            } else {
                tags.push(tag.to_owned());
                if !EMPTY.contains(&name) {
                    let is_hidden =
                        tag.ends_with(" hidden") || ["template", "head"].contains(&name);
                    open.push((name, is_hidden || open.last().is_some_and(|(_, hidden)| *hidden)));
                }
            }
            if open.last().is_some_and(|(_, is_hidden)| !is_hidden) {
                text.push_str(after);
                // Elements such as `dt` and `dd` are words of their own.
                if !matches!(name, "span" | "/span" | "time" | "/time" | "code" | "/code") {
                    text.push(' ');
                }
            }
        }
        assert_eq!(open, [], "elements that are not closed");
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let references =
            [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&amp;", "&")];
        let text = references.iter().fold(text, |text, (from, to)| text.replace(from, to));
        Self { tags, text }
    }

    /// Returns the names of these elements, in order.
    fn names(&self, wanted: &[&str]) -> Vec<&str> {
        let names = self.tags.iter().map(|tag| tag.split_whitespace().next().unwrap());
        names.filter(|name| wanted.contains(name)).collect()
    }
}

#[tokio::test]
async fn both_pages_have_landmarks_and_their_headings_leave_out_no_level() {
    let gate = TestGate::plain().await;
    gate.gitlab.always(Some(answer(502)));
    assert_eq!(gate.get(PULL, Some(READ_WRITE)).await.status, 503);
    for (path, landmarks) in
        [("/", &["header", "nav", "main", "footer"][..]), ("/runbook", &["header", "main"])]
    {
        let reply = gate.admin(path).await;
        assert_eq!(reply.header("content-type"), Some("text/html; charset=utf-8"));
        let html = Html::read(&reply.body);
        assert_eq!(html.names(&["header", "nav", "main", "footer"]), landmarks, "{path}");
        let levels = html.names(&["h1", "h2", "h3", "h4"]);
        assert_eq!(levels.iter().filter(|level| **level == "h1").count(), 1, "{path}");
        for (before, level) in levels.iter().zip(&levels[1..]) {
            assert!(level.as_bytes()[1] <= before.as_bytes()[1] + 1, "{path}: {levels:?}");
        }
        assert!(html.tags.contains(&"html lang=\"en\"".to_owned()), "{path}");
    }
    let html = Html::read(&page(&gate).await);
    for tag in html.tags.iter().filter(|tag| tag.starts_with("section ")) {
        let id = tag.split('"').nth(1).unwrap();
        assert!(html.tags.contains(&format!("a href=\"#{id}\"")), "no link to {id}");
        assert!(tag.contains(&format!("aria-labelledby=\"{id}-title\"")), "{tag}");
    }
}

/// Each time is there for a program and for a person, before any script runs.
#[tokio::test]
async fn every_time_is_absolute_in_the_page_of_the_server() {
    let gate = TestGate::plain().await;
    assert_eq!(gate.get(PULL, Some(READ_WRITE)).await.status, 404);
    let body = page(&gate).await;
    let times: Vec<&str> = body.split("<time datetime=\"").skip(1).collect();
    assert!(times.len() > 5);
    for time in times {
        let (time, rest) = time.split_once('"').unwrap();
        assert!(rest.starts_with(&format!(" title=\"{time}\"")), "{rest}");
        assert!(rest.split('>').nth(1).unwrap().starts_with(&format!("{time}</time")), "{rest}");
        assert!(time.is_empty() || humantime::parse_rfc3339(time).is_ok(), "{time}");
    }
}

#[tokio::test]
async fn a_browser_may_load_and_run_only_what_the_gate_serves() {
    let gate = TestGate::plain().await;
    for path in ["/", "/runbook"] {
        let reply = gate.admin(path).await;
        assert_eq!(
            reply.header("content-security-policy"),
            Some(
                "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                 base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
                 require-trusted-types-for 'script'; trusted-types 'none'"
            )
        );
        assert_eq!(reply.header("referrer-policy"), Some("no-referrer"));
        for tag in Html::read(&reply.body).tags {
            for (attribute, value) in attributes(&tag) {
                assert!(!attribute.starts_with("on") && attribute != "style", "{path}: {tag}");
                let leads = ["href", "src", "action"].contains(&attribute);
                assert!(!leads || !value.contains(':') && !value.starts_with('/'), "{path}: {tag}");
            }
        }
    }
    for (path, content_type, words) in [
        ("/status.css", "text/css; charset=utf-8", "prefers-color-scheme"),
        ("/status.js", "text/javascript; charset=utf-8", "status.json"),
    ] {
        let reply = gate.admin(path).await;
        assert_eq!((reply.status, reply.header("content-type")), (200, Some(content_type)));
        assert!(reply.body.contains(words));
        for loading in ["http:", "https:", "url(", "@import", "innerHTML", "outerHTML", "eval("] {
            assert!(!reply.body.contains(loading), "{loading} in {path}");
        }
    }
}

/// Returns the attributes of a start tag.
fn attributes(tag: &str) -> Vec<(&str, &str)> {
    let parts: Vec<&str> = tag.split('"').collect();
    let name = |part: &'_ str| part.trim_end_matches('=').rfind(' ').map(|at| at + 1);
    parts
        .chunks_exact(2)
        .filter_map(|pair| Some((pair[0].get(name(pair[0])?..)?.trim_end_matches('='), pair[1])))
        .collect()
}

/// The page names the server and the error, and nothing of the question.
#[tokio::test]
async fn the_error_of_a_provider_is_shown_without_the_credential() {
    let gate = TestGate::plain().await;
    for (scripted, error) in [
        (answer(502), "status 502 Bad Gateway"),
        (Scripted::Close, "connection closed"),
        (answer(429), "status 429"),
    ] {
        gate.gitlab.always(Some(scripted));
        let secret = format!("glpat-canary-{}", error.len());
        gate.get("/v2/canary/app/tags/list", Some(("canary", &secret))).await;
        let text = Html::read(&page(&gate).await).text;
        assert!(text.contains("Provider gitlab ") && text.contains(error), "{error} in {text}");
        assert!(!text.contains("canary"), "{text}");
    }
}

/// A gate whose registry has a name that no one serves shows the error of the system.
#[tokio::test]
async fn the_error_of_the_registry_is_shown() {
    let nobody = crate::harness::listener();
    let address = nobody.local_addr().unwrap();
    let gate = TestGate::start(Setup { upstream_address: Some(address), ..Setup::default() }).await;
    drop(nobody);
    assert_eq!(gate.get(PULL, Some(READ_WRITE)).await.status, 502);
    let text = Html::read(&page(&gate).await).text;
    let error = format!("no connection to {address}: Connection refused (os error 111)");
    assert_eq!(text.matches(&error).count(), 2, "once above and once below: {text}");
}
