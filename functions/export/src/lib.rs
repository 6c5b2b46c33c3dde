//! Stage 4: textured mesh -> deliverable files.
//!
//! `textured.glb` in; `model.glb`, `.packed.glb`, `.lod50.glb`, `.stl`, `.ply`, `.obj.zip`, `.3mf`,
//! `.usdz`, `turntable.webp` and `.gif` as the recipe wants, and `preview.png`, out. Nothing is written of a
//! mesh that is not closed: the surface is welded and checked first, and small flaws are mended.
#![forbid(unsafe_code)]

mod animation;
mod archive;
mod gif;
mod lod;
mod lookup;
mod model;
mod obj;
mod packed;
mod place;
mod ply;
mod preview;
mod stl;
mod threemf;
mod usdz;

use domain::{EngineVersion, Format, Recipe};
use mesh::check::check;
use mesh::weld::weld;
use mesh::{Mesh, glb, provenance};
use model::Model;
use serde_json::{Value, json};
use stage::{Context, File, Input, Output, StageError, StageFunction};

/// Triangles of the levels of detail beside the whole model, in percent of it.
const LOD_PERCENT: [usize; 3] = [50, 25, 10];

/// The stage function export.
#[derive(Clone, Copy, Debug, Default)]
pub struct Export;

impl StageFunction for Export {
    fn engine(&self, _recipe: &Recipe) -> EngineVersion {
        EngineVersion { name: "files".to_owned(), version: "5".to_owned() }
    }

    fn run(&mut self, input: &Input, cx: &Context<'_>) -> Output {
        cx.progress(0.0, "check");
        let model = {
            let _span = cx.span("check");
            let textured = glb::read(input.file("textured.glb")?).map_err(|e| failed("read the mesh", e))?;
            Model::sound(textured)?
        };
        let print = place::for_printing(&model.solid, &input.recipe);
        let mut files = Vec::new();
        for (done, format) in (0_u8..).zip(&input.recipe.formats) {
            let (name, content_type, span) = about(*format);
            cx.progress(0.1 + 0.07 * f32::from(done), span);
            let _span = cx.span(span);
            if *format == Format::Lod {
                files.extend(levels(input, &model)?);
                continue;
            }
            files.push(file(name, content_type, written(*format, input, &model, &print)?));
        }
        cx.progress(0.9, "preview");
        let _span = cx.span("preview");
        files.push(file("preview.png", "image/png", preview::png(&model)?));
        Ok(files)
    }
}

fn written(format: Format, input: &Input, model: &Model, print: &Mesh) -> Result<Vec<u8>, StageError> {
    match format {
        Format::Glb => {
            glb::write(&model.textured, &extras(input, model)?).map_err(|e| failed("write GLB", e))
        }
        Format::Packed => {
            packed::write(model, &extras(input, model)?).map_err(|e| failed("write packed GLB", e))
        }
        Format::Stl => Ok(stl::write(print)),
        Format::Ply => Ok(ply::write(print, &model.colours())),
        Format::Obj => obj::write(model).map_err(|e| failed("write OBJ", e)),
        Format::ThreeMf => {
            let licence = licence(&provenance::of_glb(input.file("textured.glb")?));
            threemf::write(print, &model.colours(), &licence).map_err(|e| failed("write 3MF", e))
        }
        Format::Usdz => usdz::write(model).map_err(|e| failed("write USDZ", e)),
        Format::Turntable => preview::turntable(model),
        Format::Gif => preview::turntable_gif(model),
        Format::Lod => Err(StageError::Failed("levels of detail are several files".to_owned())),
    }
}

/// The model with half, a quarter and a tenth of its triangles, as GLB.
fn levels(input: &Input, model: &Model) -> Result<Vec<File>, StageError> {
    let mut files = Vec::new();
    let wanted = LOD_PERCENT.map(|percent| model.solid.triangles.len() * percent / 100);
    for (percent, (level, error_metres)) in LOD_PERCENT.into_iter().zip(lod::levels(model, wanted)) {
        check(&weld(&level.mesh)).map_err(|fault| failed("a level of detail is not sound", fault))?;
        let mut extras = extras(input, model)?;
        extras["level_of_detail_percent"] = json!(percent);
        extras["triangles"] = json!(level.mesh.triangles.len());
        extras["decimation_error_m"] = json!(error_metres);
        let bytes = glb::write(&level, &extras).map_err(|e| failed("write a level of detail", e))?;
        files.push(file(&format!("model.lod{percent}.glb"), "model/gltf-binary", bytes));
    }
    Ok(files)
}

fn failed(what: &str, error: impl std::fmt::Display) -> StageError {
    StageError::Failed(format!("{what}: {error}"))
}

