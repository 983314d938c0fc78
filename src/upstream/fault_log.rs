//! The log lines about faults of the registry, and the memory of them for the status.

use std::fmt;
use std::hash::Hash;
use std::time::{Instant, SystemTime};

use http::{StatusCode, Uri};

use super::Upstream;
use super::health::Work;
use crate::denial::{Denial, UpstreamFault};
use crate::terminal::printable;

impl Upstream {
    /// Logs where a response leads that is not passed on, and returns the fault.
    pub(super) fn log_elsewhere(
        &self,
        request_id: &str,
        status: StatusCode,
        address: &str,
    ) -> UpstreamFault {
        let fault = UpstreamFault::LeadsElsewhere;
        // The host alone: the path may be a secret of the registry.
        if let Some(to) = address.parse::<Uri>().ok().as_ref().and_then(Uri::host) {
            self.settings.health.because(fault, format!("the registry leads to {to}"));
        }
        if let Some(left_out) = self.may_log(&(fault, address)) {
            tracing::error!(
                request_id,
                left_out,
                status = status.as_u16(),
                leads_to = %printable(address),
                "the registry's response leads elsewhere and was not passed on; make the registry \
                 use relative addresses, or http.external_url as its own address (http.host in \
                 Distribution's config); if it leads uploads to another host on purpose, list that \
                 host in upstream.upload_hosts (https only)"
            );
        }
        fault
    }

    /// Logs a fault of the registry, unless the same fault was logged recently: during an outage,
    /// every request meets it.
    pub(super) fn log_fault(
        &self,
        request_id: &str,
        fault: UpstreamFault,
        what: fmt::Arguments<'_>,
    ) {
        // Where a response leads has been logged already.
        if fault == UpstreamFault::LeadsElsewhere {
            return;
        }
        if let Some(left_out) = self.may_log(&fault) {
            tracing::error!(request_id, left_out, "{what}");
        }
    }

    /// Returns the number of lines that were left out if a line about this subject may be written.
    pub(super) fn may_log(&self, subject: &impl Hash) -> Option<u64> {
        let line = self.settings.log_throttle.line(subject, Instant::now());
        line.map(|left_out| left_out.same)
    }

    /// Records the fault of a denial in the registry's health. A denial that the client caused is
    /// not the registry's fault.
    pub(super) fn note_fault(&self, work: Work, denial: &Denial) {
        match denial {
            // A caller can cause these by what it asks for.
            Denial::Upstream(
                UpstreamFault::TokenServerBusy | UpstreamFault::TokenServerForbids,
            ) => {}
            Denial::Upstream(fault) => {
                self.settings.health.failed(work, *fault, SystemTime::now());
            }
            _ => {}
        }
    }
}
