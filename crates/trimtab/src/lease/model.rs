//! Many candidates against one Lease, with delays, lost requests, stopped processes and clocks of different speed: at
//! no moment may two of them write, and the lease does not stay without a holder.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use proptest::prelude::*;

use super::elector::{Answer, Asked, Elector, Pace, Read, Record, Step, Timing};

const TIMING: Timing =
    Timing { lease_duration: Duration::from_millis(15_000), renew_deadline: Duration::from_millis(10_000) };
const RETRY: u64 = 2_000;
const REQUEST_TIMEOUT: u64 = 5_000;
const END: u64 = 240_000;

/// What happens to one request, or to the pause after it. All times are true milliseconds.
#[derive(Debug, Clone)]
struct Fate {
    /// Until the server has it; nothing: it is lost.
    there: Option<u64>,
    /// Until the answer is back; nothing: it is lost.
    back: Option<u64>,
    /// How long the process is stopped (SIGSTOP, a paused virtual machine) before it takes in the answer.
    stopped: u64,
    /// How long it is stopped between deciding to write and sending.
    stalled: u64,
    jitter: u64,
}

#[derive(Debug, Clone)]
struct Script {
    /// Speed of the clock in per cent of the true one.
    speed: u64,
    /// What its clock said at the start.
    origin: u64,
    fates: Vec<Fate>,
    /// Releases and ends at this time if it leads.
    quits: Option<u64>,
    /// When it starts.
    starts: u64,
}

impl Script {
    fn clock(&self, truth: u64) -> Duration {
        Duration::from_millis(self.origin + truth * self.speed / 100)
    }

    /// The first true time at which its clock has reached `moment`.
    fn truth(&self, moment: Duration) -> u64 {
        let local = u64::try_from(moment.as_millis()).unwrap() - self.origin;
        (local * 100).div_ceil(self.speed)
    }
}

fn delay() -> impl Strategy<Value = Option<u64>> {
    prop_oneof![8 => (0u64..300).prop_map(Some), 2 => (300u64..9_000).prop_map(Some), 1 => Just(None)]
}

fn pause() -> impl Strategy<Value = u64> {
    prop_oneof![20 => Just(0u64), 1 => 1_000u64..40_000]
}

fn fate() -> impl Strategy<Value = Fate> {
    (delay(), delay(), pause(), pause(), 0u64..2_400).prop_map(|(there, back, stopped, stalled, jitter)| Fate {
        there,
        back,
        stopped,
        stalled,
        jitter,
    })
}

fn script() -> impl Strategy<Value = Script> {
    (85u64..=115, 0u64..1_000_000, proptest::collection::vec(fate(), 1..40), proptest::option::of(0..END), 0u64..30_000)
        .prop_map(|(speed, origin, fates, quits, starts)| Script { speed, origin, fates, quits, starts })
}

/// The server: one Lease, whose version grows with every write.
#[derive(Default)]
struct Server {
    version: u64,
    record: Option<Record>,
}

impl Server {
    fn serve(&mut self, step: &Step) -> Answer {
        match (step, &self.record) {
            (Step::Get, None) => Answer::Absent,
            (Step::Get, Some(_)) => self.read(),
            (Step::Create(_), Some(_)) => Answer::Conflict,
            (Step::Create(record), None) => self.put(record),
            (Step::Update(version, record), Some(_)) if *version == self.version.to_string() => self.put(record),
            _ => Answer::Conflict,
        }
    }

    fn put(&mut self, record: &Record) -> Answer {
        self.version += 1;
        self.record = Some(record.clone());
        self.read()
    }

    fn read(&self) -> Answer {
        Answer::Is(Read { version: self.version.to_string(), record: self.record.clone().unwrap() })
    }
}

#[derive(Debug, Clone)]
enum Event {
    /// The candidate takes its next step.
    Step,
    /// A request reaches the server, perhaps long after its sender gave it up.
    Arrive { request: Request, step: Step, back: Option<u64> },
    /// The candidate takes in an answer, or that there is none.
    Deliver { request: Request, answer: Answer },
}

