//! Synthetic loads. The noise is a hash of the seed and the step: the same in every run, on every machine.

use std::f64::consts::TAU;

use trimtab_forecast::{Forecast, Series, Settings, forecast};

/// Seconds of a day.
pub const DAY: u32 = 86_400;
/// Seconds of a step.
pub const STEP: u32 = 600;
/// Steps of a day.
pub const STEPS: usize = (DAY / STEP) as usize;

/// Evenly distributed from 0 to 1 (splitmix64).
pub fn chance(seed: u64, at: usize) -> f64 {
    let mut x = (at as u64).wrapping_add(seed << 32).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((x ^ (x >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

/// Nearly normally distributed, with the variance 1: the sum of twelve even ones.
pub fn noise(seed: u64, at: usize) -> f64 {
    (0..12).map(|part| chance(seed * 12 + part, at)).sum::<f64>() - 6.0
}

/// From 0 at midnight to 1 at noon and back.
pub fn day(at: usize) -> f64 {
    (1.0 - (TAU * at as f64 / STEPS as f64).cos()) / 2.0
}

/// Whether a step is on a Saturday or Sunday; the first day is a Monday.
pub fn is_weekend(at: usize) -> bool {
    at / STEPS % 7 >= 5
}

/// A rise within an hour at eight, a fall within an hour at eighteen.
pub fn ramps(at: usize) -> f64 {
    let hour = (at % STEPS) as f64 * 24.0 / STEPS as f64;
    (hour - 8.0).clamp(0.0, 1.0) - (hour - 18.0).clamp(0.0, 1.0)
}

/// Three quarters of an hour, every six hours.
pub fn bursts(at: usize) -> f64 {
    let minute = at % STEPS * (STEP as usize) / 60 % 360;
    if (60..105).contains(&minute) { 1.0 } else { 0.0 }
}

/// A day and a week with a noise that grows with the load.
pub fn weekly(at: usize) -> f64 {
    let load = 20.0 + 80.0 * day(at) * if is_weekend(at) { 0.3 } else { 1.0 };
    load * (1.0 + 0.05 * noise(1, at))
}

/// The series of a load.
pub fn series(length: usize, load: impl Fn(usize) -> f64) -> Series {
    window(0, length, load)
}

/// The series of a load from a step to another.
pub fn window(from: usize, to: usize, load: impl Fn(usize) -> f64) -> Series {
    let values = (from..to).map(|at| Some(load(at))).collect();
    Series { end: jiff::Timestamp::UNIX_EPOCH, step_seconds: STEP, values }
}

/// A day and a week, two steps ahead, nine in ten.
pub fn settings() -> Settings {
    Settings { season_seconds: vec![DAY, 7 * DAY], horizon_seconds: 2 * STEP, quantile: 0.9 }
}

/// The forecast after so many steps of a load.
pub fn after(length: usize, load: impl Fn(usize) -> f64) -> Forecast {
    forecast(&series(length, load), &settings())
}
