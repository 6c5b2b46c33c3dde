//! The engine `layered` through the stage function: sound meshes in the cut-out's frame, the same for the
//! same picture, and mirrored for a mirrored one.

use domain::Recipe;
use image::{Rgba, RgbaImage, imageops};
use mesh::Mesh;
use mesh::check::{MeshFacts, check};
use shape::Shape;
use stage::{Context, File, Input, Silent, StageFunction};

const SIDE: u32 = 512;

/// A jug as one might photograph it: a shaded body, a handle with a hole, a spout to one side.
fn jug() -> RgbaImage {
    RgbaImage::from_fn(SIDE, SIDE, |x, y| {
        let [x, y] = [x, y].map(|k| (k as f32 + 0.5) / 256.0 - 1.0);
        let body = x.abs() < 0.4 && y.abs() < 0.8;
        let ring = ((x - 0.45).hypot(y) - 0.3).abs() < 0.07;
        let spout = x < -0.35 && y < -0.2 && x > -0.75 && y > -0.8 - (x + 0.35) * 1.2;
        let light = 70.0 + 150.0 * (1.0 - (x / 0.45).powi(2)).max(0.0).sqrt();
        let alpha = if body || ring || spout { 255 } else { 0 };
        Rgba([light as u8, (light * 0.8) as u8, (light * 0.6) as u8, alpha])
    })
}

fn bytes(picture: &RgbaImage, options: &[(&str, &str)]) -> Vec<u8> {
    let mut png = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut png, image::ImageFormat::Png).expect("encode the test's picture");
    let file = File { name: "cutout.png".into(), content_type: String::new(), bytes: png.into_inner() };
    let options = [("engine", "layered")].into_iter().chain(options.iter().copied());
    let recipe = Recipe::default().with_options(options).expect("good options");
    let input = Input { recipe, files: vec![file] };
    Shape.run(&input, &Context::new(&Silent, 0)).expect("a mesh").remove(0).bytes
}

fn shaped(picture: &RgbaImage, options: &[(&str, &str)]) -> (Mesh, MeshFacts) {
    let mesh = mesh::glb::read(&bytes(picture, options)).expect("read back what was written").mesh;
    let facts = check(&mesh).expect("closed, and every edge of two faces");
    (mesh, facts)
}

#[test]
fn a_picture_with_a_hole_becomes_a_sound_mesh_in_its_frame() {
    let (mesh, facts) = shaped(&jug(), &[]);
    let [low, high] = mesh.bounds();
    let longest = (high[0] - low[0]).max(high[1] - low[1]);
    assert!((longest - 1.0).abs() < 2e-3, "{facts:?}");
    assert!(high[2] - low[2] > 0.1 && high[2] - low[2] < 2.0, "{facts:?}");
    assert!(facts.triangles <= 25_000);
    // One handle: Euler's characteristic of a torus.
    assert_eq!(facts.vertices as i64 - facts.triangles as i64 / 2, 0, "{facts:?}");
}

#[test]
fn the_same_picture_becomes_the_same_bytes() {
    assert_eq!(bytes(&jug(), &[]), bytes(&jug(), &[]));
}

#[test]
fn a_mirrored_picture_becomes_the_mirrored_shape() {
    let [straight, mirrored] =
        [jug(), imageops::flip_horizontal(&jug())].map(|picture| shaped(&picture, &[]).1);
    let gap = (straight.volume - mirrored.volume).abs();
    assert!(gap < 0.01 * straight.volume, "{straight:?} {mirrored:?}");
}

#[test]
fn half_the_thickness_is_about_half_the_volume() {
    let [whole, half] =
        ["100", "50"].map(|percent| shaped(&jug(), &[("thickness-percent", percent)]).1.volume);
    assert!((half / whole - 0.5).abs() < 0.05, "{half} of {whole}");
}
