//! The subjects of log lines about a provider.

/// The subject of a log line about a provider. Each has its own place in the
/// [`LogThrottle`](crate::log_throttle::LogThrottle).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LogTopic {
    /// The provider gave no answer, or an invalid one.
    NoAnswer,
    /// The provider received too many questions, by its own statement or by the limit of the gate.
    Busy,
    /// The provider does not let a caller or an address ask.
    Barred,
    /// The provider does not know the gate, or the object of the question.
    Misconfigured,
    /// The workload token is of an issuer that no provider has.
    UnknownIssuer,
    /// Callers present account passwords, and the provider accepts only tokens.
    AccountPassword,
    /// The reply has a token without a user, as for a caller without a credential.
    NoUser,
    /// The tag rules of a project cannot be read.
    TagRules,
    /// The provider gave an odd answer, which was read nevertheless.
    Odd,
}
