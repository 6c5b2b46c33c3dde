//! Sixteen rays at once: plain arrays whose loops the compiler turns into vector instructions.

use std::ops::{Add, Div, Mul, Neg, Sub};

/// Rays that are traced together.
pub(crate) const LANES: usize = 16;

/// One number for each ray.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
pub(crate) struct Lanes(pub(crate) [f32; LANES]);

/// One place for each ray.
pub(crate) type Places = [Lanes; 3];

macro_rules! operator {
    ($trait:ident, $name:ident, $op:tt) => {
        impl $trait for Lanes {
            type Output = Lanes;
            #[inline(always)]
            fn $name(self, other: Lanes) -> Lanes {
                self.with(other, |a, b| a $op b)
            }
        }
        impl $trait<f32> for Lanes {
            type Output = Lanes;
            #[inline(always)]
            fn $name(self, other: f32) -> Lanes {
                self.each(|a| a $op other)
            }
        }
    };
}
operator!(Add, add, +);
operator!(Sub, sub, -);
operator!(Mul, mul, *);
operator!(Div, div, /);

impl Neg for Lanes {
    type Output = Lanes;
    #[inline(always)]
    fn neg(self) -> Lanes {
        self.each(|a| -a)
    }
}

impl Lanes {
    #[inline(always)]
    pub(crate) fn all(value: f32) -> Lanes {
        Lanes([value; LANES])
    }

    #[inline(always)]
    pub(crate) fn each(self, f: impl Fn(f32) -> f32) -> Lanes {
        let mut out = self;
        for value in &mut out.0 {
            *value = f(*value);
        }
        out
    }

    #[inline(always)]
    pub(crate) fn with(self, other: Lanes, f: impl Fn(f32, f32) -> f32) -> Lanes {
        let mut out = self;
        for (value, b) in out.0.iter_mut().zip(other.0) {
            *value = f(*value, b);
        }
        out
    }

    // The comparisons are written out: `f32::max` has to care for what is no number, which costs.
    #[inline(always)]
    pub(crate) fn max(self, other: Lanes) -> Lanes {
        self.with(other, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    pub(crate) fn min(self, other: Lanes) -> Lanes {
        self.with(other, |a, b| if a < b { a } else { b })
    }

    #[inline(always)]
    pub(crate) fn at_least(self, bound: f32) -> Lanes {
        self.each(|a| if a > bound { a } else { bound })
    }

    #[inline(always)]
    pub(crate) fn at_most(self, bound: f32) -> Lanes {
        self.each(|a| if a < bound { a } else { bound })
    }

    #[inline(always)]
    pub(crate) fn abs(self) -> Lanes {
        self.each(f32::abs)
    }

    #[inline(always)]
    pub(crate) fn sqrt(self) -> Lanes {
        self.each(f32::sqrt)
    }

    /// The first where `self` is below zero, the second elsewhere.
    #[inline(always)]
    pub(crate) fn below_zero(self, then: Lanes, other: Lanes) -> Lanes {
        let mut out = other;
        for ((value, a), sign) in out.0.iter_mut().zip(then.0).zip(self.0) {
            *value = if sign < 0.0 { a } else { *value };
        }
        out
    }

    /// About a sine of period one.
    #[inline(always)]
    pub(crate) fn wave(self) -> Lanes {
        self.each(|a| {
            let t = a - a.round_ties_even();
            8.0 * t * (1.0 - 2.0 * t.abs())
        })
    }
}

#[inline(always)]
pub(crate) fn length2(x: Lanes, y: Lanes) -> Lanes {
    (x * x + y * y).sqrt()
}

#[inline(always)]
pub(crate) fn length([x, y, z]: Places) -> Lanes {
    (x * x + y * y + z * z).sqrt()
}
