//! What a request needs and what a credential may do.

use std::sync::Arc;

use super::RepositoryName;

/// The most repositories that one question is about. Nobody has more scopes in a token.
const MAX_REPOSITORIES: usize = 32;

/// What is done to a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Read manifests, blobs, tags and referrers.
    Pull,
    /// Write manifests and blobs. It includes pull: registries ask for both on every write.
    Push,
    /// Remove manifests or blobs.
    Delete,
}

impl Action {
    /// The name used in tokens of the registry token protocol, in the config and in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push => "push",
            Self::Delete => "delete",
        }
    }

    /// What has to be granted for it: a write takes pull *and* push.
    pub fn needs(self) -> Actions {
        match self {
            Self::Pull => Actions { pull: true, ..Actions::default() },
            Self::Push => Actions { pull: true, push: true, ..Actions::default() },
            Self::Delete => Actions { delete: true, ..Actions::default() },
        }
    }
}

/// What has been granted for one repository, action by action, as the registry token protocol lists
/// it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Actions {
    /// Reading.
    pub pull: bool,
    /// Writing alone: a token can list `push` without `pull`.
    pub push: bool,
    /// Removing.
    pub delete: bool,
}

impl Actions {
    /// Whether this is enough for `action`: a write takes pull *and* push.
    pub fn allow(self, action: Action) -> bool {
        match action {
            Action::Pull => self.pull,
            Action::Push => self.pull && self.push,
            Action::Delete => self.delete,
        }
    }

    /// Whether it is one of them, whatever else it takes.
    pub fn lists(self, action: Action) -> bool {
        match action {
            Action::Pull => self.pull,
            Action::Push => self.push,
            Action::Delete => self.delete,
        }
    }

    /// The actions as the registry token protocol lists them: `pull,push`. Empty where there are
    /// none.
    pub fn words(self) -> String {
        self.each().map(Action::as_str).collect::<Vec<_>>().join(",")
    }

    /// The actions one by one.
    pub fn each(self) -> impl Iterator<Item = Action> {
        let all =
            [(self.pull, Action::Pull), (self.push, Action::Push), (self.delete, Action::Delete)];
        all.into_iter().filter(|(listed, _)| *listed).map(|(_, action)| action)
    }

    /// Reads the actions of a requested scope. `*` is all of them; what is not known counts for
    /// nothing.
    pub fn asked(words: &str) -> Self {
        words.split(',').fold(Self::default(), |asked, word| match word {
            "pull" => Self { pull: true, ..asked },
            "push" => Self { push: true, ..asked },
            "delete" => Self { delete: true, ..asked },
            "*" => Self { pull: true, push: true, delete: true },
            _ => asked,
        })
    }

    /// Reads what [`words`](Self::words) writes; `None` for any other text.
    pub fn parse(words: &str) -> Option<Self> {
        let mut actions = Self::default();
        for word in words.split(',').filter(|_| !words.is_empty()) {
            match word {
                "pull" => actions.pull = true,
                "push" => actions.push = true,
                "delete" => actions.delete = true,
                _ => return None,
            }
        }
        Some(actions)
    }

    /// What is in both.
    pub fn intersect(self, other: Self) -> Self {
        Self {
            pull: self.pull && other.pull,
            push: self.push && other.push,
            delete: self.delete && other.delete,
        }
    }

    /// What is in either.
    pub fn union(self, other: Self) -> Self {
        Self {
            pull: self.pull || other.pull,
            push: self.push || other.push,
            delete: self.delete || other.delete,
        }
    }

    /// Those of them for which `keep` holds.
    #[must_use]
    pub fn filter(self, keep: impl Fn(Action) -> bool) -> Self {
        Self {
            pull: self.pull && keep(Action::Pull),
            push: self.push && keep(Action::Push),
            delete: self.delete && keep(Action::Delete),
        }
    }

    /// Whether all of `other` is in it.
    pub fn contain(self, other: Self) -> bool {
        self.intersect(other) == other
    }
}

/// What a caller must be allowed to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// Be somebody: `GET /v2/`, which `docker login` asks for.
    Login,
    /// List all repositories.
    Catalog,
    /// Act on one repository.
    Repository(RepositoryName, Action),
    /// Act on several repositories, or in another way on one: what a token is asked for, or a mount
    /// needs. Built by [`several`](Self::several): from 1 to 32 of them, none twice, none
    /// without an action.
    Repositories(Arc<[(RepositoryName, Actions)]>),
}

impl Access {
    /// All of this in one question. What is named twice is asked once; what is beyond 32
    /// repositories is not asked, and so not granted. Where it is what one request needs it
    /// becomes that, so that the request finds the answer.
    pub fn several(wanted: Vec<(RepositoryName, Actions)>) -> Self {
        let mut merged: Vec<(RepositoryName, Actions)> = Vec::new();
        for (name, actions) in
            wanted.into_iter().filter(|(_, actions)| *actions != Actions::default())
        {
            if let Some((_, known)) = merged.iter_mut().find(|(known, _)| *known == name) {
                *known = known.union(actions);
            } else if merged.len() < MAX_REPOSITORIES {
                merged.push((name, actions));
            }
        }
        match &*merged {
            [] => return Self::Login,
            [(name, actions)] => {
                let mut single = [Action::Pull, Action::Push, Action::Delete].into_iter();
                if let Some(action) = single.find(|action| action.needs() == *actions) {
                    return Self::Repository(name.clone(), action);
                }
            }
            _ => {}
        }
        Self::Repositories(merged.into())
    }

