//! Things that are nothing in particular: solids side by side, grown together, carved, cut out of a board.

use crate::build::{Build, after, turn};
use crate::scene::{Join, Matrix, P};
use crate::solids::Solid;

fn any_turn(b: &mut Build<'_>) -> Matrix {
    let turns = [0, 1, 2].map(|axis| turn(axis, b.rng.within(-3.1, 3.1)));
    after(turns[0], after(turns[1], turns[2]))
}

fn any_solid(b: &mut Build<'_>, size: f32) -> Solid {
    let side = || size * b.rng.within(0.35, 1.0);
    let half = [side(), side(), side()];
    match b.rng.below(7) {
        0 | 1 => {
            let least = half.iter().copied().fold(f32::MAX, f32::min);
            Solid::Cuboid { half, round: least * b.rng.within(0.02, 0.6) }
        }
        2 => Solid::Ellipsoid { radii: half },
        3 => {
            let high = half[0] * if b.rng.chance(0.5) { 1.0 } else { b.rng.within(0.05, 1.0) };
            Solid::Cone {
                half: half[1],
                low: half[0],
                high,
                round: high.min(half[1]) * b.rng.within(0.02, 0.4),
            }
        }
        4 => {
            let radii = [0; 2].map(|_| size * b.rng.within(0.15, 0.4));
            Solid::Capsule { ends: [[0.0, -half[1], 0.0], [0.0, half[1], 0.0]], radii }
        }
        5 => Solid::Ring { radius: half[0], tube: half[0] * b.rng.within(0.15, 0.45) },
        _ => outline(b, half),
    }
}

/// A star, a gear, a polygon or a leaf, as thick as the last half side.
fn outline(b: &mut Build<'_>, [width, height, half]: P) -> Solid {
    let (count, depth) = (b.rng.count(2, 8) as f32, b.rng.within(0.0, 0.45));
    let phase = b.rng.within(0.0, 6.3);
    let (sharp, other) = (b.rng.chance(0.4), b.rng.within(0.0, 0.25));
    let radius = |angle: f32| {
        let wave = (count * angle).cos();
        let wave = if sharp { wave.signum() * wave.abs().sqrt() } else { wave };
        (1.0 + depth * wave + other * (2.0 * angle + phase).sin()) / (1.0 + depth)
    };
    let mut outline = Build::polar(32, radius);
    if b.rng.chance(0.25) {
        // A polygon of few corners.
        let corners = b.rng.count(3, 7);
        outline = Build::polar(corners, |_| 1.0);
    }
    outline.iter_mut().for_each(|p| *p = [p[0] * width, p[1] * height]);
    Solid::Extruded { outline, half: half * 0.6, round: half * b.rng.within(0.02, 0.3) }
}

fn some(b: &mut Build<'_>, count: usize, spread: P, turned: f32) {
    for _ in 0..count {
        if b.rng.chance(0.6) {
            b.paint();
        }
        let size = b.rng.within(0.2, 0.65);
        let solid = any_solid(b, size);
        let at = b.rng.place(spread);
        let axes = if b.rng.chance(turned) { any_turn(b) } else { turn(1, b.rng.within(-3.1, 3.1)) };
        b.add(solid, at).axes = axes;
    }
}

/// Mirrors all, half of the time.
fn often_mirrored(b: &mut Build<'_>) {
    if b.rng.chance(0.5) {
        b.mirrored(0);
    }
}

/// Solids that stand in each other.
pub(super) fn solids(b: &mut Build<'_>) {
    let count = b.rng.count(1, 5);
    some(b, count, [0.45, 0.5, 0.4], 0.5);
    often_mirrored(b);
}

/// Soft forms, some of them bumpy.
pub(super) fn grown(b: &mut Build<'_>) {
    let radius = b.rng.within(0.06, 0.35);
    let bumps = if b.rng.chance(0.35) {
        let frequency = b.rng.within(0.8, 4.0);
        [b.rng.within(0.01, 0.05) / frequency, frequency]
    } else {
        [0.0; 2]
    };
    for number in 0..b.rng.count(2, 7) {
        if b.rng.chance(0.3) {
            b.paint();
        }
        let size = b.rng.within(0.2, 0.6);
        let at = b.rng.place([0.45, 0.55, 0.4]);
        let solid = match b.rng.below(3) {
            0 => any_solid(b, size),
            1 => Solid::Ellipsoid { radii: [0; 3].map(|_| size * b.rng.within(0.4, 1.0)) },
            _ => {
                let ends = [[0.0; 3], b.rng.place([0.6; 3])];
                Solid::Capsule { ends, radii: [0; 2].map(|_| size * b.rng.within(0.25, 0.6)) }
            }
        };
        let axes = any_turn(b);
        let part = b.add(solid, at);
        part.axes = axes;
        part.bumps = bumps;
        part.join = if number == 0 { Join::Beside } else { Join::Grown(radius) };
    }
    often_mirrored(b);
}

