//! What a request needs and what a credential may do.

use super::RepositoryName;

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

/// What has been granted for one repository, action by action, as the registry token protocol lists it.
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

    /// The actions as the registry token protocol lists them: `pull,push`. Empty where there are none.
    pub fn words(self) -> String {
        let words = [(self.pull, Action::Pull), (self.push, Action::Push), (self.delete, Action::Delete)];
        words.iter().filter(|(granted, _)| *granted).map(|(_, action)| action.as_str()).collect::<Vec<_>>().join(",")
    }

    /// Reads the actions of a requested scope. `*` is all of them; what is not known counts for nothing.
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
        Self { pull: self.pull && other.pull, push: self.push && other.push, delete: self.delete && other.delete }
    }
}

/// One thing that a caller must be allowed to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// Be somebody: `GET /v2/`, which `docker login` asks for.
    Login,
    /// List all repositories.
    Catalog,
    /// Act on one repository.
    Repository(RepositoryName, Action),
}

impl Access {
    /// Several repositories in one question.
    pub fn several(_wanted: Vec<(RepositoryName, Actions)>) -> Self {
        Self::Login
    }

    /// The repository, where there is one.
    pub fn repository(&self) -> Option<&RepositoryName> {
        match self {
            Self::Repository(name, _) => Some(name),
            Self::Login | Self::Catalog => None,
        }
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
}