    /// The repositories that it is about, and what has to be granted for each.
    pub fn repositories(&self) -> impl Iterator<Item = (&RepositoryName, Actions)> {
        let (one, several): (_, &[_]) = match self {
            Self::Login | Self::Catalog => (None, &[]),
            Self::Repository(name, action) => (Some((name, action.needs())), &[]),
            Self::Repositories(several) => (None, several),
        };
        one.into_iter().chain(several.iter().map(|(name, actions)| (name, *actions)))
    }

    /// What of it is reading: all that callers without a credential can be allowed.
    #[must_use]
    pub fn reading(&self) -> Self {
        let pull = Action::Pull.needs();
        Self::several(
            self.repositories()
                .map(|(name, actions)| (name.clone(), actions.intersect(pull)))
                .collect(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_takes_pull_and_push() {
        let push_alone = Actions { push: true, ..Actions::default() };
        let pull_alone = Actions { pull: true, ..Actions::default() };
        let both = Actions { pull: true, push: true, delete: false };
        assert!(!push_alone.allow(Action::Push));
        assert!(!pull_alone.allow(Action::Push));
        assert!(both.allow(Action::Push));
        assert!(!both.allow(Action::Delete));
        assert!(!push_alone.allow(Action::Pull));
    }

    fn subsets() -> Vec<Actions> {
        let each = [false, true];
        let all = each.iter().flat_map(|pull| each.iter().map(move |push| (pull, push)));
        all.flat_map(|(&pull, &push)| {
            each.iter().map(move |&delete| Actions { pull, push, delete })
        })
        .collect()
    }

    #[test]
    fn words_are_read_as_they_are_written() {
        for actions in subsets() {
            assert_eq!(Actions::parse(&actions.words()), Some(actions));
        }
        for words in ["*", "pull,", ",pull", " pull", "pull push", "Pull", "other", "pull,other"] {
            assert_eq!(Actions::parse(words), None, "{words}");
        }
    }

    /// What a gate token is good for is compared by these.
    #[test]
    fn of_two_sets() {
        let all = [Action::Pull, Action::Push, Action::Delete];
        for (one, other) in subsets()
            .into_iter()
            .flat_map(|one| subsets().into_iter().map(move |other| (one, other)))
        {
            let within = all.iter().all(|action| one.lists(*action) || !other.lists(*action));
            assert_eq!(one.contain(other), within, "{one:?} {other:?}");
            for action in all {
                assert_eq!(
                    one.intersect(other).lists(action),
                    one.lists(action) && other.lists(action)
                );
                assert_eq!(
                    one.union(other).lists(action),
                    one.lists(action) || other.lists(action)
                );
            }
        }
    }

    fn access(scopes: &[(&str, &str)]) -> Access {
        let wanted = scopes
            .iter()
            .map(|(name, words)| (RepositoryName::parse(name).unwrap(), Actions::asked(words)));
        Access::several(wanted.collect())
    }

    fn scopes(access: &Access) -> Vec<String> {
        access.repositories().map(|(name, actions)| format!("{name}:{}", actions.words())).collect()
    }

    #[test]
    fn several_are_merged_in_their_order() {
        let merged =
            access(&[("b", "pull"), ("a", "push"), ("b", "delete"), ("c", ""), ("a", "push,pull")]);
        assert!(matches!(merged, Access::Repositories(_)));
        assert_eq!(scopes(&merged), ["b:pull,delete", "a:pull,push"]);
        assert_eq!(access(&[]), Access::Login);
        assert_eq!(access(&[("a", ""), ("b", "other")]), Access::Login);
    }

    #[test]
    fn what_one_request_needs_is_asked_as_by_that_request() {
        let name = || RepositoryName::parse("a").unwrap();
        for (words, action) in [
            ("pull", Some(Action::Pull)),
            ("push,pull", Some(Action::Push)),
            ("delete", Some(Action::Delete)),
        ]
        .into_iter()
        .chain(["push", "pull,delete", "push,delete", "*"].map(|words| (words, None)))
        {
            let asked = access(&[("a", words)]);
            match action {
                Some(action) => assert_eq!(asked, Access::Repository(name(), action)),
                None => assert!(matches!(asked, Access::Repositories(_)), "{words}"),
            }
            assert_eq!(scopes(&asked), [format!("a:{}", Actions::asked(words).words())]);
        }
        assert_eq!(
            access(&[("a", "pull"), ("a", "push")]),
            Access::Repository(name(), Action::Push)
        );
    }

    #[test]
    fn no_more_than_32_are_asked() {
        let names: Vec<_> = (0..40).map(|number| format!("a/{number}")).collect();
        let wanted: Vec<_> =
            names.iter().chain(&names).map(|name| (name.as_str(), "pull")).collect();
        let asked = scopes(&access(&wanted));
        assert_eq!((asked.len(), asked.last().unwrap().as_str()), (32, "a/31:pull"));
    }

    #[test]
    fn reading_is_what_is_left_of_it() {
        let pull = |name| Access::Repository(RepositoryName::parse(name).unwrap(), Action::Pull);
        assert_eq!(access(&[("a", "pull,push")]).reading(), pull("a"));
        assert_eq!(access(&[("a", "*"), ("b", "push,delete")]).reading(), pull("a"));
        assert_eq!(scopes(&access(&[("a", "*"), ("b", "pull")]).reading()), ["a:pull", "b:pull"]);
        for nothing in
            [access(&[("a", "delete")]), access(&[("a", "push")]), Access::Login, Access::Catalog]
        {
            assert_eq!(nothing.reading(), Access::Login);
        }
    }
}
