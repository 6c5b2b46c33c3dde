//! Furniture: plates and boxes on legs.

use crate::build::Build;
use crate::scene::Join;

/// Four legs under a plate, straight or splayed, round or square.
fn legs(b: &mut Build<'_>, [x, z]: [f32; 2], [top, floor]: [f32; 2]) {
    let (thick, splay) =
        (b.rng.within(0.025, 0.09), if b.rng.chance(0.4) { b.rng.within(0.0, 0.2) } else { 0.0 });
    let square = splay == 0.0 && b.rng.chance(0.6);
    let taper = b.rng.within(0.5, 1.0);
    for side in [-1.0, 1.0] {
        let first = b.parts();
        let (from, to) = ([x, top, side * z], [x + splay, floor, side * (z + splay)]);
        if square {
            b.cuboid([thick, (top - floor) * 0.5, thick], 0.01, [x, (top + floor) * 0.5, side * z]);
        } else {
            b.limb(from, to, [thick, thick * taper]);
        }
        b.mirrored(first);
    }
    if b.rng.chance(0.2) {
        let height = floor + (top - floor) * b.rng.within(0.2, 0.6);
        b.cuboid([x, 0.03, 0.03], 0.01, [0.0, height, z]);
        b.cuboid([x, 0.03, 0.03], 0.01, [0.0, height, -z]);
    }
}

/// Chairs, stools, benches, armchairs on legs.
pub(super) fn chair(b: &mut Build<'_>) {
    let (wide, deep, thick) = (b.rng.within(0.3, 0.55), b.rng.within(0.3, 0.5), b.rng.within(0.03, 0.12));
    let floor = -0.9;
    let seat = b.rng.within(-0.3, 0.1);
    let round = b.rng.chance(0.2);
    if round {
        b.cylinder(wide, thick, [0.0, seat, 0.0]);
    } else {
        let edge = thick * b.rng.within(0.1, 0.9);
        b.cuboid([wide, thick, deep], edge, [0.0, seat, 0.0]);
    }
    if b.rng.chance(0.3) {
        b.paint();
    }
    let under = seat - thick * 0.5;
    let inset = if round { 0.65 } else { b.rng.within(0.8, 0.93) };
    match b.rng.below(6) {
        0 => {
            let stem = b.rng.within(0.04, 0.1);
            b.cylinder(stem, (under - floor) * 0.5, [0.0, (under + floor) * 0.5, 0.0]);
            b.cone([wide * 0.9, stem], 0.05, [0.0, floor, 0.0]);
        }
        1 => {
            b.cuboid(
                [wide * 0.95, (under - floor) * 0.5, 0.05],
                0.01,
                [0.0, (under + floor) * 0.5, deep * 0.8],
            );
            b.cuboid(
                [wide * 0.95, (under - floor) * 0.5, 0.05],
                0.01,
                [0.0, (under + floor) * 0.5, -deep * 0.8],
            );
        }
        _ => legs(b, [wide * inset, deep * inset], [under, floor]),
    }
    if b.rng.chance(0.8) {
        back(b, [wide, deep], seat);
    }
    if b.rng.chance(0.3) {
        let first = b.parts();
        let high = seat + b.rng.within(0.2, 0.35);
        b.cuboid([0.04, 0.03, deep * 0.8], 0.02, [wide, high, 0.0]);
        b.cuboid([0.03, (high - seat) * 0.5, 0.03], 0.01, [wide, (high + seat) * 0.5, deep * 0.7]);
        b.mirrored(first);
    }
}

/// A chair's back: a board, bars, or a frame.
fn back(b: &mut Build<'_>, [wide, deep]: [f32; 2], seat: f32) {
    let (high, thick) = (b.rng.within(0.25, 0.55), b.rng.within(0.025, 0.08));
    let axes = crate::build::turn(0, b.rng.within(-0.2, 0.02));
    let (y, z) = (seat + high, -deep * 0.95);
    match b.rng.below(3) {
        0 => {
            b.cuboid([wide * 0.97, high, thick], thick * 0.6, [0.0, y, z]).axes = axes;
            if b.rng.chance(0.3) {
                b.cuboid([wide * 0.7, high * 0.4, 0.4], 0.02, [0.0, y, z]).join = Join::Cut;
            }
        }
        1 => {
            let count = b.rng.count(2, 5);
            for n in 0..count {
                let x = wide * 0.9 * (2.0 * n as f32 / (count - 1).max(1) as f32 - 1.0);
                b.cuboid([0.03, high, 0.03], 0.01, [x, y, z]).axes = axes;
            }
            b.cuboid([wide * 0.95, 0.06, thick], 0.02, [0.0, y + high * 0.9, z]);
        }
        _ => {
            let first = b.parts();
            b.cuboid([0.035, high, 0.035], 0.01, [wide * 0.93, y, z]).axes = axes;
            b.mirrored(first);
            for n in 0..b.rng.count(1, 3) {
                let up = high * (0.8 - 0.5 * n as f32);
                b.cuboid([wide * 0.92, b.rng.within(0.04, 0.12), 0.03], 0.01, [0.0, y + up, z]);
            }
        }
    }
}

