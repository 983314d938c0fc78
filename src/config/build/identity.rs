//! Identity providers: each for itself, and the chain that they make.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use super::{Build, words};
use crate::config::problem::{Place, Problem, shown};
use crate::config::raw::{self, Gitlab, Htpasswd};
use crate::config::ready::{Provider, ProviderKind};
use crate::config::url::Scheme;
use crate::identity::htpasswd_file::HtpasswdFile;

impl Build<'_> {
    /// The chain, `None` where an entry of it is wrong.
    pub(super) fn identity(&mut self, raw: &[Option<raw::Provider>], scopes: &raw::Scopes) -> Option<Vec<Provider>> {
        let mut providers = Vec::new();
        let mut index_of = HashMap::new();
        let mut on_the_network: Option<&str> = None;
        for (index, entry) in raw.iter().enumerate() {
            let Some(entry) = entry else { continue };
            let path = format!("identity[{index}]");
            let (name, kind) = match entry {
                raw::Provider::Gitlab(gitlab) => (&gitlab.name, self.gitlab(gitlab, &path)),
                raw::Provider::Htpasswd(htpasswd) => (&htpasswd.name, self.htpasswd(htpasswd, scopes, &path)),
            };
            let Some(name) = name.as_ref().map(|name| name.0.as_str()) else { continue };
            if let Some(first) = index_of.insert(name, index) {
                let message = format!("`{name}` is the name of identity[{first}] already; write another one");
                self.problem(&format!("{path}.name"), message);
            }
            match (entry, on_the_network) {
                (raw::Provider::Gitlab(_), _) => on_the_network = Some(name),
                (raw::Provider::Htpasswd(_), Some(before)) => {
                    let message = format!(
                        "`{name}` decides offline and stands behind `{before}`: its users' passwords are sent there \
                         first, and it is not asked while `{before}` cannot be reached; put it first"
                    );
                    self.warn(&format!("{path}.name"), message);
                }
                (raw::Provider::Htpasswd(_), None) => {}
            }
            providers.extend(kind.map(|kind| Provider { name: name.to_owned(), kind }));
        }
        (providers.len() == raw.len()).then_some(providers)
    }

    fn gitlab(&mut self, raw: &Gitlab, path: &str) -> Option<ProviderKind> {
        if let Some(url) = &raw.url
            && url.scheme == Scheme::Http
            && !url.is_loopback()
            && !raw.insecure
        {
            let message =
                "credentials would cross the network in the clear; write https://…, or insecure: true if that is meant";
            self.problem(&format!("{path}.url"), message);
        }
        let endpoint = self.endpoint(raw.url.as_ref(), raw.ca.as_deref(), &format!("{path}.ca"));
        Some(ProviderKind::Gitlab { endpoint: endpoint?, service: raw.service.clone(), timeout: raw.timeout.to_std() })
    }

    fn htpasswd(&mut self, raw: &Htpasswd, scopes: &raw::Scopes, path: &str) -> Option<ProviderKind> {
        let users = raw.file.as_deref().and_then(|file| self.users(&format!("{path}.file"), file));
        let needed = named(scopes);
        for (index, scope) in raw.scopes.iter().flat_map(|scopes| &scopes.0).enumerate() {
            if !needed.contains(scope.0.as_str()) {
                let message = format!("`{}` is good for nothing: no operation in scopes needs it", scope.0);
                self.warn(&format!("{path}.scopes[{index}]"), message);
            }
        }
        Some(ProviderKind::Htpasswd { users: users?, scopes: words(raw.scopes.as_ref()?) })
    }

    /// The users of a file. What is wrong in it is reported there, not where it is named.
    fn users(&mut self, key: &str, file: &str) -> Option<HtpasswdFile> {
        let text = self.read_text(key, file)?;
        let problems = match HtpasswdFile::parse(&text) {
            Ok(users) => return Some(users),
            Err(problems) => problems,
        };
        let file: std::sync::Arc<Path> = self.folder.join(shown(file)).into();
        self.problems.extend(problems.into_iter().map(|problem| {
            let place = Place::File { file: file.clone(), line: problem.line, column: problem.column };
            Problem::new(place, problem.message)
        }));
        None
    }
}

/// Every scope that is good for something.
fn named(scopes: &raw::Scopes) -> BTreeSet<&str> {
    let needed = [&scopes.pull, &scopes.push, &scopes.delete].into_iter().flat_map(|list| &list.0);
    needed.chain(scopes.equivalents.keys()).map(|scope| scope.0.as_str()).collect()
}
