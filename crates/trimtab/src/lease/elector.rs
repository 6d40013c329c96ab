//! Leader election as a pure state machine: what to ask the server next, and what its answer means. No I/O, no clock.
//!
//! Why at most one may write: a holder's right ends `renew_deadline` after it *started* the request of its last
//! renewal. The others take the lease only `lease_duration` after they *saw* that renewal, which is later than its
//! start, and their update fails if there was another renewal in between. `lease_duration > renew_deadline`, and the
//! difference covers clocks that run at different speeds and writes that are still on their way.

use std::time::Duration;

use jiff::Timestamp;

use crate::clock::Moment;

/// The durations of an election.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timing {
    pub(super) lease_duration: Duration,
    pub(super) renew_deadline: Duration,
}

/// What a Lease says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    /// Empty: free.
    pub(super) holder: String,
    pub(super) duration_seconds: i32,
    pub(super) acquired: Option<Timestamp>,
    pub(super) renewed: Option<Timestamp>,
    pub(super) transitions: i32,
}

/// A Lease as read, with its resourceVersion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Read {
    pub(super) version: String,
    pub(super) record: Record,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Read the Lease.
    Get,
    /// Create it.
    Create(Record),
    /// Replace it if it still has this version.
    Update(String, Record),
    /// Somebody else leads: look again later.
    Wait,
    /// The lease was held and is not any more: stop the process.
    Lost,
}

/// What the server answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// A read, or a write that has happened.
    Is(Read),
    /// There is no Lease.
    Absent,
    /// The Lease was changed, created or deleted by somebody: the write has not happened.
    Conflict,
    /// No answer, or an error: a write may have happened or not.
    Unknown,
}

/// Which request the answer belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// [`Step::Get`].
    Read,
    /// [`Step::Create`] or [`Step::Update`].
    Write,
}

/// When to take the next step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// At once.
    Now,
    /// After the retry period.
    Retry,
    /// After the retry period with jitter, so that candidates do not move in step.
    Jittered,
}

/// How well the Lease is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    /// It has to be read before anything else.
    No,
    /// There is none.
    Absent,
    /// It is what was seen last.
    AsSeen,
}

/// One candidate.
#[derive(Debug, Clone)]
pub(super) struct Elector {
    me: String,
    timing: Timing,
    known: Known,
    /// The Lease as last seen, and when this process first saw it so. Kept even if the Lease is deleted: its holder
    /// does not know that yet.
    seen: Option<(Read, Moment)>,
    /// The start of the request of the last successful renewal.
    held: Option<Moment>,
    lost: bool,
}

impl Elector {
    /// `me` must be unique to the process, also among processes of the same name over time.
    pub(super) fn new(me: String, timing: Timing) -> Self {
        Self { me, timing, known: Known::No, seen: None, held: None, lost: false }
    }

    /// Until when the process may write.
    pub(super) fn deadline(&self) -> Option<Moment> {
        self.held.filter(|_| !self.lost).map(|started| started + self.timing.renew_deadline)
    }

    /// The holder as last seen, if there is one.
    pub(super) fn holder(&self) -> Option<&str> {
        self.seen.as_ref().map(|(read, _)| read.record.holder.as_str()).filter(|holder| !holder.is_empty())
    }

    /// What to do at `now`; `wall` is only written down for people, never compared.
    pub(super) fn step(&mut self, now: Moment, wall: Timestamp) -> Step {
        self.expire(now);
        if self.lost {
            return Step::Lost;
        }
        let step = match (self.known, &self.seen) {
            (Known::No, _) | (Known::AsSeen, None) => Step::Get,
            (Known::Absent, _) if self.may_take(now) => Step::Create(self.record(wall)),
            (Known::AsSeen, Some((read, _))) if self.may_take(now) => {
                Step::Update(read.version.clone(), self.record(wall))
            }
            _ => Step::Wait,
        };
        if step == Step::Wait {
            self.known = Known::No;
        }
        step
    }

