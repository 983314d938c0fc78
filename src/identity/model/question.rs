//! The question about a credential that a provider is asked.

use std::net::IpAddr;
use std::sync::Arc;

use super::credential::Credential;
use super::keyed_hash::{CredentialId, HashKey, KnownAs, SecretId};
use super::revocation::Revocation;
use crate::registry::Access;

/// What a provider is asked.
#[derive(Clone, Debug)]
pub struct Question {
    /// The caller's credential.
    pub credential: Credential,
    /// Its keyed hash.
    pub id: CredentialId,
    /// The keyed hash of its secret alone.
    pub secret: SecretId,
    /// By what operators know it.
    pub known_as: KnownAs,
    /// What the caller wants to do.
    pub access: Access,
    /// Where the caller is.
    pub client: IpAddr,
    /// The id of the request that led to the question.
    pub request_id: Arc<str>,
    /// The provider that vouched for the credential before, as a gate token says: it is asked
    /// first.
    pub vouched_by: Option<Box<str>>,
    /// What operators have revoked of the credential so far.
    pub revocation: Revocation,
}

impl Question {
    /// A question about a credential, whose hashes are made with the process's key.
    pub fn new(
        key: &HashKey,
        credential: Credential,
        access: Access,
        client: IpAddr,
        request_id: Arc<str>,
    ) -> Self {
        let (id, secret) = (key.credential(&credential), key.secret(&credential));
        let known_as = key.known_as(&credential, id, secret);
        let revocation = Revocation::default();
        Self {
            credential,
            id,
            secret,
            known_as,
            access,
            client,
            request_id,
            vouched_by: None,
            revocation,
        }
    }
}
