//! Charts: what a surface looks like on both sides of their borders is the same, near and far off, hardly a
//! face is stretched, and there are few of them.

use domain::Recipe;
use image::{Rgba, RgbaImage};
use mesh::decimate::decimate;
use mesh::geometry::{area, dot, sub};
use mesh::sample::{ball, torus};
use mesh::smooth::vertex_normals;
use mesh::weld::welded;
use mesh::{Mesh, TexturedMesh};
use stage::{Context, File, Input, Silent, StageFunction};
use std::collections::BTreeMap;
use texture::Texture;

const SIDE: u32 = 512;
const TEXTURE_PX: u32 = 1024;
/// Halvings of the texture that its padding is made for.
const LEVELS: usize = 3;
/// Differences in the mean and at most, of 255, by level: what the picture itself changes within a texel.
const MEAN_MAX: [f32; LEVELS] = [2.0, 3.0, 5.0];
const GAP_MAX: [f32; LEVELS] = [14.0, 16.0, 24.0];
/// What a face at 60 degrees is drawn out by, and a little more; the share of the surface that may be over
/// it, and what 99 of 100 faces are within.
const STRETCH: f32 = 2.1;
const STRETCHED_SHARE_MAX: f32 = 0.05;
const LATE_STRETCH_MAX: f32 = 3.5;
/// Charts of a ball or a ring: six sides, and what is left between them.
const CHARTS_MAX: u64 = 16;
/// Places along an edge at which both sides are compared.
const PLACES: u32 = 5;

/// Colours that change all over, within the silhouette of a standing ring or a ball.
fn picture(hole: f32) -> RgbaImage {
    RgbaImage::from_fn(SIDE, SIDE, |x, y| {
        let (right, down) = (x as f32 + 0.5 - 256.0, y as f32 + 0.5 - 256.0);
        let radius = right.hypot(down);
        let inside = (217.5 - radius).min(radius - hole).clamp(0.0, 1.0);
        let wave =
            |step: f32| (128.0 + 90.0 * (right / 41.0 + step).sin() * (down / 53.0 + step).cos()) as u8;
        Rgba([wave(0.0), wave(1.0), wave(2.0), (inside * 255.0) as u8])
    })
}

/// A ball and a standing ring, with the uneven faces that every model has.
fn objects() -> [(&'static str, Mesh, RgbaImage); 2] {
    let mut ring = torus(0.35, 0.15, 160, 80);
    ring.positions.iter_mut().for_each(|p| *p = [p[0], -p[2], p[1]]);
    let uneven = |mesh: &Mesh| {
        let mut mesh = decimate(mesh, 9000, &[f32::INFINITY]).mesh;
        mesh.normals = vertex_normals(&mesh);
        mesh
    };
    let hole = 2.0 * 217.0 * 0.2;
    [("ball", uneven(&ball(0.5, 90)), picture(0.0)), ("ring", uneven(&ring), picture(hole))]
}

fn textured(mesh: Mesh, picture: &RgbaImage) -> (Mesh, RgbaImage, u64) {
    let mut png = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut png, image::ImageFormat::Png).expect("encode the test's picture");
    let model = TexturedMesh { mesh, ..TexturedMesh::default() };
    let glb = mesh::glb::write(&model, &serde_json::json!({})).expect("encode the test's mesh");
    let file = |name: &str, bytes| File { name: name.into(), content_type: String::new(), bytes };
    let files = vec![file("mesh.glb", glb), file("cutout.png", png.into_inner())];
    let recipe = Recipe { texture_px: TEXTURE_PX, ..Recipe::default() };
    let files = Texture.run(&Input { recipe, files }, &Context::new(&Silent, 0)).expect("a textured mesh");
    let charts = mesh::glb::extras(&files[0].bytes)["charts"].as_u64().expect("a number of charts");
    let model = mesh::glb::read(&files[0].bytes).expect("read back what was written");
    let texture = image::load_from_memory(&model.texture_png.expect("a texture")).expect("a PNG");
    (model.mesh, texture.into_rgba8(), charts)
}

/// Half as large, each texel the mean of four: the next mip level.
fn halved(texture: &RgbaImage) -> RgbaImage {
    RgbaImage::from_fn(texture.width() / 2, texture.height() / 2, |x, y| {
        let four = [(0, 0), (1, 0), (0, 1), (1, 1)].map(|(i, k)| texture.get_pixel(2 * x + i, 2 * y + k));
        Rgba([0, 1, 2, 3].map(|c| (four.iter().map(|texel| u32::from(texel[c])).sum::<u32>() / 4) as u8))
    })
}

