//! A folder with the files that the fixtures name, created once.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;

/// A key set of one key, the example of RFC 7517, appendix A.1.
pub const JWKS: &str = "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\
                        \"x\":\"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4\",\
                        \"y\":\"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM\",\
                        \"use\":\"sig\",\"kid\":\"1\"}]}";

/// 32 bytes in base64.
pub const KEY_IN_USE: &str = "c3VwZXJzZWNyZXRzdXBlcnNlY3JldHN1cGVyc2VjcmU=";
const OLD_KEY: &str = "b2xkc2VjcmV0b2xkc2VjcmV0b2xkc2VjcmV0b2xkc2U=";

pub(super) const DAY: Duration = Duration::from_secs(24 * 3600);

/// Returns the folder. It is never deleted, because statics are not dropped. It is in the system's
/// temporary folder.
pub(super) fn folder() -> &'static Path {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    FOLDER.get_or_init(make).path()
}

/// Returns the path of a file under tests/fixtures/config.
pub(super) fn fixture(kind: &str, name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/config")
        .join(kind)
        .join(format!("{name}.yml"))
}

/// Writes a key and its certificate, whose validity begins and ends this number of days from now.
pub(super) fn pair(folder: &Path, name: &str, from: i32, to: i32) {
    let day = |days: i32| {
        let distance = DAY * days.unsigned_abs();
        if days < 0 { SystemTime::now() - distance } else { SystemTime::now() + distance }
    };
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(["registry.example.com".to_owned()]).expect("a name");
    params.not_before = day(from).into();
    params.not_after = day(to).into();
    let certificate = params.self_signed(&key).expect("a certificate");
    write(folder, &format!("{name}.crt"), certificate.pem());
    write_private(folder, &format!("{name}.key"), &key.serialize_pem());
}

pub(super) fn write(folder: &Path, name: &str, content: impl AsRef<[u8]>) {
    fs::write(folder.join(name), content).expect("a writable folder");
}

pub(super) fn write_private(folder: &Path, name: &str, content: &str) {
    write(folder, name, content);
    mode(&folder.join(name), 0o600);
}

pub(super) fn htpasswd() -> String {
    format!("alice:{}\n", bcrypt::hash("wonderland", 4).expect("a hash"))
}

/// Returns a file of two keys, in base64 that is easy to find where it leaks.
pub fn token_keys() -> String {
    format!("{KEY_IN_USE}\n# before the last rotation\n{OLD_KEY}\n")
}

#[cfg(unix)]
fn mode(file: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(file, fs::Permissions::from_mode(mode)).expect("a file of ours");
}

#[cfg(not(unix))]
fn mode(_: &Path, _: u32) {}

fn make() -> TempDir {
    let made = tempfile::tempdir().expect("a temporary folder");
    let folder = made.path();
    pair(folder, "tls", -1, 365);
    pair(folder, "other", -1, 365);
    pair(folder, "soon", -1, 10);
    pair(folder, "expired", -20, -10);
    pair(folder, "future", 10, 365);
    fs::copy(folder.join("tls.crt"), folder.join("ca.pem")).expect("a copy");
    fs::copy(folder.join("tls.key"), folder.join("open.key")).expect("a copy");
    mode(&folder.join("open.key"), 0o644);
    fs::create_dir(folder.join("folder")).expect("a folder");

    write(folder, "htpasswd", htpasswd());
    write(
        folder,
        "bad.htpasswd",
        format!("{}bob:{{SHA}}W6ph5Mm5Pz8GgiULbPgzG37mj9g=\ncarol\n", htpasswd()),
    );
    write(folder, "jwks.json", JWKS);
    write(folder, "html.json", "<!DOCTYPE html>\n<html>Sign in</html>");
    write(folder, "large.json", " ".repeat(1 << 20));
    write(folder, "odd-keys.json", r#"{"keys": [{"kid": "1", "kid": "1"}, {"kid": 1}]}"#);
    write_private(folder, "introspection.secret", "s3cret\n");
    write(folder, "open.secret", "s3cret\n");
    mode(&folder.join("open.secret"), 0o644);
    write_private(folder, "tokens.keys", &token_keys());
    write(folder, "open.keys", token_keys());
    mode(&folder.join("open.keys"), 0o644);
    write_private(folder, "upstream.password", "s3cret with spaces \r\n");
    write_private(folder, "proxy.credentials", "gate:s3cret\n");
    write_private(folder, "two-lines", "one\ntwo\n");
    write_private(folder, "empty", "");
    write(folder, "binary", [0xff, 0xfe]);
    write(
        folder,
        "broken.pem",
        "-----BEGIN CERTIFICATE-----\nnot base64!\n-----END CERTIFICATE-----\n",
    );
    write(
        folder,
        "not-a-certificate.crt",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    );
    let encrypted =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    write_private(folder, "encrypted.key", encrypted);

    write(folder, "latin1.yml", b"version: 1\nhttp: \xe9\xe4: x\n");
    write(folder, "huge.yml", "#".repeat((16 << 20) + 1));
    made
}
