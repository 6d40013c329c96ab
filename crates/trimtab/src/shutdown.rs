//! The end of a process: the signal that asks for it, and how much time there is left. What is stopped, in which order,
//! is the manager's business.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

/// What a shell reports for a process that ended by SIGINT; a second signal ends the process with it.
const EXIT_CODE: i32 = 130;

/// Takes over SIGTERM and SIGINT, from this call on, and gives a future that resolves at the first of them. The second
/// one ends the process at once: a person who presses Ctrl-C twice means it.
///
/// # Errors
///
/// If the handlers cannot be installed.
pub fn signalled() -> std::io::Result<impl Future<Output = &'static str> + Send + 'static> {
    let mut signals = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        let first = next(&mut signals).await;
        tracing::info!(signal = first, "shutting down");
        tokio::spawn(async move {
            let second = next(&mut signals).await;
            tracing::warn!(signal = second, "second signal, ending at once");
            std::process::exit(EXIT_CODE);
        });
        first
    })
}

async fn next((terminate, interrupt): &mut (Signal, Signal)) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}

/// The time that a shutdown may take, divided among its steps.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    ends: Instant,
}

impl Budget {
    /// A budget that starts now.
    pub fn new(total: Duration) -> Self {
        Self { ends: Instant::now() + total }
    }

    /// What is left.
    pub fn left(&self) -> Duration {
        self.ends.saturating_duration_since(Instant::now())
    }

    /// What a step may take that must leave `reserve` for those after it.
    pub fn keeping(&self, reserve: Duration) -> Duration {
        self.left().saturating_sub(reserve)
    }

    /// Runs a step for as long as there is time, keeping `reserve` for those after it. `None`: it was cut off.
    pub async fn spend<F: Future>(&self, step: &'static str, reserve: Duration, work: F) -> Option<F::Output> {
        let done = tokio::time::timeout(self.keeping(reserve), work).await.ok();
        if done.is_none() {
            tracing::warn!(step, "shutdown step cut off");
        }
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_step_leaves_time_for_the_next() {
        let budget = Budget::new(Duration::from_secs(10));
        let reserve = Duration::from_secs(3);
        assert_eq!(budget.spend("slow", reserve, tokio::time::sleep(Duration::from_secs(60))).await, None);
        assert_eq!(budget.left(), reserve);
        assert_eq!(budget.spend("quick", Duration::ZERO, async { 7 }).await, Some(7));
    }
}
