//! The trial of forecasts on what is known already, the model's and the seasonal-naive one's, by the same rules. No
//! forecast sees what it is measured by.

use crate::gaps::Filled;
use crate::layout::Layout;
use crate::level::Level;
use crate::quantile::{Missed, Offsets, pinball};
use crate::seasons::Seasons;

/// A model at the end of what it has seen.
#[derive(Debug)]
pub(crate) struct Model {
    seasons: Seasons,
    level: Level,
    /// How many values it has seen.
    seen: usize,
}

impl Model {
    /// The model of the first values, so many of them.
    fn learn(series: &Filled, layout: &Layout, leads: &[usize], seen: usize) -> Result<Self, String> {
        let seasons = Seasons::of(&series.values[..seen], &layout.seasons)?;
        let level = Level::fitted(&seasons.rest, leads);
        Ok(Self { seasons, level, seen })
    }

    /// Takes the next value in. It moves the level only.
    fn follow(&mut self, value: f64) {
        self.level.follow(value - self.seasons.at(self.seen));
        self.seen += 1;
    }

    /// The forecast of a step ahead; the first is 1.
    pub fn ahead(&self, lead: usize) -> f64 {
        self.seasons.at(self.seen + lead - 1) + self.level.ahead(lead)
    }
}

/// What a trial shows.
#[derive(Debug)]
pub(crate) struct Trial {
    /// The model at the end of the series. It is the one that was tried last: one that learns the seasons from all there is
    /// would be a little fresher, but nobody would know how much it misses.
    pub model: Model,
    /// What the model's forecasts need on top, by the lead up to which it holds.
    pub offsets: Vec<(usize, Offsets)>,
    /// The mean pinball loss of the model.
    pub loss: f64,
    /// The same of the best seasonal-naive forecast.
    pub naive_loss: f64,
}

impl Trial {
    /// Tries the model and the naive forecasts on the last seasons. `None` where nothing was measured there.
    ///
    /// # Errors
    ///
    /// What augurs says if it cannot take the series apart.
    pub fn of(series: &Filled, layout: &Layout, quantile: f64) -> Result<Option<Self>, String> {
        let leads = layout.leads();
        let mut missed = vec![Vec::new(); leads.len()];
        // The seasons are learnt anew once on the way: a compromise between what they cost and how old they get.
        if layout.tried < layout.learnt {
            try_model(series, layout, &leads, layout.tried..layout.learnt, &mut missed)?;
        }
        let model = try_model(series, layout, &leads, layout.learnt..layout.length, &mut missed)?;
        let judge = |missed: &[Missed]| Judged::of(missed, layout.shortest(), quantile);
        let Some(judged) = missed.iter().map(|missed| judge(missed)).collect::<Option<Vec<_>>>() else {
            return Ok(None);
        };
        let naive = layout.seasons.iter().filter_map(|season| judge(&naive(series, layout, *season)));
        let Some(naive_loss) = naive.map(|judged| judged.loss).min_by(f64::total_cmp) else { return Ok(None) };
        let loss = judged.iter().map(|judged| judged.loss).sum::<f64>() / judged.len().max(1) as f64;
        let offsets = leads.into_iter().zip(judged.into_iter().map(|judged| judged.offsets)).collect();
        Ok(Some(Self { model, offsets, loss, naive_loss }))
    }
}

/// What a model that knows the series up to `tried.start` forecasts from each step of `tried`, and by how much it misses.
/// From step to step it learns the level only.
fn try_model(
    series: &Filled,
    layout: &Layout,
    leads: &[usize],
    tried: std::ops::Range<usize>,
    missed: &mut [Vec<Missed>],
) -> Result<Model, String> {
    let mut model = Model::learn(series, layout, leads, tried.start)?;
    // The first forecast is made before the first value of `tried` is seen.
    for next in tried {
        for (lead, missed) in leads.iter().zip(missed.iter_mut()) {
            let at = next + lead - 1;
            if series.measured.get(at) == Some(&true) {
                missed.push(Missed { at, by: series.values[at] - model.ahead(*lead) });
            }
        }
        model.follow(series.values[next]);
    }
    Ok(model)
}

/// How much the seasonal-naive forecast of a season misses: each step is as it was a season ago. As no lead is longer than
/// a season, it is the same at every lead.
fn naive(series: &Filled, layout: &Layout, season: usize) -> Vec<Missed> {
    let measured = (layout.tried..layout.length).filter(|at| series.measured[*at]);
    let ago = |at: usize| at.checked_sub(season).and_then(|ago| series.values.get(ago));
    measured.filter_map(|at| Some(Missed { at, by: series.values[at] - ago(at)? })).collect()
}

/// What errors ask for, and how well a forecast does that has it.
struct Judged {
    offsets: Offsets,
    loss: f64,
}

impl Judged {
    /// The offsets come from the very errors that they are judged by. That flatters, but the model and the naive forecast
    /// alike, and there are far more errors than offsets.
    fn of(missed: &[Missed], season: usize, quantile: f64) -> Option<Self> {
        let offsets = Offsets::of(missed, season, quantile)?;
        let losses = missed.iter().map(|missed| pinball(missed.by - offsets.at(missed.at), quantile));
        let loss = losses.sum::<f64>() / missed.len().max(1) as f64;
        Some(Self { offsets, loss })
    }
}
