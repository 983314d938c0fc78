//! The list of all repositories (Distribution's HTTP API, "Listing Repositories"), filtered. Pure.
//!
//! A page for the client is made of as many pages of the registry as it takes, so it is full
//! wherever more is visible, and nothing in it depends on what is not. The registry's order stays:
//! it need not be that of the bytes.

use std::collections::HashSet;

use http::Method;
use serde::{Deserialize, Deserializer};

use super::{Page, RegistryRequest, RepositoryName};

/// Names on a page where the client does not say how many, as Distribution has it.
const DEFAULT_COUNT: u32 = 100;

/// The most names on a page, whatever the client says; the rest is on the next one. The registry is
/// asked for so many too: Distribution gives no more unless configured so.
const MAX_COUNT: u32 = 1000;

/// A page for the client.
#[derive(Debug, PartialEq, Eq)]
pub struct CatalogPage {
    /// What the client may see, in the registry's order.
    pub names: Vec<RepositoryName>,
    /// Where it goes on, where more is visible: a path and query for `Link`.
    pub next: Option<String>,
}

/// A page for the client in the making.
#[derive(Debug)]
pub struct CatalogWalk {
    /// How many names the page has when it is full.
    count: u32,
    /// Visible names; one more than the page holds tells that there is a next one.
    names: Vec<RepositoryName>,
    /// What is asked of the registry next; none where its list has ended.
    next: Option<Page>,
    /// What stands before this, or is this, is on an earlier page. The registry was not asked so.
    behind: Option<String>,
    /// Names that may not come again, as they would from a registry that ignores `last`.
    seen: HashSet<RepositoryName>,
    /// Every `last` that the registry gave.
    cursors: HashSet<String>,
}

/// Why a page of the registry is none. It prints nothing of what the page holds.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    #[error("it is not the JSON of a list of repositories: {0}")]
    Unreadable(#[from] serde_json::Error),
    #[error("its Link to the next page says no `last`, or there are two")]
    Link,
    #[error("it leads in a circle: a page without names, or a name or a `last` that comes again")]
    Circle,
}

/// The body of the registry's answer. A key that comes twice is an error, for serde knows each of
/// them.
#[derive(Deserialize)]
struct Listed {
    /// Go writes an empty list as `null`. Without the key it is no list.
    #[serde(deserialize_with = "null_is_empty")]
    repositories: Vec<String>,
}

impl CatalogWalk {
    /// The way to the page that a client asked for.
    ///
    /// Behind a name that the client may not see it goes on by the order of the names, and the
    /// registry is asked from the start: some have nothing behind a name that they do not have
    /// (zot), which would tell whether they have it.
    pub fn new(wanted: &Page, shows: impl Fn(&RepositoryName) -> bool) -> Self {
        let count = wanted.count.unwrap_or(DEFAULT_COUNT).min(MAX_COUNT);
        let visible = wanted.last.as_deref().and_then(RepositoryName::parse).filter(shows);
        let last = visible.as_ref().map(|name| name.as_str().to_owned());
        Self {
            count,
            names: Vec::new(),
            behind: wanted.last.clone().filter(|_| visible.is_none()),
            // No names are asked for: then there are none (OCI distribution spec, "Listing Tags").
            next: (count > 0).then_some(Page { count: Some(MAX_COUNT), last }),
            seen: visible.into_iter().collect(),
            cursors: HashSet::new(),
        }
    }

    /// What the registry must be asked next; `None` where the page is full or the list has ended.
    pub fn next(&self) -> Option<RegistryRequest> {
        self.next.clone().filter(|_| !self.is_full()).map(Page::of_catalog)
    }

    /// The registry gives no pages of that size: from now on it decides. Whether that makes a
    /// difference.
    pub fn any_size(&mut self) -> bool {
        self.next.as_mut().is_some_and(|page| page.count.take().is_some())
    }

    /// Takes in the answer to [`next`](Self::next): the body of a 200, and its `Link` lines, made
    /// path-only.
    ///
    /// # Errors
    /// Whatever is no such page. Nothing may be shown then.
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
        // What is no name of a repository here could not be pulled either.
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

    /// The page.
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

    /// Whether it is known that there is a next page.
    fn is_full(&self) -> bool {
        self.names.len() > self.count as usize
    }
}

/// Whether a name stands behind `last` in Distribution's order, segment by segment.
fn is_behind(name: &RepositoryName, last: Option<&str>) -> bool {
    last.is_none_or(|last| name.as_str().split('/').gt(last.split('/')))
}

/// The `last` of the one link to the next page (RFC 8288), where there is one.
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
