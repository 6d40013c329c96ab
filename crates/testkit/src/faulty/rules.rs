//! Which requests have which fault.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::Method;

/// What is wrong with a request or its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing comes and nothing goes, and nobody says so, as when a network is lost: requests do not arrive, watches stand
    /// still. What still waits when it ends goes on, as TCP has it.
    Silence,
    /// The same, but what was under way has no answer ever, as when a server is switched off, or a firewall forgets.
    Dead,
    /// The request arrives, also if the caller gives up; the answer never does.
    LostAnswer,
    /// It is refused with this code, and with these seconds in `Retry-After`.
    Refusal {
        /// The HTTP status.
        code: u16,
        /// Seconds.
        retry_after: Option<u32>,
    },
    /// It takes so long.
    Delay(Duration),
    /// Of watches: they break off after so many bytes of the next frame.
    Cut(usize),
    /// Of watches: they end with the word that their version is too old, whatever it is.
    Gone,
}

/// A request.
#[derive(Debug, Clone)]
pub struct Call {
    /// When it came.
    pub at: Instant,
    /// The method.
    pub method: Method,
    /// The path, without the query.
    pub path: String,
    /// The query.
    pub query: String,
    /// Whether it is a watch.
    pub watch: bool,
    /// What it was answered, once it was.
    pub code: Option<u16>,
}

impl Call {
    pub(super) fn of<B>(request: &http::Request<B>) -> Self {
        let query = request.uri().query().unwrap_or_default();
        let watch = query.split('&').any(|part| matches!(part, "watch=1" | "watch=true"));
        Self {
            at: Instant::now(),
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
            query: query.to_owned(),
            watch,
            code: None,
        }
    }

    /// Whether it is about a lease.
    pub fn is_lease(&self) -> bool {
        self.path.contains("/coordination.k8s.io/") && self.path.contains("/leases")
    }

    /// Whether it changes something, leases, events and reviews of access aside.
    pub fn is_write(&self) -> bool {
        let reads = [Method::GET, Method::HEAD, Method::OPTIONS].contains(&self.method);
        let aside = self.is_lease() || self.path.contains("/events") || self.path.contains("k8s.io/v1/selfsubject");
        !reads && !aside
    }
}

type Which = Arc<dyn Fn(&Call) -> bool + Send + Sync>;

#[derive(Clone)]
struct Rule {
    which: Which,
    fault: Fault,
    percent: u64,
    matched: Arc<AtomicU64>,
}

/// All that is wrong at a time.
#[derive(Clone, Default)]
pub(super) struct Rules(Vec<Rule>);

impl Rules {
    pub(super) fn add(&mut self, percent: u8, fault: Fault, which: impl Fn(&Call) -> bool + Send + Sync + 'static) {
        let percent = u64::from(percent.min(100));
        self.0.push(Rule { which: Arc::new(which), fault, percent, matched: Arc::default() });
    }

    /// The fault of a request.
    pub(super) fn fault(&self, call: &Call) -> Option<Fault> {
        let rule = self.0.iter().find(|rule| (rule.which)(call))?;
        let n = rule.matched.fetch_add(1, Ordering::Relaxed);
        // Evenly: as many of the first n as are due.
        ((n + 1) * rule.percent / 100 > n * rule.percent / 100).then_some(rule.fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(uri: &str) -> Call {
        Call::of(&http::Request::get(uri).body(()).unwrap())
    }

    #[test]
    fn a_share_is_spread_evenly() {
        let mut rules = Rules::default();
        rules.add(30, Fault::Silence, |call| !call.watch);
        let hit: Vec<bool> = (0..10).map(|_| rules.fault(&call("/api/v1/pods")).is_some()).collect();
        assert_eq!(hit.iter().filter(|hit| **hit).count(), 3, "{hit:?}");
        assert!(!hit.windows(2).any(|two| two[0] && two[1]), "{hit:?}");
        assert_eq!(rules.fault(&call("/api/v1/pods?watch=1")), None);
    }

    #[test]
    fn requests_are_told_apart() {
        let lease = call("/apis/coordination.k8s.io/v1/namespaces/n/leases/x");
        assert!(lease.is_lease() && !lease.is_write() && !lease.watch);
        let patch = http::Request::patch("/apis/apps/v1/namespaces/n/deployments/web").body(()).unwrap();
        assert!(Call::of(&patch).is_write());
    }
}
