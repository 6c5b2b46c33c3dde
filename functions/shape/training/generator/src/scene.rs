//! A scene: simple solids, put together one after another, each with its own place and paint.

use crate::lanes::{Lanes, Places};
use crate::solids::Solid;

/// A place or a direction.
pub(crate) type P = [f32; 3];
/// Three rows.
pub(crate) type Matrix = [P; 3];

/// How a part joins those before it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Join {
    Beside,
    /// Grown together within a radius.
    Grown(f32),
    /// Taken away.
    Cut,
}

/// What a part looks like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paint {
    pub(crate) colours: [P; 2],
    pub(crate) pattern: Pattern,
    /// Repetitions per unit.
    pub(crate) frequency: f32,
    /// Strength and sharpness of the highlight.
    pub(crate) gloss: [f32; 2],
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Pattern {
    Plain,
    Stripes(usize),
    Checks,
    Spots,
    Fade,
}

/// One solid of a scene.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) solid: Solid,
    pub(crate) join: Join,
    pub(crate) paint: usize,
    /// Thickness to each side of the surface, if only that is there; zero: massive.
    pub(crate) shell: f32,
    /// Height and frequency of bumps.
    pub(crate) bumps: [f32; 2],
    /// Rows are the part's own axes.
    pub(crate) axes: Matrix,
    pub(crate) at: P,
}

/// All parts, as the object's own space sees them: y up.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scene {
    pub(crate) parts: Vec<Part>,
    pub(crate) paints: Vec<Paint>,
}

/// A part as the camera's space sees it.
#[derive(Clone, Debug)]
pub(crate) struct Seen<'a> {
    pub(crate) part: &'a Part,
    /// From the camera's space into the part's: rows, and what is added.
    pub(crate) rows: Matrix,
    pub(crate) offset: P,
    /// A ball that holds it, in the camera's space.
    pub(crate) centre: P,
    pub(crate) radius: f32,
}

/// Where the camera's space lies: its rows are axes of the camera in the object's space.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stand {
    pub(crate) axes: Matrix,
    /// The object's place that is the camera's origin.
    pub(crate) centre: P,
    /// Lengths of the object's space in one of the camera's.
    pub(crate) scale: f32,
}

pub(crate) fn dot(a: P, b: P) -> f32 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

impl Scene {
    /// All parts from where the camera stands.
    pub(crate) fn seen(&self, stand: &Stand) -> Vec<Seen<'_>> {
        let of = |part| -> Seen<'_> {
            let Part { axes, at, solid, join, shell, bumps, .. }: &Part = part;
            // own = axes (scale * stand.axes^T p + centre - at)
            let rows = axes.map(|axis| [0, 1, 2].map(|k| stand.scale * dot(axis, stand.axes[k])));
            let gap = [0, 1, 2].map(|k| stand.centre[k] - at[k]);
            let grown = if let Join::Grown(radius) = join { *radius } else { 0.0 };
            Seen {
                part,
                rows,
                offset: axes.map(|axis| dot(axis, gap)),
                centre: stand.axes.map(|axis| -dot(axis, gap) / stand.scale),
                radius: (solid.reach() + shell + bumps[0] + grown) / stand.scale,
            }
        };
        self.parts.iter().map(of).collect()
    }
}

impl Seen<'_> {
    #[inline(always)]
    fn own(&self, p: Places) -> Places {
        let row = |k: usize| {
            p[0] * self.rows[k][0] + p[1] * self.rows[k][1] + p[2] * self.rows[k][2] + self.offset[k]
        };
        [row(0), row(1), row(2)]
    }

    /// Distance in the object's lengths.
    #[inline(always)]
    fn distance(&self, p: Places) -> Lanes {
        let own = self.own(p);
        let mut distance = self.part.solid.distance(own);
        let [height, frequency] = self.part.bumps;
        if height > 0.0 {
            let waves = own.map(|side| (side * frequency).wave());
            distance = distance + waves[0] * waves[1] * waves[2] * height;
        }
        if self.part.shell > 0.0 {
            distance = distance.abs() - self.part.shell;
        }
        distance
    }

    /// A place of the camera's space in the part's.
    pub(crate) fn own_place(&self, p: P) -> P {
        [0, 1, 2].map(|k| dot(self.rows[k], p) + self.offset[k])
    }
}

/// Distance from the surface of some parts, in the object's lengths.
#[inline(always)]
pub(crate) fn distance(parts: &[&Seen<'_>], p: Places) -> Lanes {
    let mut whole = Lanes::all(1e3);
    for seen in parts {
        whole = join(whole, seen.distance(p), seen.part.join);
    }
    whole
}

#[inline(always)]
fn join(whole: Lanes, part: Lanes, how: Join) -> Lanes {
    match how {
        Join::Beside => whole.min(part),
        Join::Cut => whole.max(-part),
        Join::Grown(radius) => {
            let share = (-(whole - part).abs() + radius).at_least(0.0) / radius;
            whole.min(part) - share * share * (radius * 0.25)
        }
    }
}

/// Which of some parts is at the surface, for each place.
pub(crate) fn nearest(parts: &[&Seen<'_>], p: Places) -> [usize; crate::lanes::LANES] {
    let (mut whole, mut found) = (Lanes::all(1e3), [0; crate::lanes::LANES]);
    for (number, seen) in parts.iter().enumerate() {
        let part = seen.distance(p);
        for (k, found) in found.iter_mut().enumerate() {
            let closer = match seen.part.join {
                Join::Cut => -part.0[k] > whole.0[k],
                _ => part.0[k] < whole.0[k],
            };
            *found = if closer { number } else { *found };
        }
        whole = join(whole, part, seen.part.join);
    }
    found
}
