//! Storm control: of all workloads of a namespace that want to restart, which may now. One board for all of them, kept up to
//! date by what changes about each: what a look costs does not grow with how many there are. Not whether a workload wants to.
//!
//! A workload whose turn has come has its place from then on, until it rolls and is done, or does not want to any more. So no
//! more are under way than may, in whatever order they are looked at.

mod order;
mod places;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;
use trimtab_config::{Pin, Source};

use crate::{Member, Options};
use order::{cycle, waits_for};
use places::{Full, Places};

type Id = Arc<str>;
/// Whose change is older is first; among those of one time that stand in line, the order of names decides.
type Rank = (Option<Timestamp>, Id);

/// All workloads of a namespace that count, and whose turn it is.
#[derive(Debug, Default)]
pub struct Board {
    members: BTreeMap<Id, Entry>,
    places: Places,
    /// Those that wait for a place, each under one source that it waits for.
    lines: BTreeMap<Source, BTreeSet<Rank>>,
    /// The lines that may move, by the first of each, as far as known: all but those of sources of which as many as may roll.
    open: BTreeSet<(Rank, Source)>,
    /// By the workload that they come after.
    behind: BTreeMap<Id, BTreeSet<Id>>,
    /// Who waits for a revision.
    wanted: BTreeMap<(Source, Pin), BTreeSet<Id>>,
    /// Who failed after a reload to a revision.
    failed: BTreeMap<(Source, Pin), BTreeSet<Id>>,
    /// Who is to be looked at again, and when.
    later: BTreeSet<(Timestamp, Id)>,
    /// The same of those that have a place.
    ends: BTreeSet<(Timestamp, Id)>,
    /// Who is to be looked at again now, since another has changed.
    again: BTreeSet<Id>,
    /// Those that somebody has to decide about anew.
    woken: BTreeSet<Id>,
    /// How often it was found out where a member stands: what all of this costs.
    #[cfg(test)]
    looks: usize,
}

#[derive(Debug)]
struct Entry {
    member: Arc<Member>,
    stands: Stands,
    /// Since when it waits.
    since: Option<Timestamp>,
    /// The sources of which it has a place, if it has one.
    holds: Option<Vec<Source>>,
    failure: Option<String>,
    /// Whether it was restarting for a change when it was last looked at.
    rolls: bool,
    /// When it is to be looked at again.
    due: Option<Timestamp>,
}

/// Where a member stands.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Stands {
    /// It wants nothing, is rolling, or is not ready yet.
    Aside,
    /// It comes after this one.
    Behind(Id),
    /// One that was restarted for the same has failed.
    Halted,
    /// It waits for a place, under this source.
    InLine(Source),
    /// It has had a place since then, and has not been seen to take it.
    Called(Timestamp),
}

/// Whether it is a workload's turn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Turn {
    /// It may restart now.
    Go,
    /// It waits for others to be done; looked at again at this time, if nothing changes before.
    Wait(String, Option<Timestamp>),
    /// It waits for workloads that it comes after; looked at again at this time, if nothing changes before.
    After(String, Option<Timestamp>),
    /// The workloads before it did not become available.
    Halted(String),
    /// The order has no beginning.
    Cycle(String),
}

impl Board {
    /// Whether nobody is on it.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Notes how a member is now.
    pub fn put(&mut self, now: Timestamp, options: &Options, mut member: Member) {
        if let Some(Entry { member: known, .. }) = self.members.get(&member.id) {
            // What it wanted when that was last known it may want still.
            if member.comparing {
                member.changes.clone_from(&known.changes);
            }
            if member.unheard && known.revisions().eq(member.revisions()) {
                member.rolls_for_changes |= known.rolls_for_changes;
            }
        }
        self.place(now, options, Arc::new(member));
        self.settle(now, options);
    }