#[derive(Debug, Clone)]
struct Request {
    id: usize,
    asked: Asked,
    started: Duration,
    stopped: u64,
    jitter: u64,
}

struct Candidate {
    script: Script,
    elector: Elector,
    /// How many requests and pauses there were; the number of the request that it waits for.
    used: usize,
    waits_for: Option<usize>,
}

impl Candidate {
    fn fate(&mut self) -> Fate {
        let fate = self.script.fates[self.used % self.script.fates.len()].clone();
        self.used += 1;
        fate
    }
}

struct World {
    server: Server,
    candidates: Vec<Candidate>,
    /// What is to happen: when, in which order, to whom.
    events: BTreeMap<(u64, usize), (usize, Event)>,
    scheduled: usize,
    /// Who may write from when to when, in true time: closed by the deadline, or earlier by knowing better.
    rights: Vec<(usize, u64, u64)>,
}

impl World {
    fn new(scripts: &[Script]) -> Self {
        let mut world = Self {
            server: Server::default(),
            candidates: vec![],
            events: BTreeMap::new(),
            scheduled: 0,
            rights: vec![],
        };
        for (who, script) in scripts.iter().enumerate() {
            let elector = Elector::new(format!("candidate-{who}"), TIMING);
            world.candidates.push(Candidate { elector, used: 0, waits_for: None, script: script.clone() });
            world.schedule(script.starts, who, Event::Step);
        }
        world
    }

    fn schedule(&mut self, at: u64, who: usize, event: Event) {
        self.scheduled += 1;
        self.events.insert((at, self.scheduled), (who, event));
    }

    fn run(&mut self) {
        while let Some(((t, _), (who, event))) = self.events.pop_first()
            && t < END
        {
            match event {
                Event::Step => self.step(t, who),
                Event::Arrive { request, step, back } => {
                    let answer = self.server.serve(&step);
                    if let Some(back) = back {
                        self.schedule(t + back + request.stopped, who, Event::Deliver { request, answer });
                    }
                }
                Event::Deliver { request, answer } => self.deliver(t, who, &request, answer),
            }
            self.note_right(who, t);
        }
    }

    fn step(&mut self, t: u64, who: usize) {
        let candidate = &mut self.candidates[who];
        let quits = candidate.script.quits.is_some_and(|at| t >= at) && candidate.elector.deadline().is_some();
        let step = if quits {
            candidate.elector.release(Timestamp::UNIX_EPOCH)
        } else {
            candidate.elector.step(candidate.script.clock(t), Timestamp::UNIX_EPOCH)
        };
        let fate = candidate.fate();
        match step {
            Step::Lost => return,
            Step::Wait => return self.schedule(t + RETRY + fate.jitter, who, Event::Step),
            _ => {}
        }
        let asked = if step == Step::Get { Asked::Read } else { Asked::Write };
        let started = candidate.script.clock(t);
        let request = Request { id: candidate.used, asked, started, stopped: fate.stopped, jitter: fate.jitter };
        if quits {
            // The shell closes the fence before it tells anybody, and ends.
            candidate.elector = Elector::new(format!("quit-{who}"), TIMING);
            candidate.waits_for = None;
        } else {
            candidate.waits_for = Some(request.id);
            let gives_up = t + fate.stalled + REQUEST_TIMEOUT + fate.stopped;
            self.schedule(gives_up, who, Event::Deliver { request: request.clone(), answer: Answer::Unknown });
        }
        if let Some(there) = fate.there {
            self.schedule(t + fate.stalled + there, who, Event::Arrive { request, step, back: fate.back });
        }
    }

    fn deliver(&mut self, t: u64, who: usize, request: &Request, answer: Answer) {
        let candidate = &mut self.candidates[who];
        if candidate.waits_for != Some(request.id) {
            return;
        }
        candidate.waits_for = None;
        let now = candidate.script.clock(t);
        let wait = match candidate.elector.answer(request.asked, request.started, now, answer) {
            Pace::Now => 0,
            Pace::Retry => RETRY,
            Pace::Jittered => RETRY + request.jitter,
        };
        self.schedule(t + wait, who, Event::Step);
    }

