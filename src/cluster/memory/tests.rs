use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::plan::{facts::Base, intent::Kind, revision::Wanted};

fn base(uid: &str, version: u64) -> Base {
    Base {
        name: uid.into(),
        uid: uid.into(),
        resource_version: version.to_string(),
    }
}

fn child(version: u64, replicas: i32) -> ChildFacts {
    ChildFacts {
        base: Base {
            name: "shop-a".into(),
            uid: "a".into(),
            resource_version: version.to_string(),
        },
        revision: "a".into(),
        owner_uid: None,
        epoch: None,
        replicas,
        possible: (replicas, replicas),
        current: true,
        status_replicas: replicas,
        available: replicas,
        adopted: None,
        edited: false,
        template: None,
        problem: None,
        deleting: false,
    }
}

fn job(version: u64, deleting: bool) -> JobFacts {
    JobFacts {
        base: Base {
            name: "shop-expand-1".into(),
            uid: "j".into(),
            resource_version: version.to_string(),
        },
        rollout: "shop".into(),
        revision: "a".into(),
        test: false,
        owner_uid: None,
        epoch: None,
        suspended: true,
        started: None,
        runs: false,
        live_pods: 0,
        failed_pods: 0,
        ended: None,
        deleting,
    }
}

fn database(name: &str, version: u64) -> DatabaseFacts {
    DatabaseFacts {
        annotations: std::sync::Arc::default(),
        finalizers: Vec::new(),
        base: Base {
            name: name.into(),
            uid: name.into(),
            resource_version: version.to_string(),
        },
        record: Arc::default(),
        allowed: None,
        deleting: false,
    }
}

pub(crate) fn cached(children: Vec<ChildFacts>, jobs: Vec<JobFacts>) -> Objects {
    let spec = json!({
        "selector": {"matchLabels": {"app": "shop"}},
        "template": {},
        "schema": {"database": "db"},
    });
    Objects {
        sharers: Vec::new(),
        earlier: Vec::new(),
        rollout: RolloutFacts {
            namespace: "ns".into(),
            base: Base {
                name: "shop".into(),
                uid: "u".into(),
                resource_version: "1".into(),
            },
            created: Timestamp::UNIX_EPOCH,
            generation: 1,
            annotations: Arc::default(),
            finalizers: Vec::new(),
            deleted: None,
            spec: Ok(Arc::new(Wanted::new(serde_json::from_value(spec).unwrap()))),
            status: Arc::default(),
        },
        revisions: Vec::new(),
        children,
        pods: Vec::new(),
        jobs,
        database: None,
        frozen: std::collections::BTreeMap::new(),
        neighbours: Vec::new(),
        services: Services::default(),
        adopted: None,
        rival: None,
    }
}

fn overlaid(memory: &mut Memory, mut cached: Objects) -> Objects {
    memory.overlay(&mut cached, Timestamp::UNIX_EPOCH);
    cached
}

fn scale(version: u64, from: i32, to: i32) -> Write {
    let base = base("a", version);
    Write::Scale {
        base,
        from,
        to,
        template: None,
    }
}

#[test]
fn what_was_listed_is_of_this_rollout_and_not_of_a_later_one_of_its_name() {
    let mut memory = Memory::default();
    assert!(!memory.has_listed("u"));
    memory.know_revisions("u", Vec::new(), Timestamp::UNIX_EPOCH);
    assert!(memory.has_listed("u") && !memory.has_listed("u2"));
}

#[test]
fn a_new_object_is_known_before_the_caches_show_it() {
    let mut memory = Memory::default();
    let create = Write::Create {
        kind: Kind::Deployment,
        manifest: json!({"metadata": {"name": "shop-a"}}),
    };
    memory.learn(&create, Written::Child(child(5, 0)), Timestamp::UNIX_EPOCH);
    memory.learn(
        &scale(5, 0, 3),
        Written::Child(child(6, 3)),
        Timestamp::UNIX_EPOCH,
    );
    let seen = overlaid(&mut memory, cached(vec![], vec![]));
    assert_eq!(seen.children[0].replicas, 3);
}

#[test]
fn what_somebody_deleted_is_no_ghost() {
    let mut memory = Memory::default();
    let answer = Written::Child(child(6, 3));
    memory.learn(&scale(5, 0, 3), answer, Timestamp::UNIX_EPOCH);
    let seen = overlaid(&mut memory, cached(vec![child(5, 0)], vec![]));
    assert_eq!(seen.children[0].replicas, 3);
    // The caches had it at 5 and never saw 6: the watch was broken when it was deleted.
    let seen = overlaid(&mut memory, cached(vec![], vec![]));
    assert!(seen.children.is_empty());
}

