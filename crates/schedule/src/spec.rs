//! What a user writes: one window of a schedule, and what can be wrong with it. Not when it is open.

use jiff::SignedDuration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::window::{End, Sizes, Window};
use crate::{Cron, zone};

/// The shape of a cron expression; what it says is checked when it is read.
const CRON: &str = r"^\s*(@[a-zA-Z]+|\S+(\s+\S+){4})\s*$";

/// A time in which other sizes hold. It opens at each start, and closes at the first end after it or when its duration
/// is over.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "has(self.end) != has(self.duration)",
        "message": "a window closes by exactly one of end (a cron expression) and duration: write one of them",
    },
    {
        "rule": "has(self.replicas) != (has(self.minReplicas) || has(self.maxReplicas))",
        "message": "a window sets either replicas, or minReplicas, maxReplicas or both: write one of the two",
    },
    {
        "rule": "!has(self.minReplicas) || !has(self.maxReplicas) || self.minReplicas <= self.maxReplicas",
        "message": "minReplicas is above maxReplicas: lower minReplicas or raise maxReplicas",
    },
]))]
pub struct ScheduleWindow {
    /// What it is called in status and reasons; no two windows share a name.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// When it opens: a cron expression of five fields (minute, hour, day of month, month, day of week) or a name such as
    /// @daily. A start that a change of clocks skips opens it when the clocks have changed; one that comes twice opens it
    /// the first time.
    #[schemars(length(min = 6, max = 256), regex(pattern = CRON))]
    pub start: String,
    /// When it closes: a cron expression, in the same time zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 6, max = 256), regex(pattern = CRON))]
    pub end: Option<String>,
    /// How long it stays open after a start: `30m`, `8h`. Time that passes, not what clocks show. A start while it is open
    /// makes it stay open for as long again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 32), regex(pattern = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$"))]
    pub duration: Option<String>,
    /// The time zone that start and end are in, by its IANA name: Europe/Berlin, UTC.
    #[schemars(length(min = 1, max = 64))]
    pub time_zone: String,
    /// The fewest replicas while it is open. It may be below the object's own minimum, also 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub min_replicas: Option<i32>,
    /// The most replicas while it is open. It may be above the object's own maximum.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub max_replicas: Option<i32>,
    /// Exactly so many replicas while it is open, whatever is measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub replicas: Option<i32>,
    /// Which window is heeded where several are open and do not agree: that with the highest. Among equals the one that
    /// opened last, then the first by name.
    #[serde(default)]
    pub priority: i32,
}

/// What is wrong with a window, and how to mend it. The window is left out until then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("window {window:?}, {field}: {message}")]
pub struct Problem {
    /// The window's name.
    pub window: String,
    /// Which of its fields.
    pub field: &'static str,
    /// What is wrong and what to write instead.
    pub message: String,
}

type Found<T> = Result<T, (&'static str, String)>;

impl ScheduleWindow {
    /// The window, read.
    pub(crate) fn read(&self) -> Result<Window, Problem> {
        let problem = |(field, message)| Problem { window: self.name.clone(), field, message };
        self.window().map_err(problem)
    }

    fn window(&self) -> Found<Window> {
        if self.name.is_empty() {
            return Err(("name", "it is missing: name the window".to_owned()));
        }
        let start: Cron = self.start.parse().map_err(|e: crate::CronError| ("start", e.to_string()))?;
        let end = self.closing(&start)?;
        let zone = zone(&self.time_zone).map_err(|e| ("timeZone", e.to_string()))?;
        let sizes = self.sizes()?;
        Ok(Window { name: self.name.clone(), start, end, zone, sizes, priority: self.priority })
    }

    fn closing(&self, start: &Cron) -> Found<End> {
        match (&self.end, &self.duration) {
            (Some(end), None) => {
                if duration(end).is_some() {
                    return Err(("end", format!("{end:?} is a duration: write duration: {end}")));
                }
                let end: Cron = end.parse().map_err(|e: crate::CronError| ("end", e.to_string()))?;
                if end.is_part_of(start) {
                    let why = "the window opens again whenever it closes, so it never does: name an end that is no start, \
                               or leave the window out and set the object's own minReplicas and maxReplicas";
                    return Err(("end", why.to_owned()));
                }
                Ok(End::At(end))
            }
            (None, Some(text)) => {
                let Some(length) = duration(text) else {
                    return Err((
                        "duration",
                        format!("{text:?} is not a duration above 0: write for example 30m or 8h"),
                    ));
                };
                let widest = start.widest_minutes().map(SignedDuration::from_mins);
                if widest.is_some_and(|widest| length >= widest) {
                    let why = "it is as long as the time between two starts, so the window never closes: write a shorter \
                               one, or leave the window out and set the object's own minReplicas and maxReplicas";
                    return Err(("duration", why.to_owned()));
                }
                Ok(End::After(length))
            }
            (None, None) => Err(("end", "it never closes: write end (a cron expression) or duration".to_owned())),
            (Some(_), Some(_)) => Err(("end", "end and duration are both given: take one of them out".to_owned())),
        }
    }

    fn sizes(&self) -> Found<Sizes> {
        let given =
            [("replicas", self.replicas), ("minReplicas", self.min_replicas), ("maxReplicas", self.max_replicas)];
        if let Some((field, _)) = given.iter().find(|(_, value)| value.is_some_and(|value| value < 0)) {
            return Err((field, "it is below 0: write 0 or more".to_owned()));
        }
        match (self.replicas, self.min_replicas, self.max_replicas) {
            (Some(exact), None, None) => Ok(Sizes { min: Some(exact), max: Some(exact) }),
            (Some(_), ..) => {
                let why = "an exact size leaves nothing to minReplicas and maxReplicas: take it or them out";
                Err(("replicas", why.to_owned()))
            }
            (None, None, None) => {
                Err(("replicas", "it sets nothing: write replicas, minReplicas or maxReplicas".to_owned()))
            }
            (None, Some(min), Some(max)) if min > max => {
                Err(("minReplicas", format!("{min} is above maxReplicas, {max}: lower it or raise maxReplicas")))
            }
            (None, min, max) => Ok(Sizes { min, max }),
        }
    }
}

/// A duration above 0 as Go and Kubernetes write it.
fn duration(text: &str) -> Option<SignedDuration> {
    let plain = text.bytes().all(|b| b.is_ascii_digit() || b"hms.".contains(&b));
    let length = plain.then(|| text.parse::<SignedDuration>().ok()).flatten();
    length.filter(SignedDuration::is_positive)
}
