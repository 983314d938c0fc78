"""The sample credentials of the stand-in for GitLab (src/demo/gitlab/credential.rs)."""


class Credential:
    def __init__(self, kind, user, password):
        self.kind = kind
        self.login = (user, password)
        self.word = kind.replace(" ", "-").lower()

    def __str__(self):
        return self.kind


KINDS = [  # kind, user that may write, user that may read, stem of the password
    ("personal access token", "alice", "alice", "glpat-demo-personal"),
    ("project access token", "project_1_bot_demo", "project_2_bot_demo", "glpat-demo-project"),
    ("group access token", "group_1_bot_demo", "group_2_bot_demo", "glpat-demo-group"),
    ("deploy token", "gitlab+deploy-token-1", "gitlab+deploy-token-2", "gldt-demo-deploy"),
    ("CI job token", "gitlab-ci-token", "gitlab-ci-token", "glcbt-demo-job"),
    ("per-job registry user", "gitlab-ci-token", "gitlab-ci-token", "glcbt-demo-registry"),
]

READ_WRITE = [Credential(kind, user, f"{stem}-read-write") for kind, user, _, stem in KINDS]
READ_ONLY = [Credential(kind, user, f"{stem}-read-only") for kind, _, user, stem in KINDS]
PERSONAL = READ_WRITE[0]

WRONG = Credential("a wrong password", "alice", "glpat-demo-wrong")
REFUSED = [
    Credential("an expired token", "alice", "glpat-demo-expired"),
    Credential("a revoked token", "alice", "glpat-demo-revoked"),
    Credential("a deploy token with another user name", "alice", "gldt-demo-deploy-read-write"),
]
