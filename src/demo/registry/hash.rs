//! Digests of content: SHA-256, and SHA-512 if a client asks for it.

use std::io::{self, Read};

use aws_lc_rs::digest::{self, Algorithm, Context, SHA256, SHA512};

use super::refusal::Refusal;
use crate::demo::web;
use crate::registry::Digest;

/// Returns the digest of these bytes, with the same algorithm as `like`.
pub(super) fn of_bytes(bytes: &[u8], like: &Digest) -> Result<String, Refusal> {
    let (name, algorithm) = algorithm(like)?;
    Ok(render(name, &digest::digest(algorithm, bytes)))
}

/// Returns the digest of everything that `reader` yields, with the same algorithm as `like`.
pub(super) fn of_reader(mut reader: impl Read, like: &Digest) -> Result<String, Refusal> {
    let (name, algorithm) = algorithm(like)?;
    let mut context = Context::new(algorithm);
    io::copy(&mut reader, &mut Update(&mut context))?;
    Ok(render(name, &context.finish()))
}

/// Returns the SHA-256 digest of these bytes.
pub(super) fn sha256(bytes: &[u8]) -> String {
    render("sha256", &digest::digest(&SHA256, bytes))
}

/// Returns the SHA-256 digest of a context that hashed the content as it arrived.
pub(super) fn sha256_of(context: Context) -> String {
    render("sha256", &context.finish())
}

fn algorithm(digest: &Digest) -> Result<(&'static str, &'static Algorithm), Refusal> {
    match digest.as_str().split_once(':') {
        Some(("sha256", _)) => Ok(("sha256", &SHA256)),
        Some(("sha512", _)) => Ok(("sha512", &SHA512)),
        _ => Err(Refusal::digest_invalid("this registry supports only sha256 and sha512")),
    }
}

fn render(name: &str, digest: &digest::Digest) -> String {
    format!("{name}:{}", web::hex(digest.as_ref()))
}

struct Update<'a>(&'a mut Context);

impl io::Write for Update<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
