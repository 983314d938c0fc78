//! What the gate of the test allows, by a reading of its own of the rules in its config:
//! `public/**` may be read by all, `team/**` read and written by the one user that there is, and
//! nothing else.

use super::super::authorization::{Parts, second_reader};
use super::super::grammar::{self, Canonical, Needs};
use super::super::message::Message;

/// What one request is allowed to be for the registry.
pub struct Permit {
    method: &'static str,
    target: String,
}

#[derive(Clone, Copy, PartialEq)]
enum Caller {
    Nobody,
    Alice,
}

impl Permit {
    /// Whether this is what was allowed.
    pub fn allows(&self, forwarded: &Message) -> bool {
        forwarded.method == self.method && forwarded.target == self.target
    }
}

/// The permit for a request with its credential.
pub fn of_message(message: &Message) -> Option<Permit> {
    let mut authorizations = message.values("authorization");
    let caller = match (authorizations.next(), authorizations.next()) {
        (None, _) => Caller::Nobody,
        (Some(value), None) => match second_reader(value)? {
            Parts::Anonymous => Caller::Nobody,
            Parts::Basic(user, password)
                if (&*user, &*password) == (super::USER, super::PASSWORD) =>
            {
                Caller::Alice
            }
            Parts::Basic(..) | Parts::Bearer(_) => return None,
        },
        (Some(_), Some(_)) => return None,
    };
    message.value("host").ok()?.or(message.is_old.then_some(b"".as_slice()))?;
    let (path, query) = split(&message.target);
    of(grammar::canonical(&message.method, path, query)?, caller)
}

/// Whether there is anybody who may do this, in its one spelling.
pub fn of_anybody(forwarded: &Message) -> bool {
    let (path, query) = split(&forwarded.target);
    let canonical = grammar::canonical(&forwarded.method, path, query);
    canonical
        .and_then(|canonical| of(canonical, Caller::Alice))
        .is_some_and(|permit| permit.allows(forwarded))
}

/// Whether this asks for the list of all repositories.
pub fn is_catalog(forwarded: &Message) -> bool {
    forwarded.method == "GET" && split(&forwarded.target).0 == "/v2/_catalog"
}

fn of(canonical: Canonical, caller: Caller) -> Option<Permit> {
    let may = |repository: &str, needs: Needs| match needs {
        Needs::Pull if repository.starts_with("public/") => true,
        Needs::Pull | Needs::Push => repository.starts_with("team/") && caller == Caller::Alice,
        // The credential has no scope for it, whatever the rule says; the others go nowhere.
        Needs::Delete | Needs::Login | Needs::Catalog => false,
    };
    if !may(&canonical.repository, canonical.needs) {
        return None;
    }
    let mut target = canonical.target;
    if canonical.mounted_from.is_some_and(|source| !may(&source, Needs::Pull)) {
        let end = target.find("mount=").map_or(target.len(), |at| at - 1);
        target.truncate(end);
    }
    Some(Permit { method: canonical.method, target })
}

/// Path and query of a target, be it in absolute form (RFC 9112, 3.2.2). What a fragment says is
/// for the client.
fn split(target: &str) -> (&str, Option<&str>) {
    let target = target.split_once('#').map_or(target, |(target, _)| target);
    let authority = target.find("://").filter(|_| !target.starts_with('/')).map(|at| at + 3);
    let path = authority
        .map_or(target, |at| target[at..].find('/').map_or("", |slash| &target[at + slash..]));
    path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)))
}
