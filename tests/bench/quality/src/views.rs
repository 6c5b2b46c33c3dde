//! An object as a picture shows it, and the model that the stages make of that picture.

use anyhow::{Context as _, Result};
use domain::Recipe;
use image::{Rgba, RgbaImage};
use mesh::provenance::write_cutout;
use mesh::raster::{View, render, render_unlit};
use mesh::smooth::vertex_normals;
use mesh::{Cutout, CutoutFrame, Mesh, TexturedMesh};
use stage::{Context, File, Input, Silent, StageFunction};
use std::f32::consts::{FRAC_PI_2, PI};

/// From where each object is photographed: turned around y, and from above, radians.
pub(crate) const TURNS: [[f32; 2]; 3] = [[0.0, 0.1], [0.7, 0.35], [1.9, 0.2]];
/// Side of the cut-out, and share of it that the object takes: as preprocess makes them.
const SIDE_PX: u32 = 512;
const FILLED: f32 = 0.85;
/// Side of pictures that are compared.
pub(crate) const COMPARED_PX: u32 = 256;
/// Front, side and back, turned around y.
pub(crate) const SIDES: [f32; 3] = [0.0, FRAC_PI_2, PI];

/// The truth: an object as it is turned, in the cut-out's frame, and its picture.
pub(crate) struct Seen {
    pub(crate) mesh: Mesh,
    pub(crate) texture: RgbaImage,
    pub(crate) cutout: RgbaImage,
}

/// The model.
pub(crate) struct Found {
    pub(crate) mesh: Mesh,
    pub(crate) texture: RgbaImage,
}

/// Turns an object, paints it, and takes its picture with the light that the preview has.
pub(crate) fn seen(whole: &Mesh, [yaw, pitch]: [f32; 2]) -> Seen {
    let ((sin, cos), (rise, level)) = (yaw.sin_cos(), pitch.sin_cos());
    let turned = |[x, y, z]: [f32; 3]| {
        let [x, z] = [cos * x - sin * z, sin * x + cos * z];
        [x, level * y - rise * z, rise * y + level * z]
    };
    let mut mesh = Mesh {
        positions: whole.positions.iter().copied().map(turned).collect(),
        // Stripes of the object's own: height across, and around.
        uvs: whole.positions.iter().map(|p| [0.5 + 0.4 * (p[0] + 0.3 * p[2]), 0.5 - 0.45 * p[1]]).collect(),
        triangles: whole.triangles.clone(),
        normals: Vec::new(),
    };
    mesh.normals = vertex_normals(&mesh);
    let texture = paint();
    let [low, high] = mesh.bounds();
    let centre = [0, 1, 2].map(|k| (low[k] + high[k]) / 2.0);
    let half = (high[0] - low[0]).max(high[1] - low[1]) / 2.0;
    let view = View { yaw: 0.0, pitch: 0.0, size_px: SIDE_PX, half_extent: half / FILLED, centre };
    let cutout = render(&mesh, Some(&texture), &view);
    // The frame that the stages will see decides where the truth stands.
    let frame = Cutout::of(cutout.clone())
        .map_or(CutoutFrame { centre_px: [256.0; 2], size_px: [435.0; 2] }, |cutout| cutout.frame);
    let px = SIDE_PX as f32 / 2.0 / view.half_extent;
    for p in &mut mesh.positions {
        let at = [256.0 + (p[0] - centre[0]) * px, 256.0 - (p[1] - centre[1]) * px];
        let [x, y] = frame.to_mesh(at);
        *p = [x, y, (p[2] - centre[2]) * px * frame.metres_per_px()];
    }
    Seen { mesh, texture, cutout }
}

/// Soft patches of colour, light and dark, so that a wrong place has a wrong colour.
fn paint() -> RgbaImage {
    RgbaImage::from_fn(256, 256, |x, y| {
        let wave = |k: f32| 0.5 + 0.5 * (x as f32 * 0.04 * k + y as f32 * 0.07 + k).sin();
        let channel = |k: f32| (60.0 + 180.0 * wave(k)) as u8;
        Rgba([channel(1.0), channel(1.7), channel(0.6), 255])
    })
}

/// What shape and texture make of a cut-out.
pub(crate) fn modelled(cutout: &RgbaImage, recipe: &Recipe) -> Result<Found> {
    let png = write_cutout(cutout, &vec![]).map_err(anyhow::Error::msg)?;
    let mut files = vec![File { name: "cutout.png".to_owned(), content_type: String::new(), bytes: png }];
    let stages: [Box<dyn StageFunction>; 2] = [Box::new(shape::Shape), Box::new(texture::Texture)];
    for mut stage in stages {
        let input = Input { recipe: recipe.clone(), files: files.clone() };
        files.extend(stage.run(&input, &Context::new(&Silent, 0))?);
    }
    let TexturedMesh { mesh, texture_png, .. } = mesh::glb::read(&files[2].bytes)?;
    let texture = image::load_from_memory(&texture_png.context("a model has a texture")?)?.into_rgba8();
    Ok(Found { mesh, texture })
}

/// A mesh from a side, in its own colours without light; everything within 1.6 m is in the picture.
pub(crate) fn unlit(mesh: &Mesh, texture: &RgbaImage, yaw: f32, centre: [f32; 3]) -> RgbaImage {
    let view = View { yaw, pitch: 0.0, size_px: COMPARED_PX, half_extent: 0.8, centre };
    render_unlit(mesh, Some(texture), &view)
}
