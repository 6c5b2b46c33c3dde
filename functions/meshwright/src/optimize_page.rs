//! The page that `optimize` writes: what was tried, what it brought, and the models before and after, side by
//! side.

use crate::calibrate::Measured;
use crate::flame::escaped;
use crate::gate::picture;
use crate::optimize::{Found, NOT_THERE, Tried};
use crate::plot;
use image::{ExtendedColorType, ImageEncoder, RgbaImage, codecs::png::PngEncoder};
use mesh::TexturedMesh;
use mesh::raster::View;
use std::fmt::Write;

/// Side of each picture.
const SIDE_PX: u32 = 320;
const HEAD: &str = "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport \
                    content=\"width=device-width\"><title>Meshwright: optimised</title><style>\
                    body{font:15px/1.5 system-ui,sans-serif;margin:2em auto;max-width:60em;padding:0 1em;\
                    color-scheme:light dark}table{border-collapse:collapse}td,th{padding:.2em .8em;\
                    text-align:left;border-bottom:1px solid #8884}img{width:100%;max-width:320px}\
                    figure{display:inline-block;margin:0 1em 1em 0}svg{max-width:100%;height:auto}</style>";

/// The page, and the pictures beside it.
pub(crate) struct Page {
    pub(crate) html: String,
    pub(crate) pictures: Vec<(String, Vec<u8>)>,
}

/// Writes it.
pub(crate) fn page(found: &Found) -> Page {
    let (first, (_, last)) = (&found.before.1, found.after());
    let (before, after) = (first.jobs_per_hour, last.jobs_per_hour);
    let mut html = HEAD.to_owned();
    let gain = 100.0 * (after / before.max(1e-9) - 1.0);
    // Writing into a text does not fail.
    let _ = write!(
        html,
        "<h1>{after:.0} models an hour instead of {before:.0} ({gain:+.0} %)</h1><p>On {} pictures, each \
         setting measured by the whole pipeline on this machine. A lever is kept if it gains 3 % or more and \
         the models stay as they were: silhouettes 0.98, surfaces 0.995 within a tenth, 25 dB from the \
         front, watertight.</p>",
        found.pictures
    );
    html += &bars(found);
    html += "<h2>The largest bottlenecks</h2>";
    html += &bottlenecks("Before", first);
    html += &bottlenecks("After", last);
    html += "<h2>What was tried</h2><table><tr><th>lever<th>models/hour<th>models as good<th>";
    for Tried { lever, measured, gate, kept, .. } in &found.tried {
        let kept = if *kept { "kept" } else { "" };
        let (lever, rate) = (escaped(lever), measured.jobs_per_hour);
        let _ = write!(html, "<tr><td>{lever}<td>{rate:.0}<td>{}<td>{kept}", escaped(&gate.to_string()));
    }
    html += "</table><p>Not tried:</p><ul>";
    for what in NOT_THERE {
        let _ = write!(html, "<li>{}", escaped(what));
    }
    html += "</ul>";
    let pictures = models(&mut html, first, last);
    Page { html, pictures }
}

fn bars(found: &Found) -> String {
    let first = [("as it is".to_owned(), found.before.1.jobs_per_hour)].into_iter();
    let tried = found.tried.iter().map(|of| (of.lever.clone(), of.measured.jobs_per_hour));
    plot::bars("models an hour", &first.chain(tried).collect::<Vec<_>>())
}

fn bottlenecks(when: &str, measured: &Measured) -> String {
    let mut html = format!("<h3>{when}</h3><ol>");
    for of in &measured.largest {
        let _ = write!(html, "<li>{}", escaped(&of.evidence));
    }
    html += "</ol><p>Mean items of a batch: ";
    let means: Vec<String> =
        measured.batches.iter().map(|(stage, items)| format!("{stage} {items:.1}")).collect();
    html + &means.join(", ") + "</p>"
}

fn models(html: &mut String, first: &Measured, last: &Measured) -> Vec<(String, Vec<u8>)> {
    let mut pictures = Vec::new();
    html.push_str("<h2>The models, before and after</h2>");
    for (n, (name, before)) in first.models.iter().enumerate() {
        let _ = write!(html, "<h3>{}</h3>", escaped(name));
        for (when, model) in [("before", Some(before)), ("after", last.models.get(name))] {
            let Some(png) = model.and_then(shown) else { continue };
            let file = format!("model-{n}-{when}.png");
            let _ = write!(
                html,
                "<figure><img src=\"{file}\" alt=\"{when}\"><figcaption>{when}</figcaption></figure>"
            );
            pictures.push((file, png));
        }
    }
    pictures
}

/// A model from the front, a little from the right and above.
fn shown(model: &TexturedMesh) -> Option<Vec<u8>> {
    let [low, high] = model.mesh.bounds();
    let centre = [0, 1, 2].map(|k| (low[k] + high[k]) / 2.0);
    let half_extent = (0..3).map(|k| high[k] - low[k]).fold(1e-6, f32::max) * 0.62;
    let view = View { yaw: 0.5, pitch: 0.25, size_px: SIDE_PX, half_extent, centre };
    let picture: RgbaImage = picture(model, &view);
    let mut png = Vec::new();
    PngEncoder::new(&mut png)
        .write_image(&picture, SIDE_PX, SIDE_PX, ExtendedColorType::Rgba8)
        .ok()
        .map(|()| png)
}
