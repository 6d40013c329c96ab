//! Which changes of which sources reload a workload: by our annotation, or by Reloader's in Reloader's order. Not whether
//! anything has changed.

use std::collections::BTreeSet;

use serde::Serialize;
use trimtab_config::{Object, Source, SourceKind};
use trimtab_crds::names;
use trimtab_plan::TextMap;

use crate::expressions::{self, is_expression};
use crate::fits::{Fits, NAMES, Patterns};
use crate::member::{MOST_BEFORE, after};
use crate::options::{EXCLUDE_CONFIG_MAPS, EXCLUDE_SECRETS};
use crate::record::Record;
use crate::{Options, Workload};

/// Whose annotation a reload follows from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum How {
    /// Ours.
    Native,
    /// Reloader's, or its flag that reloads everything.
    Reloader,
}

/// How many entries of a list in an annotation are read.
const MOST_ENTRIES: usize = 100;
/// How many sources of a workload are looked after.
pub(crate) const MOST_SOURCES: usize = 1_000;
const KINDS: [SourceKind; 2] = [SourceKind::ConfigMap, SourceKind::Secret];
/// How much of an entry is told to people.
const SHOWN: usize = 80;

impl Options {
    /// What looks after a workload's configuration in place of reloads.
    pub(crate) fn looked_after_by(workload: &Workload) -> Option<String> {
        let plan = workload.annotation(names::PLAN).filter(|plan| !plan.is_empty());
        let tracked = workload.annotation(names::CONFIG_TRACK) == Some("Referenced");
        let tracked = tracked.then(|| names::CONFIG_TRACK.to_owned());
        plan.map(|plan| format!("ReleasePlan {plan}")).or(tracked)
    }

    /// Whether a workload is looked at at all.
    fn participates(&self, workload: &Workload) -> bool {
        self.may_touch(workload) && Self::looked_after_by(workload).is_none()
    }

    /// Whether a workload is not left alone altogether.
    fn may_touch(&self, workload: &Workload) -> bool {
        let meta = &workload.metadata;
        let by_cron_job = workload.kind == names::JOB && meta.controller().is_some();
        let ignored = (self.ignore_jobs && workload.kind == names::JOB)
            || (self.ignore_cron_jobs && workload.kind == names::CRON_JOB)
            || self.ignored_namespaces.contains(&meta.namespace);
        meta.deletion_timestamp.is_none() && !by_cron_job && !ignored
    }

    /// Whether there is anything to say about a workload: it may be reloaded, or was.
    pub fn opted_in(&self, workload: &Workload) -> bool {
        let own = &workload.metadata.annotations;
        let ours = [names::RELOAD, names::RELOAD_APPLIED, names::RELOAD_BLOCKED, &self.names.paused_at];
        let by_reloader = |kind| {
            let annotations = self.reloader_annotations(workload, kind);
            self.reloader_names(kind).into_iter().any(|name| annotations.contains_key(name))
        };
        self.participates(workload)
            && (self.auto_reload_all
                || KINDS.into_iter().any(by_reloader)
                || ours.iter().any(|name| own.contains_key(name)))
    }

    /// Whether somebody asks for reloads of a workload whose configuration something else looks after.
    pub fn asks_in_vain(&self, workload: &Workload) -> bool {
        let asks = workload.annotation(names::RELOAD).is_some_and(|wish| !is_off(wish));
        let gone = workload.metadata.deletion_timestamp.is_some();
        asks && !gone && Self::looked_after_by(workload).is_some()
    }

    /// Whether reloads have said something of a workload, or paused it, that is not reloaded any more.
    pub fn leaves_behind(&self, workload: &Workload) -> bool {
        let says = |name: &str| workload.annotation(name).is_some();
        let paused = workload.kind == names::DEPLOYMENT && says(&self.names.paused_at);
        let left = workload.blocked.is_some() || says(names::RELOAD_BLOCKED) || paused;
        left && self.may_touch(workload) && !self.opted_in(workload)
    }

    /// Whether there is anything to decide about a workload.
    pub fn concerns(&self, workload: &Workload) -> bool {
        self.opted_in(workload) || self.asks_in_vain(workload) || self.leaves_behind(workload)
    }

