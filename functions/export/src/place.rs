//! Where a model stands in its file. For screens: the middle of its box at the origin, its longest axis one
//! metre, Y up. For printers: millimetres, Z up, standing on the floor, centred.
//!
//! Until here a mesh keeps the cut-out's frame, so that texturing finds its pixels. Where smoothing or
//! decimation took something off, the box is no longer exactly that of the cut-out.

use domain::Recipe;
use mesh::Mesh;

/// Centres and scales. A mesh without extent is only centred.
pub(crate) fn to_one_metre(mesh: &mut Mesh) {
    let [low, high] = mesh.bounds();
    let longest = [0, 1, 2].map(|k| high[k] - low[k]).into_iter().fold(0.0, f32::max);
    let scale = if longest > 0.0 { 1.0 / longest } else { 1.0 };
    let centre = [0, 1, 2].map(|k| (low[k] + high[k]) / 2.0);
    mesh.positions.iter_mut().for_each(|p| *p = [0, 1, 2].map(|k| (p[k] - centre[k]) * scale));
}

/// The mesh for a printer: its longest axis, or its width where the recipe says one, gets the recipe's size.
pub(crate) fn for_printing(mesh: &Mesh, recipe: &Recipe) -> Mesh {
    let [low, high] = mesh.bounds();
    let extent = [0, 1, 2].map(|k| (high[k] - low[k]).max(f32::MIN_POSITIVE));
    let scale = match recipe.details.width_um {
        Some(um) => um as f32 / 1000.0 / extent[0],
        None => recipe.size_mm as f32 / extent.into_iter().fold(0.0, f32::max),
    };
    let centre = [0, 1, 2].map(|k| (low[k] + high[k]) / 2.0);
    // glTF: x right, y up, z to the front. Printers: x right, y away, z up.
    let place =
        |&[x, y, z]: &[f32; 3]| [(x - centre[0]) * scale, -(z - centre[2]) * scale, (y - low[1]) * scale];
    let positions = mesh.positions.iter().map(place).collect();
    Mesh { positions, triangles: mesh.triangles.clone(), ..Mesh::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mesh::sample::cube;

    #[test]
    fn wherever_it_was_it_is_centred_and_a_metre_long() {
        let mut mesh = cube([3.0, -2.0, 0.5], 0.2);
        mesh.positions[0][0] -= 0.1;
        to_one_metre(&mut mesh);
        let [low, high] = mesh.bounds();
        assert!((high[0] - low[0] - 1.0).abs() < 1e-6, "{low:?} {high:?}");
        assert!((0..3).all(|k| (low[k] + high[k]).abs() < 1e-6), "{low:?} {high:?}");
    }
}
