//! Rates: a count per second, minute or hour.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::config::problem::shown;

/// A number of events per second, minute or hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// The number of events, at least 1.
    pub count: u32,
    /// The period: a second, a minute or an hour.
    pub per: Duration,
}

const UNITS: [(&str, Duration); 3] = [
    ("s", Duration::from_secs(1)),
    ("m", Duration::from_secs(60)),
    ("h", Duration::from_secs(3600)),
];

impl Rate {
    /// Creates a rate of `count` per minute.
    pub const fn per_minute(count: u32) -> Self {
        Self { count, per: Duration::from_secs(60) }
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rate = text.split_once('/').and_then(|(count, unit)| {
            // Only digits are valid, but the standard library accepts a sign too.
            let count = Some(count)
                .filter(|count| count.bytes().all(|byte| byte.is_ascii_digit()))?
                .parse()
                .ok()?;
            let (_, per) = UNITS.into_iter().find(|(name, _)| *name == unit)?;
            (count > 0).then_some(Self { count, per })
        });
        rate.ok_or_else(|| {
            format!(
                "`{}` is not a rate; write N/s, N/m or N/h with a whole number of at least 1, e.g. \
                 8/m",
                shown(text)
            )
        })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit =
            UNITS.into_iter().find(|(_, per)| *per == self.per).map_or("h", |(name, _)| name);
        write!(f, "{}/{unit}", self.count)
    }
}
