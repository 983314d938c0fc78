//! Several repositories, each in a question of its own: GitLab refuses a whole question with a 403 where one of the
//! repositories in it is a protected path, or its storage quota is spent.

use std::sync::Arc;

use super::TokenServer;
use crate::identity::{Granted, Lifetime, Question, Verdict, Verified};
use crate::registry::{Access, Actions, RepositoryName};

impl TokenServer {
    /// Asks about each of several repositories by itself, for one of them has taken the others' grants away.
    pub(super) async fn ask_one_by_one(self: &Arc<Self>, question: &Question, known: bool) -> (Verdict, u32) {
        let of_one = |(name, actions): (&RepositoryName, Actions)| Question {
            access: Access::several(vec![(name.clone(), actions)]),
            ..question.clone()
        };
        let parts: Vec<_> = question.access.repositories().map(of_one).collect();
        let more = u32::try_from(parts.len()).unwrap_or(u32::MAX);
        // In tasks, for each of them waits for the network, and all at once, for they share the time of one question; they
        // end with this one.
        let asking: Vec<_> = parts
            .into_iter()
            .map(|part| {
                let server = self.clone();
                AbortOnDropHandle(tokio::spawn(async move {
                    match server.exchange(&part, known).await {
                        Ok(reply) => server.verdict(&part, &reply),
                        Err(verdict) => verdict,
                    }
                }))
            })
            .collect();
        let mut verified = Vec::with_capacity(asking.len());
        for mut part in asking {
            match (&mut part.0).await {
                Ok(Verdict::Verified(of_part, lifetime)) => verified.push((of_part, lifetime)),
                // The credential is what is wrong, or the server: that holds for all of them.
                Ok(verdict) => return (verdict, more),
                Err(_) => return (Verdict::Unavailable, more),
            }
        }
        (together(&verified), more)
    }
}

/// Returns the verdict about several repositories from those about each, in their order. There is at least one.
fn together(parts: &[(Arc<Verified>, Lifetime)]) -> Verdict {
    // Where nothing was granted, nothing tells who it is.
    let named = parts.iter().find(|(verified, _)| !verified.granted.is_nothing()).or(parts.first());
    let Some((named, _)) = named else { return Verdict::Unavailable };
    let grants: Vec<_> = parts.iter().flat_map(|(verified, _)| verified.granted.repositories()).cloned().collect();
    let lifetime = Lifetime {
        answer: parts.iter().filter_map(|(_, lifetime)| lifetime.answer).min(),
        credential: parts.iter().filter_map(|(_, lifetime)| lifetime.credential).min(),
    };
    let granted = Granted::Repositories(grants.into());
    Verdict::Verified(Arc::new(Verified { principal: named.principal.clone(), granted, attributes: None }), lifetime)
}

/// A task that ends with whoever waits for it.
struct AbortOnDropHandle(tokio::task::JoinHandle<Verdict>);

impl Drop for AbortOnDropHandle {
    fn drop(&mut self) {
        self.0.abort();
    }
}
