//! The real network on a picture whose true outline is known: one of our own samples before a cluttered
//! background.

use domain::Recipe;
use image::{ImageFormat, Rgba, RgbaImage};
use preprocess::Preprocess;
use stage::{Context, File, Input, Silent, StageError, StageFunction};
use std::io::Cursor;

const ROCKET: &[u8] = include_bytes!("../../meshwright/samples/rocket.png");

fn model() -> Vec<u8> {
    let path = harness::tool("u2netp").expect("the model is installed");
    std::fs::read(path).expect("an installed model")
}

/// A wall of stripes and a floor of tiles: no plain border.
fn clutter(x: u32, y: u32) -> [u8; 3] {
    let noise = (x.wrapping_mul(7919) ^ y.wrapping_mul(104_729)) % 23;
    let base = if y < 400 {
        if (x / 40).is_multiple_of(2) { [150, 120, 90] } else { [90, 110, 130] }
    } else if (x / 64 + y / 48).is_multiple_of(2) {
        [190, 180, 160]
    } else {
        [70, 60, 60]
    };
    base.map(|channel| channel + noise as u8)
}

/// The rocket before clutter, smaller than the frame, and its true alpha.
fn picture() -> (RgbaImage, Vec<bool>) {
    let rocket = image::load_from_memory(ROCKET).expect("our own sample").into_rgba8();
    let picture = RgbaImage::from_fn(rocket.width(), rocket.height(), |x, y| {
        let (front, behind) = (rocket.get_pixel(x, y), clutter(x, y));
        let alpha = f32::from(front[3]) / 255.0;
        let mix = |c: usize| (f32::from(front[c]) * alpha + f32::from(behind[c]) * (1.0 - alpha)) as u8;
        Rgba([mix(0), mix(1), mix(2), 255])
    });
    (picture, rocket.pixels().map(|pixel| pixel[3] >= 128).collect())
}

fn run(function: &mut Preprocess, picture: &RgbaImage) -> Result<(RgbaImage, String), StageError> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, ImageFormat::Png).expect("memory");
    let upload = File { name: "upload".to_owned(), content_type: String::new(), bytes: bytes.into_inner() };
    let input = Input { recipe: Recipe::default(), files: vec![upload] };
    let files = function.run(&input, &Context::new(&Silent, 0))?;
    let cutout = image::load_from_memory(&files[0].bytes).expect("our own PNG").into_rgba8();
    Ok((cutout, String::from_utf8(files[1].bytes.clone()).expect("our own JSON")))
}

/// The subject's box in its frame, whose longer side is 435.
fn framed(truth: &[bool], width: usize) -> impl Fn(u32, u32) -> bool {
    let truth = truth.to_vec();
    let inside =
        truth.iter().enumerate().filter(|(_, inside)| **inside).map(|(at, _)| (at % width, at / width));
    let (mut low, mut high) = ([usize::MAX; 2], [0; 2]);
    for (x, y) in inside {
        low = [low[0].min(x), low[1].min(y)];
        high = [high[0].max(x), high[1].max(y)];
    }
    let size = [high[0] - low[0] + 1, high[1] - low[1] + 1].map(|side| side as f64);
    let scale = size[0].max(size[1]) / 435.0;
    move |x, y| {
        let place =
            |at: u32, axis: usize| (f64::from(at) - 256.0) * scale + size[axis] / 2.0 + low[axis] as f64;
        let (x, y) = (place(x, 0), place(y, 1));
        let height = truth.len() / width;
        let in_picture = x >= 0.0 && y >= 0.0 && x < width as f64 && y < height as f64;
        in_picture && truth[y as usize * width + x as usize]
    }
}

/// Intersection over union with the truth, in the frame.
fn overlap(cutout: &RgbaImage, truth: &[bool], width: usize) -> f64 {
    let true_at = framed(truth, width);
    let (mut both, mut any) = (0_u32, 0_u32);
    for (x, y, pixel) in cutout.enumerate_pixels() {
        let (found, expected) = (pixel[3] >= 128, true_at(x, y));
        both += u32::from(found && expected);
        any += u32::from(found || expected);
    }
    f64::from(both) / f64::from(any)
}

