//! Second step of inflation: Poisson's equation inside the silhouette, zero on it.
//!
//! The silhouette cuts the grid's edges anywhere: there the difference quotient is taken to the cut (Gibou
//! et al. 2002), which keeps the matrix symmetric. Solved by conjugate gradients under an aggregation
//! multigrid cycle: sums of 2 x 2 points are the coarser level's points, so that combs, rings and
//! checkerboards need no special care.

use crate::outline::Outline;

/// Relative residual at which the height's error is far below a tenth of a pixel.
const RESIDUAL_MAX: f32 = 1e-3;
/// Typical masks need 10 to 20.
const ITERATIONS_MAX: u32 = 60;
/// Aggregation underestimates smooth errors; this factor makes up for most of it (Stüben 2001, section 7).
const OVERCORRECTION: f32 = 1.7;
/// A level of fewer points is solved by sweeps alone.
const COARSEST_POINTS: usize = 200;

/// `u` with `-∆u = 1` inside (lengths in grid pitches), zero on the silhouette and outside.
pub fn solve(outline: &Outline) -> Vec<f32> {
    let mut levels = vec![Level::of(outline)];
    while let Some(finer) = levels.last().filter(|level| level.width * level.height > COARSEST_POINTS) {
        let coarser = finer.coarser();
        levels.push(coarser);
    }
    let right_side: Vec<f32> = levels[0].inverse.iter().map(|&inverse| f32::from(inverse > 0.0)).collect();
    conjugate_gradients(&mut levels, right_side)
}

/// A five-point operator on a grid, with what one cycle needs as scratch.
struct Level {
    width: usize,
    height: usize,
    /// Coupling to the right and to the lower neighbour; zero across the silhouette.
    right: Vec<f32>,
    down: Vec<f32>,
    diagonal: Vec<f32>,
    /// One over the diagonal; zero outside.
    inverse: Vec<f32>,
    load: Vec<f32>,
    solution: Vec<f32>,
}

impl Level {
    fn of(outline: &Outline) -> Level {
        let (width, height) = (outline.width, outline.height);
        let (mut right, mut down) = (vec![0.0; width * height], vec![0.0; width * height]);
        let mut diagonal = vec![0.0; width * height];
        // The border is outside, so every inside point has four neighbours.
        for at in (0..width * height).filter(|&at| outline.inside(at)) {
            for near in [at - 1, at + 1, at - width, at + width] {
                let joined = outline.inside(near);
                diagonal[at] += if joined { 1.0 } else { 1.0 / outline.cut(at, near) };
            }
            right[at] = f32::from(outline.inside(at + 1));
            down[at] = f32::from(outline.inside(at + width));
        }
        Level::new(width, height, right, down, diagonal)
    }

    fn new(width: usize, height: usize, right: Vec<f32>, down: Vec<f32>, diagonal: Vec<f32>) -> Level {
        let inverse = diagonal.iter().map(|&value| if value > 0.0 { 1.0 / value } else { 0.0 }).collect();
        let zeros = vec![0.0; width * height];
        Level { width, height, right, down, diagonal, inverse, load: zeros.clone(), solution: zeros }
    }

    /// The point of the coarser level that a point belongs to. Borders stay empty.
    fn aggregate(&self, x: usize, y: usize) -> usize {
        y.div_ceil(2) * self.coarse_width() + x.div_ceil(2)
    }

    fn coarse_width(&self) -> usize {
        self.width / 2 + 2
    }

    fn coarser(&self) -> Level {
        let (width, height) = (self.coarse_width(), self.height / 2 + 2);
        let [mut right, mut down, mut diagonal] = [0, 1, 2].map(|_| vec![0.0; width * height]);
        for y in 1..self.height - 1 {
            for x in 1..self.width - 1 {
                let (at, to) = (y * self.width + x, self.aggregate(x, y));
                diagonal[to] += self.diagonal[at];
                // A coupling within an aggregate counts against its diagonal, once for each end.
                match self.aggregate(x + 1, y) == to {
                    true => diagonal[to] -= 2.0 * self.right[at],
                    false => right[to] += self.right[at],
                }
                match self.aggregate(x, y + 1) == to {
                    true => diagonal[to] -= 2.0 * self.down[at],
                    false => down[to] += self.down[at],
                }
            }
        }
        Level::new(width, height, right, down, diagonal)
    }

    /// What the neighbours of a point contribute.
    fn pull(&self, values: &[f32], at: usize) -> f32 {
        self.right[at] * values[at + 1]
            + self.right[at - 1] * values[at - 1]
            + self.down[at] * values[at + self.width]
            + self.down[at - self.width] * values[at - self.width]
    }

    fn inner(&self) -> std::ops::Range<usize> {
        self.width..self.width * (self.height - 1)
    }

