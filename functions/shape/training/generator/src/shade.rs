//! Light and colour: from what the rays met to a picture as a camera would take it.

use crate::rng::Rng;
use crate::scene::{P, Paint, Pattern, Scene, Seen, dot};
use crate::trace::{Camera, Hit};

/// Lights of a scene and how the camera takes them.
pub(crate) struct Look {
    /// Directions to the lights, and their colours.
    lights: Vec<(P, P)>,
    ambient: P,
    ground: P,
    gamma: f32,
    exposure: f32,
    noise: f32,
    occlusion: f32,
    blur: bool,
}

impl Look {
    pub(crate) fn new(rng: &Rng) -> Look {
        let count = if rng.chance(0.4) { 2 } else { 1 };
        let lights = (0..count)
            .map(|number| {
                let strength = if number == 0 { rng.within(0.45, 1.1) } else { rng.within(0.1, 0.5) };
                let tint = rng.within(-0.08, 0.08);
                let to = [rng.normal() * 0.7, rng.within(-0.1, 1.2), rng.within(0.15, 1.3)];
                let whole = dot(to, to).sqrt();
                (to.map(|side| side / whole), [1.0 + tint, 1.0, 1.0 - tint].map(|c| c * strength))
            })
            .collect();
        let ambient = rng.within(0.15, 0.7);
        let ground = ambient * rng.within(0.4, 1.0);
        Look {
            lights,
            ambient: [ambient; 3],
            ground: [ground; 3],
            gamma: rng.within(1.5, 2.4),
            exposure: rng.within(0.75, 1.3),
            noise: if rng.chance(0.6) { rng.within(0.0, 0.03) } else { 0.0 },
            occlusion: rng.within(0.0, 1.0),
            blur: rng.chance(0.35),
        }
    }

    /// RGB of each pixel, 0 to 255; black where nothing is.
    pub(crate) fn picture(&self, scene: &Scene, camera: &Camera, hits: &[Hit], rng: &Rng) -> Vec<[u8; 3]> {
        let seen = scene.seen(&camera.stand);
        let side = hits.len().isqrt();
        let colour = |(at, hit): (usize, &Hit)| -> P {
            if hit.part == usize::MAX {
                return [0.0; 3];
            }
            let pixel = 2.0 / side as f32;
            let ray = [((at % side) as f32 + 0.5) * pixel - 1.0, 1.0 - ((at / side) as f32 + 0.5) * pixel];
            let width = 1.0 - hit.front * camera.nearness;
            self.light(scene, &seen[hit.part], [ray[0] * width, ray[1] * width, hit.front], hit)
        };
        let mut colours: Vec<P> = hits.iter().enumerate().map(colour).collect();
        if self.blur {
            colours = blurred(&colours, hits, side);
        }
        let mut byte = |value: f32| {
            let value = value.clamp(0.0, 1.0).powf(1.0 / self.gamma) + self.noise * rng.normal();
            (value * 255.0 + 0.5).clamp(0.0, 255.0) as u8
        };
        colours.into_iter().map(|colour| colour.map(&mut byte)).collect()
    }

    fn light(&self, scene: &Scene, seen: &Seen<'_>, p: P, hit: &Hit) -> P {
        let paint = &scene.paints[seen.part.paint];
        let base = paint.at(seen.own_place(p));
        let up = hit.normal[1] * 0.5 + 0.5;
        let open = 1.0 - self.occlusion * (1.0 - hit.open);
        let mut sum =
            [0, 1, 2].map(|k| (self.ground[k] + (self.ambient[k] - self.ground[k]) * up) * open * base[k]);
        for (to, strength) in &self.lights {
            let facing = dot(hit.normal, *to).max(0.0);
            let half = [to[0], to[1], to[2] + 1.0];
            let half = half.map(|side| side / dot(half, half).sqrt());
            let shine = paint.gloss[0] * dot(hit.normal, half).max(0.0).powf(paint.gloss[1]);
            let shadow = 1.0 - 0.6 * (1.0 - open);
            for k in 0..3 {
                sum[k] += strength[k] * shadow * (facing * base[k] + shine);
            }
        }
        sum.map(|value| value * self.exposure)
    }
}

/// A little out of focus, within the object.
fn blurred(colours: &[P], hits: &[Hit], side: usize) -> Vec<P> {
    let at = |k: usize| {
        let near = [k, k.wrapping_sub(1), k + 1, k.wrapping_sub(side), k + side];
        let inside = |n: &&usize| hits.get(**n).is_some_and(|hit| hit.part != usize::MAX);
        let found: Vec<usize> = near.iter().filter(inside).copied().collect();
        [0, 1, 2].map(|c| found.iter().map(|n| colours[*n][c]).sum::<f32>() / found.len().max(1) as f32)
    };
    (0..colours.len()).map(|k| if hits[k].part == usize::MAX { [0.0; 3] } else { at(k) }).collect()
}

impl Paint {
    /// Its colour at a place of its part.
    fn at(&self, p: P) -> P {
        let q = p.map(|side| side * self.frequency);
        let share = match self.pattern {
            Pattern::Plain => 0.0,
            Pattern::Stripes(axis) => f32::from(q[axis].rem_euclid(1.0) < 0.5),
            Pattern::Checks => f32::from((q[0].floor() + q[1].floor() + q[2].floor()).rem_euclid(2.0) < 1.0),
            Pattern::Fade => (0.5 + 0.5 * q[1]).clamp(0.0, 1.0),
            Pattern::Spots => {
                let wave = (q[0] * 6.0).sin() + (q[1] * 5.3 + q[0]).sin() + (q[2] * 4.7 - q[1]).sin();
                f32::from(wave > 0.8)
            }
        };
        [0, 1, 2].map(|k| self.colours[0][k] + (self.colours[1][k] - self.colours[0][k]) * share)
    }

    /// By chance.
    pub(crate) fn new(rng: &Rng, palette: &[P]) -> Paint {
        let base = palette[rng.below(palette.len())];
        let base = base.map(|c| (c + rng.within(-0.06, 0.06)).clamp(0.01, 1.0));
        let other = palette[rng.below(palette.len())];
        let pattern = match rng.below(12) {
            0 => Pattern::Stripes(rng.below(3)),
            1 => Pattern::Checks,
            2 | 3 => Pattern::Spots,
            4 => Pattern::Fade,
            _ => Pattern::Plain,
        };
        let gloss = if rng.chance(0.5) { [rng.within(0.05, 0.6), rng.within(5.0, 60.0)] } else { [0.0, 1.0] };
        Paint { colours: [base, other], pattern, frequency: rng.within(1.0, 9.0), gloss }
    }
}