#[test]
fn with_the_model_a_cluttered_picture_gives_the_subject_and_says_how() {
    let (picture, truth) = picture();
    let mut function = Preprocess::with_matting(model());
    let (cutout, report) = run(&mut function, &picture).unwrap();
    assert!(report.contains("\"matting\"") && report.contains("guessed"), "{report}");
    let iou = overlap(&cutout, &truth, picture.width() as usize);
    println!("IoU with the true outline: {iou:.3}");
    assert!(iou >= 0.9, "IoU {iou:.3}");
    // Warm, the same picture gives the same bytes.
    assert_eq!(run(&mut function, &picture).unwrap().0, cutout);
}

#[test]
fn white_eyes_before_white_stay_where_the_network_sees_them_in_the_subject() {
    let within = |x: u32, y: u32, centre: [f32; 2], radius: f32| {
        (x as f32 - centre[0]).hypot(y as f32 - centre[1]) < radius
    };
    let face = RgbaImage::from_fn(512, 512, |x, y| {
        let eye = within(x, y, [190.0, 220.0], 24.0) || within(x, y, [322.0, 220.0], 24.0);
        let mouth = within(x, y, [256.0, 330.0], 60.0) && y > 330;
        match (within(x, y, [256.0, 256.0], 190.0), eye, mouth) {
            (true, false, false) => Rgba([230, 150, 40, 255]),
            (true, false, true) => Rgba([120, 30, 30, 255]),
            _ => Rgba([250, 250, 250, 255]),
        }
    });
    // The left eye in the cut-out.
    let eye = |cutout: &RgbaImage| cutout.get_pixel(180, 215)[3];
    let (guessed, report) = run(&mut Preprocess::default(), &face).unwrap();
    assert!(eye(&guessed) == 0 && report.contains("became holes"), "{report}");
    let (confirmed, report) = run(&mut Preprocess::with_matting(model()), &face).unwrap();
    assert!(eye(&confirmed) == 255 && !report.contains("became holes"), "{report}");
    assert!(report.contains("plain_background") && report.contains("309c8469258d"), "{report}");
}

#[test]
fn a_plain_background_needs_no_network() {
    let plain = RgbaImage::from_fn(200, 200, |x, y| {
        let inside = (50..150).contains(&x) && (60..140).contains(&y);
        if inside { Rgba([200, 30, 30, 255]) } else { Rgba([240, 240, 235, 255]) }
    });
    // Bytes that are no model show that nobody reads them.
    let (_, report) = run(&mut Preprocess::with_matting(b"no model".to_vec()), &plain).unwrap();
    assert!(report.contains("\"plain_background\""), "{report}");
}

#[test]
fn without_the_model_the_outline_is_guessed_and_with_another_file_the_picture_is_tried_again() {
    let (picture, truth) = picture();
    let (cutout, report) = run(&mut Preprocess::default(), &picture).unwrap();
    assert!(report.contains("\"grab_cut\"") && report.contains("guessed from colours alone"), "{report}");
    let iou = overlap(&cutout, &truth, picture.width() as usize);
    assert!(iou >= 0.8, "IoU {iou:.3}");
    let failed = run(&mut Preprocess::with_matting(b"no model".to_vec()), &picture).unwrap_err();
    assert!(matches!(&failed, StageError::Failed(why) if why.contains("install it again")), "{failed}");
}

#[test]
fn a_cluttered_picture_without_a_subject_is_rejected_in_words() {
    let empty = RgbaImage::from_fn(320, 320, |x, y| {
        let [r, g, b] = clutter(x, y % 100);
        Rgba([r, g, b, 255])
    });
    let mut function = Preprocess::with_matting(model());
    match run(&mut function, &empty) {
        Err(StageError::Rejected(why)) => assert!(why.contains("found"), "{why}"),
        other => panic!("a wall is no subject: {:?}", other.map(|(_, report)| report)),
    }
}
