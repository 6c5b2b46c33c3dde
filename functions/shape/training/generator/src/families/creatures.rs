//! Creatures: a body, limbs that bend, a head.

use crate::build::{Build, turn};
use crate::scene::{Join, P};

/// Two limbs with a joint, from a place; where it ends.
fn jointed(b: &mut Build<'_>, from: P, [upper, lower]: [P; 2], thick: f32, grown: f32) -> P {
    let add = |a: P, c: P| [0, 1, 2].map(|k| a[k] + c[k]);
    let (middle, end) = (add(from, upper), add(add(from, upper), lower));
    b.limb(from, middle, [thick, thick * 0.85]).join = Join::Grown(grown);
    b.limb(middle, end, [thick * 0.85, thick * 0.65]).join = Join::Grown(grown * 0.5);
    end
}

/// People, robots, dolls, bears: standing, walking, sitting, waving.
pub(super) fn figure(b: &mut Build<'_>) {
    let (stout, grown) = (b.rng.within(0.7, 1.6), b.rng.within(0.03, 0.15));
    let robot = b.rng.chance(0.2);
    let (chest, hip) = (0.17 * stout, 0.15 * stout * b.rng.within(0.8, 1.2));
    let (neck, waist) = (b.rng.within(0.3, 0.45), -0.1);
    if robot {
        b.cuboid([chest * 1.3, 0.28, chest], 0.04, [0.0, 0.15, 0.0]);
    } else {
        b.limb([0.0, waist, 0.0], [0.0, neck - chest, 0.0], [hip, chest]);
        if b.rng.chance(0.4) {
            b.ball([chest * 1.3, chest * 0.8, chest * 0.85], [0.0, neck - chest, 0.0]).join =
                Join::Grown(grown);
        }
    }
    if b.rng.chance(0.5) {
        b.paint();
    }
    let thick = b.rng.within(0.05, 0.1) * stout.sqrt();
    let same = b.rng.chance(0.5);
    let swing = || b.rng.within(-0.25, 0.3);
    let walks = [swing(), swing()];
    let sits = b.rng.chance(0.15);
    for (side, walk) in [-1.0, 1.0].into_iter().zip(walks) {
        let out = b.rng.within(0.0, 0.1);
        let upper = if sits { [side * 0.05, -0.08, 0.4] } else { [side * out, -0.4, walk] };
        let lower = [side * out * 0.5, -0.42, if sits { 0.0 } else { -walk.abs() * b.rng.within(0.0, 1.0) }];
        let foot = jointed(b, [side * hip * 0.6, waist, 0.0], [upper, lower], thick * 1.2, grown);
        b.ball([thick, thick * 0.6, thick * 1.8], [foot[0], foot[1], foot[2] + thick]);
    }
    if b.rng.chance(0.4) {
        b.paint();
    }
    let mut raised = [b.rng.within(-1.4, 1.4), b.rng.within(-1.4, 1.4)];
    if same {
        raised[1] = raised[0];
    }
    for (side, angle) in [-1.0, 1.0].into_iter().zip(raised) {
        let fore = b.rng.within(-0.2, 0.35);
        let bend = angle + b.rng.within(-0.3, 1.2);
        let upper = [side * 0.3 * angle.cos().abs().max(0.15), 0.3 * angle.sin(), fore * 0.5];
        let lower = [side * 0.27 * bend.cos(), 0.27 * bend.sin(), fore];
        let hand = jointed(b, [side * chest, neck - chest * 0.8, 0.0], [upper, lower], thick, grown * 0.6);
        b.ball([thick * 0.9; 3], hand);
    }
    b.paint();
    let head = b.rng.within(0.13, 0.3);
    let at = [0.0, neck + head * b.rng.within(0.7, 1.1), b.rng.within(-0.02, 0.06)];
    if robot {
        b.cuboid([head, head * 0.8, head * 0.9], 0.03, at);
    } else {
        b.ball([head * 0.9, head, head * 0.92], at).join = Join::Grown(grown * 0.4);
        ears_and_hats(b, at, head);
    }
}

fn ears_and_hats(b: &mut Build<'_>, [_, y, z]: P, head: f32) {
    if b.rng.chance(0.25) {
        let first = b.parts();
        let size = head * b.rng.within(0.25, 0.5);
        let long = b.rng.within(0.8, 3.0);
        b.ball([size, size * long, size * 0.6], [head * 0.7, y + head * 0.8, z]);
        b.mirrored(first);
    }
    if b.rng.chance(0.25) {
        b.paint();
        let top = head * b.rng.within(0.1, 1.0);
        b.cone([head, top], head * b.rng.within(0.3, 0.8), [0.0, y + head * 1.1, z]);
        if b.rng.chance(0.6) {
            b.cylinder(head * 1.5, 0.02, [0.0, y + head * 0.75, z]);
        }
    }
    if b.rng.chance(0.3) {
        b.ball([head * 0.2, head * 0.2, head * 0.35], [0.0, y - head * 0.1, z + head]);
    }
}