    /// The sources that our annotation names and that the template does not read: nothing else shows that one is misspelt.
    pub(crate) fn only_named(&self, workload: &Workload) -> Vec<Source> {
        let wish = workload.annotation(names::RELOAD).unwrap_or_default();
        let named = entries(wish).filter_map(|entry| entry.parse::<Source>().ok());
        let looked_at = |source: &Source| self.secrets || source.kind != SourceKind::Secret;
        named.filter(|source| looked_at(source) && !workload.template.uses.contains_key(source)).collect()
    }

    /// The annotations that opt in for sources of a kind.
    fn reloader_names(&self, kind: SourceKind) -> [&String; 4] {
        let names = &self.names;
        let (auto, named) = match kind {
            SourceKind::ConfigMap => (&names.config_map_auto, &names.config_map),
            SourceKind::Secret => (&names.secret_auto, &names.secret),
        };
        [&names.auto, auto, named, &names.search]
    }

    /// Whether, and by whose rules, changes of a source reload a workload. `object` is the source, if it is there.
    pub(crate) fn how(
        &self,
        fits: &Fits,
        workload: &Workload,
        source: &Source,
        object: Option<&Object>,
    ) -> Option<How> {
        if !self.secrets && source.kind == SourceKind::Secret {
            return None;
        }
        self.wished(fits, workload, source, object)
    }

    /// The same, whether or not the source is read by this process.
    fn wished(&self, fits: &Fits, workload: &Workload, source: &Source, object: Option<&Object>) -> Option<How> {
        if let Some(object) = object {
            let says = |name: &str| object.metadata.annotation(name);
            let off = says(names::RELOAD).is_some_and(is_off) || says(&self.names.ignore) == Some("true");
            if off || !self.source_labels.matches(&object.metadata.labels) {
                return None;
            }
        }
        let ignored = self.ignored_sources.contains(&source.kind);
        match workload.annotation(names::RELOAD) {
            Some(_) if ignored => None,
            Some(wish) => native(workload, wish, source).then_some(How::Native),
            None => (!ignored && self.reloader(fits, workload, source, object)).then_some(How::Reloader),
        }
    }

    /// Reloader's own order of rules.
    fn reloader(&self, fits: &Fits, workload: &Workload, source: &Source, object: Option<&Object>) -> bool {
        let exclude = exclude(source.kind);
        let from = [&workload.metadata.annotations, &workload.template.annotations];
        let mut excluded = from.iter().filter_map(|annotations| annotations.get(exclude)).flat_map(entries);
        if excluded.any(|name| name == source.name) {
            return false;
        }
        let annotations = self.reloader_annotations(workload, source.kind);
        let says = |name: &String| annotations.get(name);
        let [auto, typed, named, search] = self.reloader_names(source.kind);
        let by_name = |list| entries(list).any(|entry| entry == source.name && !is_expression(entry));
        if says(named).is_some_and(by_name) || fits.fit(source) {
            return true;
        }
        if !workload.template.uses.contains_key(source) {
            return false;
        }
        // One that is gone tells no more whether it had the tag: it had, where the record names it.
        let tagged = object.is_none_or(|o| o.metadata.annotation(&self.names.matching) == Some("true"));
        if says(search) == Some("true") && tagged {
            return true;
        }
        let (auto, typed) = (says(auto), says(typed));
        let unset = auto.is_none_or(str::is_empty) && typed.is_none_or(str::is_empty);
        auto.is_some_and(is_true) || typed.is_some_and(is_true) || (unset && self.auto_reload_all)
    }

