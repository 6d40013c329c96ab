//! Which changes of which sources reload a workload: by our annotation, or by Reloader's in Reloader's order. Not whether
//! anything has changed.

use std::collections::BTreeSet;

use serde::Serialize;
use trimtab_config::{Object, Source, SourceKind};
use trimtab_crds::names;
use trimtab_plan::TextMap;

use crate::fits::{Fits, NAMES};
use crate::member::{MOST_BEFORE, after};
use crate::named::{List, Named, Patterns, is_off, shown};
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

/// How many sources of a workload are looked after.
pub(crate) const MOST_SOURCES: usize = 1_000;
const KINDS: [SourceKind; 2] = [SourceKind::ConfigMap, SourceKind::Secret];

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
        if workload.annotation(names::RELOAD).is_none() {
            return vec![];
        }
        let looked_at = |source: &&Source| self.secrets || source.kind != SourceKind::Secret;
        let named = self.named(workload).sources.iter().filter(looked_at);
        named.filter(|source| !workload.template.uses.contains_key(*source)).cloned().collect()
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
            Some(_) => self.native(workload, source).then_some(How::Native),
            None => (!ignored && self.reloader(fits, workload, source, object)).then_some(How::Reloader),
        }
    }

    /// Our rules.
    fn native(&self, workload: &Workload, source: &Source) -> bool {
        let named = self.named(workload);
        if named.off || named.excluded_kinds.contains(&source.kind) || named.excluded.contains(source) {
            return false;
        }
        let read = named.kinds.contains(&source.kind) && workload.template.uses.contains_key(source);
        read || named.sources.contains(source)
    }

    /// Reloader's own order of rules.
    fn reloader(&self, fits: &Fits, workload: &Workload, source: &Source, object: Option<&Object>) -> bool {
        let named = self.named(workload);
        if named.excluded.contains(source) {
            return false;
        }
        if named.sources.contains(source) || fits.fit(source) {
            return true;
        }
        let annotations = self.reloader_annotations(workload, source.kind);
        let says = |name: &String| annotations.get(name);
        let [auto, typed, _, search] = self.reloader_names(source.kind);
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
    pub fn patterns<'w>(&self, workload: &'w Workload) -> &'w Patterns {
        &self.named(workload).patterns
    }

    /// What annotations name. It is read once for each version of a workload: the options of a process do not change.
    fn named<'w>(&self, workload: &'w Workload) -> &'w Named {
        workload.named.get_or_init(|| Box::new(self.read(workload)))
    }

    fn read(&self, workload: &Workload) -> Named {
        // Ours counts alone, and names no source by an expression.
        if let Some(wish) = workload.annotation(names::RELOAD) {
            return Named::ours(wish, workload.annotation(names::RELOAD_EXCLUDE).unwrap_or_default());
        }
        Named::theirs(&KINDS.map(|kind| {
            let ([_, _, name, _], exclude) = (self.reloader_names(kind), exclude(kind));
            let from = [&workload.metadata.annotations, &workload.template.annotations];
            List {
                kind,
                name,
                list: self.reloader_annotations(workload, kind).get(name).unwrap_or_default(),
                exclude,
                excluded: from.map(|annotations| annotations.get(exclude).unwrap_or_default()),
            }
        }))
    }

    /// The sources that are named in so many letters, to look a workload up by. No more than are looked after.
    pub fn literals(&self, workload: &Workload) -> BTreeSet<Source> {
        let named = self.named(workload).sources.iter();
        named.chain(workload.template.uses.keys()).take(MOST_SOURCES).cloned().collect()
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
        let named = self.named(workload);
        let mut problems = named.problems.clone();
        if after(workload).nth(MOST_BEFORE).is_some() {
            problems.push(format!(
                "{} names more than {MOST_BEFORE} workloads: some are not waited for; take some out",
                names::RELOAD_AFTER
            ));
        }
        if fits.crowded {
            problems.push(format!(
                "the namespace has more than {NAMES} ConfigMaps and Secrets: expressions are compared with so many; name those that \
                 it is to be reloaded for"
            ));
        }
        for (_, (kind, entry)) in named.patterns.iter().enumerate().filter(|(position, _)| fits.is_none(*position)) {
            let ([_, _, name, _], shown) = (self.reloader_names(*kind), shown(entry));
            problems.push(format!(
                "{name}: {shown:?} is no name and no regular expression, or one that is too large: correct it"
            ));
        }
        problems
    }
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