    /// Takes in what came of a request that was started at `started` and answered by `now`.
    pub(super) fn answer(&mut self, asked: Asked, started: Moment, now: Moment, answer: Answer) -> Pace {
        self.expire(now);
        let leads = self.held.is_some();
        match answer {
            Answer::Is(read) => {
                let mine = read.record.holder == self.me;
                self.see(read, now);
                self.known = Known::AsSeen;
                if asked == Asked::Write {
                    return self.written(started, now);
                }
                // Somebody else holds it, or somebody has set it free by hand: either way it is not ours any more.
                self.lost |= leads && !mine;
                Pace::Now
            }
            Answer::Absent => {
                self.known = Known::Absent;
                Pace::Now
            }
            Answer::Conflict => {
                self.known = Known::No;
                if leads { Pace::Now } else { Pace::Jittered }
            }
            Answer::Unknown => {
                self.known = Known::No;
                if leads { Pace::Retry } else { Pace::Jittered }
            }
        }
    }

    /// Gives the lease up and says how to tell the others: nothing if it is not held.
    ///
    /// The process must have stopped writing before the others are told.
    pub(super) fn release(&mut self, wall: Timestamp) -> Step {
        let held = self.held.is_some() && !self.lost;
        match (&self.seen, self.known) {
            (Some((read, _)), Known::AsSeen) if held && read.record.holder == self.me => {
                let record = Record {
                    holder: String::new(),
                    duration_seconds: 1,
                    acquired: Some(wall),
                    renewed: Some(wall),
                    transitions: read.record.transitions,
                };
                Step::Update(read.version.clone(), record)
            }
            (_, Known::No) if held => Step::Get,
            _ => Step::Lost,
        }
    }

    /// A write was made in time, or too late: once the fence has closed it never opens again.
    fn written(&mut self, started: Moment, now: Moment) -> Pace {
        if now >= started + self.timing.renew_deadline {
            // An acquisition that took so long gives no time to write in: renew it at once.
            return Pace::Now;
        }
        self.held = Some(started);
        Pace::Retry
    }

    fn expire(&mut self, now: Moment) {
        self.lost |= self.held.is_some_and(|started| now >= started + self.timing.renew_deadline);
    }

    fn see(&mut self, read: Read, now: Moment) {
        match &self.seen {
            // Not the record but the version is compared: a holder whose clock stands still renews all the same.
            Some((old, _)) if old.version == read.version => {}
            _ => self.seen = Some((read, now)),
        }
    }

    /// Whether the Lease is free, ours, or has not changed for as long as its holder asked for.
    fn may_take(&self, now: Moment) -> bool {
        self.lapses().is_none_or(|lapses| now >= lapses)
    }

    /// When the lease that somebody else holds lapses, as far as is known now.
    pub(super) fn lapses(&self) -> Option<Moment> {
        let (read, since) = self.seen.as_ref()?;
        let record = &read.record;
        if record.holder.is_empty() || record.holder == self.me {
            return None;
        }
        let asked = u64::try_from(record.duration_seconds).map_or(Duration::ZERO, Duration::from_secs);
        // The holder's duration counts, but a nonsensical one must not make the lease free at once.
        let valid = if asked.is_zero() { self.timing.lease_duration } else { asked };
        Some(*since + valid)
    }