/// A conflict says that there is something newer, not that what the caches still show is true: this
/// process has scaled it to 3, and somebody has touched it since.
#[test]
fn a_conflict_makes_no_older_copy_true() {
    let mut memory = Memory::default();
    let at = |second| Timestamp::from_second(second).unwrap();
    memory.learn(&scale(5, 0, 3), Written::Child(child(6, 3)), at(0));
    memory.contradict(&scale(6, 3, 0), at(1));
    let replicas = |memory: &mut Memory, version, replicas| {
        let seen = overlaid(memory, cached(vec![child(version, replicas)], vec![]));
        seen.children[0].replicas
    };
    assert_eq!(replicas(&mut memory, 5, 0), 3);
    assert_eq!(replicas(&mut memory, 7, 2), 2, "the caches have caught up");
    // Whatever the caches show, it does not go on so for ever.
    memory.learn(&scale(7, 2, 3), Written::Child(child(8, 3)), at(10));
    memory.contradict(&scale(8, 3, 0), at(11));
    memory.contradict(&scale(8, 3, 0), at(400));
    assert_eq!(replicas(&mut memory, 7, 2), 2);
}

/// Made and deleted between two looks at the caches, it is never shown.
#[test]
fn what_is_never_shown_was_deleted() {
    let mut memory = Memory::default();
    let create = Write::Create {
        kind: Kind::Deployment,
        manifest: json!({"metadata": {"name": "shop-a"}}),
    };
    let at = |second| Timestamp::from_second(second).unwrap();
    memory.learn(&create, Written::Child(child(5, 0)), at(10));
    let children = |memory: &mut Memory, second| {
        let mut seen = cached(vec![], vec![]);
        memory.overlay(&mut seen, at(second));
        seen.children.len()
    };
    assert_eq!(children(&mut memory, 300), 1, "the caches lag");
    let until = memory.unshown_until().unwrap();
    assert_eq!(children(&mut memory, until.as_second()), 0);
    assert!(memory.unshown_until().is_none());
}

#[test]
fn an_older_copy_settles_no_doubt() {
    let mut memory = Memory::default();
    memory.doubt(&scale(5, 4, 2));
    for (version, possible) in [(4, (2, 4)), (5, (2, 4)), (6, (4, 4)), (5, (4, 4))] {
        let seen = overlaid(&mut memory, cached(vec![child(version, 4)], vec![]));
        assert_eq!(seen.children[0].possible, possible, "at {version}");
    }
}

#[test]
fn what_settles_a_doubt_does_not_end_it_without_an_answer() {
    let mut memory = Memory::default();
    memory.doubt(&scale(5, 8, 2));
    // The write that was to settle it is not answered either: the first may still arrive.
    memory.doubt(&scale(5, 8, 8));
    let seen = overlaid(&mut memory, cached(vec![child(5, 8)], vec![]));
    assert_eq!(seen.children[0].possible, (2, 8));
}

#[test]
fn writes_that_go_unanswered_are_told_after_a_while() {
    let mut memory = Memory::default();
    let told: Vec<_> = [false, false, true, false, false, false, false]
        .map(|answered| memory.wrote(answered))
        .into();
    assert_eq!(told, [false, false, false, false, false, true, true]);
}

#[test]
fn what_was_deleted_is_not_deleted_again() {
    let mut memory = Memory::default();
    let delete = Write::Delete {
        kind: Kind::Job,
        base: base("j", 5),
    };
    memory.learn(&delete, Written::Gone, Timestamp::UNIX_EPOCH);
    let jobs = |memory: &mut Memory, jobs| overlaid(memory, cached(vec![], jobs)).jobs.len();
    assert_eq!(jobs(&mut memory, vec![job(5, false)]), 0);
    assert_eq!(jobs(&mut memory, vec![job(5, false)]), 0, "the caches lag");
    assert_eq!(
        jobs(&mut memory, vec![job(6, true)]),
        1,
        "it has a finalizer"
    );
    assert!(memory.gone.is_empty());
}

