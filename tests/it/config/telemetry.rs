//! The section `telemetry`.

use super::{MINIMAL, load, ready, warnings};

fn with(telemetry: &str) -> String {
    format!("{MINIMAL}telemetry: {telemetry}\n")
}

#[test]
fn without_a_collector_there_are_no_traces() {
    for telemetry in ["{}", "{ sample: 1 }", "{ otlp_endpoint: null, sample: 0 }"] {
        assert!(ready(&with(telemetry)).telemetry.is_none(), "{telemetry}");
    }
}

#[test]
fn the_path_of_traces_is_appended_to_the_url() {
    for (url, expected) in [
        ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
        ("http://127.0.0.1:4318/", "http://127.0.0.1:4318/v1/traces"),
        ("https://collector.example.com", "https://collector.example.com/v1/traces"),
        ("https://collector.example.com/a/", "https://collector.example.com/a/v1/traces"),
        ("\"http://[::1]:4318\"", "http://[::1]:4318/v1/traces"),
    ] {
        let telemetry = ready(&with(&format!("{{ otlp_endpoint: {url} }}"))).telemetry.unwrap();
        assert_eq!(telemetry.collector.endpoint.url(), expected);
        assert!((telemetry.sample - 0.01).abs() < f64::EPSILON, "the default");
    }
}

#[test]
fn the_share_is_a_number_from_0_to_1() {
    for (written, expected) in
        [("0", 0.0), ("1", 1.0), ("1.0", 1.0), ("0.001", 0.001), ("1e-3", 0.001)]
    {
        let section = format!("{{ otlp_endpoint: http://127.0.0.1:4318, sample: {written} }}");
        let sample = ready(&with(&section)).telemetry.unwrap().sample;
        assert!((sample - expected).abs() < f64::EPSILON, "{written}");
    }
    for written in
        ["-0.1", "1.01", "2", ".inf", ".nan", "NaN", "inf", "1%", "\"0.1\"", "[1]", "true"]
    {
        let problems = load(&with(&format!("{{ sample: {written} }}")), &[]).expect_err(written);
        assert!(problems.contains("`telemetry.sample`"), "{written}: {problems}");
        assert_eq!(problems.lines().count(), 1, "{written}: {problems}");
    }
}

#[test]
fn the_environment_sets_both_keys() {
    let set = [
        ("MOORGATE_TELEMETRY_OTLP_ENDPOINT", "http://127.0.0.1:4318"),
        ("MOORGATE_TELEMETRY_SAMPLE", "0.25"),
    ];
    let telemetry = load(MINIMAL, &set).unwrap().config.telemetry.unwrap();
    assert!((telemetry.sample - 0.25).abs() < f64::EPSILON);
}

#[test]
fn the_usual_port_of_grpc_has_a_warning() {
    let of = |port: &str| {
        let text = with(&format!("{{ otlp_endpoint: \"http://127.0.0.1:{port}\" }}"));
        let all = warnings(&text).into_iter();
        all.filter(|it| it.contains("`telemetry.otlp_endpoint`")).collect::<Vec<_>>()
    };
    assert!(of("4318").is_empty());
    assert!(of("4317")[0].contains("usually 4318"), "{:?}", of("4317"));
}

#[test]
fn plain_http_to_another_machine_has_a_warning() {
    let is_warned = |url: &str| {
        let all = warnings(&with(&format!("{{ otlp_endpoint: \"{url}\" }}")));
        all.iter().any(|it| it.contains("`telemetry.otlp_endpoint`") && it.contains("in the clear"))
    };
    assert!(is_warned("http://collector.example.com:4318"));
    for url in ["https://collector.example.com:4318", "http://127.0.0.1:4318", "http://[::1]:4318"]
    {
        assert!(!is_warned(url), "{url}");
    }
}
