//! The status as one plain HTML page for a browser: problems first, then everything else. It loads
//! nothing and runs no scripts, and names from the config are escaped.

use std::fmt::{Display, Formatter, Result, Write as _};

use super::status::{LastAnswer, LastError, ProviderStatus, Status};

/// The `Content-Security-Policy` of the page.
pub(super) const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

const HEAD: &str = "<!DOCTYPE html>
<html lang=\"en\">
<head>
<meta charset=\"utf-8\">
<meta name=\"viewport\" content=\"width=device-width\">
<meta name=\"color-scheme\" content=\"light dark\">
<meta http-equiv=\"refresh\" content=\"10\">
<title>moorgate</title>
<style>
:root {
  color-scheme: light dark; --line: #d5d9de; --soft: #5b6470;
  --good: #17692f; --bad: #b3261e; --warn: #fdecea; --ok: #e8f4ea
}
@media (prefers-color-scheme: dark) {
  :root {
    --line: #3a4048; --soft: #a2abb6;
    --good: #7fd694; --bad: #ff9a90; --warn: #3b1f1d; --ok: #1b3022
  }
}
body {
  font: 16px/1.5 system-ui, sans-serif; max-width: 52rem; margin: 0 auto; padding: 1rem;
  overflow-wrap: anywhere
}
h1 { font-size: 1.4rem; margin: 0 0 .75rem } h2 { font-size: 1.1rem; margin: 1.75rem 0 .25rem }
h1 small, h2 small { font-weight: normal; color: var(--soft) }
time { white-space: nowrap }
.good { color: var(--good) } .bad { color: var(--bad); font-weight: 600 }
.box { border-radius: .4rem; padding: .75rem 1rem; background: var(--ok) }
.box.trouble { background: var(--warn) }
.box p, .box ul { margin: 0 } .box ul { padding-left: 1.1rem }
dl { margin: 0; display: grid; grid-template-columns: 11rem 1fr }
dt, dd { margin: 0; padding: .3rem 0; border-top: 1px solid var(--line) }
dt { color: var(--soft); padding-right: 1rem }
@media (max-width: 30rem) {
  dl { grid-template-columns: 1fr } dd { border: 0; padding-top: 0 } dt { padding-bottom: 0 }
}
footer { margin-top: 1.75rem; color: var(--soft) }
</style>
</head>
<body>
";

/// Renders the page of a status.
pub(super) fn render(status: &Status) -> String {
    let mut page = HEAD.to_owned();
    // Writing to a String cannot fail.
    let _ = write(&mut page, status);
    page
}

fn write(page: &mut String, status: &Status) -> Result {
    writeln!(page, "<h1>moorgate <small>{}</small></h1>", Text(status.version))?;
    trouble(page, &status.trouble)?;

    list(page, "Gate", |page| {
        let state = if status.draining { "<span class=\"bad\">draining</span>" } else { "serving" };
        entry(page, "State", state)?;
        entry(
            page,
            "Up for",
            format_args!("{}, since {}", Uptime(status.uptime_seconds), Time(&status.started)),
        )?;
        match &status.certificate {
            None => entry(page, "Certificate", "none: plain HTTP")?,
            Some(it) if it.expired => {
                entry(
                    page,
                    "Certificate",
                    format_args!("<span class=\"bad\">expired</span> {}", Time(&it.ends)),
                )?;
            }
            Some(it) => {
                let days = format_args!("expires {} (days left: {})", Time(&it.ends), it.days_left)
                    .to_string();
                entry(page, "Certificate", days)?;
            }
        }
        entry(
            page,
            "Connections",
            format_args!("{} of {}", status.connections.open, status.connections.max),
        )?;
        entry(page, "Workers", status.workers)
    })?;

    let upstream = &status.upstream;
    list(page, "Upstream", |page| {
        entry(page, "Address", Text(&upstream.address))?;
        entry(page, "State", state(upstream.up, upstream.failing))?;
        history(page, upstream.last_answer.as_ref(), upstream.last_error.as_ref())
    })?;
    for provider in &status.providers {
        self::provider(page, provider)?;
    }

    list(page, "Verdict cache", |page| {
        entry(page, "Entries", status.cache.entries)?;
        match status.cache.hit_rate {
            None => entry(page, "Hit rate", "no look-ups yet"),
            Some(rate) => {
                let lookups = status.cache.lookups;
                entry(
                    page,
                    "Hit rate",
                    format_args!("{:.1} % of {lookups} since the start", rate * 100.0),
                )
            }
        }
    })?;
    list(page, "Limits", |page| {
        status.limits.iter().try_for_each(|limit| {
            entry(page, limit.name, format_args!("refused since the start: {}", limit.limited))
        })
    })?;
    list(page, "Logs", |page| {
        for (name, log) in [("Access log", &status.logs.access), ("Audit log", &status.logs.audit)]
        {
            let class = if log.failing { " class=\"bad\"" } else { "" };
            let lost = log.lines_lost;
            entry(
                page,
                name,
                format_args!("<span{class}>lines lost since the start: {lost}</span>"),
            )?;
        }
        Ok(())
    })?;
    list(page, "Last reload", |page| match &status.last_reload {
        None => entry(page, "When", "none since the start"),
        Some(reload) => {
            entry(page, "When", Time(&reload.at))?;
            if reload.success {
                return entry(page, "Outcome", "<span class=\"good\">applied</span>");
            }
            entry(page, "Outcome", "<span class=\"bad\">not applied</span>, see the program log")?;
            reload.problems.iter().try_for_each(|problem| entry(page, "Problem", Text(problem)))
        }
    })?;
    writeln!(
        page,
        "<footer>As of {}. The same data as JSON: /status.json</footer>",
        Time(&status.now)
    )?;
    page.write_str("</body>\n</html>\n")
}

