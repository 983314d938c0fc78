//! The known problems: what happens, the error, since when, and what the operator should do.

use super::status::{
    CERTIFICATE_ENDS_SOON, CertificateStatus, Count, FaultStatus, KnownProblem, ListenerTrouble,
    LogsStatus, ProviderStatus, RedisStatus, ReloadStatus, Status, TelemetryStatus, UpstreamStatus,
};

impl Status {
    /// Fills in `problems` and `trouble`, the most serious problem first.
    #[must_use]
    pub(super) fn with_trouble(mut self) -> Self {
        let mut problems = Vec::new();
        if self.draining {
            problems.push(KnownProblem {
                id: "draining".to_owned(),
                what: format!(
                    "The gate is draining: requests in progress may finish; open connections: {}",
                    self.connections.open
                ),
                runbook: "the-gate-drains",
                ..KnownProblem::default()
            });
        }
        problems.extend(self.certificate.as_ref().and_then(CertificateStatus::problem));
        self.listener.add_problems(self.workers, self.connections.max, &mut problems);
        problems.extend(self.logs.audit_problem());
        self.upstream.add_problems(&mut problems);
        for provider in &self.providers {
            provider.add_problems(&mut problems);
        }
        problems.extend(self.redis.as_ref().and_then(RedisStatus::problem));
        problems.extend(self.logs.access_problem());
        problems.extend(self.telemetry.as_ref().and_then(TelemetryStatus::problem));
        problems.extend(self.last_reload.as_ref().and_then(ReloadStatus::problem));
        problems.extend(self.last_reload.as_ref().and_then(ReloadStatus::restart_needed));
        self.trouble = problems.iter().map(KnownProblem::sentence).collect();
        self.problems = problems;
        self
    }
}

impl KnownProblem {
    /// Returns the problem as one text for a terminal.
    fn sentence(&self) -> String {
        let mut text = self.what.clone();
        if let Some(error) = &self.error {
            text = format!("{text}: {error}");
        }
        text.push('.');
        let mut facts = Vec::new();
        if let Some(Count { of, number, operations }) = &self.count {
            let operations =
                operations.as_ref().map(|names| format!(" ({names})")).unwrap_or_default();
            facts.push(format!("{of}: {number}{operations}"));
        }
        let times = [("since", &self.since), ("the last at", &self.last), ("until", &self.until)];
        facts.extend(
            times
                .iter()
                .filter_map(|(word, time)| time.as_ref().map(|time| format!("{word} {time}"))),
        );
        let facts = facts.join(", ");
        let mut letters = facts.chars();
        if let Some(first) = letters.next() {
            text.push(' ');
            text.extend(first.to_uppercase());
            text.push_str(letters.as_str());
            text.push('.');
        }
        if !self.remedy.is_empty() {
            text.push(' ');
            text.push_str(&self.remedy);
        }
        text
    }
}

impl CertificateStatus {
    fn problem(&self) -> Option<KnownProblem> {
        let Self { ends, days_left, expired } = self;
        if !*expired && *days_left >= CERTIFICATE_ENDS_SOON {
            return None;
        }
        let ends = Some(ends.clone());
        let (what, since, until) = if *expired {
            ("The certificate has expired: clients refuse to connect", ends, None)
        } else {
            ("The certificate expires soon", None, ends)
        };
        Some(KnownProblem {
            id: "certificate".to_owned(),
            what: what.to_owned(),
            since,
            until,
            remedy: "Renew it, or copy the renewed files to those of http.tls.".to_owned(),
            runbook: "moorgatecertificateends",
            ..KnownProblem::default()
        })
    }
}

