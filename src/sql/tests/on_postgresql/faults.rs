//! Connections that break, servers that go, processes that are killed, passwords that are wrong.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::{
    proxy::{Cut, Proxy},
    runner::Task,
    server::{Server, free_port, wait_for},
};

#[test]
fn after_a_lost_commit_the_ledger_decides() {
    let server = Server::start();
    Task::files(
        &server,
        "Expand",
        &[("first.sql", "CREATE TABLE t (id int)")],
    )
    .run()
    .done();
    for (version, cut) in [(8, Cut::After), (9, Cut::Before)] {
        let proxy = Proxy::start(server.port(), cut);
        let done = Task::expand(&server, "INSERT INTO t VALUES (1)")
            .with("version", version)
            .at(server.url_of(proxy.port))
            .run()
            .done();
        assert!(proxy.has_cut());
        assert!(done.again("ConnectionLost") >= 1, "{done:?}");
        assert_eq!(
            done.log.contains("expand.sql: was done before"),
            cut == Cut::After,
            "{done:?}"
        );
        assert_eq!(
            server.number("SELECT count(*) FROM t"),
            i64::from(version) - 7,
            "once a version"
        );
    }
}

/// The COMMIT happened, and nobody could be asked about it before the deadline.
#[test]
fn a_commit_of_which_nothing_more_was_heard_is_not_called_nothing() {
    let server = Server::start();
    let first = [("first.sql", "CREATE TABLE t (id int)")];
    Task::files(&server, "Expand", &first).run().done();
    let proxy = Proxy::start(server.port(), Cut::AfterForGood);
    let task = Task::expand(&server, "INSERT INTO t VALUES (1)").with("version", 8);
    let ended = task
        .with("deadlineSeconds", 2)
        .at(server.url_of(proxy.port))
        .run()
        .is(1, "DeadlineExceeded");
    assert_eq!(ended.report["applied"], true, "{ended:?}");
    assert_eq!(server.number("SELECT count(*) FROM t"), 1);
}

#[test]
fn a_server_that_is_not_there_is_waited_for() {
    let mut server = Server::start();
    server.halt();
    let refused = Task::expand(&server, "CREATE TABLE t ()")
        .with("deadlineSeconds", 1)
        .run()
        .is(64, "DeadlineExceeded");
    assert!(refused.message().contains("refused"), "{refused:?}");
    assert!(refused.again("ConnectionLost") >= 1);
    let task = Task::expand(&server, "CREATE TABLE t ()");
    let run = task.spawn();
    run.says("next try in");
    server.launch();
    run.end().done();
    Task::expand(&server, "SELECT 1")
        .at(format!("postgres://a:b@127.0.0.1:{}/c", free_port()))
        .with("deadlineSeconds", 1)
        .run()
        .is(64, "DeadlineExceeded");
}

#[test]
fn a_wrong_password_is_said_and_no_password_is() {
    let server = Server::start();
    let url = format!(
        "postgres://ddl:falsch-0815@127.0.0.1:{}/shop?sslmode=disable",
        server.port()
    );
    let refused = Task::expand(&server, "SELECT 1")
        .at(url)
        .run()
        .is(75, "ConnectionRefused");
    assert_eq!(refused.report["sqlstate"], "28P01");
    assert!(
        !refused.log.contains("falsch") && !refused.report.to_string().contains("falsch"),
        "{refused:?}"
    );
    let url = server.url().replace("/shop", "/nowhere");
    let refused = Task::expand(&server, "SELECT 1")
        .at(url)
        .run()
        .is(75, "ConnectionRefused");
    assert_eq!(refused.report["sqlstate"], "3D000");
}

#[test]
fn a_restart_in_the_middle_is_survived() {
    let mut server = Server::start();
    let task = Task::expand(
        &server,
        "CREATE TABLE t (id int); INSERT INTO t VALUES (1); SELECT pg_sleep(2);",
    );
    let run = task.spawn();
    wait_for("the file at work", || {
        server.log().contains("pg_sleep(2)").then_some(())
    });
    server.halt();
    server.launch();
    let done = run.end().done();
    assert!(done.again("ConnectionLost") >= 1, "{done:?}");
    assert_eq!(server.number("SELECT count(*) FROM t"), 1);
}

