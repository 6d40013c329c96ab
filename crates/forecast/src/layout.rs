//! How a series is cut: which seasons it is long enough for, and where the stretch begins that forecasts are tried on.
//! Not what is forecast.

use crate::input::Settings;

/// The fewest steps that a season may have: below, there is nothing to tell apart.
const SHORTEST_SEASON: usize = 4;
/// The most seasons: each costs a decomposition.
const MOST_SEASONS: usize = 3;
/// The fewest steps that forecasts are tried on: a quantile of fewer errors says little.
const FEWEST_TRIED: usize = 32;
/// How many steps forecasts are tried on three times over, if there are as many: over fewer, chance decides.
const FEWEST_RECENT: usize = 96;

/// How a series is cut, in steps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layout {
    /// The seasons, the shortest first; never empty.
    pub seasons: Vec<usize>,
    /// How far to look ahead; at least 1, at most the shortest season.
    pub horizon: usize,
    /// Where the stretch begins that forecasts are tried on. Before it are two seasons of the longest.
    pub tried: usize,
    /// Where in that stretch the seasons are learnt anew, for the last time.
    pub learnt: usize,
    /// The length of the series.
    pub length: usize,
}

impl Layout {
    /// The cut of a series of this length; `None` if it is too short for every season.
    pub fn of(length: usize, step_seconds: u32, settings: &Settings) -> Option<Self> {
        let asked = seasons_asked(step_seconds, settings);
        let fits = |season: usize, shortest: usize| length >= 2 * season + shortest.max(FEWEST_TRIED);
        let shortest = asked.iter().copied().find(|season| fits(*season, *season))?;
        let seasons: Vec<usize> =
            asked.into_iter().filter(|season| fits(*season, shortest)).take(MOST_SEASONS).collect();
        let longest = *seasons.last()?;
        // Whole seasons, so that no part of the day counts more than another.
        let recent = shortest * FEWEST_RECENT.div_ceil(shortest);
        let tried = (length - 2 * longest).min(longest.max(3 * recent));
        let steps = settings.horizon_seconds.div_ceil(step_seconds.max(1)) as usize;
        Some(Self {
            horizon: steps.clamp(1, shortest),
            tried: length - tried,
            learnt: length - recent.min(tried),
            seasons,
            length,
        })
    }

    /// The shortest season.
    pub fn shortest(&self) -> usize {
        self.seasons.first().copied().unwrap_or(SHORTEST_SEASON)
    }

    /// How many steps ahead forecasts are tried at: both ends of the horizon and a few between, so that the work does not
    /// grow with it.
    pub fn leads(&self) -> Vec<usize> {
        const MOST: usize = 6;
        let count = self.horizon.min(MOST);
        let mut leads: Vec<usize> = (1..=count).map(|at| (at * self.horizon).div_ceil(count)).collect();
        if !leads.contains(&1) {
            leads.insert(0, 1);
        }
        leads
    }
}

/// The seasons that are asked for, in steps, the shortest first.
pub(crate) fn seasons_asked(step_seconds: u32, settings: &Settings) -> Vec<usize> {
    let step = u64::from(step_seconds.max(1));
    let steps = |seconds: &u32| ((u64::from(*seconds) + step / 2) / step) as usize;
    let mut seasons: Vec<usize> = settings.season_seconds.iter().map(steps).collect();
    seasons.retain(|season| *season >= SHORTEST_SEASON);
    seasons.sort_unstable();
    seasons.dedup();
    seasons
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u32 = 86_400;

    fn settings(season_seconds: &[u32], horizon_seconds: u32) -> Settings {
        Settings { season_seconds: season_seconds.to_vec(), horizon_seconds, quantile: 0.9 }
    }

    #[test]
    fn a_season_counts_when_two_lie_before_what_is_tried() {
        let asked = settings(&[7 * DAY, DAY, DAY + 1], 600);
        let seasons = |length| Layout::of(length, 300, &asked).map(|layout| layout.seasons);
        assert_eq!(seasons(3 * 288 - 1), None);
        assert_eq!(seasons(3 * 288), Some(vec![288]));
        assert_eq!(seasons(15 * 288 - 1), Some(vec![288]));
        assert_eq!(seasons(15 * 288), Some(vec![288, 2016]));
    }

    #[test]
    fn four_weeks_are_tried_on_the_last_and_learnt_anew_for_its_last_day() {
        let layout = Layout::of(8064, 300, &settings(&[DAY, 7 * DAY], 600)).unwrap();
        assert_eq!((layout.tried, layout.learnt, layout.horizon), (6048, 8064 - 288, 2));
    }

    #[test]
    fn short_seasons_are_tried_over_several() {
        let layout = Layout::of(7 * 24, 3600, &settings(&[DAY], 60)).unwrap();
        assert_eq!((layout.tried, layout.learnt, layout.horizon), (48, 72, 1));
    }

    #[test]
    fn leads_are_few_and_hold_both_ends() {
        for horizon in 1..=288 {
            let layout = Layout { seasons: vec![288], horizon, tried: 0, learnt: 0, length: 864 };
            let leads = layout.leads();
            assert!(leads.len() <= 7 && leads.is_sorted_by(|a, b| a < b), "{leads:?}");
            assert_eq!((leads.first(), leads.last()), (Some(&1), Some(&horizon)));
        }
    }

    #[test]
    fn odd_seasons_and_steps_are_left_out() {
        assert_eq!(seasons_asked(0, &settings(&[0, 1, 3, 10], 0)), vec![10]);
        assert_eq!(seasons_asked(u32::MAX, &settings(&[u32::MAX, 0], 0)), Vec::<usize>::new());
        assert_eq!(seasons_asked(7, &settings(&[DAY], 0)), vec![12_343]);
    }
}
