//! One asymmetric object in every format that has a surface, written to `tmp/golden` in the target folder for
//! other people's programs: `tests/e2e/models/readers.py` opens them. What is checked here is what needs no
//! reader.

use domain::Recipe;
use export::Export;
use image::{Rgb, RgbImage};
use mesh::{Mesh, TexturedMesh, glb};
use stage::{Context, File, Input, Silent, StageFunction};
use std::io::Cursor;
use std::path::Path;

/// Long in x, less in y, least in z, and one corner sticks out to the right, up and to the front.
fn golden() -> TexturedMesh {
    let corner = |n: u32| [(n & 1) as f32, (n >> 1 & 1) as f32 * 0.6, (n >> 2 & 1) as f32 * 0.3];
    let mut positions: Vec<[f32; 3]> = (0..8).map(corner).collect();
    positions[7] = [1.4, 0.9, 0.5];
    let quads: [[u32; 4]; 6] =
        [[0, 2, 3, 1], [4, 5, 7, 6], [0, 1, 5, 4], [2, 6, 7, 3], [0, 4, 6, 2], [1, 3, 7, 5]];
    let triangles = quads.iter().flat_map(|[a, b, c, d]| [[*a, *b, *c], [*a, *c, *d]]).collect();
    let uvs = positions.iter().map(|[x, y, _]| [x / 1.4, 1.0 - y / 0.9]).collect();
    let mut png = Cursor::new(Vec::new());
    let texture = RgbImage::from_fn(64, 64, |x, y| Rgb([60 + 3 * x as u8, 60 + 3 * y as u8, 90]));
    texture.write_to(&mut png, image::ImageFormat::Png).expect("memory");
    let mesh = Mesh { positions, uvs, triangles, ..Mesh::default() };
    TexturedMesh { mesh, texture_png: Some(png.into_inner()) }
}

#[test]
fn every_format_of_the_golden_object_is_written_for_other_peoples_readers() {
    let bytes = glb::write(&golden(), &serde_json::Value::Null).expect("a good mesh");
    let recipe = Recipe::default().with_options([("formats", "glb stl ply obj 3mf usdz packed")]);
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
    let expect =
        "model.glb model.stl model.ply model.obj.zip model.3mf model.usdz model.packed.glb preview.png";
    assert_eq!(names.join(" "), expect);
    let extras = glb::extras(&files[0].bytes);
    assert_eq!(extras["triangles"], 12);
    assert!(extras["licence"].as_str().is_some_and(|licence| !licence.is_empty()), "{extras}");
}
