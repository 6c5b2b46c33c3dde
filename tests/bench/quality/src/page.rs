//! The page: each object's picture, and model and truth side by side.

use crate::compare::Scores;
use crate::views::{Found, Seen};
use anyhow::{Context, Result};
use image::{Rgba, RgbaImage, imageops};
use mesh::raster::{View, render};
use std::fmt::Write;
use std::path::Path;

/// Side of each picture.
const SIDE_PX: u32 = 256;
/// From where model and truth are shown: a little from the right and above, the side, the back.
const SHOWN: [[f32; 2]; 3] = [[0.5, 0.25], [1.57, 0.0], [std::f32::consts::PI, 0.1]];
const GROUND: Rgba<u8> = Rgba([250, 250, 250, 255]);

/// A line of the page.
pub(crate) struct Row {
    name: String,
    scores: String,
}

/// Writes a row's pictures as one file: the cut-out, then model and truth from each side.
pub(crate) fn row(folder: &Path, name: &str, seen: &Seen, found: &Found, scores: &Scores) -> Result<Row> {
    let mut sheet = RgbaImage::from_pixel(SIDE_PX * 7, SIDE_PX, GROUND);
    let cutout = imageops::thumbnail(&seen.cutout, SIDE_PX, SIDE_PX);
    imageops::overlay(&mut sheet, &cutout, 0, 0);
    for (place, [yaw, pitch]) in (0_u32..).zip(SHOWN) {
        let both = [(&found.mesh, &found.texture), (&seen.mesh, &seen.texture)];
        for (offset, (mesh, texture)) in (1_u32..).zip(both) {
            let [low, high] = mesh.bounds();
            let centre = [0, 1, 2].map(|k| (low[k] + high[k]) / 2.0);
            let view = View { yaw, pitch, size_px: SIDE_PX, half_extent: 0.75, centre };
            let picture = render(mesh, Some(texture), &view);
            imageops::overlay(&mut sheet, &picture, i64::from((place * 2 + offset) * SIDE_PX), 0);
        }
    }
    let file = folder.join(format!("{name}.png"));
    sheet.save(&file).with_context(|| format!("write {}", file.display()))?;
    Ok(Row { name: name.to_owned(), scores: scores.to_string() })
}

/// The page itself, beside its pictures.
pub(crate) fn write(file: &Path, rows: &[Row]) -> Result<()> {
    let mut html = "<!doctype html><meta charset=utf-8><title>Quality</title>\
                    <style>body{font:14px sans-serif;margin:2em}img{width:100%;max-width:1792px}</style>\
                    <h1>Quality</h1><p>The picture; then model and truth from the front right, the side and \
                    the back.</p>\n"
        .to_owned();
    for Row { name, scores } in rows {
        writeln!(html, "<h3>{name}</h3><p>{scores}</p><img src=\"{name}.png\" alt=\"{name}\">")?;
    }
    std::fs::write(file, html).with_context(|| format!("write {}", file.display()))
}
