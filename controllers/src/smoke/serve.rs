//! The application of the smoke test: it takes connections until it is told to end, and fails if its configuration says so.

use anyhow::{Context, Result, bail};
use tokio::net::TcpListener;

/// The variable that the configuration sets.
pub(super) const FAIL: &str = "FAIL";
/// Its value that makes the application end at once.
pub(super) const CRASH: &str = "crash";
/// Where it listens.
pub(super) const PORT: u16 = 8080;

/// Serves until SIGTERM.
pub(super) async fn serve() -> Result<()> {
    let ended = trimtab::shutdown::signalled().context("cannot listen for signals")?;
    if std::env::var(FAIL).is_ok_and(|value| value == CRASH) {
        bail!("{FAIL}={CRASH}: the configuration says to fail");
    }
    let listener = TcpListener::bind(("0.0.0.0", PORT)).await.with_context(|| format!("cannot listen on {PORT}"))?;
    tokio::select! {
        _ = ended => Ok(()),
        never = accept(&listener) => never,
    }
}

async fn accept(listener: &TcpListener) -> Result<()> {
    loop {
        // That it was taken is all that a probe wants to know.
        drop(listener.accept().await?);
    }
}
