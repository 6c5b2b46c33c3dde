//! Cut-outs of every sort through the stage function: each gives a sound mesh or a rejection that says what
//! to do.

use domain::{Quality, Recipe};
use image::{Rgba, RgbaImage};
use mesh::check::{MeshFacts, check};
use mesh::raster::{View, render};
use mesh::{Cutout, Mesh};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use shape::Shape;
use stage::{Context, File, Input, Silent, StageError, StageFunction};

const SIDE: u32 = 512;

fn picture(inside: impl Fn(f32, f32) -> bool) -> RgbaImage {
    RgbaImage::from_fn(SIDE, SIDE, |x, y| {
        let alpha = if inside(x as f32 + 0.5, y as f32 + 0.5) { 255 } else { 0 };
        Rgba([200, 120, 40, alpha])
    })
}

fn shaped(picture: &RgbaImage, quality: Quality) -> Result<Mesh, StageError> {
    shaped_with(picture, &[("quality", quality.as_str())])
}

fn shaped_with(picture: &RgbaImage, options: &[(&str, &str)]) -> Result<Mesh, StageError> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut bytes, image::ImageFormat::Png).expect("encode the test's picture");
    let file = File { name: "cutout.png".into(), content_type: String::new(), bytes: bytes.into_inner() };
    let recipe = Recipe::default().with_options(options.iter().copied()).expect("good options");
    let input = Input { recipe, files: vec![file] };
    let files = Shape.run(&input, &Context::new(&Silent, 0))?;
    assert_eq!(files.iter().map(|file| file.name.as_str()).collect::<Vec<_>>(), ["mesh.glb"]);
    Ok(mesh::glb::read(&files[0].bytes).expect("read back what was written").mesh)
}

fn sound(mesh: &Mesh, quality: Quality) -> MeshFacts {
    let facts = check(mesh).expect("what leaves the stage is sound");
    assert!(facts.triangles <= quality.triangles_max(), "{facts:?}");
    let [low, high] = facts.bounds;
    let longest = (0..3).map(|k| high[k] - low[k]).fold(0.0, f32::max);
    assert!((longest - 1.0).abs() < 0.2, "{facts:?}");
    facts
}

/// Handles: half of 2 - Euler's characteristic, summed over the components.
fn handles(facts: &MeshFacts) -> i64 {
    facts.components as i64 - (facts.vertices as i64 - facts.triangles as i64 / 2) / 2
}

fn accepted(inside: impl Fn(f32, f32) -> bool) -> MeshFacts {
    let mesh = shaped(&picture(inside), Quality::Standard).expect("a mesh");
    let facts = sound(&mesh, Quality::Standard);
    let [low, high] = facts.bounds;
    let longest = (high[0] - low[0]).max(high[1] - low[1]);
    assert!((longest - 1.0).abs() < 1e-3, "{facts:?}");
    assert!((0..3).all(|k| (low[k] + high[k]).abs() < 2e-3), "{facts:?}");
    facts
}

fn refused(inside: impl Fn(f32, f32) -> bool, part: &str) {
    match shaped(&picture(inside), Quality::Standard) {
        Err(StageError::Rejected(reason)) => {
            assert!(reason.contains(part) && reason.contains("use "), "{reason}")
        }
        other => panic!("{:?}", other.map(|mesh| mesh.triangles.len())),
    }
}

fn disc(x: f32, y: f32, centre: [f32; 2], radius: f32) -> bool {
    (x - centre[0]).hypot(y - centre[1]) < radius
}

#[test]
fn plain_silhouettes_become_closed_meshes() {
    let ball = accepted(|x, y| disc(x, y, [256.0, 256.0], 217.0));
    assert_eq!((ball.components, handles(&ball)), (1, 0));
    // A ball flattened to sqrt(3.4 / 4).
    let exact = std::f64::consts::PI / 6.0 * (3.4_f64 / 4.0).sqrt();
    assert!((ball.volume / exact - 1.0).abs() < 0.02, "{ball:?}");
    accepted(|_, _| true);
    accepted(|x, _| (x - 256.0).abs() < 3.0);
}

