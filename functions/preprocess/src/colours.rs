//! What colours a part of a picture has: a mixture of Gaussians, as GrabCut uses them (Rother, Kolmogorov and
//! Blake, 2004). Without chance: the widest group is split along its main axis (Orchard and Bouman, 1991).

/// Groups of like colours.
const GROUPS: usize = 5;
/// Rounds in which each colour goes to its likeliest group and groups are measured again.
const ROUNDS: usize = 3;
/// Most colours that are looked at; evenly picked from more.
const SAMPLES_MAX: usize = 12_000;
/// Added to each channel's variance: noise of a few levels, so that a flat colour is no needle.
const VARIANCE_MIN: f32 = 20.0;

type Rgb = [f32; 3];

#[derive(Clone, Copy)]
struct Group {
    mean: Rgb,
    /// Of the covariance: xx, xy, xz, yy, yz, zz.
    inverse: [f32; 6],
    /// Logarithm of weight and of the density at the mean.
    log_peak: f32,
    /// Variance along the main axis, and the axis.
    widest: (f32, Rgb),
}

/// A part's colours.
pub(crate) struct Colours {
    groups: Vec<Group>,
}

impl Colours {
    /// None if there are no colours.
    pub(crate) fn of(colours: &[Rgb]) -> Option<Colours> {
        let samples: Vec<Rgb> =
            colours.iter().step_by(colours.len().div_ceil(SAMPLES_MAX).max(1)).copied().collect();
        let mut parts = vec![samples];
        let total = parts[0].len();
        let mut groups = vec![Group::of(&parts[0], total)?];
        while groups.len() < GROUPS {
            let spread = |at: &usize| groups[*at].widest.0 * parts[*at].len() as f32;
            let widest = (0..groups.len()).max_by(|a, b| spread(a).total_cmp(&spread(b)))?;
            let (mean, axis) = (groups[widest].mean, groups[widest].widest.1);
            let is_upper = |colour: &Rgb| dot(minus(*colour, mean), axis) > 0.0;
            let (upper, lower): (Vec<Rgb>, Vec<Rgb>) = parts[widest].iter().partition(|c| is_upper(c));
            let (Some(one), Some(other)) = (Group::of(&upper, total), Group::of(&lower, total)) else {
                break;
            };
            (groups[widest], parts[widest]) = (one, upper);
            groups.push(other);
            parts.push(lower);
        }
        let all: Vec<Rgb> = parts.concat();
        for _ in 0..ROUNDS {
            let mut parts = vec![Vec::new(); groups.len()];
            for colour in &all {
                let likelier =
                    |a: &usize, b: &usize| groups[*a].log(*colour).total_cmp(&groups[*b].log(*colour));
                parts[(0..groups.len()).max_by(likelier)?].push(*colour);
            }
            groups = parts.iter().filter_map(|part| Group::of(part, total)).collect();
        }
        Some(Colours { groups })
    }

    /// Logarithm of how likely a colour is.
    pub(crate) fn log(&self, colour: Rgb) -> f32 {
        let logs = self.groups.iter().map(|group| group.log(colour));
        let most = logs.clone().fold(f32::NEG_INFINITY, f32::max);
        most + logs.map(|log| (log - most).exp()).sum::<f32>().ln()
    }
}

impl Group {
    fn of(colours: &[Rgb], total: usize) -> Option<Group> {
        let count = colours.len() as f32;
        if colours.is_empty() {
            return None;
        }
        let mean = [0, 1, 2].map(|c| colours.iter().map(|colour| colour[c]).sum::<f32>() / count);
        let mut sums = [0.0_f32; 6];
        for [x, y, z] in colours.iter().map(|colour| minus(*colour, mean)) {
            let products = [x * x, x * y, x * z, y * y, y * z, z * z];
            sums.iter_mut().zip(products).for_each(|(sum, product)| *sum += product);
        }
        let [xx, xy, xz, yy, yz, zz] = sums.map(|sum| sum / count);
        let widest = main_axis([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]);
        let (xx, yy, zz) = (xx + VARIANCE_MIN, yy + VARIANCE_MIN, zz + VARIANCE_MIN);
        let cofactors = [
            yy * zz - yz * yz,
            xz * yz - xy * zz,
            xy * yz - xz * yy,
            xx * zz - xz * xz,
            xy * xz - xx * yz,
            xx * yy - xy * xy,
        ];
        let determinant = (xx * cofactors[0] + xy * cofactors[1] + xz * cofactors[2]).max(f32::MIN_POSITIVE);
        let inverse = cofactors.map(|cofactor| cofactor / determinant);
        let log_peak = (count / total as f32).ln() - 0.5 * determinant.ln();
        Some(Group { mean, inverse, log_peak, widest })
    }

    fn log(&self, colour: Rgb) -> f32 {
        let ([x, y, z], [xx, xy, xz, yy, yz, zz]) = (minus(colour, self.mean), self.inverse);
        let distance = xx * x * x + yy * y * y + zz * z * z + 2.0 * (xy * x * y + xz * x * z + yz * y * z);
        self.log_peak - 0.5 * distance
    }
}

/// The largest eigenvalue and its axis, by repeated multiplication.
fn main_axis(matrix: [Rgb; 3]) -> (f32, Rgb) {
    // No axis of colours is at a right angle to this one in practice; if it were, nothing would be split.
    let mut axis = [0.58, 0.57, 0.583];
    let mut value = 0.0;
    for _ in 0..12 {
        let next = matrix.map(|row| dot(row, axis));
        value = dot(next, next).sqrt();
        if value <= f32::MIN_POSITIVE {
            return (0.0, axis);
        }
        axis = next.map(|part| part / value);
    }
    (value, axis)
}

fn dot(a: Rgb, b: Rgb) -> f32 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

fn minus(a: Rgb, b: Rgb) -> Rgb {
    [a[0] - b[0], a[1] - b[1], a[2] - b[2]]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_part_has_is_likelier_than_what_it_has_not() {
        let red = |n: usize| [200.0 + (n % 7) as f32, 20.0 + (n % 5) as f32, 30.0];
        let blue = |n: usize| [20.0, 40.0 + (n % 6) as f32, 180.0 + (n % 11) as f32];
        let colours: Vec<Rgb> = (0..40_000).map(|n| if n % 3 == 0 { red(n) } else { blue(n) }).collect();
        let part = Colours::of(&colours).expect("colours");
        let green = part.log([40.0, 200.0, 40.0]);
        assert!(part.log(red(3)) > green + 10.0 && part.log(blue(4)) > green + 10.0);
        // Between both there is nothing, though their mean lies there.
        assert!(part.log([110.0, 30.0, 105.0]) < part.log(red(3)) - 10.0);
    }

    #[test]
    fn one_flat_colour_and_none_at_all_are_answered() {
        let flat = Colours::of(&[[9.0, 9.0, 9.0]; 50]).expect("a colour");
        assert!(flat.log([9.0, 9.0, 9.0]).is_finite() && flat.log([250.0, 9.0, 9.0]).is_finite());
        assert!(flat.log([10.0, 9.0, 9.0]) > flat.log([60.0, 9.0, 9.0]));
        assert!(Colours::of(&[]).is_none());
    }
}
