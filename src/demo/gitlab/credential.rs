//! The credentials that the stand-in knows: GitLab's six kinds, what each is good for, and samples
//! of them.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};

use crate::registry::Actions;

/// The user name of every job credential.
const JOB_USER: &str = "gitlab-ci-token";

/// Who started the sample jobs, and owns the sample personal tokens.
const PERSON: &str = "alice";

/// A credential of the stand-in. Its password is public: it opens nothing but a demo or a test.
#[derive(Clone, Debug)]
pub struct SampleCredential {
    pub kind: Kind,
    /// The user name to log in with. What GitLab makes of another one depends on the kind.
    pub user: String,
    pub password: String,
    pub scopes: Vec<Scope>,
    /// The group or project that it reaches, with everything below. Empty: all of them, for it is
    /// an administrator's.
    pub reach: String,
    pub state: State,
    /// What it is there to show.
    pub note: String,
}

/// GitLab's kinds of credentials for the container registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    PersonalAccessToken,
    ProjectAccessToken,
    GroupAccessToken,
    DeployToken,
    /// `CI_JOB_TOKEN`
    JobToken,
    /// `CI_REGISTRY_USER` and `CI_REGISTRY_PASSWORD`. In a real GitLab the password is the job
    /// token; here it is another one, so that the two can be told apart.
    JobRegistryUser,
    /// What a person logs in to GitLab with. Not among the samples, for a gate refuses it unless
    /// told otherwise.
    AccountPassword,
}

/// What a token was made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    Api,
    ReadApi,
    ReadRegistry,
    WriteRegistry,
}

/// Whether a credential is still good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    Active,
    Expired,
    Revoked,
}

/// One credential of each kind that may read and write everything in the group `demo`, one of each
/// that may only read it, an expired and a revoked one.
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
            "CI_REGISTRY_PASSWORD of such a job",
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
            "CI_REGISTRY_PASSWORD of such a job",
        ),
        SampleCredential { state: State::Expired, ..expired },
        SampleCredential { state: State::Revoked, ..revoked },
    ]
}

impl SampleCredential {
    /// Whether this user name and secret are this credential. Of most tokens GitLab ignores the
    /// user name.
    pub(super) fn is(&self, user: &str, secret: &SecretString) -> bool {
        let named = match self.kind {
            Kind::PersonalAccessToken | Kind::ProjectAccessToken | Kind::GroupAccessToken => true,
            Kind::DeployToken | Kind::AccountPassword => user == self.user,
            Kind::JobToken | Kind::JobRegistryUser => user == JOB_USER,
        };
        named && self.state == State::Active && secret.expose_secret() == self.password
    }

    /// Everything that its scopes allow (an account has [`Scope::Api`]), within its reach.
    pub(super) fn abilities(&self) -> Actions {
        self.scopes.iter().fold(Actions::default(), |abilities, scope| match scope {
            Scope::Api => Actions { pull: true, push: true, delete: true },
            Scope::ReadApi | Scope::ReadRegistry => Actions { pull: true, ..abilities },
            // Not pull: that is why a push takes both scopes.
            Scope::WriteRegistry => Actions { push: true, ..abilities },
        })
    }

    /// Whether a repository lies in its group or project.
    pub(super) fn reaches(&self, repository: &str) -> bool {
        self.is_administrators() || lies_in(repository, &self.reach)
    }

    /// Whether it is an administrator's, to whom GitLab grants the list of all repositories.
    pub(super) fn is_administrators(&self) -> bool {
        self.reach.is_empty()
    }

    /// The user name in the token: a job acts as the person who started it.
    pub(super) fn acts_as(&self) -> &str {
        match self.kind {
            Kind::JobToken | Kind::JobRegistryUser => PERSON,
            _ => &self.user,
        }
    }
}

/// Whether a repository lies in this group or project, or below.
pub(super) fn lies_in(repository: &str, group: &str) -> bool {
    repository.strip_prefix(group).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl Kind {
    /// What GitLab calls it in `auth_type`: project and group tokens are personal tokens of a bot.
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
