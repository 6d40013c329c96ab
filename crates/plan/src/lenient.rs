//! Reading what another version of the program wrote: what does not fit is left out, and the rest counts. For what this program says
//! itself, as a status: of what people ask for no part may be left out without a word.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::place::{self, Step};

/// Reads a value without those parts of it that do not fit, as few and as small as can be. `None` if so many do not fit that it is no
/// longer tried.
pub fn read_what_fits<T: DeserializeOwned>(mut value: Value, most: usize) -> Option<T> {
    for _ in 0..=most {
        let text = value.to_string();
        match serde_json::from_str(&text) {
            Ok(read) => return Some(read),
            Err(error) => remove(&mut value, &place::steps(text.as_bytes(), error.line(), error.column()))?,
        }
    }
    None
}

/// Takes a part out. `None` if it is the whole.
fn remove(value: &mut Value, path: &[Step]) -> Option<()> {
    let (last, parents) = path.split_last()?;
    let place = parents.iter().try_fold(value, |place, step| match step {
        Step::Field(name) => place.get_mut(name),
        Step::Item(index) => place.get_mut(index),
    })?;
    match last {
        Step::Field(name) => _ = place.as_object_mut()?.remove(name)?,
        Step::Item(index) if *index < place.as_array()?.len() => _ = place.as_array_mut()?.remove(*index),
        Step::Item(_) => return None,
    }
    Some(())
}

/// Why a part of an object cannot be read, with where in it that is.
pub fn unread<T: DeserializeOwned>(root: &str, part: &Value) -> Result<T, String> {
    let text = part.to_string();
    serde_json::from_str(&text).map_err(|error| {
        let path = place::in_words(root, &place::steps(text.as_bytes(), error.line(), error.column()));
        let what = error.to_string();
        format!("{path}: {}", what.rsplit_once(" at line ").map_or(what.as_str(), |(what, _)| what))
    })
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, PartialEq, Default, Deserialize)]
    #[serde(default)]
    struct Status {
        phase: Option<Phase>,
        stages: Vec<Stage>,
        size: i32,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Stage {
        phase: Phase,
        size: i32,
    }

    #[derive(Debug, PartialEq, Clone, Copy, Deserialize)]
    enum Phase {
        Held,
    }

    fn check(value: Value, most: usize, expected: Option<Status>) {
        assert_eq!(read_what_fits::<Status>(value.clone(), most), expected, "{value}");
    }

    #[test]
    fn what_does_not_fit_is_left_out_and_the_rest_counts() {
        let stage = |size| Stage { phase: Phase::Held, size };
        let (held, other) = (|size: i32| json!({"phase": "Held", "size": size}), json!({"phase": "Later", "size": 2}));
        check(
            json!({"phase": "Held", "size": 1}),
            0,
            Some(Status { phase: Some(Phase::Held), size: 1, ..Status::default() }),
        );
        check(json!({"phase": "Later", "size": 1}), 1, Some(Status { size: 1, ..Status::default() }));
        check(json!({"phase": {"of": "Later"}, "size": 1}), 2, Some(Status { size: 1, ..Status::default() }));
        // First the phase, and then what is nothing without it.
        check(
            json!({"size": "many", "stages": [held(1), other, held(3)]}),
            3,
            Some(Status { stages: vec![stage(1), stage(3)], ..Status::default() }),
        );
        check(json!({"stages": [other, other]}), 3, None);
        check(json!(1), 9, None);
    }

    #[test]
    fn what_cannot_be_read_is_named_with_its_place() {
        let why = |part: Value| unread::<Status>("spec", &part).unwrap_err();
        assert_eq!(
            why(json!({"stages": [{"phase": "Later", "size": 2}]})),
            "spec.stages[0].phase: unknown variant `Later`, expected `Held`"
        );
        assert!(
            why(json!({"size": "many"})).starts_with("spec.size: invalid type"),
            "{}",
            why(json!({"size": "many"}))
        );
    }
}
