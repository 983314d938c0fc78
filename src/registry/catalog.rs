//! The list of all repositories (Distribution's HTTP API, "Listing Repositories"), filtered by
//! visibility. Pure.
//!
//! A page for the client is assembled from as many pages of the registry as necessary. It is
//! therefore full if more names are visible, and it does not depend on names that are not visible.
//! The order of the registry is kept; it need not be the order of the bytes.

use std::collections::HashSet;

use http::Method;
use serde::{Deserialize, Deserializer};

use super::{Page, RegistryRequest, RepositoryName};

/// The number of names on a page if the client does not request one, as in Distribution.
const DEFAULT_COUNT: u32 = 100;

/// The largest number of names on a page, even if the client requests more; the other names follow
/// on the next page. The gate requests this many from the registry as well, because Distribution
/// returns no more by default.
const MAX_COUNT: u32 = 1000;

/// A page for the client.
#[derive(Debug, PartialEq, Eq)]
pub struct CatalogPage {
    /// The names that the client may see, in the order of the registry.
    pub names: Vec<RepositoryName>,
    /// The path and query of the next page for `Link`, if more names are visible.
    pub next: Option<String>,
}

/// A page for the client that is being assembled.
#[derive(Debug)]
pub struct CatalogWalk {
    /// The number of names on a full page.
    count: u32,
    /// The visible names. One name more than fits on the page shows that there is a next page.
    names: Vec<RepositoryName>,
    /// The next page to request from the registry; `None` if its list has ended.
    next: Option<Page>,
    /// A name that ends the previous page but was not sent to the registry as `last`. It and all
    /// names before it are skipped.
    behind: Option<String>,
    /// The names that must not occur again. They would from a registry that ignores `last`.
    seen: HashSet<RepositoryName>,
    /// All values of `last` that the registry returned.
    cursors: HashSet<String>,
}

/// The reason why a page of the registry is unusable. The message contains no names from the page.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    #[error("it is not a list of repositories in JSON: {0}")]
    Unreadable(#[from] serde_json::Error),
    #[error("its Link to the next page has no `last`, or there are several such links")]
    Link,
    #[error("it repeats a name or a `last`, or has a next page although it has no names")]
    Circle,
}

/// The body of the registry's answer. A repeated key is an error, because serde knows every key of
/// this type.
#[derive(Deserialize)]
struct Listed {
    /// Go writes an empty list as `null`. A body without this key is an error.
    #[serde(deserialize_with = "null_is_empty")]
    repositories: Vec<String>,
}

impl CatalogWalk {
    /// Creates the walk to the page that a client requested.
    ///
    /// If the client may not see the name in `last`, the registry is asked from the start, and
    /// names are skipped by their order. Some registries (zot) return nothing after a name that
    /// they do not have, which would reveal whether the name exists.
    pub fn new(wanted: &Page, shows: impl Fn(&RepositoryName) -> bool) -> Self {
        let count = wanted.count.unwrap_or(DEFAULT_COUNT).min(MAX_COUNT);
        let visible = wanted.last.as_deref().and_then(RepositoryName::parse).filter(shows);
        let last = visible.as_ref().map(|name| name.as_str().to_owned());
        Self {
            count,
            names: Vec::new(),
            behind: wanted.last.clone().filter(|_| visible.is_none()),
            // A page of zero names is empty (OCI distribution spec, "Listing Tags").
            next: (count > 0).then_some(Page { count: Some(MAX_COUNT), last }),
            seen: visible.into_iter().collect(),
            cursors: HashSet::new(),
        }
    }

    /// Returns the next request to the registry, or `None` if the page is full or the list has
    /// ended.
    pub fn next(&self) -> Option<RegistryRequest> {
        self.next.clone().filter(|_| !self.is_full()).map(Page::of_catalog)
    }

    /// Leaves the page size to the registry from now on, because the registry refuses the requested
    /// size. Returns whether the next request changes.
    pub fn any_size(&mut self) -> bool {
        self.next.as_mut().is_some_and(|page| page.count.take().is_some())
    }

    /// Adds the answer to [`next`](Self::next): the body of a 200 response and its `Link` values,
    /// reduced to path and query.
    ///
    /// # Errors
    /// [`CatalogError`] if the answer is not a valid page. The client must not receive anything
    /// then.
    pub fn take<'a>(
        &mut self,
        body: &[u8],
        links: impl Iterator<Item = &'a str>,
        shows: impl Fn(&RepositoryName) -> bool,
    ) -> Result<(), CatalogError> {
        let Listed { repositories } = serde_json::from_slice(body)?;
        let cursor = next_cursor(links)?;
        if cursor.is_some() && repositories.is_empty() {
            return Err(CatalogError::Circle);
        }
        // A name that is invalid here could not be pulled either.
        let names = repositories.iter().filter_map(|name| RepositoryName::parse(name));
        for name in names.filter(|name| shows(name) && is_behind(name, self.behind.as_deref())) {
            if self.is_full() {
                break;
            }
            if !self.seen.insert(name.clone()) {
                return Err(CatalogError::Circle);
            }
            self.names.push(name);
        }
        let count = self.next.take().and_then(|asked| asked.count);
        if let Some(last) = cursor {
            if !self.cursors.insert(last.clone()) {
                return Err(CatalogError::Circle);
            }
            self.next = Some(Page { count, last: Some(last) });
        }
        Ok(())
    }

    /// Returns the finished page.
    pub fn finish(mut self) -> CatalogPage {
        let is_full = self.is_full();
        self.names.truncate(self.count as usize);
        let last = self.names.last().filter(|_| is_full);
        let next = last.map(|last| {
            let page = Page { count: Some(self.count), last: Some(last.as_str().to_owned()) };
            page.of_catalog().render()
        });
        CatalogPage { names: self.names, next }
    }

    /// Returns whether the names so far show that there is a next page.
    fn is_full(&self) -> bool {
        self.names.len() > self.count as usize
    }
}

/// Returns whether a name comes after `last` in the order of Distribution, which compares segment
/// by segment.
fn is_behind(name: &RepositoryName, last: Option<&str>) -> bool {
    last.is_none_or(|last| name.as_str().split('/').gt(last.split('/')))
}

/// Returns the `last` of the link to the next page (RFC 8288), if there is one.
fn next_cursor<'a>(links: impl Iterator<Item = &'a str>) -> Result<Option<String>, CatalogError> {
    let mut targets = links.filter_map(|link| {
        let (target, parameters) = link.trim_start().strip_prefix('<')?.split_once('>')?;
        let is_next = parameters.split(';').any(|parameter| {
            let (name, value) = parameter.split_once('=').unwrap_or_default();
            name.trim().eq_ignore_ascii_case("rel")
                && value.trim().trim_matches('"').eq_ignore_ascii_case("next")
        });
        is_next.then_some(target)
    });
    let target = match (targets.next(), targets.next()) {
        (None, _) => return Ok(None),
        (Some(target), None) => target,
        (Some(_), Some(_)) => return Err(CatalogError::Link),
    };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    match RegistryRequest::parse(&Method::GET, path, Some(query)) {
        Ok(RegistryRequest::Catalog { page: Page { last: Some(last), .. }, .. }) => Ok(Some(last)),
        _ => Err(CatalogError::Link),
    }
}

fn null_is_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests;