    /// Forgets a member: it is up to date, or gone.
    pub fn remove(&mut self, now: Timestamp, options: &Options, id: &str) {
        let Some(old) = self.take_out(id) else { return };
        self.give_back(old.holds.as_deref(), None);
        self.fails(&old.member.id, &failures(&old), &BTreeSet::new());
        self.again.extend(self.behind.get(id).into_iter().flatten().cloned());
        self.again.remove(id);
        self.woken.remove(id);
        self.settle(now, options);
    }

    /// Whether it is a member's turn.
    pub fn turn(&mut self, now: Timestamp, options: &Options, me: &str) -> Turn {
        self.settle(now, options);
        let Some(entry) = self.members.get(me) else { return Turn::Go };
        let my = &entry.member;
        if options.is_unlimited() && my.after.is_empty() {
            return Turn::Go;
        }
        if let Some(cycle) = cycle(|id| self.members.get(id).map(|entry| &*entry.member), me) {
            return Turn::Cycle(cycle);
        }
        if let Some(before) = self.comes_after(now, options, my) {
            return Turn::After(format!("waits for {before}, which it comes after"), self.next_deadline(now));
        }
        if let Some(failure) = self.halts(my) {
            return Turn::Halted(failure.to_owned());
        }
        // One that is rolling has its place already.
        if entry.holds.is_some() {
            return Turn::Go;
        }
        match self.places.full(options, my.sources()) {
            None => Turn::Go,
            Some(full) => Turn::Wait(full.message(options), self.next_deadline(now)),
        }
    }

    /// Those whose turn has come, or who have to say something else, since this was asked; without `me`, who is being decided
    /// about.
    pub fn woken(&mut self, me: &str) -> BTreeSet<Arc<str>> {
        self.woken.remove(me);
        std::mem::take(&mut self.woken)
    }

    /// Takes a member out of all but the places that it has.
    fn take_out(&mut self, id: &str) -> Option<Entry> {
        let old = self.members.remove(id)?;
        let id = &old.member.id;
        match &old.stands {
            Stands::Behind(before) => take(&mut self.behind, before, id),
            Stands::InLine(source) => take(&mut self.lines, source, &(old.since, id.clone())),
            Stands::Aside | Stands::Halted | Stands::Called(_) => {}
        }
        for (source, pin) in old.member.revisions() {
            take(&mut self.wanted, &(source.clone(), pin.clone()), id);
        }
        if let Some(due) = old.due {
            self.later.remove(&(due, id.clone()));
            self.ends.remove(&(due, id.clone()));
        }
        Some(old)
    }

    /// Puts a member where it stands now.
    fn place(&mut self, now: Timestamp, options: &Options, member: Arc<Member>) {
        let id = member.id.clone();
        let old = self.take_out(&id);
        let (mut stands, ready) = self.stands(now, options, &member);
        let mut since = member.age();
        // Behind those that came while it had a place and did not take it.
        let same = |old: &&Entry| old.since > since && old.member.revisions().eq(member.revisions());
        since = old.as_ref().filter(same).map_or(since, |old| old.since);
        if let (Stands::InLine(_), Some(Stands::Called(at))) = (&stands, old.as_ref().map(|old| &old.stands)) {
            // One that was called keeps its place while it may go, but not for ever: others wait.
            match at.checked_add(options.deadline) {
                Ok(end) if now >= end => since = Some(now),
                _ => stands = Stands::Called(*at),
            }
        }
        let holds = match &stands {
            Stands::Called(_) => Some(member.sources().cloned().collect()),
            _ if member.rolls(now, options) => {
                Some(member.last.iter().flat_map(|last| last.to.0.keys()).cloned().collect::<Vec<_>>())
            }
            _ => None,
        };
        match &stands {
            Stands::Behind(before) => _ = self.behind.entry(before.clone()).or_default().insert(id.clone()),
            Stands::InLine(source) => self.stand_in_line(source.clone(), (since, id.clone())),
            Stands::Aside | Stands::Halted | Stands::Called(_) => {}
        }
        for (source, pin) in member.revisions() {
            self.wanted.entry((source.clone(), pin.clone())).or_default().insert(id.clone());
        }
        let called_until = if let Stands::Called(at) = stands { at.checked_add(options.deadline).ok() } else { None };
        let times = [ready, called_until, member.rolls_until(now, options), member.deadline(options)];
        let due = times.into_iter().flatten().filter(|time| now < *time).min();
        self.later.extend(due.map(|due| (due, id.clone())));
        if let Some(holds) = &holds {
            self.places.take(holds);
            self.ends.extend(due.map(|due| (due, id.clone())));
        }
        let had = old.as_ref().and_then(|old| old.holds.as_deref());
        self.give_back(had, holds.as_deref());
        let failure = member.failure(now, options);
        let rolls = member.rolls(now, options);
        let entry = Entry { member: member.clone(), stands, since, holds, failure, due, rolls };
        self.fails(&id, &old.as_ref().map(failures).unwrap_or_default(), &failures(&entry));
        self.members.insert(id.clone(), entry);
        // Whoever comes after it may do so no more, or only now.
        let same = |old: Entry| {
            old.rolls == rolls && old.member.comparing == member.comparing && old.member.sources().eq(member.sources())
        };
        if !old.is_some_and(same) {
            self.again.extend(self.behind.get(&id).into_iter().flatten().cloned());
        }
    }

