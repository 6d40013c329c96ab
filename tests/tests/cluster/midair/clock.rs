//! The machine's clock jumps, or was wrong from the beginning. libfaketime moves the clock of the manager's process alone; its
//! clocks that count from the machine's start are left as they are, as those of a machine are.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use trimtab_testkit::FaultyServer;
use trimtab_tests::{ManagerProcess, with_app};

use super::{check_end, mid_release, shape};

const PAUSE: Duration = Duration::from_secs(15);

/// The library, where Debian's package has it.
fn library() -> Option<&'static Path> {
    let places = ["x86_64-linux-gnu", "aarch64-linux-gnu"];
    let found = places.map(|place| format!("/usr/lib/{place}/faketime/libfaketime.so.1")).into_iter();
    let found = found.map(PathBuf::from).find(|path| path.exists());
    if found.is_none() {
        println!("needs libfaketime: apt-get install libfaketime");
    }
    found.map(|path| &*Box::leak(path.into_boxed_path()))
}

/// A clock that a test sets.
struct Wrong(PathBuf);

impl Wrong {
    fn new(name: &str, by: &str) -> Result<Self> {
        let wrong = Self(std::env::temp_dir().join(format!("{name}.clock")));
        wrong.set(by)?;
        Ok(wrong)
    }

    fn set(&self, by: &str) -> Result<()> {
        Ok(std::fs::write(&self.0, by)?)
    }
}

impl Drop for Wrong {
    fn drop(&mut self) {
        _ = std::fs::remove_file(&self.0);
    }
}

/// The pause takes as long as it should, whatever the clock says before and after.
async fn jumps(name: &str, before: &'static str, after: &'static str) {
    let Some(library) = library() else { return };
    with_app(name, shape("15s"), |app| async move {
        let server = FaultyServer::start(app.kubeconfig()).await?;
        let clock = Wrong::new(app.namespace(), before)?;
        let (library, file) = (library.display().to_string(), clock.0.display().to_string());
        let environment = [
            ("LD_PRELOAD", library.as_str()),
            ("FAKETIME_TIMESTAMP_FILE", &file),
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ];
        let manager = ManagerProcess::in_environment(server.kubeconfig(), app.namespace(), &environment, &[])?;
        app.wait_stable("v1").await?;
        let watch = app.watch_pods().await?;
        mid_release(&app).await?;
        let begun = Instant::now();
        clock.set(after)?;
        app.wait_plan("the second weight", |plan| {
            plan.status.as_ref().is_some_and(|s| s.step.as_deref().is_some_and(|step| step != "2/4"))
        })
        .await?;
        let paused = begun.elapsed();
        println!("{name}: paused for {paused:?}");
        ensure!(paused > PAUSE - Duration::from_secs(7), "the pause was cut short: {paused:?}");
        ensure!(paused < PAUSE + Duration::from_secs(10), "the pause was drawn out: {paused:?}");
        check_end(&app, &watch).await?;
        let said = "this machine's clock differs from the API server's";
        ensure!(manager.log()?.contains(said), "{}", manager.log()?);
        for step in app.releases().await?.iter().filter_map(|r| r.status.clone()).flat_map(|status| status.steps) {
            let took = step.finished_at.map(|end| end.duration_since(step.started_at).as_secs()).unwrap_or(-1);
            ensure!((0..60).contains(&took), "{step:?} took {took} s");
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_clock_that_jumps_ahead_ends_no_pause() {
    jumps("clock-ahead", "+0", "+10800").await;
}

#[tokio::test]
async fn a_clock_that_jumps_back_draws_no_pause_out() {
    jumps("clock-back", "+0", "-10800").await;
}

#[tokio::test]
async fn a_clock_that_was_always_wrong_is_not_used() {
    jumps("clock-wrong", "-7200", "-7200").await;
}
