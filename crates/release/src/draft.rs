//! A decision in the making: the world it is about, the status it began from, and the plan so far.

use trimtab_crds::{PastRevision, Phase, Progress, ReleasePlanStatus, Stage, Undo, Verdict};
use trimtab_plan::{Notice, Plan, Severity, Write};

use crate::{request, world::World};

/// A decision in the making.
pub(crate) struct Draft<'a> {
    pub(crate) world: World<'a>,
    /// The status as it will be written.
    pub(crate) status: ReleasePlanStatus,
    /// Writes, reasons, notices and the time to wake.
    pub(crate) plan: Plan<()>,
    /// Stable code of what the plan's conditions say.
    pub(crate) reason: &'static str,
    /// The pins that the template is to have, where configuration is tracked and looked after.
    pub(crate) config: Option<trimtab_config::Want>,
}

impl<'a> Draft<'a> {
    pub(crate) fn new(world: World<'a>, status: ReleasePlanStatus) -> Self {
        Self { world, status, plan: Plan::new(()), reason: "Unknown", config: None }
    }

    /// Says where things stand. The last word counts.
    pub(crate) fn say(&mut self, phase: Phase, reason: &'static str, message: impl Into<String>) {
        let message = message.into();
        self.status.phase = phase;
        self.reason = reason;
        self.status.message.clone_from(&message);
        self.plan.because(reason, message);
    }

    pub(crate) fn write(&mut self, write: Write) {
        self.plan.writes.push(write);
    }

    /// Adds something to tidy up: no progress waits for it.
    pub(crate) fn tidy(&mut self, write: Write) {
        let plan = &self.world.plan.metadata;
        self.plan.tidy(write, self.world.plan_ref(), &plan.uid);
    }

    /// Takes back what was to be written so far. A turn for the worse is recorded by itself: a write that is refused for ever
    /// must not keep it from being known.
    pub(crate) fn write_nothing(&mut self) {
        self.plan.writes.clear();
    }

    /// Tells people, by an event on the plan. It names the release, so that one does not count as a repetition of another's.
    pub(crate) fn tell(
        &mut self,
        severity: Severity,
        reason: &'static str,
        action: &'static str,
        note: impl Into<String>,
    ) {
        self.plan.notices.push(Notice {
            about: self.world.plan_ref(),
            uid: self.world.plan.metadata.uid.clone(),
            severity,
            reason,
            action,
            note: match &self.status.release {
                Some(progress) => format!("{}: {}", progress.name, note.into()),
                None => note.into(),
            },
        });
    }

    /// The request that nobody has answered yet.
    pub(crate) fn request(&self) -> Option<(String, Option<request::Verb>)> {
        request::unanswered(self.world.plan, &self.status)
    }

    /// Marks the request as answered, in the same status write as its effect.
    pub(crate) fn consume(&mut self, text: &str) {
        self.status.handled_request = Some(text.to_owned());
    }

    /// Lets a template be brought back. It is recorded before it is done: what is undone to, and what is to be undone, must not
    /// change while it is being done.
    pub(crate) fn undo_to(&mut self, digest: String, release: String) {
        self.status.undo = Some(Undo { digest, release, from: self.world.digest.to_owned(), written: false });
    }

    /// Answers a request by doing nothing, and says why.
    pub(crate) fn refuse(&mut self, text: &str, why: &str) {
        self.consume(text);
        let note = request::refusal(text, why);
        self.tell(Severity::Warning, "RequestRefused", "Refuse", note);
    }

    /// The release goes on to another stage.
    pub(crate) fn enter(&mut self, stage: Stage) {
        let now = self.world.now;
        if matches!(stage, Stage::Promoting | Stage::Bypassed) {
            // Whoever goes on does not want the old template back any more.
            self.status.undo = None;
        }
        if let Some(progress) = &mut self.status.release {
            progress.stage = stage;
            progress.stage_started_at = now;
            progress.unavailable_since = None;
            progress.most_available = 0;
            (progress.short_since, progress.reached) = (None, None);
            progress.paused = false;
        }
    }

    /// The release is to be taken back, or ends, for this reason.
    pub(crate) fn take_back(&mut self, reason: &'static str, message: impl Into<String>) {
        let verdict = Verdict { reason: reason.to_owned(), message: message.into() };
        let note = verdict.message.clone();
        self.write_nothing();
        if let Some(progress) = &mut self.status.release {
            progress.verdict = Some(verdict);
        }
        self.enter(Stage::TakingBack);
        self.say(Phase::TakingBack, reason, note.clone());
        let severity = if matches!(reason, "ChangedBack" | "Superseded" | "OptedOut" | "ScaledToZero") {
            Severity::Normal
        } else {
            Severity::Warning
        };
        self.tell(severity, reason, "TakeBack", note);
    }

    /// Remembers what was stable before what is stable now.
    pub(crate) fn remember(&mut self, past: PastRevision) {
        let stable = self.status.stable.as_ref().map(|stable| stable.digest.as_str());
        let history = &mut self.status.history;
        history.retain(|other| other.digest != past.digest && Some(other.digest.as_str()) != stable);
        history.insert(0, past);
        history.truncate(usize::try_from(self.world.plan.spec.history_limit).unwrap_or(1));
    }

    pub(crate) fn progress(&self) -> Option<&Progress> {
        self.status.release.as_ref()
    }
}
