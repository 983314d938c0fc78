//! The htpasswd file: user names and bcrypt hashes, one pair a line.
//!
//! This module performs no I/O: text in, users or problems out. It accepts only bcrypt, because
//! every other scheme of htpasswd is either broken or fast to guess.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

/// The accepted costs. Each step doubles the time: 14 is about a second of CPU for one login.
const COSTS: std::ops::RangeInclusive<u32> = 4..=14;

/// The advice for every hash that is not accepted.
const MAKE_ONE: &str = "make a bcrypt line with `moorgate hash-password USER` or `htpasswd -B`";

/// The users of an htpasswd file and their hashes.
#[derive(Clone)]
pub struct HtpasswdFile {
    hashes: HashMap<Box<str>, Box<str>>,
    highest_cost: u32,
}

/// A problem in one line. Lines and columns count from 1, columns in characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineProblem {
    /// The line in the file.
    pub line: usize,
    /// The column in the line.
    pub column: usize,
    /// The problem and its solution.
    pub message: String,
}

impl HtpasswdFile {
    /// Parses the file. Blank lines and lines that start with `#` are skipped.
    ///
    /// # Errors
    /// All problems of the file.
    pub fn parse(text: &str) -> Result<Self, Vec<LineProblem>> {
        let mut file = Self { hashes: HashMap::new(), highest_cost: 0 };
        let mut first_line_of = HashMap::new();
        let mut problems = Vec::new();
        for (line, content) in (1..).zip(text.trim_start_matches('\u{feff}').lines()) {
            if content.trim().is_empty() || content.starts_with('#') {
                continue;
            }
            match parse_line(content) {
                Ok((user, hash, cost)) => {
                    if let Some(first) = first_line_of.insert(user, line) {
                        let message = format!(
                            "this user is already in line {first}; remove one of the two lines"
                        );
                        problems.push(LineProblem { line, column: 1, message });
                    }
                    file.hashes.insert(user.into(), hash.into());
                    file.highest_cost = file.highest_cost.max(cost);
                }
                Err((column, message)) => problems.push(LineProblem { line, column, message }),
            }
        }
        if file.hashes.is_empty() && problems.is_empty() {
            let message = format!("the file has no users; {MAKE_ONE}");
            problems.push(LineProblem { line: 1, column: 1, message });
        }
        if problems.is_empty() { Ok(file) } else { Err(problems) }
    }

    /// Returns the bcrypt hash of a user's password.
    pub fn hash_of(&self, user: &str) -> Option<&str> {
        self.hashes.get(user).map(AsRef::as_ref)
    }

    /// Returns the names of all users, in no order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.hashes.keys().map(AsRef::as_ref)
    }

    /// Returns the highest cost in the file. The check of an unknown user must cost as much, so
    /// that the time does not reveal which users exist.
    pub fn highest_cost(&self) -> u32 {
        self.highest_cost
    }
}

/// Shows the number of users but none of their data, because hashes must not appear in logs.
impl fmt::Debug for HtpasswdFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HtpasswdFile({} users)", self.hashes.len())
    }
}

/// Returns the user, the hash and its cost, or the column and the message of the problem.
fn parse_line(content: &str) -> Result<(&str, &str, u32), (usize, String)> {
    let Some((user, hash)) = content.split_once(':') else {
        return Err((1, format!("no colon in this line; write USER:HASH, and {MAKE_ONE}")));
    };
    if user.is_empty() {
        return Err((1, format!("no user name before the colon; {MAKE_ONE}")));
    }
    if user.trim() != user {
        return Err((1, "the user name starts or ends with a space; remove it".to_owned()));
    }
    if user.chars().any(char::is_control) {
        return Err((1, "the user name holds a control character; remove it".to_owned()));
    }
    let hash = hash.trim_end();
    let cost = parse_hash(hash).map_err(|message| (user.chars().count() + 2, message))?;
    Ok((user, hash, cost))
}

/// Returns the cost of a well-formed bcrypt hash. Messages never quote the hash, which may be a
/// password in the clear.
fn parse_hash(hash: &str) -> Result<u32, String> {
    if let Some(scheme) = foreign_scheme(hash) {
        return Err(format!("{scheme}; {MAKE_ONE}"));
    }
    let digits = hash.get(4..6).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    let cost = digits
        .and_then(|digits| digits.parse().ok())
        .filter(|_| bcrypt::HashParts::from_str(hash).is_ok());
    let Some(cost) = cost else {
        return Err(format!("not a well-formed bcrypt hash (60 characters, $2y$10$…); {MAKE_ONE}"));
    };
    if !COSTS.contains(&cost) {
        let (lowest, highest) = (COSTS.start(), COSTS.end());
        return Err(format!(
            "bcrypt cost {cost}; {lowest} to {highest} are accepted: 10 takes about 50 ms a login"
        ));
    }
    Ok(cost)
}

