//! Windows: which are open, since when and until when, whose bounds hold, what changes next, and what is refused.

use jiff::SignedDuration;
use trimtab_schedule::{Effect, Limits, ScheduleWindow, Schedules};

use crate::{at, window};

const OWN: Limits = Limits { min: 2, max: 40 };

fn read(windows: &[ScheduleWindow]) -> Schedules {
    let (schedules, problems) = Schedules::read(windows);
    assert_eq!(problems, []);
    schedules
}

fn sized(mut window: ScheduleWindow, min: Option<i32>, max: Option<i32>, priority: i32) -> ScheduleWindow {
    (window.min_replicas, window.max_replicas, window.priority) = (min, max, priority);
    window
}

fn exactly(mut window: ScheduleWindow, replicas: i32, priority: i32) -> ScheduleWindow {
    (window.replicas, window.priority) = (Some(replicas), priority);
    window
}

fn lasting(name: &str, start: &str, duration: &str, zone: &str) -> ScheduleWindow {
    ScheduleWindow { end: None, duration: Some(duration.to_owned()), ..window(name, start, "", zone) }
}

/// Every day from one hour to another in UTC.
fn hours(name: &str, from: u8, to: u8) -> ScheduleWindow {
    window(name, &format!("0 {from} * * *"), &format!("0 {to} * * *"), "UTC")
}

fn office() -> ScheduleWindow {
    sized(window("office", "30 6 * * 1-5", "10 22 * * *", "Europe/Prague"), Some(10), None, 0)
}

/// Since when and until when the only window is open, if it is.
fn span(schedules: &Schedules, now: &str) -> Option<(String, String)> {
    let open = schedules.active(at(now)).pop()?;
    Some((open.since.unwrap().to_string(), open.until.unwrap().to_string()))
}

fn some(since: &str, until: &str) -> Option<(String, String)> {
    Some((since.to_owned(), until.to_owned()))
}

fn bounds(effect: &Effect) -> (i32, i32) {
    (effect.min.replicas, effect.max.replicas)
}

#[test]
fn an_end_on_every_day_closes_what_starts_on_weekdays() {
    // keda#4677: there it stays open from Friday to Sunday.
    let office = read(&[office()]);
    assert_eq!(span(&office, "2026-02-06T12:00Z"), some("2026-02-06T05:30:00Z", "2026-02-06T21:10:00Z"), "Friday");
    assert_eq!(span(&office, "2026-02-06T21:09:59Z"), some("2026-02-06T05:30:00Z", "2026-02-06T21:10:00Z"));
    assert_eq!(span(&office, "2026-02-06T05:30:00Z"), some("2026-02-06T05:30:00Z", "2026-02-06T21:10:00Z"));
    for closed in ["2026-02-06T21:10Z", "2026-02-07T12:00Z", "2026-02-08T20:00Z", "2026-02-06T05:29:59Z"] {
        assert_eq!(span(&office, closed), None, "{closed}");
    }
}

#[test]
fn a_start_that_clocks_skip_opens_the_window_when_they_have_changed() {
    // KEDA skips the start, and its window is open from Saturday to Sunday.
    let night = read(&[exactly(window("night", "30 2 * * *", "0 8 * * *", "America/New_York"), 1, 0)]);
    assert_eq!(span(&night, "2026-03-07T09:00Z"), some("2026-03-07T07:30:00Z", "2026-03-07T13:00:00Z"));
    assert_eq!(span(&night, "2026-03-08T06:59Z"), None);
    assert_eq!(span(&night, "2026-03-08T07:00Z"), some("2026-03-08T07:00:00Z", "2026-03-08T12:00:00Z"));
}

#[test]
fn a_window_that_opened_days_ago_is_known_without_a_memory() {
    let weekend = read(&[exactly(window("weekend", "0 18 * * 5", "0 6 * * 1", "Europe/Berlin"), 0, 0)]);
    assert_eq!(span(&weekend, "2026-03-29T12:00Z"), some("2026-03-27T17:00:00Z", "2026-03-30T04:00:00Z"));
    let season = read(&[exactly(window("season", "0 0 1 11 *", "0 0 7 1 *", "UTC"), 9, 0)]);
    assert_eq!(span(&season, "2027-01-06T23:59:59Z"), some("2026-11-01T00:00:00Z", "2027-01-07T00:00:00Z"));
    let sprint = read(&[exactly(lasting("sprint", "0 8 * * 1", "100h", "UTC"), 9, 0)]);
    assert_eq!(span(&sprint, "2026-02-06T11:59Z"), some("2026-02-02T08:00:00Z", "2026-02-06T12:00:00Z"));
    assert_eq!(span(&sprint, "2026-02-06T12:00Z"), None);
}

