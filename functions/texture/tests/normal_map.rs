//! Normal maps through the stage function: what they say of a surface is what the dense one was.

use domain::Recipe;
use image::{Rgba, RgbaImage};
use mesh::decimate::decimate;
use mesh::geometry::{dot, unit};
use mesh::sample::{ball, cube};
use mesh::smooth::vertex_normals;
use mesh::tangent::{decoded, frame, tangents};
use mesh::{Mesh, TexturedMesh};
use stage::{Context, File, Input, Silent, StageError, StageFunction};
use texture::Texture;

const TEXTURE_PX: u32 = 512;

/// The model with its normal map, of a mesh that goes along with the dense one that it was.
fn mapped(mut mesh: Mesh, dense: Option<Mesh>) -> Result<(Mesh, RgbaImage), StageError> {
    let picture = RgbaImage::from_fn(128, 128, |x, y| {
        let inside = (14..114).contains(&x) && (14..114).contains(&y);
        Rgba([120, 90, 60, 255 * u8::from(inside)])
    });
    let mut png = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut png, image::ImageFormat::Png).expect("encode the test's picture");
    mesh.normals = vertex_normals(&mesh);
    let model = TexturedMesh { mesh, ..TexturedMesh::default() };
    let nothing = serde_json::Value::Null;
    let glb = match dense {
        Some(dense) => mesh::glb::write_with_dense(&model, &dense, &nothing),
        None => mesh::glb::write(&model, &nothing),
    };
    let file = |name: &str, bytes| File { name: name.into(), content_type: String::new(), bytes };
    let files =
        vec![file("mesh.glb", glb.expect("encode the test's mesh")), file("cutout.png", png.into_inner())];
    let texture_px = TEXTURE_PX.to_string();
    let recipe = Recipe::default().with_options([("normal-map", "on"), ("texture-px", &texture_px)]);
    let input = Input { recipe: recipe.expect("good options"), files };
    let files = Texture.run(&input, &Context::new(&Silent, 0))?;
    let model = mesh::glb::read(&files[0].bytes).expect("read back what was written");
    let map = image::load_from_memory(&model.normal_png.expect("a normal map")).expect("a PNG").into_rgba8();
    assert_eq!(map.dimensions(), (TEXTURE_PX, TEXTURE_PX));
    Ok((model.mesh, map))
}

fn with_normals(mut mesh: Mesh) -> Mesh {
    mesh.normals = vertex_normals(&mesh);
    mesh
}

/// Calls with place and mapped normal in the middle of each face that is a few texels wide.
fn each_face(mesh: &Mesh, map: &RgbaImage, mut see: impl FnMut([f32; 3], [f32; 3], [u8; 3])) {
    let tangents = tangents(mesh);
    for &triangle in &mesh.triangles {
        let mean = |values: [[f32; 3]; 3]| [0, 1, 2].map(|k| values.iter().map(|v| v[k]).sum::<f32>() / 3.0);
        let frames = triangle.map(|i| frame(tangents[i as usize], mesh.normals[i as usize]));
        let mixed = [0, 1, 2].map(|axis| mean(frames.map(|frame| frame[axis])));
        let uvs = triangle.map(|index| mesh.uvs[index as usize].map(|value| value * TEXTURE_PX as f32));
        let [x, y] = [0, 1].map(|k| (uvs.iter().map(|uv| uv[k]).sum::<f32>() / 3.0) as u32);
        let [r, g, b, _] = map.get_pixel(x, y).0;
        see(mean(mesh.corners(triangle)), decoded([r, g, b], &mixed), [r, g, b]);
    }
}

#[test]
fn the_normals_of_a_ball_point_outwards_however_few_faces_are_left() {
    let dense = with_normals(ball(0.5, 90));
    let small = decimate(&dense, 400, &[f32::INFINITY]).mesh;
    let (mesh, map) = mapped(small, Some(dense)).expect("a textured ball");
    assert!(mesh.triangles.len() <= 400);
    let (mut worst, mut count) = (1.0_f32, 0);
    each_face(&mesh, &map, |place, normal, _| {
        worst = worst.min(dot(normal, unit(place)));
        count += 1;
    });
    assert!(worst > 0.99 && count > 350, "{worst} of {count}");
    // Nowhere, not between the charts either, does the map point into the surface.
    assert!(map.pixels().all(|texel| texel[2] > 128));
}

#[test]
fn what_is_flat_is_plain_and_the_edges_of_a_box_are_sharp_again() {
    let small = cube([0.0; 3], 0.5);
    // Each face of the box on its own: normals that no corner rounds.
    let mut dense = Mesh::default();
    for &triangle in &small.triangles {
        let corners = small.corners(triangle);
        let begins = dense.positions.len() as u32;
        dense.positions.extend(corners);
        dense.normals.extend([unit(mesh::geometry::face_normal(corners)); 3]);
        dense.triangles.push([begins, begins + 1, begins + 2]);
    }
    let (mesh, map) = mapped(small.clone(), Some(dense)).expect("a textured box");
    each_face(&mesh, &map, |place, normal, _| {
        let axis = (0..3).fold(0, |best, k| if place[k].abs() > place[best].abs() { k } else { best });
        assert!(normal[axis] * place[axis].signum() > 0.995, "{normal:?} at {place:?}");
    });
    // The same surface as dense one: nothing is to be given back.
    let (mesh, map) = mapped(small.clone(), Some(with_normals(small))).expect("a textured box");
    each_face(&mesh, &map, |place, _, texel| assert_eq!(texel, [128, 128, 255], "at {place:?}"));
}

#[test]
fn without_the_dense_surface_there_is_a_reason_and_no_map() {
    match mapped(cube([0.0; 3], 0.5), None) {
        Err(StageError::Failed(reason)) => assert!(reason.contains("dense surface"), "{reason}"),
        other => panic!("{:?}", other.map(|_| ())),
    }
}
