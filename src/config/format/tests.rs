use super::*;

fn refused<F: Format>(texts: &[&str]) {
    for text in texts {
        let message = F::from_str(text).err().unwrap_or_else(|| panic!("{text:?} was accepted"));
        assert!(message.contains("; "), "the remedy is missing: {message}");
    }
}

#[test]
fn durations_are_parsed_and_other_texts_are_refused() {
    for (text, milliseconds) in
        [("500ms", 500), ("10s", 10_000), ("5m", 300_000), ("1h", 3_600_000)]
    {
        let duration: Duration = text.parse().expect(text);
        assert_eq!(duration.to_std(), std::time::Duration::from_millis(milliseconds));
        assert_eq!(duration.to_string(), text);
    }
    refused::<Duration>(&[
        "",
        "10",
        "s",
        "0s",
        "1.5s",
        "-1s",
        "10 s",
        "1h30m",
        "1d",
        "8761h",
        "99999999999999999999s",
    ]);
    refused::<Duration>(&["18446744073709551615h"]);
    for (text, seconds) in [("0s", 0), ("10m", 600), ("1h", 3600)] {
        let duration: UpToAnHour = text.parse().expect(text);
        assert_eq!(duration.to_std(), std::time::Duration::from_secs(seconds));
        assert_eq!(duration.to_string(), text);
    }
    refused::<UpToAnHour>(&["", "0", "61m", "3601s", "2h", "18446744073709551615h"]);
    assert!("0s".parse::<UpToADay>().is_ok() && "24h".parse::<UpToADay>().is_ok());
    refused::<UpToADay>(&["1441m", "25h", "18446744073709551615h"]);
    assert!("0s".parse::<UpTo30Days>().is_ok() && "720h".parse::<UpTo30Days>().is_ok());
    refused::<UpTo30Days>(&["721h", "18446744073709551615h"]);
}

#[test]
fn rates_and_jwt_algorithms_are_parsed_and_other_texts_are_refused() {
    for (text, count, seconds) in [("1/s", 1, 1), ("8/m", 8, 60), ("4294967295/h", u32::MAX, 3600)]
    {
        let rate: Rate = text.parse().expect(text);
        assert_eq!((rate.count, rate.per), (count, std::time::Duration::from_secs(seconds)));
        assert_eq!(rate.to_string(), text);
    }
    refused::<Rate>(&[
        "",
        "8",
        "0/m",
        "/m",
        "8/",
        "8/d",
        "8/min",
        "+8/m",
        "-8/m",
        "1.5/s",
        "8 / m",
        "4294967296/h",
    ]);
    for text in ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"] {
        assert_eq!(text.parse::<JwtAlgorithm>().expect(text).to_string(), text);
    }
    refused::<JwtAlgorithm>(&["", "rs256", "ES512", "none", "NONE", "HS256", "HS512", "hs256"]);
    for (text, why) in [
        ("None", "without a signature"),
        ("HS384", "any party that can verify a token can also forge one"),
    ] {
        let message = JwtAlgorithm::from_str(text).expect_err(text);
        assert!(message.contains(why), "{message}");
    }
}

#[test]
fn byte_sizes_are_parsed_and_other_texts_are_refused() {
    for (text, bytes) in
        [("4096B", 4096), ("32KiB", 32_768), ("1MiB", 1_048_576), ("1GiB", 1_073_741_824)]
    {
        let size: ByteSize = text.parse().expect(text);
        assert_eq!((size.bytes(), size.to_string()), (bytes, text.to_owned()));
    }
    refused::<ByteSize>(&["", "32", "32KB", "32K", "KiB", "18446744073709551615GiB"]);
}

#[test]
fn addresses_networks_workers_and_names_are_parsed_or_refused() {
    for text in ["0.0.0.0:8443", "[::]:8443", "127.0.0.1:0"] {
        assert_eq!(text.parse::<ListenAddress>().expect(text).to_string(), text);
    }
    refused::<ListenAddress>(&[
        "",
        "8443",
        ":8443",
        "localhost:8443",
        "0.0.0.0",
        "0.0.0.0:65536",
        "::1:8443x",
    ]);
    for text in ["10.0.0.0/8", "fd00::/8", "10.0.0.1/32", "0.0.0.0/0"] {
        assert_eq!(text.parse::<Network>().expect(text).to_string(), text);
    }
    refused::<Network>(&["", "10.0.0.1", "10.0.0.1/8", "10.0.0.0/33", "example.com"]);
    assert_eq!("auto".parse(), Ok(Workers::Auto));
    assert_eq!("512".parse(), Ok(Workers::Count(512)));
    refused::<Workers>(&["", "0", "513", "-1", "Auto", "1.5"]);
    for text in ["read_registry", "repository:pull", "a.b-c"] {
        assert_eq!(text.parse::<ScopeName>().expect(text).to_string(), text);
    }
    refused::<ScopeName>(&["", "a b", "a/b", "ä", &"a".repeat(101)]);
    refused::<ProviderName>(&["", "a b", "a/b", "a:b"]);
}

#[test]
fn each_example_is_right() {
    fn example<F: Format>() {
        assert_eq!(check(F::NAME, F::EXAMPLE), Some(Ok(())));
        assert!(check(F::NAME, "").is_some_and(|result| result.is_err()), "{}", F::NAME);
    }
    example::<Duration>();
    example::<ByteSize>();
    example::<ListenAddress>();
    example::<Network>();
    example::<ExternalUrl>();
    example::<ServerUrl>();
    example::<Workers>();
    example::<ScopeName>();
    example::<ProviderName>();
    example::<RuleName>();
    example::<UpToAnHour>();
    example::<UpToADay>();
    example::<UpTo30Days>();
    example::<Rate>();
    example::<IssuerUrl>();
    example::<JwtAlgorithm>();
}