#[test]
fn a_duration_is_time_that_passes_and_begins_anew_with_each_start() {
    let night = read(&[exactly(lasting("night", "0 22 * * *", "8h", "Europe/Berlin"), 1, 0)]);
    assert_eq!(span(&night, "2026-03-29T01:00Z"), some("2026-03-28T21:00:00Z", "2026-03-29T05:00:00Z"));
    let days = read(&[exactly(lasting("days", "0 8 * * 1-5", "30h", "UTC"), 9, 0)]);
    assert_eq!(span(&days, "2026-02-05T03:00Z"), some("2026-02-02T08:00:00Z", "2026-02-07T14:00:00Z"));
    let minutes = read(&[exactly(lasting("minutes", "* * * * 1-5", "90s", "UTC"), 9, 0)]);
    assert_eq!(span(&minutes, "2026-02-06T23:00Z"), some("2026-02-02T00:00:00Z", "2026-02-07T00:00:30Z"));
}

#[test]
fn a_start_while_open_opens_nothing_and_an_end_at_a_start_closes_nothing() {
    let often = read(&[exactly(window("often", "*/10 8-11 * * *", "0 18 * * *", "UTC"), 9, 0)]);
    assert_eq!(span(&often, "2026-02-06T11:33Z"), some("2026-02-06T08:00:00Z", "2026-02-06T18:00:00Z"));
    // Closes on Sundays at 8, except that it opens there again.
    let weeks = read(&[exactly(window("weeks", "0 8 * * 0,3", "0 8 * * 0,5", "UTC"), 9, 0)]);
    assert_eq!(span(&weeks, "2026-02-05T00:00Z"), some("2026-02-01T08:00:00Z", "2026-02-06T08:00:00Z"));
    assert_eq!(weeks.upcoming(at("2026-01-31T00:00Z"), at("2026-02-07T00:00Z"), OWN).count(), 2);
}

#[test]
fn each_bound_is_that_of_the_most_important_window_that_has_one() {
    let all = |min, max, priority| sized(hours("low", 0, 20), min, max, priority);
    let high = |min, max| sized(hours("high", 1, 20), min, max, 5);
    let now = at("2026-02-06T12:00Z");
    let check = |windows: &[ScheduleWindow]| bounds(&read(windows).effect(now, OWN));
    assert_eq!(check(&[all(Some(10), None, 0)]), (10, 40));
    assert_eq!(check(&[all(Some(0), None, 0)]), (0, 40), "below the object's own");
    assert_eq!(check(&[all(None, Some(100), 0)]), (2, 100), "above the object's own");
    assert_eq!(check(&[all(Some(50), None, 0)]), (50, 50), "the object's own maximum makes room");
    assert_eq!(check(&[all(None, Some(1), 0)]), (1, 1), "the object's own minimum makes room");
    assert_eq!(check(&[all(Some(10), Some(20), 0), high(Some(5), None)]), (5, 20));
    assert_eq!(check(&[all(Some(10), Some(20), 9), high(Some(5), None)]), (10, 20));
    assert_eq!(check(&[all(Some(10), Some(20), 0), high(Some(30), None)]), (30, 30));
    assert_eq!(check(&[all(Some(10), Some(20), 0), high(None, Some(4))]), (4, 4));
    assert_eq!(check(&[exactly(hours("low", 0, 20), 3, 0), high(Some(10), None)]), (10, 10));
    assert_eq!(check(&[exactly(hours("low", 0, 20), 8, 0), high(None, Some(5))]), (5, 5));
    assert_eq!(check(&[exactly(hours("low", 0, 20), 8, 0), high(Some(1), Some(9))]), (1, 9));
    assert_eq!(check(&[exactly(hours("low", 0, 20), 8, 9), high(Some(1), Some(9))]), (8, 8));
    let upside_down = read(&[]).effect(now, Limits { min: 9, max: 3 });
    assert_eq!(bounds(&upside_down), (9, 9));
}

