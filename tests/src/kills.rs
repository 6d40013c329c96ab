//! A story that is played again and again while the manager is killed, each time at another of its writes: it has to end as it
//! does undisturbed. What is played, and what its end is, is for the tests to say.

use std::fmt::Debug;

use anyhow::{Result, ensure};
use futures::{StreamExt, stream};

/// What came of an enumeration of kills.
#[derive(Debug, Clone, Copy)]
pub struct Killed {
    /// How many kills came.
    pub times: usize,
    /// Whether the last ones came no more: there are no further writes.
    pub all: bool,
}

/// Before the first write and after each of so many, as managers take faults. What is stored before the next write is what was
/// stored after this one, so only `make soak`, which sets `KILLS=both`, kills the process there a second time.
pub fn kills(writes: usize) -> Vec<String> {
    let both = std::env::var_os("KILLS").is_some_and(|kills| kills == "both");
    let of = |n: usize| [(n == 1 || both).then(|| format!("kill-before:{n}")), Some(format!("kill-after:{n}"))];
    (1..=writes).flat_map(of).flatten().collect()
}

/// Plays a story without a fault and then with each of these, some at once. `play` says whether the fault came, and the end. Faults
/// behind the last write never come: the first batch without one is the last.
///
/// # Errors
///
/// If an end differs from the undisturbed one.
pub async fn each_kill<E, Fut>(
    faults: &[String],
    at_once: usize,
    play: impl Fn(Option<String>) -> Fut,
) -> Result<Killed>
where
    E: Debug + PartialEq,
    Fut: Future<Output = (bool, E)>,
{
    let (_, undisturbed) = play(None).await;
    let mut times = 0;
    for batch in faults.chunks(at_once) {
        let ends: Vec<(bool, E)> =
            stream::iter(batch).map(|fault| play(Some(fault.clone()))).buffered(at_once).collect().await;
        for (fault, (killed, end)) in batch.iter().zip(&ends) {
            times += usize::from(*killed);
            ensure!(*end == undisturbed, "with {fault} it ends in {end:?} instead of {undisturbed:?}");
        }
        if !ends.iter().any(|(killed, _)| *killed) {
            return Ok(Killed { times, all: true });
        }
    }
    Ok(Killed { times, all: false })
}
