//! Things of a household: turned, hollow, with handles, feet and shades.

use crate::build::{Build, after, turn};
use crate::scene::Join;
use crate::solids::Solid;

/// Radii from the bottom to the top that wander.
fn radii(b: &mut Build<'_>, count: usize, [low, high]: [f32; 2]) -> Vec<f32> {
    let mut radius = b.rng.within(low, high);
    let mut all = Vec::with_capacity(count);
    for _ in 0..count {
        all.push(radius);
        radius = (radius + b.rng.within(-0.5, 0.5) * (high - low)).clamp(low, high);
    }
    all
}

/// Vases, bottles, jars, pawns, candlesticks; some open.
pub(super) fn vase(b: &mut Build<'_>) {
    let (count, half) = (b.rng.count(3, 9), b.rng.within(0.4, 0.95));
    let mut radii = radii(b, count, [0.1, 0.6]);
    if b.rng.chance(0.35) {
        // A bottle: straight, then a neck.
        let (belly, neck) = (b.rng.within(0.2, 0.5), b.rng.within(0.05, 0.18));
        let shoulder = b.rng.within(0.5, 0.75);
        let at = |n: usize| n as f32 / (count - 1) as f32;
        radii = (0..count).map(|n| if at(n) < shoulder { belly } else { neck }).collect();
    }
    let top = radii[count - 1];
    if b.rng.chance(0.15) {
        let thin = b.rng.within(0.015, 0.04);
        b.add(Solid::Turned { outline: Build::profile(&radii, half) }, [0.0; 3]).shell = thin;
        b.cuboid([1.5, 0.2, 1.5], 0.0, [0.0, half + 0.16, 0.0]).join = Join::Cut;
    } else {
        b.add(Solid::Turned { outline: Build::profile(&radii, half) }, [0.0; 3]);
        if b.rng.chance(0.5) {
            b.paint();
            let deep = half * b.rng.within(0.1, 0.8);
            // Within the wall, as far down as it goes.
            let open = |n: usize| 2.0 * half * (1.0 - n as f32 / (count - 1) as f32) <= deep;
            let least = radii.iter().rev().enumerate().filter(|(n, _)| open(count - 1 - n));
            let hole = least.map(|(_, radius)| *radius).fold(top, f32::min) * b.rng.within(0.6, 0.93);
            b.cylinder(hole, deep, [0.0, half, 0.0]).join = Join::Cut;
        } else if b.rng.chance(0.4) {
            b.paint();
            let cap = top * b.rng.within(0.8, 1.3);
            let tall = b.rng.within(0.03, 0.15);
            b.cylinder(cap, tall, [0.0, half + tall * 0.9, 0.0]);
        }
    }
    if b.rng.chance(0.25) {
        let first = b.parts();
        let radius = b.rng.within(0.12, 0.3);
        let at = [radii[count / 2] * 0.9, b.rng.within(-0.2, 0.4), 0.0];
        let tube = b.rng.within(0.025, 0.06);
        b.add(Solid::Ring { radius, tube }, at);
        if b.rng.chance(0.5) {
            b.mirrored(first);
        }
    }
}

/// Bowls, plates, cups, umbrellas: a shell of half a ball.
pub(super) fn bowl(b: &mut Build<'_>) {
    let radii = [b.rng.within(0.6, 0.9), b.rng.within(0.25, 0.8), b.rng.within(0.6, 0.9)];
    let thin = b.rng.within(0.015, 0.06);
    let over = b.rng.chance(0.2);
    b.ball(radii, [0.0; 3]).shell = thin;
    let side = if over { -1.0 } else { 1.0 };
    b.cuboid([2.0, 1.0, 2.0], 0.0, [0.0, side * b.rng.within(0.95, 1.1), 0.0]).join = Join::Cut;
    b.paint();
    if over {
        let thick = b.rng.within(0.02, 0.05);
        b.limb([0.0, radii[1], 0.0], [0.0, -0.9, 0.0], [thick, thick]);
    } else if b.rng.chance(0.6) {
        let foot = b.rng.within(0.15, 0.4);
        b.cylinder(foot, b.rng.within(0.03, 0.15), [0.0, -radii[1], 0.0]);
    }
}

