//! The credentials that the stand-in knows: GitLab's six kinds, the access that each of them gives,
//! and samples.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};

use crate::registry::Actions;

/// The user name of every job credential.
const JOB_USER: &str = "gitlab-ci-token";

/// The user who started the sample jobs and owns the sample personal tokens.
const PERSON: &str = "alice";

/// A credential of the stand-in. Its password is public, because it only gives access to a demo or
/// a test.
#[derive(Clone, Debug)]
pub struct SampleCredential {
    pub kind: Kind,
    /// The user name to log in with. The kind decides whether GitLab accepts another one.
    pub user: String,
    pub password: String,
    pub scopes: Vec<Scope>,
    /// The group or project that the credential reaches, with everything below it. If it is empty,
    /// the credential belongs to an administrator and reaches everything.
    pub reach: String,
    pub state: State,
    /// A description of what the credential demonstrates.
    pub note: String,
}

/// The kinds of credentials that GitLab accepts for its container registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    PersonalAccessToken,
    ProjectAccessToken,
    GroupAccessToken,
    DeployToken,
    /// `CI_JOB_TOKEN`
    JobToken,
    /// `CI_REGISTRY_USER` and `CI_REGISTRY_PASSWORD`. In a real GitLab the password is the job
    /// token. Here it is a different password, so that the two kinds can be told apart.
    JobRegistryUser,
    /// The password of a GitLab account. It is not among the samples, because a gate refuses it by
    /// default.
    AccountPassword,
}

/// A scope of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    Api,
    ReadApi,
    ReadRegistry,
    WriteRegistry,
}

/// The state of a credential. Only an active one is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    Active,
    Expired,
    Revoked,
}

/// Returns one credential of each kind that may read and write everything in the group `demo`, one
/// of each kind that may only read it, an expired one and a revoked one.
pub fn sample_credentials() -> Vec<SampleCredential> {
    use Kind::{
        DeployToken, GroupAccessToken, JobRegistryUser, JobToken, PersonalAccessToken,
        ProjectAccessToken,
    };
    use Scope::{ReadRegistry, WriteRegistry};

    let both: &[Scope] = &[ReadRegistry, WriteRegistry];
    let read: &[Scope] = &[ReadRegistry];
    let sample =
        |kind, user: &str, password: &str, scopes: &[Scope], note: &str| SampleCredential {
            kind,
            user: user.into(),
            password: password.into(),
            scopes: scopes.into(),
            reach: "demo".into(),
            state: State::Active,
            note: note.into(),
        };
    let expired =
        sample(PersonalAccessToken, PERSON, "glpat-demo-expired", both, "a token that has expired");
    let revoked =
        sample(PersonalAccessToken, PERSON, "glpat-demo-revoked", both, "a token that was revoked");
    vec![
        sample(
            PersonalAccessToken,
            PERSON,
            "glpat-demo-personal-read-write",
            both,
            "any user name works",
        ),
        sample(
            ProjectAccessToken,
            "project_1_bot_demo",
            "glpat-demo-project-read-write",
            both,
            "any user name works",
        ),
        sample(
            GroupAccessToken,
            "group_1_bot_demo",
            "glpat-demo-group-read-write",
            both,
            "any user name works",
        ),
        sample(
            DeployToken,
            "gitlab+deploy-token-1",
            "gldt-demo-deploy-read-write",
            both,
            "the user name must match",
        ),
        sample(
            JobToken,
            JOB_USER,
            "glcbt-demo-job-read-write",
            both,
            "CI_JOB_TOKEN of a job of the project",
        ),
        sample(
            JobRegistryUser,
            JOB_USER,
            "glcbt-demo-registry-read-write",
            both,
            "CI_REGISTRY_PASSWORD of a job of the project",
        ),
        sample(PersonalAccessToken, PERSON, "glpat-demo-personal-read-only", read, "may only pull"),
        sample(
            ProjectAccessToken,
            "project_2_bot_demo",
            "glpat-demo-project-read-only",
            read,
            "may only pull",
        ),
        sample(
            GroupAccessToken,
            "group_2_bot_demo",
            "glpat-demo-group-read-only",
            read,
            "may only pull",
        ),
        sample(
            DeployToken,
            "gitlab+deploy-token-2",
            "gldt-demo-deploy-read-only",
            read,
            "may only pull",
        ),
        sample(
            JobToken,
            JOB_USER,
            "glcbt-demo-job-read-only",
            read,
            "CI_JOB_TOKEN of a job of another project",
        ),
        sample(
            JobRegistryUser,
            JOB_USER,
            "glcbt-demo-registry-read-only",
            read,
            "CI_REGISTRY_PASSWORD of a job of another project",
        ),
        SampleCredential { state: State::Expired, ..expired },
        SampleCredential { state: State::Revoked, ..revoked },
    ]
}

