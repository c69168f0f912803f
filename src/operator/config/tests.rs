//! Flags as a user gives them. The environment is left alone: tests of one process share it.

use clap::Parser;

use super::*;

#[derive(Parser)]
struct Program {
    #[command(flatten)]
    operator: OperatorArgs,
}

fn settings(flags: &[&str]) -> Result<Settings, String> {
    let program = Program::try_parse_from(std::iter::once(&"stepgate").chain(flags))
        .map_err(|error| error.to_string())?;
    program
        .operator
        .settings()
        .map_err(|error| error.to_string())
}

#[test]
fn nothing_given_means_the_whole_cluster_and_an_election() {
    let settings = settings(&[]).unwrap();
    assert_eq!(settings.scope, Scope::Cluster);
    assert_eq!(settings.listen.port(), 8080);
    assert_eq!(settings.probes_listen.port(), 8081);
    let election = settings.election.unwrap();
    assert_eq!(
        (election.name.as_str(), election.namespace),
        ("stepgate", None)
    );
    assert_eq!(election.timing, Timing::default());
}

#[test]
fn namespaces_may_be_listed_and_repeated() {
    let settings = settings(&["--namespace", "a,b", "--namespace", "c,a"]).unwrap();
    let names = ["a", "b", "c"].map(str::to_owned);
    assert_eq!(settings.scope, Scope::Namespaces(names.into()));
}

#[test]
fn an_empty_list_means_the_whole_cluster() {
    assert_eq!(settings(&["--namespace="]).unwrap().scope, Scope::Cluster);
}

#[test]
fn the_election_can_be_switched_off_and_on() {
    assert_eq!(settings(&["--leader-elect=false"]).unwrap().election, None);
    assert!(settings(&["--leader-elect"]).unwrap().election.is_some());
    assert!(
        settings(&["--leader-elect=true"])
            .unwrap()
            .election
            .is_some()
    );
}

#[test]
fn an_identity_is_kept_and_a_made_up_one_is_unique() {
    let named = settings(&["--identity", "stepgate-7d4-x2x"]).unwrap();
    assert_eq!(named.election.unwrap().identity, "stepgate-7d4-x2x");
    let made_up = || settings(&[]).unwrap().election.unwrap().identity;
    assert_ne!(made_up(), made_up());
}

#[test]
fn what_is_wrong_is_said_with_the_flag() {
    let long = "x".repeat(64);
    for (flags, expected) in [
        (
            vec!["--namespace", "Team_A"],
            "--namespace `Team_A` is not a name",
        ),
        (vec!["--namespace", &long], "--namespace `xxx"),
        (vec!["--lease-name=-x"], "--lease-name `-x` is not a name"),
        (
            vec!["--lease-namespace", "a.b"],
            "--lease-namespace `a.b` is not a name",
        ),
        (
            vec!["--identity", "two words"],
            "--identity `two words` is not a name",
        ),
        (vec!["--log-level", "loud=x=y"], "--log-level `loud=x=y`"),
        (
            vec!["--renew-deadline-seconds", "15"],
            "must be shorter than the lease duration (15s)",
        ),
        (
            vec!["--retry-period-seconds", "6"],
            "must be at most half of the renew deadline (10s)",
        ),
        (
            vec!["--retry-period-seconds", "0"],
            "--retry-period-seconds do not fit together",
        ),
        (vec!["--workers", "0"], "--workers <COUNT>"),
        (
            vec!["--max-phase-seconds", "0"],
            "--max-phase-seconds <SECONDS>",
        ),
        (vec!["--listen", "8080"], "--listen <ADDRESS:PORT>"),
        (vec!["--log-format", "xml"], "--log-format <LOG_FORMAT>"),
    ] {
        let error = settings(&flags).unwrap_err();
        assert!(error.contains(expected), "{flags:?} gave: {error}");
    }
}

#[test]
fn every_flag_has_a_variable_named_after_it() {
    use clap::CommandFactory;
    for argument in Program::command()
        .get_arguments()
        .filter(|a| a.get_id() != "help")
    {
        let flag = argument.get_long().unwrap();
        let expected = format!("STEPGATE_{}", flag.to_uppercase().replace('-', "_"));
        assert_eq!(
            argument.get_env().and_then(|e| e.to_str()),
            Some(expected.as_str())
        );
    }
}
