//! What never happens, whatever comes in: a panic, a peak that is no number or below zero, two answers to one question.

use proptest::prelude::*;
use trimtab_forecast::{Forecast, Series, Settings, State, forecast};

fn value() -> impl Strategy<Value = Option<f64>> {
    prop_oneof![
        6 => (-10.0..1000.0).prop_map(Some),
        1 => Just(None),
        1 => prop::num::f64::NORMAL.prop_map(Some),
        1 => prop::sample::select(vec![0.0, -0.0, f64::MAX, f64::MIN, f64::MIN_POSITIVE, 5e-324]).prop_map(Some),
    ]
}

fn any_value() -> impl Strategy<Value = Option<f64>> {
    prop_oneof![20 => value(), 1 => prop::num::f64::ANY.prop_map(Some)]
}

/// Series that are mostly long enough: seasons of few steps.
fn series(value: impl Strategy<Value = Option<f64>>) -> impl Strategy<Value = Series> {
    let step = prop_oneof![5 => Just(60u32), 1 => any::<u32>()];
    (step, prop::collection::vec(value, 0..400)).prop_map(|(step_seconds, values)| Series {
        end: jiff::Timestamp::UNIX_EPOCH,
        step_seconds,
        values,
    })
}

fn settings() -> impl Strategy<Value = Settings> {
    let season = prop_oneof![5 => 120..3600u32, 1 => any::<u32>()];
    let horizon = prop_oneof![5 => 0..4000u32, 1 => any::<u32>()];
    let quantile = prop_oneof![5 => 0.5..1.0, 1 => Just(1.0), 1 => prop::num::f64::ANY];
    (prop::collection::vec(season, 0..5), horizon, quantile)
        .prop_map(|(season_seconds, horizon_seconds, quantile)| Settings { season_seconds, horizon_seconds, quantile })
}

fn is_sound(found: &Forecast) -> bool {
    let numbers = [found.peak, found.loss, found.naive_loss];
    numbers.into_iter().flatten().all(|number| number.is_finite() && number >= 0.0)
        && found.peak.is_some() == (found.state == State::Active)
        && !found.message.is_empty()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn every_answer_is_sound_and_the_same_twice(series in series(any_value()), settings in settings()) {
        let found = forecast(&series, &settings);
        prop_assert!(is_sound(&found), "{found:?}");
        prop_assert_eq!(&found, &forecast(&series, &settings));
    }

    #[test]
    fn finite_samples_and_few_gaps_are_always_tried(
        values in prop::collection::vec((0.0..1000.0f64).prop_map(Some), 100..300),
        quantile in 0.5..1.0,
    ) {
        let series = Series { end: jiff::Timestamp::UNIX_EPOCH, step_seconds: 60, values };
        let found = forecast(&series, &Settings { season_seconds: vec![1800], horizon_seconds: 90, quantile });
        prop_assert!(matches!(found.state, State::Active | State::Degraded), "{found:?}");
        prop_assert!(found.loss.is_some() && found.naive_loss.is_some());
    }

    #[test]
    fn one_sample_that_is_no_number_is_enough(mut series in series(value()), at in any::<prop::sample::Index>()) {
        if !series.values.is_empty() {
            let at = at.index(series.values.len());
            series.values[at] = Some(f64::NAN);
            let asked = Settings { season_seconds: vec![600], horizon_seconds: 60, quantile: 0.9 };
            prop_assert_eq!(forecast(&series, &asked).state, State::NotANumber);
        }
    }
}

#[test]
fn more_samples_than_are_looked_at_change_nothing() {
    let values: Vec<Option<f64>> = (0..20_000u32).map(|at| Some(f64::from(at % 144 + at * 7919 % 13))).collect();
    let series = |values: &[Option<f64>]| Series {
        end: jiff::Timestamp::UNIX_EPOCH,
        step_seconds: 600,
        values: values.to_vec(),
    };
    let asked = Settings { season_seconds: vec![86_400], horizon_seconds: 600, quantile: 0.9 };
    assert_eq!(forecast(&series(&values), &asked), forecast(&series(&values[20_000 - 8192..]), &asked));
}
