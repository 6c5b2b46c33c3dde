//! Light as it was measured (OpenEXR) -> a picture as screens show it: exposed so that all but the brightest
//! hundredth fits, then sRGB's transfer curve. What fits already is not made brighter.

use image::{Rgba, Rgba32FImage, RgbaImage};

/// Share of the visible pixels that fits.
const FITS: f64 = 0.99;
/// Most pixels that are looked at; evenly picked from more.
const SAMPLES_MAX: usize = 1 << 18;

/// Colours are taken as premultiplied by alpha, as OpenEXR has them. What is no number is black.
pub(crate) fn mapped(light: Rgba32FImage) -> RgbaImage {
    let exposure = exposure(&light);
    RgbaImage::from_fn(light.width(), light.height(), |x, y| {
        let pixel = light.get_pixel(x, y);
        let alpha = sound(pixel[3]).min(1.0);
        let scale = exposure / if alpha > 0.0 { alpha } else { 1.0 };
        let channel = |c: usize| (shown((sound(pixel[c]) * scale).min(1.0)) * 255.0).round() as u8;
        Rgba([channel(0), channel(1), channel(2), (alpha * 255.0).round() as u8])
    })
}

/// A finite light, not below zero.
fn sound(value: f32) -> f32 {
    if value.is_finite() { value.max(0.0) } else { 0.0 }
}

/// Factor by which the visible pixels' light fits below 1.
fn exposure(light: &Rgba32FImage) -> f32 {
    let step = (light.as_raw().len() / 4).div_ceil(SAMPLES_MAX).max(1);
    let brightest = |pixel: &[f32; 4]| {
        let [r, g, b, alpha] = pixel.map(sound);
        (alpha > 0.0).then(|| r.max(g).max(b) / alpha.min(1.0))
    };
    let pixels = light.as_raw().as_chunks::<4>().0;
    let mut all: Vec<f32> = pixels.iter().step_by(step).filter_map(brightest).collect();
    if all.is_empty() {
        return 1.0;
    }
    let at = ((all.len() - 1) as f64 * FITS) as usize;
    1.0 / all.select_nth_unstable_by(at, f32::total_cmp).1.max(1.0)
}

/// sRGB's transfer curve (IEC 61966-2-1).
fn shown(light: f32) -> f32 {
    if light <= 0.003_130_8 { light * 12.92 } else { 1.055 * light.powf(1.0 / 2.4) - 0.055 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lit(pixel: impl Fn(u32) -> [f32; 4]) -> RgbaImage {
        mapped(Rgba32FImage::from_fn(200, 1, |x, _| Rgba(pixel(x))))
    }

    #[test]
    fn what_fits_stays_and_what_is_brighter_is_exposed_to_fit() {
        let grey = lit(|_| [0.2140, 0.2140, 0.2140, 1.0]);
        assert_eq!(grey.get_pixel(0, 0).0, [127, 127, 127, 255]);
        // A lamp of one pixel decides nothing; a wall eight times too bright does.
        let lamp = lit(|x| if x == 7 { [5e4, 5e4, 5e4, 1.0] } else { [0.2140, 0.0, 0.0, 1.0] });
        assert_eq!((lamp.get_pixel(7, 0)[0], lamp.get_pixel(0, 0)[0]), (255, 127));
        let wall = lit(|x| if x < 100 { [8.0, 8.0, 8.0, 1.0] } else { [8.0 * 0.2140, 0.0, 0.0, 1.0] });
        assert_eq!((wall.get_pixel(0, 0)[1], wall.get_pixel(150, 0)[0]), (255, 127));
    }

    #[test]
    fn alpha_is_unmultiplied_and_no_number_is_black() {
        let glass = lit(|_| [0.1070, 0.0, 0.0, 0.5]);
        assert_eq!(glass.get_pixel(0, 0).0, [127, 0, 0, 128]);
        let broken = lit(|x| if x == 0 { [f32::NAN, -1.0, f32::INFINITY, f32::NAN] } else { [0.0; 4] });
        assert_eq!(broken.get_pixel(0, 0).0, [0; 4]);
    }
}