    /// What Reloader reads for sources of a kind: the workload's own annotations where one of them opts in or out for that kind, else
    /// those of its template.
    fn reloader_annotations<'w>(&self, workload: &'w Workload, kind: SourceKind) -> &'w TextMap {
        let own = &workload.metadata.annotations;
        let there = self.reloader_names(kind).into_iter().any(|name| own.contains_key(name));
        if there { own } else { &workload.template.annotations }
    }

    /// What a workload may be reloaded for: all that it reads, and what annotations name: of what its expressions fit that which is
    /// there, or which its record tells of. No more than are looked after.
    pub fn candidates(&self, workload: &Workload, fits: &Fits, is_there: impl Fn(&Source) -> bool) -> BTreeSet<Source> {
        let mut found = self.literals(workload);
        if fits.is_empty() {
            return found;
        }
        let recorded = Record::of(workload).applied.into_keys().filter(|source| fits.fit(source));
        for source in recorded.chain(fits.sources().filter(|source| is_there(source)).cloned()) {
            if found.len() < MOST_SOURCES {
                found.insert(source);
            }
        }
        found
    }

    /// The expressions by which annotations name sources, as many as count.
    pub fn patterns(&self, workload: &Workload) -> Patterns {
        // Ours names no source by one.
        if workload.annotation(names::RELOAD).is_some() {
            return Patterns::default();
        }
        let named = self.named(workload).into_iter().filter(|(_, entry)| is_expression(entry));
        Patterns(named.take(expressions::MOST).collect())
    }

    /// The sources that annotations name, by kind; expressions among them.
    fn named(&self, workload: &Workload) -> Vec<(SourceKind, String)> {
        if let Some(wish) = workload.annotation(names::RELOAD) {
            let named = entries(wish).filter_map(|entry| entry.parse::<Source>().ok());
            return named.map(|source| (source.kind, source.name)).collect();
        }
        let of = |kind| {
            let [_, _, named, _] = self.reloader_names(kind);
            let list = self.reloader_annotations(workload, kind).get(named).unwrap_or_default();
            let named = entries(list).filter(|entry| is_expression(entry) || Source::is_name(entry));
            named.map(move |entry| (kind, entry.to_owned()))
        };
        KINDS.into_iter().flat_map(of).collect()
    }

    /// The sources that are named in so many letters, to look a workload up by. No more than are looked after.
    pub fn literals(&self, workload: &Workload) -> BTreeSet<Source> {
        let named = self.named(workload).into_iter().filter(|(_, entry)| !is_expression(entry));
        let named = named.map(|(kind, name)| Source { kind, name });
        named.chain(workload.template.uses.keys().cloned()).take(MOST_SOURCES).collect()
    }

    /// Whether expressions name some of a workload's sources.
    pub fn has_patterns(&self, workload: &Workload) -> bool {
        !self.patterns(workload).is_empty()
    }

    /// Secrets whose changes are to reload a workload, where Secrets are not read.
    pub fn unread(&self, workload: &Workload, fits: &Fits) -> Vec<Source> {
        if self.secrets {
            return vec![];
        }
        let secret = |source: &Source| source.kind == SourceKind::Secret;
        let wished = |source: &Source| secret(source) && self.wished(fits, workload, source, None).is_some();
        self.literals(workload).into_iter().filter(wished).collect()
    }

    /// What is wrong with a workload's annotations; for people.
    pub fn problems(&self, workload: &Workload, fits: &Fits) -> Vec<String> {
        let mut problems = self.beyond(workload);
        if let Some(wish) = workload.annotation(names::RELOAD) {
            let odd = entries(wish).filter(|entry| !is_word(entry) && entry.parse::<Source>().is_err());
            problems.extend(odd.map(|entry| {
                let entry: String = entry.chars().take(SHOWN).collect();
                format!(
                    "{}: {entry:?} is unknown: write auto, configmaps, secrets, off, cm/NAME or secret/NAME",
                    names::RELOAD
                )
            }));
            return problems;
        }
        if fits.crowded {
            problems.push(format!(
                "the namespace has more than {NAMES} ConfigMaps and Secrets: expressions are compared with so many; name those that \
                 it is to be reloaded for"
            ));
        }
        for kind in KINDS {
            let [_, _, name, _] = self.reloader_names(kind);
            let list = self.reloader_annotations(workload, kind).get(name).unwrap_or_default();
            let odd = entries(list).filter(|entry| !is_expression(entry) && !Source::is_name(entry));
            problems.extend(odd.map(|entry| {
                let entry: String = entry.chars().take(SHOWN).collect();
                format!("{name}: no {} can be called {entry:?}: correct the name", kind.kind().kind)
            }));
        }
        let named = self.patterns(workload).0.into_iter().enumerate();
        for (_, (kind, entry)) in named.filter(|(position, _)| fits.is_none(*position)) {
            let [_, _, name, _] = self.reloader_names(kind);
            let shown: String = entry.chars().take(SHOWN).collect();
            problems.push(if entry.len() > expressions::LONGEST {
                format!("{name}: {shown:?}… is longer than {} letters: use a shorter expression", expressions::LONGEST)
            } else {
                format!("{name}: {shown:?} is no name and no regular expression, or one that is too large: correct it")
            });
        }
        problems
    }

    /// What a workload's annotations and its template have more of than is read.
    fn beyond(&self, workload: &Workload) -> Vec<String> {
        let mut beyond = vec![];
        let lists = [
            (names::RELOAD, workload.annotation(names::RELOAD)),
            (names::RELOAD_EXCLUDE, workload.annotation(names::RELOAD_EXCLUDE)),
        ];
        let theirs = KINDS.into_iter().flat_map(|kind| {
            let [_, _, named, _] = self.reloader_names(kind);
            let annotations = self.reloader_annotations(workload, kind);
            [named.as_str(), exclude(kind)].map(|name| (name, annotations.get(name)))
        });
        for (name, list) in lists.into_iter().chain(theirs) {
            if list.is_some_and(|list| all_entries(list).nth(MOST_ENTRIES).is_some()) {
                beyond.push(format!(
                    "{name} has more than {MOST_ENTRIES} entries: the first {MOST_ENTRIES} count; take some out"
                ));
            }
        }
        let named = self.named(workload);
        if named.iter().filter(|(_, entry)| is_expression(entry)).nth(expressions::MOST).is_some() {
            beyond.push(format!(
                "{} and {} have more than {most} expressions together: the first {most} count; join some to one (a|b)",
                self.names.config_map,
                self.names.secret,
                most = expressions::MOST
            ));
        }
        if after(workload).nth(MOST_BEFORE).is_some() {
            beyond.push(format!(
                "{} names more than {MOST_BEFORE} workloads: some are not waited for; take some out",
                names::RELOAD_AFTER
            ));
        }
        beyond
    }
}