    fn sweep(&mut self, backward: bool) {
        let Level { width, right, down, inverse, load, solution, .. } = self;
        let width = *width;
        let mut relax = |at: usize| {
            if inverse[at] > 0.0 {
                let pull = right[at] * solution[at + 1]
                    + right[at - 1] * solution[at - 1]
                    + down[at] * solution[at + width]
                    + down[at - width] * solution[at - width];
                solution[at] = (load[at] + pull) * inverse[at];
            }
        };
        let inner = width..width * (self.height - 1);
        if backward { inner.rev().for_each(&mut relax) } else { inner.for_each(&mut relax) }
    }
}

/// One symmetric V-cycle: the first level's `load` to its `solution`.
fn cycle(levels: &mut [Level]) {
    let Some((level, coarser)) = levels.split_first_mut() else { return };
    level.solution.fill(0.0);
    let Some(next) = coarser.first_mut() else {
        (0..8).for_each(|_| level.sweep(false));
        return (0..8).for_each(|_| level.sweep(true));
    };
    level.sweep(false);
    next.load.fill(0.0);
    for y in 1..level.height - 1 {
        for x in 1..level.width - 1 {
            let at = y * level.width + x;
            if level.inverse[at] > 0.0 {
                let residual = level.load[at] - level.diagonal[at] * level.solution[at]
                    + level.pull(&level.solution, at);
                next.load[level.aggregate(x, y)] += residual;
            }
        }
    }
    cycle(coarser);
    for y in 1..level.height - 1 {
        for x in 1..level.width - 1 {
            let at = y * level.width + x;
            if level.inverse[at] > 0.0 {
                level.solution[at] += OVERCORRECTION * coarser[0].solution[level.aggregate(x, y)];
            }
        }
    }
    level.sweep(true);
}

fn conjugate_gradients(levels: &mut [Level], mut residual: Vec<f32>) -> Vec<f32> {
    let product = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| f64::from(x * y)).sum::<f64>();
    let mut solution = vec![0.0_f32; residual.len()];
    let mut direction = vec![0.0_f32; residual.len()];
    let mut image = vec![0.0_f32; residual.len()];
    let goal = product(&residual, &residual) * f64::from(RESIDUAL_MAX).powi(2);
    let mut last = f64::INFINITY;
    for _ in 0..ITERATIONS_MAX {
        if product(&residual, &residual) <= goal {
            break;
        }
        levels[0].load.copy_from_slice(&residual);
        cycle(levels);
        let level = &levels[0];
        let now = product(&residual, &level.solution);
        let keep = (now / last) as f32;
        direction.iter_mut().zip(&level.solution).for_each(|(d, z)| *d = z + keep * *d);
        for at in level.inner() {
            image[at] = level.diagonal[at] * direction[at] - level.pull(&direction, at);
        }
        let step = (now / product(&direction, &image)) as f32;
        solution.iter_mut().zip(&direction).for_each(|(x, d)| *x += step * d);
        residual.iter_mut().zip(&image).for_each(|(r, i)| *r -= step * i);
        last = now;
    }
    solution
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outline(side: usize, value: impl Fn(f32, f32) -> f32) -> Outline {
        let at = |k: usize| value((k % side) as f32, (k / side) as f32).clamp(-0.5, 0.5);
        let values = (0..side * side).map(at).collect();
        Outline { width: side, height: side, values, pitch_px: 1.0, origin_px: [0.0; 2] }
    }

    #[test]
    fn a_disc_has_the_known_parabola() {
        let (centre, radius) = (63.7_f32, 50.3_f32);
        let field = outline(128, |x, y| radius - (x - centre).hypot(y - centre));
        let found = solve(&field);
        for (x, y) in [(63, 63), (80, 50), (30, 60), (63, 110)] {
            let distance = (x as f32 - centre).hypot(y as f32 - centre);
            let exact = (radius * radius - distance * distance) / 4.0;
            let gap = (found[y * 128 + x] - exact).abs();
            assert!(gap < 0.005 * radius * radius / 4.0, "{} for {exact} at {x} {y}", found[y * 128 + x]);
        }
    }

    #[test]
    fn a_comb_is_solved_too() {
        // Teeth of three points on a bar.
        let inside =
            |x: f32, y: f32| (3.0..61.0).contains(&x) && y > 2.0 && y < 60.0 && (y < 10.0 || x % 6.0 < 3.0);
        let field = outline(64, |x, y| if inside(x, y) { 0.5 } else { -0.5 });
        let found = solve(&field);
        // Points 30, 31, 32, the silhouette at 29.5 and 32.5. By hand: 3 a - b = 1 and 2 b - 2 a = 1, so b =
        // 1.25.
        assert!((found[40 * 64 + 31] - 1.25).abs() < 0.02, "{}", found[40 * 64 + 31]);
        assert_eq!(found[40 * 64 + 34], 0.0);
    }
}
