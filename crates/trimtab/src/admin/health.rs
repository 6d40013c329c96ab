//! Named checks behind `/livez` and `/readyz`. What is checked is the business of whoever adds a check.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};

/// Nothing if all is well, else the reason in one line.
pub type Check = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// A set of named checks; cheap to clone, checks may be added at any time. Without checks all is well.
#[derive(Clone, Default)]
pub struct Checks {
    checks: Arc<Mutex<BTreeMap<String, Check>>>,
}

impl std::fmt::Debug for Checks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Checks").finish_non_exhaustive()
    }
}

impl Checks {
    /// Adds a check, in place of one of the same name. It is called on each probe and must answer at once.
    pub fn add(&self, name: impl Into<String>, check: impl Fn() -> Result<(), String> + Send + Sync + 'static) {
        self.checks.lock().unwrap_or_else(PoisonError::into_inner).insert(name.into(), Arc::new(check));
    }

    /// One line per check as Kubernetes writes them, and whether all passed.
    pub(crate) fn report(&self) -> (bool, String) {
        // A check may add checks: the lock is not held while they run.
        let checks = self.checks.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (mut well, mut text) = (true, String::new());
        for (name, check) in checks {
            // Writing to a String cannot fail.
            _ = match check() {
                Ok(()) => writeln!(text, "[+]{name} ok"),
                Err(reason) => {
                    well = false;
                    writeln!(text, "[-]{name}: {reason}")
                }
            };
        }
        (well, text)
    }
}
