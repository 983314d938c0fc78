//! moorgate: an authenticating reverse proxy in front of an existing container registry.
//!
//! # The life of a request
//!
//! accept → TLS → parse → limit the address → authenticate → authorise → limit the caller → look up
//! immutable tags → audit → forward → respond and record
//!
//! | stage | module | what happens |
//! |---|---|---|
//! | accept, TLS | [`server`] | One worker serves a connection. Every wait has a deadline. |
//! | all stages | [`gate`] | The one file that names every stage, in order. |
//! | parse | [`framing`], [`registry`] | One unambiguous message is one operation. |
//! | limit | [`limits`] | First the address, before its credential is read, later the caller. |
//! | authenticate | [`identity`] | The verdict comes from the cache or from the providers. |
//! | authorise | [`policy`] | Only a [`Permit`](policy::Permit) lets a request go on. |
//! | forward | [`upstream`], [`body`] | A new request is rendered; bodies stream. |
//! | respond | [`denial`], [`respond`] | A denial is a value until it becomes a response. |
//! | record | [`record`], [`metrics`], [`telemetry`] | They are written after the last byte. |
//!
//! The modules that decide ([`registry`], [`policy`], [`denial`], [`framing`], the header rules)
//! are pure: they use no sockets, no clock and no config. `tests/it/layers.rs` lists which module
//! uses which, and refuses cycles.
//!
//! # Glossary
//!
//! | term | meaning |
//! |---|---|
//! | caller | The person or program that sends a request: known by its credential, or anonymous. |
//! | client | The program that the caller uses, or its connection. |
//! | credential | The content of `Authorization`: a user name and a password, or a Bearer token. |
//! | secret | The password or the token in a credential. |
//! | provider | A service or a file that verifies credentials, from `identity` in the config. |
//! | question | One credential and one access, about which providers are asked. |
//! | verdict | The answer of a provider to a question. |
//! | stale answer | An earlier verdict that is served while its provider is down. |
//! | access | The right that a request needs: login, catalog, or an action in a repository. |
//! | decision | The policy allowed a request, except for a change of an existing immutable tag. |
//! | permit | The proof that a request may be forwarded. |
//! | grant | The rights that a token server gave for one repository. |
//! | upstream token | A token server's token that is sent upstream (`upstream.authorization`). |
//! | gate | This program. The module [`gate`] runs the stages of a request. |
//! | gate token | A token that the gate issues at `/token`: an encrypted credential, or none. |
//! | token server | A server of the registry token protocol, such as the one in GitLab. |
//! | workload token | A JWT of an OpenID Connect issuer, for a CI job or another program. |
//! | mount | A request to link a blob from another repository instead of uploading it. |
//! | shadow mode | `policy.mode: shadow`: what the rules deny is logged, and served all the same. |
//! | upstream | The registry behind the gate. |
//! | snapshot | Everything that was built from one version of the config. |
//! | operator | The person who runs the gate. |

pub mod admin;
pub mod body;
pub mod cli;
pub mod config;
pub mod demo;
pub mod denial;
pub mod framing;
pub mod gate;
pub mod hex;
pub mod http_client;
pub mod identity;
pub mod limits;
pub mod log_throttle;
pub mod metrics;
pub mod net;
pub mod policy;
pub mod rate_limit;
pub mod recent;
pub mod record;
pub mod redis_link;
pub mod registry;
pub mod replicas;
pub mod request_id;
pub mod respond;
pub mod run;
pub mod sealing;
pub mod server;
pub mod strict_json;
pub mod telemetry;
pub(crate) mod terminal;
pub mod token_service;
pub mod upstream;
