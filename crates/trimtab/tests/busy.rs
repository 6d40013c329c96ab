//! A process that does not get to its tasks: more work than processor, or a task that does not yield. What has to go on all the
//! same.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod stub;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use stub::{Asked, Reply, listen, refusal};
use trimtab::lease::{Election, Options, State};
use trimtab::metrics::Metrics;

/// A Lease that is kept as it is written.
#[derive(Default)]
struct Kept {
    lease: Mutex<Option<Value>>,
    writes: AtomicU64,
}

impl Kept {
    fn answer(&self, asked: &Asked) -> Reply {
        let mut lease = self.lease.lock().unwrap();
        if asked.method != "GET" {
            let mut written = asked.body.clone();
            written["metadata"]["resourceVersion"] = json!((self.writes.fetch_add(1, Relaxed) + 1).to_string());
            *lease = Some(written);
        }
        match &*lease {
            Some(lease) => Reply::Json(200, lease.clone()),
            None => Reply::Json(404, refusal(404, "NotFound", "there is none")),
        }
    }

    fn holder(&self) -> Value {
        self.lease.lock().unwrap().as_ref().unwrap()["spec"]["holderIdentity"].clone()
    }
}

#[test]
fn a_leader_renews_while_its_process_does_not_get_to_its_tasks() {
    let kept = Arc::new(Kept::default());
    let elsewhere = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let answers = kept.clone();
    let config = elsewhere.block_on(listen(move |asked: &Asked| answers.answer(asked)));
    let process = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    process.block_on(async {
        let options = Options {
            lease_duration: Duration::from_secs(4),
            renew_deadline: Duration::from_secs(3),
            retry_period: Duration::from_millis(200),
            connection: Some(config.clone()),
            ..Options::new("n", "x")
        };
        let election = Election::run(trimtab::client(config).unwrap(), options, Metrics::new()).unwrap();
        election.state().wait_for(|state| *state == State::Leading).await.unwrap();
        let written = kept.writes.load(Relaxed);
        // No task of this runtime goes on for longer than the lease lasts.
        std::thread::sleep(Duration::from_secs(5));
        assert_eq!(*election.state().borrow(), State::Leading);
        assert!(kept.writes.load(Relaxed) > written + 5, "{} writes", kept.writes.load(Relaxed));
        election.release().await;
    });
    assert!(matches!(kept.holder(), Value::Null) || kept.holder() == "", "it was not set free: {}", kept.holder());
}
