//! Pictures as reliefs and lithophanes: plates of the size that was asked for, flat behind, with a frame, as
//! high as the picture says; and forms of other engines through the same mesher.

use domain::{Quality, Recipe};
use image::{Rgba, RgbaImage};
use mesh::check::{MeshFacts, check};
use mesh::{CutoutFrame, Mesh};
use shape::engine::{Form, Surface};
use shape::{Field, Shape, mesher};
use stage::{Context, File, Input, Silent, StageError, StageFunction};

/// Black on the left to white on the right; the whole picture is opaque.
fn ramp() -> RgbaImage {
    RgbaImage::from_fn(400, 300, |x, _| {
        Rgba([0, 1, 2, 3].map(|c| if c < 3 { (x * 255 / 399) as u8 } else { 255 }))
    })
}

/// A grey disc on a clear ground.
fn disc() -> RgbaImage {
    RgbaImage::from_fn(400, 400, |x, y| {
        let inside = (x as f32 - 199.5).hypot(y as f32 - 199.5) < 150.0;
        Rgba([120, 120, 120, 255 * u8::from(inside)])
    })
}

fn shaped(picture: &RgbaImage, options: &[(&str, &str)]) -> Result<Mesh, StageError> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut bytes, image::ImageFormat::Png).expect("encode the test's picture");
    let file = File { name: "cutout.png".into(), content_type: String::new(), bytes: bytes.into_inner() };
    let options = [("engine", "relief")].into_iter().chain(options.iter().copied());
    let recipe = Recipe::default().with_options(options).expect("good options");
    let files = Shape.run(&Input { recipe, files: vec![file] }, &Context::new(&Silent, 0))?;
    Ok(mesh::glb::read(&files[0].bytes).expect("read back what was written").mesh)
}

fn plate(picture: &RgbaImage, options: &[(&str, &str)]) -> (Mesh, MeshFacts) {
    let mesh = shaped(picture, options).expect("a plate");
    let facts = check(&mesh).expect("closed");
    // A plate has one part and no hole.
    assert_eq!((facts.components, facts.vertices * 2), (1, facts.triangles + 4));
    (mesh, facts)
}

/// Largest z of the vertices in a box of x and y, as shares of the plate.
fn height(mesh: &Mesh, facts: &MeshFacts, x: std::ops::Range<f32>, y: std::ops::Range<f32>) -> f32 {
    let [low, high] = facts.bounds;
    let share = |p: &[f32; 3], k: usize| (p[k] - low[k]) / (high[k] - low[k]);
    let inside = mesh.positions.iter().filter(|p| x.contains(&share(p, 0)) && y.contains(&share(p, 1)));
    inside.map(|p| p[2]).fold(f32::MIN, f32::max)
}

#[test]
fn a_lithophane_has_its_size_in_mm_and_is_thick_where_the_picture_is_dark() {
    let options = [
        ("curve", "lithophane"),
        ("width-mm", "120"),
        ("depth-mm", "2.4"),
        ("base-mm", "0.6"),
        ("frame-mm", "0"),
    ];
    let (mesh, facts) = plate(&ramp(), &options);
    let [low, high] = facts.bounds;
    let mm = 120.0 / (high[0] - low[0]);
    assert!(((high[1] - low[1]) * mm - 90.0).abs() < 0.05, "{facts:?}");
    assert!(((high[2] - low[2]) * mm - 3.0).abs() < 0.05, "{facts:?}");
    let at = |x: f32| (height(&mesh, &facts, x - 0.02..x + 0.02, 0.3..0.7) - low[2]) * mm;
    // Light to the power of 2.2 at the middle of the ramp is 0.22: thickness 0.6 + 2.4 ln 0.22 / ln 0.02.
    assert!((at(0.03) - 3.0).abs() < 0.1 && (at(0.97) - 0.6).abs() < 0.2, "{} {}", at(0.03), at(0.97));
    assert!((at(0.5) - 1.53).abs() < 0.2, "{}", at(0.5));
    let backs = mesh.positions.iter().filter(|p| p[2] < low[2] + 1e-5).count();
    assert!(backs >= 4, "its back is flat");
}

#[test]
fn a_raised_subject_stands_out_of_its_plate_within_a_frame() {
    let (mesh, facts) =
        plate(&disc(), &[("depth-mm", "5"), ("base-mm", "2"), ("frame-mm", "4"), ("size-mm", "100")]);
    let [low, high] = facts.bounds;
    let mm = 100.0 / (high[0] - low[0]);
    assert!(((high[2] - low[2]) * mm - 7.0).abs() < 0.1, "{facts:?}");
    let over_plate = |x, y| (height(&mesh, &facts, x, y) - low[2]) * mm - 2.0;
    let (middle, corner) = (over_plate(0.45..0.55, 0.45..0.55), over_plate(0.06..0.12, 0.06..0.12));
    assert!(middle > 4.0 && corner.abs() < 0.1, "{middle} {corner}");
    assert!((over_plate(0.0..0.03, 0.4..0.6) - 5.0).abs() < 0.05);
}

