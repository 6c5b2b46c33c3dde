//! Signed distances of simple solids, positive inside, and how they are put together (after Inigo Quilez's
//! list of distance functions).

/// A point in the object's space: y up, everything within one unit of the origin.
pub(crate) type P = [f32; 3];

/// A point seen from somewhere else.
pub(crate) fn at([x, y, z]: P, [cx, cy, cz]: P) -> P {
    [x - cx, y - cy, z - cz]
}

pub(crate) fn ball(p: P, radius: f32) -> f32 {
    radius - p[0].hypot(p[1]).hypot(p[2])
}

/// Half sides, and the radius by which its edges are rounded.
pub(crate) fn cuboid(p: P, half: P, round: f32) -> f32 {
    let q = [0, 1, 2].map(|k| p[k].abs() - half[k] + round);
    let out = q.map(|value| value.max(0.0));
    let inside = q[0].max(q[1]).max(q[2]).min(0.0);
    round - out[0].hypot(out[1]).hypot(out[2]) - inside
}

/// Around y.
pub(crate) fn cylinder(p: P, radius: f32, half_height: f32, round: f32) -> f32 {
    let q = [p[0].hypot(p[2]) - radius + round, p[1].abs() - half_height + round];
    round - q[0].max(0.0).hypot(q[1].max(0.0)) - q[0].max(q[1]).min(0.0)
}

pub(crate) fn capsule(p: P, from: P, to: P, radius: f32) -> f32 {
    let (a, b) = (at(p, from), at(to, from));
    let dot = |u: P, v: P| u[0] * v[0] + u[1] * v[1] + u[2] * v[2];
    let share = (dot(a, b) / dot(b, b)).clamp(0.0, 1.0);
    ball([0, 1, 2].map(|k| a[k] - b[k] * share), radius)
}

/// Around z.
pub(crate) fn ring(p: P, radius: f32, tube: f32) -> f32 {
    tube - (p[0].hypot(p[1]) - radius).hypot(p[2])
}

/// Everything under a profile turned around y: radius at each height, given at even steps from -1 to 1.
pub(crate) fn turned(p: P, profile: &[f32]) -> f32 {
    let place = (p[1] + 1.0) * 0.5 * (profile.len() - 1) as f32;
    let low = (place.max(0.0) as usize).min(profile.len() - 2);
    let share = place - low as f32;
    let radius = profile[low] + (profile[low + 1] - profile[low]) * share.clamp(0.0, 1.0);
    // Less than the distance on slopes: halved, so that the field stays smooth enough.
    (0.7 * (radius - p[0].hypot(p[2]))).min(1.0 - p[1].abs())
}

/// All of them together.
pub(crate) fn all(parts: &[f32]) -> f32 {
    parts.iter().copied().fold(f32::NEG_INFINITY, f32::max)
}

/// Two of them, grown together where they meet.
pub(crate) fn grown(a: f32, b: f32, radius: f32) -> f32 {
    let share = (radius - (a - b).abs()).max(0.0) / radius;
    a.max(b) + share * share * radius * 0.25
}

/// One without the other.
pub(crate) fn without(a: f32, b: f32) -> f32 {
    a.min(-b)
}