fn file(name: &str, content_type: &str, bytes: Vec<u8>) -> File {
    File { name: name.to_owned(), content_type: content_type.to_owned(), bytes }
}

/// A format's file, its type, and the span in which it is written.
fn about(format: Format) -> (&'static str, &'static str, &'static str) {
    match format {
        Format::Glb => ("model.glb", "model/gltf-binary", "glb"),
        Format::Stl => ("model.stl", "model/stl", "stl"),
        Format::Ply => ("model.ply", "application/octet-stream", "ply"),
        Format::Obj => ("model.obj.zip", "application/zip", "obj"),
        Format::ThreeMf => ("model.3mf", "model/3mf", "3mf"),
        Format::Usdz => ("model.usdz", "model/vnd.usdz+zip", "usdz"),
        Format::Turntable => ("turntable.webp", "image/webp", "turntable"),
        Format::Gif => ("turntable.gif", "image/gif", "gif"),
        Format::Packed => ("model.packed.glb", "model/gltf-binary", "packed"),
        Format::Lod => ("model.lod*.glb", "model/gltf-binary", "lod"),
    }
}

/// What a tool or a person may want to know of the file later.
fn extras(input: &Input, model: &Model) -> Result<Value, StageError> {
    let steps = provenance::of_glb(input.file("textured.glb")?);
    let mut own = json!({
        "generator": concat!("meshwright ", env!("CARGO_PKG_VERSION")),
        "recipe": input.recipe,
        "triangles": model.solid.triangles.len(),
        "licence": licence(&steps),
    });
    if let Some(repairs) = model.repairs {
        own["repairs"] = json!(repairs);
    }
    Ok(provenance::extras(own, steps, None))
}

