//! Forecasts of synthetic loads: what is forecast, what never happens, and what it is worth to an autoscaler.

mod behaviour;
mod hostile;
mod traces;
mod worth;