#[test]
fn holes_stay_holes_and_parts_stay_parts() {
    let ring = accepted(|x, y| disc(x, y, [256.0, 256.0], 217.0) && !disc(x, y, [256.0, 256.0], 90.0));
    assert_eq!((ring.components, handles(&ring)), (1, 1));
    let pair = accepted(|x, y| disc(x, y, [130.0, 200.0], 90.0) || disc(x, y, [380.0, 300.0], 40.0));
    assert_eq!(pair.components, 2);
    // A part of 0.1 % is dropped, and does not count for the frame.
    let crumb = accepted(|x, y| disc(x, y, [256.0, 256.0], 200.0) || disc(x, y, [500.0, 8.0], 6.0));
    assert_eq!(crumb.components, 1);
}

/// A cup: a body with a handle on its right.
fn cup(x: f32, y: f32) -> bool {
    let body = (120.0..320.0).contains(&x) && (90.0..430.0).contains(&y);
    let handle = disc(x, y, [320.0, 240.0], 90.0) && !disc(x, y, [320.0, 240.0], 58.0) && x > 300.0;
    body || handle
}

#[test]
fn a_cups_handle_is_a_handle_at_every_quality_thickness_and_back() {
    for quality in [Quality::Draft, Quality::Standard, Quality::Fine] {
        let facts = sound(&shaped(&picture(cup), quality).expect("a cup"), quality);
        assert_eq!((facts.components, handles(&facts)), (1, 1), "{quality:?}");
    }
    let wished = |options: &[(&str, &str)]| {
        let mesh = shaped_with(&picture(cup), options).expect("a cup");
        let facts = sound(&mesh, Quality::Standard);
        assert_eq!((facts.components, handles(&facts)), (1, 1), "{options:?}");
        facts
    };
    let depth = |facts: &MeshFacts| facts.bounds[1][2] - facts.bounds[0][2];
    let (whole, thin) = (wished(&[]), wished(&[("thickness-percent", "50")]));
    assert!((depth(&thin) / depth(&whole) - 0.5).abs() < 0.02, "{thin:?} {whole:?}");
    let flat = wished(&[("symmetric", "no")]);
    assert!((depth(&flat) / depth(&whole) - 0.5).abs() < 0.02, "{flat:?} {whole:?}");
    assert!(flat.bounds[0][2].abs() < 2e-3, "the back is flat: {flat:?}");
    assert!((flat.volume / whole.volume - 0.5).abs() < 0.02, "{flat:?} {whole:?}");
}

#[test]
fn combs_and_checkerboards_are_manifold_too() {
    let comb = accepted(|x, y| y < 100.0 || (y < 480.0 && x % 24.0 < 11.0));
    assert_eq!(comb.components, 1);
    assert_eq!(handles(&comb), 0);
    let mesh =
        shaped(&picture(|x, y| ((x / 64.0) as u32 + (y / 64.0) as u32).is_multiple_of(2)), Quality::Draft);
    sound(&mesh.expect("large squares are kept"), Quality::Draft);
    // Thousands of holes of a few pixels: whatever comes out is sound.
    if let Ok(mesh) = shaped(&picture(|x, y| x % 6.0 > 2.0 || y % 6.0 > 2.0), Quality::Draft) {
        sound(&mesh, Quality::Draft);
    }
    if let Ok(mesh) = shaped(&picture(|x, y| (x as u32 + y as u32).is_multiple_of(2)), Quality::Standard) {
        sound(&mesh, Quality::Standard);
    }
}

#[test]
fn a_sieve_with_many_small_holes_still_meets_the_smallest_preset() {
    let sieve = |x: f32, y: f32| disc(x, y, [256.0, 256.0], 217.0) && !(x % 14.0 < 6.0 && y % 14.0 < 6.0);
    let mesh =
        shaped(&picture(sieve), Quality::Draft).expect("its cheapest edges are blocked, others are not");
    let facts = sound(&mesh, Quality::Draft);
    assert!(handles(&facts) > 500, "{facts:?}");
}

