//! Configuration as decisions see it: which ConfigMaps and Secrets a pod template reads, what these hold, and how a
//! template names the revisions that its pods are to get.
//!
//! Contents are hashed while they stream in and dropped: nothing here holds a value of a ConfigMap or a Secret. There is
//! no client, no clock and no random number.

mod canonical;
mod content;
mod copies;
mod gather;
mod known;
mod mode;
mod object;
mod pins;
mod reference;
mod source;
mod track;
mod unpinned;
mod validation;
mod want;

pub use canonical::canonical;
pub use content::Content;
pub use copies::{copy, own};
pub use gather::{SourceLookup, known_sources};
pub use known::{DigestKey, Known, SourceView};
pub use mode::{Reason as LiveReason, live_by_nature};
pub use object::{Author, ConfigMapView, Object, SecretView, claimed_source};
pub use pins::{Pin, Pins};
pub use reference::{Reads, Reference, reads};
pub use source::{NoSource, Source, SourceKind};
pub use track::{DaemonSetView, RevisionView, StatefulSetView, Tracked, TrackedSnapshot, decide as track, refused};
pub use unpinned::Unpinned;
pub use validation::{Judgement, NamedPolicy, PolicyFinding, PolicyProblem, VALIDATE, Validate};
pub use want::{Mode, Problem, SECRETS_NOT_READ, Situation, Want, copy_names, live_pin, problem, unread_words, want};
