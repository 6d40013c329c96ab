//! What the queue promises, on a clock that tests wind on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;
use tokio::time::{advance, timeout};
use trimtab_plan::{Kind, Meta, ObjectRef};

use super::*;
use crate::Selector;
use crate::gate::{Effect, View, Watching, Written};

const PODS: Kind = Kind::namespaced("", "v1", "Pod", "pods");

fn queue() -> Queue<ObjectRef> {
    Queue::new("test", Metrics::new())
}

fn key(namespace: &str, name: &str) -> ObjectRef {
    PODS.object(namespace, name)
}

fn change(what: What, version: &str) -> Trigger {
    Trigger::Changed { kind: "Pod", name: "x".into(), what, version: version.into() }
}

fn normal(queue: &Queue<ObjectRef>, key: &ObjectRef) {
    queue.wake(key.clone(), change(What::Specified, "1"), Lane::Normal);
}

/// The next key, if one comes without time passing.
async fn taken(queue: &Queue<ObjectRef>) -> Option<ObjectRef> {
    timeout(Duration::ZERO, queue.take()).await.ok().flatten().map(|taken| taken.key)
}

fn failed(class: Class) -> Finished {
    Finished { failed: Some(class), ..Finished::default() }
}

/// How long until the key comes, in milliseconds.
async fn wait_for(queue: &Queue<ObjectRef>) -> u128 {
    let started = Instant::now();
    queue.take().await.unwrap();
    started.elapsed().as_millis()
}

