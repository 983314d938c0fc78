//! Separate questions about several repositories: GitLab refuses a whole question with a 403 if one
//! of its repositories is a protected path, or if its storage quota is used up.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::TokenServer;
use crate::identity::model::{Granted, Lifetime, Question, Verdict, Verified};
use crate::registry::{Access, Actions, RepositoryName};

impl TokenServer {
    /// Asks about each of several repositories separately, because one of them made GitLab refuse
    /// all of them. Also returns the number of questions.
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
        // The questions run in tasks because each of them waits for the network, and all at once
        // because they share the time of one question. The tasks end with this call.
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
                // The credential or the server is the cause, so the verdict applies to all of the
                // repositories.
                Ok((_, verdict)) => return (verdict, more),
                Err(_) => return (Verdict::Unavailable, more),
            }
        }
        verified.sort_unstable_by_key(|(place, ..)| *place);
        (together(&verified), more)
    }
}

/// Returns the verdict about several repositories from the verdicts about each, in their order.
/// `parts` must not be empty.
fn together(parts: &[(usize, Arc<Verified>, Lifetime)]) -> Verdict {
    // The verdict about a part that was granted nothing does not always name the caller.
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