/// Dogs, horses, elephants, pigs, dinosaurs: the head looks along +z.
pub(super) fn quadruped(b: &mut Build<'_>) {
    let (long, fat, grown) = (b.rng.within(0.3, 0.6), b.rng.within(0.15, 0.35), b.rng.within(0.05, 0.2));
    b.limb([0.0, 0.0, -long], [0.0, b.rng.within(-0.05, 0.12), long], [fat, fat * b.rng.within(0.8, 1.2)]);
    let (thick, tall) = (b.rng.within(0.05, 0.12), b.rng.within(0.3, 0.8));
    for z in [-long, long * 0.9] {
        for side in [-1.0, 1.0] {
            let (step, bend) = (b.rng.within(-0.12, 0.12), b.rng.within(-0.1, 0.1));
            let halves = [[0.0, -tall * 0.5, bend], [0.0, -tall * 0.5, step - bend]];
            let end = jointed(b, [side * fat * 0.6, -fat * 0.4, z], halves, thick, grown);
            b.ball([thick * 0.8, thick * 0.5, thick], [end[0], end[1], end[2] + 0.03]);
        }
    }
    let (up, out) = (b.rng.within(0.0, 0.6), b.rng.within(0.1, 0.4));
    let neck: P = [0.0, 0.05 + up, long + out];
    b.limb([0.0, 0.05, long], neck, [fat * 0.7, fat * b.rng.within(0.35, 0.6)]).join = Join::Grown(grown);
    let head = b.rng.within(0.12, 0.25);
    b.ball([head * 0.85, head * 0.9, head], neck).join = Join::Grown(0.05);
    let snout = b.rng.within(0.4, 1.6);
    let nose = [0.0, neck[1] - head * b.rng.within(0.1, 0.8), neck[2] + head * (0.6 + snout)];
    b.limb(neck, nose, [head * 0.6, head * b.rng.within(0.25, 0.5)]).join = Join::Grown(0.04);
    let first = b.parts();
    let size = b.rng.within(0.25, 0.9) * head;
    let axes = turn(2, b.rng.within(-0.5, 0.5));
    b.ball([size * 0.35, size, size * 0.2], [head * 0.6, neck[1] + head * 0.8, neck[2] - 0.04]).axes = axes;
    if b.rng.chance(0.25) {
        let tip = [head * b.rng.within(0.5, 2.0), neck[1] + head * b.rng.within(1.2, 2.6), neck[2] - 0.1];
        b.limb([head * 0.4, neck[1] + head * 0.6, neck[2]], tip, [0.04, 0.015]);
    }
    b.mirrored(first);
    if b.rng.chance(0.85) {
        let end = [0.0, b.rng.within(-0.4, 0.5), -long - b.rng.within(0.15, 0.6)];
        let thick = b.rng.within(0.025, 0.1);
        b.limb([0.0, fat * 0.4, -long * 1.05], end, [thick, thick * 0.5]).join = Join::Grown(grown * 0.5);
    }
}

/// Birds, ducks, fishes: a body that tapers, wings or fins.
pub(super) fn bird(b: &mut Build<'_>) {
    let (long, fat, grown) = (b.rng.within(0.4, 0.65), b.rng.within(0.22, 0.42), b.rng.within(0.05, 0.25));
    let flat = b.rng.within(0.6, 1.1);
    b.ball([fat * flat, fat, long], [0.0; 3]);
    let fish = b.rng.chance(0.3);
    let tail = [0.0, b.rng.within(-0.1, 0.4), -long * b.rng.within(1.1, 1.6)];
    b.limb([0.0, 0.0, -long * 0.6], tail, [fat * 0.5, 0.06]).join = Join::Grown(grown);
    if !fish {
        let (head, up) = (b.rng.within(0.15, 0.34), b.rng.within(0.15, 0.75));
        let at: P = [0.0, up, long * b.rng.within(0.6, 1.0)];
        b.limb([0.0, 0.05, long * 0.5], at, [fat * 0.5, head * 0.7]).join = Join::Grown(grown);
        b.ball([head; 3], at).join = Join::Grown(grown * 0.5);
        b.paint();
        let (beak, wide) = (b.rng.within(0.08, 0.3), b.rng.within(0.3, 0.6));
        if b.rng.chance(0.5) {
            b.cuboid([head * wide, 0.04, beak], 0.03, [at[0], at[1] - 0.04, at[2] + head + beak * 0.5]);
        } else {
            b.limb(
                [at[0], at[1], at[2] + head * 0.8],
                [0.0, at[1] - 0.05, at[2] + head + beak],
                [0.08, 0.015],
            );
        }
    }
    b.paint();
    let first = b.parts();
    let spread = b.rng.chance(0.35);
    let axes = turn(2, if spread { b.rng.within(-0.5, 0.3) } else { b.rng.within(1.1, 1.5) });
    let wing = [if spread { b.rng.within(0.3, 0.6) } else { fat * 0.8 }, 0.05, long * b.rng.within(0.3, 0.7)];
    b.ball(wing, [fat * flat + if spread { wing[0] * 0.7 } else { 0.0 }, 0.03, -0.05]).axes = axes;
    if !fish && b.rng.chance(0.5) {
        let down = -fat - b.rng.within(0.1, 0.5);
        b.limb([0.1, -fat * 0.7, 0.0], [0.12, down, 0.0], [0.03, 0.025]);
        b.cuboid([0.07, 0.02, 0.12], 0.02, [0.12, down, 0.06]);
    }
    b.mirrored(first);
    if fish {
        b.ball([0.03, b.rng.within(0.2, 0.4), 0.15], [0.0, tail[1], tail[2] - 0.05]);
        b.ball([0.03, 0.2, 0.25], [0.0, fat * 0.9, 0.0]);
    }
}