    fn record(&self, wall: Timestamp) -> Record {
        let old = self.seen.as_ref().map(|(read, _)| &read.record);
        let mine = old.filter(|old| old.holder == self.me);
        let millis = self.timing.lease_duration.as_millis();
        Record {
            holder: self.me.clone(),
            // Rounded up: a shorter one would let the others in before the time is over.
            duration_seconds: i32::try_from(millis.div_ceil(1000)).unwrap_or(i32::MAX),
            acquired: mine.and_then(|old| old.acquired).or(Some(wall)),
            renewed: Some(wall),
            transitions: match (mine, old) {
                (Some(old), _) => old.transitions,
                (None, Some(old)) => old.transitions.saturating_add(1),
                (None, None) => 0,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMING: Timing = Timing { lease_duration: Duration::from_secs(15), renew_deadline: Duration::from_secs(10) };

    fn at(seconds: u64) -> Moment {
        Duration::from_secs(1000 + seconds)
    }

    fn elector() -> Elector {
        Elector::new("a".to_owned(), TIMING)
    }

    fn held_by(holder: &str, version: &str) -> Answer {
        let record =
            Record { holder: holder.to_owned(), duration_seconds: 15, acquired: None, renewed: None, transitions: 3 };
        Answer::Is(Read { version: version.to_owned(), record })
    }

    fn leader_at(seconds: u64) -> Elector {
        let mut it = elector();
        it.answer(Asked::Write, at(seconds), at(seconds), held_by("a", "1"));
        it
    }

    #[test]
    fn the_first_candidate_creates_the_lease() {
        let mut it = elector();
        assert_eq!(it.step(at(0), Timestamp::UNIX_EPOCH), Step::Get);
        assert_eq!(it.answer(Asked::Read, at(0), at(0), Answer::Absent), Pace::Now);
        let Step::Create(record) = it.step(at(0), Timestamp::UNIX_EPOCH) else { panic!("no create") };
        assert_eq!((record.holder.as_str(), record.duration_seconds, record.transitions), ("a", 15, 0));
    }

    #[test]
    fn a_lease_lapses_by_the_observers_clock_and_only_if_it_did_not_change() {
        let mut it = elector();
        it.answer(Asked::Read, at(0), at(0), held_by("b", "1"));
        assert_eq!(it.step(at(14), Timestamp::UNIX_EPOCH), Step::Wait);
        it.answer(Asked::Read, at(14), at(14), held_by("b", "2"));
        assert_eq!(it.step(at(28), Timestamp::UNIX_EPOCH), Step::Wait);
        it.answer(Asked::Read, at(29), at(29), held_by("b", "2"));
        let Step::Update(version, record) = it.step(at(29), Timestamp::UNIX_EPOCH) else { panic!("no update") };
        assert_eq!((version.as_str(), record.transitions), ("2", 4));
    }

    #[test]
    fn a_released_lease_is_free_at_once() {
        let mut it = elector();
        it.answer(Asked::Read, at(0), at(0), held_by("", "7"));
        assert!(matches!(it.step(at(0), Timestamp::UNIX_EPOCH), Step::Update(v, _) if v == "7"));
    }

    #[test]
    fn a_deleted_lease_is_not_free_before_its_holder_could_know() {
        let mut it = elector();
        it.answer(Asked::Read, at(0), at(0), held_by("b", "1"));
        it.answer(Asked::Read, at(2), at(2), Answer::Absent);
        assert_eq!(it.step(at(2), Timestamp::UNIX_EPOCH), Step::Wait);
        it.answer(Asked::Read, at(15), at(15), Answer::Absent);
        assert!(matches!(it.step(at(15), Timestamp::UNIX_EPOCH), Step::Create(_)));
    }

    #[test]
    fn the_right_to_write_counts_from_the_start_of_the_request() {
        let mut it = elector();
        it.answer(Asked::Write, at(0), at(4), held_by("a", "1"));
        assert_eq!(it.deadline(), Some(at(10)));
    }

    #[test]
    fn a_right_that_lapsed_never_comes_back() {
        let mut it = leader_at(0);
        it.answer(Asked::Write, at(2), at(11), held_by("a", "2"));
        assert_eq!(it.deadline(), None);
        assert_eq!(it.step(at(11), Timestamp::UNIX_EPOCH), Step::Lost);
    }

    #[test]
    fn a_renewal_without_answer_is_looked_up_and_tried_again() {
        let mut it = leader_at(0);
        assert_eq!(it.answer(Asked::Write, at(2), at(7), Answer::Unknown), Pace::Retry);
        assert_eq!(it.step(at(8), Timestamp::UNIX_EPOCH), Step::Get);
        it.answer(Asked::Read, at(8), at(8), held_by("a", "2"));
        assert_eq!(it.deadline(), Some(at(10)), "a read proves nothing about when it was renewed");
        assert!(matches!(it.step(at(8), Timestamp::UNIX_EPOCH), Step::Update(v, _) if v == "2"));
    }

    #[test]
    fn a_leader_that_sees_another_holder_stops_at_once() {
        for holder in ["b", ""] {
            let mut it = leader_at(0);
            it.answer(Asked::Write, at(2), at(2), Answer::Conflict);
            it.answer(Asked::Read, at(2), at(2), held_by(holder, "9"));
            assert_eq!((it.deadline(), it.step(at(2), Timestamp::UNIX_EPOCH)), (None, Step::Lost));
        }
    }

    #[test]
    fn release_empties_the_holder_and_keeps_the_count() {
        let mut it = leader_at(0);
        let Step::Update(_, record) = it.release(Timestamp::UNIX_EPOCH) else { panic!("no update") };
        assert_eq!((record.holder.as_str(), record.duration_seconds, record.transitions), ("", 1, 3));
        assert_eq!(elector().release(Timestamp::UNIX_EPOCH), Step::Lost, "a candidate has nothing to release");
    }
}
