//! Which batch size and how many lanes give a stage the most, found in a quarter of all measurements: where
//! to measure next follows from what was measured so far. It measures nothing itself.
//!
//! A climb over the grid of one kind of input: from a size to its double, its fourfold and its half, then to
//! fewer and more lanes, for as long as that is worth it. The next kind begins where the last one ended,
//! since what is best hardly depends on the kind.

use std::collections::BTreeMap;

/// A larger batch or another lane is worth it from this gain on, as in the planner's own choice.
const WORTH: f64 = 1.03;
/// Of all points this share is measured at most.
const SHARE: usize = 4;

/// Where it can be measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grid {
    /// Batch sizes, from small to large.
    pub sizes: Vec<u32>,
    /// Numbers of lanes, from few to many.
    pub lanes: Vec<u32>,
    /// Kinds of input, as resolutions.
    pub kinds: usize,
}

impl Grid {
    /// How many points there are.
    pub fn points(&self) -> usize {
        self.sizes.len() * self.lanes.len() * self.kinds
    }
}

/// A point of the grid, by places in its lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Point {
    /// Which kind.
    pub kind: usize,
    /// Which size.
    pub size: usize,
    /// Which number of lanes.
    pub lanes: usize,
}

/// What was measured so far.
#[derive(Clone, Debug)]
pub struct Search {
    grid: Grid,
    /// Items per second; zero where the batch did not run through.
    measured: BTreeMap<Point, f64>,
}

impl Search {
    /// Nothing yet.
    pub fn new(grid: Grid) -> Search {
        Search { grid, measured: BTreeMap::new() }
    }

    /// The grid.
    pub fn grid(&self) -> &Grid {
        &self.grid
    }

    /// What is to be measured next; none when that would tell nothing new, or a quarter of all is measured.
    pub fn next(&self) -> Option<Point> {
        if self.grid.points() == 0 {
            return None;
        }
        let budget = (self.grid.points() / SHARE).max(self.grid.kinds);
        let mut start = Point { kind: 0, size: 0, lanes: self.grid.lanes.len().checked_sub(1)? };
        for kind in 0..self.grid.kinds {
            // Each of the kinds that follow is measured at least where this one ends.
            let left = budget.saturating_sub(self.measured.len() + self.grid.kinds - 1 - kind);
            let start_here = Point { kind, ..start };
            start = match self.climb(start_here) {
                Ok(top) => top,
                Err(unmeasured) if left > 0 => {
                    return Some(unmeasured);
                }
                Err(_) => self.best(kind).map_or(start_here, |(best, _)| best),
            };
        }
        None
    }

    /// A point was measured: items per second, or zero if its batch did not run through.
    pub fn tell(&mut self, point: Point, items_per_s: f64) {
        self.measured.insert(point, if items_per_s.is_finite() { items_per_s.max(0.0) } else { 0.0 });
    }

    /// All that was measured.
    pub fn measured(&self) -> impl Iterator<Item = (Point, f64)> {
        self.measured.iter().map(|(point, rate)| (*point, *rate))
    }

    /// The best point of a kind: the smallest batch on the fewest lanes that is within what is worth it of
    /// the fastest one.
    pub fn best(&self, kind: usize) -> Option<(Point, f64)> {
        let of_kind = || self.measured().filter(|(point, rate)| point.kind == kind && *rate > 0.0);
        let fastest = of_kind().map(|(_, rate)| rate).max_by(f64::total_cmp)?;
        let good = of_kind().filter(|(_, rate)| *rate * WORTH >= fastest);
        good.min_by_key(|(point, _)| (point.size, point.lanes))
    }

