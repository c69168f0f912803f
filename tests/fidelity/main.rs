//! The simulator's API server and controllers, held against the real ones: the same scripts are
//! played on both, and what a client sees must agree.
//!
//! What both must say is kept in `agreed`, a file for each script, for people to read:
//!
//! - `in_memory::` plays the scripts on the cluster in memory; it needs nothing.
//!   `UPDATE_AGREED=1` writes the files from what it says.
//! - `on_a_control_plane::` plays them on the cluster of `KUBECONFIG` (full rights; a controller manager
//!   but **no scheduler and no nodes**: scheduler and kubelets are played by hand on both).
//!
//! What the cluster in memory does not claim to do, no script asks for; docs/soak.md lists it.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    missing_docs,
    reason = "a test that cannot go on has failed"
)]

mod agreed;
mod control_plane;
#[expect(dead_code, reason = "it has what the adapter's tests need besides")]
#[path = "../api_server/fixture.rs"]
mod fixture;
mod manifest;
mod memory;
mod people;
mod play;
mod played;
mod scripts;
mod side;
mod telling;

/// One test of each world for each script.
macro_rules! scripts {
    ($($module:ident::$script:ident),+ $(,)?) => {
        mod in_memory {
            $(#[tokio::test]
            async fn $script() {
                let mut play = crate::play::Play::new(crate::memory::Memory::new(), None);
                crate::scripts::$module::$script(&mut play).await;
                crate::agreed::compare(stringify!($script), &play.told());
            })+
        }

        mod on_a_control_plane {
            $(#[tokio::test]
            async fn $script() {
                let name = stringify!($script);
                let side = crate::control_plane::ControlPlane::new(name).await;
                let agreed = crate::agreed::read(name);
                let mut play = crate::play::Play::new(side, Some(agreed));
                crate::scripts::$module::$script(&mut play).await;
                crate::agreed::differences(name, &play.told());
            })+
        }

        /// No file is left of a script that is no more.
        #[test]
        fn every_file_has_its_script() {
            crate::agreed::no_others(&[$(stringify!($script)),+]);
        }
    };
}

scripts!(
    writes::a_revision,
    writes::a_rollout,
    writes::a_rollout_applied_by_several,
    writes::a_deployment,
    writes::a_database,
    writes::a_job,
    services::follow_what_is_written,
    pods::come_up_and_are_lowered,
    pods::that_are_not_ready_go_first,
    pods::that_were_ready_last_go_first,
    pods::are_replaced,
    pods::wait_for_room,
    pods::wait_for_quota,
    pods::go_with_their_deployment,
    pods::are_nobodys_business_of_an_edit_at_zero,
    owners::gone_takes_what_it_owns,
    owners::that_are_not_there,
    owners::of_the_same_name,
    owners::in_the_foreground,
    jobs::succeeds,
    jobs::fails,
    jobs::runs_into_its_deadline,
    jobs::never_starts,
    jobs::is_deleted_while_it_runs,
    jobs::goes_with_its_database,
    jobs::outlives_its_database_while_that_is_held,
    reads::are_live,
);
