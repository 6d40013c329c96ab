//! Courses as a picture: the load and what the pods take at their target, where that is too little, and how many pods there
//! are. SVG written by hand, for light and for dark; as large for a month as for an hour, since what falls into one column of
//! the picture is drawn as its extent. Not a table of numbers, which is the command line's.

use std::fmt::Write as _;

use jiff::Timestamp;

use crate::{Course, Tick};

const WIDTH: f64 = 960.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 940.0;
const HEIGHT: f64 = 540.0;
/// The panel of the load, from top to bottom.
const LOAD: (f64, f64) = (84.0, 292.0);
/// The first of the stripes that say where it is too little.
const STRIPES: f64 = 312.0;
const STRIPE: f64 = 14.0;
/// The panel of the sizes.
const SIZES: (f64, f64) = (376.0, 500.0);

const STYLE: &str = "\
.back{fill:#fff}.text{fill:#1f2937}.soft{fill:#6b7280}.grid{stroke:#e5e7eb}.axis{stroke:#9ca3af}
.load{fill:#94a3b8;fill-opacity:.28}.edge{stroke:#64748b}.key{fill:#94a3b8;fill-opacity:.45}
.c0{stroke:#2563eb}.c1{stroke:#d97706}.s0{fill:#2563eb}.s1{fill:#d97706}.short{fill:#dc2626}.track{fill:#f3f4f6}
text{font:12px system-ui,-apple-system,'Segoe UI',Roboto,sans-serif}.title{font-size:16px;font-weight:600}
.line{fill:none;stroke-width:1.6;stroke-linejoin:round}.c1.line{stroke-dasharray:5 2}.edge{fill:none;stroke-width:.8;stroke-opacity:.6}
.grid,.axis{stroke-width:1;shape-rendering:crispEdges}.end{text-anchor:end}.mid{text-anchor:middle}
@media (prefers-color-scheme:dark){.back{fill:#111827}.text{fill:#f3f4f6}.soft{fill:#9ca3af}.grid{stroke:#273244}
.axis{stroke:#4b5563}.load{fill:#94a3b8;fill-opacity:.22}.edge{stroke:#94a3b8}.c0{stroke:#60a5fa}.c1{stroke:#fbbf24}
.s0{fill:#60a5fa}.s1{fill:#fbbf24}.short{fill:#f87171}.track{fill:#1f2937}}";

/// A course with what it is called.
#[derive(Debug, Clone, Copy)]
pub struct Curve<'c> {
    /// What it is called in the legend.
    pub name: &'c str,
    /// What became of it.
    pub course: &'c Course,
}

/// A picture of one course, or of two of the same time. The load is that of the first.
pub fn svg(title: &str, curves: &[Curve<'_>], tolerance: f64) -> String {
    let Some(first) = curves.first().map(|curve| curve.course) else { return String::new() };
    let mut picture = Picture::new(first);
    picture.open(title, curves);
    let (unit, each) = match &first.unit {
        Some((name, each)) => (format!("{name} of all pods; lines: what the pods that serve take at target"), *each),
        None => ("load in pods at target; lines: the pods that serve".to_owned(), 1.0),
    };
    picture.load(&unit, each, curves);
    picture.stripes(curves, tolerance);
    picture.sizes(curves);
    picture.text += "</svg>\n";
    picture.text
}

struct Picture {
    text: String,
    from: Timestamp,
    seconds: f64,
}

/// What a picture shows of a step: a value, or a gap.
type Value<'v> = &'v dyn Fn(&Tick) -> Option<f64>;

impl Picture {
    fn new(course: &Course) -> Self {
        let from = course.ticks.first().map_or(Timestamp::UNIX_EPOCH, |tick| tick.at);
        let to = course.ticks.last().map_or(from, |tick| tick.at);
        let seconds = (from.duration_until(to) + course.step).as_secs_f64().max(1.0);
        Self { text: String::new(), from, seconds }
    }

    fn x(&self, at: Timestamp) -> f64 {
        LEFT + (RIGHT - LEFT) * self.from.duration_until(at).as_secs_f64() / self.seconds
    }

    fn put(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a text cannot fail.
        let _ = self.text.write_fmt(text);
        self.text.push('\n');
    }

    fn open(&mut self, title: &str, curves: &[Curve<'_>]) {
        let title = escape(title);
        self.put(format_args!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" \
             height=\"{HEIGHT}\" role=\"img\" aria-label=\"{title}\">\n<style>{STYLE}</style>\n\
             <rect class=\"back\" width=\"{WIDTH}\" height=\"{HEIGHT}\" rx=\"8\"/>\n\
             <text class=\"text title\" x=\"{LEFT}\" y=\"30\">{title}</text>"
        ));
        let mut x = LEFT;
        let y = 52.0;
        self.put(format_args!(
            "<rect class=\"key\" x=\"{x}\" y=\"{}\" width=\"18\" height=\"10\"/><text class=\"text\" x=\"{}\" y=\"{y}\">load</text>",
            y - 9.0,
            x + 24.0
        ));
        x += 74.0;
        for (n, curve) in curves.iter().enumerate().take(2) {
            let end = x + 18.0;
            let (middle, words) = (y - 4.0, x + 24.0);
            self.put(format_args!(
                "<path class=\"c{n} line\" d=\"M{x} {middle}H{end}\"/><text class=\"text\" x=\"{words}\" y=\"{y}\">{}</text>",
                escape(curve.name)
            ));
            x += 50.0 + 7.0 * curve.name.chars().count() as f64;
        }
        self.put(format_args!(
            "<rect class=\"short\" x=\"{x}\" y=\"{}\" width=\"18\" height=\"8\"/><text class=\"text\" x=\"{}\" y=\"{y}\">too few pods</text>",
            y - 8.0,
            x + 24.0
        ));
    }

    /// The lines and numbers of a panel up to a largest value; what a value's height is.
    fn panel(&mut self, name: &str, (top, bottom): (f64, f64), most: f64) -> impl Fn(f64) -> f64 + use<> {
        let step = nice(most / 4.0);
        let highest = (most / step).ceil().max(1.0) * step;
        let y = move |value: f64| bottom - (bottom - top) * value / highest;
        self.put(format_args!("<text class=\"soft\" x=\"{LEFT}\" y=\"{}\">{}</text>", top - 8.0, escape(name)));
        for n in 0..=(highest / step).round() as i32 {
            let value = f64::from(n) * step;
            let (at, class) = (y(value), if n == 0 { "axis" } else { "grid" });
            self.put(format_args!(
                "<path class=\"{class}\" d=\"M{LEFT} {at:.1}H{RIGHT}\"/><text class=\"soft end\" x=\"{}\" y=\"{:.1}\">{}</text>",
                LEFT - 8.0,
                at + 4.0,
                number(value)
            ));
        }
        y
    }

    fn load(&mut self, unit: &str, each: f64, curves: &[Curve<'_>]) {
        let finite = |value: f64| Some(value).filter(|value| value.is_finite());
        let needed = move |tick: &Tick| tick.needed.and_then(|needed| finite(needed.max(0.0) * each));
        let serves = move |tick: &Tick| Some(f64::from(tick.serving) * each);
        let ticks =
            |curve: &Curve<'_>, value: Value<'_>| curve.course.ticks.iter().filter_map(value).fold(0.0, f64::max);
        let loads = curves.first().map_or(0.0, |curve| ticks(curve, &needed));
        let most = curves.iter().map(|curve| ticks(curve, &serves)).fold(loads, f64::max);
        self.times(LOAD, false);
        let y = self.panel(unit, LOAD, most);
        if let Some(first) = curves.first() {
            for run in self.runs(first.course, &needed, &y) {
                let (left, right, base) = (run.left, run.right, LOAD.1);
                let d = &run.path;
                self.put(format_args!("<path class=\"load\" d=\"M{left:.1} {base}V{d}H{right:.1}V{base}Z\"/>"));
                self.put(format_args!("<path class=\"edge\" d=\"M{left:.1} {d}\"/>"));
            }
        }
        self.lines(curves, &serves, &y);
    }

    fn sizes(&mut self, curves: &[Curve<'_>]) {
        let size = |tick: &Tick| Some(f64::from(tick.size));
        let all = curves.iter().flat_map(|curve| &curve.course.ticks);
        let most = all.map(|tick| tick.size).max().unwrap_or(1).max(4);
        self.times(SIZES, true);
        let y = self.panel("pods that were asked for", SIZES, f64::from(most));
        self.lines(curves, &size, &y);
    }

    /// The last course first, so that the first lies on top.
    fn lines(&mut self, curves: &[Curve<'_>], value: Value<'_>, y: &dyn Fn(f64) -> f64) {
        for (n, curve) in curves.iter().enumerate().take(2).rev() {
            for run in self.runs(curve.course, value, y) {
                let (left, right, d) = (run.left, run.right, run.path);
                self.put(format_args!("<path class=\"c{n} line\" d=\"M{left:.1} {d}H{right:.1}\"/>"));
            }
        }
    }

    /// Where the pods that serve had more than their target and the tolerance.
    fn stripes(&mut self, curves: &[Curve<'_>], tolerance: f64) {
        for (n, curve) in curves.iter().enumerate().take(2) {
            let y = STRIPES + STRIPE * n as f64;
            self.put(format_args!(
                "<rect class=\"track\" x=\"{LEFT}\" y=\"{y}\" width=\"{}\" height=\"9\"/>\
                 <rect class=\"s{n}\" x=\"{}\" y=\"{y}\" width=\"9\" height=\"9\"/>",
                RIGHT - LEFT,
                LEFT - 17.0
            ));
            let mut open: Option<(f64, f64)> = None;
            let width = (RIGHT - LEFT) * curve.course.step.as_secs_f64() / self.seconds;
            let short = |tick: &&Tick| tick.ratio().is_some_and(|ratio| ratio > 1.0 + tolerance);
            let mut marks = vec![];
            for tick in curve.course.ticks.iter().filter(short) {
                // What is shorter than a point is drawn as one.
                let (left, right) = (self.x(tick.at), self.x(tick.at) + width.max(1.0));
                open = match open {
                    Some((from, to)) if left <= to + 0.5 => Some((from, right.max(to))),
                    other => {
                        marks.extend(other);
                        Some((left, right))
                    }
                };
            }
            marks.extend(open);
            for (left, right) in marks {
                let wide = right.min(RIGHT) - left;
                self.put(format_args!(
                    "<rect class=\"short\" x=\"{left:.1}\" y=\"{y}\" width=\"{wide:.1}\" height=\"9\"/>"
                ));
            }
        }
    }

    /// The pieces of a course in which there is a value, each as the rest of a path that began at its left end.
    fn runs(&self, course: &Course, value: Value<'_>, y: &dyn Fn(f64) -> f64) -> Vec<Run> {
        let mut runs: Vec<Run> = vec![];
        let mut column: Option<Column> = None;
        let width = (RIGHT - LEFT) * course.step.as_secs_f64() / self.seconds;
        for tick in &course.ticks {
            let x = self.x(tick.at);
            let Some(here) = value(tick).map(y) else {
                if let (Some(column), Some(run)) = (column.take(), runs.last_mut()) {
                    run.add(column);
                }
                continue;
            };
            match &mut column {
                None => {
                    runs.push(Run { left: x, right: x, path: String::new(), level: f64::NAN });
                    column = Some(Column::new(x, here));
                }
                Some(column) if x - column.x < 0.5 => column.join(here),
                Some(column) => {
                    if let Some(run) = runs.last_mut() {
                        run.add(*column);
                    }
                    *column = Column::new(x, here);
                }
            }
            if let Some(run) = runs.last_mut() {
                run.right = x + width;
            }
        }
        if let (Some(column), Some(run)) = (column, runs.last_mut()) {
            run.add(column);
        }
        runs
    }

    fn times(&mut self, (top, bottom): (f64, f64), named: bool) {
        let step = every(self.seconds);
        let begin = self.from.as_second();
        let mut at = begin + (step - begin.rem_euclid(step)) % step;
        while ((at - begin) as f64) < self.seconds {
            let Ok(moment) = Timestamp::from_second(at) else { return };
            let x = self.x(moment);
            self.put(format_args!("<path class=\"grid\" d=\"M{x:.1} {top}V{bottom}\"/>"));
            if named {
                let midnight = at.rem_euclid(86_400) == 0;
                let label = moment.strftime(if midnight { "%b %-d" } else { "%H:%M" });
                let y = bottom + 18.0;
                self.put(format_args!("<text class=\"soft mid\" x=\"{x:.1}\" y=\"{y}\">{label}</text>"));
            }
            at += step;
        }
        if named {
            self.put(format_args!("<text class=\"soft end\" x=\"{RIGHT}\" y=\"{}\">UTC</text>", bottom + 34.0));
        }
    }
}

/// A piece of a line without gaps.
struct Run {
    left: f64,
    right: f64,
    path: String,
    level: f64,
}

impl Run {
    /// Goes to a column, and through all that lies in it.
    fn add(&mut self, column: Column) {
        let begins = self.path.is_empty();
        if !begins && column.least == column.most && column.last == self.level {
            return;
        }
        let _ = if begins {
            write!(self.path, "{:.1}", column.first)
        } else {
            write!(self.path, "H{:.1}V{:.1}", column.x, column.first)
        };
        if column.least != column.most {
            let _ = write!(self.path, "V{:.1}V{:.1}V{:.1}", column.least, column.most, column.last);
        }
        self.level = column.last;
    }
}

/// The extent of what falls into one column of the picture.
#[derive(Debug, Clone, Copy)]
struct Column {
    x: f64,
    first: f64,
    least: f64,
    most: f64,
    last: f64,
}

impl Column {
    fn new(x: f64, y: f64) -> Self {
        Self { x, first: y, least: y, most: y, last: y }
    }

    fn join(&mut self, y: f64) {
        (self.least, self.most, self.last) = (self.least.min(y), self.most.max(y), y);
    }
}

/// The nearest of 1, 2, 5, 10, 20, … that is not below a number.
fn nice(number: f64) -> f64 {
    if !number.is_finite() || number <= 0.0 {
        return 1.0;
    }
    let power = 10f64.powf(number.log10().floor());
    let steps = [1.0, 2.0, 2.5, 5.0, 10.0];
    steps.iter().map(|step| step * power).find(|step| *step >= number * 0.999).unwrap_or(10.0 * power)
}

/// How far the names of times are apart, in seconds: at most nine of them.
fn every(seconds: f64) -> i64 {
    const STEPS: [i64; 15] =
        [60, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 172_800, 432_000, 864_000, 2_592_000];
    STEPS.into_iter().find(|step| seconds / *step as f64 <= 9.0).unwrap_or(31_536_000)
}

fn number(value: f64) -> String {
    let text = format!("{value:.3}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    match value {
        1_000_000.0.. => format!("{}M", value / 1e6),
        10_000.0.. => format!("{}k", value / 1e3),
        _ => text.to_owned(),
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    fn course(needed: &[Option<f64>]) -> Course {
        let tick = |(n, needed): (usize, &Option<f64>)| Tick {
            at: Timestamp::from_second(n as i64 * 15).unwrap(),
            size: 2,
            serving: 1,
            needed: *needed,
        };
        Course {
            ticks: needed.iter().enumerate().map(tick).collect(),
            step: SignedDuration::from_secs(15),
            decisions: needed.len(),
            initial: 2,
            unit: None,
            notes: vec![],
        }
    }

    #[test]
    fn a_picture_is_no_larger_for_a_month_than_for_an_hour() {
        let month: Vec<Option<f64>> = (0..172_800).map(|n| Some(f64::from(n % 7))).collect();
        let month = course(&month);
        let picture = svg("a < b", &[Curve { name: "web", course: &month }], 0.1);
        assert!(picture.len() < 120_000, "{}", picture.len());
        assert!(picture.contains("a &lt; b") && picture.ends_with("</svg>\n"));
    }

    #[test]
    fn a_gap_is_a_gap() {
        let course = course(&[Some(1.0), Some(1.0), None, Some(3.0), None]);
        let picture = svg("", &[Curve { name: "web", course: &course }], 0.1);
        assert_eq!(picture.matches("class=\"load\"").count(), 2);
        // One stripe, where 3 pods are needed and 1 serves; the other mark is the legend's.
        assert_eq!(picture.matches("class=\"short\"").count(), 2);
    }

    #[test]
    fn numbers_at_the_side_are_round() {
        assert_eq!([0.0, 0.7, 3.0, 11.0, 24.0, 49.0].map(nice), [1.0, 1.0, 5.0, 20.0, 25.0, 50.0]);
        assert_eq!([0.25, 2.0, 12_000.0, 1_500_000.0].map(number), ["0.25", "2", "12k", "1.5M"]);
    }
}
