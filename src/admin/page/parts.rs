//! The parts of the page: the problems, and what is known of each part of the gate.

use super::html::{Elapsed, Html, Item};
use crate::admin::status::{
    CertificateStatus, Count, FaultStatus, KnownProblem, LastAnswer, LastError, LimitStatus,
    ProviderStatus, RedisError, RedisStatus, ReloadStatus, ReplicaStatus, Status, TelemetryStatus,
    UpstreamStatus,
};

impl Item for KnownProblem {
    const KEY: &str = "id";

    fn key(&self) -> &str {
        &self.id
    }
}

impl Item for FaultStatus {
    const KEY: &str = "id";

    fn key(&self) -> &str {
        &self.id
    }
}

impl Item for ProviderStatus {
    const KEY: &str = "name";

    fn key(&self) -> &str {
        &self.name
    }
}

impl Item for ReplicaStatus {
    const KEY: &str = "id";

    fn key(&self) -> &str {
        &self.id
    }
}

impl Item for LimitStatus {
    const KEY: &str = "name";

    fn key(&self) -> &str {
        self.name
    }
}

/// Writes what the operator should know first.
pub(super) fn problems(html: &mut Html, problems: &[KnownProblem]) {
    let state = if problems.is_empty() { "well" } else { "trouble" };
    html.raw("<section id=\"problems\" aria-labelledby=\"problems-title\" data-path=\"problems\" ")
        .raw("data-as=\"verdict\" data-state=\"")
        .raw(state)
        .raw("\">\n<h2 id=\"problems-title\" tabindex=\"-1\">");
    html.unless("problems", !problems.is_empty(), |html| {
        html.raw("No known problems");
    });
    html.when("problems", !problems.is_empty(), |html| {
        html.raw("Known problems: ").value("span", "problems", "size", problems.len());
    });
    html.raw("</h2>\n");
    html.list(("ol", "li"), "problems", problems, problem);
    html.raw("</section>\n");
}

fn problem(html: &mut Html, problem: &KnownProblem) {
    let none = Count::default();
    let count = problem.count.as_ref().unwrap_or(&none);
    html.value("h3", "what", "text", &problem.what);
    html.when("error", problem.error.is_some(), |html| {
        html.value("code", "error", "text", problem.error.as_deref().unwrap_or_default());
    });
    html.raw("<p class=\"facts\">");
    for (name, path, time) in [
        ("Since", "since", &problem.since),
        ("Last", "last", &problem.last),
        ("Until", "until", &problem.until),
    ] {
        html.when(path, time.is_some(), |html| {
            html.raw(name).raw(" ").both_times(path, time.as_deref().unwrap_or_default());
            html.raw(". ");
        });
    }
    html.when("count", problem.count.is_some(), |html| {
        html.text("count.of", count.of).raw(": ").count("count.number", count.number);
        html.when("count.operations", count.operations.is_some(), |html| {
            let names = count.operations.as_deref().unwrap_or_default();
            html.raw(" (").text("count.operations", names).raw(")");
        });
        html.raw(".");
    });
    html.raw("</p>\n<p class=\"remedy\">").text("remedy", &problem.remedy);
    html.raw(" <a data-path=\"runbook\" data-as=\"runbook\" href=\"runbook#")
        .raw(problem.runbook)
        .raw("\">Runbook<span class=\"unseen\">: ");
    html.text("what", &problem.what).raw("</span></a></p>");
}

/// Writes the state of the process and of its listener.
pub(super) fn gate(html: &mut Html, status: &Status) {
    html.section("gate", "Gate", |html| {
        html.entry("State", |html| {
            let state = if status.draining { ("down", "draining") } else { ("up", "serving") };
            html.state("draining", "draining", state);
        });
        html.entry("Up for", |html| {
            html.value("span", "uptime_seconds", "span", Elapsed(status.uptime_seconds))
                .raw(", since ")
                .value("span", "started", "text", &status.started);
        });
        html.entry("Certificate", |html| certificate(html, status.certificate.as_ref()));
        html.entry("Connections", |html| {
            html.text("connections.open", status.connections.open)
                .raw(" of ")
                .text("connections.max", status.connections.max);
        });
        html.entry("Workers", |html| {
            html.text("workers", status.workers);
        });
    });
}

fn certificate(html: &mut Html, certificate: Option<&CertificateStatus>) {
    html.unless("certificate", certificate.is_some(), |html| {
        html.raw("none: plain HTTP");
    });
    let (ends, days_left, expired) =
        certificate.map_or(("", 0, false), |it| (&*it.ends, it.days_left, it.expired));
    html.when("certificate", certificate.is_some(), |html| {
        let state = if expired { ("down", "expired") } else { ("up", "expires") };
        html.state("certificate.expired", "expired", state);
        html.raw(" ").time("certificate.ends", ends);
        html.raw(" (days left: ").text("certificate.days_left", days_left).raw(")");
    });
}

