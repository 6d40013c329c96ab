//! Cron triggers as windows of a schedule. KEDA asks for so many pods while one is active; a window says so directly.

use serde_json::{Value, json};
use trimtab_schedule::{ScheduleWindow, Schedules};

use super::Bounds;
use crate::fields::Fields;
use crate::remarks::Remarks;

/// The longest name of a window, with room for what is put behind it.
const NAME: usize = 55;

/// A cron trigger.
pub(super) struct Cron {
    /// Where it is in the object.
    path: String,
    /// What formulas call it.
    pub(super) trigger: Option<String>,
    /// A name for its window.
    name: String,
    zone: String,
    start: String,
    end: String,
    desired: i32,
}

impl Cron {
    pub(super) fn read(
        index: usize,
        trigger: Option<&str>,
        metadata: &mut Fields<'_>,
        remarks: &mut Remarks,
    ) -> Option<Self> {
        let path = metadata.path("desiredReplicas");
        let mut text = |field| {
            let text = metadata.text(field);
            if text.is_none() {
                remarks.lost(metadata.path(field), "it is missing: the trigger is left out");
            }
            text.map(|text| text.trim().to_owned())
        };
        let (zone, start, end, desired) = (text("timezone"), text("start"), text("end"), text("desiredReplicas"));
        let (zone, start, end, desired) = (zone?, start?, end?, desired?);
        let Some(desired) = desired.parse::<i32>().ok().filter(|desired| *desired > 0) else {
            remarks.lost(path, "it is not a whole number above 0: the trigger is left out");
            return None;
        };
        let path = path.trim_end_matches(".desiredReplicas").to_owned();
        let cron = Self {
            name: window_name(trigger, index),
            trigger: trigger.map(str::to_owned),
            path,
            zone,
            start,
            end,
            desired,
        };
        if let Some(problem) = problem(&cron.window(1)) {
            remarks.lost(&cron.path, format!("the trigger is left out: {problem}"));
            return None;
        }
        cron.differences(remarks);
        Some(cron)
    }

    fn window(&self, min: i32) -> ScheduleWindow {
        ScheduleWindow {
            name: self.name.clone(),
            start: self.start.clone(),
            end: Some(self.end.clone()),
            time_zone: self.zone.clone(),
            min_replicas: Some(min),
            ..ScheduleWindow::default()
        }
    }

    /// Where KEDA keeps other times: it is active while the next end comes before the next start.
    fn differences(&self, remarks: &mut Remarks) {
        let fields = |text: &str| text.split_ascii_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let (start, end) = (fields(&self.start), fields(&self.end));
        let once = |time: &[String]| {
            time.len() == 5 && time.iter().take(2).all(|field| field.bytes().all(|b| b.is_ascii_digit()))
        };
        if !once(&start) || !once(&end) || start.get(2..) != end.get(2..) {
            remarks.note(
                &self.path,
                "the window closes at the first end after its start; KEDA stays active whenever the next end comes before the \
                 next start, for example over a weekend where start names weekdays and end names every day (keda#4677)",
            );
        }
    }
}

/// What is wrong with a window.
fn problem(window: &ScheduleWindow) -> Option<String> {
    Schedules::read(std::slice::from_ref(window)).1.first().map(ToString::to_string)
}

/// A name as windows have them.
fn window_name(trigger: Option<&str>, index: usize) -> String {
    let lower = trigger.unwrap_or_default().to_ascii_lowercase();
    let plain: String = lower.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(NAME).collect();
    let plain = plain.trim_matches('-');
    if plain.is_empty() { format!("cron-{index}") } else { plain.to_owned() }
}

/// The windows, and whether they say all that KEDA's triggers do. With `exact` a window sets the size, and otherwise the fewest
/// pods. With `closed` there are windows for the times in between as well, in which nothing asks for pods.
pub(super) fn windows(
    crons: &[Cron],
    bounds: Bounds,
    exact: bool,
    closed: bool,
    remarks: &mut Remarks,
) -> (Vec<Value>, bool) {
    let field = if exact { "replicas" } else { "minReplicas" };
    let (mut windows, mut complete, mut names) = (vec![], true, std::collections::BTreeSet::new());
    for (i, cron) in crons.iter().enumerate() {
        let name = if names.insert(cron.name.clone()) { cron.name.clone() } else { format!("{}-{i}", cron.name) };
        let size = cron.desired.clamp(bounds.min, bounds.max);
        if size != cron.desired {
            let (desired, min, max) = (cron.desired, bounds.min, bounds.max);
            remarks.note(
                &cron.path,
                format!("desiredReplicas {desired} became {size}: KEDA too keeps within {min} to {max}"),
            );
        }
        let mut window = json!({"name": name, "start": cron.start, "end": cron.end, "timeZone": cron.zone});
        window[field] = json!(size);
        if crons.len() > 1 {
            // Of those that are active KEDA heeds the one that asks for the most.
            window["priority"] = json!(crons.iter().filter(|other| other.desired < cron.desired).count());
        }
        windows.push(window);
        if closed {
            let other = ScheduleWindow {
                name: format!("{name}-off"),
                start: cron.end.clone(),
                end: Some(cron.start.clone()),
                replicas: Some(bounds.min),
                min_replicas: None,
                priority: -1,
                ..cron.window(0)
            };
            complete &= between(&other, cron, &mut windows, remarks);
        }
    }
    if closed {
        let min = bounds.min;
        let after = if min == 0 { ", at once and not after cooldownPeriod" } else { "" };
        remarks.note(
            "spec.triggers",
            format!("nothing but cron triggers asks for pods, so the windows named ...-off set {min} for the times between{after}"),
        );
    }
    (windows, complete)
}

/// Adds the window for the times between. False if there is no such window.
fn between(window: &ScheduleWindow, cron: &Cron, windows: &mut Vec<Value>, remarks: &mut Remarks) -> bool {
    let written = json!({"name": window.name, "start": window.start, "end": window.end, "timeZone": window.time_zone,
        "replicas": window.replicas, "priority": window.priority});
    match problem(window) {
        None => windows.push(written),
        Some(problem) => {
            remarks.lost(&cron.path, format!("the times between its windows cannot be said: {problem}"));
            return false;
        }
    }
    true
}
