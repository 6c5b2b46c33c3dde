//! What all formats are written from: the textured mesh, the closed surface that it is once the seams are
//! merged, and its colours.

use crate::place;
use image::{ImageFormat, RgbaImage};
use mesh::check::check;
use mesh::repair::{Repairs, repair};
use mesh::weld::{Welded, welded};
use mesh::{Mesh, TexturedMesh};
use stage::StageError;
use std::cell::OnceCell;

/// Colour of a surface without a texture.
const CLAY: [u8; 3] = [200, 200, 200];

/// A model, placed as [`crate::place`] says.
pub(crate) struct Model {
    pub(crate) textured: TexturedMesh,
    /// One vertex per position: what printers get, and what is checked.
    pub(crate) solid: Mesh,
    /// The solid's vertex of each textured one.
    pub(crate) vertex_of: Vec<u32>,
    /// The texture's pixels.
    pub(crate) texture: Option<RgbaImage>,
    /// What was mended, if something had to be.
    pub(crate) repairs: Option<Repairs>,
    /// The pictures of a turn, once somebody asked for them.
    pub(crate) turn: OnceCell<Vec<RgbaImage>>,
}

impl Model {
    /// A model whose surface is closed, mended where it was not.
    ///
    /// # Errors
    /// The texture cannot be decoded, or the surface is not closed and cannot be mended.
    pub(crate) fn sound(textured: TexturedMesh) -> Result<Model, StageError> {
        let placed = |mut textured: TexturedMesh| {
            place::to_one_metre(&mut textured.mesh);
            Model::of(textured)
        };
        let model = placed(textured)?;
        if check(&model.solid).is_ok() {
            return Ok(model);
        }
        let (mesh, repairs) = repair(&model.textured.mesh);
        let model = placed(TexturedMesh { mesh, ..model.textured })?;
        match check(&model.solid) {
            Ok(_) => Ok(Model { repairs: Some(repairs), ..model }),
            Err(fault) => {
                Err(StageError::Failed(format!("the mesh is not sound and cannot be mended: {fault}")))
            }
        }
    }

    /// Merges the seams and decodes the texture.
    ///
    /// # Errors
    /// The texture cannot be decoded.
    pub(crate) fn of(textured: TexturedMesh) -> Result<Model, StageError> {
        let Welded { mesh: solid, vertex_of } = welded(&textured.mesh);
        let texture = textured.texture_png.as_deref().map(decoded).transpose();
        let texture = texture.map_err(|error| StageError::Failed(format!("decode the texture: {error}")))?;
        Ok(Model { texture, textured, solid, vertex_of, repairs: None, turn: OnceCell::new() })
    }

    /// The sRGB colour of each of the solid's vertices: the texel at the first textured vertex there.
    pub(crate) fn colours(&self) -> Vec<[u8; 3]> {
        let mut colours = vec![CLAY; self.solid.positions.len()];
        let Some(texture) = &self.texture else { return colours };
        for (uv, vertex) in self.textured.mesh.uvs.iter().zip(&self.vertex_of).rev() {
            let place = |value: f32, side: u32| ((value * side as f32).max(0.0) as u32).min(side.max(1) - 1);
            let texel = texture.get_pixel(place(uv[0], texture.width()), place(uv[1], texture.height()));
            colours[*vertex as usize] = [texel[0], texel[1], texel[2]];
        }
        colours
    }
}

/// The pixels of a texture.
pub(crate) fn decoded(png: &[u8]) -> image::ImageResult<RgbaImage> {
    Ok(image::load_from_memory_with_format(png, ImageFormat::Png)?.into_rgba8())
}