/// Tables, desks, stools with a shelf.
pub(super) fn table(b: &mut Build<'_>) {
    let (wide, deep, thick) = (b.rng.within(0.5, 0.95), b.rng.within(0.35, 0.7), b.rng.within(0.025, 0.1));
    let (top, floor) = (b.rng.within(-0.1, 0.4), -0.7);
    let round = b.rng.chance(0.25);
    if round {
        b.cylinder(wide, thick, [0.0, top, 0.0]);
    } else {
        b.cuboid([wide, thick, deep], thick * 0.4, [0.0, top, 0.0]);
    }
    if b.rng.chance(0.4) {
        b.paint();
    }
    if b.rng.chance(0.2) {
        let stem = b.rng.within(0.05, 0.15);
        b.cylinder(stem, (top - floor) * 0.5, [0.0, (top + floor) * 0.5, 0.0]);
        let wide = wide * b.rng.within(0.5, 0.8);
        b.cone([wide, stem], 0.06, [0.0, floor, 0.0]);
    } else {
        let share = if round { 0.65 } else { 0.9 };
        let deep = if round { wide } else { deep };
        legs(b, [wide * share, deep * share], [top, floor]);
    }
    if b.rng.chance(0.3) {
        b.paint();
        let half = [wide * b.rng.within(0.2, 0.35), (top - floor) * b.rng.within(0.15, 0.45), deep * 0.85];
        b.cuboid(half, 0.01, [wide * 0.55 * b.rng.sign(), top - half[1], 0.0]);
    }
    for _ in 0..b.rng.count(0, 2) {
        b.paint();
        let size = b.rng.within(0.06, 0.2);
        let [x, _, z] = b.rng.place([wide * 0.6, 0.0, deep * 0.5]);
        match b.rng.below(2) {
            0 => b.cylinder(size * 0.6, size, [x, top + thick + size, z]),
            _ => b.cuboid([size, size * 0.8, size], 0.01, [x, top + thick + size * 0.8, z]),
        };
    }
}

/// Sofas, beds, armchairs, benches: soft boxes.
pub(super) fn sofa(b: &mut Build<'_>) {
    let (wide, deep, high) = (b.rng.within(0.4, 0.95), b.rng.within(0.35, 0.6), b.rng.within(0.12, 0.25));
    let soft = b.rng.within(0.03, 0.12);
    b.cuboid([wide, high, deep], soft, [0.0, -0.3, 0.0]);
    let back = b.rng.within(0.2, 0.5);
    b.cuboid([wide, back, 0.14], soft, [0.0, -0.3 + back, -deep]);
    if b.rng.chance(0.8) {
        let first = b.parts();
        b.cuboid([0.12, b.rng.within(0.2, 0.35), deep], soft, [wide, -0.22, 0.0]);
        b.mirrored(first);
    }
    b.paint();
    let count = b.rng.count(1, 3);
    for n in 0..count {
        let half = wide / count as f32 * 0.95;
        let x = wide * (2.0 * (n as f32 + 0.5) / count as f32 - 1.0);
        b.cuboid([half, 0.09, deep * 0.85], 0.07, [x, -0.3 + high, 0.05]);
    }
    if b.rng.chance(0.7) {
        legs(b, [wide * 0.9, deep * 0.85], [-0.3 - high * 0.5, -0.3 - high - b.rng.within(0.08, 0.25)]);
    }
}

/// Shelves, cupboards, crates, open boxes.
pub(super) fn shelf(b: &mut Build<'_>) {
    let half = [b.rng.within(0.3, 0.8), b.rng.within(0.4, 0.9), b.rng.within(0.15, 0.45)];
    b.cuboid(half, 0.01, [0.0; 3]);
    let wall = b.rng.within(0.03, 0.07);
    let (columns, rows) = (b.rng.count(1, 3), b.rng.count(1, 4));
    let through = b.rng.chance(0.3);
    b.paint();
    for column in 0..columns {
        for row in 0..rows {
            if b.rng.chance(0.2) {
                continue;
            }
            let size = [half[0] / columns as f32 - wall, half[1] / rows as f32 - wall];
            let x = half[0] * (2.0 * (column as f32 + 0.5) / columns as f32 - 1.0);
            let y = half[1] * (2.0 * (row as f32 + 0.5) / rows as f32 - 1.0);
            let z = if through { 0.0 } else { half[2] * 0.6 };
            b.cuboid([size[0].max(0.03), size[1].max(0.03), half[2] * 1.4], 0.0, [x, y, z]).join = Join::Cut;
        }
    }
}
