//! The status as one HTML page for a browser: problems first, then everything else.
//!
//! The server writes the whole page, so it can be read without JavaScript. `status.js` then fetches
//! `/status.json` and changes the values in place. The page loads nothing from another host, and
//! names from the config are escaped.

mod html;
mod parts;
pub(super) mod runbook;

use html::Html;

use super::status::Status;

/// The style of the pages.
pub(super) const STYLE: &str = include_str!("page/status.css");

/// The program that keeps the status page up to date.
pub(super) const SCRIPT: &str = include_str!("page/status.js");

/// The `Content-Security-Policy` of the pages: a browser runs and loads only what the gate itself
/// serves, and nothing that is written into a page.
pub(super) const CONTENT_SECURITY_POLICY: &str = concat!(
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; ",
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; ",
    "require-trusted-types-for 'script'; trusted-types 'none'"
);

/// The start of a page, up to its title. The addresses are relative, so that the pages work behind
/// a path of a proxy too.
const HEAD: &str = "<!DOCTYPE html>
<html lang=\"en\">
<head>
<meta charset=\"utf-8\">
<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">
<meta name=\"color-scheme\" content=\"light dark\">
<link rel=\"stylesheet\" href=\"status.css\">
";

/// The links to the sections.
const NAVIGATION: &str = "<nav aria-label=\"Sections\"><ul>
<li><a href=\"#problems\">Problems</a></li>
<li><a href=\"#gate\">Gate</a></li>
<li><a href=\"#traffic\">Traffic</a></li>
<li><a href=\"#registry\">Registry</a></li>
<li><a href=\"#providers\">Providers</a></li>
<li><a href=\"#redis\">Redis</a></li>
<li><a href=\"#limits\">Limits</a></li>
<li><a href=\"#logs\">Logs</a></li>
<li><a href=\"#config\">Config</a></li>
<li><a href=\"runbook\">Runbook</a></li>
</ul></nav>
";

/// The places in which the script tells whether the page is up to date.
const NOTICES: &str = "<noscript><p>Without JavaScript, this page stays as it was loaded. \
     <a href=\"./\">Load it again</a>.</p></noscript>
<p id=\"lost\" hidden><strong>The gate cannot be reached</strong> since \
     <time id=\"lost-since\"></time>: <span id=\"lost-why\"></span>. What is shown is older.</p>
<p id=\"replaced\" hidden>The gate was updated. \
     <a href=\"./\">Load the page of its new version</a>.</p>
<p id=\"spoken\" class=\"unseen\" role=\"status\"></p>
";

/// Renders the page of a status.
pub(super) fn render(status: &Status) -> String {
    let mut html = Html::default();
    let title = match status.problems.len() {
        0 => "moorgate".to_owned(),
        number => format!("({number}) moorgate"),
    };
    html.raw(HEAD).raw("<script src=\"status.js\" defer></script>\n<title>").raw(&title);
    html.raw("</title>\n</head>\n<body>\n<header>\n<h1>moorgate <small>")
        .text("version", status.version)
        .raw("</small></h1>\n<p id=\"as-of\">Updated ")
        .time("now", &status.now)
        .raw(" <button type=\"button\" id=\"pause\" hidden>Pause</button></p>\n")
        .raw(NAVIGATION)
        .raw(NOTICES)
        .raw("</header>\n<main>\n");
    parts::problems(&mut html, &status.problems);
    html.raw("<div class=\"cards\">\n");
    parts::gate(&mut html, status);
    parts::traffic(&mut html, status);
    parts::registry(&mut html, &status.upstream);
    parts::providers(&mut html, &status.providers);
    parts::redis(&mut html, status.redis.as_ref(), status.replicas.as_deref().unwrap_or_default());
    parts::limits(&mut html, &status.limits);
    parts::logs(&mut html, status);
    parts::config(&mut html, status.last_reload.as_ref());
    html.raw(
        "</div>\n</main>\n<footer>\n<p>Counts are since the start of the gate. <span \
         id=\"rates\" hidden>Rates are per second, over the last minute.</span> \
         The same data for programs: <a href=\"status.json\">status.json</a>, \
         <a href=\"metrics\">metrics</a>.</p>\n</footer>\n</body>\n</html>\n",
    );
    html.0
}