#[tokio::test(start_paused = true)]
async fn one_namespace_has_never_all_workers() {
    let queue = queue().shared_by(8);
    (0..20).for_each(|number| normal(&queue, &key("crowd", &number.to_string())));
    let mut held = vec![];
    while let Some(next) = taken(&queue).await {
        held.push(next);
    }
    assert_eq!(held.len(), 6, "two workers are free");
    normal(&queue, &key("calm", "a"));
    assert_eq!(taken(&queue).await, Some(key("calm", "a")), "another namespace has one at once");
    assert_eq!(taken(&queue).await, None);
    queue.finish(&key("calm", "a"), Finished::default());
    let done = held.pop().unwrap();
    queue.finish(&done, Finished::default());
    assert!(taken(&queue).await.is_some_and(|next| next.namespace == "crowd"), "it goes on in its own share");
    assert_eq!(taken(&queue).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_key_is_there_once_and_in_one_hand() {
    let (queue, a) = (queue(), key("n", "a"));
    normal(&queue, &a);
    normal(&queue, &a);
    assert_eq!(taken(&queue).await, Some(a.clone()));
    normal(&queue, &a);
    assert_eq!(taken(&queue).await, None, "it is being worked on");
    queue.finish(&a, Finished::default());
    assert_eq!(taken(&queue).await, Some(a.clone()), "it was woken meanwhile");
    queue.finish(&a, Finished::default());
    assert_eq!(taken(&queue).await, None);
    assert!(queue.lock().items.is_empty(), "nothing is remembered of a key that is well");
}

#[tokio::test(start_paused = true)]
async fn first_in_first_out_and_namespaces_take_turns() {
    let queue = queue();
    for name in ["a1", "a2", "a3"] {
        normal(&queue, &key("a", name));
    }
    normal(&queue, &key("b", "b1"));
    let mut order = vec![];
    while let Some(key) = taken(&queue).await {
        order.push(key.name);
    }
    assert_eq!(order, ["a1", "b1", "a2", "a3"]);
}

#[tokio::test(start_paused = true)]
async fn a_chatty_key_starves_nobody() {
    let (queue, chatty) = (queue(), key("n", "chatty"));
    normal(&queue, &chatty);
    for i in 0..10 {
        normal(&queue, &key("n", &i.to_string()));
    }
    for _ in 0..11 {
        let key = taken(&queue).await.unwrap();
        normal(&queue, &chatty);
        queue.finish(&key, Finished::default());
    }
    let state = queue.lock();
    assert!(state.items.keys().eq([&Arc::new(chatty)]), "all others were served");
}

#[tokio::test(start_paused = true)]
async fn low_never_starves_and_an_event_lifts_a_key() {
    let queue = queue();
    for i in 0..3 {
        queue.wake(key("n", &format!("low{i}")), Trigger::Start, Lane::Low);
    }
    for i in 0..30 {
        normal(&queue, &key("n", &format!("new{i:02}")));
    }
    normal(&queue, &key("n", "low2"));
    let mut order = vec![];
    while let Some(key) = taken(&queue).await {
        order.push(key.name);
    }
    let at = |name: &str| order.iter().position(|n| n == name).unwrap();
    assert!(at("low0") < 8 && at("low1") < 16, "{order:?}");
    assert_eq!(order.iter().filter(|name| *name == "low2").count(), 1);
    assert_eq!(order.len(), 33);
}

#[tokio::test(start_paused = true)]
async fn failures_back_off_and_a_success_resets() {
    let (queue, a) = (queue(), key("n", "a"));
    normal(&queue, &a);
    taken(&queue).await.unwrap();
    for wait in [5, 10, 20, 40] {
        queue.finish(&a, failed(Class::Transient));
        assert_eq!(wait_for(&queue).await, wait);
    }
    queue.finish(&a, Finished::default());
    normal(&queue, &a);
    taken(&queue).await.unwrap();
    queue.finish(&a, failed(Class::Blocked));
    assert_eq!(wait_for(&queue).await, 1000);
    queue.finish(&a, failed(Class::Blocked));
    assert_eq!(wait_for(&queue).await, 2000);
}

/// A key that failed until its backoff is long.
async fn failing(queue: &Queue<ObjectRef>, own: &[&str]) -> ObjectRef {
    let a = key("n", "a");
    normal(queue, &a);
    for _ in 0..20 {
        queue.take().await.unwrap();
        let own = own.iter().map(|version| Box::from(*version)).collect();
        queue.finish(&a, Finished { own, ..failed(Class::Transient) });
    }
    a
}

#[tokio::test(start_paused = true)]
async fn a_failing_key_does_not_run_hot_on_its_own_writes() {
    let queue = queue();
    let a = failing(&queue, &["77"]).await;
    queue.wake(a.clone(), change(What::Changed, "77"), Lane::Normal);
    assert_eq!(wait_for(&queue).await, 60_000, "its own status write is no news");
    // The echo may come before the answer to the write.
    queue.wake(a.clone(), change(What::Specified, "78"), Lane::Normal);
    queue.finish(&a, Finished { own: vec!["78".into()], ..failed(Class::Transient) });
    assert_eq!(wait_for(&queue).await, 60_000);
}

#[tokio::test(start_paused = true)]
async fn a_change_of_what_people_set_acts_at_once() {
    let queue = queue();
    let a = failing(&queue, &["77"]).await;
    advance(Duration::from_secs(10)).await;
    queue.wake(a.clone(), change(What::Specified, "90"), Lane::Normal);
    assert_eq!(taken(&queue).await, Some(a.clone()));
    // But such changes cannot make it run hot either, and the backoff stays as long as it was.
    queue.finish(&a, failed(Class::Transient));
    queue.wake(a.clone(), change(What::Specified, "91"), Lane::Normal);
    assert_eq!(wait_for(&queue).await, 1000);
    queue.finish(&a, failed(Class::Transient));
    queue.wake(a.clone(), change(What::Changed, "92"), Lane::Normal);
    assert_eq!(wait_for(&queue).await, 5000);
    queue.finish(&a, failed(Class::Transient));
    assert_eq!(wait_for(&queue).await, 60_000);
}

#[tokio::test(start_paused = true)]
async fn a_new_plan_replaces_the_wake_of_the_old() {
    let (queue, a) = (queue(), key("n", "a"));
    let wake = |seconds| Finished { wake: Some(Instant::now() + Duration::from_secs(seconds)), ..Finished::default() };
    normal(&queue, &a);
    taken(&queue).await.unwrap();
    queue.finish(&a, wake(60));
    normal(&queue, &a);
    taken(&queue).await.unwrap();
    queue.finish(&a, wake(90));
    assert_eq!(wait_for(&queue).await, 90_000);
    queue.finish(&a, Finished::default());
    assert!(queue.lock().timers.is_empty() && queue.lock().items.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_forgotten_key_leaves_nothing() {
    let queue = queue();
    let a = failing(&queue, &[]).await;
    queue.take().await.unwrap();
    queue.finish(&a, Finished { forget: true, ..Finished::default() });
    let state = queue.lock();
    assert!(state.items.is_empty() && state.timers.is_empty() && state.gated.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_closed_queue_gives_nothing_out() {
    let queue = Arc::new(queue());
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            tokio::spawn({
                let queue = queue.clone();
                async move { queue.take().await.is_none() }
            })
        })
        .collect();
    tokio::task::yield_now().await;
    queue.close();
    for worker in waiting {
        assert!(worker.await.unwrap());
    }
}

/// A store whose clock a test sets.
#[derive(Default)]
struct Clock(AtomicU64);

impl View for Clock {
    fn kind(&self) -> Kind {
        PODS
    }
    fn covers(&self, _: &str) -> bool {
        true
    }
    fn last_seen(&self, _: &str) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
    fn meta(&self, _: &str, _: &str) -> Option<Meta> {
        None
    }
    fn version_of(&self, _: &str, _: &str) -> Option<String> {
        None
    }
}

fn gates(clock: &Arc<Clock>, version: &str) -> Vec<Gate> {
    let watching = [Watching { view: clock.clone(), selector: Selector::all() }];
    let effect = Effect::Version(version.to_owned());
    Gate::all(&watching, &[Written { target: key("n", "a"), effect, labels: BTreeMap::new() }])
}

#[tokio::test(start_paused = true)]
async fn a_key_waits_for_its_own_writes() {
    let (queue, a, clock) = (queue(), key("n", "a"), Arc::new(Clock::default()));
    normal(&queue, &a);
    taken(&queue).await.unwrap();
    queue.finish(&a, Finished { gates: gates(&clock, "10"), ..Finished::default() });
    normal(&queue, &a);
    normal(&queue, &key("n", "b"));
    assert_eq!(taken(&queue).await, Some(key("n", "b")), "others do not wait");
    clock.0.store(9, Ordering::Relaxed);
    queue.store_advanced();
    assert_eq!(taken(&queue).await, None);
    clock.0.store(10, Ordering::Relaxed);
    queue.store_advanced();
    assert_eq!(taken(&queue).await, Some(a.clone()));
    // A store that never catches up holds nothing up for good.
    queue.finish(&a, Finished { gates: gates(&clock, "20"), ..Finished::default() });
    normal(&queue, &a);
    assert_eq!(wait_for(&queue).await, 10_000);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_nothing_wakes_is_not_remembered_for_its_writes() {
    let (queue, a, clock) = (queue(), key("n", "a"), Arc::new(Clock::default()));
    normal(&queue, &a);
    taken(&queue).await.unwrap();
    queue.finish(&a, Finished { gates: gates(&clock, "10"), ..Finished::default() });
    clock.0.store(10, Ordering::Relaxed);
    queue.store_advanced();
    assert!(queue.lock().items.is_empty());
    assert_eq!(taken(&queue).await, None);
}

/// What can happen to a queue.
#[derive(Debug, Clone)]
enum Step {
    Wake(u8, bool),
    Take,
    Finish(u8, u8),
    Pass(u16),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..6u8, any::<bool>()).prop_map(|(key, low)| Step::Wake(key, low)),
        4 => Just(Step::Take),
        3 => (0..6u8, 0..5u8).prop_map(|(key, how)| Step::Finish(key, how)),
        1 => (0..3000u16).prop_map(Step::Pass),
    ]
}

/// Runs steps; checks that no key is ever in two hands, and that at the end every woken key is served.
async fn run(steps: Vec<Step>) {
    let (queue, clock) = (queue(), Arc::new(Clock::default()));
    let named = |i: u8| key(if i < 3 { "a" } else { "b" }, &i.to_string());
    let (mut held, mut owed) = (BTreeSet::new(), BTreeSet::new());
    for step in steps {
        match step {
            Step::Wake(i, low) => {
                queue.wake(named(i), change(What::Specified, "1"), if low { Lane::Low } else { Lane::Normal });
                owed.insert(named(i));
            }
            Step::Take => {
                if let Some(key) = taken(&queue).await {
                    owed.remove(&key);
                    assert!(held.insert(key), "a key in two hands");
                }
            }
            Step::Finish(i, how) if held.remove(&named(i)) => {
                let finished = match how {
                    0 => failed(Class::Transient),
                    1 => failed(Class::Blocked),
                    2 => Finished { wake: Some(Instant::now() + Duration::from_secs(1)), ..Finished::default() },
                    3 => Finished { gates: gates(&clock, "10"), ..Finished::default() },
                    _ => Finished { forget: true, ..Finished::default() },
                };
                queue.finish(&named(i), finished);
            }
            Step::Finish(..) => {}
            Step::Pass(millis) => advance(Duration::from_millis(u64::from(millis))).await,
        }
    }
    held.iter().for_each(|key| queue.finish(key, Finished::default()));
    while !owed.is_empty() {
        let next = timeout(Duration::from_secs(700), queue.take()).await;
        let key = next.expect("a woken key is served").unwrap().key;
        owed.remove(&key);
        queue.finish(&key, Finished { forget: true, ..Finished::default() });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]
    #[test]
    fn every_woken_key_is_served_and_never_twice_at_once(steps in prop::collection::vec(step(), 0..80)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(run(steps));
    }
}

/// A worker that waits for a key; which it takes, and after how many seconds.
fn waiting(queue: &Arc<Queue<ObjectRef>>) -> tokio::task::JoinHandle<(ObjectRef, u64)> {
    let (queue, began) = (queue.clone(), Instant::now());
    tokio::spawn(async move { (queue.take().await.unwrap().key, began.elapsed().as_secs()) })
}

#[tokio::test(start_paused = true)]
async fn each_time_is_waited_for_though_the_worker_that_did_goes_and_an_earlier_one_comes() {
    let queue = Arc::new(queue());
    let [late, soon] = ["late", "soon"].map(|name| key("ns", name));
    for key in [&late, &soon] {
        normal(&queue, key);
        assert_eq!(taken(&queue).await.as_ref(), Some(key));
    }
    let due = |seconds| Finished { wake: Some(Instant::now() + Duration::from_secs(seconds)), ..Finished::default() };
    queue.finish(&late, due(10));
    let mut workers = vec![];
    for _ in 0..3 {
        workers.push(waiting(&queue));
        tokio::task::yield_now().await;
    }
    queue.finish(&soon, due(5));
    tokio::task::yield_now().await;
    // Who has waited longest hears of it, and is the one that waits for it.
    workers.remove(0).abort();
    tokio::task::yield_now().await;
    let mut served = vec![];
    for worker in workers {
        served.push(timeout(Duration::from_secs(60), worker).await.expect("nobody waits for a time").unwrap());
    }
    served.sort_by_key(|(_, seconds)| *seconds);
    assert_eq!(served, [(soon, 5), (late, 10)]);
}
