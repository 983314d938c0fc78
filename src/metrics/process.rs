//! The metrics `process_*` that the client libraries of Prometheus have in common. They are read
//! from `/proc` at each scrape. What the system does not tell is left out.

use std::fmt;
use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;
use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};

/// The metrics of the process.
#[derive(Debug)]
pub(super) struct ProcessMetrics;

impl Collector for ProcessMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        if let Some(stat) = Stat::read() {
            add_counter(
                &mut encoder,
                "process_cpu",
                "CPU time of the process, in user and system mode.",
                stat.cpu_seconds,
            )?;
            let (bytes, seconds) = (Some(&Unit::Bytes), Some(&Unit::Seconds));
            for (name, help, unit, value) in [
                ("process_resident_memory", "Resident memory.", bytes, Some(stat.resident_bytes)),
                ("process_virtual_memory", "Virtual memory.", bytes, Some(stat.virtual_bytes)),
                ("process_threads", "Threads of the process.", None, Some(stat.threads)),
                ("process_start_time", "Start (Unix time).", seconds, stat.start_seconds()),
            ] {
                add_gauge(&mut encoder, name, help, unit, value)?;
            }
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

/// The figures of `/proc/self/stat` (proc(5)).
struct Stat {
    cpu_seconds: f64,
    threads: f64,
    /// The time from the start of the system to that of the process.
    started_after_seconds: f64,
    virtual_bytes: f64,
    resident_bytes: f64,
}

impl Stat {
    fn read() -> Option<Self> {
        Self::parse(&fs::read_to_string("/proc/self/stat").ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        // The second field is the name of the program in parentheses, which may contain any
        // character. The first field behind it has the number 3.
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok().map(as_float);
        let ticks = as_float(clock_ticks_per_second());
        let page = as_float(u64::try_from(page_size()).ok()?);
        Some(Self {
            cpu_seconds: (field(14)? + field(15)?) / ticks,
            threads: field(20)?,
            started_after_seconds: field(22)? / ticks,
            virtual_bytes: field(23)?,
            resident_bytes: field(24)? * page,
        })
    }

    /// Returns the start of the process as a Unix time.
    fn start_seconds(&self) -> Option<f64> {
        let system = fs::read_to_string("/proc/stat").ok()?;
        let started = system.lines().find_map(|line| line.strip_prefix("btime "))?;
        Some(started.trim().parse::<f64>().ok()? + self.started_after_seconds)
    }
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
        let text = format!("7 (a) R 1 (b) S {}\n", numbers.join(" "));
        let stat = Stat::parse(&text).unwrap();
        let ticks = as_float(clock_ticks_per_second());
        assert_eq!((stat.cpu_seconds * ticks).round(), 29.0);
        assert_eq!((stat.threads, stat.virtual_bytes), (20.0, 23.0));
        assert_eq!((stat.started_after_seconds * ticks).round(), 22.0);
        assert!(Stat::parse("7 (a) R 1 2\n").is_none());
        assert!(Stat::parse("").is_none());
    }
}
