//! A registry whose uploads go to another host.
//!
//! From the OCI distribution specification, "Pushing blobs": the `Location` of an upload "may be
//! relative or absolute", and the client must send the content there; it may name another host. No
//! registry with a file of its own here is known to do so. The host of the uploads answers with a
//! relative address, as the specification allows.

use super::script::Script;

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
