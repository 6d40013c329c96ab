//! What a forecast says: a peak or none, and why. Not what is done about it.

use serde::{Deserialize, Serialize};

/// A forecast, or why there is none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Forecast {
    /// The highest value of the quantile from the end of the series to the horizon, in the unit of the values; finite
    /// and never below 0. `None` unless the state is [`State::Active`].
    pub peak: Option<f64>,
    /// Whether there is a forecast.
    pub state: State,
    /// The mean pinball loss of the model where it was tried, in the unit of the values: what the quantile missed, what
    /// was above it weighing `q` and what was below `1 - q` (Koenker and Bassett 1978). `None` where it was not tried.
    pub loss: Option<f64>,
    /// The same of the seasonal-naive forecast; of the best one where there are several seasons.
    pub naive_loss: Option<f64>,
    /// The state, for a person.
    pub message: String,
}

impl Forecast {
    /// No forecast, before anything was tried.
    pub(crate) fn none(state: State, message: impl Into<String>) -> Self {
        Self { peak: None, state, loss: None, naive_loss: None, message: message.into() }
    }
}

/// Whether there is a forecast, and if not, what is in the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum State {
    /// There is a forecast.
    Active,
    /// The series is too short for every season.
    TooLittleData,
    /// The series would be long enough, but too much of it is missing.
    TooManyGaps,
    /// The forecast does worse than the seasonal-naive one.
    Degraded,
    /// A value is not a finite number, or a result would not be.
    NotANumber,
}

impl State {
    /// The state as a reason of a condition. Stable.
    pub fn code(self) -> &'static str {
        match self {
            Self::Active => "ForecastActive",
            Self::TooLittleData => "ForecastTooLittleData",
            Self::TooManyGaps => "ForecastTooManyGaps",
            Self::Degraded => "ForecastDegraded",
            Self::NotANumber => "ForecastNotANumber",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_the_names_of_the_states() {
        for state in [State::Active, State::TooLittleData, State::TooManyGaps, State::Degraded, State::NotANumber] {
            assert_eq!(state.code(), format!("Forecast{state:?}"));
        }
    }
}
