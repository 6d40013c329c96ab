//! The picture of a release: steps, revisions with their pods, and what is waited for. Drawn by `watch` and the demo.

use trimtab_crds::{Phase, Stage};

use crate::{
    facts::{Facts, Mark, Side, StepFact, Turn},
    paint::{BAD, BOLD, DIM, GOOD, NEW, WARN, pad, paint, width, wrap},
};

/// How a phase looks.
pub fn phase(phase: Phase) -> String {
    let style = match phase {
        Phase::Stable => GOOD,
        Phase::Releasing | Phase::Promoting => NEW,
        Phase::Paused | Phase::Waiting | Phase::TakingBack => WARN,
        Phase::TakenBack | Phase::Blocked => BAD,
    };
    paint(style, format!("{phase:?}"))
}

/// One sign for each pod.
pub fn dots(side: &Side) -> String {
    const MOST: usize = 40;
    let sign = |mark| match mark {
        Mark::Ready => paint(GOOD, "●"),
        Mark::Starting => paint(WARN, "○"),
        Mark::Trouble => paint(BAD, "✗"),
        Mark::Leaving => paint(DIM, "◌"),
    };
    let mut text: String = side.pods.iter().take(MOST).map(|pod| sign(pod.mark)).collect();
    if side.pods.len() > MOST {
        text.push_str(&format!(" +{}", side.pods.len() - MOST));
    }
    text
}

/// The end of an image's name: what changes in it.
pub fn short_image(image: &str) -> String {
    image.split(" + ").map(|one| one.rsplit('/').next().unwrap_or(one)).collect::<Vec<_>>().join(" + ")
}

/// Steps beside each other, in as many lines of so many columns as they need.
pub fn steps(steps: &[StepFact], columns: usize) -> Vec<String> {
    let one = |step: &StepFact| {
        let note = if step.note.is_empty() { String::new() } else { format!(" ({})", step.note) };
        match step.turn {
            Turn::Done => format!("{} {}", paint(GOOD, "✓"), paint(DIM, format!("{}{note}", step.words))),
            Turn::Now => format!("{} {}{note}", paint(NEW, "▸"), paint(BOLD, &step.words)),
            Turn::Later => paint(DIM, format!("· {}", step.words)),
        }
    };
    let mut lines: Vec<String> = vec![];
    for text in steps.iter().map(one) {
        match lines.last_mut() {
            Some(line) if width(line) + 2 + width(&text) <= columns => {
                line.push_str("  ");
                line.push_str(&text);
            }
            _ => lines.push(text),
        }
    }
    lines
}

/// What stands on top: name, phase, step and share.
pub fn title(name: &str, facts: &Facts) -> String {
    let mut parts = vec![format!("{} {}", paint(BOLD, name), phase(facts.phase))];
    parts.extend(facts.status.step.as_ref().map(|step| format!("step {step}")));
    parts.extend(facts.status.weight.as_ref().map(|weight| format!("{} on the new revision", weight.text)));
    parts.join(" · ")
}

fn revision(label: &str, side: &Side) -> String {
    let count = format!("{} of {}", side.available, side.asked);
    let room = side.pods.len().clamp(8, 41);
    format!("{} {}  {}  {}", pad(label, 8), pad(&dots(side), room), pad(&count, 8), short_image(&side.image()))
}

/// The whole picture for so many columns, with lines of the caller's below.
pub fn picture(name: &str, facts: &Facts, columns: usize, more: &[String]) -> Vec<String> {
    let bar = paint(DIM, "│");
    let mut lines = vec![format!("{} {}", paint(DIM, "┌"), title(name, facts))];
    let mut add = |text: String| lines.push(format!("{bar} {text}"));
    if let Some(stable) = &facts.stable {
        add(revision("stable", stable));
    }
    if let Some(new) = &facts.new {
        let label = match facts.status.release.as_ref().map(|p| p.stage) {
            Some(Stage::Promoting | Stage::Bypassed) => "new",
            _ => "canary",
        };
        add(revision(label, new));
        let trouble = new.pods.iter().find_map(|pod| pod.trouble.as_ref());
        if let Some(trouble) = trouble {
            add(format!("{} {}", pad("trouble", 8), paint(BAD, trouble)));
        }
    }
    let room = columns.saturating_sub(12).max(30);
    let mut block = |label: &str, texts: Vec<String>| {
        for (i, text) in texts.iter().enumerate() {
            add(format!("{} {text}", pad(if i == 0 { label } else { "" }, 8)));
        }
    };
    block("steps", steps(&facts.steps, room));
    block("now", wrap(&facts.message, room));
    for text in more {
        add(text.clone());
    }
    let end = paint(DIM, "└");
    if let Some(last) = lines.last_mut() {
        *last = last.replacen(&bar, &end, 1);
    }
    lines
}