#[test]
fn among_equals_the_one_that_opened_later_counts_then_the_name() {
    let now = at("2026-02-06T12:00Z");
    let names = |windows: &[ScheduleWindow]| -> Vec<String> {
        read(windows).active(now).into_iter().map(|open| open.name).collect()
    };
    let one = |name: &str, from, priority| exactly(hours(name, from, 20), 3, priority);
    assert_eq!(names(&[one("a", 8, 0), one("b", 9, 0), one("c", 7, 1)]), ["c", "b", "a"]);
    assert_eq!(names(&[one("b", 8, 0), one("a", 8, 0)]), ["a", "b"]);
    assert_eq!(names(&[one("b", 8, -1), one("a", 8, -2)]), ["b", "a"]);
}

#[test]
fn the_reason_names_the_window_and_its_end() {
    let schedules = read(&[office(), exactly(hours("lunch", 11, 12), 3, -1)]);
    let because = |now: &str| schedules.effect(at(now), OWN).because;
    assert_eq!(because("2026-02-07T00:00Z"), "2 to 40 replicas: no window is open");
    let office = "at least 10 replicas: window office until 2026-02-06T21:10:00Z; at most 40: the object's own";
    assert_eq!(because("2026-02-06T13:00Z"), office);
    assert!(because("2026-02-06T11:30Z").contains("window lunch until 2026-02-06T12:00:00Z, which asks for 3"));
    assert!(because("2026-02-08T11:30Z").starts_with("exactly 3 replicas: window lunch until"));
    let effect = schedules.effect(at("2026-02-08T11:30Z"), OWN);
    assert_eq!((effect.exact(), effect.is_scheduled()), (Some(3), true));
}

#[test]
fn the_next_change_is_the_next_time_that_the_sizes_differ() {
    // The second asks for no more than the first does.
    let schedules =
        read(&[sized(hours("day", 8, 20), Some(10), None, 1), sized(hours("noon", 12, 13), Some(5), None, 0)]);
    let change = schedules.next_change(at("2026-02-06T09:00Z"), OWN).unwrap();
    assert_eq!((change.at, change.closed), (at("2026-02-06T20:00Z"), vec!["day".to_owned()]));
    assert_eq!(schedules.next_change(at("2026-02-06T08:00Z"), OWN).unwrap().at, at("2026-02-06T20:00Z"));
    assert_eq!(schedules.next_change(at("2026-02-06T20:00Z"), OWN).unwrap().at, at("2026-02-07T08:00Z"));
    assert_eq!(read(&[]).next_change(at("2026-02-06T20:00Z"), OWN), None);
    let same = read(&[sized(hours("same", 8, 20), Some(2), Some(40), 0)]);
    assert_eq!(same.next_change(at("2026-02-06T20:00Z"), OWN), None, "it asks for what holds anyway");
}

#[test]
fn what_comes_is_in_order_and_one_moment_is_one_change() {
    let schedules = read(&[
        sized(hours("night", 20, 8), Some(0), None, 0),
        sized(hours("day", 8, 20), Some(10), None, 0),
        sized(hours("noon", 12, 13), None, Some(60), 0),
    ]);
    let changes: Vec<_> = schedules.upcoming(at("2026-02-06T08:00Z"), at("2026-02-07T08:00Z"), OWN).collect();
    let told: Vec<_> = changes
        .iter()
        .map(|c| (c.at.to_string(), c.opened.join(","), c.closed.join(","), bounds(&c.effect), c.resizes))
        .collect();
    let row = |at: &str, opened: &str, closed: &str, bounds| {
        (at.to_owned(), opened.to_owned(), closed.to_owned(), bounds, true)
    };
    let expected = [
        row("2026-02-06T12:00:00Z", "noon", "", (10, 60)),
        row("2026-02-06T13:00:00Z", "", "noon", (10, 40)),
        row("2026-02-06T20:00:00Z", "night", "day", (0, 40)),
        row("2026-02-07T08:00:00Z", "day", "night", (10, 40)),
    ];
    assert_eq!(told, expected);
}