/// The entries of a list in an annotation, as many as are read.
fn entries(list: &str) -> impl Iterator<Item = &str> {
    all_entries(list).take(MOST_ENTRIES)
}

fn all_entries(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|entry| !entry.is_empty())
}

/// The annotation that names what does not reload.
const fn exclude(kind: SourceKind) -> &'static str {
    match kind {
        SourceKind::ConfigMap => EXCLUDE_CONFIG_MAPS,
        SourceKind::Secret => EXCLUDE_SECRETS,
    }
}

fn is_true(value: &str) -> bool {
    matches!(value.trim(), "1" | "t" | "T" | "TRUE" | "true" | "True")
}

fn is_off(value: &str) -> bool {
    matches!(value.trim(), "off" | "false" | "none")
}

fn is_word(entry: &str) -> bool {
    is_off(entry) || matches!(entry, "auto" | "true") || kind_word(entry).is_some()
}

fn kind_word(entry: &str) -> Option<SourceKind> {
    match entry {
        "configmaps" | "configmap" => Some(SourceKind::ConfigMap),
        "secrets" | "secret" => Some(SourceKind::Secret),
        _ => None,
    }
}

fn native(workload: &Workload, wish: &str, source: &Source) -> bool {
    let excluded = workload.annotation(names::RELOAD_EXCLUDE).unwrap_or_default();
    let names = |entry: &str| {
        kind_word(entry) == Some(source.kind) || entry.parse().is_ok_and(|named: Source| named == *source)
    };
    if is_off(wish) || entries(excluded).any(names) {
        return false;
    }
    let read = workload.template.uses.contains_key(source);
    let all = |entry: &str| matches!(entry, "auto" | "true") || kind_word(entry) == Some(source.kind);
    entries(wish).any(|entry| (read && all(entry)) || entry.parse().is_ok_and(|named: Source| named == *source))
}