/// Mugs, jugs, buckets, baskets, pots.
pub(super) fn mug(b: &mut Build<'_>) {
    let (low, high, half) = (b.rng.within(0.3, 0.6), b.rng.within(0.35, 0.65), b.rng.within(0.25, 0.7));
    b.cone([low, high], half, [0.0; 3]);
    if b.rng.chance(0.3) {
        b.paint();
    }
    if b.rng.chance(0.8) {
        let (radius, tube) = (half * b.rng.within(0.35, 0.75), b.rng.within(0.035, 0.1));
        let first = b.parts();
        let x = (low + high) * 0.5 + radius * b.rng.within(0.0, 0.35);
        let axes = turn(1, b.rng.within(-0.1, 0.1));
        b.add(Solid::Ring { radius, tube }, [x, b.rng.within(-0.1, 0.1), 0.0]).axes = axes;
        if b.rng.chance(0.2) {
            b.mirrored(first);
        }
    } else if b.rng.chance(0.5) {
        let tube = b.rng.within(0.02, 0.05);
        b.add(Solid::Ring { radius: high * 0.97, tube }, [0.0, half, 0.0]);
    }
    if b.rng.chance(0.2) {
        // A spout.
        let top = half * b.rng.within(0.4, 1.1);
        b.limb([-low, -0.1, 0.0], [-low - b.rng.within(0.25, 0.5), top, 0.0], [0.12, 0.05]);
    }
    if b.rng.chance(0.85) {
        let thin = b.rng.within(0.03, 0.09);
        b.paint();
        b.cone([low - thin, high - thin], half, [0.0, b.rng.within(0.06, 0.3), 0.0]).join = Join::Cut;
    } else {
        b.paint();
        let lid = b.rng.within(0.05, 0.2);
        b.ball([high, lid, high], [0.0, half, 0.0]);
        b.ball([0.08; 3], [0.0, half + lid, 0.0]);
    }
}

/// Lamps, mushrooms, umbrellas, trees, signs: something wide on a stem.
pub(super) fn lamp(b: &mut Build<'_>) {
    let (stem, tall) = (b.rng.within(0.025, 0.2), b.rng.within(0.5, 0.9));
    b.cylinder(stem, tall, [0.0; 3]);
    b.paint();
    if b.rng.chance(0.75) {
        let foot = b.rng.within(0.2, 0.5);
        let high = b.rng.within(0.02, 0.12);
        if b.rng.chance(0.5) {
            b.cylinder(foot, high, [0.0, -tall, 0.0]);
        } else {
            b.cone([foot, stem], high * 1.5, [0.0, -tall, 0.0]);
        }
    }
    b.paint();
    let (wide, half) = (b.rng.within(0.3, 0.75), b.rng.within(0.15, 0.5));
    let at = [0.0, tall, 0.0];
    match b.rng.below(5) {
        0 | 1 => {
            let top = wide * b.rng.within(0.2, 1.0);
            b.cone([wide, top], half, at);
            if b.rng.chance(0.6) {
                b.cone([wide - 0.04, (top - 0.04).max(0.02)], half, [0.0, tall - 0.08, 0.0]).join = Join::Cut;
                b.cylinder(stem, tall, [0.0, 0.1, 0.0]);
            }
        }
        2 => {
            b.ball([wide, half, wide], at);
            b.cuboid([1.0, 0.5, 1.0], 0.0, [0.0, tall - 0.5 - half * b.rng.within(0.0, 0.4), 0.0]).join =
                Join::Cut;
            b.cylinder(stem, tall, [0.0; 3]);
        }
        3 => {
            for _ in 0..b.rng.count(3, 7) {
                let size = b.rng.within(0.15, 0.4);
                let [x, y, z] = b.rng.place([0.35, 0.3, 0.35]);
                b.ball([size; 3], [x, tall + y, z]).join = Join::Grown(0.1);
            }
        }
        _ => {
            for level in 0..b.rng.count(1, 4) {
                let up = level as f32 * half;
                b.cone([wide * (1.0 - 0.2 * level as f32), 0.03], half, [0.0, tall * 0.6 + up, 0.0]);
            }
        }
    }
}

