//! Faults on purpose: what tests do to a process around its writes. Not for production, where `TRIMTAB_FAULT` is unset.

use std::sync::Arc;

use trimtab_plan::Write;

/// Called around each write of the process, status writes included; leases and events are not counted.
pub trait Faults: Send + Sync {
    /// Before the `n`-th write (from 1 on) is sent.
    fn before(&self, n: u64, write: &Write);
    /// After the `n`-th write was answered, or failed.
    fn after(&self, n: u64, write: &Write);
}

/// No faults.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoFaults;

impl Faults for NoFaults {
    fn before(&self, _: u64, _: &Write) {}
    fn after(&self, _: u64, _: &Write) {}
}

/// Kills the process, as a power cut would: nothing is flushed, released or told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kill {
    /// Before the write of this number.
    Before(u64),
    /// After the write of this number.
    After(u64),
}

impl Faults for Kill {
    fn before(&self, n: u64, _: &Write) {
        if *self == Self::Before(n) {
            kill();
        }
    }

    fn after(&self, n: u64, _: &Write) {
        if *self == Self::After(n) {
            kill();
        }
    }
}

fn kill() {
    let killed = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    if killed.is_err() {
        std::process::abort();
    }
    // The signal may take a moment; no write may slip through until then.
    loop {
        std::thread::park();
    }
}

/// `TRIMTAB_FAULT` is neither empty nor one of `kill-before:N` and `kill-after:N`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("TRIMTAB_FAULT={0}: expected kill-before:N or kill-after:N")]
pub struct UnknownFault(String);

/// The fault that the environment variable `TRIMTAB_FAULT` asks for.
///
/// # Errors
///
/// [`UnknownFault`]: a test that believes to inject a fault must not pass because of a typing error.
pub fn from_env() -> Result<Arc<dyn Faults>, UnknownFault> {
    match std::env::var("TRIMTAB_FAULT") {
        Ok(text) if !text.is_empty() => Ok(Arc::new(parse(&text)?)),
        _ => Ok(Arc::new(NoFaults)),
    }
}

fn parse(text: &str) -> Result<Kill, UnknownFault> {
    let unknown = || UnknownFault(text.to_owned());
    let (when, n) = text.split_once(':').ok_or_else(unknown)?;
    let n = n.parse().map_err(|_| unknown())?;
    match when {
        "kill-before" => Ok(Kill::Before(n)),
        "kill-after" => Ok(Kill::After(n)),
        _ => Err(unknown()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_spelled_exactly() {
        assert_eq!(parse("kill-before:3"), Ok(Kill::Before(3)));
        assert_eq!(parse("kill-after:1"), Ok(Kill::After(1)));
        for wrong in ["kill-before", "kill-before:", "kill-before:x", "kill:1", "before:1"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
