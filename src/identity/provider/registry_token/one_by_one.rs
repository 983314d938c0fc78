//! Several repositories, each in a question of its own: GitLab refuses a whole question with a 403
//! where one of the repositories in it is a protected path, or its storage quota is spent.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::TokenServer;
use crate::identity::model::{Granted, Lifetime, Question, Verdict, Verified};
use crate::registry::{Access, Actions, RepositoryName};

impl TokenServer {
    /// Asks about each of several repositories by itself, for one of them has taken the others'
    /// grants away.
    pub(super) async fn ask_one_by_one(
        self: &Arc<Self>,
        question: &Question,
        known: bool,
    ) -> (Verdict, u32) {
        let of_one = |(name, actions): (&RepositoryName, Actions)| Question {
            access: Access::several(vec![(name.clone(), actions)]),
            ..question.clone()
        };
        let parts: Vec<_> = question.access.repositories().map(of_one).collect();
        let more = u32::try_from(parts.len()).unwrap_or(u32::MAX);
        // In tasks, for each of them waits for the network, and all at once, for they share the
        // time of one question; they end with this one.
        let mut asking = JoinSet::new();
        for (place, part) in parts.into_iter().enumerate() {
            let server = self.clone();
            asking.spawn(async move {
                let verdict = match server.exchange(&part, known).await {
                    Ok(reply) => server.verdict(&part, &reply),
                    Err(verdict) => verdict,
                };
                (place, verdict)
            });
        }
        let mut verified = Vec::with_capacity(asking.len());
        while let Some(answered) = asking.join_next().await {
            match answered {
                Ok((place, Verdict::Verified(of_part, lifetime))) => {
                    verified.push((place, of_part, lifetime))
                }
                // The credential is what is wrong, or the server: that holds for all of them.
                Ok((_, verdict)) => return (verdict, more),
                Err(_) => return (Verdict::Unavailable, more),
            }
        }
        verified.sort_unstable_by_key(|(place, ..)| *place);
        (together(&verified), more)
    }
}

/// Returns the verdict about several repositories from those about each, in their order. There is
/// at least one.
fn together(parts: &[(usize, Arc<Verified>, Lifetime)]) -> Verdict {
    // Where nothing was granted, nothing tells who it is.
    let named =
        parts.iter().find(|(_, verified, _)| !verified.granted.is_nothing()).or(parts.first());
    let Some((_, named, _)) = named else { return Verdict::Unavailable };
    let grants: Vec<_> = parts
        .iter()
        .flat_map(|(_, verified, _)| verified.granted.repositories())
        .cloned()
        .collect();
    let lifetime = Lifetime {
        answer: parts.iter().filter_map(|(.., lifetime)| lifetime.answer).min(),
        credential: parts.iter().filter_map(|(.., lifetime)| lifetime.credential).min(),
    };
    let granted = Granted::Repositories(grants.into());
    Verdict::Verified(
        Arc::new(Verified { principal: named.principal.clone(), granted, attributes: None }),
        lifetime,
    )
}
