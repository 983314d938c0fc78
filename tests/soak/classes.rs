//! What hostile clients send, by the classes of hostile input. Each file holds its cases as data.

mod credentials;
mod forgeries;
mod frames;
mod framing;
mod gate_tokens;
mod headers;
mod mounts;
mod rights;
mod sizes;
mod targets;

use crate::honest;
use crate::message::{Attack, Credential};
use crate::world::{ALICE, CAROL, MALLORY, READER, World};

/// One class, or a part of one.
pub struct Class {
    /// Its number, as in the list of classes of hostile input that the tests under
    /// `tests/it/hostile` go by.
    pub number: &'static str,
    pub what: &'static str,
    /// How often it comes up among the others.
    pub weight: usize,
    /// Makes an attack, another one for each turn, under this request id. None: see `silence`.
    pub attack: Option<fn(&Arsenal, u64, &str) -> Attack>,
}

const fn class(
    number: &'static str,
    what: &'static str,
    weight: usize,
    attack: fn(&Arsenal, u64, &str) -> Attack,
) -> Class {
    Class { number, what, weight, attack: Some(attack) }
}

/// All of them. Those that take a connection each, or a check of a password, come up less often.
pub const CLASSES: [Class; 27] = [
    class("1", "paths in another spelling", 10, targets::paths),
    class("2", "queries and headers that name other paths", 8, headers::other_paths),
    class("3", "methods that nobody listed, or no right to them", 8, rights::methods),
    class("3", "a credential that may only pull pushes", 8, rights::pull_only),
    class("4", "framing that two programs read in two ways", 4, framing::framing),
    class("5", "refused requests with bodies", 4, framing::refused_bodies),
    class("6", "upgrades, tunnels, other hosts", 3, framing::tunnels),
    class("7", "malformed HTTP/2", 3, frames::malformed),
    class("7", "pushes broken off", 2, frames::broken_off),
    class("8", "two credentials, two hosts", 3, framing::doubled),
    class("9", "mounts of what may not be pulled", 6, mounts::mounts),
    class("10", "headers that speak for the gate", 8, headers::for_the_gate),
    class("12", "forged workload tokens", 8, forgeries::forged),
    class("14", "credentials split or shown otherwise", 6, credentials::split),
    class("15", "Basic that is none", 8, credentials::malformed),
    class("16", "revoked and expired credentials", 8, credentials::revoked),
    Class { number: "21", what: "silent clients", weight: 0, attack: None },
    class("22", "HTTP/2 requests taken back at once (50 each)", 2, frames::resets),
    class("22", "HTTP/2 floods of other frames", 2, frames::floods),
    class("23", "targets and headers that are too long", 3, sizes::too_long),
    class("24", "random tokens", 10, credentials::random),
    class("25", "wrong passwords of a user of the file", 3, credentials::wrong_passwords),
    class("26", "spoofed addresses", 4, headers::spoofed_addresses),
    class("27", "repositories of others", 8, rights::others),
    class(
        "28",
        "gate tokens that are forged, stretched or shown as passwords",
        8,
        gate_tokens::abused,
    ),
    class("29", "expectations that are none", 3, framing::expectations),
    class("30", "escapes for a terminal", 3, framing::escapes),
];

/// The place of the silent ones in [`CLASSES`].
pub fn silence() -> usize {
    CLASSES.iter().position(|class| class.attack.is_none()).unwrap_or_default()
}

/// What hostile clients have in their hands.
#[derive(Default)]
pub struct Arsenal {
    forged: Vec<String>,
    /// A real gate token for pulling `demo/alice`, by who may push there too.
    for_pulling: String,
    /// One of mallory's, for pulling and pushing what is not mallory's: it lists nothing.
    for_nothing: String,
    id_token: String,
}

impl Arsenal {
    /// Makes what can be made before, and gets what anybody can get.
    pub async fn forge(world: &World) -> anyhow::Result<Self> {
        Ok(Self {
            forged: forgeries::forge(world)?,
            for_pulling: honest::token(world, &alice(), "repository:demo/alice:pull").await?,
            for_nothing: honest::token(world, &mallory(), "repository:demo/alice:pull,push")
                .await?,
            id_token: world.id_token.clone(),
        })
    }
}

fn alice() -> Credential {
    Credential::basic(ALICE.0, ALICE.1)
}

fn reader() -> Credential {
    Credential::basic(READER.0, READER.1)
}

fn mallory() -> Credential {
    Credential::basic(MALLORY.0, MALLORY.1)
}

fn carol(password: &str) -> Credential {
    Credential::basic(CAROL.0, password)
}

/// The case whose turn it is.
fn pick<T>(cases: &[T], turn: u64) -> Option<&T> {
    let length = u64::try_from(cases.len()).ok().filter(|length| *length > 0)?;
    cases.get(usize::try_from(turn % length).ok()?)
}

/// A digest that parses and is of nothing.
const DIGEST: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
