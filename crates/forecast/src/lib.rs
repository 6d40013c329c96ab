//! A forecast that an autoscaler uses as a floor: how high a load will probably go while a new pod becomes ready.
//!
//! The load of the last days or weeks is taken apart into seasons and a level ([MSTL], by augurs); the seasons repeat
//! themselves, the level is smoothed and carried on, and on top comes as much as earlier forecasts of the same kind were
//! too low. The forecast is tried on the last seasons first. Where it does worse there than the seasonal-naive forecast
//! (the same as a season ago), it says so and gives nothing.
//!
//! What is here says how high the load will go, not how many pods that makes, and never that there should be fewer. There
//! is no clock, no file, no client and no random number: the same series gives the same forecast.
//!
//! [MSTL]: https://arxiv.org/abs/2107.13462

mod backtest;
mod forecast;
mod gaps;
mod input;
mod layout;
mod level;
mod outcome;
mod quantile;
mod seasons;
mod spikes;

pub use forecast::forecast;
pub use input::{Series, Settings};
pub use outcome::{Forecast, State};
