//! The forecast: from samples to a peak, or to the reason why there is none.

use crate::backtest::Trial;
use crate::gaps::{Filled, fill};
use crate::input::{Series, Settings};
use crate::layout::{Layout, seasons_asked};
use crate::outcome::{Forecast, State};

/// The most values that are looked at, four weeks of five minutes: what bounds the work.
const MOST_VALUES: usize = 8192;
/// How much worse than the naive forecast the model may do, as a part of the mean load. Where both are all but exact, as
/// for a constant load, rounding would decide.
const SLACK: f64 = 0.001;

/// How high a load will probably go from the end of its series to the horizon.
///
/// Deterministic, and bounded in time and memory whatever the input. It never panics.
pub fn forecast(series: &Series, settings: &Settings) -> Forecast {
    let oldest = series.values.len().saturating_sub(MOST_VALUES);
    let values = &series.values[oldest..];
    if values.iter().flatten().any(|value| !value.is_finite()) {
        return Forecast::none(State::NotANumber, "a sample is not a finite number");
    }
    if settings.quantile.is_nan() {
        return Forecast::none(State::NotANumber, "the quantile is not a number");
    }
    if series.step_seconds == 0 {
        return Forecast::none(State::TooLittleData, "samples are no time apart");
    }
    let Some(whole) = Layout::of(values.len(), series.step_seconds, settings) else {
        return too_short(values.len(), series, settings);
    };
    // Values from -1 to 1: neither sums nor augurs' single precision get out of range, and results do not depend on the
    // unit.
    let scale = values.iter().flatten().fold(0.0_f64, |most, value| most.max(value.abs()));
    let scale = if scale > 0.0 { scale } else { 1.0 };
    let scaled: Vec<Option<f64>> = values.iter().map(|value| value.map(|value| value / scale)).collect();
    let filled = match fill(&scaled, whole.shortest()) {
        Ok(filled) => filled,
        Err(why) => return Forecast::none(State::TooManyGaps, why),
    };
    let Some(layout) = Layout::of(filled.values.len(), series.step_seconds, settings) else {
        let left = filled.values.len();
        return Forecast::none(State::TooManyGaps, format!("{left} samples are left after the last long gap: too few"));
    };
    let quantile = settings.quantile.clamp(0.5, 1.0);
    match Trial::of(&filled, &layout, quantile) {
        Ok(Some(trial)) => Judgement { layout: &layout, trial: &trial, scale, quantile }.conclude(&filled, series),
        Ok(None) => Forecast::none(State::TooManyGaps, "too few samples of late to try a forecast on"),
        Err(why) => Forecast::none(State::TooLittleData, why),
    }
}

fn too_short(length: usize, series: &Series, settings: &Settings) -> Forecast {
    let message = match seasons_asked(series.step_seconds, settings).first() {
        Some(season) => format!("{length} samples; a season has {season}, and three are needed"),
        None => "no season is long enough for these samples".to_owned(),
    };
    Forecast::none(State::TooLittleData, message)
}

/// What a trial leads to.
struct Judgement<'a> {
    layout: &'a Layout,
    trial: &'a Trial,
    scale: f64,
    quantile: f64,
}

impl Judgement<'_> {
    fn conclude(&self, filled: &Filled, series: &Series) -> Forecast {
        let (loss, naive_loss) = (self.trial.loss * self.scale, self.trial.naive_loss * self.scale);
        let outcome = |peak, state, message| Forecast {
            peak,
            state,
            loss: Some(loss).filter(|loss| loss.is_finite()),
            naive_loss: Some(naive_loss).filter(|loss| loss.is_finite()),
            message,
        };
        let tried = &filled.values[self.layout.tried..];
        let mean = tried.iter().map(|value| value.abs()).sum::<f64>() / tried.len().max(1) as f64;
        let losses = format!("pinball loss {}, seasonal-naive {}", short(loss), short(naive_loss));
        if self.trial.loss > self.trial.naive_loss + SLACK * mean {
            return outcome(None, State::Degraded, format!("worse than what was a season ago: {losses}"));
        }
        let peak = self.peak() * self.scale;
        if !peak.is_finite() {
            return outcome(None, State::NotANumber, "the forecast would not be a finite number".to_owned());
        }
        let ahead = self.layout.horizon as u64 * u64::from(series.step_seconds);
        let sure = short(self.quantile * 100.0);
        outcome(Some(peak), State::Active, format!("up to {} within {ahead} s, {sure} % sure; {losses}", short(peak)))
    }

    /// The highest forecast up to the horizon, at least 0.
    fn peak(&self) -> f64 {
        let mut peak = 0.0_f64;
        for lead in 1..=self.layout.horizon {
            let at = self.layout.length + lead - 1;
            // The next lead that was tried: further ahead, so its offset is rather too large.
            let offset = self.trial.offsets.iter().find(|(tried, _)| *tried >= lead).map_or(0.0, |(_, o)| o.at(at));
            let value = self.trial.model.ahead(lead) + offset;
            // Not max(), which would drop what is not a number.
            peak = if value > peak || value.is_nan() { value } else { peak };
        }
        peak
    }
}

/// A number for a person: four digits.
fn short(value: f64) -> String {
    if value == 0.0 || (0.001..1e6).contains(&value.abs()) {
        let digits = (3 - value.abs().max(1e-9).log10().floor() as i64).clamp(0, 6) as usize;
        let text = format!("{value:.digits$}");
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
    } else {
        format!("{value:.3e}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let cases = [(0.0, "0"), (1.0, "1"), (12.3456, "12.35"), (100_000.4, "100000"), (0.012_345, "0.01235")];
        for (value, text) in cases {
            assert_eq!(short(value), text);
        }
        assert_eq!(short(1.5e300), "1.500e300");
        assert_eq!(short(f64::INFINITY), "inf");
    }
}
