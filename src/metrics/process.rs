//! The metrics `process_*` that the client libraries of Prometheus have in common. They are read
//! from `/proc` at each scrape. What the system does not tell is left out.

use std::fmt;
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;
use rustix::process::{Resource, getrlimit};

/// The number of clock ticks a second in `/proc`: `USER_HZ` of the kernel, on x86-64 and arm64.
const TICKS_PER_SECOND: f64 = 100.0;

/// The metrics of the process.
#[derive(Debug)]
pub(super) struct ProcessMetrics {
    started: SystemTime,
}

impl ProcessMetrics {
    /// Creates the metrics of a process that starts now. A hardened service cannot read
    /// `/proc/stat`, to which the start in `/proc/self/stat` is relative.
    pub(super) fn of_a_process_that_starts() -> Self {
        Self { started: SystemTime::now() }
    }
}

impl Collector for ProcessMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        if let Some(seconds) = cpu_seconds() {
            let help = "CPU time of the process, in user and system mode.";
            add_counter(&mut encoder, "process_cpu", help, seconds)?;
        }
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let (bytes, seconds) = (Some(&Unit::Bytes), Some(&Unit::Seconds));
        let started = self.started.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs_f64());
        for (name, help, unit, value) in [
            ("process_resident_memory", "Resident memory.", bytes, kilobytes(&status, "VmRSS:")),
            ("process_virtual_memory", "Virtual memory.", bytes, kilobytes(&status, "VmSize:")),
            ("process_threads", "Threads of the process.", None, figure(&status, "Threads:")),
            ("process_start_time", "Start (Unix time).", seconds, started),
        ] {
            add_gauge(&mut encoder, name, help, unit, value)?;
        }
        add_gauge(&mut encoder, "process_open_fds", "Open files and sockets.", None, open_files())?;
        let limit = getrlimit(Resource::Nofile).current.map(as_float);
        add_gauge(&mut encoder, "process_max_fds", "Limit of open files and sockets.", None, limit)
    }
}

fn add_counter(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    seconds: f64,
) -> fmt::Result {
    let counter = ConstCounter::new(seconds);
    let unit = Some(&Unit::Seconds);
    counter.encode(encoder.encode_descriptor(name, help, unit, counter.metric_type())?)
}

fn add_gauge(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    value: Option<f64>,
) -> fmt::Result {
    let Some(value) = value else { return Ok(()) };
    let gauge = ConstGauge::new(value);
    gauge.encode(encoder.encode_descriptor(name, help, unit, gauge.metric_type())?)
}

/// Returns the CPU time that the process has taken.
fn cpu_seconds() -> Option<f64> {
    cpu_seconds_of(&fs::read_to_string("/proc/self/stat").ok()?)
}

/// Returns the CPU time in a text of `/proc/self/stat` (proc(5)).
fn cpu_seconds_of(stat: &str) -> Option<f64> {
    // The second field is the name of the program in parentheses, which may contain any character.
    // The first field behind it has the number 3.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok().map(as_float);
    Some((field(14)? + field(15)?) / TICKS_PER_SECOND)
}

/// Returns a size in a text of `/proc/self/status` (proc(5)), in bytes.
fn kilobytes(status: &str, name: &str) -> Option<f64> {
    Some(figure(status, name)? * 1024.0)
}

/// Returns a figure in a text of `/proc/self/status` (proc(5)).
fn figure(status: &str, name: &str) -> Option<f64> {
    let value = status.lines().find_map(|line| line.strip_prefix(name))?;
    value.split_whitespace().next()?.parse::<u64>().ok().map(as_float)
}

/// Returns the number of open files, without the folder that is read to count them.
fn open_files() -> Option<f64> {
    let files = fs::read_dir("/proc/self/fd").ok()?.count();
    Some(as_float(u64::try_from(files).ok()?.saturating_sub(1)))
}

/// Returns a figure as a sample. Samples are floats, and are exact up to 2^53.
fn as_float(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program can have a name that looks like the fields behind it.
    #[test]
    fn the_name_of_the_program_does_not_move_the_fields() {
        let numbers: Vec<String> = (4..=52).map(|number| number.to_string()).collect();
        let stat = format!("7 (a) R 1 (b) S {}\n", numbers.join(" "));
        assert_eq!(cpu_seconds_of(&stat), Some(0.29));
        assert_eq!(cpu_seconds_of("7 (a) R 1 2\n"), None);
        assert_eq!(cpu_seconds_of(""), None);
    }

    #[test]
    fn sizes_are_in_bytes_and_a_missing_one_is_left_out() {
        let status = "Name:\tThreads: 7\nVmSize:\t    2048 kB\nThreads:\t3\n";
        assert_eq!(kilobytes(status, "VmSize:"), Some(2_097_152.0));
        assert_eq!(figure(status, "Threads:"), Some(3.0));
        assert_eq!(kilobytes(status, "VmRSS:"), None);
    }
}
