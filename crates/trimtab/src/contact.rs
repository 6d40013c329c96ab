//! Whether the API server can be worked with, as the process's own requests find out: for readiness, and for watches, whose
//! connections may be dead without a word after a network was lost. Not a probe: nothing is sent for it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::StatusCode;
use tokio::sync::watch;

/// What lasts less long is no trouble: it is over before anybody could look.
const PASSING: Duration = Duration::from_secs(5);

/// How the requests of a process fare; cheap to clone.
#[derive(Clone)]
pub(crate) struct Contact(Arc<Inner>);

struct Inner {
    trouble: Mutex<Option<Trouble>>,
    /// How often answers came again after none had come for a while.
    mended: watch::Sender<u64>,
}

/// No request has been answered well since.
struct Trouble {
    since: Instant,
    last: String,
    /// Whether requests were not answered at all.
    unanswered: bool,
}

impl Default for Contact {
    fn default() -> Self {
        Self(Arc::new(Inner { trouble: Mutex::default(), mended: watch::Sender::new(0) }))
    }
}

impl Contact {
    fn lock(&self) -> MutexGuard<'_, Option<Trouble>> {
        self.0.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request was answered.
    pub(crate) fn answered(&self, code: StatusCode) {
        let trouble = match code.as_u16() {
            401 => {
                "it does not accept this process's credentials (401): its token or certificate expired or was revoked"
            }
            429 => "it is overloaded and asks to be left alone (429)",
            500.. => return self.bad(format!("it answers {code}"), false),
            _ => return self.good(),
        };
        self.bad(trouble.to_owned(), false);
    }

    /// A request was not answered.
    pub(crate) fn unanswered(&self, why: &str) {
        self.bad(format!("it does not answer: {why}"), true);
    }

    fn bad(&self, last: String, unanswered: bool) {
        let mut trouble = self.lock();
        let old = trouble.take();
        *trouble = Some(Trouble {
            since: old.as_ref().map_or_else(Instant::now, |old| old.since),
            unanswered: unanswered || old.is_some_and(|old| old.unanswered),
            last,
        });
    }

    fn good(&self) {
        let Some(trouble) = self.lock().take() else { return };
        let lasted = trouble.since.elapsed();
        if lasted < PASSING {
            return;
        }
        tracing::info!(seconds = lasted.as_secs(), trouble = trouble.last, "the API server can be worked with again");
        if trouble.unanswered {
            self.0.mended.send_modify(|times| *times += 1);
        }
    }

    /// Told when answers come again after none came for a while: what waits on an older connection may wait in vain.
    pub(crate) fn mended(&self) -> watch::Receiver<u64> {
        self.0.mended.subscribe()
    }

    /// Nothing, or what is wrong.
    pub(crate) fn check(&self) -> Result<(), String> {
        match &*self.lock() {
            Some(trouble) if trouble.since.elapsed() >= PASSING => {
                Err(format!("for {} s: {}", trouble.since.elapsed().as_secs(), trouble.last))
            }
            _ => Ok(()),
        }
    }

    #[cfg(test)]
    fn age(&self, by: Duration) {
        if let Some(trouble) = &mut *self.lock() {
            trouble.since -= by;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lasts_is_told_and_one_good_answer_ends_it() {
        let contact = Contact::default();
        let mended = contact.mended();
        contact.answered(StatusCode::UNAUTHORIZED);
        assert_eq!(contact.check(), Ok(()));
        contact.age(Duration::from_secs(8));
        contact.unanswered("connection refused");
        assert_eq!(contact.check(), Err("for 8 s: it does not answer: connection refused".to_owned()));
        contact.answered(StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(contact.check(), Err("for 8 s: it answers 500 Internal Server Error".to_owned()));
        assert!(!mended.has_changed().unwrap());
        contact.answered(StatusCode::CONFLICT);
        assert_eq!(contact.check(), Ok(()));
        assert!(mended.has_changed().unwrap(), "some requests were not answered at all");
    }

    #[test]
    fn connections_over_which_refusals_came_are_alive() {
        let contact = Contact::default();
        let mended = contact.mended();
        contact.answered(StatusCode::TOO_MANY_REQUESTS);
        contact.age(Duration::from_secs(60));
        contact.answered(StatusCode::OK);
        assert!(!mended.has_changed().unwrap());
    }
}