#[test]
fn what_cannot_work_is_refused_with_a_remedy_and_the_rest_goes_on() {
    let bad = |field: &str, change: fn(&mut ScheduleWindow)| {
        let mut broken = office();
        broken.name = "broken".to_owned();
        change(&mut broken);
        let (schedules, problems) = Schedules::read(&[broken, exactly(hours("fine", 8, 9), 1, 0)]);
        assert_eq!(schedules.active(at("2026-02-06T08:30Z")).len(), 1, "{field}");
        assert_eq!(problems.iter().map(|p| p.field).collect::<Vec<_>>(), [field], "{problems:?}");
        problems.into_iter().map(|p| p.to_string()).collect::<String>()
    };
    assert!(bad("name", |w| w.name = String::new()).contains("name the window"));
    assert!(bad("name", |w| w.name = "fine".to_owned()).contains("give each its own"));
    assert!(bad("start", |w| w.start = "0 6 * *".to_owned()).contains("4 of five"));
    assert!(bad("start", |w| w.start = "0 6 30 2 *".to_owned()).contains("never fires"));
    assert!(bad("end", |w| w.end = Some("8h".to_owned())).contains("write duration: 8h"));
    assert!(bad("end", |w| w.end = None).contains("write end (a cron expression) or duration"));
    assert!(bad("end", |w| w.duration = Some("8h".to_owned())).contains("take one of them out"));
    assert!(bad("end", |w| w.end = Some(w.start.clone())).contains("never does"));
    assert!(
        bad("end", |w| (w.start, w.end) = ("*/5 * * * *".to_owned(), Some("@hourly".to_owned())))
            .contains("never does")
    );
    for duration in ["0s", "-1h", "8", "tomorrow", "8 hours", "", "99999999999999999999h"] {
        let broken = exactly(lasting("broken", "0 8 * * *", duration, "UTC"), 1, 0);
        assert_eq!(
            Schedules::read(&[broken]).1.iter().map(|p| p.field).collect::<Vec<_>>(),
            ["duration"],
            "{duration}"
        );
    }
    let always = exactly(lasting("always", "0 8,20 * * *", "12h", "UTC"), 1, 0);
    assert!(Schedules::read(&[always]).1.iter().all(|p| p.message.contains("never closes")));
    assert!(bad("timeZone", |w| w.time_zone = "Prague".to_owned()).contains("write Europe/Prague"));
    assert!(bad("replicas", |w| w.replicas = Some(3)).contains("take it or them out"));
    assert!(bad("replicas", |w| w.min_replicas = None).contains("sets nothing"));
    assert!(bad("minReplicas", |w| w.max_replicas = Some(9)).contains("10 is above maxReplicas, 9"));
    assert!(bad("minReplicas", |w| w.min_replicas = Some(-1)).contains("write 0 or more"));
}

#[test]
fn a_window_that_does_not_fit_the_object_is_told() {
    let schedules = read(&[sized(hours("a", 1, 2), Some(50), None, 0), sized(hours("b", 1, 2), None, Some(1), 0)]);
    let told: Vec<String> = schedules.conflicts(OWN).iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "window \"a\", minReplicas: 50 is above the object's maxReplicas, 40: give the window its own maxReplicas",
            "window \"b\", maxReplicas: 1 is below the object's minReplicas, 2: give the window its own minReplicas",
        ]
    );
    assert_eq!(read(&[office()]).conflicts(OWN), []);
}

#[test]
fn a_window_is_written_as_kubernetes_writes_things() {
    let written = serde_json::json!({
        "name": "office", "start": "30 6 * * 1-5", "end": "10 22 * * *", "timeZone": "Europe/Prague", "minReplicas": 10,
        "priority": 0,
    });
    assert_eq!(serde_json::to_value(office()).unwrap(), written);
    let schema = schemars::schema_for!(ScheduleWindow);
    let rules = schema.get("x-kubernetes-validations").and_then(|rules| rules.as_array()).unwrap();
    assert!(rules.len() == 3 && rules.iter().all(|rule| rule["message"].is_string() && rule["rule"].is_string()));
    assert_eq!(schema.get("required").unwrap(), &serde_json::json!(["name", "start", "timeZone"]));
}

#[test]
fn what_lasts_for_ever_in_effect_is_said_to_and_costs_no_eternity() {
    // Open every minute of the first half of each year: longer than anybody looks.
    let long = read(&[exactly(lasting("long", "* * * 1-6 *", "2m", "UTC"), 4, 0)]);
    let open = long.active(at("2026-04-01T00:00Z")).pop().unwrap();
    assert_eq!((open.since, open.until), (None, None));
    let end = at("9999-12-30T00:00Z").checked_sub(SignedDuration::from_hours(1)).unwrap();
    assert!(read(&[office()]).upcoming(end, jiff::Timestamp::MAX, OWN).count() < 4);
}
