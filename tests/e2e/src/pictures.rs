//! Pictures for tests: small ones that become models, and broken ones that must become rejections.

use image::{ImageFormat, Rgba, RgbaImage};
use std::io::Cursor;

/// A small PNG with alpha: a disc with a bite, different for each seed.
pub fn picture(seed: u32) -> Vec<u8> {
    let side = 96;
    let shade = |c: u32| (60 + (seed.wrapping_mul(c) % 180)) as u8;
    let colour = [shade(37), shade(91), shade(151), 255];
    let bite = 14.0 + (seed % 17) as f32;
    let mut image = RgbaImage::new(side, side);
    for (x, y, pixel) in image.enumerate_pixels_mut() {
        let (dx, dy) = (x as f32 - 47.5, y as f32 - 47.5);
        let in_disc = dx.hypot(dy) < 40.0;
        let in_bite = (dx - 40.0).hypot(dy) < bite;
        *pixel = if in_disc && !in_bite { Rgba(colour) } else { Rgba([0, 0, 0, 0]) };
    }
    let mut png = Cursor::new(Vec::new());
    image.write_to(&mut png, ImageFormat::Png).expect("a PNG in memory");
    png.into_inner()
}

/// Uploads that can never become models, by name.
pub fn broken_pictures() -> Vec<(&'static str, Vec<u8>)> {
    let whole = picture(1);
    let mut flipped = whole.clone();
    for byte in flipped.iter_mut().skip(60).take(200) {
        *byte ^= 0x5a;
    }
    vec![
        ("empty.png", Vec::new()),
        ("text.png", b"this is no picture at all".to_vec()),
        ("truncated.png", whole[..whole.len() / 2].to_vec()),
        ("header-only.png", whole[..24].to_vec()),
        ("flipped.png", flipped),
        ("gif.gif", b"GIF89a\x01\x00\x01\x00\x00\x00\x00;".to_vec()),
    ]
}
