//! What people ask of a plan, as they write it into its annotation: `VERB` or `VERB:ID`.

use trimtab_crds::{ReleasePlanStatus, names};

use crate::views::PlanView;

/// A request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    /// Go on to the next step.
    Promote,
    /// Skip all steps.
    PromoteFull,
    /// Stop where it is.
    Pause,
    /// Go on.
    Resume,
    /// Take the new revision back.
    Abort,
    /// Try the revision that was taken back again.
    Retry,
    /// Restart all pods, as a release.
    Restart,
    /// Write the template of the stable revision (between releases: the one before it) back.
    Undo,
}

impl Verb {
    /// The verb as people write it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Promote => "promote",
            Self::PromoteFull => "promote-full",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Abort => "abort",
            Self::Retry => "retry",
            Self::Restart => "restart",
            Self::Undo => "undo",
        }
    }
}

/// Every verb as people write it.
pub const REQUESTS: [&str; 8] = ["promote", "promote-full", "pause", "resume", "abort", "retry", "restart", "undo"];

/// The request of a plan that nobody has answered yet.
pub(crate) fn unanswered(plan: &PlanView, status: &ReleasePlanStatus) -> Option<(String, Option<Verb>)> {
    let text = plan.metadata.annotation(names::REQUEST)?;
    let text: String = text.chars().take(256).collect();
    let new = !text.is_empty() && status.handled_request.as_deref() != Some(text.as_str());
    new.then(|| (text.clone(), parse(&text)))
}

/// The request of a plan that came with the manifest of which the plan was made: nobody asks for it now. Once a plan has been
/// looked at, whatever appears in it was written since.
pub(crate) fn made_with(plan: &PlanView, status: &ReleasePlanStatus) -> Option<String> {
    let looked_at = plan.status.as_ref().is_some_and(|status| status.observed_generation.is_some());
    let (text, _) = unanswered(plan, status).filter(|_| plan.made_with_request && !looked_at)?;
    Some(text)
}

/// What is said of such a request.
pub(crate) const MADE_WITH: &str = "it came with the manifest that the plan was made of: ask again";

/// Why a request was not carried out, for its event.
pub(crate) fn refusal(text: &str, why: &str) -> String {
    format!("the request {text:?} was not carried out: {why}")
}

/// Reads a request. Whatever stands behind the colon only makes it another request.
pub(crate) fn parse(text: &str) -> Option<Verb> {
    Some(match text.split(':').next().unwrap_or_default().trim() {
        "promote" => Verb::Promote,
        "promote-full" => Verb::PromoteFull,
        "pause" => Verb::Pause,
        "resume" => Verb::Resume,
        "abort" => Verb::Abort,
        "retry" => Verb::Retry,
        "restart" => Verb::Restart,
        "undo" => Verb::Undo,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listed_verb_is_read_with_and_without_an_id() {
        for verb in REQUESTS {
            assert_eq!(parse(verb).map(Verb::name), Some(verb));
            assert_eq!(parse(verb), parse(&format!("{verb}:2026-01-01T00:00:00Z")));
        }
        assert_eq!(parse("promot"), None);
        assert_eq!(parse(""), None);
    }
}
