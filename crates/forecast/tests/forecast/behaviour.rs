//! What is forecast of loads that have a name: one short test each.

use trimtab_forecast::{State, forecast};

use crate::traces::{DAY, STEP, STEPS, after, day, is_weekend, noise, ramps, series, settings, weekly, window};

#[test]
fn a_day_with_a_trend_goes_on() {
    let load = |at: usize| 50.0 + 40.0 * day(at) + at as f64 / STEPS as f64 + 0.2 * noise(1, at);
    for length in (5 * STEPS..6 * STEPS).step_by(11) {
        let found = after(length, load);
        let truth = load(length).max(load(length + 1));
        let peak = found.peak.unwrap();
        assert!((truth - 1.0..truth + 3.0).contains(&peak), "{length}: {peak} for {truth}");
        assert!(found.loss < found.naive_loss, "{}", found.message);
    }
}

#[test]
fn the_morning_is_seen_before_it_comes() {
    let load = |at: usize| 10.0 + 90.0 * ramps(at) + noise(2, at);
    let eight = 7 * STEPS + STEPS / 3;
    let peak = after(eight, load).peak.unwrap();
    assert!(load(eight - 1) < 15.0 && peak > load(eight + 1) - 6.0, "{peak} for {}", load(eight + 1));
}

#[test]
fn a_weekend_is_no_working_day() {
    let noon = |day: usize| day * STEPS + STEPS / 2;
    let (friday, saturday) = (after(noon(25), weekly).peak.unwrap(), after(noon(26), weekly).peak.unwrap());
    assert!(saturday < 0.6 * friday, "{saturday} {friday}");
}

#[test]
fn monday_morning_is_no_sunday_where_weeks_are_known() {
    let load = |at: usize| if is_weekend(at) { 10.0 } else { 10.0 + 90.0 * ramps(at) } + noise(3, at);
    let monday = 28 * STEPS + STEPS / 3;
    let peak = after(monday, load).peak.unwrap();
    assert!(load(monday - 1) < 14.0 && peak > load(monday + 1) - 2.0, "{peak} for {}", load(monday + 1));
}

#[test]
fn a_constant_is_a_constant() {
    for value in [0.0, 1e-300, 0.3, 7.0, 1e300] {
        let found = after(4 * STEPS, |_| value);
        let peak = found.peak.unwrap();
        assert!((peak - value).abs() <= 1e-5 * value, "{peak} for {value}: {}", found.message);
    }
}

#[test]
fn noise_is_no_season() {
    let load = |at: usize| 100.0 + 10.0 * noise(4, at);
    for length in (5 * STEPS..6 * STEPS).step_by(7) {
        let found = after(length, load);
        assert!(found.peak.is_none_or(|peak| (95.0..140.0).contains(&peak)), "{found:?}");
    }
}

#[test]
fn after_a_level_shift_the_forecast_is_not_below_the_new_level() {
    let shift = 5 * STEPS;
    let load = |at: usize| 20.0 + 10.0 * day(at) + if at < shift { 0.0 } else { 100.0 };
    for length in (shift + 3..shift + 3 * STEPS).step_by(13) {
        let found = after(length, load);
        assert!(found.peak.is_none_or(|peak| peak > load(length) - 3.0), "{length}: {found:?} {}", load(length));
    }
}

#[test]
fn after_a_fall_the_forecast_falls_too() {
    let shift = 5 * STEPS;
    let load = |at: usize| 20.0 + 10.0 * day(at) + if at < shift { 100.0 } else { 0.0 };
    let found = after(shift + STEPS, load);
    assert!(found.peak.is_none_or(|peak| peak < 60.0), "{found:?}");
}

#[test]
fn a_single_spike_does_not_come_back() {
    for spike in [2 * STEPS + 50, 5 * STEPS + 10, 6 * STEPS + 60] {
        let load = |at: usize| 10.0 + 5.0 * day(at) + 0.2 * noise(5, at) + if at == spike { 500.0 } else { 0.0 };
        let found = after(7 * STEPS + spike % STEPS, load);
        assert!(found.peak.is_none_or(|peak| peak < 25.0), "{spike}: {found:?}");
    }
}

/// A jumpy day that comes back to the digit.
fn jumpy(seed: u64, at: usize) -> f64 {
    if noise(seed, at % STEPS) > 0.0 { 100.0 } else { 50.0 }
}

/// The habit of the first days is gone, and each day is as the one before: all that the model has learnt misleads.
#[test]
fn where_yesterday_tells_better_the_forecast_is_off() {
    let found = after(8 * STEPS, |at| jumpy(if at / STEPS < 4 { 6 } else { 7 }, at));
    assert_eq!((found.state, found.peak), (State::Degraded, None), "{}", found.message);
    assert!(found.loss > found.naive_loss);
}

#[test]
fn once_the_old_habit_is_out_of_the_series_it_is_on_again() {
    let load = |at: usize| jumpy(if at / STEPS < 4 { 6 } else { 7 }, at) + noise(8, at);
    let found = forecast(&window(4 * STEPS, 12 * STEPS, load), &settings());
    assert_eq!(found.state, State::Active, "{}", found.message);
}

