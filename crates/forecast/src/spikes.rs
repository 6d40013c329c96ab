//! Single spikes: values that no other season has at the same time. They are cut before the seasons are looked for, or
//! they would come back a season later. What was really measured stays what forecasts are measured by.

/// How far beyond the other seasons a value may go, in typical differences between two seasons.
const ROOM: f64 = 4.0;

/// The values with what happened once cut to what other seasons had within a step of the same time, and some room. Seasons
/// are compared by how far they are from their own median, so a load that grows is no spike.
pub(crate) fn cut(values: &[f64], season: usize) -> Vec<f64> {
    if season == 0 || values.len() < 2 * season {
        return values.to_vec();
    }
    // Whole seasons, counted from the end; what is left at the beginning goes with the first.
    let first = values.len() % season;
    let medians: Vec<f64> = values[first..].chunks(season).map(|cycle| median(cycle.to_vec())).collect();
    let base = |at: usize| medians.get(at.saturating_sub(first) / season).copied().unwrap_or(0.0);
    let apart: Vec<f64> = values.iter().enumerate().map(|(at, value)| value - base(at)).collect();
    let differences = apart.iter().zip(apart.iter().skip(season)).map(|(a, b)| (a - b).abs()).collect();
    let room = ROOM * median(differences);
    (0..values.len())
        .map(|at| {
            let (least, most) = others(&apart, at, season);
            base(at) + apart[at].clamp(least - room, most + room)
        })
        .collect()
}

/// The least and the most that other seasons have within a step of the same time.
fn others(apart: &[f64], at: usize, season: usize) -> (f64, f64) {
    let same = (at % season..apart.len()).step_by(season).filter(|other| *other != at);
    let near = same.flat_map(|other| other.saturating_sub(1)..=(other + 1).min(apart.len() - 1));
    near.fold((f64::MAX, f64::MIN), |(least, most), other| (least.min(apart[other]), most.max(apart[other])))
}

fn median(mut values: Vec<f64>) -> f64 {
    let middle = values.len() / 2;
    if values.is_empty() { 0.0 } else { *values.select_nth_unstable_by(middle, f64::total_cmp).1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn burst(at: usize) -> f64 {
        if at % 24 == 7 { 1.0 } else { 0.1 }
    }

    fn close(a: &[f64], b: &[f64]) -> bool {
        a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-9)
    }

    #[test]
    fn what_comes_back_stays() {
        let values: Vec<f64> = (0..80).map(burst).collect();
        assert!(close(&cut(&values, 24), &values));
    }

    #[test]
    fn what_comes_back_two_seasons_later_stays() {
        let values: Vec<f64> = (0..120).map(|at| if at % 48 == 7 { 1.0 } else { 0.1 }).collect();
        assert!(close(&cut(&values, 24), &values));
    }

    #[test]
    fn what_happens_once_is_cut() {
        let calm: Vec<f64> = (0..80).map(burst).collect();
        for spike in [0, 3, 36, 79] {
            let mut values = calm.clone();
            values[spike] = 5.0;
            assert!(close(&cut(&values, 24), &calm), "{spike}");
        }
    }

    #[test]
    fn growth_stays() {
        let values: Vec<f64> = (0..120).map(|at| burst(at) + at as f64 / 50.0).collect();
        assert!(close(&cut(&values, 24), &values));
    }

    #[test]
    fn too_few_values_stay() {
        assert_eq!(cut(&[1.0, 9.0, 1.0], 2), [1.0, 9.0, 1.0]);
        assert_eq!(cut(&[1.0], 0), [1.0]);
        assert_eq!(cut(&[], 0), [0.0; 0]);
    }
}
