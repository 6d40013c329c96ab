//! Waiting for states of the world, never for time to pass.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

/// How long nothing is asked at most, however long the last answer took.
const LONGEST_REST: Duration = Duration::from_secs(1);

/// Asks again and again until the closure answers `Ok(Some(value))`. Errors are retried as well; the last answer is part of the error when
/// the time is over.
///
/// ```no_run
/// # async fn f() -> anyhow::Result<()> {
/// use std::time::Duration;
/// let value = trimtab_testkit::eventually("the answer", Duration::from_secs(5), async || Ok(Some(42))).await?;
/// # Ok(()) }
/// ```
pub async fn eventually<T>(
    what: &str,
    timeout: Duration,
    mut ask: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let started = Instant::now();
    let mut pause = Duration::from_millis(20);
    loop {
        let asked = Instant::now();
        let last = match ask().await {
            Ok(Some(value)) => return Ok(value),
            Ok(None) => "not yet".to_owned(),
            Err(e) => format!("{e:#}"),
        };
        if started.elapsed() >= timeout {
            return Err(anyhow!("waited {timeout:?} in vain for {what}; the last answer: {last}"));
        }
        // A question that takes long, such as a run of kubectl, is asked less often: asking is not what a machine is for.
        let rest = (asked.elapsed() * 3).min(LONGEST_REST);
        tokio::time::sleep(pause.max(rest)).await;
        pause = (pause * 3 / 2).min(Duration::from_millis(250));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_last_answer_is_told() {
        let error =
            eventually("a thing", Duration::from_millis(30), async || Err::<Option<()>, _>(anyhow!("no such thing")));
        assert!(error.await.unwrap_err().to_string().ends_with("the last answer: no such thing"));
    }

    #[tokio::test]
    async fn errors_on_the_way_do_not_matter() {
        let mut asked = 0;
        let got = eventually("three", Duration::from_secs(5), async || {
            asked += 1;
            if asked < 3 { Err(anyhow!("early")) } else { Ok(Some(asked)) }
        });
        assert_eq!(got.await.unwrap(), 3);
    }
}
