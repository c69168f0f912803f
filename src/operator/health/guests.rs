//! The connections that are open, and who has to go for the next.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    net::IpAddr,
};

use tokio::task::{Id, JoinSet};

/// Open connections of one listener.
#[derive(Debug)]
pub(super) struct Guests {
    most: usize,
    tasks: JoinSet<()>,
    /// Whose they are, and the connections of each, the oldest first.
    peers: HashMap<IpAddr, VecDeque<Id>>,
    ends: BTreeMap<Id, (IpAddr, tokio::task::AbortHandle)>,
}

impl Guests {
    /// At most so many.
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            tasks: JoinSet::new(),
            peers: HashMap::new(),
            ends: BTreeMap::new(),
        }
    }

    /// Lets one in. When there are too many, the oldest of the peer with the most goes.
    pub(super) fn welcome(
        &mut self,
        peer: IpAddr,
        connection: impl Future<Output = ()> + Send + 'static,
    ) {
        while let Some(left) = self.tasks.try_join_next_with_id() {
            let id = left.map_or_else(|error| error.id(), |(id, ())| id);
            self.forget(id);
        }
        while self.ends.len() >= self.most {
            let oldest = self.peers.values().max_by_key(|of_one| of_one.len());
            let Some(id) = oldest.and_then(|of_one| of_one.front()).copied() else {
                break;
            };
            if let Some((_, end)) = self.ends.get(&id) {
                end.abort();
            }
            self.forget(id);
        }
        let end = self.tasks.spawn(connection);
        self.peers.entry(peer).or_default().push_back(end.id());
        self.ends.insert(end.id(), (peer, end));
    }

    fn forget(&mut self, id: Id) {
        let Some((peer, _)) = self.ends.remove(&id) else {
            return;
        };
        if let Some(of_one) = self.peers.get_mut(&peer) {
            of_one.retain(|one| *one != id);
            if of_one.is_empty() {
                self.peers.remove(&peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Says its name when it ends.
    struct Guest(u8, Arc<Mutex<Vec<u8>>>);

    impl Drop for Guest {
        fn drop(&mut self) {
            self.1.lock().unwrap().push(self.0);
        }
    }

    #[tokio::test]
    async fn the_oldest_of_whoever_has_the_most_goes() {
        let (mut guests, gone) = (Guests::new(3), Arc::new(Mutex::new(Vec::new())));
        let come = |guests: &mut Guests, peer: u8, name: u8| {
            let guest = Guest(name, gone.clone());
            guests.welcome(IpAddr::from([10, 0, 0, peer]), async move {
                let _guest = guest;
                std::future::pending().await
            });
        };
        // One has been there for long, another takes all places.
        come(&mut guests, 1, 1);
        for name in 2..6 {
            come(&mut guests, 2, name);
        }
        come(&mut guests, 1, 6);
        tokio::task::yield_now().await;
        assert_eq!(*gone.lock().unwrap(), [2, 3, 4]);
        assert_eq!(guests.ends.len(), 3);
    }

    #[tokio::test]
    async fn who_has_left_takes_no_place() {
        let mut guests = Guests::new(2);
        for _ in 0..100 {
            guests.welcome(IpAddr::from([10, 0, 0, 1]), async {});
            tokio::task::yield_now().await;
        }
        assert!(guests.ends.len() <= 2 && guests.tasks.len() <= 2);
        guests.welcome(IpAddr::from([10, 0, 0, 2]), async {});
        assert!(guests.peers.len() <= 2);
    }
}
