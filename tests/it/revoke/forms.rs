//! Who may revoke, and the spellings of what is revoked.

use serde_json::Value;

use super::{TOKEN, asked, get, post, revoke, setup};
use crate::harness::{READ_WRITE, Setup, TestGate};

/// A file with a secret usually ends in a line feed, and no credential contains one, so the line
/// ending is not part of the secret.
#[tokio::test]
async fn a_line_ending_is_not_part_of_a_secret_to_revoke() {
    let gate = TestGate::start(setup()).await;
    assert_eq!(get(&gate, READ_WRITE).await, 404);
    for (number, end) in ["%0A", "%0D%0A"].iter().enumerate() {
        revoke(&gate, &format!("token={}{end}", READ_WRITE.1)).await;
        assert_eq!((get(&gate, READ_WRITE).await, asked(&gate)), (404, number + 2), "{end}");
    }
}

#[tokio::test]
async fn a_revocation_needs_the_operators_token_and_a_valid_form() {
    const FORM: &str = "Content-Type: application/x-www-form-urlencoded\r\n";
    let gate = TestGate::start(setup()).await;
    assert_eq!(get(&gate, READ_WRITE).await, 404);
    let good = format!("Authorization: Bearer {TOKEN}\r\n");
    let token = format!("token={}", READ_WRITE.1);
    for (headers, form, status) in [
        (FORM.to_owned(), &*token, 401),
        (format!("{FORM}Authorization: Bearer {}\r\n", &TOKEN[1..]), &token, 401),
        (format!("{FORM}Authorization: Basic {TOKEN}\r\n"), &token, 401),
        (format!("{FORM}{good}{good}"), &token, 401),
        (good.clone(), &token, 415),
        (format!("{FORM}{good}"), "", 400),
        (format!("{FORM}{good}"), "token=", 400),
        (format!("{FORM}{good}"), "token=%0A", 400),
        (format!("{FORM}{good}"), "token=two%0Alines", 400),
        (format!("{FORM}{good}"), "token=a&credential=0123456789abcdef", 400),
        (format!("{FORM}{good}"), "credential=0123", 400),
        (format!("{FORM}{good}"), "credential=0123456789ABCDEF", 400),
        (format!("{FORM}{good}"), "token=mg1.forged.token", 400),
        (format!("{FORM}{good}"), "secret=a", 400),
        (format!("{FORM}{good}"), &format!("token={}", "x".repeat(70_000)), 400),
    ] {
        let reply = post(&gate, &headers, form).await;
        assert_eq!(reply.status, status, "{headers} {form:.40}");
        assert!(serde_json::from_str::<Value>(&reply.body).unwrap()["error"].is_string());
        assert_eq!(reply.header("www-authenticate").is_some(), status == 401);
    }
    let reply = gate.admin("/revoke").await;
    assert_eq!((reply.status, reply.header("allow")), (405, Some("POST")));
    assert_eq!(gate.send("POST", "/revoke", None, &good, "").await.status, 404, "not in public");
    assert_eq!((get(&gate, READ_WRITE).await, asked(&gate)), (404, 1), "nothing was revoked");

    let open = TestGate::start(Setup { admin: vec![], ..setup() }).await;
    assert_eq!(post(&open, &format!("{FORM}{good}"), &token).await.status, 403);
}

/// Operators paste secrets with extra text around them. A success that revokes nothing would
/// mislead them.
#[tokio::test]
async fn a_secret_pasted_with_extra_text_is_revoked() {
    let gate = TestGate::start(setup()).await;
    for form in [
        format!("token={}+", READ_WRITE.1),
        format!("token=%22{}%22", READ_WRITE.1),
        format!("token=Bearer+{}", READ_WRITE.1),
        format!("token=Authorization:+bearer++{}%0D%0A", READ_WRITE.1),
    ] {
        let before = asked(&gate);
        assert_eq!((get(&gate, READ_WRITE).await, get(&gate, READ_WRITE).await), (404, 404));
        assert_eq!(asked(&gate), before + 1, "{form}");
        revoke(&gate, &form).await;
    }
}