    /// The top that is reached from here, or the first point on the way that was not measured.
    fn climb(&self, from: Point) -> Result<Point, Point> {
        let rate = |point: Point| self.measured.get(&point).copied().ok_or(point);
        let mut at = from;
        let mut here = rate(at)?;
        // Each step gains, so the climb ends; were the numbers strange, after all points.
        'climb: for _ in 0..self.grid.points() {
            for next in self.neighbours(at) {
                let there = rate(next)?;
                let is_cheaper = (next.size, next.lanes) < (at.size, at.lanes);
                if there > here * WORTH || (is_cheaper && next.size == at.size && there * WORTH > here) {
                    (at, here) = (next, there);
                    continue 'climb;
                }
            }
            break;
        }
        Ok(at)
    }

    fn neighbours(&self, at: Point) -> Vec<Point> {
        let larger = [at.size + 1, at.size + 2].into_iter().filter(|size| *size < self.grid.sizes.len());
        let sizes = larger.chain(at.size.checked_sub(1)).map(|size| Point { size, ..at });
        let more = Some(at.lanes + 1).filter(|lanes| *lanes < self.grid.lanes.len());
        let lanes = at.lanes.checked_sub(1).into_iter().chain(more).map(|lanes| Point { lanes, ..at });
        sizes.chain(lanes).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid() -> Grid {
        Grid { sizes: vec![1, 2, 4, 8, 16, 32], lanes: vec![1, 2], kinds: 3 }
    }

    /// Searches a made-up machine; the best found and the best there is of each kind, and the measurements.
    fn search(rate: impl Fn(u32, u32, usize) -> f64) -> (Vec<(f64, f64)>, usize) {
        let mut search = Search::new(grid());
        let of =
            |grid: &Grid, point: Point| rate(grid.sizes[point.size], grid.lanes[point.lanes], point.kind);
        while let Some(point) = search.next() {
            let found = of(search.grid(), point);
            search.tell(point, found);
        }
        let all = |kind: usize| {
            let sizes = (0..6).flat_map(|size| (0..2).map(move |lanes| Point { kind, size, lanes }));
            sizes.map(|point| of(&grid(), point)).max_by(f64::total_cmp).expect("points")
        };
        let pairs = (0..3).map(|kind| (search.best(kind).expect("measured").1, all(kind))).collect();
        (pairs, search.measured().count())
    }

    fn check(name: &str, rate: impl Fn(u32, u32, usize) -> f64) {
        let (found, measured) = search(rate);
        assert!(measured * 4 <= grid().points(), "{name}: {measured} measurements");
        for (found, best) in found {
            assert!(found >= 0.95 * best, "{name}: {found} of {best}");
        }
    }

    #[test]
    fn a_quarter_of_the_measurements_finds_what_all_would() {
        let kinds = |kind: usize| 1.0 / (1.0 + kind as f64);
        check("batches gain nothing", |_, lanes, kind| 10.0 * f64::from(lanes) * kinds(kind));
        check("they lose", |b, lanes, kind| f64::from(lanes) * kinds(kind) / f64::from(b).sqrt());
        check("one lane is as fast as two", |_, _, kind| 5.0 * kinds(kind));
        check("a start is saved", |b, lanes, kind| {
            f64::from(lanes * b) / (0.3 + 0.2 * f64::from(b)) * kinds(kind)
        });
        check("two lanes are in each other's way", |_, lanes, kind| kinds(kind) / f64::from(lanes));
        // Rates that were published for one GPU, whose second lane gives nothing.
        let published = [(1, 6.0), (2, 10.9), (4, 16.6), (8, 18.8), (16, 19.2), (32, 19.2)];
        check("a GPU", |b, _, kind| {
            published.iter().find(|(size, _)| *size == b).map_or(0.0, |(_, rate)| rate * kinds(kind))
        });
    }

    #[test]
    fn of_what_is_equally_fast_the_smallest_is_best_and_what_does_not_run_is_never() {
        let mut search = Search::new(grid());
        let at = |size, lanes| Point { kind: 0, size, lanes };
        for (point, rate) in [(at(0, 1), 98.0), (at(1, 1), 100.0), (at(0, 0), 97.5), (at(2, 1), 0.0)] {
            search.tell(point, rate);
        }
        assert_eq!(search.best(0), Some((at(0, 0), 97.5)));
        assert_eq!(search.best(1), None);
        search.tell(at(3, 1), f64::NAN);
        assert_eq!(search.best(0), Some((at(0, 0), 97.5)));
        assert_eq!(Search::new(Grid { sizes: vec![], ..grid() }).next(), None);
    }
}
