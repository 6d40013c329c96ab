//! The level: what is left of a load without its seasons, smoothed and carried on. Not the seasons.
//!
//! Exponential smoothing with a damped slope (Gardner and McKenzie 1985), in the notation of Hyndman and Athanasopoulos,
//! Forecasting: Principles and Practice, section 8.2.

/// How much of a slope is left after a step. Loads that rise stop rising.
const DAMPING: f64 = 0.9;

/// How fast a level and its slope follow what is measured, each from 0 (never) to 1 (at once).
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Smoothing {
    level: f64,
    slope: f64,
}

/// What is tried: from the calmest to the quickest. Few, so that the choice does not follow chance.
const CHOICES: [Smoothing; 6] = [
    Smoothing { level: 0.05, slope: 0.0 },
    Smoothing { level: 0.15, slope: 0.0 },
    Smoothing { level: 0.4, slope: 0.0 },
    Smoothing { level: 0.8, slope: 0.0 },
    Smoothing { level: 0.4, slope: 0.1 },
    Smoothing { level: 0.8, slope: 0.3 },
];

/// A level at a moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Level {
    smoothing: Smoothing,
    level: f64,
    slope: f64,
}

impl Level {
    /// The level at the end of these values, with the smoothing that would have told them best at the leads.
    pub fn fitted(values: &[f64], leads: &[usize]) -> Self {
        let ends = [leads.first().copied().unwrap_or(1), leads.last().copied().unwrap_or(1)];
        let mut best: Option<(f64, Self)> = None;
        for smoothing in CHOICES {
            let (missed, level) = Self::run(smoothing, values, ends);
            if best.is_none_or(|(least, _)| missed < least) {
                best = Some((missed, level));
            }
        }
        best.map_or(Self { smoothing: CHOICES[0], level: 0.0, slope: 0.0 }, |(_, level)| level)
    }

    /// How much a smoothing misses of the values, and the level at their end.
    fn run(smoothing: Smoothing, values: &[f64], leads: [usize; 2]) -> (f64, Self) {
        let mut level = Self { smoothing, level: values.first().copied().unwrap_or(0.0), slope: 0.0 };
        let mut missed = 0.0;
        for (at, value) in values.iter().enumerate() {
            level.follow(*value);
            for lead in leads {
                missed += values.get(at + lead).map_or(0.0, |later| (later - level.ahead(lead)).abs());
            }
        }
        (missed, level)
    }

    /// Takes the next value in.
    pub fn follow(&mut self, value: f64) {
        let expected = self.ahead(1);
        let level = expected + self.smoothing.level * (value - expected);
        let kept = DAMPING * self.slope;
        self.slope = kept + self.smoothing.slope * (level - self.level - kept);
        self.level = level;
    }

    /// The level so many steps later.
    pub fn ahead(&self, steps: usize) -> f64 {
        let damped = DAMPING.powi(i32::try_from(steps).unwrap_or(i32::MAX));
        self.level + self.slope * DAMPING * (1.0 - damped) / (1.0 - DAMPING)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_stays() {
        let level = Level::fitted(&[3.0; 50], &[1, 4]);
        assert!([1, 4, 1000].into_iter().all(|steps| (level.ahead(steps) - 3.0).abs() < 1e-12));
    }

    #[test]
    fn a_step_is_followed_at_once_and_noise_is_not() {
        let step: Vec<f64> = (0..100).map(|at| f64::from(at / 25)).collect();
        assert!((Level::fitted(&step, &[1]).smoothing.level - 0.8).abs() < f64::EPSILON);
        let noise: Vec<f64> = (0..200).map(|at| f64::from(at * 7919 % 101)).collect();
        assert!((Level::fitted(&noise, &[1]).smoothing.level - 0.05).abs() < f64::EPSILON);
    }

    #[test]
    fn a_ramp_goes_on_but_not_for_ever() {
        let ramp: Vec<f64> = (0..60).map(f64::from).collect();
        let level = Level::fitted(&ramp, &[1, 5]);
        assert!((61.0..64.0).contains(&level.ahead(4)), "{}", level.ahead(4));
        assert!(level.ahead(10_000) < 75.0);
    }

    #[test]
    fn nothing_has_the_level_zero() {
        assert!(Level::fitted(&[], &[]).ahead(3).abs() < f64::EPSILON);
    }
}
