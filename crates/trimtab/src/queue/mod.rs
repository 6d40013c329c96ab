//! The keyed queue between watches and workers. A key is in it once, however often it is woken, and in the hands of one
//! worker at a time. Not a store of work: what is to be done is decided from the stores when the key's turn comes.
//!
//! After a failure a key waits (`backoff`). An event in that time is not an order to try at once, or a key whose failing
//! reconcile writes a status would run hot on its own echo (kubernetes#132805):
//! - the echo of a write of its own does not count;
//! - a change of what people set (spec, labels, annotations, creation, deletion) or an answer brings the key forward to
//!   at once, but not closer than a second to the last try;
//! - any other change brings it forward to 5 seconds after the last try.
//!
//! A try that was brought forward and fails does not lengthen the backoff.

mod backoff;
mod item;
mod lanes;
#[cfg(test)]
mod tests;
mod trigger;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use trimtab_plan::Class;

pub(crate) use backoff::Backoff;
use item::Failed;
pub(crate) use lanes::Lane;
pub(crate) use trigger::{Trigger, What};

use crate::Key;
use crate::gate::Gate;
use crate::metrics::Metrics;
use crate::share::{Held, MOST_OF_IT};
use item::{FORWARD_OTHER, Item, Place};
use lanes::Lanes;

/// The queue of one controller.
pub(crate) struct Queue<K> {
    controller: &'static str,
    metrics: Metrics,
    state: Mutex<State<K>>,
    changed: Notify,
    gated: AtomicUsize,
    closed: AtomicBool,
}

struct State<K> {
    /// Keys are shared with lanes and timers: at the start there are as many of them as there are objects.
    items: HashMap<Arc<K>, Item>,
    lanes: Lanes<Arc<K>>,
    timers: BTreeMap<(Instant, u64), Arc<K>>,
    gated: HashSet<Arc<K>>,
    ready: usize,
    /// For which time a worker that has nothing to do waits: one of them is enough.
    awaited: Option<Instant>,
    next: u64,
    /// The keys that are in the hands of workers: no namespace has all of them.
    hands: Held,
}

/// A key in the hands of a worker.
pub(crate) struct Taken<K> {
    pub(crate) key: K,
    pub(crate) triggers: Vec<Trigger>,
    /// How long it was ready.
    pub(crate) queued: Duration,
    /// Since the first event that woke it; none if no event did.
    pub(crate) since_event: Option<Duration>,
}

/// How a reconcile ended, for the queue.
#[derive(Default)]
pub(crate) struct Finished {
    /// What went wrong, if something did.
    pub(crate) failed: Option<Class>,
    /// When the plan wants to be decided again.
    pub(crate) wake: Option<Instant>,
    /// Until when the server wants to be left alone; only after a failure.
    pub(crate) not_before: Option<Instant>,
    /// What the stores must see first.
    pub(crate) gates: Vec<Gate>,
    /// The resource versions written.
    pub(crate) own: Vec<Box<str>>,
    /// It succeeded, but its writes repeat themselves: it is slowed down like a failure.
    pub(crate) hot: bool,
    /// The key is of nothing any more: forget its failures.
    pub(crate) forget: bool,
}

impl<K: Key> Queue<K> {
    pub(crate) fn new(controller: &'static str, metrics: Metrics) -> Self {
        let state = State {
            items: HashMap::new(),
            lanes: Lanes::new(),
            timers: BTreeMap::new(),
            gated: HashSet::new(),
            ready: 0,
            awaited: None,
            next: 0,
            hands: Held::none_of(usize::MAX, MOST_OF_IT),
        };
        Self {
            controller,
            metrics,
            state: Mutex::new(state),
            changed: Notify::new(),
            gated: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
        }
    }

    /// The same for so many workers, of which no namespace has all.
    pub(crate) fn shared_by(self, workers: usize) -> Self {
        self.lock().hands = Held::none_of(workers, MOST_OF_IT);
        self
    }

    fn lock(&self) -> MutexGuard<'_, State<K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes a key.
    pub(crate) fn wake(&self, key: K, trigger: Trigger, lane: Lane) {
        let now = Instant::now();
        let mut state = self.lock();
        let key = state.shared(key, now);
        let Some(item) = state.items.get_mut(&key) else { return };
        if item.place == Place::Idle && item.is_echo(&trigger) {
            return;
        }
        let specified = trigger.is_specification();
        item.note(trigger, now);
        match item.place {
            Place::Running | Place::Parked => return,
            Place::Ready(waits, _) if lane <= waits => return,
            Place::Ready(..) => _ = state.enter(&key, lane, now),
            Place::Idle => {
                let due = item.due(specified, now);
                if state.schedule(&key, due, lane, now) {
                    self.metrics.stale_skip();
                }
            }
        }
        self.publish(state);
        self.metrics.queue_added(self.controller);
    }

