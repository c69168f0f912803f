use super::*;

fn labels(names: &MetricNames) -> Vec<&str> {
    match &names.failed {
        Failed::ByLabel(labels) => labels.iter().map(|s| s.label.as_str()).collect(),
        Failed::ByCounter(_) => Vec::new(),
    }
}

fn by_label(label: &str, errors: &str) -> Failed {
    Failed::ByLabel(vec![StatusLabel {
        label: label.into(),
        values: StatusValues::Errors(errors.into()),
    }])
}

#[test]
fn built_in_names() {
    let p = Convention::default()
        .resolve(&Convention::default())
        .unwrap();
    assert_eq!(p.counter, "http_requests_total");
    assert_eq!(labels(&p), ["status", "code"]);
    let o = Convention::built_in(BuiltIn::Opentelemetry);
    let o = Convention::default().resolve(&o).unwrap();
    assert_eq!(o.counter, "http_server_request_duration_seconds_count");
    assert_eq!(o.histogram, "http_server_request_duration_seconds");
    assert_eq!(labels(&o), ["http_response_status_code", "error_type"]);
}

#[test]
fn check_overrides_source_overrides_built_in() {
    let source = Convention {
        counter: Some("served_total".into()),
        pod_label: Some("k8s_pod_name".into()),
        unit: Some(TimeUnit::Milliseconds),
        ..Convention::default()
    };
    let check = Convention {
        status_label: Some("result".into()),
        ..Convention::default()
    };
    let names = check.resolve(&source).unwrap();
    assert_eq!(names.counter, "served_total");
    assert_eq!(names.pod_label, "k8s_pod_name");
    assert_eq!(names.unit, TimeUnit::Milliseconds);
    assert_eq!(names.failed, by_label("result", "5.."));
    // A check that names a convention does not get half of another one.
    let names = Convention::built_in(BuiltIn::Prometheus)
        .resolve(&source)
        .unwrap();
    assert_eq!(
        (names.counter(), names.pod_label()),
        ("http_requests_total", "k8s_pod_name")
    );
    assert_eq!(names.unit(), TimeUnit::Seconds);
    assert_eq!(names.histogram(), "http_request_duration_seconds");
}

#[test]
fn a_sources_status_label_is_not_that_of_another_convention() {
    let source = Convention {
        status_label: Some("result".into()),
        error_values: Some("bad".into()),
        ..Convention::default()
    };
    let failed = |c: Convention| c.resolve(&source).unwrap().failed;
    assert_eq!(failed(Convention::default()), by_label("result", "bad"));
    let own = Convention::built_in(BuiltIn::Prometheus).resolve(&source);
    assert_eq!(labels(&own.unwrap()), ["status", "code"]);
}

#[test]
fn failures_by_negation_and_by_a_counter_of_their_own() {
    let source = Convention {
        status_label: Some("grpc_code".into()),
        error_values: Some("Internal".into()),
        ..Convention::default()
    };
    let negated = Convention {
        success_values: Some("OK".into()),
        ..Convention::default()
    };
    let label = StatusLabel {
        label: "grpc_code".into(),
        values: StatusValues::Successes("OK".into()),
    };
    let failed = |c: &Convention, source: &Convention| c.resolve(source).unwrap().failed;
    assert_eq!(failed(&negated, &source), Failed::ByLabel(vec![label]));
    let counter = Convention {
        failed_counter: Some("jobs_failed_total".into()),
        ..Convention::default()
    };
    let by_counter = Failed::ByCounter("jobs_failed_total".into());
    assert_eq!(failed(&counter, &source), by_counter);
    assert_eq!(failed(&Convention::default(), &counter), by_counter);
    let by_code = by_label("grpc_code", "Internal");
    assert_eq!(
        failed(&source, &counter),
        by_code,
        "the check's way is the one"
    );
}

#[test]
fn matchers_add_up_and_are_checked() {
    let matcher = |label: &str, value: &str| Matcher {
        label: label.into(),
        equals: Some(value.into()),
        ..Matcher::default()
    };
    let with = |matchers: Vec<Matcher>| Convention {
        matchers,
        ..Convention::default()
    };
    let source = with(vec![matcher("reporter", "destination")]);
    let check = with(vec![matcher("uri", "/pay")]);
    let names = check.resolve(&source).unwrap();
    let all = [matcher("reporter", "destination"), matcher("uri", "/pay")];
    assert_eq!(names.matchers(), all);
    // Those of a source belong to its metric.
    let own = Convention::built_in(BuiltIn::Prometheus).resolve(&source);
    assert!(own.unwrap().matchers().is_empty());
    let both = Matcher {
        not_in: Some(vec!["/ready".into()]),
        ..matcher("uri", "/")
    };
    let empty = Matcher {
        label: "uri".into(),
        r#in: Some(Vec::new()),
        ..Matcher::default()
    };
    for (wrong, told) in [
        (vec![both], "matchers: give \"uri\" exactly one of"),
        (vec![empty], "matchers: give \"uri\" exactly one of"),
        (vec![matcher("a-b", "c")], "matchers: label: \"a-b\" is not"),
        (vec![matcher("a", &"b".repeat(201))], "matchers: write 1 to"),
        (vec![matcher("a", "b"); 21], "matchers: at most 10"),
    ] {
        let error = with(wrong).resolve(&Convention::default()).unwrap_err();
        assert!(error.to_string().starts_with(told), "{error}");
    }
}

#[test]
fn nonsense_names_are_refused_by_field() {
    let bad = |c: Convention| c.resolve(&Convention::default()).unwrap_err().to_string();
    let text = |s: &str| Some(s.to_owned());
    let error = bad(Convention {
        counter: text("up{}"),
        ..Convention::default()
    });
    assert!(error.starts_with("counter: \"up{}\" is"), "{error}");
    let error = bad(Convention {
        histogram: text("1st"),
        ..Convention::default()
    });
    assert!(error.starts_with("histogram: "), "{error}");
    let error = bad(Convention {
        pod_label: text("a:b"),
        ..Convention::default()
    });
    assert!(error.starts_with("podLabel: "), "{error}");
    let error = bad(Convention {
        status_label: text(""),
        ..Convention::default()
    });
    assert!(error.starts_with("statusLabel: "), "{error}");
    let error = bad(Convention {
        error_values: text("5.."),
        ..Convention::default()
    });
    assert!(error.contains("statusLabel"), "{error}");
    let error = bad(Convention {
        histogram: text("a_bucket"),
        ..Convention::default()
    });
    assert!(error.starts_with("histogram: \"a_bucket\" ends"), "{error}");
    let error = bad(Convention {
        namespace_label: text("kubernetes_namespace"),
        ..Convention::default()
    });
    assert!(error.starts_with("namespaceLabel: "), "{error}");
    let error = bad(Convention {
        failed_counter: text("a_total"),
        status_label: text("code"),
        ..Convention::default()
    });
    assert!(error.starts_with("failedCounter: leave out"), "{error}");
}