/// Shoes, irons, slippers, boots; one of a pair, or both.
pub(super) fn shoe(b: &mut Build<'_>) {
    let (wide, sole) = (b.rng.within(0.2, 0.32), b.rng.within(0.04, 0.12));
    let z = if b.rng.chance(0.3) { wide * 1.2 } else { 0.0 };
    b.cuboid([0.85, sole, wide], sole * 0.8, [0.0, -0.5, z]);
    b.paint();
    let (toe, high) = (b.rng.within(0.18, 0.3), b.rng.within(0.2, 0.6));
    b.ball([b.rng.within(0.4, 0.55), toe, wide * 0.95], [0.35, -0.42, z]);
    let round = wide * b.rng.within(0.4, 0.9);
    b.cuboid([0.42, high, wide * 0.9], round, [-0.4, -0.48 + high, z]).join = Join::Grown(0.2 + 0.5 * toe);
    let hole = [0.3 * b.rng.within(0.7, 1.1), 0.5, wide * 0.65];
    b.cuboid(hole, 0.1, [-0.42, -0.05 + 2.0 * high - 0.45 + b.rng.within(0.0, 0.2), z]).join = Join::Cut;
    if z > 0.0 {
        let other: Vec<_> = b.scene.parts.clone();
        for mut part in other {
            part.at[2] -= 2.0 * z;
            b.scene.parts.push(part);
        }
    }
}

/// Fruit, bread, cakes, cans: simple and full.
pub(super) fn food(b: &mut Build<'_>) {
    let size = b.rng.within(0.4, 0.8);
    match b.rng.below(4) {
        0 => {
            let squash = b.rng.within(0.75, 1.2);
            b.ball([size, size * squash, size], [0.0; 3]);
            b.ball([size * 0.25, size * 0.3, size * 0.25], [0.0, size * squash * 1.15, 0.0]).join = Join::Cut;
            b.paint();
            let lean = b.rng.within(-0.15, 0.15);
            b.limb([0.0, size * squash * 0.8, 0.0], [lean, size * squash * 1.25, 0.0], [0.03, 0.03]);
        }
        1 => {
            let half = size * b.rng.within(0.2, 1.0);
            b.cylinder(size, half, [0.0; 3]);
            if b.rng.chance(0.5) {
                b.cuboid([1.0, 1.0, 1.0], 0.0, [1.0, 0.0, 1.0]).join = Join::Cut;
            }
            b.paint();
            for n in 0..b.rng.count(0, 6) {
                let angle = n as f32 * 1.05;
                b.ball([0.1; 3], [angle.sin() * size * 0.7, half, angle.cos() * size * 0.7]);
            }
        }
        2 => {
            let long = b.rng.within(0.6, 0.95);
            b.ball([long, size * 0.5, size * 0.55], [0.0; 3]).bumps = [0.015, b.rng.within(1.5, 5.0)];
        }
        _ => {
            let tall = b.rng.within(0.3, 0.9);
            let axes = after(turn(0, b.rng.within(-0.2, 0.2)), turn(2, b.rng.within(-0.2, 0.2)));
            b.cone([size * b.rng.within(0.4, 1.0), size], tall, [0.0; 3]).axes = axes;
            b.paint();
            for level in 0..b.rng.count(0, 3) {
                let wide = size * (1.0 - 0.25 * level as f32);
                b.ball([wide, wide * 0.6, wide], [0.0, tall + 0.3 * level as f32, 0.0]);
            }
        }
    }
}
