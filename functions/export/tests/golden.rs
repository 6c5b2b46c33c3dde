//! One asymmetric object in every format, written to `tmp/golden` in the target folder for other people's
//! programs: `tests/e2e/models/readers.py` opens them. What is checked here is what needs no reader.

use domain::Recipe;
use export::Export;
use image::{Rgb, RgbImage};
use mesh::smooth::vertex_normals;
use mesh::weld::weld;
use mesh::{Mesh, TexturedMesh, glb};
use stage::{Context, File, Input, Silent, StageFunction};
use std::io::Cursor;
use std::path::Path;

/// Faces along each side of the object's six quads.
const STEPS: usize = 6;

/// Long in x, less in y, least in z, and one corner sticks out to the right, up and to the front. In its
/// texture red grows to the right, green downwards.
fn golden() -> TexturedMesh {
    let corner = |n: usize| [(n & 1) as f32, (n >> 1 & 1) as f32 * 0.6, (n >> 2 & 1) as f32 * 0.3];
    let mut corners: Vec<[f32; 3]> = (0..8).map(corner).collect();
    corners[7] = [1.4, 0.9, 0.5];
    let quads: [[usize; 4]; 6] =
        [[0, 2, 3, 1], [4, 5, 7, 6], [0, 1, 5, 4], [2, 6, 7, 3], [0, 4, 6, 2], [1, 3, 7, 5]];
    let mut loose = Mesh::default();
    for quad in quads {
        let place = |i: usize, k: usize| {
            let (i, k, steps) = (i as f32, k as f32, STEPS as f32);
            let weights = [(steps - i) * (steps - k), i * (steps - k), i * k, (steps - i) * k];
            // Of at most two terms on an edge, which add up to the same from both of its quads.
            let sum = |axis: usize| (0..4).map(|c| weights[c] * corners[quad[c]][axis]).sum::<f32>();
            [0, 1, 2].map(|axis| sum(axis) / (steps * steps))
        };
        for at in 0..STEPS * STEPS {
            let (i, k) = (at % STEPS, at / STEPS);
            let first = loose.positions.len() as u32;
            loose.positions.extend([place(i, k), place(i + 1, k), place(i + 1, k + 1), place(i, k + 1)]);
            loose.triangles.extend([[first, first + 1, first + 2], [first, first + 2, first + 3]]);
        }
    }
    let mut mesh = weld(&loose);
    mesh.normals = vertex_normals(&mesh);
    mesh.uvs = mesh.positions.iter().map(|[x, y, _]| [x / 1.4, 1.0 - y / 0.9]).collect();
    let texture = RgbImage::from_fn(64, 64, |x, y| Rgb([60 + 3 * x as u8, 60 + 3 * y as u8, 90]));
    let normals = RgbImage::from_pixel(64, 64, Rgb([128, 128, 255]));
    TexturedMesh { mesh, texture_png: Some(png(&texture)), normal_png: Some(png(&normals)) }
}

fn png(picture: &RgbImage) -> Vec<u8> {
    let mut png = Cursor::new(Vec::new());
    picture.write_to(&mut png, image::ImageFormat::Png).expect("memory");
    png.into_inner()
}

#[test]
fn every_format_of_the_golden_object_is_written_for_other_peoples_readers() {
    let bytes = glb::write(&golden(), &serde_json::Value::Null).expect("a good mesh");
    let recipe =
        Recipe::default().with_options([("formats", "glb stl ply obj 3mf usdz turntable gif packed lod")]);
    let recipe = recipe.expect("good options");
    let upload = File { name: "textured.glb".to_owned(), content_type: String::new(), bytes };
    let input = Input { recipe, files: vec![upload] };
    let files = Export.run(&input, &Context::new(&Silent, 0)).expect("a sound mesh");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("golden");
    std::fs::create_dir_all(&folder).expect("a folder");
    for file in &files {
        std::fs::write(folder.join(&file.name), &file.bytes).expect("a file");
    }
    let names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
    let expect = "model.glb model.stl model.ply model.obj.zip model.3mf model.usdz turntable.webp \
                  turntable.gif model.packed.glb model.lod50.glb model.lod25.glb model.lod10.glb preview.png";
    assert_eq!(names.join(" "), expect);
    let extras = glb::extras(&files[0].bytes);
    assert_eq!(extras["triangles"], 12 * STEPS * STEPS);
    assert!(extras["licence"].as_str().is_some_and(|licence| !licence.is_empty()), "{extras}");
}
