//! The rim, where front and back meet: seen from the side, its colours are those of the surface beside it,
//! whatever the picture's shading and its edge look like.

use domain::Recipe;
use image::{Rgba, RgbaImage};
use mesh::TexturedMesh;
use mesh::decimate::decimate;
use mesh::raster::{View, render_unlit};
use mesh::sample::ball;
use mesh::smooth::vertex_normals;
use stage::{Context, File, Input, Silent, StageFunction};
use std::f32::consts::FRAC_PI_2;
use texture::Texture;

const SIDE: u32 = 512;
const RADIUS_PX: f32 = 217.0;

/// A ball that gets darker towards its edge, as lit from where it is seen, and whose outermost pixels are
/// `edge`, as an outline or what is left of a background makes them.
fn shaded(edge: Option<[u8; 3]>) -> RgbaImage {
    RgbaImage::from_fn(SIDE, SIDE, |x, y| {
        let (x, y) = ((x as f32 + 0.5 - 256.0) / RADIUS_PX, (y as f32 + 0.5 - 256.0) / RADIUS_PX);
        let inside = RADIUS_PX * (1.0 - x.hypot(y)) + 0.5;
        let height = (1.0 - x * x - y * y).max(0.0).sqrt();
        let light = (0.5 + 0.5 * height).powi(2);
        let alpha = (inside.clamp(0.0, 1.0) * 255.0) as u8;
        let [r, g, b] = match edge {
            Some(edge) if inside < 2.0 => edge,
            _ => [230.0, 180.0, 120.0].map(|channel: f32| (channel * light) as u8),
        };
        Rgba([r, g, b, alpha])
    })
}

/// The textured ball from the right, without light.
fn from_the_right(picture: &RgbaImage) -> RgbaImage {
    let mut png = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut png, image::ImageFormat::Png).expect("encode the test's picture");
    // Uneven faces, as every model has.
    let mut mesh = decimate(&ball(0.5, 90), 9000, &[f32::INFINITY]).mesh;
    mesh.normals = vertex_normals(&mesh);
    let model = TexturedMesh { mesh, ..TexturedMesh::default() };
    let glb = mesh::glb::write(&model, &serde_json::json!({})).expect("encode the test's mesh");
    let file = |name: &str, bytes| File { name: name.into(), content_type: String::new(), bytes };
    let files = vec![file("mesh.glb", glb), file("cutout.png", png.into_inner())];
    let input = Input { recipe: Recipe::default(), files };
    let files = Texture.run(&input, &Context::new(&Silent, 0)).expect("a textured ball");
    let model = mesh::glb::read(&files[0].bytes).expect("read back what was written");
    let texture =
        image::load_from_memory(&model.texture_png.expect("a texture")).expect("a PNG").into_rgba8();
    let half_extent = 256.0 / (2.0 * RADIUS_PX);
    let view = View { yaw: FRAC_PI_2, pitch: 0.0, size_px: SIDE, half_extent, centre: [0.0; 3] };
    render_unlit(&model.mesh, Some(&texture), &view)
}

fn brightness(pixel: &Rgba<u8>) -> f32 {
    pixel.0[..3].iter().map(|channel| f32::from(*channel)).sum::<f32>() / 3.0
}

/// The most by which a place on the rim differs from the surface a little in front of it, and the most by
/// which neighbours along the rim differ.
fn streak_and_ripple(view: &RgbaImage) -> [f32; 2] {
    let at = |x: u32, y: u32| brightness(view.get_pixel(x, y));
    let (mut streak, mut ripple) = (0.0_f32, 0.0_f32);
    for y in 120..392 {
        for x in 230..=282 {
            streak = streak.max((at(x, y) - at(200, y)).abs());
            ripple = ripple.max((at(x, y) - at(x, y + 3)).abs());
        }
    }
    [streak, ripple]
}

#[test]
fn shading_towards_the_edge_makes_no_streak_along_the_rim() {
    let [streak, ripple] = streak_and_ripple(&from_the_right(&shaded(None)));
    println!("streak {streak:.1}, ripple {ripple:.1} of 255");
    assert!(streak < 12.0 && ripple < 4.0, "streak {streak}, ripple {ripple}");
}

#[test]
fn the_colour_of_the_outermost_pixels_does_not_become_a_band() {
    for edge in [[10, 10, 10], [255, 255, 255]] {
        let [streak, ripple] = streak_and_ripple(&from_the_right(&shaded(Some(edge))));
        println!("edge {edge:?}: streak {streak:.1}, ripple {ripple:.1} of 255");
        assert!(streak < 12.0 && ripple < 4.0, "{edge:?}: streak {streak}, ripple {ripple}");
    }
}
