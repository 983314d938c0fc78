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
    next: Option<NextPage>,
    /// A name that ends the previous page but was not sent to the registry as `last`. It and all
    /// names before it are skipped.
    behind: Option<String>,
    /// The name that was sent to the registry as `last`, until the first page has shown whether
    /// the registry starts after it.
    sent_last: Option<RepositoryName>,
    /// A name after which the page starts. The registry ignores `last`, so the names up to it are
    /// skipped.
    skip_to: Option<RepositoryName>,
    /// The names that must not occur again.
    seen: HashSet<RepositoryName>,
    /// All next pages that the registry named.
    cursors: HashSet<String>,
}

/// The next page to request from the registry.
#[derive(Clone, Debug)]
enum NextPage {
    /// The page after a name, or the first page. The gate chooses its size.
    ByName(Page),
    /// The page that the registry's link leads to. Its query is opaque.
    Linked(RegistryRequest),
}

/// The reason why a page of the registry is unusable. The message contains no names from the page.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    #[error("it is not a list of repositories in JSON: {0}")]
    Unreadable(#[from] serde_json::Error),
    #[error("its Link does not lead to another page of the list")]
    Link,
    #[error("it repeats a name or a page, or has a next page although it has no names")]
    Circle,
    #[error("it does not have the name after which the page starts")]
    Gone,
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
            next: (count > 0).then_some(NextPage::ByName(Page { count: Some(MAX_COUNT), last })),
            sent_last: visible,
            skip_to: None,
            seen: HashSet::new(),
            cursors: HashSet::new(),
        }
    }

    /// Returns the next request to the registry, or `None` if the page is full or the list has
    /// ended.
    pub fn next(&self) -> Option<RegistryRequest> {
        self.next.clone().filter(|_| !self.is_full()).map(|next| match next {
            NextPage::ByName(page) => page.of_catalog(),
            NextPage::Linked(request) => request,
        })
    }

    /// Leaves the page size to the registry from now on, because the registry refuses the requested
    /// size. Returns whether the next request changes.
    pub fn any_size(&mut self) -> bool {
        match &mut self.next {
            Some(NextPage::ByName(page)) => page.count.take().is_some(),
            _ => false,
        }
    }

    /// Adds the answer to [`next`](Self::next): the body of a 200 response, and the path and query
    /// of its link to the next page.
    ///
    /// # Errors
    /// [`CatalogError`] if the answer is not a valid page. The client must not receive anything
    /// then.
    pub fn take(
        &mut self,
        body: &[u8],
        link: Option<&str>,
        shows: impl Fn(&RepositoryName) -> bool,
    ) -> Result<(), CatalogError> {
        let Listed { repositories } = serde_json::from_slice(body)?;
        let linked = link.map(linked_page).transpose()?;
        if linked.is_some() && repositories.is_empty() {
            return Err(CatalogError::Circle);
        }
        // A name that is invalid here could not be pulled either.
        let names = repositories.iter().filter_map(|name| RepositoryName::parse(name));
        let names: Vec<_> = names.collect();
        if let Some(last) = self.sent_last.take() {
            // A registry that pages by a key of its own starts from the beginning.
            let ignored =
                names.contains(&last) || linked.as_ref().is_some_and(|it| it.last.is_none());
            match ignored {
                true => self.skip_to = Some(last),
                false => _ = self.seen.insert(last),
            }
        }
        for name in names {
            if let Some(last) = &self.skip_to {
                if name == *last {
                    self.skip_to = None;
                }
                if !self.seen.insert(name) {
                    return Err(CatalogError::Circle);
                }
                continue;
            }
            if !shows(&name) || !is_behind(&name, self.behind.as_deref()) {
                continue;
            }
            if self.is_full() {
                break;
            }
            if !self.seen.insert(name.clone()) {
                return Err(CatalogError::Circle);
            }
            self.names.push(name);
        }
        let count = match self.next.take() {
            Some(NextPage::ByName(page)) => page.count,
            _ => None,
        };
        if let Some(LinkedPage { request, last }) = linked {
            if !self.cursors.insert(request.render()) {
                return Err(CatalogError::Circle);
            }
            self.next = Some(match last {
                Some(last) => NextPage::ByName(Page { count, last: Some(last) }),
                None => NextPage::Linked(request),
            });
        } else if self.skip_to.is_some() {
            return Err(CatalogError::Gone);
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

/// The page that a link leads to.
struct LinkedPage {
    request: RegistryRequest,
    /// The name after which the page starts, if the link names the page by nothing else.
    last: Option<String>,
}

/// Parses the path and query of the link to the next page.
fn linked_page(target: &str) -> Result<LinkedPage, CatalogError> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    match RegistryRequest::parse(&Method::GET, path, Some(query)) {
        Ok(RegistryRequest::Catalog { page, query: opaque }) => {
            let is_known = |parameter: &str| {
                parameter.is_empty()
                    || parameter.starts_with("n=")
                    || parameter.starts_with("last=")
            };
            let last = page.last.clone().filter(|_| query.split('&').all(is_known));
            let request = RegistryRequest::Catalog { page, query: opaque };
            Ok(LinkedPage { request, last })
        }
        _ => Err(CatalogError::Link),
    }
}

fn null_is_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests;