#[test]
fn what_cannot_become_a_mesh_is_rejected_with_what_to_do() {
    refused(|_, _| false, "nothing in the picture");
    refused(|x, y| x < 1.0 && y < 1.0, "a few pixels");
    refused(|x, y| x % 16.0 < 3.0 && y % 16.0 < 3.0, "specks");
    // Three pixels wide from top to bottom would do; one is thinner than any grid.
    refused(|x, _| (x - 256.5).abs() < 0.6, "thin");
    let file = File { name: "cutout.png".into(), content_type: String::new(), bytes: b"no picture".to_vec() };
    let input = Input { recipe: Recipe::default(), files: vec![file] };
    assert!(matches!(Shape.run(&input, &Context::new(&Silent, 0)), Err(StageError::Failed(_))));
}

/// An L: a bar on the left, a foot to the right at the bottom.
fn letter(x: f32, y: f32) -> bool {
    (x > 100.0 && x < 200.0 && y > 40.0 && y < 470.0) || (x > 100.0 && x < 380.0 && y > 390.0 && y < 470.0)
}

#[test]
fn the_pictures_left_is_left_and_its_top_is_up_seen_from_the_front() {
    let mesh = shaped(&picture(letter), Quality::Standard).expect("a mesh");
    let count = |pick: fn(&[f32; 3]) -> bool| mesh.positions.iter().filter(|p| pick(p)).count();
    assert_eq!(count(|p| p[0] > 0.0 && p[1] > 0.0), 0);
    assert!(count(|p| p[0] < 0.0 && p[1] > 0.0) > 100 && count(|p| p[0] > 0.0 && p[1] < 0.0) > 100);
    assert!(mesh.positions.iter().any(|p| p[2] > 0.05) && mesh.positions.iter().any(|p| p[2] < -0.05));
}

#[test]
fn the_silhouette_is_the_masks() {
    for quality in [Quality::Draft, Quality::Standard, Quality::Fine] {
        let picture = picture(letter);
        let mesh = shaped(&picture, quality).expect("a mesh");
        let frame = Cutout::of(picture.clone()).expect("an object").frame;
        let middle = frame.to_mesh([256.0, 256.0]);
        let half_extent = 256.0 * frame.metres_per_px();
        let centre = [middle[0], middle[1], 0.0];
        let seen = render(&mesh, None, &View { yaw: 0.0, pitch: 0.0, size_px: SIDE, half_extent, centre });
        let both = |f: fn(bool, bool) -> bool| {
            seen.pixels().zip(picture.pixels()).filter(|(a, b)| f(a[3] >= 128, b[3] >= 128)).count() as f32
        };
        let iou = both(|a, b| a && b) / both(|a, b| a || b);
        assert!(iou > 0.985, "{iou} at {quality:?}");
    }
}

#[test]
fn the_same_picture_gives_the_same_mesh() {
    let [one, other] = [0, 1].map(|_| shaped(&picture(letter), Quality::Draft).expect("a mesh"));
    assert!(one == other);
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 48,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(7),
        ..ProptestConfig::default()
    })]
    #[test]
    fn any_pile_of_discs_and_holes_gives_a_sound_mesh_or_a_rejection(
        discs in prop::collection::vec(
            (0.0_f32..512.0, 0.0_f32..512.0, 1.0_f32..120.0, any::<bool>()),
            1..14,
        ),
        noise in prop_oneof![Just(0_u32), 2_u32..40],
    ) {
        let inside = |x: f32, y: f32| {
            let hash = x as u32 * 7919 + y as u32 * 104_729;
            let speck = noise > 0 && hash.is_multiple_of(noise);
            let hit = |within: bool, &(cx, cy, r, solid): &(f32, f32, f32, bool)| {
                if disc(x, y, [cx, cy], r) { solid } else { within }
            };
            discs.iter().fold(false, hit) ^ speck
        };
        match shaped(&picture(inside), Quality::Draft) {
            Ok(mesh) => { sound(&mesh, Quality::Draft); }
            Err(StageError::Rejected(reason)) => prop_assert!(reason.contains("use "), "{}", reason),
            Err(other) => prop_assert!(false, "{:?}", other),
        }
    }
}
