//! What a forecast is worth: how long too few pods are ready, with it as a floor and without, and how many pods it costs.
//!
//! The autoscaler here is a simple one: it wants the pods that the load of the moment needs, and a pod that it adds is
//! ready two steps later. Nothing of this says how much a real load gains.

use trimtab_forecast::{Settings, forecast};

use crate::traces::{STEP, STEPS, bursts, noise, ramps, settings, weekly, window};

/// What a pod bears.
const PER_POD: f64 = 10.0;
/// How full a pod should be.
const TARGET: f64 = 0.9;
/// Steps until a pod is ready. The horizon is one more: the autoscaler looks once in a step.
const START: usize = 2;

#[derive(Debug, Default)]
struct Cost {
    /// Steps in which the load was more than the ready pods bear.
    short: usize,
    /// Pods, summed over the steps.
    pods: usize,
}

fn run(days: usize, load: impl Fn(usize) -> f64 + Copy, with_forecast: bool) -> Cost {
    let history = days * STEPS;
    let asked = Settings { horizon_seconds: (START as u32 + 1) * STEP, ..settings() };
    let needed = |load: f64| (load / (PER_POD * TARGET)).ceil().max(1.0) as usize;
    let mut wanted = vec![needed(load(history - 1)); START + 1];
    let mut cost = Cost::default();
    for now in history..history + STEPS {
        // A pod that was wanted for START steps on end is ready; one that is not wanted any more goes at once.
        let ready = wanted.iter().rev().take(START + 1).copied().min().unwrap_or(1);
        cost.short += usize::from(load(now) > ready as f64 * PER_POD);
        cost.pods += wanted.last().copied().unwrap_or(1);
        let mut next = needed(load(now));
        if with_forecast {
            let found = forecast(&window(now + 1 - history, now + 1, load), &asked);
            // A forecast of how high it goes needs no room of its own.
            next = found.peak.map_or(next, |peak| next.max((peak / PER_POD).ceil() as usize));
        }
        wanted.push(next);
    }
    cost
}

fn gains(name: &str, days: usize, load: impl Fn(usize) -> f64 + Copy) {
    let (without, with) = (run(days, load, false), run(days, load, true));
    println!("{name}: without {without:?}, with {with:?}");
    assert!(without.short >= 4, "{name} asks nothing of anybody: {without:?}");
    assert!(2 * with.short <= without.short, "{name}: {without:?} {with:?}");
    assert!(with.pods as f64 <= 1.25 * without.pods as f64, "{name}: {without:?} {with:?}");
}

#[test]
fn days_and_weeks_with_noise() {
    gains("daily and weekly", 17, |at| weekly(at) * 3.0);
}

#[test]
fn ramps_in_the_morning() {
    gains("ramps", 7, |at| 20.0 + 180.0 * ramps(at) + 4.0 * noise(10, at));
}

#[test]
fn bursts_that_come_back() {
    gains("bursts", 7, |at| 40.0 + (160.0 + 10.0 * noise(12, at)) * bursts(at) + 3.0 * noise(11, at));
}