impl ListenerTrouble {
    fn add_problems(
        &self,
        workers: usize,
        max_connections: usize,
        problems: &mut Vec<KnownProblem>,
    ) {
        let Self { not_accepted, full, stopped_workers } = self;
        if *stopped_workers > 0 {
            problems.push(KnownProblem {
                id: "workers".to_owned(),
                what: format!("Of {workers} workers, {stopped_workers} stopped"),
                remedy: "Restart the gate. The program log says why they stopped.".to_owned(),
                runbook: "a-worker-has-stopped",
                ..KnownProblem::default()
            });
        }
        if let Some((at, error)) = not_accepted {
            problems.push(KnownProblem {
                id: "accept".to_owned(),
                what: "Connections cannot be accepted".to_owned(),
                error: Some(error.clone()),
                last: Some(at.clone()),
                remedy: "If files or memory ran out, raise the limit of the process (LimitNOFILE \
                         of systemd, ulimit -n) or lower http.max_connections."
                    .to_owned(),
                runbook: "connections-wait-or-are-not-accepted",
                ..KnownProblem::default()
            });
        }
        if let Some(at) = full {
            problems.push(KnownProblem {
                id: "connections".to_owned(),
                what: format!(
                    "http.max_connections ({max_connections}) is reached, so new connections wait"
                ),
                last: Some(at.clone()),
                remedy: "Raise it, or find the clients that keep connections open.".to_owned(),
                runbook: "connections-wait-or-are-not-accepted",
                ..KnownProblem::default()
            });
        }
    }
}

impl LogsStatus {
    fn audit_problem(&self) -> Option<KnownProblem> {
        let audit = &self.audit;
        let (at, why) = audit.last_lost.as_ref().filter(|_| audit.failing)?;
        Some(KnownProblem {
            id: "audit_log".to_owned(),
            what: "The audit log cannot be written, so every push and delete is refused with 503"
                .to_owned(),
            error: Some(why.clone()),
            since: audit.since.clone(),
            last: Some(at.clone()),
            remedy: "Check the file in log.audit, its folder and its disk.".to_owned(),
            runbook: "moorgateauditfails",
            ..KnownProblem::default()
        })
    }

    fn access_problem(&self) -> Option<KnownProblem> {
        let access = &self.access;
        let (at, why) = access.last_lost.as_ref().filter(|_| access.failing || access.is_recent)?;
        let (what, remedy) = if access.failing {
            ("The access log cannot be written", "Check the target in log.access and its disk.")
        } else {
            (
                "The access log loses lines",
                "Check that the disk, or the program that reads the log, keeps up.",
            )
        };
        Some(KnownProblem {
            id: "access_log".to_owned(),
            what: what.to_owned(),
            error: Some(why.clone()),
            count: Some(Count {
                of: "Lines lost since the start",
                number: access.lines_lost,
                operations: None,
            }),
            since: access.since.clone(),
            last: Some(at.clone()),
            remedy: remedy.to_owned(),
            runbook: "moorgateloglineslost",
            ..KnownProblem::default()
        })
    }
}

impl UpstreamStatus {
    /// Adds a problem for each kind of fault. Faults of one kind and several operations are one
    /// problem.
    fn add_problems(&self, problems: &mut Vec<KnownProblem>) {
        let mut told: Vec<&str> = Vec::new();
        for FaultStatus { message, remedy, reason, .. } in &self.faults {
            if told.contains(&&**message) {
                continue;
            }
            told.push(message);
            let same = || self.faults.iter().filter(|fault| fault.message == *message);
            let operations: Vec<_> = same().map(|fault| fault.operation).collect();
            problems.push(KnownProblem {
                id: format!("upstream {reason} {message}"),
                what: format!("Upstream {}: {message}", self.address),
                error: same().find_map(|fault| fault.detail.clone()),
                count: Some(Count {
                    of: "Requests that failed",
                    number: same().map(|fault| fault.requests).sum(),
                    operations: Some(operations.join(", ")),
                }),
                since: same().map(|fault| fault.first.clone()).min(),
                last: same().map(|fault| fault.last.clone()).max(),
                remedy: (*remedy).to_owned(),
                runbook: "moorgateregistrydown",
                ..KnownProblem::default()
            });
        }
    }
}

