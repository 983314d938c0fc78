//! Values with a grammar of their own: durations, sizes, rates, addresses, networks, URLs and
//! names.
//!
//! Each type parses itself, says in its error what would be right, and prints as it was written.
//! The schema refers to each type by its format name, so that the reader and the schema cannot
//! disagree.

mod algorithm;
mod rate;
mod redis;
#[cfg(test)]
mod tests;
mod units;

pub(super) use algorithm::JwtAlgorithm;
pub use rate::Rate;
pub(super) use redis::{KeyPrefix, RedisPlace, RedisUrl, RedisUrls};
pub(super) use units::{ByteSize, Duration, UpTo30Days, UpToADay, UpToAnHour};

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use ipnet::IpNet;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::problem::shown;
use super::url::{ExternalUrl, IssuerUrl, ServerUrl};
use crate::net::host_list::ListedHost;

/// A text with a grammar, its name in the schema and an example.
pub(super) trait Format: FromStr<Err = String> {
    const NAME: &'static str;
    const EXAMPLE: &'static str;
}

/// Checks a text of the named format. The error says what is wrong and what would be right. `None`
/// if the format is not known here.
pub(super) fn check(format: &str, text: &str) -> Option<Result<(), String>> {
    fn parse<F: Format>(text: &str) -> Option<Result<(), String>> {
        Some(F::from_str(text).map(drop))
    }
    match format {
        Duration::NAME => parse::<Duration>(text),
        ByteSize::NAME => parse::<ByteSize>(text),
        ListenAddress::NAME => parse::<ListenAddress>(text),
        Network::NAME => parse::<Network>(text),
        ExternalUrl::NAME => parse::<ExternalUrl>(text),
        ServerUrl::NAME => parse::<ServerUrl>(text),
        Workers::NAME => parse::<Workers>(text),
        ScopeName::NAME => parse::<ScopeName>(text),
        ProviderName::NAME => parse::<ProviderName>(text),
        RuleName::NAME => parse::<RuleName>(text),
        UpToAnHour::NAME => parse::<UpToAnHour>(text),
        UpToADay::NAME => parse::<UpToADay>(text),
        UpTo30Days::NAME => parse::<UpTo30Days>(text),
        Rate::NAME => parse::<Rate>(text),
        IssuerUrl::NAME => parse::<IssuerUrl>(text),
        JwtAlgorithm::NAME => parse::<JwtAlgorithm>(text),
        HostEntry::NAME => parse::<HostEntry>(text),
        RedisUrl::NAME => parse::<RedisUrl>(text),
        KeyPrefix::NAME => parse::<KeyPrefix>(text),
        // schemars has format names of its own for integers, such as uint32.
        _ => None,
    }
}

/// The address and port of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ListenAddress(pub(super) SocketAddr);

impl FromStr for ListenAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse().map(Self).map_err(|_| {
            format!(
                "`{}` is not an IP address with a port; write e.g. 0.0.0.0:8443, 127.0.0.1:9464 or \
                 [::]:8443",
                shown(text)
            )
        })
    }
}

/// A network in CIDR notation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Network(pub(super) IpNet);

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let network: IpNet = text.parse().map_err(|_| match text.parse::<std::net::IpAddr>() {
            Ok(address) => {
                format!("`{text}` is an address; write the network {}", IpNet::from(address))
            }
            Err(_) => {
                format!("`{}` is not a network; write e.g. 10.0.0.0/8 or fd00::/8", shown(text))
            }
        })?;
        // Address bits after the prefix are a mistake in either the prefix or the address.
        if network.trunc() != network {
            return Err(format!(
                "`{network}` has address bits after its prefix; write {}",
                network.trunc()
            ));
        }
        Ok(Self(network))
    }
}

/// An entry of a list of hosts, as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HostEntry {
    pub(super) host: ListedHost,
    text: Box<str>,
}

impl FromStr for HostEntry {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let host = text.parse().map_err(|()| {
            format!(
                "`{}` is not a host; write a name, *. and a name, an address or a network, with a \
                 port unless it is 443, e.g. storage.example.com, *.example.com:8443, \
                 127.0.0.1:9000 or 10.0.0.0/8",
                shown(text)
            )
        })?;
        Ok(Self { host, text: text.into() })
    }
}

