//! Boards in all states, and what looking after one costs.

use std::time::Duration;

use trimtab_config::Pins;

use super::*;
use crate::member::Last;
use crate::record::{Applied, Record};
use crate::{Change, How, Is, Progress};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn now() -> Timestamp {
    at(10_000)
}

fn options(per_source: usize, per_namespace: usize) -> Options {
    Options {
        max_per_source: per_source,
        max_per_namespace: per_namespace,
        quiet_period: Duration::ZERO,
        ..Options::default()
    }
}

fn change(source: &str) -> Change {
    Change {
        source: Source::config_map(source),
        how: How::Native,
        is: Is::Changed,
        to: Applied { pin: Pin::parse("bb").unwrap(), written: Timestamp::from_second(9_000).ok() },
        by: None,
        begun: false,
        dated: true,
        version: None,
        trigger: None,
    }
}

/// A workload that waits for revision `bb` of these ConfigMaps.
fn waiting(name: &str, sources: &str) -> Member {
    Member {
        id: format!("deployment/{name}").into(),
        changes: sources.split(',').map(change).collect(),
        last: None,
        after: BTreeSet::new(),
        comparing: false,
        rolls_for_changes: true,
        unheard: false,
        waits: false,
        record: Record::default(),
    }
}

/// One that was restarted for it so many seconds ago.
fn restarted(name: &str, source: &str, seconds: i64, progress: Progress) -> Member {
    let to = Pins::parse(&format!("cm/{source}=bb"));
    let last = Some(Last { at: at(10_000 - seconds), to, progress, unsettled: false });
    Member { last, changes: vec![], ..waiting(name, source) }
}

fn after(member: Member, ids: &[&str]) -> Member {
    Member { after: ids.iter().map(|id| format!("deployment/{id}").into()).collect(), ..member }
}

fn board(options: &Options, members: &[Member]) -> Board {
    let mut board = Board::default();
    members.iter().for_each(|member| board.put(now(), options, member.clone()));
    board
}

/// Who of a board may go, if those under way are seen first.
fn check(options: &Options, members: &[Member], expected: &[&str]) {
    let mut all: Vec<Member> = members.to_vec();
    all.sort_by_key(|member| !member.changes.is_empty());
    let mut board = board(options, &all);
    let wants = members.iter().filter(|member| !member.changes.is_empty());
    let goes = wants.filter(|member| {
        // Each is looked at when it is decided about.
        board.put(now(), options, Member::clone(member));
        board.turn(now(), options, &member.id) == Turn::Go
    });
    let may: Vec<&str> = goes.map(|m| m.id.trim_start_matches("deployment/")).collect();
    assert_eq!(may, expected);
}

#[test]
fn as_many_go_as_may_and_those_under_way_have_their_places() {
    let mut board = vec![waiting("a", "x"), waiting("b", "x"), waiting("c", "x"), waiting("d", "y")];
    check(&options(0, 0), &board, &["a", "b", "c", "d"]);
    check(&options(2, 0), &board, &["a", "b", "d"]);
    check(&options(0, 2), &board, &["a", "b"]);
    board.push(restarted("e", "x", 10, Progress::Rolling));
    check(&options(2, 0), &board, &["a", "d"]);
    board.push(restarted("f", "x", 10, Progress::Settled));
    check(&options(2, 0), &board, &["a", "d"]);
    // What rolls long after its reload does so for other reasons.
    let mut old = restarted("g", "y", 4_000, Progress::Rolling);
    old.last.as_mut().unwrap().unsettled = true;
    board.push(old);
    check(&options(1, 0), &board, &["d"]);
    // One that waits for two sources takes a place of each.
    let both = [waiting("a", "x,y"), waiting("b", "y"), waiting("c", "x"), waiting("d", "z")];
    check(&options(1, 0), &both, &["a", "d"]);
}

#[test]
fn a_failure_halts_those_that_wait_for_the_same_and_nobody_else() {
    let failed = restarted("e", "x", 10, Progress::Failed("late".to_owned()));
    let all = vec![waiting("a", "x"), waiting("b", "y"), failed];
    check(&options(5, 0), &all, &["b"]);
    let mut seen = board(&options(5, 0), &all);
    let says = seen.turn(now(), &options(5, 0), "deployment/a");
    assert_eq!(says, Turn::Halted("deployment/e: late".to_owned()));
    // Those that are halted take no places from the others.
    check(&options(0, 2), &all, &["b"]);
    let slow = [waiting("a", "x"), restarted("e", "x", 601, Progress::Rolling)];
    check(&options(5, 0), &slow, &[]);
    // All hear of it, and of its end.
    let options = options(2, 0);
    let waits: Vec<Member> = (0..9).map(|n| waiting(&format!("w{n}"), "x")).collect();
    let mut seen = board(&options, &waits);
    seen.woken("");
    seen.put(now(), &options, restarted("w0", "x", 10, Progress::Failed("late".to_owned())));
    assert_eq!(seen.woken("deployment/w0").len(), 8);
    seen.put(now(), &options, restarted("w0", "x", 10, Progress::Rolling));
    assert_eq!(seen.woken("deployment/w0").len(), 8);
    assert_eq!(seen.turn(now(), &options, "deployment/w1"), Turn::Go);
    // A failure that only time makes one is found when it is due.
    let late = now() + options.deadline;
    let Turn::Wait(_, Some(again)) = seen.turn(now(), &options, "deployment/w5") else { panic!("it does not wait") };
    assert_eq!(again, late - Duration::from_secs(10));
    assert!(matches!(seen.turn(late, &options, "deployment/w5"), Turn::Halted(_)));
}

