//! The known problems as sentences: what happens, and what the operator should do.

use super::status::{
    CERTIFICATE_ENDS_SOON, CertificateStatus, FaultStatus, ListenerTrouble, LogsStatus,
    ProviderStatus, ReloadStatus, Status, UpstreamStatus,
};

impl Status {
    /// Fills in `trouble`, the most serious problem first.
    #[must_use]
    pub(super) fn with_trouble(mut self) -> Self {
        let mut trouble = Vec::new();
        if self.draining {
            let open = self.connections.open;
            trouble.push(format!(
                "The gate is draining: requests in progress may finish; open connections: {open}."
            ));
        }
        trouble.extend(self.certificate.as_ref().and_then(CertificateStatus::trouble));
        self.listener.add_trouble(self.workers, self.connections.max, &mut trouble);
        trouble.extend(self.logs.audit_trouble());
        self.upstream.add_trouble(&mut trouble);
        for provider in &self.providers {
            provider.add_trouble(&mut trouble);
        }
        if let Some(waiting) = self.redis_away {
            trouble.push(format!(
                "Redis cannot be used: each replica goes on with its part of each limit; \
                 revocations that wait for it: {waiting}. The program log says why."
            ));
        }
        trouble.extend(self.logs.access_trouble());
        if let Some(ReloadStatus { success: false, problem_count, .. }) = &self.last_reload {
            trouble.push(format!(
                "The last reload failed (problems: {problem_count}): the running config stays in \
                 use; the program log describes the problems."
            ));
        }
        self.trouble = trouble;
        self
    }
}

impl CertificateStatus {
    fn trouble(&self) -> Option<String> {
        let Self { ends, days_left, expired } = self;
        if *expired {
            Some(format!("The certificate expired at {ends}: clients refuse to connect."))
        } else if *days_left < CERTIFICATE_ENDS_SOON {
            Some(format!("The certificate expires soon, at {ends}."))
        } else {
            None
        }
    }
}

impl ListenerTrouble {
    fn add_trouble(&self, workers: usize, max_connections: usize, trouble: &mut Vec<String>) {
        let Self { not_accepted, full, stopped_workers } = self;
        if *stopped_workers > 0 {
            trouble.push(format!(
                "Of {workers} workers, {stopped_workers} stopped: restart the gate; the program \
                 log says why they stopped."
            ));
        }
        if let Some((at, error)) = not_accepted {
            trouble.push(format!(
                "Connections cannot be accepted: {error}; the last time at {at}. If files or \
                 memory ran out, raise the limit of the process (LimitNOFILE of systemd, ulimit \
                 -n) or lower http.max_connections."
            ));
        }
        if let Some(at) = full {
            trouble.push(format!(
                "http.max_connections ({max_connections}) is reached, so new connections wait; the \
                 last time at {at}. Raise it, or find the clients that keep connections open."
            ));
        }
    }
}

impl LogsStatus {
    fn audit_trouble(&self) -> Option<String> {
        let audit = &self.audit;
        let (at, why) = audit.last_lost.as_ref().filter(|_| audit.failing)?;
        Some(format!(
            "The audit log cannot be written: {why}. Every push and delete is refused with 503 \
             until a line can be written; the last failure was at {at}. Check the file in \
             log.audit, its folder and its disk."
        ))
    }

    fn access_trouble(&self) -> Option<String> {
        let access = &self.access;
        let (at, why) = access.last_lost.as_ref().filter(|_| access.failing || access.is_recent)?;
        let lost = access.lines_lost;
        Some(if access.failing {
            format!(
                "The access log cannot be written: {why}. Lines lost since the start: {lost}, the \
                 last at {at}. Check the target in log.access and its disk."
            )
        } else {
            format!(
                "The access log loses lines: {why}. Lines lost since the start: {lost}, the last \
                 at {at}. Check that the disk, or the program that reads the log, keeps up."
            )
        })
    }
}

impl UpstreamStatus {
    /// Adds a sentence for each kind of fault. Faults of one kind and several operations are told
    /// together.
    fn add_trouble(&self, trouble: &mut Vec<String>) {
        let mut told: Vec<&str> = Vec::new();
        for FaultStatus { message, remedy, .. } in &self.faults {
            if told.contains(&&**message) {
                continue;
            }
            told.push(message);
            let same = || self.faults.iter().filter(|fault| fault.message == *message);
            let operations: Vec<_> = same().map(|fault| fault.operation).collect();
            let requests: u64 = same().map(|fault| fault.requests).sum();
            let last = same().map(|fault| &*fault.last).max().unwrap_or_default();
            trouble.push(format!(
                "Upstream {}: {message}. Requests that failed: {requests} ({}), the last at \
                 {last}. {remedy}",
                self.address,
                operations.join(", ")
            ));
        }
    }
}

impl ProviderStatus {
    fn add_trouble(&self, trouble: &mut Vec<String>) {
        let name = &self.name;
        if self.breaker == "closed" {
            trouble.extend(self.troubles.iter().map(|it| {
                format!(
                    "Provider {name} {}. Questions that failed: {}, the last at {}.",
                    it.message, it.questions, it.last
                )
            }));
        } else {
            let why = self.last_error.as_ref().map_or("does not answer", |error| &error.message);
            trouble.push(format!(
                "Provider {name} {why}: the gate stops asking it, except for one question every \
                 few seconds."
            ));
        }
        if let Some(until) = &self.budget_spent_until {
            trouble.push(format!(
                "Provider {name}: its failure_budget is spent until {until}, so credentials that \
                 the gate does not know are refused with 429. The access log shows who sends wrong \
                 credentials (reason wrong_credential)."
            ));
        }
    }
}

#[cfg(test)]
mod tests;
