//! Two meshes and their pictures compared. Lengths are in halves of the true object's longest side.

use crate::views::{COMPARED_PX, Found, SIDES, Seen, unlit};
use image::RgbaImage;
use mesh::Mesh;
use mesh::check::check;
use mesh::compare::{distances, f_score, psnr_db, sampled, silhouette_iou};
use mesh::weld::weld;
use std::fmt;

/// Columns along x and y in which volumes are compared.
const COLUMNS: usize = 160;
/// Distances within which a point counts as met.
const NEAR: [f32; 2] = [0.1, 0.2];

/// How well a model met its object.
#[derive(Clone, Debug)]
pub(crate) struct Scores {
    pub(crate) volume_iou: f64,
    /// Mean of the mean distances both ways.
    pub(crate) chamfer: f64,
    /// F score within each distance of [`NEAR`].
    pub(crate) f_at: [f64; 2],
    /// Front and side.
    pub(crate) silhouette_iou: [f64; 2],
    /// Front, side and back, over what both show.
    pub(crate) psnr_db: [f64; 3],
    pub(crate) watertight: bool,
}

impl fmt::Display for Scores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Scores { volume_iou, chamfer, f_at, silhouette_iou, psnr_db, .. } = self;
        write!(f, "IoU {volume_iou:.3}, chamfer {chamfer:.3}, F {:.3} {:.3}, ", f_at[0], f_at[1])?;
        write!(f, "silhouette {:.3} {:.3}, ", silhouette_iou[0], silhouette_iou[1])?;
        write!(f, "{:.1} {:.1} {:.1} dB", psnr_db[0], psnr_db[1], psnr_db[2])
    }
}

impl Scores {
    pub(crate) fn of(seen: &Seen, found: &Found) -> Scores {
        let (truth, mut model) = (&seen.mesh, weld(&found.mesh));
        let watertight = check(&model).is_ok();
        // Nobody can know how far away the object was: both are set to one mean depth.
        let (truth_columns, model_columns) = (columns(truth), columns(&model));
        let shift = mean_depth(&truth_columns) - mean_depth(&model_columns);
        model.positions.iter_mut().for_each(|p| p[2] += shift);
        let volume_iou = overlap(&truth_columns, &columns(&model));
        let [low, high] = truth.bounds();
        let unit = (0..3).map(|k| high[k] - low[k]).fold(0.0, f32::max) / 2.0;
        let (true_points, points) = (sampled(truth), sampled(&model));
        let (missed, astray) =
            (distances(&true_points, &points, unit), distances(&points, &true_points, unit));
        let mean = |values: &[f32]| values.iter().map(|v| f64::from(*v)).sum::<f64>() / values.len() as f64;
        let f_at = NEAR.map(|near| f_score(&missed, &astray, near));
        let moved = Mesh {
            positions: found.mesh.positions.iter().map(|p| [p[0], p[1], p[2] + shift]).collect(),
            ..found.mesh.clone()
        };
        let pictures = SIDES.map(|yaw| {
            [(truth, &seen.texture), (&moved, &found.texture)]
                .map(|(mesh, texture)| unlit(mesh, texture, yaw, [0.0; 3]))
        });
        // The front is compared with the cut-out's own light in it; the others with the object's paint.
        let [front, side, back] = &pictures;
        let lit = image::imageops::thumbnail(&seen.cutout, COMPARED_PX, COMPARED_PX);
        let own = own_view(seen, found);
        Scores {
            volume_iou,
            chamfer: (mean(&missed) + mean(&astray)) / 2.0,
            f_at,
            silhouette_iou: [silhouette_iou(&front[0], &front[1]), silhouette_iou(&side[0], &side[1])],
            psnr_db: [psnr_db(&lit, &own), psnr_db(&side[0], &side[1]), psnr_db(&back[0], &back[1])],
            watertight,
        }
    }
}

/// The model as the cut-out shows it.
fn own_view(seen: &Seen, found: &Found) -> RgbaImage {
    let Ok(cutout) = mesh::Cutout::of(seen.cutout.clone()) else { return RgbaImage::new(1, 1) };
    let [x, y] = cutout.frame.to_mesh([256.0, 256.0]);
    let half_extent = 256.0 * cutout.frame.metres_per_px();
    let (size_px, centre) = (COMPARED_PX, [x, y, 0.0]);
    let view = mesh::raster::View { yaw: 0.0, pitch: 0.0, size_px, half_extent, centre };
    mesh::raster::render_unlit(&found.mesh, Some(&found.texture), &view)
}

/// For each column along z, where it enters and leaves, sorted.
fn columns(mesh: &Mesh) -> Vec<Vec<f32>> {
    let mut columns = vec![Vec::new(); COLUMNS * COLUMNS];
    // A little off, so that no column meets a vertex of a regular mesh.
    let place = |n: usize| (n as f32 + 0.503_17) / COLUMNS as f32 * 1.1 - 0.55;
    let first = |value: f32| (((value + 0.55) / 1.1 * COLUMNS as f32 - 1.0).max(0.0)) as usize;
    for &triangle in &mesh.triangles {
        let [a, b, c] = mesh.corners(triangle);
        let whole = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]);
        if whole == 0.0 {
            continue;
        }
        let range = |k: usize| {
            let (low, high) = (a[k].min(b[k]).min(c[k]), a[k].max(b[k]).max(c[k]));
            first(low)..(first(high) + 3).min(COLUMNS)
        };
        for y in range(1) {
            for x in range(0) {
                let (dx, dy) = (place(x) - a[0], place(y) - a[1]);
                let wb = (dx * (c[1] - a[1]) - dy * (c[0] - a[0])) / whole;
                let wc = (dy * (b[0] - a[0]) - dx * (b[1] - a[1])) / whole;
                if wb >= 0.0 && wc >= 0.0 && wb + wc < 1.0 {
                    columns[y * COLUMNS + x].push(a[2] + wb * (b[2] - a[2]) + wc * (c[2] - a[2]));
                }
            }
        }
    }
    columns.iter_mut().for_each(|column: &mut Vec<f32>| column.sort_unstable_by(f32::total_cmp));
    columns
}

fn mean_depth(columns: &[Vec<f32>]) -> f32 {
    let (mut sum, mut length) = (0.0_f64, 0.0_f64);
    for pair in columns.iter().flat_map(|column| column.chunks_exact(2)) {
        let thick = f64::from(pair[1] - pair[0]);
        sum += thick * f64::from(pair[0] + pair[1]) / 2.0;
        length += thick;
    }
    (sum / length.max(1e-9)) as f32
}

fn overlap(one: &[Vec<f32>], other: &[Vec<f32>]) -> f64 {
    let length =
        |column: &[f32]| column.chunks_exact(2).map(|pair| f64::from(pair[1] - pair[0])).sum::<f64>();
    let (mut both, mut sum) = (0.0, 0.0);
    for (a, b) in one.iter().zip(other) {
        sum += length(a) + length(b);
        for p in a.chunks_exact(2) {
            let shared = b.chunks_exact(2).map(|q| (p[1].min(q[1]) - p[0].max(q[0])).max(0.0));
            both += shared.map(f64::from).sum::<f64>();
        }
    }
    both / (sum - both).max(1e-9)
}