impl ProviderStatus {
    fn add_problems(&self, problems: &mut Vec<KnownProblem>) {
        let name = &self.name;
        let detail_of = |reason: &str| {
            self.last_error.as_ref().filter(|error| error.reason == reason)?.detail.clone()
        };
        if self.breaker == "closed" {
            problems.extend(self.troubles.iter().map(|trouble| KnownProblem {
                id: format!("provider {name} {}", trouble.reason),
                what: format!("Provider {name} {}", trouble.message),
                error: detail_of(trouble.reason),
                count: Some(Count {
                    of: "Questions that failed",
                    number: trouble.questions,
                    operations: None,
                }),
                since: Some(trouble.first.clone()),
                last: Some(trouble.last.clone()),
                remedy: trouble.remedy.to_owned(),
                runbook: "moorgateproviderdown",
                ..KnownProblem::default()
            }));
        } else {
            let error = self.last_error.as_ref();
            let why = error.map_or("does not answer", |error| &error.message);
            problems.push(KnownProblem {
                id: format!("provider {name} breaker"),
                what: format!("Provider {name} {why}"),
                error: error.and_then(|error| error.detail.clone()),
                since: self.troubles.iter().map(|trouble| trouble.first.clone()).min(),
                last: self.troubles.iter().map(|trouble| trouble.last.clone()).max(),
                remedy:
                    "Logins and pushes get 503. Meanwhile the gate stops asking it, except for \
                         one question every few seconds. Check that it runs, and that this machine \
                         reaches it."
                        .to_owned(),
                runbook: "moorgateproviderdown",
                ..KnownProblem::default()
            });
        }
        if let Some(until) = &self.budget_spent_until {
            problems.push(KnownProblem {
                id: format!("provider {name} failure_budget"),
                what: format!(
                    "Provider {name}: its failure_budget is spent, so credentials that the gate \
                     does not know are refused with 429"
                ),
                until: Some(until.clone()),
                remedy: "The access log shows who sends wrong credentials (reason \
                         wrong_credential)."
                    .to_owned(),
                runbook: "moorgateloginsrefused",
                ..KnownProblem::default()
            });
        }
    }
}

impl RedisStatus {
    fn problem(&self) -> Option<KnownProblem> {
        if self.up {
            return None;
        }
        let error = self.last_error.as_ref();
        Some(KnownProblem {
            id: "redis".to_owned(),
            what: "Redis cannot be used: each replica goes on with its part of each limit"
                .to_owned(),
            error: error.map(|error| error.message.clone()),
            count: Some(Count {
                of: "Revocations that wait for it",
                number: self.waiting_revocations.try_into().unwrap_or(u64::MAX),
                operations: None,
            }),
            since: Some(self.since.clone()),
            last: error.map(|error| error.at.clone()),
            remedy: error.map(|error| capitalised(&error.remedy)).unwrap_or_default(),
            runbook: "moorgateredisdown",
            ..KnownProblem::default()
        })
    }
}

impl TelemetryStatus {
    fn problem(&self) -> Option<KnownProblem> {
        let error = self.last_error.as_ref().filter(|_| self.failing)?;
        Some(KnownProblem {
            id: "telemetry".to_owned(),
            what: "The collector does not take spans, so traces are lost".to_owned(),
            error: Some(error.message.clone()),
            count: Some(Count { of: "Spans lost", number: self.spans_lost, operations: None }),
            since: self.since.clone(),
            last: Some(error.at.clone()),
            remedy: "Requests do not wait for it. Check telemetry.otlp_endpoint, and that the \
                     collector runs."
                .to_owned(),
            runbook: "the-collector-does-not-take-spans",
            ..KnownProblem::default()
        })
    }
}

impl ReloadStatus {
    fn problem(&self) -> Option<KnownProblem> {
        if self.success {
            return None;
        }
        Some(KnownProblem {
            id: "reload".to_owned(),
            what: "The last reload failed, so the running config stays in use; a restart now \
                   would fail"
                .to_owned(),
            error: Some(self.problems.join("; ")).filter(|places| !places.is_empty()),
            since: Some(self.at.clone()),
            remedy:
                "Run moorgate check-config: it describes each problem, as the program log does."
                    .to_owned(),
            runbook: "moorgatereloadfailed",
            ..KnownProblem::default()
        })
    }
}

impl ReloadStatus {
    fn restart_needed(&self) -> Option<KnownProblem> {
        if self.need_restart.is_empty() {
            return None;
        }
        Some(KnownProblem {
            id: "restart".to_owned(),
            what: format!(
                "The config has changed keys that take effect only with a restart: {}",
                self.need_restart.join(", ")
            ),
            remedy: "Restart the gate, or take back the change.".to_owned(),
            runbook: "keys-wait-for-a-restart",
            ..KnownProblem::default()
        })
    }
}

/// Returns a clause as a sentence.
fn capitalised(clause: &str) -> String {
    let mut letters = clause.chars();
    match letters.next() {
        Some(first) => first.to_uppercase().chain(letters.by_ref()).chain(['.']).collect(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests;