#[test]
fn a_killed_run_leaves_nothing_and_the_next_one_ends_it() {
    let server = Server::start();
    let task = Task::files(
        &server,
        "Expand",
        &[
            (
                "a.sql",
                "CREATE TABLE t (id int); INSERT INTO t VALUES (1);",
            ),
            (
                "b.sql",
                "INSERT INTO t VALUES (2); SELECT pg_sleep(30) WHERE NOT EXISTS (SELECT FROM let_it_pass);",
            ),
        ],
    );
    server.sql("CREATE TABLE let_it_pass ()");
    let mut run = task.spawn();
    wait_for("the second file at work", || {
        server
            .log()
            .contains("INSERT INTO t VALUES (2)")
            .then_some(())
    });
    run.kill();
    server.sql("INSERT INTO let_it_pass DEFAULT VALUES");
    // The server has noticed within seconds that its client is gone; until then the lock is held.
    let done = task.run().done();
    assert!(done.log.contains("a.sql: was done before"), "{done:?}");
    assert_eq!(server.number("SELECT count(*) FROM t"), 2);
}

#[test]
fn a_run_that_is_told_to_end_rolls_back_and_says_so() {
    let server = Server::start();
    let task = Task::expand(&server, "CREATE TABLE t (); SELECT pg_sleep(60);");
    let run = task.spawn();
    wait_for("the file at work", || {
        server.log().contains("pg_sleep(60)").then_some(())
    });
    kill_process(Pid::from_child(&run.child), Signal::TERM).unwrap();
    let ended = run.end().is(76, "Stopped");
    assert_eq!(ended.report["applied"], false);
    assert_eq!(
        server.number("SELECT count(*) FROM pg_class WHERE relname = 't'"),
        0
    );
    assert_eq!(
        server.number(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'stepgate%'"
        ),
        0
    );
}

#[test]
fn the_deadline_ends_a_statement() {
    let server = Server::start();
    let began = std::time::Instant::now();
    let ended = Task::expand(&server, "CREATE TABLE t (); SELECT pg_sleep(60);")
        .with("deadlineSeconds", 2)
        .run()
        .is(64, "DeadlineExceeded");
    assert!(began.elapsed() < Duration::from_secs(20));
    assert_eq!(
        (&ended.report["statement"], &ended.report["applied"]),
        (&2.into(), &false.into())
    );
    // With something done before, the schema is in between.
    let ended = Task::files(
        &server,
        "Expand",
        &[
            ("a.sql", "CREATE TABLE u ()"),
            ("b.sql", "SELECT pg_sleep(60)"),
        ],
    )
    .with("version", 8)
    .with("deadlineSeconds", 2)
    .run()
    .failed("DeadlineExceeded");
    assert_eq!(ended.report["applied"], true);
}

#[test]
fn tls_is_checked_against_the_authority_that_is_given() {
    let mut server = Server::start();
    if server.texts("SHOW ssl_library") == [""] {
        println!("not tested: this PostgreSQL is built without TLS");
        return;
    }
    server.halt();
    let authority = rcgen::KeyPair::generate().unwrap();
    let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca = parameters.self_signed(&authority).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let issuer = rcgen::Issuer::new(parameters, authority);
    let certificate = rcgen::CertificateParams::new(vec!["localhost".to_owned()])
        .unwrap()
        .signed_by(&key, &issuer)
        .unwrap();
    std::fs::write(server.path("ca.crt"), ca.pem()).unwrap();
    server.keep("server.crt", &certificate.pem());
    server.keep("server.key", &key.serialize_pem());
    server.configure(&["ssl = on"]);
    server.launch();
    let url = |host: &str, mode: &str| {
        server
            .url()
            .replace("127.0.0.1", host)
            .replace("=disable", mode)
    };
    let task = |version: i32| {
        Task::expand(&server, "SELECT ssl::text FROM pg_stat_ssl").with("version", version)
    };
    let ca = server.path("ca.crt").display().to_string();
    let with_ca = |task: Task| task.argument("--ca").argument(&ca);

    with_ca(task(1))
        .at(url("localhost", "=verify-full"))
        .run()
        .done();
    assert!(server.number("SELECT count(*) FROM stepgate.files WHERE finished IS NOT NULL") == 1);
    let refused = task(2)
        .at(url("localhost", "=require"))
        .run()
        .is(75, "TlsFailed");
    assert!(
        refused.message().contains("schema.postgres.ca"),
        "{refused:?}"
    );
    let refused = with_ca(task(2))
        .at(url("127.0.0.1", "=verify-full"))
        .run()
        .is(75, "TlsFailed");
    assert!(refused.message().contains("name"), "{refused:?}");
    with_ca(task(2))
        .argument("--ca")
        .at(url("localhost", "=verify-full"));
    Task::expand(&server, "SELECT 1")
        .argument("--ca")
        .argument("/nowhere")
        .run()
        .is(64, "BadCa");
}
