//! An animated GIF (GIF89a) whose frames share one palette: found once instead of for each frame, which was
//! most of the time, and no colour flickers from frame to frame.

use color_quant::NeuQuant;
use gif::{DisposalMethod, Encoder, EncodingError, Frame, Repeat};
use image::RgbaImage;

/// Alpha from which a pixel is shown.
const OPAQUE_MIN: u8 = 128;
/// Colours of the palette; one place is left for what is transparent.
const COLOURS: usize = 255;
/// The place in the palette of what is transparent.
const CLEAR: u8 = 255;
/// Every which pixel of every which frame the palette is made from.
const SAMPLED_PIXEL: usize = 5;
const SAMPLED_FRAME: usize = 4;
/// Speed of the palette's search, 1 to 30: at 3 a turn's palette takes some ten milliseconds.
const SPEED: i32 = 3;
/// Bits per channel by which colours are looked up: the palette's steps are coarser.
const LOOKUP_BITS: u32 = 6;
/// A place of the lookup that nobody asked for yet.
const UNKNOWN: u16 = u16::MAX;

/// Square frames of one size, each shown for `ms`, again and again.
///
/// # Errors
/// The encoder's word.
pub(crate) fn write(frames: &[RgbaImage], ms: u32) -> Result<Vec<u8>, EncodingError> {
    let size = frames.first().map_or((1, 1), RgbaImage::dimensions);
    let (width, height) = (size.0 as u16, size.1 as u16);
    let mut palette = Palette::of(frames);
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, width, height, &palette.colours)?;
    encoder.set_repeat(Repeat::Infinite)?;
    for picture in frames {
        encoder.write_frame(&Frame {
            width,
            height,
            delay: (ms / 10) as u16,
            dispose: DisposalMethod::Background,
            transparent: Some(CLEAR),
            buffer: picture.pixels().map(|pixel| palette.place(pixel.0)).collect::<Vec<u8>>().into(),
            ..Frame::default()
        })?;
    }
    drop(encoder);
    Ok(bytes)
}

/// The colours, and where each shade is among them.
struct Palette {
    quantiser: NeuQuant,
    /// RGB of all places, the clear one last.
    colours: Vec<u8>,
    lookup: Vec<u16>,
}

impl Palette {
    fn of(frames: &[RgbaImage]) -> Palette {
        let pixels = frames.iter().step_by(SAMPLED_FRAME).flat_map(RgbaImage::pixels);
        let shown = pixels.filter(|pixel| pixel[3] >= OPAQUE_MIN).step_by(SAMPLED_PIXEL);
        let mut sample: Vec<u8> = shown.flat_map(|pixel| [pixel[0], pixel[1], pixel[2], 255]).collect();
        if sample.is_empty() {
            sample = vec![0, 0, 0, 255];
        }
        let quantiser = NeuQuant::new(SPEED, COLOURS, &sample);
        let mut colours = quantiser.color_map_rgb();
        colours.resize(3 * (COLOURS + 1), 0);
        Palette { quantiser, colours, lookup: vec![UNKNOWN; 1 << (3 * LOOKUP_BITS)] }
    }

    fn place(&mut self, [r, g, b, alpha]: [u8; 4]) -> u8 {
        if alpha < OPAQUE_MIN {
            return CLEAR;
        }
        let shade = |channel: u8| usize::from(channel >> (8 - LOOKUP_BITS));
        let slot = (shade(r) << LOOKUP_BITS | shade(g)) << LOOKUP_BITS | shade(b);
        if self.lookup[slot] == UNKNOWN {
            self.lookup[slot] = self.quantiser.index_of(&[r, g, b, 255]) as u16;
        }
        self.lookup[slot] as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{AnimationDecoder, Rgba};

    #[test]
    fn colours_stay_near_over_all_frames_and_what_is_clear_stays_clear() {
        let frame = |n: u32| {
            RgbaImage::from_fn(64, 64, |x, y| match x {
                0..8 => Rgba([200, 10, 10, 40]),
                _ => Rgba([(4 * ((x + 7 * n) % 64)) as u8, (2 * y) as u8, 60, 255]),
            })
        };
        let frames: Vec<RgbaImage> = (0..9).map(frame).collect();
        let bytes = write(&frames, 100).expect("memory");
        let decoder = image::codecs::gif::GifDecoder::new(std::io::Cursor::new(bytes)).expect("a GIF");
        let found = decoder.into_frames().collect_frames().expect("frames");
        assert_eq!(found.len(), frames.len());
        for (picture, found) in frames.iter().zip(&found) {
            let mut sum = 0.0;
            for (expect, pixel) in picture.pixels().zip(found.buffer().pixels()) {
                assert_eq!(pixel[3] == 0, expect[3] < OPAQUE_MIN);
                let far = (0..3).map(|c| f64::from(pixel[c].abs_diff(expect[c]))).fold(0.0, f64::max);
                sum += if pixel[3] == 0 { 0.0 } else { far };
            }
            // 255 colours for a plane of 256 x 128 shades lie 11 apart.
            assert!(sum / (56.0 * 64.0) < 14.0, "{}", sum / (56.0 * 64.0));
            assert_eq!(found.delay().numer_denom_ms(), (100, 1));
        }
        assert!(write(&[RgbaImage::new(4, 4)], 40).is_ok());
    }
}
