//! What is known of the ConfigMaps and Secrets that a workload reads, gathered by one function whoever asks: the manager from its
//! stores, a command from what it has read, tests from a model. Not where they are found, and not what follows from it.

use std::collections::{BTreeMap, BTreeSet};

use crate::{DigestKey, Known, Pins, Reads, Source, SourceKind, SourceView, copy_names};

/// Where ConfigMaps and Secrets are found.
pub trait SourceLookup {
    /// Whether sources of this kind are looked at: Secrets may be left alone.
    fn looks_at(&self, kind: SourceKind) -> bool;

    /// An object.
    fn source(&self, kind: SourceKind, namespace: &str, name: &str) -> Option<SourceView>;

    /// What says of itself that it is a copy of this source.
    fn copies(&self, namespace: &str, source: &Source) -> Vec<SourceView>;

    /// Whether there is an object of this name that [`SourceLookup::source`] does not give, since its type is not looked at.
    fn is_unread(&self, kind: SourceKind, namespace: &str, name: &str) -> bool;
}

/// What is known of all that templates read, and of what pins name; of what is left alone, nothing.
pub fn known_sources<'p>(
    from: &impl SourceLookup,
    namespace: &str,
    reads: impl IntoIterator<Item = &'p Reads>,
    pins: impl IntoIterator<Item = &'p Pins>,
    key: &DigestKey,
) -> BTreeMap<Source, Known<SourceView>> {
    let read = reads.into_iter().flat_map(|reads| reads.sources.keys());
    let mut sources: BTreeMap<Source, BTreeSet<String>> =
        read.map(|source| (source.clone(), BTreeSet::new())).collect();
    for (source, pin) in pins.into_iter().flat_map(|pins| &pins.0) {
        sources.entry(source.clone()).or_default().insert(pin.copy_name(source));
    }
    let looked_at = sources.into_iter().filter(|(source, _)| from.looks_at(source.kind));
    looked_at
        .map(|(source, pinned)| {
            let known = known(from, namespace, &source, pinned, key);
            (source, known)
        })
        .collect()
}

/// What is known of one source; `pinned` are the names under which pods read it.
fn known(
    from: &impl SourceLookup,
    namespace: &str,
    source: &Source,
    pinned: BTreeSet<String>,
    key: &DigestKey,
) -> Known<SourceView> {
    let live = from.source(source.kind, namespace, &source.name);
    let copies = from.copies(namespace, source);
    let names = live.iter().flat_map(|live| copy_names(source, live.as_ref(), key.bytes()));
    let is_copy = |name: &String| copies.iter().any(|copy| copy.as_ref().metadata.name == *name);
    let names: BTreeSet<String> = names.chain(pinned).collect();
    let is_there = |name: &str| {
        from.source(source.kind, namespace, name).is_some() || from.is_unread(source.kind, namespace, name)
    };
    let strangers = names.into_iter().filter(|name| !is_copy(name) && is_there(name)).collect();
    let unseen = live.is_none() && from.is_unread(source.kind, namespace, &source.name);
    Known { live, copies, strangers, unseen }
}
