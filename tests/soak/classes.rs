//! The attacks of hostile clients, by the classes of hostile input. Each file holds its cases as
//! data.

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

/// One class of hostile input, or a part of one.
pub struct Class {
    /// The number of the class in the list of classes of hostile input that the tests under
    /// `tests/it/hostile` follow.
    pub number: &'static str,
    pub what: &'static str,
    /// The relative frequency of the class.
    pub weight: usize,
    /// Creates an attack with this request id, a different one for each turn. `None` for the
    /// silent clients of `silence`.
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

/// All classes. Those that need a connection or a password check for each attack have a lower
/// weight.
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

/// Returns the index of the silent clients in [`CLASSES`].
pub fn silence() -> usize {
    CLASSES.iter().position(|class| class.attack.is_none()).unwrap_or_default()
}

/// The tokens that hostile clients have.
#[derive(Default)]
pub struct Arsenal {
    forged: Vec<String>,
    /// A genuine gate token for pulling `demo/alice`, of a caller who may push there too.
    for_pulling: String,
    /// A gate token of mallory for pulling and pushing outside mallory's repositories. It lists no
    /// access.
    for_nothing: String,
    id_token: String,
}

impl Arsenal {
    /// Forges tokens, and fetches the tokens that any caller can get.
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

/// Returns the case of this turn.
fn pick<T>(cases: &[T], turn: u64) -> Option<&T> {
    let length = u64::try_from(cases.len()).ok().filter(|length| *length > 0)?;
    cases.get(usize::try_from(turn % length).ok()?)
}

/// A valid digest that no content has.
const DIGEST: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
