//! A ball and its picture through the stage function: colours are where they belong, and the surface stays
//! closed.

use domain::Recipe;
use image::{Rgba, RgbaImage};
use mesh::check::{MeshFacts, check};
use mesh::raster::{View, render_unlit};
use mesh::sample::ball;
use mesh::smooth::vertex_normals;
use mesh::weld::weld;
use mesh::{Mesh, TexturedMesh};
use stage::{Context, File, Input, Silent, StageError, StageFunction};
use texture::Texture;

const SIDE: u32 = 512;
const RADIUS_PX: f32 = 217.0;

/// Red grows to the right, blue downwards; pure green wherever the object is not, hidden by alpha.
fn picture() -> RgbaImage {
    RgbaImage::from_fn(SIDE, SIDE, |x, y| {
        let inside = RADIUS_PX + 0.5 - (x as f32 + 0.5 - 256.0).hypot(y as f32 + 0.5 - 256.0);
        let alpha = (inside.clamp(0.0, 1.0) * 255.0) as u8;
        if alpha < 250 {
            return Rgba([0, 255, 0, alpha]);
        }
        Rgba([40 + (x * 200 / SIDE) as u8, 0, 40 + (y * 200 / SIDE) as u8, alpha])
    })
}

fn object() -> Mesh {
    let mut mesh = ball(0.5, 60);
    mesh.normals = vertex_normals(&mesh);
    mesh
}

fn run(mesh: &Mesh, texture_px: u32) -> Result<TexturedMesh, StageError> {
    let mut png = std::io::Cursor::new(Vec::new());
    picture().write_to(&mut png, image::ImageFormat::Png).expect("encode the test's picture");
    let model = TexturedMesh { mesh: mesh.clone(), ..TexturedMesh::default() };
    let glb = mesh::glb::write(&model, &serde_json::json!({})).expect("encode the test's mesh");
    let file = |name: &str, bytes| File { name: name.into(), content_type: String::new(), bytes };
    let files = vec![file("mesh.glb", glb), file("cutout.png", png.into_inner())];
    let input = Input { recipe: Recipe { texture_px, ..Recipe::default() }, files };
    let files = Texture.run(&input, &Context::new(&Silent, 0))?;
    assert_eq!(files.iter().map(|file| file.name.as_str()).collect::<Vec<_>>(), ["textured.glb"]);
    Ok(mesh::glb::read(&files[0].bytes).expect("read back what was written"))
}

fn textured(texture_px: u32) -> (Mesh, RgbaImage) {
    let model = run(&object(), texture_px).expect("a textured mesh");
    let png = model.texture_png.expect("it has a texture");
    (model.mesh, image::load_from_memory(&png).expect("a picture").into_rgba8())
}

#[test]
fn the_surface_is_the_same_and_closed_once_the_seams_are_merged() {
    let (mesh, texture) = textured(1024);
    assert_eq!(texture.dimensions(), (1024, 1024));
    let facts = |mesh: &Mesh| check(mesh).map(|MeshFacts { vertices, triangles, .. }| (vertices, triangles));
    assert_eq!(facts(&weld(&mesh)), facts(&weld(&object())));
    assert!(mesh.positions.len() < object().positions.len() * 12 / 10, "{}", mesh.positions.len());
    assert!(mesh.uvs.iter().flatten().all(|value| (0.0..=1.0).contains(value)));
    assert_eq!((mesh.uvs.len(), mesh.normals.len()), (mesh.positions.len(), mesh.positions.len()));
}

#[test]
fn every_texel_has_a_colour_of_the_object() {
    for side in [256, 1024] {
        let (_, texture) = textured(side);
        // The object has no green and nothing darker than 40.
        assert!(texture.pixels().all(|texel| texel[1] == 0 && texel[0] > 35 && texel[2] > 35));
    }
}

fn seen(mesh: &Mesh, texture: &RgbaImage, yaw: f32) -> RgbaImage {
    let half_extent = 256.0 / (2.0 * RADIUS_PX);
    render_unlit(mesh, Some(texture), &View { yaw, pitch: 0.0, size_px: SIDE, half_extent, centre: [0.0; 3] })
}

#[test]
fn the_front_is_the_picture_and_the_back_its_mirror_image() {
    let (mesh, texture) = textured(1024);
    let picture = picture();
    for (yaw, mirrored) in [(0.0, false), (std::f32::consts::PI, true)] {
        let view = seen(&mesh, &texture, yaw);
        let (mut squares, mut count) = (0.0, 0.0);
        for (x, y, pixel) in view.enumerate_pixels().filter(|(_, _, pixel)| pixel[3] == 255) {
            let expect = picture.get_pixel(if mirrored { SIDE - 1 - x } else { x }, y);
            if expect[3] == 255 {
                squares += (0..3).map(|k| (f64::from(pixel[k]) - f64::from(expect[k])).powi(2)).sum::<f64>();
                count += 3.0;
            }
        }
        let psnr = 10.0 * (255.0_f64.powi(2) / (squares / count)).log10();
        // A little is taken off where colours fall off as light does.
        assert!(psnr > 30.0 && count > 400_000.0, "{psnr} dB over {count} at yaw {yaw}");
    }
}

#[test]
fn sides_take_the_colour_of_what_is_next_to_them() {
    let (mesh, texture) = textured(1024);
    let quarter = std::f32::consts::FRAC_PI_2;
    // Seen from the right (+X), all is as red as the picture's right; from the left, as its left.
    let (right, left) = (seen(&mesh, &texture, quarter), seen(&mesh, &texture, -quarter));
    assert!(right.get_pixel(256, 256)[0] > 180, "{:?}", right.get_pixel(256, 256));
    assert!(left.get_pixel(256, 256)[0] < 100, "{:?}", left.get_pixel(256, 256));
    // Blue still grows downwards.
    assert!(right.get_pixel(256, 150)[2] + 50 < right.get_pixel(256, 360)[2]);
}

#[test]
fn a_mesh_with_a_hole_is_not_textured() {
    let mut open = object();
    open.triangles.pop();
    assert!(matches!(run(&open, 256), Err(StageError::Failed(reason)) if reason.contains("not sound")));
}
