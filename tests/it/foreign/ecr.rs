//! Amazon Elastic Container Registry.
//!
//! From NVIDIA/enroot#59 and google/go-containerregistry#861: 401 with `Basic
//! realm="https://ID.dkr.ecr.REGION.amazonaws.com/",service="ecr.amazonaws.com"` and the text `Not
//! Authorized`. From the Amazon ECR User Guide, "Private registry authentication": the user name
//! `AWS` and a password for twelve hours. From openai/tart#273: PATCH is answered with 201, and the
//! address of the upload is absolute. From distribution/distribution#2927: there is no
//! `Docker-Upload-UUID`. From apple/swift-container-plugin#27: the answer to PUT of a manifest has
//! no `Location`. From actions/starter-workflows#2647: 404 `NAME_UNKNOWN`. From the Amazon ECR User
//! Guide, "Amazon ECR interface VPC endpoints": layers come from the bucket
//! `prod-REGION-starport-layer-bucket` at S3.
//! Not found in a source: the status of the redirect (307 here), and the `Location` of a finished
//! blob (none here).

use http::Method;

use super::harness::{deletes, follows};
use super::script::{Blob, Missing, Realm, Script};

fn ecr() -> Script {
    Script {
        username: "AWS",
        realm: Realm::None,
        challenge: |asked| {
            let realm = format!("https://{}/", asked.sites.registry);
            Some(format!("Basic realm=\"{realm}\",service=\"ecr.amazonaws.com\""))
        },
        refusal: ("text/plain; charset=utf-8", "Not Authorized\n"),
        missing: Missing::NotFound("NAME_UNKNOWN"),
        blob: |asked| match asked.method {
            Method::GET => {
                let path = format!("/0f1e-1234/{}", asked.rest.replace(':', "-"));
                let query = "X-Amz-Security-Token=IQoJb3JpZ2lu%2F%2F&X-Amz-Signature=0a1b2c";
                Blob::Redirect(307, format!("http://{}{path}?{query}", asked.sites.storage))
            }
            _ => Blob::Here,
        },
        upload: |asked, id, _| {
            format!("http://{}/v2/{}/blobs/uploads/{id}", asked.sites.registry, asked.name)
        },
        upload_id: None,
        patched: 201,
        created: |_, _| String::new(),
        ..Script::distribution()
    }
}

super::exchanges!(ecr);

#[tokio::test]
async fn the_gate_follows_redirects() {
    follows(ecr()).await;
}

#[tokio::test]
async fn a_delete_has_the_password() {
    deletes(ecr(), &[]).await;
}