impl fmt::Display for HostEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The number of worker threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Workers {
    /// One thread per CPU.
    Auto,
    Count(u16),
}

impl FromStr for Workers {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.parse()) {
            ("auto", _) => Ok(Self::Auto),
            (_, Ok(count @ 1..=512)) => Ok(Self::Count(count)),
            _ => Err(format!(
                "`{}` is not a number of workers; write auto (one per CPU) or 1 to 512",
                shown(text)
            )),
        }
    }
}

/// The name of a scope, which is something that a credential may do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ScopeName(pub(super) String);

impl FromStr for ScopeName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        word(text, ":._-").map(Self).ok_or_else(|| {
            format!(
                "`{}` is not a scope; write 1 to 100 characters of a-z A-Z 0-9 : . _ -, e.g. \
                 read_registry",
                shown(text)
            )
        })
    }
}

/// The name of an identity provider in logs and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ProviderName(pub(super) String);

impl FromStr for ProviderName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        word(text, "._-").map(Self).ok_or_else(|| {
            format!(
                "`{}` is not a name; write 1 to 100 characters of a-z A-Z 0-9 . _ -, e.g. gitlab",
                shown(text)
            )
        })
    }
}

/// The name of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RuleName(pub(super) String);

impl FromStr for RuleName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        word(text, "._-").map(Self).ok_or_else(|| {
            format!(
                "`{}` is not a name; write 1 to 100 characters of a-z A-Z 0-9 . _ -, e.g. \
                 public-pull",
                shown(text)
            )
        })
    }
}

/// Returns the text if it is a word of 1 to 100 ASCII letters, digits and `marks`.
fn word(text: &str, marks: &str) -> Option<String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || marks.contains(c);
    ((1..=100).contains(&text.len()) && text.chars().all(allowed)).then(|| text.to_owned())
}

impl fmt::Display for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Count(count) => count.fmt(f),
        }
    }
}

/// Implements `Display` for tuple structs, which print their only field.
macro_rules! display_inner {
    ($($type:ty),*) => {$(
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

display_inner!(ListenAddress, Network, ScopeName, ProviderName, RuleName, KeyPrefix);

/// Implements `Format`, the serde traits and `JsonSchema` for types with a grammar.
macro_rules! formats {
    ($($type:ty: $name:literal, $json_type:tt, $example:literal;)*) => {$(
        impl Format for $type {
            const NAME: &'static str = $name;
            const EXAMPLE: &'static str = $example;
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({
                    "type": $json_type,
                    "format": Self::NAME,
                    "examples": [Self::EXAMPLE],
                })
            }
        }
    )*};
}

formats! {
    Duration: "duration-with-unit", "string", "10s";
    ByteSize: "byte-size", "string", "32KiB";
    ListenAddress: "listen-address", "string", "0.0.0.0:8443";
    Network: "cidr", "string", "10.0.0.0/8";
    ExternalUrl: "external-url", "string", "https://registry.example.com";
    ServerUrl: "server-url", "string", "https://gitlab.example.com";
    Workers: "workers", ["string", "integer"], "auto";
    ScopeName: "scope", "string", "read_registry";
    ProviderName: "provider-name", "string", "gitlab";
    RuleName: "rule-name", "string", "public-pull";
    UpToAnHour: "duration-up-to-an-hour", "string", "10m";
    UpToADay: "duration-up-to-a-day", "string", "1h";
    UpTo30Days: "duration-up-to-30-days", "string", "720h";
    Rate: "rate", "string", "8/m";
    IssuerUrl: "issuer-url", "string", "https://gitlab.example.com";
    JwtAlgorithm: "jwt-algorithm", "string", "RS256";
    HostEntry: "host-entry", "string", "storage.example.com";
    RedisUrl: "redis-url", "string", "redis://127.0.0.1:6379";
    KeyPrefix: "redis-prefix", "string", "moorgate";
}