    /// Replaces what was known about the right of a candidate from `t` on.
    fn note_right(&mut self, index: usize, t: u64) {
        let candidate = &self.candidates[index];
        for right in self.rights.iter_mut().filter(|(who, _, until)| *who == index && *until > t) {
            right.2 = t;
        }
        if let Some(deadline) = candidate.elector.deadline() {
            let until = candidate.script.truth(deadline);
            if until > t {
                self.rights.push((index, t, until));
            }
        }
    }

    /// Whether a candidate could write again after it could not.
    fn reopened(&self) -> bool {
        let gap = |a: &(usize, u64, u64), b: &(usize, u64, u64)| a.0 == b.0 && b.1 > a.2;
        let of = |who| self.rights.iter().filter(move |right| right.0 == who);
        (0..self.candidates.len()).any(|who| of(who).zip(of(who).skip(1)).any(|(a, b)| gap(a, b)))
    }

    fn overlap(&self) -> Option<[(usize, u64, u64); 2]> {
        let overlaps = |a: &(usize, u64, u64), b: &(usize, u64, u64)| a.0 != b.0 && a.1 < b.2 && b.1 < a.2;
        self.rights.iter().find_map(|a| self.rights.iter().find(|b| overlaps(a, b)).map(|b| [*a, *b]))
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn at_most_one_believes_that_it_may_write(scripts in proptest::collection::vec(script(), 2..5)) {
        let mut world = World::new(&scripts);
        world.run();
        prop_assert_eq!(world.overlap(), None);
        prop_assert!(!world.reopened(), "a right that lapsed came back: {:?}", world.rights);
    }
}

fn calm(starts: u64) -> Script {
    let fate = Fate { there: Some(5), back: Some(5), stopped: 0, stalled: 0, jitter: 700 };
    Script { speed: 100, origin: 50, fates: vec![fate], quits: None, starts }
}

#[test]
fn in_calm_one_leads_throughout() {
    let mut world = World::new(&[calm(0), calm(10)]);
    world.run();
    let leaders: BTreeSet<usize> = world.rights.iter().map(|(who, ..)| *who).collect();
    assert_eq!(leaders, BTreeSet::from([0]));
    assert_eq!(world.server.record.as_ref().unwrap().transitions, 0);
}

#[test]
fn a_released_lease_is_taken_within_a_retry() {
    let mut world = World::new(&[Script { quits: Some(60_000), ..calm(0) }, calm(10)]);
    world.run();
    let taken = world.rights.iter().filter(|(who, ..)| *who == 1).map(|(_, from, _)| *from).min();
    assert!(taken.is_some_and(|at| (60_000..66_000).contains(&at)), "taken at {taken:?}");
}

#[test]
fn a_stopped_leader_is_replaced_within_the_lease_time() {
    let mut fates = vec![calm(0).fates[0].clone(); 30];
    fates[10].stopped = 100_000;
    let mut world = World::new(&[Script { fates, ..calm(0) }, calm(10)]);
    world.run();
    let last = world.rights.iter().filter(|(who, ..)| *who == 0).map(|(.., until)| *until).max().unwrap();
    let taken = world.rights.iter().filter(|(who, ..)| *who == 1).map(|(_, from, _)| *from).min().unwrap();
    assert!(taken > last && taken - last < 12_000, "last {last}, taken {taken}");
    assert_eq!(world.overlap(), None);
}

/// The model finds the fault if there is one: with a right that lasts as long as the lease, slow clocks break it.
#[test]
fn the_model_would_see_two_writers() {
    let slow = Script { speed: 50, ..calm(0) };
    let mut fates = slow.fates.clone();
    fates.extend(vec![slow.fates[0].clone(); 9]);
    fates.push(Fate { there: None, back: None, stopped: 60_000, stalled: 0, jitter: 0 });
    let mut world = World::new(&[Script { fates, ..slow }, calm(10)]);
    world.run();
    assert!(world.overlap().is_some());
}
