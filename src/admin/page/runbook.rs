//! The runbook (`docs/runbook.md` of this version) as a page of the gate, so that it can be read
//! where no other host can be reached.

use std::fmt::Write as _;

use pulldown_cmark::{CowStr, Event, HeadingLevel, Options, Parser, Tag, TagEnd, html};

use super::HEAD;

const RUNBOOK: &str = include_str!("../../../docs/runbook.md");

/// Renders the page. Each heading has the id that GitHub gives it. A link to another page of the
/// documentation becomes the name of that page, because the gate does not serve it.
pub(in crate::admin) fn render() -> String {
    let mut page = HEAD.to_owned();
    // Writing to a String cannot fail.
    let _ = write!(
        page,
        "<title>Runbook · moorgate</title>\n</head>\n<body class=\"text\">\n<header>\n\
         <p>moorgate {} · <a href=\"./\">Status</a></p>\n</header>\n<main>\n",
        env!("CARGO_PKG_VERSION")
    );
    html::push_html(&mut page, events().into_iter());
    page.push_str("</main>\n</body>\n</html>\n");
    page
}

/// Returns the parts of the runbook, with the ids of headings and without links elsewhere.
fn events() -> Vec<Event<'static>> {
    let mut events: Vec<Event<'_>> = Vec::new();
    // The place and the text of the heading that is being read.
    let mut heading: Option<(usize, String)> = None;
    // The page that the link being read leads to.
    let mut leads_to: Option<String> = None;
    for event in Parser::new_ext(RUNBOOK, Options::ENABLE_TABLES) {
        match event {
            Event::Start(Tag::Heading { .. }) => heading = Some((events.len(), String::new())),
            Event::End(TagEnd::Heading(level)) => {
                if let Some((at, text)) = heading.take() {
                    name(&mut events, at, level, &text);
                }
            }
            Event::Text(ref text) | Event::Code(ref text) => {
                if let Some((_, heading)) = &mut heading {
                    heading.push_str(text);
                }
            }
            Event::Start(Tag::Link { ref dest_url, .. }) if !dest_url.starts_with('#') => {
                leads_to = Some(dest_url.split('#').next().unwrap_or_default().to_owned());
                continue;
            }
            Event::End(TagEnd::Link) => {
                if let Some(page) = leads_to.take() {
                    // The text of a link to a file is its name.
                    if !page.starts_with("../") {
                        events.push(Event::Text(CowStr::from(format!(" (docs/{page})"))));
                    }
                    continue;
                }
            }
            _ => {}
        }
        events.push(event);
    }
    events
}

/// Gives the heading at this place its id.
fn name(events: &mut [Event<'_>], at: usize, level: HeadingLevel, text: &str) {
    if let Some(start) = events.get_mut(at) {
        let (classes, attrs) = (Vec::new(), Vec::new());
        let id = Some(CowStr::from(anchor(text)));
        *start = Event::Start(Tag::Heading { level, id, classes, attrs });
    }
}

fn anchor(heading: &str) -> String {
    heading
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-'))
        .map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headings_have_ids_and_every_link_leads_to_one_of_them() {
        let page = render();
        let ids: Vec<&str> = parts(&page, "id=\"").collect();
        assert!(ids.contains(&"moorgateproviderdown"), "{ids:?}");
        let links: Vec<&str> = parts(&page, "href=\"").collect();
        assert!(links.len() > 10);
        for link in links {
            let known = ["./", "status.css"].contains(&link)
                || link.strip_prefix('#').is_some_and(|id| ids.contains(&id));
            assert!(known, "{link} leads nowhere");
        }
        assert!(page.contains("Errors (docs/errors.md)"), "{page}");
    }

    /// The links of the problems on the status page.
    #[test]
    fn every_section_that_a_problem_names_exists() {
        let page = render();
        let source = include_str!("../trouble.rs");
        let named: Vec<&str> = parts(source, "runbook: \"").collect();
        assert!(named.len() > 10);
        for id in named {
            assert!(page.contains(&format!("id=\"{id}\"")), "the runbook has no section {id}");
        }
    }

    fn parts<'a>(text: &'a str, before: &'a str) -> impl Iterator<Item = &'a str> {
        text.split(before).skip(1).filter_map(|rest| rest.split('"').next())
    }
}
