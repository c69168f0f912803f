//! What stable needs to come back: there, gone, given up, or not to be read.

use super::fixture::{World, condition, stalled};
use crate::plan::facts::{ConfigFacts, ConfigRef, Question};

impl World {
    /// This revision's template names a ConfigMap.
    pub fn needs(&mut self, version: &str, config: &str) {
        let name = self.revision(version);
        let facts = self
            .seen
            .objects
            .revisions
            .iter_mut()
            .find(|r| r.revision == name)
            .unwrap();
        let config = ConfigRef {
            secret: false,
            name: config.into(),
        };
        facts.config = vec![config].into();
    }

    /// These do not exist; all others do.
    pub(crate) fn lacks(&mut self, missing: &[ConfigRef]) {
        self.seen.answers.config = Some(ConfigFacts {
            missing: missing.to_vec(),
            unread: Vec::new(),
        });
    }
}

/// What `needs("v1", "settings")` needs.
pub fn settings() -> ConfigRef {
    ConfigRef {
        secret: false,
        name: "settings".into(),
    }
}

#[test]
fn a_missing_config_map_of_stable_stops_promotion_and_not_an_undo() {
    let mut world = World::stable("v1").wants("v2").at_step(0);
    let name = settings();
    world.needs("v1", "settings");
    world.hold(100);
    assert_eq!(
        world.plan().questions,
        [Question::Config(vec![name.clone()])]
    );
    world.lacks(&[name]);
    let status = world.record();
    assert_eq!(stalled(&status), "UndoImpossible");
    assert_eq!(condition(&status, "UndoPossible").status, "False");
    world.fails("errors");
    assert_eq!(world.decide().release.unwrap().stage.word(), "undo");
}

#[test]
fn a_person_lets_one_release_go_on_without_a_way_back() {
    let mut world = World::stable("v1").wants("v2").at_step(0);
    let name = settings();
    world.needs("v1", "settings");
    let v2 = world.revision("v2");
    // While nothing is missing there is nothing to give up.
    world.lacks(&[]);
    world.command("promote", &format!("{v2}/without-undo 1"));
    let status = world.record();
    assert_eq!(status.commands[0].result, "Ignored");
    assert!(!status.release.unwrap().without_undo);
    world.hold(100);
    world.lacks(&[name]);
    let status = world.record();
    let said = condition(&status, "Stalled").message.clone();
    assert!(
        said.contains(&format!("{v2}/without-undo $(date +%s)")),
        "{said}"
    );
    world.command("promote", "other/without-undo 2");
    assert_eq!(world.record().commands[0].result, "Ignored");
    world.command("promote", &format!("{v2}/without-undo 3"));
    let status = world.record();
    assert_eq!(status.commands[0].result, "Done", "{:?}", status.commands);
    assert!(status.release.unwrap().without_undo);
    // It goes on at its own pace, and is told as what it is.
    let status = world.record();
    assert_eq!(condition(&status, "UndoPossible").status, "False");
    assert_eq!(status.release.unwrap().step().unwrap().index, 1);
    // What fails goes back all the same.
    world.fails("errors");
    assert_eq!(world.decide().release.unwrap().stage.word(), "undo");
}

#[test]
fn what_may_not_be_read_holds_nothing_up_and_is_said() {
    let mut world = World::stable("v1").wants("v2").at_step(0);
    world.needs("v1", "settings");
    world.hold(100);
    world.seen.answers.config = Some(ConfigFacts {
        missing: Vec::new(),
        unread: vec![settings()],
    });
    let status = world.record();
    let release = status.release.clone().unwrap();
    assert_eq!(release.step().unwrap().index, 1);
    assert_eq!(release.not_checked, ["ConfigMap settings"]);
    let status = world.record();
    let possible = condition(&status, "UndoPossible");
    assert_eq!(
        (&*possible.status, &*possible.reason),
        ("True", "NotChecked")
    );
    for words in [
        "ConfigMap settings",
        "rbac.getConfigMaps",
        "deploy/roles/config-maps.yaml",
    ] {
        assert!(possible.message.contains(words), "{}", possible.message);
    }
    // Once it is seen, nothing more is said of it.
    world.hold(100);
    world.lacks(&[]);
    let status = world.record();
    assert_eq!(status.release.unwrap().not_checked, [""; 0]);
}
