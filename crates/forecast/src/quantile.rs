//! How much forecasts were too low: quantiles of their errors, by the part of the season, and the pinball loss.

/// The most parts that a season is divided into: an hour of a day.
const PARTS: usize = 24;
/// The fewest errors that a quantile of a part is taken from; otherwise it is that of the whole season.
const FEWEST: f64 = 20.0;

/// An error of a forecast: what was measured less what was forecast, and when.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Missed {
    /// The step that was forecast, counted from the first value.
    pub at: usize,
    /// How much more was measured than forecast.
    pub by: f64,
}

/// What has to be added to forecasts so that they hold with a probability.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Offsets {
    season: usize,
    parts: Vec<f64>,
}

impl Offsets {
    /// The offsets that these errors ask for. A part of the season has its own, from its errors and its neighbours',
    /// where those are enough to tell the quantile: a night is calmer than a day.
    pub fn of(missed: &[Missed], season: usize, quantile: f64) -> Option<Self> {
        let all = upper(missed.iter().map(|missed| missed.by).collect(), quantile)?;
        let count = PARTS.min(season.max(1));
        let mut by_part = vec![Vec::new(); count];
        for missed in missed {
            by_part[part(missed.at, season, count)].push(missed.by);
        }
        // Two errors beyond the quantile at least, or the offset is the largest error there was.
        let fewest = FEWEST.max(2.0 / (1.0 - quantile));
        let own = |at: usize| {
            let around = [(at + count - 1) % count, at, (at + 1) % count];
            let errors: Vec<f64> = around.iter().flat_map(|part| &by_part[*part]).copied().collect();
            let enough = count >= 3 && errors.len() as f64 >= fewest;
            upper(errors, quantile).filter(|_| enough).unwrap_or(all)
        };
        Some(Self { season, parts: (0..count).map(own).collect() })
    }

    /// The offset at a step.
    pub fn at(&self, at: usize) -> f64 {
        self.parts.get(part(at, self.season, self.parts.len())).copied().unwrap_or(0.0)
    }
}

fn part(at: usize, season: usize, count: usize) -> usize {
    let season = season.max(1);
    (at % season) * count / season
}

/// The quantile of errors, rounded up by rank so that as many as asked hold also among the next (split conformal
/// prediction, Lei and others 2018, section 2.2). The largest where there are too few.
fn upper(mut errors: Vec<f64>, quantile: f64) -> Option<f64> {
    let rank = (quantile * (errors.len() + 1) as f64).ceil() as usize;
    let at = rank.clamp(1, errors.len().max(1)) - 1;
    (at < errors.len()).then(|| *errors.select_nth_unstable_by(at, f64::total_cmp).1)
}

/// The pinball loss of a forecast of a quantile that was missed by so much (Koenker and Bassett 1978).
pub(crate) fn pinball(missed_by: f64, quantile: f64) -> f64 {
    if missed_by > 0.0 { quantile * missed_by } else { (quantile - 1.0) * missed_by }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-12
    }

    #[test]
    fn ranks_are_rounded_up() {
        let errors: Vec<f64> = (1..=99).map(f64::from).collect();
        assert_eq!(upper(errors.clone(), 0.9), Some(90.0));
        assert_eq!(upper(errors.clone(), 0.5), Some(50.0));
        assert_eq!(upper(errors, 1.0), Some(99.0));
        assert_eq!(upper(vec![7.0], 0.5), Some(7.0));
        assert_eq!(upper(vec![], 0.5), None);
    }

    #[test]
    fn what_is_above_weighs_the_quantile() {
        assert!(close(pinball(2.0, 0.9), 1.8) && close(pinball(-2.0, 0.9), 0.2) && close(pinball(0.0, 0.9), 0.0));
    }

    #[test]
    fn a_loud_part_of_the_season_has_its_own_offset() {
        let by = |at: usize| if at % 240 < 120 { 0.0 } else { (at * 7 % 10) as f64 };
        let missed: Vec<Missed> = (0..720).map(|at| Missed { at, by: by(at) }).collect();
        let offsets = Offsets::of(&missed, 240, 0.9).unwrap();
        assert!(close(offsets.at(720 + 60), 0.0) && offsets.at(720 + 180) > 7.0);
    }

    #[test]
    fn few_errors_are_taken_together() {
        let missed: Vec<Missed> = (0..48).map(|at| Missed { at, by: at as f64 }).collect();
        let offsets = Offsets::of(&missed, 24, 0.9).unwrap();
        assert!((0..24).all(|at| close(offsets.at(at), 44.0)));
        assert_eq!(Offsets::of(&[], 24, 0.9), None);
        assert!(Offsets::of(&missed, 0, 1.0).is_some());
    }
}
