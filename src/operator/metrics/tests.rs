//! Every series reads as it is documented.

use super::*;

#[test]
fn every_family_has_our_prefix_and_reads_as_documented() {
    let metrics = Metrics::new();
    metrics.reconciled(PassResult::Changed, Duration::from_millis(3));
    metrics.wrote(WriteKind::Object(Kind::Deployment), WriteResult::Conflict);
    metrics.error(ErrorReason::EventDropped);
    metrics.polled(PollResult::Empty);
    metrics.undone(UndoCause::Check);
    metrics.flag_taken_back(UndoCause::Release);
    metrics.measured(Measurement {
        around: Around::BeforeContract,
        verdict: Found::NoVerdict,
    });
    metrics.leads(Some(7));
    metrics.requested("PATCH", Some(201));
    metrics.requested("BREW", None);
    let text = metrics.render();
    for line in [
        "stepgate_reconciles_total{outcome=\"Changed\"} 1",
        "stepgate_reconcile_duration_seconds_bucket{le=\"0.004\",outcome=\"Changed\"} 1",
        "stepgate_writes_total{kind=\"Deployment\",result=\"Conflict\"} 1",
        "stepgate_errors_total{reason=\"EventDropped\"} 1",
        "stepgate_evidence_polls_total{result=\"Empty\"} 1",
        "stepgate_undos_total{cause=\"Check\"} 1",
        "stepgate_flags_taken_back_total{cause=\"Release\"} 1",
        "stepgate_stable_measurements_total{around=\"BeforeContract\",verdict=\"NoVerdict\"} 1",
        "stepgate_stable_measurements_total{around=\"AfterContract\",verdict=\"Failed\"} 0",
        "stepgate_leader 1",
        "stepgate_leader_epoch 7",
        "stepgate_client_requests_total{verb=\"patch\",code=\"2xx\"} 1",
        "stepgate_client_requests_total{verb=\"other\",code=\"none\"} 1",
    ] {
        assert!(
            text.lines().any(|found| found == line),
            "no `{line}` in\n{text}"
        );
    }
    let foreign = |l: &&str| !l.starts_with("stepgate_") && !l.starts_with('#');
    assert_eq!(text.lines().find(foreign), None);
}

#[test]
fn counters_are_there_before_the_first_event() {
    let text = Metrics::new().render();
    assert!(
        text.contains("stepgate_reconciles_total{outcome=\"Panicked\"} 0\n"),
        "{text}"
    );
    assert!(text.contains("stepgate_undos_total{cause=\"Check\"} 0\n"));
    let series = text.lines().filter(|line| !line.starts_with('#')).count();
    assert!(series < 200, "{series} series");
}

#[test]
fn rollouts_are_counted_by_how_they_stand_and_named_where_that_is_asked_for() {
    let stands = |state, reason| {
        Some(Stands {
            state,
            reason: Some(reason),
            flags: [("new-search".to_owned(), 25)].into(),
        })
    };
    let has = |metrics: &Metrics, line: &str| metrics.render().lines().any(|l| l == line);
    for metrics in [Metrics::new(), Metrics::naming_rollouts()] {
        let holding = stands(RolloutState::Reconciling, Reason::Holding);
        metrics.stands("shop", "web", holding.clone());
        metrics.stands("shop", "cart", holding.clone());
        metrics.stands("shop", "web", holding);
        assert!(has(&metrics, "stepgate_rollouts{state=\"Reconciling\"} 2"));
        let failed = stands(RolloutState::Stalled, Reason::CheckFailed);
        metrics.stands("shop", "web", failed);
        assert!(has(&metrics, "stepgate_rollouts{state=\"Stalled\"} 1"));
        let named = "stepgate_rollout_state{rollout_namespace=\"shop\",rollout=\"web\",\
                     state=\"Stalled\",reason=\"CheckFailed\"} 1";
        assert_eq!(has(&metrics, named), metrics.rollouts.is_some());
        let flag = "stepgate_flag_percent{rollout_namespace=\"shop\",rollout=\"web\",\
                    flag=\"new-search\"} 25";
        assert_eq!(has(&metrics, flag), metrics.rollouts.is_some());
        metrics.stands("shop", "web", None);
        metrics.stands("shop", "cart", None);
        metrics.stands("shop", "never", None);
        assert!(has(&metrics, "stepgate_rollouts{state=\"Reconciling\"} 0"));
        assert!(!metrics.render().contains("rollout=\"web\""), "it is gone");
    }
}

#[test]
fn every_metric_is_documented() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
    let page = std::fs::read_to_string(page).expect("the page");
    let metrics = Metrics::naming_rollouts();
    // A family without a series is not told.
    metrics.requested("GET", Some(200));
    let flags = [("new-search".to_owned(), 25)].into();
    let (state, reason) = (RolloutState::Ready, None);
    let stands = Stands {
        state,
        reason,
        flags,
    };
    metrics.stands("shop", "web", Some(stands));
    let text = metrics.render();
    let families = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let mut told = 0;
    for family in families {
        let (name, kind) = family.split_once(' ').expect("a type");
        let name = match kind {
            "counter" => format!("{name}_total"),
            _ => name.to_owned(),
        };
        assert!(page.contains(&format!("| `{name}` |")), "{name}");
        told += 1;
    }
    assert_eq!(page.matches("| `stepgate_").count(), told);
}

#[test]
fn losing_the_lead_keeps_the_epoch() {
    let metrics = Metrics::new();
    metrics.leads(Some(7));
    metrics.leads(None);
    let text = metrics.render();
    assert!(text.contains("stepgate_leader 0\n") && text.contains("stepgate_leader_epoch 7\n"));
}

#[test]
fn answers_fall_into_few_classes() {
    let all = (100..600).map(Some).chain([None]);
    let classes: std::collections::BTreeSet<_> = all.map(class).collect();
    let expected = [
        "2xx", "3xx", "403", "404", "409", "429", "4xx", "5xx", "none",
    ];
    assert!(classes.into_iter().eq(expected));
}