    /// Where a member stands as far as others are concerned; a member that would go is in line. And when it may be ready, if it
    /// is not.
    fn stands(&mut self, now: Timestamp, options: &Options, member: &Member) -> (Stands, Option<Timestamp>) {
        #[cfg(test)]
        {
            self.looks += 1;
        }
        if member.rolls(now, options) {
            return (Stands::Aside, None);
        }
        if let Err(ready) = member.is_ready(now, options) {
            return (Stands::Aside, ready);
        }
        if self.halts(member).is_some() {
            return (Stands::Halted, None);
        }
        if let Some(before) = self.comes_after(now, options, member) {
            return (Stands::Behind(before), None);
        }
        let first = || member.sources().next().cloned();
        let full = match self.places.full(options, member.sources()) {
            Some(Full::Source(source)) => Some(source),
            Some(Full::Namespace(_)) | None => first(),
        };
        (full.map_or(Stands::Aside, Stands::InLine), None)
    }

    fn comes_after(&self, now: Timestamp, options: &Options, member: &Member) -> Option<Id> {
        waits_for(now, options, member, |id| self.members.get(id).map(|entry| &*entry.member))
    }

    /// The failure of another workload that was restarted for one of the changes that this one waits for.
    fn halts(&self, my: &Member) -> Option<&str> {
        if self.failed.is_empty() {
            return None;
        }
        let failed = my.revisions().filter_map(|(source, pin)| self.failed.get(&(source.clone(), pin.clone())));
        let first = failed.flatten().filter(|id| **id != my.id).min()?;
        self.members.get(first)?.failure.as_deref()
    }

    /// What a member failed for until now, and for what it does: on the first failure, and after the last, all that wait for the
    /// same hear of it.
    fn fails(&mut self, id: &Id, old: &BTreeSet<(Source, Pin)>, new: &BTreeSet<(Source, Pin)>) {
        for revision in new.difference(old) {
            let failed = self.failed.entry(revision.clone()).or_default();
            if failed.is_empty() {
                self.again.extend(self.wanted.get(revision).into_iter().flatten().cloned());
            }
            failed.insert(id.clone());
        }
        for revision in old.difference(new) {
            take(&mut self.failed, revision, id);
            if !self.failed.contains_key(revision) {
                self.again.extend(self.wanted.get(revision).into_iter().flatten().cloned());
            }
        }
        self.again.remove(id);
    }

    fn stand_in_line(&mut self, source: Source, rank: Rank) {
        self.open.insert((rank.clone(), source.clone()));
        self.lines.entry(source).or_default().insert(rank);
    }

