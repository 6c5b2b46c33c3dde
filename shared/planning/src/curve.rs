//! Straight lines through what was measured, such that a few strange measurements do not move them.

/// The error bound in standard deviations: of normal errors 1 in 2,000 is above.
const DEVIATIONS: f64 = 3.3;
/// Least error bound, however well measurements agree.
const ERROR_MIN: f64 = 0.05;
/// With fewer measurements than these the largest counts, whatever it is; from then on one may be strange.
const MANY: usize = 16;

/// What was measured at one batch size: the median of so many.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Point {
    pub(crate) items: u32,
    pub(crate) value: f64,
    pub(crate) count: usize,
}

/// `fixed + each x items`. Neither is negative, so that a larger batch never needs less.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Line {
    pub(crate) fixed: f64,
    pub(crate) each: f64,
    /// Below this size nothing is known of how it falls: it is taken to be flat there.
    flat_until: u32,
}

impl Line {
    /// The line of Theil and Sen: the median of all slopes between two sizes, each as often as both were
    /// measured, and the median of what is left. Of a single size only what it says itself is used: a larger
    /// batch needs that much for each item, a smaller one as much as it.
    pub(crate) fn through(points: &[Point]) -> Line {
        let Some(only) = points.first() else { return Line::default() };
        let per_item = |point: &Point| point.value / f64::from(point.items.max(1));
        if points.len() == 1 {
            return Line { fixed: 0.0, each: per_item(only), flat_until: only.items };
        }
        let mut slopes = Vec::new();
        for (n, a) in points.iter().enumerate() {
            for b in &points[n + 1..] {
                let slope = (b.value - a.value) / (f64::from(b.items) - f64::from(a.items));
                slopes.push((slope, a.count.min(b.count)));
            }
        }
        let each = median(slopes).max(0.0);
        let left = |point: &Point| (point.value - each * f64::from(point.items), point.count);
        let fixed = median(points.iter().map(left).collect());
        if fixed >= 0.0 {
            return Line { fixed, each, flat_until: 0 };
        }
        let each = median(points.iter().map(|point| (per_item(point), point.count)).collect());
        Line { fixed: 0.0, each, flat_until: 0 }
    }

    pub(crate) fn at(&self, items: u32) -> f64 {
        self.fixed + self.each * f64::from(items.max(self.flat_until))
    }
}

/// The value below which half of the weight lies; the smaller one of two.
pub(crate) fn median(mut values: Vec<(f64, usize)>) -> f64 {
    values.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    let half = values.iter().map(|(_, weight)| weight).sum::<usize>().div_ceil(2);
    let mut below = 0;
    let middle = values.iter().find(|(_, weight)| {
        below += weight;
        below >= half
    });
    middle.map_or(0.0, |(value, _)| *value)
}

/// The value at this place in their order; nothing of none.
fn at_place(values: &mut [f64], place: usize) -> f64 {
    if place >= values.len() {
        return 0.0;
    }
    *values.select_nth_unstable_by(place, f64::total_cmp).1
}

/// The value below which half of them lie; the smaller one of two.
pub(crate) fn middle(values: &mut [f64]) -> f64 {
    at_place(values, values.len().div_ceil(2).saturating_sub(1))
}

/// The share `at` of the values is not above this; the largest where they are too few to tell.
pub(crate) fn quantile(mut values: Vec<f64>, at: f64) -> f64 {
    let place = (values.len() as f64 * at).ceil() as usize;
    let place = place.clamp(1, values.len().max(1)) - 1;
    at_place(&mut values, place)
}

/// By which share a peak may be above its line: as far as the measurements scatter, and more while they are
/// few. One of many may be strange.
pub(crate) fn error_bound(mut above: Vec<f64>) -> f64 {
    let count = above.len();
    let strange = usize::from(count >= MANY);
    let largest = count.checked_sub(1 + strange).map_or(0.0, |place| at_place(&mut above, place));
    let centre = middle(&mut above);
    above.iter_mut().for_each(|error| *error = (*error - centre).abs());
    // 1.4826 makes a standard deviation of the median deviation of normal errors.
    let scatter = DEVIATIONS * 1.4826 * middle(&mut above);
    (centre.max(0.0) + scatter).max(largest).max(few(count)).max(ERROR_MIN)
}

/// What so few measurements say at best of the error of the next.
fn few(count: usize) -> f64 {
    0.5 / (count.max(1) as f64).sqrt()
}

/// By which share the next peak is above its line at most, in this share of cases. Of `n` measurements and
/// one more each is as likely the largest, hence the place `(n + 1) x share`. Fewer than [`MANY`] cannot tell
/// a share: then it is no less than what so few leave open.
pub(crate) fn share_bound(mut above: Vec<f64>, share: f64) -> f64 {
    above.sort_by(f64::total_cmp);
    let count = above.len();
    let place = ((count + 1) as f64 * share).ceil().clamp(1.0, count.max(1) as f64) as usize - 1;
    let bound = above.get(place).copied().unwrap_or(0.0);
    if count < MANY { bound.max(few(count)) } else { bound }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(of: &[(u32, f64)]) -> Vec<Point> {
        of.iter().map(|(items, value)| Point { items: *items, value: *value, count: 1 }).collect()
    }

    #[test]
    fn a_line_goes_through_most_points_whatever_one_of_them_says() {
        let line = Line::through(&points(&[(1, 15.0), (2, 20.0), (4, 30.0), (8, 500.0), (16, 90.0)]));
        assert_eq!((line.fixed, line.each, line.at(10)), (10.0, 5.0, 60.0));
    }

    #[test]
    fn a_line_never_falls_and_never_begins_below_nothing() {
        let falling = Line::through(&points(&[(1, 30.0), (2, 20.0), (4, 10.0)]));
        assert_eq!((falling.each, falling.at(100)), (0.0, 20.0));
        let steep = Line::through(&points(&[(1, 1.0), (2, 4.0), (4, 10.0)]));
        assert_eq!((steep.fixed, steep.each), (0.0, 2.0));
    }

    #[test]
    fn one_size_says_nothing_of_what_a_smaller_batch_saves() {
        let line = Line::through(&points(&[(4, 100.0)]));
        assert_eq!([1, 4, 8].map(|items| line.at(items)), [100.0, 100.0, 200.0]);
        assert_eq!(Line::through(&[]).at(9), 0.0);
    }

    #[test]
    fn quantiles_of_few_are_the_largest() {
        assert_eq!(quantile(vec![3.0, 1.0, 2.0], 0.95), 3.0);
        assert_eq!(quantile((1..=100).map(f64::from).collect(), 0.95), 95.0);
        assert_eq!(quantile(Vec::new(), 0.95), 0.0);
    }
}
