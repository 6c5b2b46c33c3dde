//! First step of inflation: the cut-out's alpha on a grid of a chosen pitch, signed, so that the silhouette
//! is where it crosses zero, between grid points too.

use image::{Rgba, RgbaImage};

/// Grid points kept free on each side, so that nothing touches the grid's border.
const MARGIN: usize = 2;

/// A hard-edged mask's steps of one pixel would wrinkle the rim; a triangle of this radius straightens them.
/// What is thinner than about 1.5 pixels goes.
const FILTER_RADIUS_PX: f32 = 2.0;

/// Coverage minus one half at the points of a square grid. The grid's outermost points are outside.
#[derive(Clone, Debug)]
pub struct Outline {
    /// Points per row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Positive inside, row by row from the top.
    pub values: Vec<f32>,
    /// Distance of neighbouring points, pixels.
    pub pitch_px: f32,
    /// Where the first point is in the picture.
    pub origin_px: [f32; 2],
}

impl Outline {
    /// Samples a box of the picture (left, top, right, bottom in pixels). Outside the picture is transparent.
    pub(crate) fn sample(image: &RgbaImage, [left, top, right, bottom]: [f32; 4], pitch_px: f32) -> Outline {
        let origin_px = [left, top].map(|edge| edge - MARGIN as f32 * pitch_px);
        let points = |from: f32, to: f32| ((to - from) / pitch_px).ceil() as usize + 2 * MARGIN + 1;
        let (width, height) = (points(left, right), points(top, bottom));
        let grid = Outline { width, height, values: Vec::new(), pitch_px, origin_px };
        grid.silhouette(image)
    }

    /// The silhouette of a picture on this grid.
    pub(crate) fn silhouette(&self, image: &RgbaImage) -> Outline {
        let coverage = self.filtered(image, |pixel| f32::from(pixel[3]) / 255.0);
        Outline { values: coverage.into_iter().map(|share| share - 0.5).collect(), ..*self }
    }

    /// A value of the picture's pixels at each grid point, softened; zero outside the picture.
    pub(crate) fn filtered(&self, image: &RgbaImage, value: impl Fn(&Rgba<u8>) -> f32) -> Vec<f32> {
        let (width, height, pitch_px) = (self.width, self.height, self.pitch_px);
        let (columns, rows) = (image.width() as usize, image.height() as usize);
        let horizontal = tents(self.origin_px[0], pitch_px, width, columns);
        let vertical = tents(self.origin_px[1], pitch_px, height, rows);
        let mut narrow = vec![0.0_f32; width * rows];
        for (y, row) in narrow.chunks_mut(width).enumerate() {
            for (sum, tent) in row.iter_mut().zip(&horizontal) {
                let at = |x: usize| value(image.get_pixel(x as u32, y as u32));
                *sum = tent.weights.iter().zip(tent.first..).map(|(weight, x)| weight * at(x)).sum();
            }
        }
        let mut values = vec![0.0_f32; width * height];
        for (row, tent) in values.chunks_mut(width).zip(&vertical) {
            for (weight, y) in tent.weights.iter().zip(tent.first..) {
                let source = &narrow[y * width..(y + 1) * width];
                row.iter_mut().zip(source).for_each(|(sum, value)| *sum += weight * value);
            }
        }
        values
    }

    /// The outline of a whole box of the picture, at a pitch that fits its width.
    pub(crate) fn rectangle([left, top, right, bottom]: [f32; 4], pitch_px: f32) -> Outline {
        let pitch_px = (right - left) / ((right - left) / pitch_px).round().max(4.0);
        // Grid lines half a pitch off the left and the upper side.
        let origin_px = [left, top].map(|edge| edge - (MARGIN as f32 - 0.5) * pitch_px);
        let points = |from: f32, to: f32| ((to - from) / pitch_px).ceil() as usize + 2 * MARGIN;
        let (width, height) = (points(left, right), points(top, bottom));
        let value = |at: usize| {
            let [x, y] = [0, 1].map(|k| origin_px[k] + [at % width, at / width][k] as f32 * pitch_px);
            let inwards = (x - left).min(right - x).min(y - top).min(bottom - y);
            (inwards / pitch_px).clamp(-0.5, 0.5)
        };
        Outline { width, height, values: (0..width * height).map(value).collect(), pitch_px, origin_px }
    }

    /// Where a grid point is in the picture.
    pub(crate) fn place_px(&self, at: usize) -> [f32; 2] {
        let grid = [at % self.width, at / self.width];
        [0, 1].map(|k| self.origin_px[k] + grid[k] as f32 * self.pitch_px)
    }

    /// Whether a grid point is inside.
    pub(crate) fn inside(&self, at: usize) -> bool {
        self.values[at] > 0.0
    }

    /// Share of the way from an inside point to an outside point at which the silhouette lies. Kept off the
    /// ends, so that no triangle gets a side of length zero: an error of at most a tenth of the pitch.
    pub(crate) fn cut(&self, inside: usize, outside: usize) -> f32 {
        let (high, low) = (self.values[inside], self.values[outside]);
        (high / (high - low)).clamp(0.1, 0.9)
    }
}

/// The picture's pixels that one grid line hears, and how much of each.
struct Tent {
    first: usize,
    weights: Vec<f32>,
}

/// A triangle filter of the pitch's radius (at least the least one) around each grid line. The weights sum to
/// one where no pixel is missing.
fn tents(origin_px: f32, pitch_px: f32, count: usize, pixels: usize) -> Vec<Tent> {
    let radius = pitch_px.max(FILTER_RADIUS_PX);
    let tent = |line: usize| {
        let centre = origin_px + line as f32 * pitch_px;
        let weight = |pixel: i64| (1.0 - (pixel as f32 + 0.5 - centre).abs() / radius).max(0.0);
        let (low, high) = ((centre - radius - 0.5).floor() as i64, (centre + radius + 0.5).ceil() as i64);
        let total: f32 = (low..high).map(weight).sum();
        let (first, last) = (low.clamp(0, pixels as i64), high.clamp(0, pixels as i64));
        Tent { first: first as usize, weights: (first..last).map(|pixel| weight(pixel) / total).collect() }
    };
    (0..count).map(tent).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_straight_edge_is_found_between_the_grid_points() {
        // The left 20.25 pixels are covered.
        let alpha = |x: u32| if x < 20 { 255 } else { 64 * u8::from(x == 20) };
        let picture = RgbaImage::from_fn(64, 64, |x, _| Rgba([0, 0, 0, alpha(x)]));
        for pitch in [1.0, 1.7, 3.0] {
            let outline = Outline::sample(&picture, [0.0, 0.0, 21.0, 64.0], pitch);
            let row = outline.height / 2 * outline.width;
            let last = (row..row + outline.width).rfind(|&at| outline.inside(at)).expect("covered");
            let edge = (last - row) as f32 + outline.cut(last, last + 1);
            let edge = outline.origin_px[0] + edge * pitch;
            assert!((edge - 20.25).abs() < 0.12 * pitch, "{edge} at pitch {pitch}");
        }
    }
}
