//! Gaps: what stands in for samples that are missing, and when too many are. Stand-ins help the model along; no forecast
//! is ever measured by one.

use std::ops::Range;

/// The largest part of a series that may be missing.
const MOST_MISSING: f64 = 0.2;

/// A series without gaps.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Filled {
    /// The values, the oldest first.
    pub values: Vec<f64>,
    /// Which of them are samples.
    pub measured: Vec<bool>,
}

/// Fills the gaps of a series whose shortest season has this many steps. What lies before a gap of more than half a season
/// is left out: a stand-in for so much would be the model's own invention.
///
/// # Errors
///
/// What is in the way, for a person: the series ends in a gap of more than the 24th part of a season, an hour of a day, or
/// more than a fifth of it is missing.
pub(crate) fn fill(values: &[Option<f64>], season: usize) -> Result<Filled, String> {
    let short = (season / 24).max(2);
    let start = start(values, (season / 2).max(short));
    let values = values.get(start..).unwrap_or_default();
    let gaps = gaps(values);
    if let Some(last) = gaps.last().filter(|gap| gap.end == values.len() && gap.len() > short) {
        return Err(format!("the last {} samples are missing", last.len()));
    }
    let missing: usize = gaps.iter().map(ExactSizeIterator::len).sum();
    if missing as f64 > MOST_MISSING * values.len() as f64 {
        return Err(format!("{missing} of {} samples are missing", values.len()));
    }
    let measured = values.iter().map(Option::is_some).collect();
    let mut filled: Vec<f64> = values.iter().map(|value| value.unwrap_or_default()).collect();
    for gap in gaps {
        // What a short gap holds, its edges tell best; in a long one the load rose and fell as it did a season ago.
        let back = if gap.len() > short && gap.start > season { season } else { 0 };
        bridge(&mut filled, gap, back);
    }
    Ok(Filled { values: filled, measured })
}

/// Where the series begins: at the first sample after the last gap that is too long to fill. One that has not ended yet
/// does not count: nothing comes after it.
fn start(values: &[Option<f64>], longest: usize) -> usize {
    let gaps = gaps(values);
    let ended = gaps.iter().filter(|gap| gap.end < values.len());
    ended.filter(|gap| gap.start == 0 || gap.len() > longest).map(|gap| gap.end).max().unwrap_or(0)
}

fn gaps(values: &[Option<f64>]) -> Vec<Range<usize>> {
    let mut gaps: Vec<Range<usize>> = Vec::new();
    for at in (0..values.len()).filter(|at| values[*at].is_none()) {
        match gaps.last_mut() {
            Some(gap) if gap.end == at => gap.end += 1,
            _ => gaps.push(at..at + 1),
        }
    }
    gaps
}

/// Fills a gap with what was `back` steps earlier, moved so that it meets both edges; with a straight line if `back` is 0.
/// At the end of the series there is one edge only.
fn bridge(values: &mut [f64], gap: Range<usize>, back: usize) {
    let shape = |values: &[f64], at: usize| if back == 0 { 0.0 } else { values[at - back] };
    let Some(before) = gap.start.checked_sub(1) else { return };
    let left = values[before] - shape(values, before);
    let right = if gap.end < values.len() { values[gap.end] - shape(values, gap.end) } else { left };
    let width = (gap.len() + 1) as f64;
    for at in gap.clone() {
        let part = (at - before) as f64 / width;
        values[at] = shape(values, at) + left * (1.0 - part) + right * part;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wave(length: usize) -> Vec<Option<f64>> {
        (0..length).map(|at| Some(((at % 48) as f64 - 24.0).abs())).collect()
    }

    fn without(mut values: Vec<Option<f64>>, gap: Range<usize>) -> Vec<Option<f64>> {
        values[gap].fill(None);
        values
    }

    #[test]
    fn a_short_gap_is_a_straight_line() {
        let filled = fill(
            &[
                Some(1.0),
                None,
                None,
                Some(4.0),
                Some(4.0),
                Some(1.0),
                Some(0.0),
                None,
                Some(2.0),
                Some(3.0),
                Some(3.0),
                Some(3.0),
                Some(3.0),
                Some(3.0),
                Some(3.0),
            ],
            48,
        )
        .unwrap();
        assert_eq!(filled.values[..9], [1.0, 2.0, 3.0, 4.0, 4.0, 1.0, 0.0, 1.0, 2.0]);
        assert_eq!(filled.measured[..4], [true, false, false, true]);
    }

    #[test]
    fn a_long_gap_is_as_a_season_ago() {
        let filled = fill(&without(wave(480), 100..120), 48).unwrap();
        assert_eq!(filled.values, fill(&wave(480), 48).unwrap().values);
    }

    #[test]
    fn what_lies_before_a_longer_gap_is_left_out() {
        let filled = fill(&without(wave(480), 100..130), 48).unwrap();
        assert_eq!(filled.values.len(), 350);
        assert!(filled.measured.iter().all(|measured| *measured));
    }

    #[test]
    fn a_series_begins_with_its_first_sample() {
        assert_eq!(fill(&without(wave(100), 0..90), 48).unwrap().values.len(), 10);
    }

    #[test]
    fn the_end_may_be_missing_for_a_little_while() {
        let filled = fill(&without(wave(480), 478..480), 48).unwrap();
        assert_eq!(filled.values[477..], [filled.values[477]; 3]);
        assert!(fill(&without(wave(480), 477..480), 48).unwrap_err().contains("the last 3 samples"));
    }

    #[test]
    fn many_small_gaps_are_too_many() {
        let values: Vec<_> = wave(480).into_iter().enumerate().map(|(at, v)| v.filter(|_| at % 4 != 1)).collect();
        assert!(fill(&values, 48).unwrap_err().contains("120 of 480"));
    }

    #[test]
    fn nothing_is_filled_into_nothing() {
        assert_eq!(fill(&[], 4).unwrap().values, [0.0; 0]);
        assert!(fill(&[None, None], 4).is_err());
    }
}
