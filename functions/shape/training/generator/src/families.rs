//! Families of scenes: rules by which things of one kind are made. The network never trains on those that are
//! held out, and is judged on them.

mod creatures;
mod forms;
mod furniture;
mod household;
mod machines;

use crate::build::Build;
use crate::rng::Rng;
use crate::scene::Scene;

/// A kind of things.
pub(crate) struct Family {
    pub(crate) name: &'static str,
    /// Never trained on.
    pub(crate) held_out: bool,
    /// How often, beside the others.
    weight: u32,
    /// Whether it stands upright on something; else it may lie in any way.
    pub(crate) upright: bool,
    make: fn(&mut Build<'_>),
}

const fn family(name: &'static str, weight: u32, upright: bool, make: fn(&mut Build<'_>)) -> Family {
    Family { name, held_out: false, weight, upright, make }
}

const fn held_out(name: &'static str, make: fn(&mut Build<'_>)) -> Family {
    Family { name, held_out: true, weight: 1, upright: true, make }
}

/// All there are.
pub(crate) const ALL: [Family; 24] = [
    family("solids", 3, true, forms::solids),
    family("grown", 3, true, forms::grown),
    family("carved", 2, true, forms::carved),
    family("chain", 1, false, forms::chain),
    family("cutout", 2, true, forms::cutout),
    family("rings", 1, false, forms::rings),
    family("blocks", 2, true, forms::blocks),
    family("vase", 3, true, household::vase),
    family("bowl", 1, true, household::bowl),
    family("mug", 2, true, household::mug),
    family("lamp", 2, true, household::lamp),
    family("shoe", 1, true, household::shoe),
    family("food", 1, true, household::food),
    family("chair", 3, true, furniture::chair),
    family("table", 2, true, furniture::table),
    family("sofa", 1, true, furniture::sofa),
    family("shelf", 1, true, furniture::shelf),
    family("figure", 3, true, creatures::figure),
    family("quadruped", 2, true, creatures::quadruped),
    family("bird", 1, true, creatures::bird),
    family("car", 3, true, machines::car),
    held_out("plane", machines::plane),
    held_out("tool", machines::tool),
    held_out("house", machines::house),
];

impl Family {
    /// A scene of this family.
    pub(crate) fn scene(&self, rng: &Rng) -> Scene {
        let mut build = Build::new(rng);
        (self.make)(&mut build);
        build.scene
    }
}

/// One of the families that are trained on, or of those that are held out.
pub(crate) fn pick(rng: &Rng, held_out: bool) -> usize {
    let weight = |family: &Family| if family.held_out == held_out { family.weight } else { 0 };
    let whole: u32 = ALL.iter().map(weight).sum();
    let mut left = rng.below(whole as usize) as u32;
    for (number, family) in ALL.iter().enumerate() {
        if left < weight(family) {
            return number;
        }
        left -= weight(family);
    }
    0
}
