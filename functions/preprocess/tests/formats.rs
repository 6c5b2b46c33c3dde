//! Pictures of every sort through the stage function: each gives the same subject the right way up, or a
//! rejection in words. The files in `pictures/` were made with Pillow from one scene.

use domain::Recipe;
use image::codecs::png::PngEncoder;
use image::codecs::webp::WebPEncoder;
use image::{
    DynamicImage, ExtendedColorType, ImageBuffer, ImageEncoder, ImageFormat, Rgb, Rgb32FImage, RgbImage,
    Rgba, RgbaImage, imageops,
};
use preprocess::Preprocess;
use stage::{Context, File, Input, Observer, Output, Silent, StageError, StageFunction};
use std::io::Cursor;

const BASELINE: &[u8] = include_bytes!("pictures/baseline.jpg");
const PROGRESSIVE: &[u8] = include_bytes!("pictures/progressive.jpg");
const CMYK: &[u8] = include_bytes!("pictures/cmyk.jpg");
const GREY: &[u8] = include_bytes!("pictures/grey.jpg");
const LOSSY: &[u8] = include_bytes!("pictures/lossy.webp");
const ANIMATED: &[u8] = include_bytes!("pictures/animated.webp");

/// A red block of 40 x 40 on the left and a blue one of 24 x 20 at its lower right, before a light ground.
fn scene() -> RgbImage {
    RgbImage::from_fn(96, 64, |x, y| match (x, y) {
        (16..=55, 12..=51) => Rgb([200, 30, 30]),
        (56..=79, 32..=51) => Rgb([30, 40, 200]),
        _ => Rgb([240, 240, 235]),
    })
}

fn encoded(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.into().write_to(&mut bytes, format).expect("memory");
    bytes.into_inner()
}

fn run(bytes: &[u8]) -> Result<(RgbaImage, String), StageError> {
    run_with(bytes, &[])
}

fn run_with(bytes: &[u8], options: &[(&str, &str)]) -> Result<(RgbaImage, String), StageError> {
    let upload = File { name: "upload".to_owned(), content_type: String::new(), bytes: bytes.to_vec() };
    let recipe = Recipe::default().with_options(options.iter().copied()).expect("good options");
    let input = Input { recipe, files: vec![upload] };
    let files = Preprocess::default().run(&input, &Context::new(&Silent, 0))?;
    let cutout = image::load_from_memory(&files[0].bytes).expect("our own PNG").into_rgba8();
    Ok((cutout, String::from_utf8(files[1].bytes.clone()).expect("our own JSON")))
}