impl SampleCredential {
    /// Returns whether this user name and secret match this credential and it is active. GitLab
    /// ignores the user name of most tokens.
    pub(super) fn is(&self, user: &str, secret: &SecretString) -> bool {
        let named = match self.kind {
            Kind::PersonalAccessToken | Kind::ProjectAccessToken | Kind::GroupAccessToken => true,
            Kind::DeployToken | Kind::AccountPassword => user == self.user,
            Kind::JobToken | Kind::JobRegistryUser => user == JOB_USER,
        };
        named && self.state == State::Active && secret.expose_secret() == self.password
    }

    /// Returns the actions that the scopes allow within the credential's reach. An account has
    /// [`Scope::Api`].
    pub(super) fn abilities(&self) -> Actions {
        self.scopes.iter().fold(Actions::default(), |abilities, scope| match scope {
            Scope::Api => Actions { pull: true, push: true, delete: true },
            Scope::ReadApi | Scope::ReadRegistry => Actions { pull: true, ..abilities },
            // This scope does not include pull, so a push needs both scopes.
            Scope::WriteRegistry => Actions { push: true, ..abilities },
        })
    }

    /// Returns whether a repository lies in the credential's group or project.
    pub(super) fn reaches(&self, repository: &str) -> bool {
        self.is_administrators() || lies_in(repository, &self.reach)
    }

    /// Returns whether the credential belongs to an administrator. GitLab grants the list of all
    /// repositories only to administrators.
    pub(super) fn is_administrators(&self) -> bool {
        self.reach.is_empty()
    }

    /// Returns the user name in the token. A job acts as the user who started it.
    pub(super) fn acts_as(&self) -> &str {
        match self.kind {
            Kind::JobToken | Kind::JobRegistryUser => PERSON,
            _ => &self.user,
        }
    }
}

/// Returns whether a repository lies in this group or project, or below it.
pub(super) fn lies_in(repository: &str, group: &str) -> bool {
    repository.strip_prefix(group).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl Kind {
    /// Returns GitLab's name of the kind in `auth_type`. Project and group tokens are personal
    /// tokens of a bot user.
    pub(super) fn auth_type(self) -> &'static str {
        match self {
            Self::PersonalAccessToken | Self::ProjectAccessToken | Self::GroupAccessToken => {
                "personal_access_token"
            }
            Self::DeployToken => "deploy_token",
            Self::JobToken | Self::JobRegistryUser => "build",
            Self::AccountPassword => "gitlab_or_ldap",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PersonalAccessToken => "personal access token",
            Self::ProjectAccessToken => "project access token",
            Self::GroupAccessToken => "group access token",
            Self::DeployToken => "deploy token",
            Self::JobToken => "CI job token",
            Self::JobRegistryUser => "per-job registry user",
            Self::AccountPassword => "account password",
        })
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Api => "api",
            Self::ReadApi => "read_api",
            Self::ReadRegistry => "read_registry",
            Self::WriteRegistry => "write_registry",
        })
    }
}
