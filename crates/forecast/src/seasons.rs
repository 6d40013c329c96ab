//! The seasons of a load: the decomposition that augurs makes, and how its seasons go on. Not the level.

use augurs_core::Fit;
use augurs_mstl::{MSTLModel, stlrs};

use crate::spikes::cut;

/// A decomposition of the beginning of a series.
#[derive(Debug)]
pub(crate) struct Seasons {
    /// The last cycle of each season; as long as the season.
    cycles: Vec<Vec<f64>>,
    /// How many values were decomposed.
    length: usize,
    /// The values without their seasons.
    pub rest: Vec<f64>,
}

impl Seasons {
    /// Takes values apart that are within -1 and 1, and at least two of each season.
    ///
    /// # Errors
    ///
    /// What augurs says if it cannot.
    pub fn of(values: &[f64], seasons: &[usize]) -> Result<Self, String> {
        let calm = cut(values, seasons.iter().copied().min().unwrap_or(0));
        let mut rounds = stlrs::MstlParams::new();
        // A second round would tell the seasons from each other more cleanly, but their sum is all that is used. STL's own
        // robust weights are not used: where a spike is far above the noise, they give up its whole time of the day.
        rounds.iterations(1);
        let model = MSTLModel::naive(seasons.to_vec()).mstl_params(rounds);
        let fitted = model.fit(&calm).map_err(|error| error.to_string())?;
        let parts = fitted.fit();
        let mut rest = values.to_vec();
        for part in parts.seasonal() {
            rest.iter_mut().zip(part).for_each(|(value, season)| *value -= f64::from(*season));
        }
        let cycle = |(part, season): (&Vec<f32>, &usize)| {
            let last = part.len().saturating_sub(*season);
            part.iter().skip(last).copied().map(f64::from).collect()
        };
        let cycles = parts.seasonal().iter().zip(seasons).map(cycle).collect();
        Ok(Self { cycles, length: values.len(), rest })
    }

    /// What the seasons add at a moment after the values, counted from the first of them.
    pub fn at(&self, moment: usize) -> f64 {
        let after = moment.saturating_sub(self.length);
        self.cycles.iter().filter_map(|cycle| cycle.get(after.checked_rem(cycle.len())?)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(at: usize) -> f64 {
        0.3 + ((at % 24) as f64 - 12.0).abs() / 24.0
    }

    #[test]
    fn a_season_goes_on_where_the_values_end() {
        for length in [72, 77, 95] {
            let values: Vec<f64> = (0..length).map(day).collect();
            let seasons = Seasons::of(&values, &[24]).unwrap();
            let level = seasons.rest[length - 1];
            for at in length..length + 48 {
                assert!((seasons.at(at) + level - day(at)).abs() < 0.01, "{length} {at}");
            }
        }
    }

    #[test]
    fn a_single_spike_is_no_season() {
        for spike in [30, 60, 80, 95] {
            let mut values: Vec<f64> = (0..96).map(|at| day(at) / 10.0 + (at * 7919 % 101) as f64 / 5000.0).collect();
            values[spike] = 1.0;
            let seasons = Seasons::of(&values, &[24]).unwrap();
            let next = 96 + spike % 24;
            assert!(seasons.at(next) < 0.12, "{spike}: {}", seasons.at(next));
        }
    }

    #[test]
    fn too_few_values_are_an_error() {
        assert!(Seasons::of(&[0.5; 47], &[24]).is_err());
        assert!(Seasons::of(&[], &[]).is_err());
    }
}
