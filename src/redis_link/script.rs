//! Lua scripts, which Redis runs as one step.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use redis::Cmd;

/// A Lua script, with the name by which Redis knows it.
pub struct RedisScript {
    text: &'static str,
    sha1: String,
}

impl RedisScript {
    /// Creates a script.
    pub fn new(text: &'static str) -> Self {
        // The protocol has this name. Nothing depends on its strength: who could write another
        // script with the same name could run it under any name.
        let digest = digest(&SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
        let sha1 = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        Self { text, sha1 }
    }

    /// Returns the command that runs the script by its name.
    pub(super) fn by_name(&self, keys: &[String], args: &[Vec<u8>]) -> Cmd {
        command("EVALSHA", &self.sha1, keys, args)
    }

    /// Returns the command that runs the script by its text, after which Redis knows its name.
    pub(super) fn by_text(&self, keys: &[String], args: &[Vec<u8>]) -> Cmd {
        command("EVAL", self.text, keys, args)
    }
}

fn command(name: &str, script: &str, keys: &[String], args: &[Vec<u8>]) -> Cmd {
    let mut command = redis::cmd(name);
    command.arg(script).arg(keys.len()).arg(keys);
    for arg in args {
        command.arg(arg.as_slice());
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_named_by_its_sha1() {
        let script = RedisScript::new("return 1");
        assert_eq!(script.sha1, "e0e1f9fabfc9d4800c877a703b823ac0578ff8db");
    }
}
