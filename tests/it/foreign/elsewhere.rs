//! A registry whose uploads go to another host.
//!
//! From the OCI distribution specification, "Pushing blobs": the `Location` of an upload "may be
//! relative or absolute", and the client must send the content there; it may name another host. No
//! registry with a file of its own here is known to do so. The host of the uploads answers with a
//! relative address, as the specification allows.

use super::client::Kind;
use super::harness::Foreign;
use super::script::{NAME, Script};

fn elsewhere() -> Script {
    Script {
        upload: |asked, id, step| {
            let path = format!("/bucket/{}/{id}?uploadId=a%2Bb%3D&part={step}", asked.name);
            let origin = format!("http://{}", asked.sites.uploads);
            if step == 0 { origin + &path } else { path }
        },
        upstream: |sites| vec![format!("upload_hosts: [\"{}\"]", sites.uploads)],
        ..Script::distribution()
    }
}

super::token_exchanges!(elsewhere);

/// The address that the client gets says nothing of the other host.
#[tokio::test]
async fn the_address_of_the_upload_is_sealed() {
    let foreign = Foreign::start(elsewhere(), &[]).await;
    let client = foreign.client(Kind::Docker);
    let uploads = format!("/v2/{NAME}/blobs/uploads/");
    let reply = client.ask("POST", &uploads, "Content-Length: 0\r\n", "").await;
    let address = client.leads_here(&reply);
    assert!(address.starts_with(&format!("{uploads}mu1.")), "{address}");
    let host = foreign.registry.sites.uploads.to_string();
    assert!(!reply.head.contains(&host) && !reply.head.contains("uploadId"), "{reply:?}");
}

/// A host that the config does not list is not sent anything.
#[tokio::test]
async fn a_host_that_is_not_listed_takes_no_upload() {
    let foreign = Foreign::start(Script { upstream: |_| Vec::new(), ..elsewhere() }, &[]).await;
    let client = foreign.client(Kind::Docker);
    let uploads = format!("/v2/{NAME}/blobs/uploads/");
    let reply = client.ask("POST", &uploads, "Content-Length: 0\r\n", "").await;
    assert_eq!((reply.status, reply.header("location")), (502, None));
}
