//! The requests that the test's gate allows, by an independent reading of the rules in its config:
//! all callers may read `public/**`, the one user may read and write `team/**`, and nothing else is
//! allowed.

use super::super::authorization::{Parts, second_reader};
use super::super::grammar::{self, Canonical, Needs};
use super::super::message::Message;

/// The one form in which an allowed request may reach the registry.
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
    /// Returns whether the forwarded message is the one that was allowed.
    pub fn allows(&self, forwarded: &Message) -> bool {
        forwarded.method == self.method && forwarded.target == self.target
    }
}

/// Returns the permit for a request with its own credential.
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

/// Returns whether the message is canonical and allowed for at least one caller.
pub fn is_allowed_for_any_caller(forwarded: &Message) -> bool {
    let (path, query) = split(&forwarded.target);
    let canonical = grammar::canonical(&forwarded.method, path, query);
    canonical
        .and_then(|canonical| of(canonical, Caller::Alice))
        .is_some_and(|permit| permit.allows(forwarded))
}

/// Returns whether the message asks for the catalog.
pub fn is_catalog(forwarded: &Message) -> bool {
    forwarded.method == "GET" && split(&forwarded.target).0 == "/v2/_catalog"
}

fn of(canonical: Canonical, caller: Caller) -> Option<Permit> {
    let may = |repository: &str, needs: Needs| match needs {
        Needs::Pull if repository.starts_with("public/") => true,
        Needs::Pull | Needs::Push => repository.starts_with("team/") && caller == Caller::Alice,
        // The credential has no scope for deletes, so no rule can allow one. Login and catalog
        // requests are not forwarded.
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

/// Splits a target into path and query. Also accepts the absolute form (RFC 9112, 3.2.2). The
/// fragment is dropped, because it is meant for the client.
fn split(target: &str) -> (&str, Option<&str>) {
    let target = target.split_once('#').map_or(target, |(target, _)| target);
    let authority = target.find("://").filter(|_| !target.starts_with('/')).map(|at| at + 3);
    let path = authority
        .map_or(target, |at| target[at..].find('/').map_or("", |slash| &target[at + slash..]));
    path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)))
}
