//! Second step of texturing: a place in the texture for each chart's rectangle, all at one scale, as large
//! as it fits.

/// Halvings of the scale's bracket: leaves an error below a thousandth.
const HALVINGS: u32 = 14;

/// Where rectangles went.
#[derive(Clone, Debug, PartialEq)]
pub struct Packing {
    /// Texels per metre.
    pub scale: f32,
    /// Upper left texel of each rectangle, inside of its padding.
    pub places: Vec<[u32; 2]>,
}

/// Places rectangles (width, height in metres) on shelves, highest first, each with `padding` texels on all
/// sides. None if there are so many that even the padding does not fit.
pub fn pack(sizes: &[[f32; 2]], side_px: u32, padding: u32) -> Option<Packing> {
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    order.sort_by(|&a, &b| sizes[b][1].total_cmp(&sizes[a][1]).then(a.cmp(&b)));
    let area: f32 = sizes.iter().map(|size| size[0] * size[1]).sum();
    let most = side_px as f32 / area.sqrt().max(1e-6);
    let mut best = None;
    let (mut low, mut high) = (0.0, most);
    for _ in 0..HALVINGS {
        let scale = (low + high) * 0.5;
        match shelves(sizes, &order, side_px, padding, scale) {
            Some(places) => {
                best = Some(Packing { scale, places });
                low = scale;
            }
            None => high = scale,
        }
    }
    best
}

fn shelves(
    sizes: &[[f32; 2]],
    order: &[usize],
    side_px: u32,
    padding: u32,
    scale: f32,
) -> Option<Vec<[u32; 2]>> {
    let mut places = vec![[0; 2]; sizes.len()];
    let (mut x, mut y, mut shelf) = (0, 0, 0);
    for &index in order {
        let [width, height] = sizes[index].map(|metres| (metres * scale).ceil() as u32 + 1 + 2 * padding);
        if x + width > side_px {
            (x, y, shelf) = (0, y + shelf, 0);
        }
        if width > side_px || y + height > side_px {
            return None;
        }
        places[index] = [x + padding, y + padding];
        x += width;
        shelf = shelf.max(height);
    }
    Some(places)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_squares_and_two_strips_use_half_the_side_each() {
        let sizes = [[1.0, 1.0], [1.0, 1.0], [1.0, 0.1], [0.1, 0.9]];
        let packing = pack(&sizes, 1024, 4).expect("it fits");
        assert!(packing.scale > 440.0, "{packing:?}");
        for (a, size_a) in packing.places.iter().zip(&sizes) {
            assert!((0..2).all(|k| a[k] >= 4 && a[k] as f32 + size_a[k] * packing.scale <= 1020.0));
            for (b, size_b) in packing.places.iter().zip(&sizes).filter(|(b, _)| *b != a) {
                let apart = |k: usize| {
                    a[k] as f32 + size_a[k] * packing.scale + 8.0 <= b[k] as f32
                        || b[k] as f32 + size_b[k] * packing.scale + 8.0 <= a[k] as f32
                };
                assert!(apart(0) || apart(1), "{a:?} {b:?}");
            }
        }
    }

    #[test]
    fn too_many_do_not_fit() {
        assert_eq!(pack(&vec![[0.1, 0.1]; 5000], 256, 2), None);
    }
}