/// Returns a description of a text that is not a bcrypt hash, by its prefix or length; `None` if it
/// has a prefix of bcrypt.
fn foreign_scheme(hash: &str) -> Option<&'static str> {
    let bcrypt = ["$2a$", "$2b$", "$2y$"].iter().any(|mark| hash.starts_with(mark));
    match hash {
        "" => Some("no hash after the colon"),
        _ if bcrypt => None,
        _ if hash.starts_with("$apr1$") || hash.starts_with("$1$") => {
            Some("an MD5 hash, which is quickly guessed")
        }
        _ if hash.starts_with("{SHA}") || hash.starts_with("{SSHA}") => {
            Some("a SHA-1 hash, which is quickly guessed")
        }
        _ if hash.starts_with("$5$") || hash.starts_with("$6$") => {
            Some("a SHA-crypt hash, which is not supported")
        }
        _ if hash.starts_with("$2x$") => Some("a $2x$ hash, made by a faulty bcrypt"),
        _ if hash.starts_with('$') => Some("a hash of an unknown scheme"),
        _ if hash.len() == 13 => Some("a crypt(3) hash or a password in the clear"),
        _ => Some("not a hash; passwords are never written in the clear"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "$2y$05$bvIG6Nmid91Mu9RcmmWZfO5HJIMCT8riNW0hEp8f6/FuA2/mHZFpe";

    fn problem_of(text: &str) -> (usize, usize, String) {
        let problems = HtpasswdFile::parse(text).expect_err(text);
        assert_eq!(problems.len(), 1, "{problems:?}");
        (problems[0].line, problems[0].column, problems[0].message.clone())
    }

    #[test]
    fn users_are_found() {
        let text = format!(
            "\u{feff}# users\n\nalice:{HASH}\r\nbob@example.com:{}  \n",
            HASH.replace("$05$", "$11$")
        );
        let file = HtpasswdFile::parse(&text).expect("a good file");
        assert_eq!(file.hash_of("alice"), Some(HASH));
        assert!(file.hash_of("bob@example.com").is_some());
        assert_eq!(file.hash_of("carol"), None);
        assert_eq!(file.highest_cost(), 11);
    }

    #[test]
    fn debug_shows_no_hash() {
        let file = HtpasswdFile::parse(&format!("alice:{HASH}")).expect("a good file");
        assert_eq!(format!("{file:?}"), "HtpasswdFile(1 users)");
    }

    #[test]
    fn each_foreign_scheme_is_refused_by_name() {
        for (hash, part) in [
            ("", "no hash"),
            ("$apr1$x$y", "MD5"),
            ("$1$x$y", "MD5"),
            ("{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", "SHA-1"),
            ("$5$x", "SHA-crypt"),
            ("$6$x", "SHA-crypt"),
            ("$2x$05$abc", "faulty bcrypt"),
            ("$argon2id$v=19$x", "unknown scheme"),
            ("rqXexS6ZhobKA", "crypt(3)"),
            ("hunter2", "in the clear"),
        ] {
            let (line, column, message) = problem_of(&format!("alice:{hash}\n"));
            assert_eq!((line, column), (1, 7));
            assert!(
                message.contains(part) && message.contains("; make a bcrypt line"),
                "{message}"
            );
            assert!(!message.contains("hunter2") && !message.contains("W6ph"), "{message}");
        }
    }

    #[test]
    fn malformed_bcrypt_is_refused() {
        for hash in [
            &HASH[..59],
            &format!("{HASH}x"),
            &HASH.replace("$05$", "$5$0"),
            &HASH.replace("$05$", "$+5$"),
            &HASH.replace('/', "!"),
            &HASH.replace("fO5", "f£"),
        ] {
            assert!(problem_of(&format!("alice:{hash}")).2.contains("well-formed"), "{hash}");
        }
        for cost in ["03", "15", "31"] {
            let message =
                problem_of(&format!("alice:{}", HASH.replace("$05$", &format!("${cost}$")))).2;
            assert!(message.contains("4 to 14 are accepted"), "{message}");
        }
    }

    #[test]
    fn all_bad_lines_are_reported_with_their_position() {
        let text = format!(
            "# ok\nno colon\n:{HASH}\nalice:{HASH}\nalice:{HASH}\n bob:{HASH}\nca\trol:{HASH}\n"
        );
        let problems = HtpasswdFile::parse(&text).expect_err("bad lines");
        let places: Vec<_> =
            problems.iter().map(|problem| (problem.line, problem.column)).collect();
        assert_eq!(places, [(2, 1), (3, 1), (5, 1), (6, 1), (7, 1)]);
        assert!(problems[2].message.contains("line 4"), "{}", problems[2].message);
    }

    #[test]
    fn a_file_without_users_is_an_error() {
        for text in ["", "\n\n", "# nobody\n"] {
            assert!(problem_of(text).2.contains("no users"));
        }
    }
}
