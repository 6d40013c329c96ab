//! `trimtab autoscaler`: what an autoscaler decided, will do, and would have done, without a cluster. The decisions are the
//! manager's own functions; here files are read and answers put into words.

pub mod args;
mod backtest;
mod decide;
mod difference;
mod documents;
pub mod explain;
mod page;
mod prometheus;
mod schedule;
mod spec;
pub mod why;

use anyhow::Result;

use crate::{Exit, autoscaler::args::Autoscaler};

/// Does what was asked about autoscalers.
pub async fn run(what: Autoscaler) -> Result<Exit> {
    match what {
        Autoscaler::Decide(options) => decide::run(&options),
        Autoscaler::Schedule(options) => schedule::run(options).await,
        Autoscaler::Backtest(options) => backtest::run(options).await,
    }
}
