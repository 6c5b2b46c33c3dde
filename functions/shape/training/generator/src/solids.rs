//! Signed distances of simple solids, negative inside, for sixteen places at once (after Inigo Quilez's list
//! of distance functions). Each lies around the origin of its own space.

use crate::lanes::{LANES, Lanes, Places, length, length2};

/// A simple solid.
#[derive(Clone, Debug)]
pub(crate) enum Solid {
    /// Half sides, and the radius of its edges.
    Cuboid { half: [f32; 3], round: f32 },
    /// Its three radii.
    Ellipsoid { radii: [f32; 3] },
    /// Around y, from `-half` with radius `low` to `half` with radius `high`; edges rounded.
    Cone { half: f32, low: f32, high: f32, round: f32 },
    /// Between two places, a radius at each.
    Capsule { ends: [[f32; 3]; 2], radii: [f32; 2] },
    /// Around z.
    Ring { radius: f32, tube: f32 },
    /// An outline in (distance from the axis, height), turned around y.
    Turned { outline: Vec<[f32; 2]> },
    /// An outline in x and y, along z.
    Extruded { outline: Vec<[f32; 2]>, half: f32, round: f32 },
}

impl Solid {
    /// Radius of a ball around the origin that holds it.
    pub(crate) fn reach(&self) -> f32 {
        let of = |v: &[f32]| v.iter().map(|x| x * x).sum::<f32>().sqrt();
        let far = |outline: &[[f32; 2]]| outline.iter().map(|p| of(p)).fold(0.0, f32::max);
        match self {
            Solid::Cuboid { half, .. } => of(half),
            Solid::Ellipsoid { radii } => radii.iter().copied().fold(0.0, f32::max),
            Solid::Cone { half, low, high, .. } => half.hypot(low.max(*high)),
            Solid::Capsule { ends, radii } => {
                ends.iter().zip(radii).map(|(end, radius)| of(end) + radius).fold(0.0, f32::max)
            }
            Solid::Ring { radius, tube } => radius + tube,
            Solid::Turned { outline } => far(outline),
            Solid::Extruded { outline, half, .. } => far(outline).hypot(*half),
        }
    }

    /// Its distance at places of its own space.
    #[inline(always)]
    pub(crate) fn distance(&self, p: Places) -> Lanes {
        match self {
            Solid::Cuboid { half, round } => {
                let q = [0, 1, 2].map(|k| p[k].abs() - (half[k] - round));
                let inside = q[0].max(q[1]).max(q[2]).at_most(0.0);
                length(q.map(|side| side.at_least(0.0))) + inside - *round
            }
            Solid::Ellipsoid { radii } => {
                let near = length([0, 1, 2].map(|k| p[k] / radii[k]));
                let slope = length([0, 1, 2].map(|k| p[k] / (radii[k] * radii[k]))) + 1e-6;
                near * (near - 1.0) / slope
            }
            Solid::Cone { half, low, high, round } => {
                cone(p, half - round, [low - round, high - round]) - *round
            }
            Solid::Capsule { ends: [a, b], radii } => {
                let along = [0, 1, 2].map(|k| b[k] - a[k]);
                let whole = along.iter().map(|x| x * x).sum::<f32>().max(1e-9);
                let from = [0, 1, 2].map(|k| p[k] - a[k]);
                let share = (from[0] * along[0] + from[1] * along[1] + from[2] * along[2]) / whole;
                let share = share.at_least(0.0).at_most(1.0);
                let gap = length([0, 1, 2].map(|k| from[k] - share * along[k]));
                gap - share * (radii[1] - radii[0]) - radii[0]
            }
            Solid::Ring { radius, tube } => length2(length2(p[0], p[1]) - *radius, p[2]) - *tube,
            Solid::Turned { outline } => flat([length2(p[0], p[2]), p[1]], outline),
            Solid::Extruded { outline, half, round } => {
                let side = flat([p[0], p[1]], outline) + *round;
                let end = p[2].abs() - (half - round);
                let out = length2(side.at_least(0.0), end.at_least(0.0));
                out + side.max(end).at_most(0.0) - *round
            }
        }
    }
}

#[inline(always)]
fn cone(p: Places, half: f32, [low, high]: [f32; 2]) -> Lanes {
    let (x, y) = (length2(p[0], p[2]), p[1]);
    let radius = y.below_zero(Lanes::all(low), Lanes::all(high));
    let (cap_x, cap_y) = (x - x.min(radius), y.abs() - half);
    let (slope_x, slope_y) = (high - low, 2.0 * half);
    let share = ((-x + high) * slope_x + (-y + half) * slope_y) / (slope_x * slope_x + slope_y * slope_y);
    let share = share.at_least(0.0).at_most(1.0);
    let (side_x, side_y) = (x - high + share * slope_x, y - half + share * slope_y);
    let squared = (cap_x * cap_x + cap_y * cap_y).min(side_x * side_x + side_y * side_y);
    let gap = squared.sqrt();
    side_x.max(cap_y).below_zero(-gap, gap)
}

/// Distance of a closed outline in the plane. Sides on the axis `x = 0` bound nothing: what is turned around
/// it has none there.
#[inline(always)]
fn flat([x, y]: [Lanes; 2], outline: &[[f32; 2]]) -> Lanes {
    let mut squared = Lanes::all(f32::MAX);
    let mut sign = Lanes::all(1.0);
    let mut last = outline[outline.len() - 1];
    for &at in outline {
        let edge = [last[0] - at[0], last[1] - at[1]];
        let (wx, wy) = (x - at[0], y - at[1]);
        if at[0] != 0.0 || last[0] != 0.0 {
            let share = (wx * edge[0] + wy * edge[1]) / (edge[0] * edge[0] + edge[1] * edge[1]).max(1e-12);
            let share = share.at_least(0.0).at_most(1.0);
            let (bx, by) = (wx - share * edge[0], wy - share * edge[1]);
            squared = squared.min(bx * bx + by * by);
        }
        for k in 0..LANES {
            let above = y.0[k] >= at[1];
            let under = y.0[k] < last[1];
            let left = edge[0] * wy.0[k] > edge[1] * wx.0[k];
            let crossed = (above & under & left) | !(above | under | left);
            sign.0[k] = if crossed { -sign.0[k] } else { sign.0[k] };
        }
        last = at;
    }
    sign * squared.sqrt()
}
