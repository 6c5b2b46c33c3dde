//! The height that inflation gives a silhouette on a square grid: what the shape network is shown beside the
//! picture, in training and at work alike.

use crate::outline::Outline;
use crate::poisson;

/// Load of the Poisson equation. The network was trained with this one, whatever the engine `inflate` takes.
const LOAD: f32 = 3.75;

/// Height above the middle plane at each pixel of a square picture, row by row, in halves of the picture's
/// side; zero outside. `coverage` is 0 to 1 per pixel, the silhouette where it crosses one half.
///
/// # Panics
/// The picture is not `side` pixels wide and high.
pub fn height(coverage: &[f32], side: usize) -> Vec<f32> {
    assert_eq!(coverage.len(), side * side, "a square picture");
    // One point around is outside, as the solver wants it.
    let width = side + 2;
    let mut values = vec![-0.5; width * width];
    for (row, from) in coverage.chunks_exact(side).enumerate() {
        let to = &mut values[(row + 1) * width + 1..][..side];
        to.iter_mut().zip(from).for_each(|(value, share)| *value = share - 0.5);
    }
    let outline = Outline { width, height: width, values, pitch_px: 1.0, origin_px: [-0.5; 2] };
    let solved = poisson::solve(&outline);
    let rise = |u: f32| (LOAD * u.max(0.0)).sqrt() * 2.0 / side as f32;
    (0..side * side).map(|at| rise(solved[(at / side + 1) * width + at % side + 1])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disc_becomes_nearly_a_ball_of_its_own_radius() {
        let (side, radius) = (64, 0.8_f32);
        let gap = |at: usize| {
            let [x, y] = [at % side, at / side].map(|n| (n as f32 + 0.5) / 32.0 - 1.0);
            (radius - x.hypot(y)) * 32.0
        };
        let coverage: Vec<f32> = (0..side * side).map(|at| (0.5 + gap(at)).clamp(0.0, 1.0)).collect();
        let found = height(&coverage, side);
        // Load 4 would make it a ball exactly.
        let expect = radius * (LOAD / 4.0).sqrt();
        assert!((found[32 * side + 32] - expect).abs() < 0.01, "{}", found[32 * side + 32]);
        assert_eq!(found[0], 0.0);
    }
}
