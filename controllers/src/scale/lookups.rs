//! Looking up the names of servers. A look-up holds a thread until the resolver is done with it, however soon whoever asked has
//! given up, so it has a turn for as long as it takes: a name server that does not answer delays those who name it.

use std::future::Future;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::vec;

use hyper_util::client::legacy::connect::dns::Name;
use tower_service::Service;
use trimtab::Shares;

/// How many names are looked up at once; for one namespace, half of them.
pub(super) const LOOK_UPS: usize = 16;

tokio::task_local! {
    /// The namespace for which a question is sent: the client's connector is not told.
    pub(super) static FOR: String;
}

type LookUp = dyn Fn(&str) -> io::Result<vec::IntoIter<SocketAddr>> + Send + Sync;

/// The names of servers, in turns.
#[derive(Clone)]
pub(super) struct Names {
    turns: Shares,
    look_up: Arc<LookUp>,
}

impl Default for Names {
    fn default() -> Self {
        // The port is the connector's to add.
        Self::by(|name| (name, 0).to_socket_addrs())
    }
}

impl Names {
    pub(super) fn by(look_up: impl Fn(&str) -> io::Result<vec::IntoIter<SocketAddr>> + Send + Sync + 'static) -> Self {
        Self { turns: Shares::of_work(LOOK_UPS), look_up: Arc::new(look_up) }
    }
}

impl Service<Name> for Names {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let Self { turns, look_up } = self.clone();
        let namespace = FOR.try_with(Clone::clone).unwrap_or_default();
        Box::pin(async move {
            let turn = turns.turn(&namespace).await;
            let looked = tokio::task::spawn_blocking(move || {
                let _turn = turn;
                look_up(name.as_str())
            });
            looked.await.unwrap_or_else(|error| Err(io::Error::other(error)))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Condvar, Mutex, PoisonError};
    use std::time::Duration;

    use tokio::time::{sleep, timeout};

    use super::*;
    use crate::scale::prometheus::Servers;

    /// Asks a server of this name for a namespace; whether it was looked up in time. Nothing listens there.
    async fn ask(servers: &Servers, namespace: &str, name: &str) -> bool {
        let address = format!("http://{name}:1");
        timeout(Duration::from_millis(200), servers.now((namespace, &address), "up")).await.is_ok()
    }

    /// A door on which look-ups wait; it opens with the end of the test, whatever that is, or its threads would not end.
    #[derive(Clone, Default)]
    struct Door(Arc<(Mutex<bool>, Condvar)>);

    impl Door {
        fn open(&self) {
            *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
            self.0.1.notify_all();
        }

        fn wait(&self) {
            let guard = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
            drop(self.0.1.wait_while(guard, |open| !*open).unwrap_or_else(PoisonError::into_inner));
        }
    }

    struct OpensAtTheEnd(Door);

    impl Drop for OpensAtTheEnd {
        fn drop(&mut self) {
            self.0.open();
        }
    }

    #[tokio::test]
    async fn a_name_server_that_does_not_answer_delays_those_who_name_it() {
        let (begun, door) = (Arc::new(AtomicUsize::new(0)), Door::default());
        let (counted, waits, _end) = (begun.clone(), door.clone(), OpensAtTheEnd(door.clone()));
        let servers = Arc::new(Servers::named_by(Names::by(move |name| {
            if name == "slow" {
                counted.fetch_add(1, Ordering::Relaxed);
                waits.wait();
            }
            Ok(vec![SocketAddr::from(([127, 0, 0, 1], 0))].into_iter())
        })));
        // All of them give up, and none of the threads does.
        let mut asked = tokio::task::JoinSet::new();
        for _ in 0..3 * LOOK_UPS {
            let servers = servers.clone();
            asked.spawn(async move { ask(&servers, "tenant", "slow").await });
        }
        assert!(!asked.join_all().await.contains(&true));
        assert_eq!(begun.load(Ordering::Relaxed), LOOK_UPS / 2);
        assert!(!ask(&servers, "tenant", "quick").await, "it has no more turns");
        assert!(ask(&servers, "other", "quick").await);
        door.open();
        while !ask(&servers, "tenant", "quick").await {
            sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(begun.load(Ordering::Relaxed), LOOK_UPS / 2, "who has given up does not begin");
    }
}
