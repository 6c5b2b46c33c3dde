//! Garland and Heckbert's quadric error: the weighted sum of squared distances to planes, kept as ten
//! numbers.

/// A point or direction in f64: sums of squares of small distances need the digits.
pub type P = [f64; 3];

/// Difference.
pub fn sub(a: P, b: P) -> P {
    [a[0] - b[0], a[1] - b[1], a[2] - b[2]]
}

/// Scalar product.
pub fn dot(a: P, b: P) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

/// Vector product.
pub fn cross(a: P, b: P) -> P {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

/// `x A x + 2 b x + c`, A symmetric, with the area that went into it.
#[derive(Clone, Copy, Default)]
pub struct Quadric {
    /// A: xx, yy, zz, xy, xz, yz.
    a: [f64; 6],
    b: P,
    c: f64,
    /// Sum of the faces' areas, m².
    pub weight: f64,
}

impl Quadric {
    /// The squared distance to a face's plane times its area.
    pub fn of_face([p, q, r]: [P; 3]) -> Quadric {
        let normal = cross(sub(q, p), sub(r, p));
        let length = dot(normal, normal).sqrt();
        if length <= 0.0 {
            return Quadric::default();
        }
        let weight = length * 0.5;
        let [x, y, z] = normal.map(|value| value / length);
        let d = -dot([x, y, z], p);
        Quadric {
            a: [x * x, y * y, z * z, x * y, x * z, y * z].map(|value| value * weight),
            b: [x, y, z].map(|value| value * d * weight),
            c: d * d * weight,
            weight,
        }
    }

    /// Sum of both errors.
    pub fn add(&mut self, other: &Quadric) {
        (0..6).for_each(|k| self.a[k] += other.a[k]);
        (0..3).for_each(|k| self.b[k] += other.b[k]);
        self.c += other.c;
        self.weight += other.weight;
    }

    /// The error at a point, m² times m².
    pub fn at(&self, p: P) -> f64 {
        dot(self.times(p), p) + 2.0 * dot(self.b, p) + self.c
    }

    fn times(&self, [x, y, z]: P) -> P {
        let [xx, yy, zz, xy, xz, yz] = self.a;
        [xx * x + xy * y + xz * z, xy * x + yy * y + yz * z, xz * x + yz * y + zz * z]
    }

    /// The point of least error, drawn slightly towards `guess`: on a plane or an edge, where the least is
    /// not one point, it is the nearest such point.
    pub fn best_near(&self, guess: P) -> P {
        let pull = 1e-3 * (self.a[0] + self.a[1] + self.a[2]) + f64::MIN_POSITIVE;
        // Solved for the step from the guess: (A + pull) step = -(A guess + b).
        let right = self.times(guess);
        let right = [0, 1, 2].map(|k| -(right[k] + self.b[k]));
        let [xx, yy, zz, xy, xz, yz] = self.a;
        let (first, second, third) = ([xx + pull, xy, xz], [xy, yy + pull, yz], [xz, yz, zz + pull]);
        let (c23, c31, c12) = (cross(second, third), cross(third, first), cross(first, second));
        let determinant = dot(first, c23);
        if determinant.is_nan() || determinant <= 0.0 {
            return guess;
        }
        [0, 1, 2]
            .map(|k| guess[k] + (right[0] * c23[k] + right[1] * c31[k] + right[2] * c12[k]) / determinant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_planes_meet_in_their_corner() {
        let mut quadric = Quadric::default();
        let (o, x, y, z) = ([1.0, 2.0, 3.0], [2.0, 2.0, 3.0], [1.0, 3.0, 3.0], [1.0, 2.0, 4.0]);
        for face in [[o, x, y], [o, y, z], [o, z, x]] {
            quadric.add(&Quadric::of_face(face));
        }
        let best = quadric.best_near([1.2, 2.2, 3.2]);
        assert!((0..3).all(|k| (best[k] - o[k]).abs() < 2e-3), "{best:?}");
        assert!((quadric.at([2.0, 2.0, 3.0]) - 0.5).abs() < 1e-9);
        assert!((quadric.weight - 1.5).abs() < 1e-12);
    }
}
