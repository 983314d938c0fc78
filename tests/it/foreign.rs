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

/// Defines the tests that every registry has, for the function that returns its script.
macro_rules! exchanges {
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
        async fn what_is_missing_is_not_found() {
            $crate::foreign::harness::missing_is_not_found($script()).await;
        }

        #[tokio::test]
        async fn a_mount_has_the_rights_of_both_repositories() {
            $crate::foreign::harness::mounts($script()).await;
        }
    };
}

/// Defines the tests that every registry with a token server has.
macro_rules! token_exchanges {
    ($script:path) => {
        $crate::foreign::exchanges!($script);

        #[tokio::test]
        async fn forgotten_tokens_are_asked_for_again() {
            $crate::foreign::harness::renews($script()).await;
        }
    };
}
use {exchanges, token_exchanges};
