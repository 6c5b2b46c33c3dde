//! Stage 3: mesh and cut-out -> textured mesh.
//!
//! `mesh.glb` and `cutout.png` in, `textured.glb` out: the same surface, base colour baked from the picture.
//! The flow: `charts` -> `pack` (put together in `unwrap`), then `picture`, `rim` and `light` say which
//! colour a point has, `bake` fills. On request `normals` bakes a normal map of the dense surface that the
//! shape stage sends along.
#![forbid(unsafe_code)]

mod bake;
mod charts;
mod light;
mod normals;
mod pack;
mod picture;
mod rim;
mod unwrap;

use bake::Canvas;
use domain::{EngineVersion, Recipe};
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder};
use light::Light;
use mesh::check::check;
use mesh::smooth::{calm_normals, vertex_normals};
use mesh::{Cutout, CutoutFault, Mesh, TexturedMesh, provenance};
use picture::{Picture, Point};
use stage::{Context, File, Input, Output, StageError, StageFunction};
use unwrap::Unwrapped;

/// Rounds of calming for the normals by which the picture is laid around the rim: their jitter would be seen
/// as ragged lines there.
const CALMING_ROUNDS: u32 = 3;

/// The stage function texture.
#[derive(Clone, Copy, Debug, Default)]
pub struct Texture;

impl StageFunction for Texture {
    fn engine(&self, _recipe: &Recipe) -> EngineVersion {
        EngineVersion { name: "projection".to_owned(), version: "3".to_owned() }
    }

    fn run(&mut self, input: &Input, cx: &Context<'_>) -> Output {
        cx.progress(0.0, "decode");
        let source = {
            let _span = cx.span("decode");
            read(input)?
        };
        let (model, charts) = texture(source, input.recipe.texture_px, cx)?;
        cx.progress(0.95, "encode");
        let _span = cx.span("encode");
        let engine = self.engine(&input.recipe);
        let extras = serde_json::json!({"texture_px": input.recipe.texture_px, "charts": charts});
        let own = serde_json::json!({"stage": "texture", "engine": engine.name, "version": engine.version});
        let extras = provenance::extras(extras, provenance::of_glb(input.file("mesh.glb")?), Some(own));
        let bytes = mesh::glb::write(&model, &extras)
            .map_err(|error| StageError::Failed(format!("encode the textured mesh: {error}")))?;
        Ok(vec![File {
            name: "textured.glb".to_owned(),
            content_type: "model/gltf-binary".to_owned(),
            bytes,
        }])
    }
}

/// What a texture is made from.
struct Source {
    mesh: Mesh,
    cutout: Cutout,
    /// What normals are baked from, if they are wanted.
    dense: Option<Mesh>,
}

fn read(input: &Input) -> Result<Source, StageError> {
    let failed = |what: &str, error: &dyn std::fmt::Display| StageError::Failed(format!("{what}: {error}"));
    let model = mesh::glb::read(input.file("mesh.glb")?).map_err(|error| failed("read the mesh", &error))?;
    check(&model.mesh).map_err(|fault| failed("the mesh is not sound", &fault))?;
    let cutout = Cutout::read(input.file("cutout.png")?).map_err(|fault| match fault {
        CutoutFault::Unreadable(_) => StageError::Failed(fault.to_string()),
        _ => StageError::Rejected(format!("{fault}; use a picture with one clear subject")),
    })?;
    let dense = match input.recipe.details.normal_map {
        Some(true) => {
            let dense = mesh::glb::dense(input.file("mesh.glb")?);
            let dense = dense.map_err(|error| failed("read the dense surface", &error))?;
            let missing = "the mesh comes without the dense surface that a normal map is made from";
            Some(dense.ok_or_else(|| StageError::Failed(missing.to_owned()))?)
        }
        _ => None,
    };
    Ok(Source { mesh: model.mesh, cutout, dense })
}

/// A checked mesh with its cut-out's colours, and the number of its charts.
///
/// # Errors
/// [`StageError::Rejected`]: more charts than the texture has room for.
fn texture(source: Source, side_px: u32, cx: &Context<'_>) -> Result<(TexturedMesh, usize), StageError> {
    let Source { mut mesh, cutout, dense } = source;
    if mesh.normals.is_empty() {
        mesh.normals = vertex_normals(&mesh);
    }
    cx.progress(0.1, "unwrap");
    let unwrapped = {
        let _span = cx.span("unwrap");
        let too_many = "the object has too many separate surfaces for its texture; use a larger texture-px";
        unwrap::unwrap(&mesh, side_px).ok_or_else(|| StageError::Rejected(too_many.to_owned()))?
    };
    cx.progress(0.2, "bake");
    let canvas = {
        let _span = cx.span("bake");
        baked(&mesh, &unwrapped, &Picture::of(&cutout), side_px)
    };
    let normals = dense.map(|dense| {
        cx.progress(0.6, "normals");
        let _span = cx.span("normals");
        normals::baked(&unwrapped, &dense, side_px)
    });
    cx.progress(0.7, "compress");
    let _span = cx.span("compress");
    let normal_png = normals.as_ref().map(png).transpose()?;
    let model = TexturedMesh { mesh: unwrapped.mesh, texture_png: Some(png(&canvas)?), normal_png };
    Ok((model, unwrapped.charts.len()))
}

fn baked(mesh: &Mesh, unwrapped: &Unwrapped, picture: &Picture, side_px: u32) -> Canvas {
    let radii = rim::radii(mesh);
    let normals = calm_normals(mesh, &mesh.normals, CALMING_ROUNDS);
    let light = Light::of(mesh, &normals, picture);
    let mut canvas = Canvas::new(side_px);
    for &triangle in &unwrapped.mesh.triangles {
        let uvs =
            triangle.map(|index| unwrapped.mesh.uvs[index as usize].map(|value| value * side_px as f32));
        let points = triangle.map(|index| {
            let origin = unwrapped.origin[index as usize] as usize;
            let (position, normal) = (mesh.positions[origin], normals[origin]);
            Point { position, normal, rim_radius: radii[origin], gain: light.gain(normal) }
        });
        canvas.bake(uvs, points, picture, unwrapped.texel_metres);
    }
    canvas.dilate();
    canvas
}

fn png(canvas: &Canvas) -> Result<Vec<u8>, StageError> {
    let mut bytes = Vec::new();
    let encoder = PngEncoder::new_with_quality(&mut bytes, CompressionType::Fast, FilterType::Adaptive);
    encoder
        .write_image(canvas.bytes(), canvas.side_px(), canvas.side_px(), ExtendedColorType::Rgb8)
        .map_err(|error| StageError::Failed(format!("compress the texture: {error}")))?;
    Ok(bytes)
}