/// The same in one line, for where nothing can be drawn again. What only counts down is left out.
pub fn one_line(facts: &Facts) -> String {
    let mut parts = vec![pad(&phase(facts.phase), 10)];
    parts.extend(facts.status.step.as_ref().map(|step| format!("step {step}")));
    parts.extend(facts.status.weight.as_ref().map(|weight| pad(&format!("{}%", weight.actual), 4)));
    let sides = [("stable", &facts.stable), ("new", &facts.new)];
    let sides = sides.iter().filter_map(|(name, side)| Some((name, side.as_ref()?)));
    parts.extend(sides.map(|(name, side)| format!("{name} {}/{}", side.available, side.asked)));
    format!("{}  {}", parts.join("  "), paint(DIM, &facts.message))
}

#[cfg(test)]
mod tests {
    use trimtab_crds::ReleasePlanStatus;

    use super::*;
    use crate::{facts::Pod, paint::plain};

    fn side(image: &str, available: i32, marks: &[Mark]) -> Side {
        let pod = |mark: &Mark| Pod { name: "p".into(), uid: "u".into(), mark: *mark, trouble: None };
        Side {
            replica_set: "web-a".into(),
            asked: marks.len() as i32,
            available,
            images: [("web".to_owned(), image.to_owned())].into(),
            pods: marks.iter().map(pod).collect(),
        }
    }

    fn facts(new: Option<Side>) -> Facts {
        let step = |words: &str, turn, note: &str| StepFact { words: words.into(), turn, note: note.into() };
        Facts {
            phase: Phase::Releasing,
            message: "step 1/2, setWeight 20: 1 of 2 canary pods are available".into(),
            reason: "WaitingForCanary".into(),
            stable: Some(side("registry/shop/web:v1", 3, &[Mark::Ready, Mark::Ready, Mark::Leaving])),
            new,
            steps: vec![
                step("20%", Turn::Done, ""),
                step("pause 5s", Turn::Now, "2 s left"),
                step("promote", Turn::Later, ""),
            ],
            status: ReleasePlanStatus { step: Some("2/2".into()), ..ReleasePlanStatus::default() },
            wake: None,
        }
    }

    fn check(new: Option<Side>, columns: usize, picture_is: &[&str], line_is: &str) {
        let facts = facts(new);
        let lines: Vec<String> = picture("web", &facts, columns, &[]).iter().map(|line| plain(line)).collect();
        assert_eq!(lines, picture_is);
        assert_eq!(plain(&one_line(&facts)), line_is);
    }

    #[test]
    fn both_revisions_are_shown_with_their_pods() {
        check(
            Some(side("registry/shop/web:v2", 1, &[Mark::Ready, Mark::Starting])),
            80,
            &[
                "┌ web Releasing · step 2/2",
                "│ stable   ●●◌       3 of 3    web:v1",
                "│ canary   ●○        1 of 2    web:v2",
                "│ steps    ✓ 20%  ▸ pause 5s (2 s left)  · promote",
                "└ now      step 1/2, setWeight 20: 1 of 2 canary pods are available",
            ],
            "Releasing   step 2/2  stable 3/3  new 1/2  step 1/2, setWeight 20: 1 of 2 canary pods are available",
        );
    }

    #[test]
    fn a_long_sentence_goes_on_below() {
        check(
            None,
            49,
            &[
                "┌ web Releasing · step 2/2",
                "│ stable   ●●◌       3 of 3    web:v1",
                "│ steps    ✓ 20%  ▸ pause 5s (2 s left)",
                "│          · promote",
                "│ now      step 1/2, setWeight 20: 1 of 2 canary",
                "└          pods are available",
            ],
            "Releasing   step 2/2  stable 3/3  step 1/2, setWeight 20: 1 of 2 canary pods are available",
        );
    }
}
