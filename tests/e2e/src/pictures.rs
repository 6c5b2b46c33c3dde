//! Pictures for tests: small and unusual ones that become models, and broken ones that must become
//! rejections.

use image::{DynamicImage, ImageFormat, Rgba, RgbaImage};
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
    encoded(&image.into(), ImageFormat::Png)
}

/// Uploads that can never become models: name, content, and words of the reason that a person must be told.
pub fn broken_pictures() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let whole = picture(1);
    let mut flipped = whole.clone();
    for byte in flipped.iter_mut().skip(60).take(200) {
        *byte ^= 0x5a;
    }
    let svg = br#"<svg xmlns="http://www.w3.org/2000/svg"><circle r="9"/></svg>"#.to_vec();
    let opaque = DynamicImage::from(image::load_from_memory(&whole).expect("our own PNG").into_rgb8());
    let (jpeg, webp) = (encoded(&opaque, ImageFormat::Jpeg), encoded(&opaque, ImageFormat::WebP));
    vec![
        ("empty.png", Vec::new(), "the file is empty"),
        (
            "text.png",
            b"this is no picture at all".to_vec(),
            "this is no picture; use png, jpeg, webp or tiff",
        ),
        ("truncated.png", whole[..whole.len() / 2].to_vec(), "the picture cannot be read"),
        ("truncated.jpg", jpeg[..jpeg.len() * 2 / 3].to_vec(), "the picture cannot be read"),
        ("truncated.webp", webp[..webp.len() * 2 / 3].to_vec(), "the picture cannot be read"),
        ("header-only.png", whole[..24].to_vec(), "the picture cannot be read"),
        ("flipped.png", flipped, "the picture cannot be read"),
        ("gif.gif", b"GIF89a\x01\x00\x01\x00\x00\x00\x00;".to_vec(), "use png, jpeg, webp or tiff"),
        ("animated.gif", include_bytes!("../pictures/animated.gif").to_vec(), "use png, jpeg, webp or tiff"),
        ("vector.svg", svg, "use png, jpeg, webp or tiff"),
        ("huge.png", vec![7; 25_000_001], "at most 25000000 are taken"),
        ("wide.png", encoded(&RgbaImage::new(8193, 16).into(), ImageFormat::Png), "at most 8192 a side"),
        ("slim.png", encoded(&slim().into(), ImageFormat::Png), "use a picture with a solid subject"),
    ]
}

/// As slim and long as a picture may be: nothing that could stand.
fn slim() -> RgbaImage {
    RgbaImage::from_fn(1, 8192, |_, y| Rgba([200, 40, 40, if y < 6000 { 255 } else { 0 }]))
}

/// Uploads that are unusual and become models all the same, by name.
pub fn unusual_pictures() -> Vec<(&'static str, Vec<u8>)> {
    let clear = image::load_from_memory(&picture(5)).expect("our own PNG");
    let on_white = {
        let mut ground = RgbaImage::from_pixel(clear.width(), clear.height(), Rgba([250, 250, 250, 255]));
        image::imageops::overlay(&mut ground, &clear, 0, 0);
        DynamicImage::from(DynamicImage::from(ground).into_rgb8())
    };
    vec![
        ("sixteen-bit.png", encoded(&DynamicImage::from(clear.to_rgba16()), ImageFormat::Png)),
        ("cmyk.jpg", include_bytes!("../pictures/cmyk.jpg").to_vec()),
        ("turned.jpg", turned(&encoded(&on_white, ImageFormat::Jpeg))),
        ("alpha.webp", encoded(&clear, ImageFormat::WebP)),
        ("grey.png", encoded(&DynamicImage::from(clear.to_luma_alpha8()), ImageFormat::Png)),
    ]
}

fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).expect("a picture in memory");
    bytes.into_inner()
}

/// The JPEG as from a camera that was held upright: EXIF orientation 6, a quarter turn clockwise.
fn turned(jpeg: &[u8]) -> Vec<u8> {
    let tiff = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
    let segment = [&b"\xff\xe1\0\x22Exif\0\0"[..], tiff].concat();
    [&jpeg[..2], &segment, &jpeg[2..]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turned_picture_says_so_in_a_segment_of_the_right_length() {
        let jpeg = turned(b"\xff\xd8\xff\xd9");
        assert_eq!(jpeg.len() - 4, 2 + 0x22, "the segment is as long as it says");
    }
}
