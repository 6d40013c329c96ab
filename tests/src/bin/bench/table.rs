//! The table that a benchmark prints: figure, ours, goal, peer. Not the measuring.

use std::time::Duration;

/// Rows, and which counts were wrong.
#[derive(Default)]
pub struct Table {
    rows: Vec<[String; 4]>,
    wrong: Vec<String>,
}

impl Table {
    /// A measurement; it fails nothing.
    pub fn row(&mut self, figure: impl Into<String>, ours: impl Into<String>, goal: &str, peer: impl Into<String>) {
        self.rows.push([figure.into(), ours.into(), goal.to_owned(), peer.into()]);
    }

    /// A count that must be as it is expected.
    pub fn count(&mut self, figure: &str, ours: usize, expected: usize) {
        if ours != expected {
            self.wrong.push(format!("{figure}: {ours} instead of {expected}"));
        }
        self.row(figure, ours.to_string(), &expected.to_string(), "");
    }

    /// The counts that were not as expected.
    pub fn wrong(&self) -> &[String] {
        &self.wrong
    }

    /// Prints it.
    pub fn print(&self) {
        let head = ["", "ours", "goal", "peer"].map(str::to_owned);
        let rows: Vec<&[String; 4]> = std::iter::once(&head).chain(&self.rows).collect();
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..4).map(width).collect();
        println!();
        for [figure, ours, goal, peer] in rows {
            let line =
                format!("{figure:<0$}  {ours:>1$}  {goal:>2$}  {peer:<3$}", widths[0], widths[1], widths[2], widths[3]);
            println!("{}", line.trim_end());
        }
    }
}

/// Value below which this share of the sorted values lies.
pub fn percentile<T: Copy + Default>(sorted: &[T], percent: usize) -> T {
    let index = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(index).copied().unwrap_or_default()
}

/// The middle of some values.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    percentile(&sorted, 50)
}

/// Memory, as it is printed.
pub fn mib(mib: f64) -> String {
    format!("{mib:.1} MiB")
}

/// A time, as it is printed.
pub fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

/// A short time, as it is printed.
pub fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}
