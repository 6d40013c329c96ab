//! Whether the loops of a process still turn, for `/livez`: a check that fails has the process started anew. Not whether
//! the process is of use: that is readiness.

use std::time::Duration;

use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

use crate::admin::Checks;
use crate::metrics::Metrics;

/// Tasks that only end when the process is to end.
#[derive(Clone)]
pub(crate) struct Loops {
    checks: Checks,
    /// From then on tasks may end.
    stop: CancellationToken,
}

impl Loops {
    pub(crate) fn new(checks: Checks, stop: CancellationToken) -> Self {
        Self { checks, stop }
    }

    /// Checks that none of these has ended: it would be a panic, since nothing else ends them.
    pub(crate) fn watch(&self, name: impl Into<String>, tasks: Vec<AbortHandle>) {
        let stop = self.stop.clone();
        self.checks.add(name, move || {
            let ended = tasks.iter().filter(|task| task.is_finished()).count();
            match ended {
                0 => Ok(()),
                _ if stop.is_cancelled() => Ok(()),
                ended => Err(format!("{ended} of {} loops ended by a panic", tasks.len())),
            }
        });
    }

    /// Checks that no reconcile of a controller takes longer than twice its timeout, by which all its writes are given
    /// up: one that does hangs in the controller's own functions, or in ours.
    pub(crate) fn watch_progress(&self, controller: &'static str, timeout: Duration, metrics: &Metrics) {
        let (metrics, longest) = (metrics.clone(), timeout.saturating_mul(2));
        self.checks.add(format!("reconciles of {controller}"), move || {
            let oldest = metrics.oldest_work(controller);
            if oldest <= longest {
                return Ok(());
            }
            Err(format!("one has run for {} s, which is longer than {} s", oldest.as_secs(), longest.as_secs()))
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_loop_that_ends_is_missed_unless_all_is_to_end() {
        let (checks, stop) = (Checks::default(), CancellationToken::new());
        let loops = Loops::new(checks.clone(), stop.clone());
        let (lives, panics) =
            (tokio::spawn(std::future::pending::<()>()), tokio::spawn(async { panic!("it happens") }));
        loops.watch("workers", vec![lives.abort_handle(), panics.abort_handle()]);
        assert!(panics.await.is_err());
        assert_eq!(checks.report(), (false, "[-]workers: 1 of 2 loops ended by a panic\n".to_owned()));
        stop.cancel();
        assert_eq!(checks.report(), (true, "[+]workers ok\n".to_owned()));
        lives.abort();
    }

    #[tokio::test]
    async fn a_reconcile_that_hangs_is_told() {
        let (checks, metrics) = (Checks::default(), Metrics::new());
        let loops = Loops::new(checks.clone(), CancellationToken::new());
        loops.watch_progress("release", Duration::from_millis(10), &metrics);
        assert!(checks.report().0, "nothing has begun");
        let work = metrics.work_started("release", Duration::ZERO);
        std::thread::sleep(Duration::from_millis(30));
        let (well, text) = checks.report();
        assert!(!well && text.starts_with("[-]reconciles of release: one has run for 0 s"), "{text}");
        drop(work);
        assert!(checks.report().0);
    }
}