/// Writes the numbers of requests.
pub(super) fn traffic(html: &mut Html, status: &Status) {
    html.section("traffic", "Traffic", |html| {
        html.entry("Answered requests", |html| {
            html.count("requests.ended", status.requests.ended);
        });
        html.entry("Answers with 5xx", |html| {
            html.count("requests.server_errors", status.requests.server_errors);
        });
        html.entry("Credentials looked up", |html| {
            html.count("cache.lookups", status.cache.lookups);
        });
        html.entry("Answered from the cache", |html| {
            let rate = status.cache.hit_rate;
            html.unless("cache.lookups", rate.is_some(), |html| {
                html.raw("no look-ups yet");
            });
            html.when("cache.lookups", rate.is_some(), |html| {
                let percent = format!("{:.1} %", rate.unwrap_or_default() * 100.0);
                html.value("span", "cache.hit_rate", "percent", percent);
            });
        });
        html.entry("Entries of the cache", |html| {
            html.text("cache.entries", status.cache.entries);
        });
    });
}

/// Writes what is known of the registry.
pub(super) fn registry(html: &mut Html, upstream: &UpstreamStatus) {
    html.section("registry", "Registry", |html| {
        html.entry("Address", |html| {
            html.text("upstream.address", &upstream.address);
        });
        html.entry("State", |html| {
            html.state("upstream", "up", state(upstream.up, upstream.failing));
        });
        history(html, "upstream.", upstream.last_answer.as_ref(), upstream.last_error.as_ref());
        html.entry("Operations that fail", |html| {
            html.unless("upstream.failing", upstream.failing, |html| {
                html.raw("none");
            });
            html.list(("ul", "li"), "upstream.faults", &upstream.faults, |html, fault| {
                html.text("operation", fault.operation).raw(": ").count("requests", fault.requests);
                html.raw(", ").text("reason", fault.reason);
                html.raw(", since ").time("first", &fault.first);
                html.raw(", last ").time("last", &fault.last);
            });
        });
    });
}

/// Writes what is known of each provider.
pub(super) fn providers(html: &mut Html, providers: &[ProviderStatus]) {
    html.raw("<section id=\"providers\" aria-labelledby=\"providers-title\">\n")
        .raw("<h2 id=\"providers-title\">Providers</h2>\n");
    html.list(("div", "div"), "providers", providers, |html, provider| {
        html.raw("<h3>").text("name", &provider.name).raw(" <small>");
        html.text("type", provider.kind).raw("</small></h3>\n<dl>\n");
        html.entry("State", |html| html.state(".", "up", state(provider.up, provider.failing)));
        html.entry("Breaker", |html| {
            let state = if provider.breaker == "closed" { "up" } else { "down" };
            html.state("breaker", "breaker", (state, provider.breaker));
        });
        history(html, "", provider.last_answer.as_ref(), provider.last_error.as_ref());
        html.raw("</dl>");
    });
    html.raw("</section>\n");
}

/// Writes the last answer and the last error. `of` begins the paths.
fn history(html: &mut Html, of: &str, answer: Option<&LastAnswer>, error: Option<&LastError>) {
    let path = |name: &str| format!("{of}{name}");
    html.entry("Last answer", |html| {
        html.unless(&path("last_answer"), answer.is_some(), |html| {
            html.raw("none yet");
        });
        html.when(&path("last_answer"), answer.is_some(), |html| {
            let (at, latency) = answer.map_or(("", 0.0), |it| (&*it.at, it.latency_ms));
            html.time(&path("last_answer.at"), at).raw(", after ");
            html.text(&path("last_answer.latency_ms"), latency).raw(" ms");
        });
    });
    html.entry("Last error", |html| {
        html.unless(&path("last_error"), error.is_some(), |html| {
            html.raw("none");
        });
        let none = LastError::default();
        let LastError { at, reason, message, detail } = error.unwrap_or(&none);
        html.when(&path("last_error"), error.is_some(), |html| {
            html.time(&path("last_error.at"), at).raw(": ");
            html.text(&path("last_error.message"), message).raw(" (");
            html.text(&path("last_error.reason"), reason).raw(")");
            html.when(&path("last_error.detail"), detail.is_some(), |html| {
                let detail = detail.as_deref().unwrap_or_default();
                html.raw("<br>").value("code", &path("last_error.detail"), "text", detail);
            });
        });
    });
}

fn state(up: Option<bool>, failing: bool) -> (&'static str, &'static str) {
    match up {
        Some(false) => ("down", "down"),
        _ if failing => ("down", "up, with problems"),
        Some(true) => ("up", "up"),
        None => ("unknown", "not asked yet"),
    }
}

