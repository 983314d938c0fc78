//! Writes HTML whose values the script of the page keeps up to date.
//!
//! An element with `data-path` shows that member of `/status.json`, in the form that `data-as`
//! names. One with `data-if` or `data-unless` is hidden as the member says. The children of one
//! with `data-list` are the entries of a list: paths in them begin at the entry, `data-id` is the
//! key of an entry, and the element `template` is the form of a new one. `status.js` reads these
//! attributes.

use std::fmt::{Display, Formatter, Result, Write as _};

/// An item of a list.
pub(super) trait Item: Default {
    /// The member of an item by which it is known; empty for an item that is a text.
    const KEY: &str;

    /// Returns that member.
    fn key(&self) -> &str;
}

impl Item for String {
    const KEY: &str = "";

    fn key(&self) -> &str {
        self
    }
}

/// The HTML so far.
#[derive(Default)]
pub(super) struct Html(pub(super) String);

impl Html {
    /// Adds HTML as it is.
    pub(super) fn raw(&mut self, html: &str) -> &mut Self {
        self.0.push_str(html);
        self
    }

    /// Adds a value that is text.
    pub(super) fn text(&mut self, path: &str, value: impl Display) -> &mut Self {
        self.value("span", path, "text", value)
    }

    /// Adds a number that grows, and the place for its rate.
    pub(super) fn count(&mut self, path: &str, value: u64) -> &mut Self {
        self.value("span", path, "count", value).raw("<span class=\"rate\"></span>")
    }

    /// Adds a time that the script shows relative to now.
    pub(super) fn time(&mut self, path: &str, value: &str) -> &mut Self {
        self.time_as("time", path, value)
    }

    /// Adds a time that the script shows relative to now and as it is.
    pub(super) fn both_times(&mut self, path: &str, value: &str) -> &mut Self {
        self.time_as("both", path, value)
    }

    fn time_as(&mut self, kind: &str, path: &str, value: &str) -> &mut Self {
        let value = Text(value);
        self.write(format_args!(
            "<time datetime=\"{value}\" title=\"{value}\" data-path=\"{path}\" \
             data-as=\"{kind}\">{value}</time>"
        ))
    }

    /// Adds a value in a form that `status.js` knows too.
    pub(super) fn value(
        &mut self,
        tag: &str,
        path: &str,
        kind: &str,
        value: impl Display,
    ) -> &mut Self {
        let value = value.to_string();
        self.write(format_args!(
            "<{tag} data-path=\"{path}\" data-as=\"{kind}\">{}</{tag}>",
            Text(&value)
        ))
    }

    /// Adds a word of a closed list that has a colour. `kind` is the list, in `status.js`.
    pub(super) fn state(&mut self, path: &str, kind: &str, (state, word): (&str, &str)) {
        self.write(format_args!(
            "<span class=\"state\" data-path=\"{path}\" data-as=\"{kind}\" \
             data-state=\"{state}\">{word}</span>"
        ));
    }

    /// Adds a part that is shown while the member of the status is there, true or not empty.
    pub(super) fn when(&mut self, path: &str, shown: bool, part: impl FnOnce(&mut Self)) {
        self.optional("if", path, shown, part);
    }

    /// Adds a part that is shown while the member of the status is null, false or empty.
    pub(super) fn unless(&mut self, path: &str, hidden: bool, part: impl FnOnce(&mut Self)) {
        self.optional("unless", path, !hidden, part);
    }

    fn optional(&mut self, how: &str, path: &str, shown: bool, part: impl FnOnce(&mut Self)) {
        let hidden = if shown { "" } else { " hidden" };
        self.write(format_args!("<span data-{how}=\"{path}\"{hidden}>"));
        part(self);
        self.raw("</span>");
    }