#[test]
fn gaps_are_borne_up_to_a_limit() {
    let whole = series(7 * STEPS, weekly);
    let peak = forecast(&whole, &settings()).peak.unwrap();
    let with = |gap: std::ops::Range<usize>| {
        let mut holed = whole.clone();
        holed.values[gap].fill(None);
        forecast(&holed, &settings())
    };
    let near = with(300..340).peak.unwrap();
    assert!((near - peak).abs() < 0.1 * peak, "{near} {peak}");
    assert_eq!(with(200..300).state, State::Active);
    assert_eq!(with(600..700).state, State::TooManyGaps);
    assert_eq!(with(1000..1008).state, State::TooManyGaps);
    assert_eq!(with(0..1008).state, State::TooManyGaps);
}

#[test]
fn tiny_series_are_too_little() {
    for length in [0, 1, 2, 3, STEPS, 3 * STEPS - 1] {
        assert_eq!(after(length, weekly).state, State::TooLittleData, "{length}");
    }
    assert_eq!(after(3 * STEPS, weekly).state, State::Active);
}

#[test]
fn seasons_that_are_none_are_too_little() {
    let mut asked = settings();
    asked.season_seconds = vec![0, 1, u32::MAX];
    let mut still = series(5 * STEPS, weekly);
    assert_eq!(forecast(&still, &asked).state, State::TooLittleData);
    still.step_seconds = 0;
    assert_eq!(forecast(&still, &settings()).state, State::TooLittleData);
}

#[test]
fn what_is_no_number_gives_no_peak() {
    for odd in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        for at in [0, 700, 5 * STEPS - 1] {
            let mut series = series(5 * STEPS, weekly);
            series.values[at] = Some(odd);
            let found = forecast(&series, &settings());
            assert_eq!((found.state, found.peak, found.loss), (State::NotANumber, None, None));
        }
    }
    let mut asked = settings();
    asked.quantile = f64::NAN;
    assert_eq!(forecast(&series(5 * STEPS, weekly), &asked).state, State::NotANumber);
}

#[test]
fn a_load_below_zero_is_zero() {
    assert_eq!(after(5 * STEPS, |at| -50.0 - 10.0 * day(at)).peak, Some(0.0));
}

#[test]
fn the_unit_does_not_matter() {
    let one = after(5 * STEPS, weekly).peak.unwrap();
    for unit in [2f64.powi(-900), 2f64.powi(-20), 2f64.powi(40), 2f64.powi(900)] {
        let other = after(5 * STEPS, |at| weekly(at) * unit).peak.unwrap();
        assert!((other / unit - one).abs() < 1e-9 * one, "{unit}");
    }
}

#[test]
fn the_surer_and_the_further_the_higher() {
    let peak = |quantile: f64, steps: u32| {
        let mut asked = settings();
        (asked.quantile, asked.horizon_seconds) = (quantile, steps * STEP);
        let load = |at: usize| 50.0 + 40.0 * day(at) + 2.0 * noise(13, at);
        forecast(&series(7 * STEPS + STEPS / 3, load), &asked).peak.unwrap()
    };
    assert!(peak(0.5, 2) < peak(0.9, 2) && peak(0.9, 2) < peak(0.99, 2));
    assert!(peak(0.9, 2) < peak(0.9, 12));
    assert_eq!(peak(0.9, 7_000).to_bits(), peak(0.9, DAY / STEP).to_bits(), "no further than a season");
}

#[test]
fn the_quantile_holds_about_as_often_as_it_says() {
    let load = |at: usize| 100.0 + 50.0 * day(at) + 5.0 * noise(9, at);
    for quantile in [0.5, 0.9] {
        let mut asked = settings();
        (asked.quantile, asked.horizon_seconds) = (quantile, STEP);
        let ends = (7 * STEPS..12 * STEPS).step_by(3);
        let count = ends.len();
        let held = ends
            .filter(|end| {
                let found = forecast(&window(end - 7 * STEPS, *end, load), &asked);
                found.peak.unwrap() >= load(*end)
            })
            .count();
        let part = held as f64 / count as f64;
        assert!((part - quantile).abs() < 0.07, "{part} for {quantile}");
    }
}

#[test]
fn the_same_input_gives_the_same_forecast() {
    assert_eq!(after(28 * STEPS, weekly), after(28 * STEPS, weekly));
}

#[test]
fn it_is_written_in_camel_case() {
    let found = serde_json::to_value(after(7 * STEPS, weekly)).unwrap();
    let keys: Vec<&String> = found.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["loss", "message", "naiveLoss", "peak", "state"]);
    assert_eq!(found["state"], "active");
    let asked = serde_json::to_value(settings()).unwrap();
    assert_eq!(asked["horizonSeconds"], 2 * STEP);
    let series = serde_json::to_value(series(2, |_| 1.5)).unwrap();
    assert_eq!(series["stepSeconds"], STEP);
    assert!(serde_json::from_value::<trimtab_forecast::Series>(series).is_ok());
}