/// Solids with something taken away; shells, cut open.
pub(super) fn carved(b: &mut Build<'_>) {
    let first = b.rng.count(1, 2);
    some(b, first, [0.2; 3], 0.4);
    if b.rng.chance(0.3) {
        let thin = b.rng.within(0.012, 0.05);
        b.scene.parts.iter_mut().for_each(|part| part.shell = thin);
    }
    often_mirrored(b);
    b.paint();
    for _ in 0..b.rng.count(1, 3) {
        let size = b.rng.within(0.2, 0.7);
        let solid = any_solid(b, size);
        let at = b.rng.place([0.6; 3]);
        let axes = any_turn(b);
        let part = b.add(solid, at);
        part.axes = axes;
        part.join = Join::Cut;
    }
}

/// A bent chain of limbs: bananas, snakes, branches, wires.
pub(super) fn chain(b: &mut Build<'_>) {
    let (mut radius, shrink) = (b.rng.within(0.05, 0.3), b.rng.within(0.75, 1.1));
    let mut at: P = [0.0, -0.7, 0.0];
    let mut way = b.rng.place([1.0; 3]);
    let bend = b.rng.place([0.7; 3]);
    for _ in 0..b.rng.count(3, 9) {
        let whole = way.iter().map(|x| x * x).sum::<f32>().sqrt().max(0.1);
        let length = b.rng.within(0.2, 0.4);
        let next = [0, 1, 2].map(|k| at[k] + way[k] / whole * length);
        let thinner = radius * shrink;
        b.limb(at, next, [radius, thinner]).join = Join::Grown(0.05);
        if b.rng.chance(0.2) {
            let side = b.rng.place([0.5; 3]);
            b.limb(next, [0, 1, 2].map(|k| next[k] + side[k]), [thinner, thinner * 0.6]);
        }
        (at, radius) = (next, thinner);
        way = [0, 1, 2].map(|k| way[k] / whole + bend[k] + b.rng.within(-0.4, 0.4));
    }
}

/// Boards with an outline, some with holes: stars, hearts, keys, gears, shields, signs.
pub(super) fn cutout(b: &mut Build<'_>) {
    let half = [b.rng.within(0.4, 0.8), b.rng.within(0.4, 0.9), b.rng.within(0.03, 0.35)];
    let board = outline(b, half);
    b.add(board, [0.0; 3]);
    if b.rng.chance(0.3) {
        let at = b.rng.place([0.4, 0.6, 0.1]);
        let other = [b.rng.within(0.1, 0.5), b.rng.within(0.1, 0.6), half[2] * b.rng.within(0.5, 1.3)];
        b.paint();
        let other = outline(b, other);
        b.add(other, at);
    }
    if b.rng.chance(0.5) {
        for _ in 0..b.rng.count(1, 3) {
            let [x, y, _] = b.rng.place([0.4, 0.4, 0.0]);
            let radius = b.rng.within(0.06, 0.2);
            let part = b.cylinder(radius, 1.0, [x, y, 0.0]);
            part.axes = turn(0, std::f32::consts::FRAC_PI_2);
            part.join = Join::Cut;
        }
    }
    if b.rng.chance(0.3) {
        // On a foot.
        b.paint();
        let wide = b.rng.within(0.2, 0.5);
        b.cuboid([wide, 0.05, wide * 0.7], 0.02, [0.0, -half[1] - 0.02, 0.0]);
    }
}

/// Rings, and things that are strung on them.
pub(super) fn rings(b: &mut Build<'_>) {
    for number in 0..b.rng.count(1, 4) {
        let radius = b.rng.within(0.3, 0.7);
        let tube = radius * b.rng.within(0.08, 0.45);
        let at = if number == 0 { [0.0; 3] } else { b.rng.place([0.6, 0.5, 0.3]) };
        let axes = any_turn(b);
        b.add(Solid::Ring { radius, tube }, at).axes = axes;
        if b.rng.chance(0.3) {
            b.paint();
            let size = b.rng.within(0.1, 0.3);
            b.ball([size; 3], [at[0], at[1] + radius, at[2]]);
        }
    }
}

/// Boxes on and beside boxes: packets, towers, machines, stairs.
pub(super) fn blocks(b: &mut Build<'_>) {
    let mut floor = -0.7;
    let round = if b.rng.chance(0.5) { 0.01 } else { b.rng.within(0.01, 0.12) };
    let (mut wide, mut deep) = (b.rng.within(0.2, 0.8), b.rng.within(0.15, 0.7));
    for _ in 0..b.rng.count(1, 4) {
        let half = b.rng.within(0.08, 0.5);
        let [x, _, z] = b.rng.place([0.12, 0.0, 0.12]);
        b.cuboid([wide, half, deep], round, [x, floor + half, z]);
        if b.rng.chance(0.4) {
            let side = b.rng.sign();
            let size =
                [b.rng.within(0.05, 0.25), half * b.rng.within(0.3, 0.9), deep * b.rng.within(0.3, 1.0)];
            b.paint();
            b.cuboid(size, round, [x + side * (wide + size[0] * 0.8), floor + size[1], z]);
        }
        if b.rng.chance(0.2) {
            let across = [wide * b.rng.within(0.2, 0.7), half * b.rng.within(0.3, 0.8), 2.0];
            b.cuboid(across, 0.02, [x, floor + half, z]).join = Join::Cut;
        }
        floor += 2.0 * half;
        wide *= b.rng.within(0.4, 1.05);
        deep *= b.rng.within(0.4, 1.05);
        if b.rng.chance(0.5) {
            b.paint();
        }
    }
}
