//! The order in which workloads want to be reloaded: whom one comes after, and whether that leads back to itself.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::Id;
use crate::{Member, Options};

/// How many workloads are looked at on the way back: whoever writes annotations must not make a look as long as they like.
pub(super) const LONGEST: usize = 256;

/// A workload that this one comes after and that is not done with the same changes, or of which that is not known yet.
pub(super) fn waits_for<'m>(
    now: Timestamp,
    options: &Options,
    my: &Member,
    find: impl Fn(&Id) -> Option<&'m Member>,
) -> Option<Id> {
    let before = my.after.iter().filter(|id| **id != my.id).filter_map(find);
    let wants = |other: &Member| other.comparing || my.changes.iter().any(|change| other.wants(&change.source));
    let busy = |other: &&Member| other.rolls(now, options) || wants(other);
    before.filter(busy).map(|other| other.id.clone()).next()
}

/// The way from a workload back to itself, if its order has no beginning.
pub(super) fn cycle<'m>(find: impl Fn(&str) -> Option<&'m Member>, me: &str) -> Option<String> {
    let my = find(me)?;
    let mut from: BTreeMap<&Id, &Id> = BTreeMap::new();
    let mut next = vec![my];
    while let Some(at) = next.pop() {
        for before in &at.after {
            if *before == my.id {
                return Some(way(&from, my, &at.id));
            }
            if from.len() < LONGEST && !from.contains_key(before) {
                from.insert(before, &at.id);
                next.extend(find(before));
            }
        }
    }
    None
}

/// The way from `my` to `last`, and back.
fn way(from: &BTreeMap<&Id, &Id>, my: &Member, last: &Id) -> String {
    let mut way = vec![&*my.id];
    let steps = std::iter::successors(Some(last), |at| from.get(at).copied());
    way.extend(steps.take_while(|at| **at != my.id).map(|at| &**at));
    way.push(&my.id);
    way.reverse();
    way.join(" → ")
}
