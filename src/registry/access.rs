//! The access that a request needs and the actions that a credential may be granted.

use std::sync::Arc;

use super::RepositoryName;

/// The largest number of repositories in one question. Clients do not request more scopes in one
/// token.
const MAX_REPOSITORIES: usize = 32;

/// An action on a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Reading manifests, blobs, tags and referrers.
    Pull,
    /// Writing manifests and blobs. It includes pull: registries require both for every write.
    Push,
    /// Removing manifests or blobs.
    Delete,
}

impl Action {
    /// Returns the name used in tokens of the registry token protocol, in the config and in
    /// messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push => "push",
            Self::Delete => "delete",
        }
    }

    /// Parses the name of one action.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Pull, Self::Push, Self::Delete].into_iter().find(|action| action.as_str() == word)
    }

    /// Returns the actions that must be granted for this action: a write needs pull *and* push.
    pub fn needs(self) -> Actions {
        match self {
            Self::Pull => Actions { pull: true, ..Actions::default() },
            Self::Push => Actions { pull: true, push: true, ..Actions::default() },
            Self::Delete => Actions { delete: true, ..Actions::default() },
        }
    }
}

/// The actions granted for one repository, as the registry token protocol lists them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Actions {
    /// `true` if reading is granted.
    pub pull: bool,
    /// `true` if `push` is granted. A token can list `push` without `pull`.
    pub push: bool,
    /// `true` if removing is granted.
    pub delete: bool,
}

impl Actions {
    /// Returns whether these actions suffice for `action`: a write needs pull *and* push.
    pub fn allow(self, action: Action) -> bool {
        match action {
            Action::Pull => self.pull,
            Action::Push => self.pull && self.push,
            Action::Delete => self.delete,
        }
    }

    /// Returns whether the set contains `action`, regardless of the other actions that it needs.
    pub fn lists(self, action: Action) -> bool {
        match action {
            Action::Pull => self.pull,
            Action::Push => self.push,
            Action::Delete => self.delete,
        }
    }

    /// Returns the actions as the registry token protocol lists them, such as `pull,push`. Empty
    /// for an empty set.
    pub fn words(self) -> String {
        self.each().map(Action::as_str).collect::<Vec<_>>().join(",")
    }

    /// Returns an iterator over the actions.
    pub fn each(self) -> impl Iterator<Item = Action> {
        let all =
            [(self.pull, Action::Pull), (self.push, Action::Push), (self.delete, Action::Delete)];
        all.into_iter().filter(|(listed, _)| *listed).map(|(_, action)| action)
    }

    /// Parses the actions of a requested scope. `*` stands for all actions; unknown words are
    /// ignored.
    pub fn asked(words: &str) -> Self {
        words.split(',').fold(Self::default(), |asked, word| match word {
            "pull" => Self { pull: true, ..asked },
            "push" => Self { push: true, ..asked },
            "delete" => Self { delete: true, ..asked },
            "*" => Self { pull: true, push: true, delete: true },
            _ => asked,
        })
    }

    /// Parses the output of [`words`](Self::words); returns `None` for any other text.
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

    /// Returns the actions that are in both sets.
    pub fn intersect(self, other: Self) -> Self {
        Self {
            pull: self.pull && other.pull,
            push: self.push && other.push,
            delete: self.delete && other.delete,
        }
    }

    /// Returns the actions that are in at least one of the sets.
    pub fn union(self, other: Self) -> Self {
        Self {
            pull: self.pull || other.pull,
            push: self.push || other.push,
            delete: self.delete || other.delete,
        }
    }

    /// Returns the actions for which `keep` returns `true`.
    #[must_use]
    pub fn filter(self, keep: impl Fn(Action) -> bool) -> Self {
        Self {
            pull: self.pull && keep(Action::Pull),
            push: self.push && keep(Action::Push),
            delete: self.delete && keep(Action::Delete),
        }
    }

    /// Returns whether all actions of `other` are in this set.
    pub fn contain(self, other: Self) -> bool {
        self.intersect(other) == other
    }
}

/// The access that a request needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// A valid identity only: `GET /v2/`, which `docker login` sends.
    Login,
    /// The list of all repositories.
    Catalog,
    /// One action on one repository.
    Repository(RepositoryName, Action),
    /// Several repositories, or several actions on one: for a requested token or for a mount. Built
    /// by [`several`](Self::several), with 1 to 32 repositories, each of them once and with at
    /// least one action.
    Repositories(Arc<[(RepositoryName, Actions)]>),
}

impl Access {
    /// Combines several repositories into one access. A repository that is named twice is merged;
    /// repositories beyond 32 are left out and so are not granted. If the result equals the access
    /// of a single request, it becomes [`Access::Repository`], so that this request finds the
    /// cached answer.
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

    /// Returns the repositories of this access and the actions that must be granted for each.
    pub fn repositories(&self) -> impl Iterator<Item = (&RepositoryName, Actions)> {
        let (one, several): (_, &[_]) = match self {
            Self::Login | Self::Catalog => (None, &[]),
            Self::Repository(name, action) => (Some((name, action.needs())), &[]),
            Self::Repositories(several) => (None, several),
        };
        one.into_iter().chain(several.iter().map(|(name, actions)| (name, *actions)))
    }

    /// Returns the part of this access that is reading, which is all that a caller without a
    /// credential can be granted.
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
    fn a_push_needs_both_pull_and_push() {
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
    fn actions_are_parsed_only_as_they_are_written() {
        for actions in subsets() {
            assert_eq!(Actions::parse(&actions.words()), Some(actions));
        }
        for words in ["*", "pull,", ",pull", " pull", "pull push", "Pull", "other", "pull,other"] {
            assert_eq!(Actions::parse(words), None, "{words}");
        }
    }

    /// The rights of a gate token are compared by these operations.
    #[test]
    fn contain_intersect_and_union_work_action_by_action() {
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
    fn several_scopes_are_merged_in_their_order() {
        let merged =
            access(&[("b", "pull"), ("a", "push"), ("b", "delete"), ("c", ""), ("a", "push,pull")]);
        assert!(matches!(merged, Access::Repositories(_)));
        assert_eq!(scopes(&merged), ["b:pull,delete", "a:pull,push"]);
        assert_eq!(access(&[]), Access::Login);
        assert_eq!(access(&[("a", ""), ("b", "other")]), Access::Login);
    }

    #[test]
    fn actions_that_one_request_needs_become_the_access_of_that_request() {
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
    fn an_access_has_at_most_32_repositories() {
        let names: Vec<_> = (0..40).map(|number| format!("a/{number}")).collect();
        let wanted: Vec<_> =
            names.iter().chain(&names).map(|name| (name.as_str(), "pull")).collect();
        let asked = scopes(&access(&wanted));
        assert_eq!((asked.len(), asked.last().unwrap().as_str()), (32, "a/31:pull"));
    }

    #[test]
    fn the_reading_part_of_an_access_contains_only_pulls() {
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