/// The subject fills 435 pixels from left to right; its left is red, its lower right blue, its upper right
/// empty.
fn is_the_scene(name: &str, bytes: &[u8]) {
    let (cutout, report) = run(bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
    let at = |x: u32, y: u32| cutout.get_pixel(x, y).0;
    let near = |found: [u8; 4], expect: [u8; 3]| {
        found[3] == 255 && (0..3).all(|c| found[c].abs_diff(expect[c]) < 30)
    };
    assert!(near(at(120, 256), [200, 30, 30]), "{name}: {:?} on the left", at(120, 256));
    assert!(near(at(120, 130), [200, 30, 30]), "{name}: {:?} on the upper left", at(120, 130));
    assert!(near(at(420, 360), [30, 40, 200]), "{name}: {:?} on the lower right", at(420, 360));
    assert_eq!(at(420, 140)[3], 0, "{name}: the upper right");
    assert!(report.contains("plain_background"), "{report}");
}

#[test]
fn every_kind_of_file_gives_the_same_subject() {
    for (name, bytes) in [
        ("baseline.jpg", BASELINE),
        ("progressive.jpg", PROGRESSIVE),
        ("cmyk.jpg", CMYK),
        ("lossy.webp", LOSSY),
        // Of an animation the first frame; the second one is its mirror image.
        ("animated.webp", ANIMATED),
    ] {
        is_the_scene(name, bytes);
    }
    let deep = ImageBuffer::from_fn(96, 64, |x, y| {
        Rgb(scene().get_pixel(x, y).0.map(|value| u16::from(value) * 257))
    });
    is_the_scene("16 bits", &encoded(DynamicImage::ImageRgb16(deep.clone()), ImageFormat::Png));
    is_the_scene("tiff", &encoded(scene(), ImageFormat::Tiff));
    is_the_scene("tiff of 16 bits", &encoded(DynamicImage::ImageRgb16(deep), ImageFormat::Tiff));
}

#[test]
fn a_jpeg_with_a_film_behind_its_end_is_taken() {
    // Phones append one; what looks like thousands of scans in it is none of the picture's.
    is_the_scene("moving.jpg", &[BASELINE, [0xff, 0xda].repeat(5_000).as_slice()].concat());
}

#[test]
fn grey_pictures_are_taken() {
    for bytes in [GREY.to_vec(), encoded(DynamicImage::from(scene()).into_luma8(), ImageFormat::Png)] {
        let (cutout, _) = run(&bytes).expect("a subject");
        let [r, g, b, alpha] = cutout.get_pixel(120, 256).0;
        assert!(r == g && g == b && alpha == 255 && (60..=90).contains(&r), "{r} {g} {b} {alpha}");
    }
}

#[test]
fn large_pictures_are_shrunk_and_stay_the_same() {
    let large = imageops::resize(&scene(), 96 * 30, 64 * 30, imageops::FilterType::Nearest);
    is_the_scene("large.png", &encoded(large.clone(), ImageFormat::Png));
    is_the_scene("large.jpg", &encoded(large, ImageFormat::Jpeg));
}

/// An EXIF block that names an orientation.
fn exif(orientation: u8) -> Vec<u8> {
    let mut exif = b"MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
    exif.extend_from_slice(&[orientation, 0, 0, 0, 0, 0, 0]);
    exif
}

const EXIF_PREFIX: &[u8] = b"Exif\0\0";

fn turned_jpeg(image: RgbImage, orientation: u8) -> Vec<u8> {
    let exif = [EXIF_PREFIX, &exif(orientation)].concat();
    let jpeg = encoded(image, ImageFormat::Jpeg);
    let length = (exif.len() as u16 + 2).to_be_bytes();
    [&jpeg[..2], &[0xff, 0xe1], &length, &exif, &jpeg[2..]].concat()
}

fn turned_png(image: RgbImage, orientation: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = PngEncoder::new(&mut bytes);
    encoder.set_exif_metadata(exif(orientation)).expect("PNG has EXIF");
    encoder.write_image(&image, image.width(), image.height(), ExtendedColorType::Rgb8).expect("memory");
    bytes
}

/// Some programs write JPEG's prefix here too.
fn turned_webp(image: RgbImage, orientation: u8, prefix: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = WebPEncoder::new_lossless(&mut bytes);
    encoder.set_exif_metadata([prefix, &exif(orientation)].concat()).expect("WebP has EXIF");
    encoder.write_image(&image, image.width(), image.height(), ExtendedColorType::Rgb8).expect("memory");
    bytes
}

/// Uncompressed, in one strip.
fn turned_tiff(image: &RgbImage, orientation: u8) -> Vec<u8> {
    let (width, height) = image.dimensions();
    let (bits_at, pixels_at) = (8, 14);
    let directory_at = pixels_at + width * height * 3;
    let mut tiff = [b"II*\0".as_slice(), &directory_at.to_le_bytes(), &[8, 0, 8, 0, 8, 0]].concat();
    tiff.extend_from_slice(image);
    let (short, long) = (3_u16, 4_u16);
    let entries = [
        (256, long, 1, width),
        (257, long, 1, height),
        (258, short, 3, bits_at),
        (259, short, 1, 1),
        (262, short, 1, 2),
        (273, long, 1, pixels_at),
        (274, short, 1, u32::from(orientation)),
        (277, short, 1, 3),
        (278, long, 1, height),
        (279, long, 1, width * height * 3),
    ];
    tiff.extend_from_slice(&(entries.len() as u16).to_le_bytes());
    for (tag, kind, count, value) in entries {
        let (tag, kind): (u16, u16) = (tag, kind);
        let (count, value): (u32, u32) = (count, value);
        tiff.extend([tag.to_le_bytes(), kind.to_le_bytes()].concat());
        tiff.extend([count.to_le_bytes(), value.to_le_bytes()].concat());
    }
    tiff.extend([0; 4]);
    tiff
}

#[test]
fn every_exif_orientation_is_turned_upright() {
    let transposed = || imageops::flip_horizontal(&imageops::rotate90(&scene()));
    for (orientation, stored) in [
        (1, scene()),
        (2, imageops::flip_horizontal(&scene())),
        (3, imageops::rotate180(&scene())),
        (4, imageops::flip_vertical(&scene())),
        (5, transposed()),
        // To be turned clockwise by a quarter.
        (6, imageops::rotate270(&scene())),
        (7, imageops::rotate180(&transposed())),
        // To be turned counter-clockwise by a quarter.
        (8, imageops::rotate90(&scene())),
    ] {
        for (format, bytes) in [
            ("jpeg", turned_jpeg(stored.clone(), orientation)),
            ("png", turned_png(stored.clone(), orientation)),
            ("webp", turned_webp(stored.clone(), orientation, b"")),
            ("webp with a prefix", turned_webp(stored.clone(), orientation, EXIF_PREFIX)),
            ("tiff", turned_tiff(&stored, orientation)),
        ] {
            let name = format!("{format}, orientation {orientation}");
            is_the_scene(&name, &bytes);
            let says = run(&bytes).expect("as before").1.contains("\"turned_by_exif\": true");
            assert_eq!(says, orientation != 1, "{name}");
        }
    }
}

#[test]
fn an_openexr_is_taken_where_that_is_wanted() {
    // Light, five times brighter than white.
    let linear = |value: u8| 5.0 * (f32::from(value) / 255.0).powf(2.2);
    let light = Rgb32FImage::from_fn(96, 64, |x, y| Rgb(scene().get_pixel(x, y).0.map(linear)));
    let bytes = encoded(DynamicImage::ImageRgb32F(light), ImageFormat::OpenExr);
    match run(&bytes) {
        Err(StageError::Rejected(why)) => assert!(why.contains("OpenExr pictures are not taken"), "{why}"),
        other => panic!("{:?}", other.map(|(_, report)| report)),
    }
    let upload = File { name: "upload".to_owned(), content_type: String::new(), bytes };
    let input = Input { recipe: Recipe::default(), files: vec![upload] };
    let files = Preprocess::default().taking_exr().run(&input, &Context::new(&Silent, 0)).expect("a picture");
    let cutout = image::load_from_memory(&files[0].bytes).expect("our own PNG").into_rgba8();
    // The ground, the brightest of all, is white now: the red is a little brighter than it was.
    let [r, g, b, alpha] = cutout.get_pixel(120, 256).0;
    assert!((200..=225).contains(&r) && g < 60 && b < 60 && alpha == 255, "{r} {g} {b} {alpha}");
}

#[test]
fn a_mask_that_the_recipe_names_is_the_only_one_that_is_looked_for() {
    let opaque = encoded(scene(), ImageFormat::Png);
    let covered = |image: &RgbaImage| image.pixels().filter(|pixel| pixel[3] == 255).count();
    let (whole, report) = run_with(&opaque, &[("mask", "whole")]).expect("the whole picture");
    assert!(covered(&whole) >= 433 * 288 && !report.contains("cut by the frame"), "{report}");
    let lithophane = [("engine", "relief"), ("curve", "lithophane")];
    assert_eq!(run_with(&opaque, &lithophane).expect("the whole picture").0, whole);
    let (block, report) = run_with(&opaque, &[("mask", "plain")]).expect("the blocks");
    assert!(covered(&block) < covered(&whole) && report.contains("plain_background"), "{report}");
    match run_with(&opaque, &[("mask", "alpha")]) {
        Err(StageError::Rejected(why)) => assert!(why.contains("leave mask out"), "{why}"),
        other => panic!("{:?}", other.map(|(_, report)| report)),
    }
    // A person's own mask wins over what the colours say: here it keeps the right half of the ground.
    let mut own = DynamicImage::from(scene()).into_rgba8();
    own.enumerate_pixels_mut().for_each(|(x, _, pixel)| pixel[3] = 255 * u8::from(x >= 80));
    let (kept, report) = run_with(&encoded(own, ImageFormat::Png), &[("mask", "alpha")]).expect("the mask");
    assert!(report.contains("\"alpha\""), "{report}");
    assert!(kept.get_pixel(256, 256).0[0] > 230);
}

/// Silhouettes at the edge of what is one: each a cut-out, or a rejection with what to do.
#[test]
fn pictures_without_a_shape_are_answered_in_words() {
    let picture = |width, height, inside: fn(u32, u32) -> bool| {
        RgbaImage::from_fn(width, height, |x, y| Rgba([90, 60, 30, 255 * u8::from(inside(x, y))]))
    };
    let cases = [
        ("one pixel", picture(300, 300, |x, y| (x, y) == (150, 150)), false),
        ("a thousand specks", picture(320, 320, |x, y| x % 10 == 0 && y % 10 == 0), false),
        ("nothing", picture(64, 64, |_, _| false), false),
        ("a line of 8192", picture(1, 8192, |_, y| y % 2 == 0), false),
        ("a ring", picture(300, 300, |x, y| (90..140).contains(&(x.abs_diff(150) + y.abs_diff(150)))), true),
        ("a comb", picture(300, 300, |x, y| y < 60 || x % 20 < 9), true),
        ("the whole frame", picture(300, 200, |_, _| true), false),
    ];
    for (name, image, taken) in cases {
        match run(&encoded(image, ImageFormat::Png)) {
            Ok(_) => assert!(taken, "{name} was taken"),
            Err(StageError::Rejected(why)) => assert!(!taken && why.contains("use "), "{name}: {why}"),
            Err(other) => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn an_island_beside_the_subject_is_left_out_and_said() {
    let ground = Rgb([240, 240, 235]);
    let with_island = RgbImage::from_fn(300, 300, |x, y| match (x, y) {
        (60..=240, 60..=240) | (246..=258, 100..=114) => Rgb([200, 30, 30]),
        _ => ground,
    });
    let without = RgbImage::from_fn(300, 300, |x, y| match (x, y) {
        (60..=240, 60..=240) => Rgb([200, 30, 30]),
        _ => ground,
    });
    let (cutout, report) = run(&encoded(with_island.clone(), ImageFormat::Png)).expect("a subject");
    assert!(report.contains("a small island beside the subject was left out"), "{report}");
    let (expect, report) = run(&encoded(without, ImageFormat::Png)).expect("a subject");
    assert!(cutout == expect && !report.contains("island"), "{report}");
    // In a person's own mask it stays.
    let mut own = DynamicImage::from(with_island).into_rgba8();
    own.pixels_mut().filter(|pixel| pixel[1] > 200).for_each(|pixel| pixel[3] = 0);
    let (cutout, report) = run(&encoded(own, ImageFormat::Png)).expect("a subject");
    assert!(!report.contains("island") && cutout.get_pixel(465, 162)[3] == 255, "{report}");
}

fn refused(name: &str, bytes: &[u8]) {
    match run(bytes) {
        Err(StageError::Rejected(why)) => assert!(why.contains("use ") || why.contains("save it"), "{why}"),
        Err(other) => panic!("{name}: {other:?}"),
        Ok((_, report)) => panic!("{name} was taken: {report}"),
    }
}

#[test]
fn what_was_cut_off_is_refused() {
    let png = encoded(scene(), ImageFormat::Png);
    let webp = encoded(scene(), ImageFormat::WebP);
    let tiff = encoded(scene(), ImageFormat::Tiff);
    for (name, whole) in [
        ("tiff", &tiff[..]),
        ("baseline.jpg", BASELINE),
        ("progressive.jpg", PROGRESSIVE),
        ("cmyk.jpg", CMYK),
        ("lossy.webp", LOSSY),
        ("lossless.webp", &webp),
        ("png", &png),
    ] {
        for share in [30, 60, 90, 97] {
            refused(&format!("{share} % of {name}"), &whole[..whole.len() * share / 100]);
        }
    }
    // With a thumbnail in its EXIF segment, whose end is not the picture's.
    let thumbnail = [&[0xff, 0xe1], &(BASELINE.len() as u16 + 2).to_be_bytes()[..], BASELINE].concat();
    let with_thumbnail = [&BASELINE[..2], &thumbnail, &BASELINE[2..]].concat();
    is_the_scene("with a thumbnail", &with_thumbnail);
    refused("its end with a thumbnail", &with_thumbnail[..with_thumbnail.len() - 2]);
}

#[test]
fn what_a_person_should_know_is_noted_and_travels_in_the_cutout() {
    #[derive(Default)]
    struct Notes(std::cell::RefCell<Vec<String>>);
    impl Observer for Notes {
        fn started(&self, _item: usize) {}
        fn finished(&self, _item: usize, _output: Output) {}
        fn progress(&self, _item: usize, _fraction: f32, _phase: &'static str) {}
        fn note(&self, _item: usize, note: &str) {
            self.0.borrow_mut().push(note.to_owned());
        }
        fn enter(&self, _span: &'static str) {}
        fn exit(&self) {}
    }
    // Two subjects, one of them cut by the frame.
    let own = RgbaImage::from_fn(300, 200, |x, _| {
        Rgba([200, 30, 30, if (40..150).contains(&x) || x >= 280 { 255 } else { 0 }])
    });
    let bytes = encoded(own, ImageFormat::Png);
    let upload = File { name: "upload".to_owned(), content_type: String::new(), bytes };
    let notes = Notes::default();
    let input = Input { recipe: Recipe::default(), files: vec![upload] };
    let files = Preprocess::default().run(&input, &Context::new(&notes, 0)).expect("subjects");
    let notes = notes.0.into_inner();
    assert!(notes.iter().any(|note| note.contains("cut by the frame")), "{notes:?}");
    assert!(notes.iter().any(|note| note.contains("2 separate subjects")), "{notes:?}");
    let steps = mesh::provenance::of_cutout(&files[0].bytes);
    assert_eq!(steps[0]["warnings"], serde_json::json!(notes));
}
