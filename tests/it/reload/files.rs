//! Files that are incomplete, empty or missing: the running configuration stays, and the next valid
//! file loads.

use super::{ALICE, with_htpasswd};
use crate::harness::{Setup, basic};

#[tokio::test]
async fn a_bad_file_changes_nothing_and_the_next_good_one_loads() {
    let mut gate = with_htpasswd(Setup { tls: true, ..Setup::default() }).await;
    for name in ["test.yml", "tls.crt", "tls.key", "htpasswd"] {
        let good = std::fs::read(gate.file(name)).unwrap();
        let torn = &good[..good.len() / 2];
        for bad in [torn, b"", b"\xff\xfe not text", b"# nothing\n"] {
            gate.write(name, bad);
            assert!(!gate.reload().await, "{name}: {:?}", String::from_utf8_lossy(bad));
            assert!(!gate.reloader.as_mut().unwrap().check(), "{name}: a bad file is tried once");
            assert_eq!(status(&gate).await, 200, "{name}");
        }
        std::fs::remove_file(gate.file(name)).unwrap();
        assert!(!gate.reload().await, "{name} is gone");
        assert_eq!(status(&gate).await, 200);
        gate.write(name, &good);
        assert!(gate.reload().await, "{name} is back");
        assert!(!gate.reloader.as_mut().unwrap().check());
        assert_eq!(status(&gate).await, 200);
    }
}

async fn status(gate: &crate::harness::TestGate) -> u16 {
    let client = gate.http2().await;
    let request = http::Request::get("https://registry.test/v2/")
        .header("authorization", basic(ALICE))
        .body(())
        .unwrap();
    let (answer, _) = client.ready().await.unwrap().send_request(request, true).unwrap();
    answer.await.unwrap().status().as_u16()
}

/// Kubernetes mounts a ConfigMap in this way: the file is a link into a folder behind another link,
/// which is swapped.
#[tokio::test]
async fn a_symlink_to_another_target_counts_as_a_changed_file() {
    use std::os::unix::fs::symlink;
    let mut gate = with_htpasswd(Setup::default()).await;
    let (data, file) = (gate.file("..data"), gate.file("htpasswd"));
    for version in ["1", "2"] {
        std::fs::create_dir(gate.file(version)).unwrap();
        std::fs::copy(&file, gate.file(version).join("htpasswd")).unwrap();
    }
    symlink("1", &data).unwrap();
    std::fs::remove_file(&file).unwrap();
    symlink("..data/htpasswd", &file).unwrap();
    assert!(!gate.reloader.as_mut().unwrap().check(), "the content is the same");
    gate.write("2/htpasswd", "bob:$2b$04$abcdefghijklmnopqrstuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuu");
    symlink("2", gate.file("..new")).unwrap();
    std::fs::rename(gate.file("..new"), &data).unwrap();
    assert!(gate.reload().await);
    assert_eq!(gate.get("/v2/", Some(ALICE)).await.status, 401);
}