/// Bilinear, clamped at the border.
fn sampled(texture: &RgbaImage, uv: [f32; 2]) -> [f32; 3] {
    let place = |value: f32, size: u32| {
        let at = (value * size as f32 - 0.5).clamp(0.0, (size - 1) as f32);
        (at as u32, (at as u32 + 1).min(size - 1), at - at.floor())
    };
    let ((x0, x1, fx), (y0, y1, fy)) = (place(uv[0], texture.width()), place(uv[1], texture.height()));
    let texel = |x: u32, y: u32, c: usize| f32::from(texture.get_pixel(x, y)[c]);
    let row = |y: u32, c: usize| texel(x0, y, c) * (1.0 - fx) + texel(x1, y, c) * fx;
    [0, 1, 2].map(|c| row(y0, c) * (1.0 - fy) + row(y1, c) * fy)
}

/// Both texture coordinates of both ends of each edge that has two charts.
fn seams(mesh: &Mesh) -> Vec<[[[f32; 2]; 2]; 2]> {
    let place_of = welded(mesh).vertex_of;
    let mut sides: BTreeMap<(u32, u32), Vec<[u32; 2]>> = BTreeMap::new();
    for &[a, b, c] in &mesh.triangles {
        for (from, to) in [(a, b), (b, c), (c, a)] {
            let (low, high) = (place_of[from as usize], place_of[to as usize]);
            let (key, ends) = if low < high { ((low, high), [from, to]) } else { ((high, low), [to, from]) };
            sides.entry(key).or_default().push(ends);
        }
    }
    let apart = sides.into_values().filter(|sides| sides.len() == 2 && sides[0] != sides[1]);
    apart.map(|s| [s[0], s[1]].map(|ends| ends.map(|index| mesh.uvs[index as usize]))).collect()
}

#[test]
fn colours_on_both_sides_of_a_seam_agree_near_and_far_off() {
    for (name, mesh, picture) in objects() {
        let (mesh, mut texture, _) = textured(mesh, &picture);
        let seams = seams(&mesh);
        assert!(seams.len() > 200, "{name}: {} edges", seams.len());
        for level in 0..LEVELS {
            let (mut most, mut sum, mut count) = (0.0_f32, 0.0, 0.0);
            for [one, other] in &seams {
                for place in 0..PLACES {
                    let share = (place as f32 + 0.5) / PLACES as f32;
                    let at = |ends: &[[f32; 2]; 2]| {
                        sampled(&texture, [0, 1].map(|k| ends[0][k] + (ends[1][k] - ends[0][k]) * share))
                    };
                    let (one, other) = (at(one), at(other));
                    let gap = (0..3).map(|c| (one[c] - other[c]).abs()).fold(0.0, f32::max);
                    (most, sum, count) = (most.max(gap), sum + gap, count + 1.0);
                }
            }
            let mean = sum / count;
            println!("{name}, level {level}: mean {mean:.2}, most {most:.1} of 255 at {count} places");
            assert!(mean < MEAN_MAX[level] && most < GAP_MAX[level], "{name}, level {level}: {mean}, {most}");
            texture = halved(&texture);
        }
    }
}

/// By how much a face is drawn out in its texture: the ratio of what a texel is long and wide on it.
fn stretch(mesh: &Mesh, triangle: [u32; 3]) -> f32 {
    let [a, b, c] = triangle.map(|index| mesh.uvs[index as usize]);
    let [p, q, r] = mesh.corners(triangle);
    let (edge, other) = (sub(q, p), sub(r, p));
    let (s, t) = ([b[0] - a[0], b[1] - a[1]], [c[0] - a[0], c[1] - a[1]]);
    let turn = s[0] * t[1] - s[1] * t[0];
    let along_u = [0, 1, 2].map(|k| (edge[k] * t[1] - other[k] * s[1]) / turn);
    let along_v = [0, 1, 2].map(|k| (other[k] * s[0] - edge[k] * t[0]) / turn);
    let (uu, uv, vv) = (dot(along_u, along_u), dot(along_u, along_v), dot(along_v, along_v));
    let root = ((uu - vv).powi(2) + 4.0 * uv * uv).sqrt();
    ((uu + vv + root) / (uu + vv - root)).sqrt()
}

#[test]
fn charts_are_few_and_hardly_anything_in_them_is_drawn_out() {
    for (name, mesh, picture) in objects() {
        let (mesh, _, charts) = textured(mesh, &picture);
        let measured = |triangle: &[u32; 3]| (stretch(&mesh, *triangle), area(mesh.corners(*triangle)));
        let mut faces: Vec<(f32, f32)> = mesh.triangles.iter().map(measured).collect();
        faces.sort_unstable_by(|one, other| one.0.total_cmp(&other.0));
        let whole: f32 = faces.iter().map(|(_, area)| area).sum();
        let over: f32 = faces.iter().filter(|(drawn, _)| *drawn > STRETCH).map(|(_, area)| area).sum();
        let late = faces[faces.len() * 99 / 100].0;
        let share = over / whole;
        println!("{name}: {charts} charts, {share:.3} drawn out, 99 % of faces by {late:.2} at most");
        assert!(charts <= CHARTS_MAX, "{name}: {charts} charts");
        assert!(share < STRETCHED_SHARE_MAX && late < LATE_STRETCH_MAX, "{name}: {share}, {late}");
    }
}