#[test]
fn the_order_is_kept_and_one_without_a_beginning_is_named() {
    let all = [after(waiting("a", "x"), &["b"]), waiting("b", "x")];
    check(&options(5, 0), &all, &["b"]);
    let all = [after(waiting("a", "x"), &["b"]), restarted("b", "x", 10, Progress::Rolling)];
    check(&options(5, 0), &all, &[]);
    let all = [after(waiting("a", "x"), &["b", "gone"]), restarted("b", "x", 10, Progress::Settled)];
    check(&options(5, 0), &all, &["a"]);
    let all = [after(waiting("a", "x"), &["b"]), after(waiting("b", "x"), &["a"]), waiting("c", "x")];
    check(&options(1, 0), &all, &["c"]);
    let says = board(&options(1, 0), &all).turn(now(), &options(1, 0), "deployment/a");
    assert_eq!(says, Turn::Cycle("deployment/a → deployment/b → deployment/a".to_owned()));
    // Whoever is behind is woken when its turn comes.
    let options = options(1, 0);
    let mut seen = board(&options, &[waiting("b", "x"), after(waiting("a", "x"), &["b"])]);
    seen.put(now(), &options, restarted("b", "x", 1, Progress::Rolling));
    seen.woken("");
    seen.remove(now(), &options, "deployment/b");
    assert_eq!(seen.woken("").into_iter().collect::<Vec<_>>(), ["deployment/a".into()]);
    assert_eq!(seen.turn(now(), &options, "deployment/a"), Turn::Go);
}

#[test]
fn one_that_is_being_compared_holds_up_only_those_behind_it_and_keeps_its_place() {
    let options = options(1, 0);
    let comparing = |member: Member| Member { comparing: true, changes: vec![], ..member };
    let mut seen =
        board(&options, &[comparing(waiting("b", "x")), after(waiting("a", "x"), &["b"]), waiting("c", "y")]);
    assert!(matches!(seen.turn(now(), &options, "deployment/a"), Turn::After(..)));
    assert_eq!(seen.turn(now(), &options, "deployment/c"), Turn::Go);
    // It wants something else, or nothing: whoever is behind it hears of either.
    for known in [Some(waiting("b", "z")), None] {
        seen.put(now(), &options, comparing(waiting("b", "x")));
        // Each is looked at when it is decided about.
        seen.put(now(), &options, after(waiting("a", "x"), &["b"]));
        assert!(matches!(seen.turn(now(), &options, "deployment/a"), Turn::After(..)));
        seen.woken("");
        match known {
            Some(known) => seen.put(now(), &options, known),
            None => seen.remove(now(), &options, "deployment/b"),
        }
        assert!(seen.woken("").contains("deployment/a"));
        assert_eq!(seen.turn(now(), &options, "deployment/a"), Turn::Go);
    }
    // What it was known to want it may want still, and it has its place for that.
    let mut seen = board(&options, &[waiting("b", "x"), waiting("a", "x")]);
    assert_eq!(seen.turn(now(), &options, "deployment/b"), Turn::Go);
    seen.put(now(), &options, comparing(waiting("b", "x")));
    assert!(matches!(seen.turn(now(), &options, "deployment/a"), Turn::Wait(..)));
    seen.put(now(), &options, waiting("b", "x"));
    assert_eq!(seen.turn(now(), &options, "deployment/b"), Turn::Go);
}

#[test]
fn a_long_order_and_a_large_circle_end() {
    let options = options(1, 0);
    let name = |n: usize| format!("w{n}");
    let all: Vec<Member> = (0..20_000).map(|n| after(waiting(&name(n), "x"), &[&name((n + 1) % 20_000)])).collect();
    let mut seen = board(&options, &all);
    assert!(matches!(seen.turn(now(), &options, "deployment/w7"), Turn::After(..)));
}

