//! What the queue remembers about a key. Not what is done with it.

use std::time::Duration;

use tokio::time::Instant;
use trimtab_plan::Class;

use super::{Backoff, Lane, Trigger};
use crate::gate::Gate;

/// The closest that a change of what people set brings a failing key to its last try.
const FORWARD_SPECIFIED: Duration = Duration::from_secs(1);
/// The closest that any other change brings a failing key to its last try.
pub(super) const FORWARD_OTHER: Duration = Duration::from_secs(5);
/// How long a key waits for the stores to see its last writes.
const GATE_TIMEOUT: Duration = Duration::from_secs(10);
/// Triggers remembered for people; more add nothing.
const TRIGGERS: usize = 16;

/// Where a key is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Nowhere, or waiting for a timer.
    Idle,
    /// In a lane, under this ticket.
    Ready(Lane, u64),
    /// To be taken, once the stores have seen its last writes.
    Parked,
    /// In the hands of a worker.
    Running,
}

/// What is remembered about a key; nothing is, once it is idle and well. Small, since at the start there are as many of
/// them as there are objects.
pub(super) struct Item {
    pub(super) place: Place,
    pub(super) triggers: Vec<Trigger>,
    pub(super) woken_at: Option<Instant>,
    pub(super) since: Instant,
    pub(super) timer: Option<(Instant, u64)>,
    trouble: Option<Box<Trouble>>,
}

/// What is remembered about a key that failed, or that waits for the stores.
#[derive(Default)]
struct Trouble {
    failures: u32,
    tried: Option<Instant>,
    backoff_until: Option<Instant>,
    brought_forward: bool,
    /// Until when nothing brings it forward: the server wants to be left alone.
    not_before: Option<Instant>,
    own: Vec<Box<str>>,
    gates: Vec<Gate>,
    gate_until: Option<Instant>,
}

/// How a try failed.
pub(super) struct Failed {
    pub(super) class: Class,
    /// The resource versions written all the same.
    pub(super) own: Vec<Box<str>>,
    pub(super) not_before: Option<Instant>,
}

impl Item {
    pub(super) fn new(now: Instant) -> Self {
        Self { place: Place::Idle, triggers: vec![], woken_at: None, since: now, timer: None, trouble: None }
    }

    pub(super) fn note(&mut self, trigger: Trigger, now: Instant) {
        if matches!(trigger, Trigger::Changed { .. }) {
            self.woken_at.get_or_insert(now);
        }
        if self.triggers.len() < TRIGGERS && !self.triggers.contains(&trigger) {
            self.triggers.reserve_exact(1);
            self.triggers.push(trigger);
        }
    }

    /// Whether the last try failed.
    pub(super) fn failing(&self) -> bool {
        self.trouble.as_ref().is_some_and(|trouble| trouble.failures > 0)
    }

    /// Whether a trigger tells a failing key only what it wrote itself.
    pub(super) fn is_echo(&self, trigger: &Trigger) -> bool {
        self.trouble.as_ref().is_some_and(|trouble| trouble.failures > 0 && trigger.is_echo_of(&trouble.own))
    }

    /// When an event makes the key due: see the rules at the top of the module.
    pub(super) fn due(&self, specified: bool, now: Instant) -> Instant {
        let times = |trouble: &Trouble| Some((trouble.backoff_until?, trouble.tried?, trouble.not_before));
        let Some((until, tried, not_before)) = self.trouble.as_deref().and_then(times) else { return now };
        let closest = if specified { FORWARD_SPECIFIED } else { FORWARD_OTHER };
        now.max(until.min(tried + closest)).max(not_before.unwrap_or(now))
    }

    /// Notes that the key comes at `at`, which may be before the end of its backoff.
    pub(super) fn comes(&mut self, at: Instant) {
        if let Some(trouble) = &mut self.trouble {
            trouble.brought_forward |= trouble.backoff_until.is_some_and(|until| at < until);
        }
    }

    /// Forgets failures, and what it waits for.
    pub(super) fn forget(&mut self) {
        self.trouble = None;
    }

    /// Forgets failures.
    pub(super) fn succeeded(&mut self) {
        if let Some(trouble) = self.trouble.take().filter(|trouble| !trouble.gates.is_empty()) {
            let Trouble { gates, gate_until, .. } = *trouble;
            self.trouble = Some(Box::new(Trouble { gates, gate_until, ..Trouble::default() }));
        }
    }

    /// Counts a failure; gives the end of the backoff. A try that was brought forward does not lengthen it.
    pub(super) fn failed(&mut self, failed: Failed, now: Instant) -> Instant {
        let Failed { class, own, not_before } = failed;
        let trouble = self.trouble.get_or_insert_default();
        if !trouble.brought_forward || trouble.failures == 0 {
            trouble.failures = trouble.failures.saturating_add(1);
        }
        let until = (now + Backoff::of(class).delay(trouble.failures)).max(not_before.unwrap_or(now));
        (trouble.brought_forward, trouble.tried, trouble.backoff_until) = (false, Some(now), Some(until));
        self.triggers.retain(|trigger| !trigger.is_echo_of(&own));
        (trouble.own, trouble.not_before) = (own, not_before);
        until
    }

    /// Lets the key wait for the stores.
    pub(super) fn wait_for(&mut self, gates: Vec<Gate>, now: Instant) {
        let trouble = self.trouble.get_or_insert_default();
        trouble.gates = gates;
        trouble.gate_until = Some(now + GATE_TIMEOUT);
    }

    /// How long the key has to wait for the stores at most; `None` if it need not.
    pub(super) fn gated_until(&mut self, now: Instant) -> Option<Instant> {
        let trouble = self.trouble.as_mut()?;
        let until = trouble.gate_until.filter(|until| now < *until);
        trouble.gates.retain(|gate| until.is_some() && !gate.passed());
        trouble.gate_until = until.filter(|_| !trouble.gates.is_empty());
        let until = trouble.gate_until;
        if until.is_none() && trouble.failures == 0 {
            self.trouble = None;
        }
        until
    }

    /// Whether there is nothing worth remembering.
    pub(super) fn is_forgettable(&self) -> bool {
        self.place == Place::Idle && self.timer.is_none() && self.trouble.is_none()
    }
}