/// Whose work is in the model, in a sentence.
fn licence(steps: &provenance::Steps) -> String {
    let word = |model: &Value, key: &str| model[key].as_str().unwrap_or("unknown").to_owned();
    let networks = steps.iter().filter_map(|step| step.get("model"));
    let networks = networks.map(|model| format!("{} ({})", word(model, "name"), word(model, "licence")));
    let networks: Vec<String> = networks.collect();
    match networks.as_slice() {
        [] if steps.is_empty() => "The model is yours; how it was made is not recorded.".to_owned(),
        [] => "The model is yours; no third-party network or data went into it.".to_owned(),
        networks => format!("The model is yours; a third-party network took part: {}.", networks.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::Stage;
    use mesh::TexturedMesh;
    use stage::Silent;

    /// A wedge that looks different from every side: long in x, less in y, least in z, with one corner pulled
    /// out at +x +y +z.
    fn asymmetric() -> Mesh {
        let corner = |n: u32| [(n & 1) as f32, (n >> 1 & 1) as f32 * 0.6, (n >> 2 & 1) as f32 * 0.3];
        let mut positions: Vec<[f32; 3]> = (0..8).map(corner).collect();
        positions[7] = [1.4, 0.9, 0.5];
        let quads: [[u32; 4]; 6] =
            [[0, 2, 3, 1], [4, 5, 7, 6], [0, 1, 5, 4], [2, 6, 7, 3], [0, 4, 6, 2], [1, 3, 7, 5]];
        let triangles = quads.iter().flat_map(|[a, b, c, d]| [[*a, *b, *c], [*a, *c, *d]]).collect();
        Mesh { positions, normals: vec![], uvs: vec![], triangles }
    }

    fn run(mesh: Mesh, recipe: Recipe) -> Output {
        let model = TexturedMesh { mesh, ..TexturedMesh::default() };
        let bytes = glb::write(&model, &serde_json::Value::Null).expect("a good mesh");
        let (name, content_type) = ("textured.glb".to_owned(), String::new());
        let input = Input { recipe, files: vec![File { name, content_type, bytes }] };
        assert_eq!(Stage::Export.inputs()[0].0, "textured.glb");
        Export.run(&input, &Context::new(&Silent, 0))
    }

    #[test]
    fn the_same_corner_sticks_out_in_every_format() {
        let files = run(asymmetric(), Recipe::default()).expect("a sound mesh");
        let names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
        assert_eq!(names, ["model.glb", "model.stl", "preview.png"]);
        let model = glb::read(&files[0].bytes).expect("our own file");
        let [low, high] = model.mesh.bounds();
        assert!((high[0] - 0.5).abs() < 1e-6 && (low[0] + 0.5).abs() < 1e-6, "{low:?} {high:?}");
        let highest = model.mesh.positions.iter().copied().reduce(|a, b| if b[1] > a[1] { b } else { a });
        assert!(highest.is_some_and(|[x, _, z]| x == high[0] && z == high[2]), "{highest:?}");
        let stl = &files[1].bytes;
        assert_eq!(stl.len(), 84 + 50 * 12);
        let vertices = stl::tests::vertices(stl);
        // Z up: glTF's y is the height, its front +z looks towards -y. The corner that sticks out is right,
        // up and in front.
        let highest =
            vertices.iter().copied().reduce(|a, b| if b[2] > a[2] { b } else { a }).expect("vertices");
        assert!(highest[0] > 0.0 && highest[1] < 0.0, "{highest:?}");
        let longest = vertices.iter().map(|v| v[0]).fold(f32::MIN, f32::max) * 2.0;
        assert!((longest - 100.0).abs() < 1e-3, "{longest}");
        let floor = vertices.iter().map(|v| v[2]).fold(f32::MAX, f32::min);
        assert!(floor.abs() < 1e-4);
        assert_eq!(image::load_from_memory(&files[2].bytes).expect("a PNG").width(), 512);
    }

    #[test]
    fn the_licence_tells_of_every_network() {
        let check = |steps: Value, part: &str| {
            let said = licence(steps.as_array().expect("a list"));
            assert!(said.contains(part), "{said}");
        };
        check(json!([]), "not recorded");
        check(json!([{"stage": "preprocess", "method": "alpha"}]), "no third-party network");
        let model = json!({"name": "u2netp", "licence": "Apache-2.0"});
        check(json!([{"stage": "preprocess", "model": model}]), "u2netp (Apache-2.0)");
    }

    #[test]
    fn an_open_mesh_is_never_written() {
        let mut mesh = asymmetric();
        mesh.triangles.pop();
        match run(mesh, Recipe::default()) {
            Err(StageError::Failed(reason)) => {
                assert!(reason.contains("cannot be mended: edge"), "{reason}");
            }
            other => panic!("{:?}", other.map(|files| files.len())),
        }
    }

    #[test]
    fn small_flaws_are_mended_and_told_of() {
        let mut mesh = mesh::sample::ball(0.5, 20);
        mesh.triangles[7].reverse();
        mesh.triangles.push(mesh.triangles[99]);
        mesh.triangles.swap_remove(300);
        let files = run(mesh, Recipe::default()).expect("a mended mesh");
        let expect = json!({"degenerate": 0, "duplicate": 1, "flipped": 1, "holes": 1});
        assert_eq!(glb::extras(&files[0].bytes)["repairs"], expect);
        let model = glb::read(&files[0].bytes).expect("our own file");
        assert!(check(&weld(&model.mesh)).is_ok());
        assert_eq!(files[1].bytes.len(), 84 + 50 * model.mesh.triangles.len());
        let whole = run(asymmetric(), Recipe::default()).expect("a sound mesh");
        assert!(glb::extras(&whole[0].bytes)["repairs"].is_null());
    }

    #[test]
    fn a_width_is_that_of_x_and_a_size_that_of_the_longest_axis() {
        let width = |options: &[(&str, &str)]| {
            let all = [("engine", "relief"), ("formats", "stl")].into_iter().chain(options.iter().copied());
            let recipe = Recipe::default().with_options(all).expect("good options");
            let mut tall = asymmetric();
            tall.positions.iter_mut().for_each(|p| *p = [-p[1], p[0], p[2]]);
            let files = run(tall, recipe).expect("a sound mesh");
            let x: Vec<f32> = stl::tests::vertices(&files[0].bytes).iter().map(|v| v[0]).collect();
            x.iter().copied().fold(f32::MIN, f32::max) - x.iter().copied().fold(f32::MAX, f32::min)
        };
        assert!((width(&[("width-mm", "45")]) - 45.0).abs() < 1e-3);
        assert!((width(&[("size-mm", "140")]) - 90.0).abs() < 1e-3);
    }

    #[test]
    fn a_gif_turns_as_the_webp_does() {
        use image::AnimationDecoder;
        let recipe = Recipe::default().with_options([("formats", "gif")]).expect("a good option");
        let files = run(asymmetric(), recipe).expect("a sound mesh");
        let decoder = image::codecs::gif::GifDecoder::new(std::io::Cursor::new(&files[0].bytes));
        let frames = decoder.expect("a GIF").into_frames().collect_frames().expect("frames");
        assert_eq!(frames.len(), 36);
        for frame in frames {
            let clear = frame.buffer().pixels().filter(|pixel| pixel[3] == 0).count();
            assert!((80_000..252_000).contains(&clear), "{clear} clear pixels");
        }
    }

    #[test]
    fn only_the_wanted_formats_are_written() {
        let recipe = Recipe::default().with_options([("formats", "stl")]).expect("a good option");
        let files = run(asymmetric(), recipe).expect("a sound mesh");
        assert_eq!(files.len(), 2);
    }
}
