//! Routes of others, and the gateway that follows them late.

use jiff::SignedDuration;

use super::{
    action::Routed,
    event::{Occurrence, Sync},
    object::{Name, RouteObject},
    setting::Delay,
    story::Detail,
    world::World,
};
use crate::{
    api::traffic::RouteKind,
    cluster::{WriteError, Written},
    plan::{
        facts::Base,
        intent::Write,
        routes::{
            RouteFacts, RoutesAsked,
            facts::{Found, Pair, Unusable, Weight},
        },
    },
};

/// Until the controllers of a route have reported it, and until requests follow it: one may come
/// before the other.
const REPORTS: Delay = Delay {
    low: 10,
    high: 1_500,
};
const FOLLOWS: Delay = REPORTS;
/// A kind without reports is followed within this.
const FOLLOWS_UNREPORTED: Delay = Delay {
    low: 10,
    high: 4_500,
};
/// A controller that has just started follows at once, and reports late.
const REPORTS_AFTER_A_START: i64 = 30;

const STABLE: &str = "/stable";
const CANARY: &str = "/canary";

impl World {
    /// Somebody makes, edits or deletes a route.
    pub(super) fn give_route(&mut self, name: &'static str, is: Routed) {
        let kind = self.route_kind.name();
        let words = match is {
            Routed::AtRest => format!("Git's {kind} {name} is applied: weights 100 and 0"),
            Routed::At(canary) => {
                format!(
                    "somebody sets {kind} {name} to {} and {canary}",
                    100 - canary
                )
            }
            Routed::Gone => format!("somebody deletes {kind} {name}"),
            Routed::Undefined => format!("somebody removes the definition of {kind}"),
        };
        self.did("", &words);
        let canary = match is {
            Routed::AtRest => 0,
            Routed::At(canary) => canary,
            Routed::Gone => {
                self.routes.remove(name);
                return;
            }
            Routed::Undefined => {
                self.routes.clear();
                self.route_kind_known = false;
                return;
            }
        };
        self.route_kind_known = true;
        self.version += 1;
        let version = self.version;
        let made = || RouteObject {
            uid: format!("route-{version}"),
            version,
            generation: 0,
            observed: 0,
            weights: (100, 0),
            former: 0,
            share: 0,
            by_hand: true,
            touched: None,
            told_again: false,
        };
        let now = self.now;
        let route = self.routes.entry(name.to_owned()).or_insert_with(made);
        let weights = (100 - canary, canary);
        // What changes nothing is no write.
        if route.generation > 0 && route.weights == weights {
            return;
        }
        route.former = route.weights.1;
        route.weights = weights;
        route.by_hand = true;
        route.touched = Some(now);
        self.route_changed(name);
    }

    /// A route as Git has it, that is there from the beginning.
    pub(crate) fn route_at_rest(&mut self, name: &str) {
        let route = RouteObject {
            uid: format!("route-{name}"),
            version: 1,
            generation: 1,
            observed: 1,
            weights: (100, 0),
            former: 0,
            share: 0,
            by_hand: true,
            touched: None,
            told_again: false,
        };
        self.routes.insert(name.to_owned(), route);
    }

    fn route_changed(&mut self, name: &str) {
        self.version += 1;
        let version = self.version;
        if let Some(route) = self.routes.get_mut(name) {
            route.version = version;
            route.generation += 1;
        }
        let follows = match self.route_kind {
            RouteKind::VirtualService => FOLLOWS_UNREPORTED,
            RouteKind::Http | RouteKind::Grpc => FOLLOWS,
        };
        let (reports, follows) = (self.draw(REPORTS), self.draw(follows));
        for (delay, data) in [(reports, false), (follows, true)] {
            let event = Occurrence::Gateway {
                route: name.into(),
                data,
            };
            self.after(delay, event);
        }
    }

    /// The gateway's controller stops, or is back and looks at everything.
    pub(super) fn gateway(&mut self, away: bool) {
        let words = match away {
            true => "the gateway's controller is down",
            false => "the gateway's controller is up",
        };
        self.struck("", words);
        self.gateway_away = away;
        if !away {
            let names: Vec<String> = self.routes.keys().cloned().collect();
            for name in names {
                let follows = SignedDuration::from_millis(500);
                let reports = SignedDuration::from_secs(REPORTS_AFTER_A_START);
                for (delay, data) in [(follows, true), (reports, false)] {
                    let route = name.as_str().into();
                    self.after(delay, Occurrence::Gateway { route, data });
                }
            }
        }
    }

