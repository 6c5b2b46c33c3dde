//! Vehicles, tools and houses.

use crate::build::{Build, turn};
use crate::scene::Join;
use std::f32::consts::FRAC_PI_2;

/// Cars, vans, trucks, buses, trains; along x.
pub(super) fn car(b: &mut Build<'_>) {
    let (long, high, wide) = (b.rng.within(0.6, 0.95), b.rng.within(0.12, 0.3), b.rng.within(0.28, 0.45));
    let soft = if b.rng.chance(0.3) { 0.02 } else { b.rng.within(0.03, 0.16) };
    b.cuboid([long, high, wide], soft, [0.0; 3]);
    let grown = if b.rng.chance(0.7) { b.rng.within(0.02, 0.1) } else { 0.01 };
    if b.rng.chance(0.3) {
        b.paint();
    }
    for _ in 0..b.rng.count(1, 2) {
        let half = [long * b.rng.within(0.2, 0.75), b.rng.within(0.1, 0.35), wide * b.rng.within(0.75, 0.98)];
        let x = (long - half[0]) * b.rng.within(-1.0, 1.0);
        b.cuboid(half, soft * 1.2, [x, high + half[1] * 0.6, 0.0]).join = Join::Grown(grown);
    }
    if b.rng.chance(0.3) {
        let first = [long * b.rng.within(0.3, 0.5), 0.2, wide * 0.85];
        b.cuboid(first, 0.02, [-long * 0.6, high + 0.15, 0.0]).join = Join::Cut;
    }
    b.paint();
    let (radius, thick) = (b.rng.within(0.12, 0.28), b.rng.within(0.05, 0.12));
    let axles = b.rng.count(2, 4);
    for n in 0..axles {
        let x = long * 0.68 * (2.0 * n as f32 / (axles - 1) as f32 - 1.0);
        for side in [-1.0, 1.0] {
            let z = side * (wide - thick * b.rng.within(0.0, 0.3));
            b.cylinder(radius, thick, [x, -high, z]).axes = turn(0, FRAC_PI_2);
        }
    }
    if b.rng.chance(0.2) {
        b.paint();
        b.cuboid([0.08, 0.03, wide], 0.02, [-long, high * 1.8, 0.0]);
        b.cylinder(0.05, 0.2, [long * 0.8, high * 1.6, 0.0]);
    }
}

/// Planes, rockets, boats.
pub(super) fn plane(b: &mut Build<'_>) {
    let (long, fat) = (b.rng.within(0.6, 0.95), b.rng.within(0.08, 0.25));
    b.ball([long, fat, fat], [0.0; 3]);
    b.paint();
    let (span, chord, thick) = (b.rng.within(0.4, 0.9), b.rng.within(0.1, 0.25), b.rng.within(0.02, 0.05));
    let axes = turn(1, b.rng.within(-0.4, 0.4));
    for side in [-1.0, 1.0] {
        let wing = b.cuboid([chord, thick, span * 0.5], thick * 0.8, [-0.05, 0.0, side * span * 0.5]);
        wing.axes = if side > 0.0 { axes } else { crate::build::after(axes, axes) };
    }
    b.cuboid([chord * 0.5, 0.2, 0.03], 0.02, [-long * 0.85, 0.18, 0.0]);
    b.cuboid([chord * 0.5, 0.02, span * 0.35], 0.015, [-long * 0.85, 0.05, 0.0]);
    if b.rng.chance(0.5) {
        b.paint();
        for side in [-1.0, 1.0] {
            let at = [0.05, -0.08, side * span * 0.45];
            b.cylinder(0.07, 0.15, at).axes = turn(2, FRAC_PI_2);
        }
    }
}

/// Hammers, axes, spoons, brushes, keys, pans: a handle and a head.
pub(super) fn tool(b: &mut Build<'_>) {
    let (thick, long) = (b.rng.within(0.035, 0.1), b.rng.within(0.4, 0.7));
    b.limb([0.0, -long, 0.0], [0.0, long, 0.0], [thick, thick * b.rng.within(0.7, 1.0)]);
    b.paint();
    let size = b.rng.within(0.15, 0.4);
    match b.rng.below(5) {
        0 => {
            b.cuboid([size, 0.12, 0.1], 0.02, [0.05, long, 0.0]);
        }
        1 => {
            b.cone([size * 0.9, size], 0.05, [0.0, long, 0.0]).axes = turn(0, FRAC_PI_2);
            let hollow = b.cylinder(size * 0.9, 0.06, [0.0, long, 0.05]);
            hollow.axes = turn(0, FRAC_PI_2);
            hollow.join = Join::Cut;
        }
        2 => {
            b.ball([size * 0.7, size, 0.06], [0.0, long + size * 0.7, 0.0]);
        }
        3 => {
            b.cuboid([0.06, size, size * 0.4], 0.03, [0.06, long - size * 0.5, 0.0]);
        }
        _ => {
            for n in 0..4 {
                let x = (n as f32 - 1.5) * 0.09;
                b.limb([x, long, 0.0], [x, long + size, 0.02], [0.03, 0.02]);
            }
            b.cuboid([0.18, 0.05, 0.04], 0.02, [0.0, long, 0.0]);
        }
    }
}

/// Houses, towers, churches.
pub(super) fn house(b: &mut Build<'_>) {
    let half = [b.rng.within(0.3, 0.7), b.rng.within(0.25, 0.5), b.rng.within(0.3, 0.6)];
    b.cuboid(half, 0.01, [0.0, -0.3, 0.0]);
    b.paint();
    let rise = b.rng.within(0.2, 0.6);
    let over = b.rng.within(1.0, 1.2);
    let outline = vec![[-half[0] * over, 0.0], [0.0, rise], [half[0] * over, 0.0]];
    let roof = crate::solids::Solid::Extruded { outline, half: half[2] * over, round: 0.01 };
    b.add(roof, [0.0, half[1] - 0.3, 0.0]);
    if b.rng.chance(0.5) {
        b.paint();
        let at = [half[0] * 0.5, half[1] - 0.2 + rise * 0.6, half[2] * b.rng.within(-0.6, 0.6)];
        b.cuboid([0.08, 0.2, 0.08], 0.01, at);
    }
    if b.rng.chance(0.4) {
        b.paint();
        let tower = [b.rng.within(0.12, 0.25), b.rng.within(0.5, 0.9)];
        let x = half[0] * b.rng.sign();
        b.cylinder(tower[0], tower[1] * 0.6, [x, tower[1] * 0.6 - 0.8, 0.1]);
        b.cone([tower[0] * 1.2, 0.02], 0.2, [x, tower[1] * 1.2 - 0.65, 0.1]);
    }
    b.cuboid([0.09, 0.15, 0.06], 0.0, [b.rng.within(-0.15, 0.15), -0.3 - half[1] + 0.15, half[2]]).join =
        Join::Cut;
}
