//! Foreign registries behind the gate, scripted from their documented answers.
//!
//! Each registry has a file whose head names the sources of its answers, and what was not found in
//! one. The file fills in a [`script::Script`]; the stand-in answers by it, and keeps a ledger of
//! all requests of the registry, its token server and its storage. The scenarios of `harness.rs`
//! send what docker and containerd send.

mod acr;
mod artifactory;
mod client;
mod cloudflare;
mod content;
mod distribution;
mod docker_hub;
mod ecr;
mod elsewhere;
mod ghcr;
mod google;
mod harbor;
mod harness;
mod nexus;
mod quay;
mod refusals;
mod script;
mod stand_in;
mod zot;

/// Defines the pushes and pulls through a registry, for the function that returns its script.
macro_rules! transfers {
    ($script:path) => {
        #[tokio::test]
        async fn docker_pushes_and_pulls() {
            $crate::foreign::harness::pushes_and_pulls(
                $script(),
                $crate::foreign::client::Kind::Docker,
            )
            .await;
        }

        #[tokio::test]
        async fn containerd_pushes_and_pulls() {
            $crate::foreign::harness::pushes_and_pulls(
                $script(),
                $crate::foreign::client::Kind::Containerd,
            )
            .await;
        }

        #[tokio::test]
        async fn a_mount_has_the_rights_of_both_repositories() {
            $crate::foreign::harness::mounts($script()).await;
        }
    };
}

/// Defines the tests of a registry whose answer shows what does not exist.
macro_rules! exchanges {
    ($script:path) => {
        $crate::foreign::transfers!($script);

        #[tokio::test]
        async fn what_is_missing_is_not_found() {
            $crate::foreign::harness::missing_is_not_found($script()).await;
        }
    };
}

/// Defines the tests of such a registry with a token server.
macro_rules! token_exchanges {
    ($script:path) => {
        $crate::foreign::exchanges!($script);

        #[tokio::test]
        async fn forgotten_tokens_are_asked_for_again() {
            $crate::foreign::harness::renews($script()).await;
        }
    };
}

/// Defines the tests of a registry whose token server forbids what does not exist.
macro_rules! forbidding_exchanges {
    ($script:path) => {
        $crate::foreign::transfers!($script);

        #[tokio::test]
        async fn a_token_server_that_forbids_is_a_bad_gateway() {
            $crate::foreign::harness::forbidden_is_a_bad_gateway($script()).await;
        }

        #[tokio::test]
        async fn forgotten_tokens_are_asked_for_again() {
            $crate::foreign::harness::renews($script()).await;
        }
    };
}
use {exchanges, forbidding_exchanges, token_exchanges, transfers};