    /// Counts places as free that a member had and has no more, and lets the lines move that waited for them.
    fn give_back(&mut self, before: Option<&[Source]>, after: Option<&[Source]>) {
        let Some(before) = before else { return };
        self.places.give(before);
        for source in before.iter().filter(|source| !after.is_some_and(|after| after.contains(source))) {
            if let Some(first) = self.lines.get(source).and_then(BTreeSet::first) {
                self.open.insert((first.clone(), source.clone()));
            }
        }
    }

    /// Looks at those whose time has come and those that others have changed for, and gives places away.
    fn settle(&mut self, now: Timestamp, options: &Options) {
        while let Some(due) = self.later.first().filter(|(time, _)| *time <= now).cloned() {
            self.later.remove(&due);
            self.again.insert(due.1);
        }
        while let Some(id) = self.again.pop_first() {
            let Some(entry) = self.members.get(&id) else { continue };
            let (member, before) = (entry.member.clone(), entry.stands.clone());
            self.place(now, options, member);
            if self.members.get(&id).is_some_and(|entry| entry.stands != before) {
                self.woken.insert(id);
            }
        }
        while !self.places.is_full(options) {
            let Some((rank, source)) = self.open.pop_first() else { break };
            let Some(first) = self.lines.get(&source).and_then(BTreeSet::first).cloned() else { continue };
            if first > rank {
                self.open.insert((first, source));
                continue;
            }
            self.call_first(now, options, &source, &first);
        }
    }

    /// Calls the first of a line, or lets it wait in that of another source.
    fn call_first(&mut self, now: Timestamp, options: &Options, source: &Source, first: &Rank) {
        let Some(entry) = self.members.get_mut(&first.1) else {
            take(&mut self.lines, source, first);
            return;
        };
        match self.places.full(options, entry.member.sources()) {
            // Nobody behind it in this line may go either.
            Some(Full::Source(full)) if full == *source => return,
            Some(Full::Namespace(_)) => {
                self.open.insert((first.clone(), source.clone()));
                return;
            }
            Some(Full::Source(full)) => {
                entry.stands = Stands::InLine(full.clone());
                self.lines.entry(full).or_default().insert(first.clone());
            }
            None => {
                let holds: Vec<Source> = entry.member.sources().cloned().collect();
                self.places.take(&holds);
                (entry.stands, entry.holds) = (Stands::Called(now), Some(holds));
                // Whoever is in line is not to be looked at at any time.
                entry.due = now.checked_add(options.deadline).ok();
                self.later.extend(entry.due.map(|due| (due, first.1.clone())));
                self.ends.extend(entry.due.map(|due| (due, first.1.clone())));
                self.woken.insert(first.1.clone());
            }
        }
        take(&mut self.lines, source, first);
        if let Some(next) = self.lines.get(source).and_then(BTreeSet::first) {
            self.open.insert((next.clone(), source.clone()));
        }
    }

    /// When the first of those that have a place counts as failed, or loses it. If it gets nowhere, nothing else would wake
    /// those that wait.
    fn next_deadline(&self, now: Timestamp) -> Option<Timestamp> {
        self.ends.iter().map(|(time, _)| *time).find(|time| now < *time)
    }
}

/// The revisions that a member failed for, if it did.
fn failures(entry: &Entry) -> BTreeSet<(Source, Pin)> {
    let last = entry.member.last.iter().filter(|_| entry.failure.is_some());
    last.flat_map(|last| last.to.0.iter().map(|(source, pin)| (source.clone(), pin.clone()))).collect()
}

/// Takes one out of a set, and the set if it is empty then.
fn take<K: Ord, V: Ord>(sets: &mut BTreeMap<K, BTreeSet<V>>, key: &K, value: &V) {
    let Some(set) = sets.get_mut(key) else { return };
    set.remove(value);
    if set.is_empty() {
        sets.remove(key);
    }
}