#[test]
fn the_record_of_another_database_is_not_taken_for_the_one_that_is_named() {
    let mut memory = Memory::default();
    let create = Write::Create {
        kind: Kind::Database,
        manifest: json!({"metadata": {"name": "other"}}),
    };
    let answer = Written::Database(database("other", 5));
    memory.learn(&create, answer, Timestamp::UNIX_EPOCH);
    let seen = overlaid(&mut memory, cached(vec![], vec![]));
    assert!(seen.database.is_none());
    let create = Write::Create {
        kind: Kind::Database,
        manifest: json!({"metadata": {"name": "db"}}),
    };
    let answer = Written::Database(database("db", 6));
    memory.learn(&create, answer, Timestamp::UNIX_EPOCH);
    let seen = overlaid(&mut memory, cached(vec![], vec![]));
    assert_eq!(seen.database.map(|d| d.base.name), Some("db".into()));
}

/// Whose caches show the Rollout as it was in another's time does not act on that.
#[test]
fn a_rollout_is_confirmed_by_the_api_server_alone() {
    let mut memory = Memory::default();
    let mut seen = cached(vec![], vec![]);
    assert!(!memory.confirmed(&seen.rollout.base.uid));
    let mut live = seen.rollout.clone();
    live.base.resource_version = "900".into();
    memory.know_rollout(live.clone(), Timestamp::UNIX_EPOCH);
    seen = overlaid(&mut memory, seen);
    assert_eq!(seen.rollout.base.resource_version, "900");
    assert!(memory.confirmed(&live.base.uid));
    assert!(!memory.confirmed("made anew under this name"));
}

/// What this process has made and the caches have not shown yet is not taken for deleted because
/// it was read live meanwhile.
#[test]
fn what_is_read_live_need_not_be_cached_yet() {
    let mut memory = Memory::default();
    let create = Write::Create {
        kind: Kind::Database,
        manifest: json!({"metadata": {"name": "db"}}),
    };
    let answer = Written::Database(database("db", 5));
    memory.learn(&create, answer, Timestamp::UNIX_EPOCH);
    let live = Hold {
        database: Some(database("db", 7)),
        jobs: vec![job(6, false)],
    };
    memory.know_hold(live, Timestamp::UNIX_EPOCH);
    for _ in 0..2 {
        let seen = overlaid(&mut memory, cached(vec![], vec![]));
        let version = seen.database.map(|d| d.base.resource_version);
        assert_eq!(version.as_deref(), Some("7"));
        assert_eq!(seen.jobs.len(), 1);
    }
    memory.forget("db");
    let seen = overlaid(&mut memory, cached(vec![], vec![]));
    assert!(seen.database.is_none(), "a live read has shown another");
}

/// Its deletion waited for the write that took its last finalizer, and nothing tells of it but the
/// watch, later.
#[test]
fn a_database_is_gone_with_its_last_finalizer() {
    let mut memory = Memory::default();
    let write = Write::RecordDatabase {
        base: base("db", 5),
        record: Box::default(),
        finalizers: Vec::new(),
    };
    let answer = DatabaseFacts {
        deleting: true,
        ..database("db", 5)
    };
    memory.learn(&write, Written::Database(answer), Timestamp::UNIX_EPOCH);
    let lagging = || Objects {
        database: Some(database("db", 5)),
        ..cached(vec![], vec![])
    };
    for _ in 0..2 {
        assert!(overlaid(&mut memory, lagging()).database.is_none());
    }
    let mut another = database("db", 9);
    another.base.uid = "another".into();
    let seen = Objects {
        database: Some(another),
        ..cached(vec![], vec![])
    };
    assert!(overlaid(&mut memory, seen).database.is_some());
    assert!(memory.gone.is_empty());
}

#[test]
fn who_uses_a_database_is_the_longer_believed_the_longer_nothing_changes() {
    let mut memory = Memory::default();
    let users: Arc<[UserFacts]> = [UserFacts::of("CronJob nightly".into(), None, true)].into();
    let mut read = |database: &str, cached: &Objects| {
        memory.know_users(database, &users, cached, Timestamp::UNIX_EPOCH);
        memory.users.as_ref().map_or(0, |known| known.seconds())
    };
    let cached_now = cached(Vec::new(), Vec::new());
    assert_eq!(read("db", &cached_now), 30);
    assert_eq!(read("db", &cached_now), 60);
    assert_eq!(read("db", &cached_now), 120);
    // Pods of another revision serve; or it is another database.
    let mut changed = cached_now.clone();
    changed.sharers = changed.on_database();
    assert_eq!(read("db", &changed), 30);
    assert_eq!(read("other", &changed), 30);
}
