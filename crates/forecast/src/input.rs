//! What a forecast is made from: a series of samples and what is asked. Not where the samples come from.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Samples of a load at even steps, the oldest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Series {
    /// When the last value was measured. Seasons are counted back from here, so a season follows the clock that counts
    /// seconds, not the one on the wall: where clocks change, a day's peak comes an hour early or late for the model.
    pub end: Timestamp,
    /// Seconds from one value to the next. With 0 there is no forecast.
    pub step_seconds: u32,
    /// The values, in any unit; `None` where there is no sample. Of more than 8192 the oldest are left out.
    pub values: Vec<Option<f64>>,
}

/// What is asked of a forecast.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// After how many seconds the load repeats itself: a day, a week. Rounded to steps. A season counts when its trial is
    /// possible: when there are two full ones before the stretch that forecasts are tried on, so three of the shortest.
    /// Of more than three that count, the longest are left out.
    pub season_seconds: Vec<u32>,
    /// How far to look ahead, in seconds: the time that a pod takes to become ready. Rounded up to a step, and no
    /// further than the shortest season.
    pub horizon_seconds: u32,
    /// How sure the floor is, from 0.5 to 1: at 0.9 the load stays below it in nine of ten steps. What is outside is
    /// moved to the nearest end.
    pub quantile: f64,
}