#[test]
fn a_frame_that_leaves_no_plate_and_an_empty_picture_are_refused_with_what_to_do() {
    let refused = |picture: &RgbaImage, options: &[(&str, &str)], part: &str| match shaped(picture, options) {
        Err(StageError::Rejected(reason)) => assert!(reason.contains(part), "{reason}"),
        other => panic!("{:?}", other.map(|mesh| mesh.triangles.len())),
    };
    refused(&disc(), &[("frame-mm", "60")], "use a smaller frame-mm");
    refused(&RgbaImage::new(64, 64), &[], "use a picture");
}

#[test]
fn pictures_of_every_sort_become_plates() {
    let checker = RgbaImage::from_fn(256, 256, |x, y| {
        let on = (x / 2 + y / 2) % 2 == 0;
        Rgba([255 * u8::from(on), 9, 9, 255 * u8::from(on || x % 5 == 0)])
    });
    let narrow =
        RgbaImage::from_fn(512, 512, |x, y| Rgba([y as u8, 80, 80, 255 * u8::from(x.abs_diff(256) < 5)]));
    let plain = RgbaImage::from_pixel(300, 200, Rgba([255, 255, 255, 255]));
    for picture in [checker, narrow, plain] {
        for curve in ["raised", "lithophane"] {
            let (_, facts) = plate(&picture, &[("curve", curve), ("quality", "draft")]);
            assert!(facts.triangles <= 10_000 && facts.volume > 0.0, "{facts:?}");
        }
    }
}

#[test]
fn a_signed_field_of_another_engine_goes_through_the_same_mesher() {
    let side = 96;
    let pitch = 1.1 / (side - 1) as f32;
    let place = |n: usize| n as f32 * pitch - 0.55;
    // A ring that stands, its hole to the front, and a crumb beside it.
    let value = |[x, y, z]: [f32; 3]| {
        let ring = 0.12 - (x.hypot(y) - 0.38).hypot(z);
        ring.max(0.02 - (x - 0.5).hypot(y - 0.5).hypot(z))
    };
    let at = |k: usize| value([place(k % side), place(k / side % side), place(k / side / side)]);
    let values = (0..side * side * side).map(at).collect();
    let form = Form {
        surface: Surface::Field(Field { size: [side; 3], values, origin: [-0.55; 3], pitch }),
        extent: [[-0.5; 2], [0.5; 2]],
        floor: None,
        smoothing_rounds: 3,
        calming_rounds: 2,
        confidence: None,
    };
    let mesher::Finished { mesh, facts, .. } =
        mesher::model(&form, Quality::Draft, &Context::new(&Silent, 0)).expect("a ring");
    assert_eq!((facts.components, facts.vertices * 2), (1, facts.triangles), "one part, one hole");
    let exact = 2.0 * std::f64::consts::PI.powi(2) * 0.38 * 0.0144;
    assert!((facts.volume / exact - 1.0).abs() < 0.03, "{facts:?} for {exact}");
    assert_eq!(mesh.normals.len(), mesh.positions.len());
}

#[test]
fn front_and_back_depth_of_another_engine_meet_half_way_at_the_rim() {
    use shape::{Layered, Outline, Rim};
    let side = 128;
    let grid = |at: usize| [(at % side) as f32 - 63.5, (at / side) as f32 - 63.5];
    let inwards = |at: usize| 50.0 - grid(at)[0].hypot(grid(at)[1]);
    let values: Vec<f32> = (0..side * side).map(|at| inwards(at).clamp(-0.5, 0.5)).collect();
    let outline = Outline { width: side, height: side, values, pitch_px: 1.0, origin_px: [0.0; 2] };
    // A lens that leans: its middle lies at x / 4.
    let lens = |at: usize, side: f32| 0.01 * (0.25 * grid(at)[0] + side * 0.4 * inwards(at).max(0.0));
    let layered = Layered {
        outline,
        front: (0..side * side).map(|at| lens(at, 1.0)).collect(),
        back: (0..side * side).map(|at| lens(at, -1.0)).collect(),
        rim: Rim::Between,
        frame: CutoutFrame { centre_px: [63.5; 2], size_px: [100.0; 2] },
    };
    let form = Form {
        surface: Surface::Layered(layered),
        extent: [[-0.5; 2], [0.5; 2]],
        floor: None,
        smoothing_rounds: 1,
        calming_rounds: 1,
        confidence: None,
    };
    let mesher::Finished { mesh, facts, .. } =
        mesher::model(&form, Quality::Draft, &Context::new(&Silent, 0)).expect("a lens");
    // Two cones of height 0.2 on a disc of radius 0.5.
    let exact = std::f64::consts::PI * 0.25 * 0.4 / 3.0;
    assert!((facts.volume / exact - 1.0).abs() < 0.05, "{facts:?} for {exact}");
    for p in mesh.positions.iter().filter(|p| p[0].hypot(p[1]) > 0.49) {
        assert!((p[2] - 0.25 * p[0]).abs() < 0.02, "{p:?}");
    }
}