    /// The gateway follows a route, or its controller reports it.
    pub(super) fn gateway_follows(&mut self, name: &Name, data: bool) {
        if self.gateway_away {
            return;
        }
        let Some(route) = self.routes.get_mut(&**name) else {
            return;
        };
        if !data {
            route.observed = route.generation;
            return;
        }
        route.share = route.weights.1;
        let rollouts: Vec<Name> = self.live.rollouts.keys().cloned().collect();
        for rollout in rollouts {
            if self.routed(&rollout).is_some() {
                self.sync(Sync::Endpoints(rollout));
            }
        }
    }

    /// The route by which users reach a Rollout.
    pub(super) fn routed(&self, rollout: &str) -> Option<&RouteObject> {
        let spec = self.live.rollouts.get(rollout)?.spec.as_ref().ok()?;
        let route = spec.traffic.as_ref()?.routes.first()?;
        self.routes.get(&route.name)
    }

    /// The share of the requests that a revision gets, from 0 to 1, where Services decide that.
    #[must_use]
    pub(crate) fn share_of(&self, rollout: &str, revision: &str) -> Option<f64> {
        let (mut of_users, mut of_canary) = (None, 0.0);
        for service in self.live.services_of(rollout) {
            let name = &service.meta.name;
            let leads = f64::from(u8::from(self.leads_to(name, revision)));
            match self.users_address(rollout, name) {
                true => of_users = Some(leads),
                false => of_canary = leads,
            }
        }
        let weight = f64::from(self.routed(rollout).map_or(0, |route| route.share)) / 100.0;
        of_users.map(|users| users * (1.0 - weight) + of_canary * weight)
    }

    /// What a live read of routes finds.
    pub(super) fn read_routes(&self, asked: &RoutesAsked) -> Vec<RouteFacts> {
        let weight = |pointer: &str, value| Weight {
            pointer: pointer.into(),
            value,
        };
        let read = |name: &String| {
            if !self.route_kind_known {
                return Err(Unusable::UnknownKind);
            }
            let route = self.routes.get(name).ok_or(Unusable::Missing)?;
            Ok(Found {
                base: Base {
                    name: name.clone(),
                    uid: route.uid.clone(),
                    resource_version: route.version.to_string(),
                },
                rules: vec![Pair {
                    rule: "rule web".into(),
                    stable: weight(STABLE, route.weights.0),
                    canary: weight(CANARY, route.weights.1),
                }],
                accepted: self.route_kind == RouteKind::VirtualService
                    || route.observed == route.generation,
            })
        };
        let routes = asked.routes.iter();
        routes
            .map(|asked| RouteFacts {
                asked: asked.clone(),
                found: read(&asked.name),
            })
            .collect()
    }

    /// Handles a write of weights.
    pub(super) fn weigh(
        &mut self,
        write: &Write,
        base: &Base,
        weights: &[(String, i32)],
    ) -> Result<Written, WriteError> {
        let conflict = || WriteError::Conflict {
            object: write.object(),
        };
        let route = self.routes.get_mut(&base.name).ok_or_else(conflict)?;
        if route.uid != base.uid || route.version.to_string() != base.resource_version {
            return Err(conflict());
        }
        let said = |pointer: &str, before| {
            let mut all = weights.iter();
            all.find(|(at, _)| at == pointer)
                .map_or(before, |(_, value)| *value)
        };
        route.former = route.weights.1;
        route.weights = (said(STABLE, route.weights.0), said(CANARY, route.weights.1));
        route.by_hand = false;
        let told = self.told_weights.insert(base.name.clone(), route.weights.1);
        route.told_again = told == Some(route.weights.1);
        let words = format!(
            "{} {} is at {} and {}",
            self.route_kind.name(),
            base.name,
            route.weights.0,
            route.weights.1
        );
        self.route_changed(&base.name);
        if self.story.detail == Detail::Writes {
            self.struck("", &words);
        }
        Ok(Written::Unkept)
    }

    /// A route that is not at rest, though nothing is in motion and nobody else has touched it.
    pub(super) fn unrested(&self, rollout: &str) -> Option<String> {
        let route = self.routed(rollout)?;
        let left = !route.by_hand && route.weights != (100, 0);
        left.then(|| format!("has left its route at {:?}", route.weights))
    }
}
