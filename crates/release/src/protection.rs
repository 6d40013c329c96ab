//! What protects stable pods from a live change of what they read, in the words of a condition. Not whether the freeze is in
//! force: that is the API server's word.

use trimtab_config::{LiveReason, Problem, SECRETS_NOT_READ, Source, live_by_nature, unread_words};
use trimtab_crds::Track;

use crate::draft::Draft;

/// What protects the pods from a live change: the condition's value, reason and message.
pub(crate) fn protection(draft: &Draft<'_>) -> Option<(bool, &'static str, String)> {
    let want = draft.config.as_ref()?;
    let world = draft.world;
    if !want.unread.is_empty() {
        return Some((false, SECRETS_NOT_READ, unread_words(&want.unread)));
    }
    if want.live.is_empty() && want.pins.is_empty() && want.unfrozen.is_empty() {
        return None;
    }
    if let Some(appeared) = want.problems.iter().find(|problem| matches!(problem, Problem::Appeared(..))) {
        return Some((false, appeared.reason(), appeared.to_string()));
    }
    let unfreezable = world.deployment.spec.template.reads.unfreezable.clone();
    // What stable pods read may be other objects than the template names by now.
    let stable = world.stable_set(&draft.status).map(|rs| &rs.spec.template);
    let own = stable.filter(|template| template.has_text() && template.digest != world.digest);
    let read = |source: &Source| own.is_none_or(|template| template.reads.sources.contains_key(source));
    let others = own.into_iter().flat_map(|template| template.reads.sources.keys());
    let others = others.filter(|source| {
        let live = world.seen.sources.get(source).map(|known| known.live.as_ref().map(AsRef::as_ref));
        let natural = live.is_some_and(|live| live.and_then(live_by_nature).is_none());
        natural && world.plan.spec.config.track == Track::Referenced && !want.unfrozen.contains_key(source)
    });
    let frozen = want.live.keys().chain(want.pins.0.keys()).filter(|source| read(source)).chain(others);
    let frozen: Vec<&Source> = frozen.collect();
    let open: Vec<String> = frozen
        .into_iter()
        .filter(|source| stable.is_none_or(|template| template.config.get(source).is_none()))
        .map(ToString::to_string)
        .collect::<std::collections::BTreeSet<_>>()
        .into_iter()
        .collect();
    let live: Vec<String> = want.unfrozen.iter().map(|(source, nature)| live_words(source, *nature)).collect();
    let aside = match (live.is_empty(), unfreezable.is_empty()) {
        (true, true) => String::new(),
        (false, true) => format!("; read live: {}", live.join(", ")),
        (_, false) => format!("; read live: {}", [live, unfreezable].concat().join(", ")),
    };
    Some(if open.is_empty() {
        (true, "Frozen", format!("stable pods read their own revision, also when they are moved{aside}"))
    } else {
        let message = format!(
            "stable pods still read the live {}: a change reaches those that restart before it is judged. The next \
             release ends that; config.adopt: Now makes one at once{aside}",
            open.join(", ")
        );
        (false, "NotAdopted", message)
    })
}

fn live_words(source: &Source, nature: Option<LiveReason>) -> String {
    nature.map_or_else(|| source.to_string(), |nature| format!("{source} ({nature})"))
}
