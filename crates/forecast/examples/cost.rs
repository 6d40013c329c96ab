//! How long a forecast takes, for series of a week to four weeks at steps of five minutes. Run it with `--release`.

use std::f64::consts::TAU;
use std::time::Instant;

use trimtab_forecast::{Series, Settings, forecast};

fn main() {
    for (days, horizon_seconds) in [(3, 300), (7, 300), (7, 3600), (14, 600), (21, 600), (28, 600), (28, 86_400)] {
        let noise =
            |at: usize| ((at as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15).reverse_bits() % 1009) as f64 / 100.0;
        let load = |at: usize| Some(50.0 + 40.0 * (at as f64 / 288.0 * TAU).sin() + noise(at));
        let values = (0..days * 288).map(load).collect();
        let series = Series { end: jiff::Timestamp::UNIX_EPOCH, step_seconds: 300, values };
        let settings = Settings { season_seconds: vec![86_400, 604_800], horizon_seconds, quantile: 0.95 };
        let mut times: Vec<_> = (0..21)
            .map(|_| {
                let begin = Instant::now();
                std::hint::black_box(forecast(&series, &settings));
                begin.elapsed()
            })
            .collect();
        times.sort_unstable();
        let state = forecast(&series, &settings).state;
        println!("{days} days, {horizon_seconds} s ahead: median {:?}, worst {:?}, {state:?}", times[10], times[20]);
    }
}