    /// Adds a section with a list of entries.
    pub(super) fn section(&mut self, id: &str, title: &str, entries: impl FnOnce(&mut Self)) {
        self.write(format_args!(
            "<section id=\"{id}\" aria-labelledby=\"{id}-title\">\n\
             <h2 id=\"{id}-title\">{title}</h2>\n<dl>\n"
        ));
        entries(self);
        self.raw("</dl>\n</section>\n");
    }

    /// Adds an entry of a section. `name` is HTML.
    pub(super) fn entry(&mut self, name: &str, value: impl FnOnce(&mut Self)) {
        self.raw("<div><dt>").raw(name).raw("</dt><dd>");
        value(self);
        self.raw("</dd></div>\n");
    }

    /// Adds a list as an element, whose items `item` adds as elements `item_tag`.
    pub(super) fn list<T: Item>(
        &mut self,
        (tag, item_tag): (&str, &str),
        path: &str,
        items: &[T],
        item: impl Fn(&mut Self, &T),
    ) {
        self.write(format_args!("<{tag} data-list=\"{path}\" data-key=\"{}\">\n", T::KEY));
        for value in items {
            self.write(format_args!("<{item_tag} data-id=\"{}\">", Text(value.key())));
            item(self, value);
            self.write(format_args!("</{item_tag}>\n"));
        }
        self.write(format_args!("<template><{item_tag}>"));
        item(self, &T::default());
        self.write(format_args!("</{item_tag}></template>\n</{tag}>\n"));
    }

    fn write(&mut self, html: std::fmt::Arguments<'_>) -> &mut Self {
        // Writing to a String cannot fail.
        let _ = self.0.write_fmt(html);
        self
    }
}

/// Text that is escaped for HTML content and for attributes in double quotes.
pub(super) struct Text<'a>(pub(super) &'a str);

impl Display for Text<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        self.0.chars().try_for_each(|c| match c {
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '&' => f.write_str("&amp;"),
            '"' => f.write_str("&quot;"),
            '\'' => f.write_str("&#39;"),
            c => f.write_char(c),
        })
    }
}

/// A number of seconds, shown in its two largest units.
pub(super) struct Elapsed(pub(super) u64);

impl Display for Elapsed {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let (days, hours, minutes) = (self.0 / 86_400, self.0 / 3600 % 24, self.0 / 60 % 60);
        match (days, hours, minutes) {
            (0, 0, 0) => write!(f, "{} s", self.0),
            (0, 0, minutes) => write!(f, "{minutes} min {} s", self.0 % 60),
            (0, hours, minutes) => write!(f, "{hours} h {minutes} min"),
            (days, hours, _) => write!(f, "{days} d {hours} h"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped() {
        assert_eq!(Text("<script>'&\"").to_string(), "&lt;script&gt;&#39;&amp;&quot;");
        let mut html = Html::default();
        html.text("a", "<b>").time("c", "\"><i>");
        assert!(!html.0.contains("<b>") && !html.0.contains("<i>"), "{}", html.0);
    }

    #[test]
    fn spans_have_two_units() {
        for (seconds, words) in [
            (59, "59 s"),
            (61, "1 min 1 s"),
            (3 * 3600 + 60, "3 h 1 min"),
            (2 * 86_400 + 3600, "2 d 1 h"),
        ] {
            assert_eq!(Elapsed(seconds).to_string(), words);
        }
    }

    #[test]
    fn a_list_has_its_items_and_the_form_of_a_new_one() {
        let mut html = Html::default();
        let items = ["a&b".to_owned()];
        html.list(("ul", "li"), "names", &items, |html, item| {
            html.text(".", item);
        });
        let item = |text| format!("<span data-path=\".\" data-as=\"text\">{text}</span></li>");
        let expected = format!(
            "<ul data-list=\"names\" data-key=\"\">\n<li data-id=\"a&amp;b\">{}\n\
             <template><li>{}</template>\n</ul>\n",
            item("a&amp;b"),
            item("")
        );
        assert_eq!(html.0, expected);
    }
}
