//! The values of a `Link` header (RFC 8288, section 3).

/// One link: the address between the angle brackets, and the rest, such as `; rel="next"`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Link<'a> {
    pub(super) address: &'a str,
    pub(super) parameters: &'a str,
}

impl Link<'_> {
    /// Returns whether the link leads to the next page.
    pub(super) fn is_next(&self) -> bool {
        self.parameters.split(';').any(|parameter| {
            let (name, value) = parameter.split_once('=').unwrap_or_default();
            let relations = value.trim().trim_matches('"');
            name.trim().eq_ignore_ascii_case("rel")
                && relations.split_ascii_whitespace().any(|it| it.eq_ignore_ascii_case("next"))
        })
    }
}

/// Splits a line into its links. What cannot be read as a link is left out.
pub(super) fn values(line: &str) -> Vec<Link<'_>> {
    let mut links = Vec::new();
    let mut rest = line;
    while let Some((_, from_address)) = rest.split_once('<') {
        let Some((address, behind)) = from_address.split_once('>') else { break };
        let end = end_of_parameters(behind);
        let (parameters, next) = behind.split_at_checked(end).unwrap_or((behind, ""));
        links.push(Link { address: address.trim(), parameters: parameters.trim_end() });
        rest = next;
    }
    links
}

/// Returns the position of the comma that ends the parameters of a link. A comma within quotation
/// marks does not.
fn end_of_parameters(text: &str) -> usize {
    let (mut quoted, mut escaped) = (false, false);
    for (position, character) in text.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ',' if !quoted => return position,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_split_into_its_links() {
        let links = values("</a?x=1,2>; title=\"a, \\\"b\"; rel=\"next\" , < /b >;rel=prev");
        assert_eq!(
            links,
            [
                Link { address: "/a?x=1,2", parameters: "; title=\"a, \\\"b\"; rel=\"next\"" },
                Link { address: "/b", parameters: ";rel=prev" },
            ]
        );
        assert_eq!(links.iter().map(Link::is_next).collect::<Vec<_>>(), [true, false]);
        for rel in ["rel=next", "REL=\"Next\"", "x=1; rel=\"first next\""] {
            assert!(values(&format!("</a>; {rel}")).iter().all(Link::is_next), "{rel}");
        }
        for line in ["", "/a; rel=next", "</a; rel=next", "nonsense"] {
            assert_eq!(values(line), [], "{line}");
        }
    }
}