    /// Reports the depth, and lets a worker look if there is anything to see.
    fn publish(&self, state: MutexGuard<'_, State<K>>) {
        self.gated.store(state.gated.len(), Ordering::Release);
        self.metrics.queue_depth(self.controller, state.ready);
        let concerns_others = state.ready > 0 || state.is_unawaited();
        drop(state);
        if concerns_others {
            self.changed.notify_one();
        }
    }

    /// The next key; waits for one. `None` once the queue is closed.
    pub(crate) async fn take(&self) -> Option<Taken<K>> {
        loop {
            // Asked for before looking, so that what comes in between is not missed.
            let changed = self.changed.notified();
            if self.closed.load(Ordering::Acquire) {
                self.changed.notify_one();
                return None;
            }
            let next = {
                let now = Instant::now();
                let mut state = self.lock();
                let parked = state.promote(now);
                (0..parked).for_each(|_| self.metrics.stale_skip());
                if let Some(taken) = state.take(now) {
                    // One wake-up may stand for several keys: the next worker looks for itself.
                    self.publish(state);
                    return Some(taken);
                }
                state.await_first()
            };
            match next {
                Some(at) => {
                    let waiting = Waiting { queue: self, at };
                    tokio::select! { () = changed => {}, () = sleep_until(at) => {} }
                    waiting.looks();
                }
                None => changed.await,
            }
        }
    }

    /// Gives a key back.
    pub(crate) fn finish(&self, key: &K, finished: Finished) {
        let now = Instant::now();
        let mut state = self.lock();
        let retried = finished.failed.is_some();
        if state.finish(key, finished, now) {
            self.metrics.stale_skip();
        }
        self.publish(state);
        if retried {
            self.metrics.queue_retried(self.controller);
        }
    }

    /// A store has moved on: keys that waited for it may go on.
    pub(crate) fn store_advanced(&self) {
        if self.gated.load(Ordering::Acquire) == 0 {
            return;
        }
        let now = Instant::now();
        let mut state = self.lock();
        if state.recheck(now) {
            self.publish(state);
        }
    }

    /// Hands out no more keys.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.changed.notify_one();
    }
}

/// A worker that waits for the first time of the queue. If it goes without looking, another one waits for that.
struct Waiting<'q, K: Key> {
    queue: &'q Queue<K>,
    at: Instant,
}

impl<K: Key> Waiting<'_, K> {
    /// It has waited, and looks.
    fn looks(self) {
        self.queue.lock().awaits_no_more(self.at);
        std::mem::forget(self);
    }
}

impl<K: Key> Drop for Waiting<'_, K> {
    fn drop(&mut self) {
        let mut state = self.queue.lock();
        state.awaits_no_more(self.at);
        self.queue.publish(state);
    }
}

impl<K: Key> State<K> {
    /// Whether a time will come for which nobody waits.
    fn is_unawaited(&self) -> bool {
        self.first_time().is_some_and(|first| self.awaited.is_none_or(|awaited| first < awaited))
    }

    /// When the first of the keys comes that have a time.
    fn first_time(&self) -> Option<Instant> {
        self.timers.first_key_value().map(|((at, _), _)| *at)
    }

    /// The time for which whoever asks is to wait, unless another waits for it.
    fn await_first(&mut self) -> Option<Instant> {
        if !self.is_unawaited() {
            return None;
        }
        self.awaited = self.first_time();
        self.awaited
    }

