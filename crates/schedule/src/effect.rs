//! Which sizes hold where windows are open: one bound after the other, from the most to the least important window, and
//! what the object says itself last. Not which windows are open.
//!
//! Each window sets what it names, unless a more important one has. Where what it asks for lies outside a more important
//! window's bound, it gets what is nearest within. So the minimum is never above the maximum.

use serde::Serialize;

use crate::schedules::Open;

/// The object's own bounds, which hold where no window says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The fewest replicas.
    pub min: i32,
    /// The most replicas.
    pub max: i32,
}

/// A bound, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Bound {
    /// The size.
    pub replicas: i32,
    /// The window that sets it; the object's own bound if none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<String>,
    /// What was asked for, where a more important window's bound did not leave room for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked: Option<i32>,
}

/// The sizes that hold at a moment, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Effect {
    /// The fewest replicas.
    pub min: Bound,
    /// The most replicas.
    pub max: Bound,
    /// Why, for a person.
    pub because: String,
}

impl Effect {
    /// The sizes that hold while these windows are open, the most important first.
    pub(crate) fn of(open: &[Open], own: Limits) -> Self {
        let (mut min, mut max) = (None::<Bound>, None::<Bound>);
        let windows = open.iter().map(|open| (Some(&open.name), open.min_replicas, open.max_replicas));
        for (name, fewest, most) in windows.chain([(None, Some(own.min), Some(own.max))]) {
            // What this window finds: an exact size must not be bounded by its own other half.
            let (floor, ceiling) = (min.as_ref().map(|b| b.replicas), max.as_ref().map(|b| b.replicas));
            let bound = |asked: i32, replicas: i32| Bound {
                replicas,
                window: name.cloned(),
                asked: Some(asked).filter(|asked| *asked != replicas),
            };
            let fewest = fewest.map(|asked| bound(asked, ceiling.map_or(asked, |most| asked.min(most))));
            min = min.or(fewest);
            // The object's own maximum may be below the minimum that a window set, or it may itself be upside down.
            let floor = floor.or_else(|| min.as_ref().map(|b| b.replicas));
            let most = most.map(|asked| bound(asked, floor.map_or(asked, |fewest| asked.max(fewest))));
            max = max.or(most);
        }
        let nothing = || Bound { replicas: 0, window: None, asked: None };
        let (min, max) = (min.unwrap_or_else(nothing), max.unwrap_or_else(nothing));
        let because = reason(&min, &max, open);
        Self { min, max, because }
    }

    /// The size, where the bounds leave no choice.
    pub fn exact(&self) -> Option<i32> {
        Some(self.min.replicas).filter(|size| *size == self.max.replicas)
    }

    /// Whether a window has a say in it.
    pub fn is_scheduled(&self) -> bool {
        self.min.window.is_some() || self.max.window.is_some()
    }

    /// Whether the same sizes hold.
    pub fn bounds_alike(&self, other: &Self) -> bool {
        self.min.replicas == other.min.replicas && self.max.replicas == other.max.replicas
    }
}

fn reason(min: &Bound, max: &Bound, open: &[Open]) -> String {
    if open.is_empty() {
        return format!("{} to {} replicas: no window is open", min.replicas, max.replicas);
    }
    if min.replicas == max.replicas && min.window == max.window {
        return format!("exactly {} replicas: {}", min.replicas, whose(min, open));
    }
    let (fewest, most) = (min.replicas, max.replicas);
    format!("at least {fewest} replicas: {}; at most {most}: {}", whose(min, open), whose(max, open))
}

fn whose(bound: &Bound, open: &[Open]) -> String {
    let Some(name) = &bound.window else {
        return match bound.asked {
            Some(asked) => format!("the object's own {asked}, moved to make room for a window"),
            None => "the object's own".to_owned(),
        };
    };
    let until = open.iter().find(|open| &open.name == name).and_then(|open| open.until);
    let until = until.map_or_else(|| ", which does not close".to_owned(), |until| format!(" until {until}"));
    match bound.asked {
        Some(asked) => {
            format!("window {name}{until}, which asks for {asked}, but a window of more importance does not")
        }
        None => format!("window {name}{until}"),
    }
}
