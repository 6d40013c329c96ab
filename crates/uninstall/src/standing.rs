//! How a workload stands towards Trimtab's leaving, for people and for programs.

use serde::Serialize;

/// How a workload stands towards Trimtab's leaving.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Standing {
    /// Its namespace.
    pub namespace: String,
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// How it stands, in one word.
    pub state: State,
    /// Whether something of it waits for Trimtab, and would wait for ever without it.
    pub waits: bool,
    /// How it stands, in a sentence.
    pub says: String,
    /// What becomes of it if Trimtab goes and nothing is written.
    pub left_alone: String,
    /// What `--resume` does.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resumed: String,
    /// What `--take-back` does.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub taken_back: String,
    /// What a person can do instead.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub by_hand: Vec<String>,
    /// The plan that holds its changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    /// Who made the change that waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// The step of its release: `2/5`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// What it asks for: its images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asks_for: Option<String>,
    /// Its canary.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary: Option<CanaryPods>,
    /// The frozen revisions of configuration that its pods read: `cm/web=4f7c19ab20`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub frozen: String,
}

/// A canary at the side.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CanaryPods {
    /// Its ReplicaSet.
    pub replica_set: String,
    /// Pods asked for.
    pub asked: i32,
    /// Pods available.
    pub available: i32,
}

/// How a workload stands, in one word.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum State {
    /// Nothing of it is Trimtab's.
    #[default]
    Free,
    /// It has opted out of its plan.
    OptedOut,
    /// Nothing waits; its next change would be held.
    Guarded,
    /// Its new revision rolls by its own rules.
    Rolling,
    /// A person paused it; that is theirs to end.
    PausedByPerson,
    /// A change waits.
    Held,
    /// A change is tried on a canary.
    Releasing,
    /// The Deployment has its canary, and is not let go yet.
    HandedOver,
    /// A change is being taken back.
    TakingBack,
    /// A change was taken back; the Deployment still asks for it.
    TakenBack,
    /// It is paused for a time after a change of its configuration.
    PausedForReload,
    /// A canary is left of a release that is over, or whose Deployment is gone.
    CanaryLeft,
    /// An Autoscaler has put it to sleep.
    Asleep,
    /// An Autoscaler sets its size.
    Scaled,
    /// Its pods read frozen configuration.
    Frozen,
    /// A Job that is being made anew for a change of its configuration.
    JobKept,
}

impl State {
    /// Whether something waits for Trimtab in this state.
    pub fn waits(self) -> bool {
        use State::{Asleep, CanaryLeft, HandedOver, Held, JobKept, PausedForReload, Releasing, TakenBack, TakingBack};
        matches!(
            self,
            Held | Releasing | HandedOver | TakingBack | TakenBack | PausedForReload | CanaryLeft | Asleep | JobKept
        )
    }

    /// For people.
    pub fn words(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::OptedOut => "opted out",
            Self::Guarded => "guarded",
            Self::Rolling => "rolling",
            Self::PausedByPerson => "paused by a person",
            Self::Held => "held",
            Self::Releasing => "in mid-release",
            Self::HandedOver => "handed over",
            Self::TakingBack => "being taken back",
            Self::TakenBack => "taken back",
            Self::PausedForReload => "paused for a reload",
            Self::CanaryLeft => "canary left",
            Self::Asleep => "asleep",
            Self::Scaled => "autoscaled",
            Self::Frozen => "frozen configuration",
            Self::JobKept => "being made anew",
        }
    }
}