    /// Whoever waited for a time looks for itself, or is gone.
    fn awaits_no_more(&mut self, at: Instant) {
        if self.awaited == Some(at) {
            self.awaited = None;
        }
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// The key as it is shared; a new one if nothing is known of it.
    fn shared(&mut self, key: K, now: Instant) -> Arc<K> {
        if let Some((key, _)) = self.items.get_key_value(&key) {
            return key.clone();
        }
        let key = Arc::new(key);
        self.items.insert(key.clone(), Item::new(now));
        key
    }

    /// Puts a key into a lane, or aside if the stores have not seen its last writes. Says whether it was put aside.
    fn enter(&mut self, key: &Arc<K>, lane: Lane, now: Instant) -> bool {
        let ticket = self.number();
        self.stop_timer(key);
        let Some(item) = self.items.get_mut(key) else { return false };
        if !matches!(item.place, Place::Ready(..)) {
            if let Some(until) = item.gated_until(now) {
                item.place = Place::Parked;
                self.start_timer(key, until);
                return true;
            }
            self.gated.remove(key);
            item.since = now;
            self.ready += 1;
        }
        item.place = Place::Ready(lane, ticket);
        self.lanes.push(lane, key.namespace(), key.clone(), ticket);
        false
    }

    /// Lets a key come when it is due, unless it comes earlier anyway. Says whether it was put aside.
    fn schedule(&mut self, key: &Arc<K>, due: Instant, lane: Lane, now: Instant) -> bool {
        if due <= now {
            return self.enter(key, lane, now);
        }
        let Some(item) = self.items.get_mut(key) else { return false };
        if item.timer.is_none_or(|(at, _)| due < at) {
            item.comes(due);
            self.start_timer(key, due);
        }
        false
    }

    fn stop_timer(&mut self, key: &Arc<K>) {
        if let Some(timer) = self.items.get_mut(key).and_then(|item| item.timer.take()) {
            self.timers.remove(&timer);
        }
    }

    fn start_timer(&mut self, key: &Arc<K>, at: Instant) {
        self.stop_timer(key);
        let timer = (at, self.number());
        if let Some(item) = self.items.get_mut(key) {
            item.timer = Some(timer);
            self.timers.insert(timer, key.clone());
        }
    }

    /// Moves the keys whose time has come into the lanes. Says how many of them were put aside.
    fn promote(&mut self, now: Instant) -> usize {
        let mut parked = 0;
        while let Some(entry) = self.timers.first_entry().filter(|entry| entry.key().0 <= now) {
            let key = entry.remove();
            let Some(item) = self.items.get_mut(&key) else { continue };
            item.timer = None;
            if item.place == Place::Idle {
                let why = if item.failing() { Trigger::Retry } else { Trigger::Wake };
                item.note(why, now);
            }
            parked += usize::from(self.enter(&key, Lane::Normal, now));
        }
        parked
    }

    fn take(&mut self, now: Instant) -> Option<Taken<K>> {
        loop {
            let (lanes, hands) = (&mut self.lanes, &self.hands);
            let (key, ticket) = lanes.pop(|namespace| hands.may_take(namespace))?;
            let Some(item) = self.items.get_mut(&key) else { continue };
            if !matches!(item.place, Place::Ready(_, valid) if valid == ticket) {
                continue;
            }
            item.place = Place::Running;
            item.comes(now);
            self.ready -= 1;
            self.hands.take(key.namespace());
            return Some(Taken {
                triggers: std::mem::take(&mut item.triggers),
                queued: now - item.since,
                since_event: item.woken_at.take().map(|at| now - at),
                key: K::clone(&key),
            });
        }
    }

    /// Says whether the key was put aside at once.
    fn finish(&mut self, key: &K, finished: Finished, now: Instant) -> bool {
        self.hands.give_back(key.namespace());
        let Some((key, _)) = self.items.get_key_value(key) else { return false };
        let key = key.clone();
        let Some(item) = self.items.get_mut(&key) else { return false };
        item.place = Place::Idle;
        if finished.forget {
            item.forget();
        } else if !finished.gates.is_empty() {
            item.wait_for(finished.gates, now);
            self.gated.insert(key.clone());
        }
        let slowed = finished.failed.or(finished.hot.then_some(Class::Blocked));
        // A plan that failed has to be decided anew. One that only repeats itself keeps its wake, though not closely.
        let wake = finished.wake.filter(|_| finished.failed.is_none());
        let parked = match slowed.filter(|_| !finished.forget) {
            None => self.after_success(&key, finished.wake, now),
            Some(class) => {
                let failed = Failed { class, own: finished.own, not_before: finished.not_before };
                self.after_failure(&key, failed, wake, now)
            }
        };
        if self.items.get(&key).is_some_and(Item::is_forgettable) {
            self.items.remove(&key);
            self.gated.remove(&key);
        }
        self.breathe();
        parked
    }

    /// Gives back the memory of a rush, such as that of the start.
    fn breathe(&mut self) {
        if self.items.capacity() > 1024 && self.items.len() < self.items.capacity() / 8 {
            self.items.shrink_to(256);
        }
    }

    fn after_success(&mut self, key: &Arc<K>, wake: Option<Instant>, now: Instant) -> bool {
        let Some(item) = self.items.get_mut(key) else { return false };
        item.succeeded();
        if !item.triggers.is_empty() {
            return self.enter(key, Lane::Normal, now);
        }
        match wake {
            Some(at) => self.start_timer(key, at),
            None => self.stop_timer(key),
        }
        false
    }

    fn after_failure(&mut self, key: &Arc<K>, failed: Failed, wake: Option<Instant>, now: Instant) -> bool {
        let Some(item) = self.items.get_mut(key) else { return false };
        let until = item.failed(failed, now);
        let until = wake.map_or(until, |wake| until.min(wake.max(now + FORWARD_OTHER)));
        let specified = item.triggers.iter().any(Trigger::is_specification);
        let due = if item.triggers.is_empty() { until } else { item.due(specified, now) };
        self.start_timer(key, until);
        self.schedule(key, due, Lane::Normal, now)
    }

    /// Lets go on what waited for the stores. Says whether anything changed.
    fn recheck(&mut self, now: Instant) -> bool {
        let items = &mut self.items;
        let passed = |key: &Arc<K>| items.get_mut(key).is_none_or(|item| item.gated_until(now).is_none());
        let free: Vec<Arc<K>> = self.gated.extract_if(passed).collect();
        for key in &free {
            match self.items.get(key).map(|item| (item.place, item.is_forgettable())) {
                Some((Place::Parked, _)) => _ = self.enter(key, Lane::Normal, now),
                Some((_, true)) => _ = self.items.remove(key),
                _ => {}
            }
        }
        !free.is_empty()
    }
}