fn trouble(page: &mut String, trouble: &[String]) -> Result {
    if trouble.is_empty() {
        return page
            .write_str("<div class=\"box\"><p class=\"good\">No known problems.</p></div>\n");
    }
    page.write_str("<div class=\"box trouble\"><ul>\n")?;
    for sentence in trouble {
        writeln!(page, "<li>{}</li>", Text(sentence))?;
    }
    page.write_str("</ul></div>\n")
}

fn provider(page: &mut String, provider: &ProviderStatus) -> Result {
    let title = format!("Provider {} <small>{}</small>", Text(&provider.name), Text(provider.kind));
    list(page, &title, |page| {
        entry(page, "State", state(provider.up, provider.failing))?;
        let class = if provider.breaker == "closed" { "" } else { " class=\"bad\"" };
        entry(page, "Breaker", format_args!("<span{class}>{}</span>", Text(provider.breaker)))?;
        history(page, provider.last_answer.as_ref(), provider.last_error.as_ref())
    })
}

fn history(page: &mut String, answer: Option<&LastAnswer>, error: Option<&LastError>) -> Result {
    match answer {
        None => entry(page, "Last answer", "none yet")?,
        Some(it) => entry(
            page,
            "Last answer",
            format_args!("after {} ms, {}", it.latency_ms, Time(&it.at)),
        )?,
    }
    match error {
        None => entry(page, "Last error", "none"),
        Some(it) => entry(
            page,
            "Last error",
            format_args!("{} ({}), {}", Text(&it.message), it.reason, Time(&it.at)),
        ),
    }
}

fn state(up: Option<bool>, failing: bool) -> &'static str {
    match up {
        Some(false) => "<span class=\"bad\">down</span>",
        _ if failing => "<span class=\"bad\">up, with problems</span>",
        Some(true) => "<span class=\"good\">up</span>",
        None => "not asked yet",
    }
}

/// Writes a section. `title` is HTML.
fn list(page: &mut String, title: &str, entries: impl FnOnce(&mut String) -> Result) -> Result {
    writeln!(page, "<h2>{title}</h2>\n<dl>")?;
    entries(page)?;
    page.write_str("</dl>\n")
}

/// Writes a line of a section. `value` is HTML.
fn entry(page: &mut String, name: &str, value: impl Display) -> Result {
    writeln!(page, "<dt>{}</dt><dd>{value}</dd>", Text(name))
}

/// Text that is escaped for HTML content.
struct Text<'a>(&'a str);

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

/// A time that does not wrap over two lines.
struct Time<'a>(&'a str);

impl Display for Time<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "<time>{}</time>", Text(self.0))
    }
}

/// A number of seconds, shown in its two largest units.
struct Uptime(u64);

impl Display for Uptime {
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
    }

    #[test]
    fn uptime_in_two_units() {
        for (seconds, words) in [
            (59, "59 s"),
            (61, "1 min 1 s"),
            (3 * 3600 + 60, "3 h 1 min"),
            (2 * 86_400 + 3600, "2 d 1 h"),
        ] {
            assert_eq!(Uptime(seconds).to_string(), words);
        }
    }
}