/// Writes what is known of Redis and of the other replicas.
pub(super) fn redis(html: &mut Html, redis: Option<&RedisStatus>, replicas: &[ReplicaStatus]) {
    let none = RedisStatus::default();
    let RedisStatus { up, since, last_error, waiting_revocations } = redis.unwrap_or(&none);
    html.section("redis", "Redis and replicas", |html| {
        html.entry("Redis", |html| {
            html.unless("redis", redis.is_some(), |html| {
                html.raw("not used");
            });
            html.when("redis", redis.is_some(), |html| {
                let state = if *up { ("up", "up") } else { ("down", "down") };
                html.state("redis.up", "redis", state);
                html.raw(", since ").time("redis.since", since);
            });
        });
        html.entry("Last error", |html| {
            html.unless("redis.last_error", last_error.is_some(), |html| {
                html.raw("none");
            });
            let none = RedisError::default();
            let RedisError { at, message, .. } = last_error.as_ref().unwrap_or(&none);
            html.when("redis.last_error", last_error.is_some(), |html| {
                html.time("redis.last_error.at", at).raw(": ");
                html.value("code", "redis.last_error.message", "text", message);
            });
        });
        html.entry("Revocations to tell", |html| {
            html.unless("redis", redis.is_some(), |html| {
                html.raw("none");
            });
            html.when("redis", redis.is_some(), |html| {
                html.text("redis.waiting_revocations", waiting_revocations);
            });
        });
        html.entry("Replicas", |html| {
            html.unless("replicas", !replicas.is_empty(), |html| {
                html.raw("only this one");
            });
            html.list(("ul", "li"), "replicas", replicas, |html, replica| {
                html.text("id", &replica.id).raw(", ").text("version", &replica.version);
                html.raw(", seen ").time("seen", &replica.seen);
            });
        });
    });
}

/// Writes how many requests each limit refused.
pub(super) fn limits(html: &mut Html, limits: &[LimitStatus]) {
    html.raw("<section id=\"limits\" aria-labelledby=\"limits-title\">\n")
        .raw("<h2 id=\"limits-title\">Refused by limits</h2>\n");
    html.list(("dl", "div"), "limits", limits, |html, limit| {
        html.raw("<dt>").text("name", limit.name).raw("</dt><dd>");
        html.count("limited", limit.limited).raw("</dd>");
    });
    html.raw("</section>\n");
}

/// Writes the state of the logs of requests.
pub(super) fn logs(html: &mut Html, status: &Status) {
    html.section("logs", "Logs", |html| {
        for (name, path, log) in [
            ("Access log", "logs.access", &status.logs.access),
            ("Audit log", "logs.audit", &status.logs.audit),
        ] {
            html.entry(name, |html| {
                let state =
                    if log.failing { ("down", "cannot be written") } else { ("up", "works") };
                html.state(&format!("{path}.failing"), "log", state);
                html.raw(", lines lost: ").count(&format!("{path}.lines_lost"), log.lines_lost);
            });
        }
        let none = TelemetryStatus::default();
        let telemetry = status.telemetry.as_ref().unwrap_or(&none);
        html.entry("Traces", |html| {
            html.unless("telemetry", status.telemetry.is_some(), |html| {
                html.raw("off");
            });
            html.when("telemetry", status.telemetry.is_some(), |html| {
                let state = if telemetry.failing { ("down", "not taken") } else { ("up", "taken") };
                html.state("telemetry.failing", "traces", state);
                html.raw(", spans lost: ").count("telemetry.spans_lost", telemetry.spans_lost);
            });
            let error = telemetry.last_error.as_ref();
            html.when("telemetry.last_error", error.is_some(), |html| {
                let (at, message) = error.map_or(("", ""), |it| (&it.at, &it.message));
                html.raw("<br>Last error ").time("telemetry.last_error.at", at).raw(": ");
                html.value("code", "telemetry.last_error.message", "text", message);
            });
        });
    });
}

/// Writes the outcome of the last reload.
pub(super) fn config(html: &mut Html, reload: Option<&ReloadStatus>) {
    html.section("config", "Config", |html| {
        html.entry("Last reload", |html| {
            html.unless("last_reload", reload.is_some(), |html| {
                html.raw("none since the start");
            });
            html.when("last_reload", reload.is_some(), |html| {
                let (at, success) = reload.map_or(("", true), |it| (&*it.at, it.success));
                let state = if success { ("up", "applied") } else { ("down", "not applied") };
                html.state("last_reload.success", "reload", state);
                html.raw(", ").time("last_reload.at", at);
            });
        });
        html.entry("Places of its problems", |html| {
            let places = reload.map_or(&[][..], |it| &it.problems);
            html.unless("last_reload.problems", !places.is_empty(), |html| {
                html.raw("none");
            });
            html.list(("ul", "li"), "last_reload.problems", places, |html, place| {
                html.text(".", place);
            });
        });
    });
}
