//! A plane of values on a rough square grid, known inside a silhouette only, and read between its points.

/// Rounds in which points outside take the mean of their known neighbours: as far as a fine silhouette can
/// reach beyond the rough one, and the spline beyond that.
const ROUNDS: usize = 4;

/// Values on a square grid.
pub(crate) struct Rough {
    side: usize,
    values: Vec<f32>,
}

impl Rough {
    /// From values that count where `inside` says so: continued outwards from there.
    pub(crate) fn new(mut values: Vec<f32>, inside: &[bool], side: usize) -> Rough {
        let mut known = inside.to_vec();
        for _ in 0..ROUNDS {
            let (before, were) = (values.clone(), known.clone());
            for at in (0..side * side).filter(|&at| !were[at]) {
                let (x, y) = (at % side, at / side);
                let (mut sum, mut count) = (0.0, 0.0);
                for near_y in y.saturating_sub(1)..(y + 2).min(side) {
                    for near in (x.saturating_sub(1)..(x + 2).min(side)).map(|near_x| near_y * side + near_x)
                    {
                        if were[near] {
                            sum += before[near];
                            count += 1.0;
                        }
                    }
                }
                if count > 0.0 {
                    values[at] = sum / count;
                    known[at] = true;
                }
            }
        }
        for (value, _) in values.iter_mut().zip(&known).filter(|(_, known)| !**known) {
            *value = 0.0;
        }
        Rough { side, values }
    }

    /// The value at a place, in grid steps from the first point: Catmull and Rom's spline both ways, which is
    /// smooth enough for shading, kept within the range of the points that it hears.
    pub(crate) fn at(&self, [x, y]: [f32; 2]) -> f32 {
        let ((column, across), (row, down)) = (spline(x), spline(y));
        let point = |from: i32, n: usize| (from + n as i32).clamp(0, self.side as i32 - 1) as usize;
        let (mut sum, mut range) = (0.0, [f32::MAX, f32::MIN]);
        for (n, weight) in down.into_iter().enumerate() {
            let line = &self.values[point(row, n) * self.side..][..self.side];
            for (m, share) in across.into_iter().enumerate() {
                let value = line[point(column, m)];
                sum += weight * share * value;
                range = [range[0].min(value), range[1].max(value)];
            }
        }
        sum.clamp(range[0], range[1])
    }
}

/// The first of four points, and how much of each.
fn spline(place: f32) -> (i32, [f32; 4]) {
    let low = place.floor();
    let t = place - low;
    let (t2, t3) = (t * t, t * t * t);
    let weights = [
        0.5 * (-t + 2.0 * t2 - t3),
        0.5 * (2.0 - 5.0 * t2 + 3.0 * t3),
        0.5 * (t + 4.0 * t2 - 3.0 * t3),
        0.5 * (t3 - t2),
    ];
    (low as i32 - 1, weights)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slope_is_read_exactly_between_its_points_and_goes_on_flat_beyond_the_silhouette() {
        let side = 16;
        let inside: Vec<bool> = (0..side * side).map(|at| at % side < 8).collect();
        let value =
            |at: usize| if at % side < 8 { (at % side) as f32 + 0.5 * (at / side) as f32 } else { 99.0 };
        let plane = Rough::new((0..side * side).map(value).collect(), &inside, side);
        assert!((plane.at([3.25, 6.5]) - 6.5).abs() < 1e-5, "{}", plane.at([3.25, 6.5]));
        // The last known column is 7, whose value in row 8 is 11; nothing of what stood outside is heard.
        assert!((plane.at([9.0, 8.0]) - 11.0).abs() < 0.1, "{}", plane.at([9.0, 8.0]));
        assert!((0..=70).all(|n| plane.at([n as f32 / 10.0, 8.0]) < 11.6));
    }
}
