//! Durations and sizes: a whole number and a unit.

use std::fmt;
use std::str::FromStr;

use crate::config::problem::shown;

/// A duration and its unit, as written: more than zero, and at most a year.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) struct Duration {
    count: u64,
    unit: &'static Unit,
}

/// A duration from zero to so many hours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) struct UpToHours<const HOURS: u64>(Duration);

pub(in crate::config) type UpToAnHour = UpToHours<1>;
pub(in crate::config) type UpToADay = UpToHours<24>;
pub(in crate::config) type UpTo30Days = UpToHours<720>;

/// A number of bytes with its unit, as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) struct ByteSize {
    count: u64,
    unit: &'static Unit,
}

/// A unit and its value in milliseconds or bytes.
#[derive(Debug, PartialEq, Eq)]
struct Unit {
    name: &'static str,
    worth: u64,
}

const MILLISECONDS: Unit = Unit { name: "ms", worth: 1 };
const SECONDS: Unit = Unit { name: "s", worth: 1_000 };
const MINUTES: Unit = Unit { name: "m", worth: 60_000 };
const AN_HOUR: Unit = Unit { name: "h", worth: 3_600_000 };
const DURATIONS: &[Unit] = &[MILLISECONDS, SECONDS, MINUTES, AN_HOUR];

const BYTES: Unit = Unit { name: "B", worth: 1 };
const KIBIBYTES: Unit = Unit { name: "KiB", worth: 1 << 10 };
const MEBIBYTES: Unit = Unit { name: "MiB", worth: 1 << 20 };
const GIBIBYTES: Unit = Unit { name: "GiB", worth: 1 << 30 };
const SIZES: &[Unit] = &[BYTES, KIBIBYTES, MEBIBYTES, GIBIBYTES];

/// The longest duration, a year, in milliseconds. No deadline is longer, and the sum of two
/// durations does not overflow.
const LONGEST: u64 = 8_760 * AN_HOUR.worth;

impl Duration {
    pub(in crate::config) const fn milliseconds(count: u64) -> Self {
        Self { count, unit: &MILLISECONDS }
    }

    pub(in crate::config) const fn seconds(count: u64) -> Self {
        Self { count, unit: &SECONDS }
    }

    pub(in crate::config) const fn minutes(count: u64) -> Self {
        Self { count, unit: &MINUTES }
    }

    pub(in crate::config) const fn hours(count: u64) -> Self {
        Self { count, unit: &AN_HOUR }
    }

    pub(in crate::config) fn to_std(self) -> std::time::Duration {
        std::time::Duration::from_millis(self.count.saturating_mul(self.unit.worth))
    }
}

impl FromStr for Duration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |what| {
            format!("`{}` {what}; write a whole number and ms, s, m or h, e.g. 10s", shown(text))
        };
        let (count, unit) = count_and_unit(text, DURATIONS).map_err(wrong)?;
        match count.checked_mul(unit.worth) {
            Some(0) => Err(wrong("is not longer than zero")),
            Some(..=LONGEST) => Ok(Self { count, unit }),
            _ => Err(wrong("is longer than a year")),
        }
    }
}

impl<const HOURS: u64> UpToHours<HOURS> {
    pub(in crate::config) const fn seconds(count: u64) -> Self {
        Self(Duration::seconds(count))
    }

    pub(in crate::config) const fn minutes(count: u64) -> Self {
        Self(Duration::minutes(count))
    }

    pub(in crate::config) fn to_std(self) -> std::time::Duration {
        self.0.to_std()
    }
}

impl<const HOURS: u64> FromStr for UpToHours<HOURS> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |what| {
            format!(
                "`{}` {what}; write a whole number and ms, s, m or h, from 0s to {HOURS}h, \
                 e.g. 10m",
                shown(text)
            )
        };
        let (count, unit) = count_and_unit(text, DURATIONS).map_err(wrong)?;
        match count.checked_mul(unit.worth) {
            Some(milliseconds) if milliseconds <= HOURS * AN_HOUR.worth => {
                Ok(Self(Duration { count, unit }))
            }
            _ if HOURS == 1 => Err(wrong("is longer than an hour")),
            _ => Err(wrong("is too long")),
        }
    }
}

impl ByteSize {
    pub(in crate::config) const fn kibibytes(count: u64) -> Self {
        Self { count, unit: &KIBIBYTES }
    }

    pub(in crate::config) fn bytes(self) -> u64 {
        self.count.saturating_mul(self.unit.worth)
    }
}

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |what| {
            format!(
                "`{}` {what}; write a whole number and B, KiB, MiB or GiB, e.g. 32KiB",
                shown(text)
            )
        };
        let (count, unit) = count_and_unit(text, SIZES).map_err(wrong)?;
        count.checked_mul(unit.worth).ok_or_else(|| wrong("is too large"))?;
        Ok(Self { count, unit })
    }
}

/// Splits a text such as `32KiB` into its number and its unit. The error says what is wrong.
fn count_and_unit(
    text: &str,
    units: &'static [Unit],
) -> Result<(u64, &'static Unit), &'static str> {
    let (count, name) =
        text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    if count.is_empty() {
        return Err("does not start with a whole number");
    }
    if name.is_empty() {
        return Err("has no unit");
    }
    let unit = units.iter().find(|unit| unit.name == name).ok_or("has an unknown unit")?;
    Ok((count.parse().map_err(|_| "is too large")?, unit))
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.count, self.unit.name)
    }
}

impl<const HOURS: u64> fmt::Display for UpToHours<HOURS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.count, self.unit.name)
    }
}
