//! The configuration: the texts that load, the texts that are refused with their messages, and the
//! files under config/.
//!
//! `UPDATE_EXPECTED=1 cargo test` rewrites the expected messages. Review the diff afterwards.

mod any_text;
mod doubtful;
mod doubtful_entries;
mod file_names;
pub mod files;
mod fixtures;
mod keys;
mod limits;
mod log_files;
mod many;
mod policy;
mod redis;
mod reference;
mod slips;
mod telemetry;
mod tokens;
mod values;

use std::path::Path;

use moorgate::config::{self, Config, Loaded};

use self::files::{KEY_IN_USE, folder};

/// A small valid configuration that the tests below add to.
const MINIMAL: &str = include_str!("../fixtures/config/valid/minimal.yml");

fn load(text: &str, environment: &[(&str, &str)]) -> Result<Loaded, String> {
    let environment =
        environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    config::load_text(text, Path::new("moorgate.yml"), folder(), environment)
        .map_err(|problems| problems.to_string())
}

fn ready(text: &str) -> Config {
    load(text, &[]).expect(text).config
}

fn warnings(text: &str) -> Vec<String> {
    load(text, &[]).expect(text).warnings.iter().map(ToString::to_string).collect()
}

#[test]
fn the_printed_config_is_redacted_and_loads_to_the_same_config() {
    for name in ["minimal", "everything-changed", "anchors", "redis-cluster"] {
        let text = std::fs::read_to_string(files::fixture("valid", name)).expect(name);
        let first = load(&text, &[]).expect(name);
        let printed = first.print();
        assert!(
            !printed.contains("s3cret") && !printed.contains("$2") && !printed.contains(KEY_IN_USE),
            "{printed}"
        );
        let elsewhere = Path::new("/");
        let again =
            config::load_text(&printed, Path::new("printed.yml"), elsewhere, []).expect(&printed);
        assert_eq!(again.print(), printed);
        assert_eq!(format!("{:?}", again.config), format!("{:?}", first.config));
    }
    let printed = load(MINIMAL, &[("MOORGATE_CACHE_TTL", "5m")]).expect("valid").print();
    for line in [
        "  lifetime: 1h",
        "  key_file: null",
        "  ttl: 5m",
        "  idle_timeout: 60s",
        "  max_header_bytes: 32KiB",
        "  tls: null",
        "  - type: gitlab",
    ] {
        assert!(printed.lines().any(|printed| printed == line), "{line:?} in {printed}");
    }
}