/// Lets a board of so many live, each of which is done some time after its turn has come; how many looks that took.
fn play(options: &Options, count: usize, sources: impl Fn(usize) -> String) -> usize {
    let member = |n: usize| waiting(&format!("w{n:05}"), &sources(n));
    let mut board = Board::default();
    (0..count).for_each(|n| board.put(now(), options, member(n)));
    let (mut rolling, mut done) = (vec![], 0);
    while done < count {
        let woken = board.woken("");
        for id in &woken {
            assert_eq!(board.turn(now(), options, id), Turn::Go, "{id} was woken for nothing");
            let n: usize = id.trim_start_matches("deployment/w").parse().unwrap();
            let to = Pins::parse(&sources(n).split(',').map(|s| format!("cm/{s}=bb")).collect::<Vec<_>>().join(","));
            let last = Some(Last { at: now(), to, progress: Progress::Rolling, unsettled: false });
            // Seen several times on its way.
            for _ in 0..3 {
                board.put(now(), options, Member { last: last.clone(), changes: vec![], ..member(n) });
            }
            rolling.push(n);
        }
        let mut by_source = BTreeMap::<String, usize>::new();
        for source in rolling.iter().flat_map(|n| sources(*n).split(',').map(str::to_owned).collect::<Vec<_>>()) {
            *by_source.entry(source).or_default() += 1;
        }
        assert!(options.max_per_namespace == 0 || rolling.len() <= options.max_per_namespace, "{}", rolling.len());
        assert!(options.max_per_source == 0 || by_source.values().all(|n| *n <= options.max_per_source));
        assert!(!rolling.is_empty(), "nobody goes although {} wait", count - done);
        // Somebody in the middle is done.
        let n = rolling.swap_remove(rolling.len() / 2);
        board.remove(now(), options, &member(n).id);
        done += 1;
    }
    assert!(board.is_empty() && board.lines.is_empty() && board.later.is_empty() && board.ends.is_empty());
    assert!(board.wanted.is_empty() && board.failed.is_empty() && board.behind.is_empty());
    board.looks
}

#[test]
fn a_wave_costs_what_its_members_cost_whatever_they_wait_for() {
    for options in [options(10, 20), options(0, 20), options(10, 0), options(0, 0), options(1, 1)] {
        let shapes: [&dyn Fn(usize) -> String; 4] =
            [&|_| "x".to_owned(), &|n| format!("own-{n}"), &|n| format!("shared,own-{n}"), &|n| {
                format!("a-{},b-{}", n % 3, n % 7)
            }];
        for sources in shapes {
            let looks = play(&options, 1_000, sources);
            assert!(looks <= 8_000, "{looks} looks for 1 000 members with {:?}", (options.max_per_source, sources(1)));
        }
    }
}

#[test]
fn a_place_that_is_not_used_goes_to_the_next() {
    let options = options(1, 0);
    let mut seen = board(&options, &[waiting("a", "x"), waiting("b", "x")]);
    assert_eq!(seen.turn(now(), &options, "deployment/a"), Turn::Go);
    // Its patch is refused, and it is decided about again.
    seen.put(now(), &options, waiting("a", "x"));
    assert!(matches!(seen.turn(now(), &options, "deployment/b"), Turn::Wait(_, Some(_))));
    let later = now() + options.deadline;
    seen.put(later, &options, waiting("a", "x"));
    assert!(matches!(seen.turn(later, &options, "deployment/a"), Turn::Wait(..)));
    assert_eq!(seen.turn(later, &options, "deployment/b"), Turn::Go);
    assert!(seen.woken("").contains("deployment/b"));
}

/// Nothing is in motion where a rollout has failed, and one that was broken before its restart never counts as failed.
#[test]
fn those_that_were_broken_before_do_not_keep_their_places() {
    let late = || Progress::Failed("late".to_owned());
    let of = |seconds: i64, progress: Progress, unsettled: bool| {
        let mut all: Vec<Member> =
            (0..10).map(|n| restarted(&format!("b{n}"), "a", seconds, progress.clone())).collect();
        all.iter_mut().for_each(|member| member.last.as_mut().unwrap().unsettled = unsettled);
        all.push(waiting("z", "a"));
        all
    };
    check(&options(10, 20), &of(10, Progress::Rolling, true), &[]);
    check(&options(10, 20), &of(700, Progress::Rolling, true), &["z"]);
    check(&options(10, 20), &of(10, late(), true), &["z"]);
    check(&options(10, 20), &of(700, late(), true), &["z"]);
    // What has its deadline yet to come is waited for, and looked at then.
    let options = options(10, 20);
    let mut seen = board(&options, &of(10, Progress::Rolling, true));
    let Turn::Wait(_, Some(again)) = seen.turn(now(), &options, "deployment/z") else { panic!("it does not wait") };
    assert_eq!(again, now() + options.deadline - Duration::from_secs(10));
    assert_eq!(seen.turn(again, &options, "deployment/z"), Turn::Go);
    assert!(seen.woken("").contains("deployment/z"));
    // Those of other sources have the places of the namespace that a failure left.
    let mut all: Vec<Member> = (0..20).map(|n| restarted(&format!("b{n}"), "a", 10, late())).collect();
    all.push(waiting("z", "b"));
    check(&options, &all, &["z"]);
}
