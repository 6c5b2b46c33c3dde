//! Models by the four stage functions alone, at every size, in every format, looked at by other people's
//! tools: the Khronos validator, trimesh, Python's own zip and image readers.

use domain::Recipe;
use harness::{Scratch, tool};
use image::{DynamicImage, ImageFormat, Rgb, RgbImage, Rgba, RgbaImage};
use stage::{Context, File, Input, Silent, StageError, StageFunction};
use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::Path;
use std::process::Command;

/// An asymmetric thing: a disc with a bite on its right, a hole, and a fin at its upper left; red above, blue
/// below.
fn thing(side: u32) -> RgbaImage {
    let unit = side as f32 / 96.0;
    RgbaImage::from_fn(side, side, |px, py| {
        let (x, y) = ((px as f32 + 0.5) / unit, (py as f32 + 0.5) / unit);
        let within = |cx: f32, cy: f32, radius: f32| (x - cx).hypot(y - cy) < radius;
        let disc = within(48.0, 52.0, 36.0) && !within(88.0, 52.0, 16.0) && !within(40.0, 52.0, 7.0);
        let fin = (14.0..26.0).contains(&x) && (6.0..50.0).contains(&y);
        let colour = if y < 52.0 { [200, 40, 30, 255] } else { [30, 60, 190, 255] };
        if disc || fin { Rgba(colour) } else { Rgba([0; 4]) }
    })
}

/// The thing before a plain, light ground.
fn photograph(side: u32) -> DynamicImage {
    let thing = thing(side);
    DynamicImage::from(RgbImage::from_fn(side, side, |x, y| {
        let [r, g, b, alpha] = thing.get_pixel(x, y).0;
        Rgb(if alpha == 0 { [236, 238, 230] } else { [r, g, b] })
    }))
}

fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).expect("memory");
    bytes.into_inner()
}

/// What the four stage functions make of an upload, by name.
fn model(upload: Vec<u8>, options: &[(&str, &str)]) -> BTreeMap<String, Vec<u8>> {
    attempted(upload, options).unwrap_or_else(|error| panic!("{options:?}: {error}"))
}

fn attempted(upload: Vec<u8>, options: &[(&str, &str)]) -> Result<BTreeMap<String, Vec<u8>>, StageError> {
    let recipe = Recipe::default().with_options(options.iter().copied()).expect("good options");
    let mut stages: [Box<dyn StageFunction>; 4] = [
        Box::new(preprocess::Preprocess::default()),
        Box::new(shape::Shape),
        Box::new(texture::Texture),
        Box::new(export::Export),
    ];
    let mut files = BTreeMap::from([("upload".to_owned(), upload)]);
    for stage in &mut stages {
        let file = |(name, bytes): (&String, &Vec<u8>)| File {
            name: name.clone(),
            content_type: String::new(),
            bytes: bytes.clone(),
        };
        let input = Input { recipe: recipe.clone(), files: files.iter().map(file).collect() };
        let made = stage.run(&input, &Context::new(&Silent, 0))?;
        files.extend(made.into_iter().map(|file| (file.name, file.bytes)));
    }
    Ok(files)
}

fn kept(files: &BTreeMap<String, Vec<u8>>, folder: &Path, case: &str) {
    std::fs::create_dir_all(folder.join(case)).expect("a folder");
    for (name, bytes) in files {
        std::fs::write(folder.join(case).join(name), bytes).expect("a file");
    }
}

/// Fails on errors and on warnings.
fn validated(glb: &Path) {
    let mut validator = Command::new(tool("gltf-validator").expect("the validator"));
    let said = validator.arg(glb).output().expect("it runs");
    let report = String::from_utf8_lossy(&said.stdout);
    assert!(said.status.success(), "{}: {report}", glb.display());
}

fn python(script: &str, folder: &Path) {
    let mut python = Command::new(tool("mesh-python").expect("Python with trimesh"));
    let said = python.args(["-c", script]).arg(folder).output().expect("it runs");
    let (out, errors) = (String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
    assert!(said.status.success(), "{out}\n{errors}");
}

/// The preview shows something in the colours of the thing.
fn preview_has_content(files: &BTreeMap<String, Vec<u8>>, case: &str) {
    let preview = image::load_from_memory(&files["preview.png"]).expect("a PNG").into_rgba8();
    assert_eq!(preview.dimensions(), (512, 512), "{case}");
    let count = |pick: fn(&Rgba<u8>) -> bool| preview.pixels().filter(|pixel| pick(pixel)).count();
    let covered = count(|pixel| pixel[3] == 255);
    assert!((30_000..220_000).contains(&covered), "{case}: {covered} pixels");
    let (red, blue) = (count(|p| p[0] > p[2].saturating_add(40)), count(|p| p[2] > p[0].saturating_add(40)));
    assert!(red > 5_000 && blue > 5_000, "{case}: {red} red and {blue} blue pixels");
}

const WATERTIGHT: &str = r#"
import json, pathlib, struct, sys, trimesh
def extras(glb):
    data = glb.read_bytes()
    return json.loads(data[20:20 + struct.unpack_from("<I", data, 12)[0]])["asset"]["extras"]
for glb in sorted(pathlib.Path(sys.argv[1]).glob("*/model.glb")):
    mesh = trimesh.load(glb, force="mesh")
    mesh.merge_vertices(merge_tex=True, merge_norm=True)
    good = mesh.is_watertight and mesh.is_winding_consistent and mesh.volume > 0
    assert good, (glb, mesh.is_watertight, mesh.is_winding_consistent, mesh.volume)
    assert abs(max(mesh.extents) - 1) < 1e-4 and abs(mesh.bounds.sum(axis=0)).max() < 1e-4, (glb, mesh.bounds)
    wanted = {"draft": 10_000, "standard": 25_000, "fine": 50_000}[glb.parent.name.split("-")[0]]
    assert 0.8 * wanted < len(mesh.faces) <= wanted, (glb, len(mesh.faces))
    charts = extras(glb.with_name("textured.glb"))["charts"]
    assert 2 <= charts <= 48, (glb, charts)
    error = extras(glb.with_name("mesh.glb"))["decimation_error_m"]
    assert 0 < error <= 0.002, (glb, error)
"#;

#[test]
fn every_preset_texture_and_kind_of_upload_gives_a_valid_watertight_model() {
    let scratch = Scratch::new("models").expect("a folder");
    let alpha = encoded(&thing(512).into(), ImageFormat::Png);
    let cases = [
        ("draft-alpha-256", &alpha, "256"),
        ("standard-alpha-512", &alpha, "512"),
        ("standard-jpeg-1024", &encoded(&photograph(640), ImageFormat::Jpeg), "1024"),
        ("standard-webp-1024", &encoded(&photograph(480), ImageFormat::WebP), "1024"),
        ("draft-plain-1024", &encoded(&photograph(400), ImageFormat::Png), "1024"),
        ("fine-alpha-2048", &alpha, "2048"),
        ("standard-layered-512", &alpha, "512"),
    ];
    for (case, upload, texture_px) in cases {
        let quality = case.split('-').next().expect("a word");
        let engine = if case.contains("layered") { "layered" } else { "inflate" };
        let options = [("engine", engine), ("quality", quality), ("texture-px", texture_px)];
        let files = model(upload.clone(), &options);
        preview_has_content(&files, case);
        kept(&files, scratch.path(), case);
        // What stages hand on is as valid as what is delivered.
        for name in ["mesh.glb", "textured.glb", "model.glb"] {
            validated(&scratch.path().join(case).join(name));
        }
    }
    python(WATERTIGHT, scratch.path());
}

const FORMATS: &str = r##"
import io, pathlib, struct, sys, zipfile
import numpy, trimesh
from PIL import Image
folder = pathlib.Path(sys.argv[1]) / "all"
def solid(name, mesh, up, size, floor, slack=1e-3):
    mesh.merge_vertices(merge_tex=True, merge_norm=True)
    assert mesh.is_watertight and mesh.is_winding_consistent and mesh.volume > 0, name
    assert abs(max(mesh.extents) / size - 1) < slack, (name, mesh.extents)
    if floor:
        assert abs(mesh.bounds[0][up]) < 1e-3 * size, (name, mesh.bounds)
    # The fin: what is highest is on the left, and about the middle of the depth.
    top = mesh.vertices[mesh.vertices[:, up] > mesh.bounds[1][up] - 0.02 * size]
    middle = mesh.bounds.mean(axis=0)
    assert (top[:, 0] < middle[0] - 0.2 * size).all(), (name, top.mean(axis=0), middle)
    return len(mesh.faces)
def colours(name, mesh, up):
    rgb = mesh.visual.vertex_colors[:, :3].astype(int)
    height = mesh.vertices[:, up]
    middle = mesh.bounds.mean(axis=0)[up]
    extent = mesh.extents[up]
    above, below = rgb[height > middle + 0.2 * extent], rgb[height < middle - 0.2 * extent]
    assert (above[:, 0] > above[:, 2]).mean() > 0.95, name
    assert (below[:, 2] > below[:, 0]).mean() > 0.95, name
counts = {}
def normals(name, mesh):
    texels = numpy.asarray(mesh.visual.material.normalTexture.convert("RGB")).astype(int)
    assert texels.shape == (1024, 1024, 3), (name, texels.shape)
    directions = texels / 127.5 - 1
    lengths = numpy.linalg.norm(directions, axis=2)
    # Mostly straight out, somewhere not, nowhere inwards.
    assert abs(lengths - 1).max() < 0.03 and texels[:, :, 2].min() >= 128, name
    mean = directions[:, :, 2].mean()
    assert mean > 0.95 and texels[:, :, 2].min() < 254, (name, mean)
    return texels
glb = trimesh.load(folder / "model.glb", force="mesh")
baked = normals("glb", glb)
counts["glb"] = solid("glb", glb, 1, 1, False)
counts["stl"] = solid("stl", trimesh.load(folder / "model.stl"), 2, 80, True)
ply = trimesh.load(folder / "model.ply")
colours("ply", ply, 2)
counts["ply"] = solid("ply", ply, 2, 80, True)
counts["3mf"] = solid("3mf", trimesh.load(folder / "model.3mf", force="mesh"), 2, 80, True)
with zipfile.ZipFile(folder / "model.3mf") as archive:
    assert archive.testzip() is None
    from lxml import etree
    root = etree.fromstring(archive.read("3D/3dmodel.model"))
    core = "{http://schemas.microsoft.com/3dmanufacturing/core/2015/02}"
    m = "{http://schemas.microsoft.com/3dmanufacturing/material/2015/02}"
    assert root.get("unit") == "millimeter"
    shades = len(root.findall(f".//{m}color"))
    used = [int(t.get(p)) for t in root.iter(core + "triangle") for p in ("p1", "p2", "p3")]
    assert max(used) < shades and len(set(used)) > 2, (shades, max(used))
with zipfile.ZipFile(folder / "model.obj.zip") as archive:
    assert archive.testzip() is None
    archive.extractall(folder / "obj")
obj = trimesh.load(folder / "obj" / "model.obj", force="mesh")
assert obj.visual.material.image.size == (1024, 1024)
assert "norm normal.png" in (folder / "obj" / "model.mtl").read_text().splitlines()
assert (numpy.asarray(Image.open(folder / "obj" / "normal.png").convert("RGB")) == baked).all()
counts["obj"] = solid("obj", obj, 1, 1, True)
usdz = (folder / "model.usdz").read_bytes()
with zipfile.ZipFile(io.BytesIO(usdz)) as archive:
    assert archive.testzip() is None
    names = [entry.filename for entry in archive.infolist()]
    assert names == ["model.usda", "base_colour.png", "normal.png"], names
    for entry in archive.infolist():
        name, extra = struct.unpack_from("<HH", usdz, entry.header_offset + 26)
        begins = entry.header_offset + 30 + name + extra
        assert entry.compress_type == zipfile.ZIP_STORED and begins % 64 == 0, (entry.filename, begins)
    layer = archive.read("model.usda").decode()
    assert layer.startswith("#usda 1.0") and 'upAxis = "Y"' in layer
    indices = layer.split("int[] faceVertexIndices = [")[1].split("]")[0].split(",")
    points = layer.split("point3f[] points = [(")[1].split(")]")[0].split("), (")
    points = numpy.array([[float(x) for x in point.split(",")] for point in points])
    faces = numpy.array([int(index) for index in indices]).reshape(-1, 3)
    counts["usdz"] = solid("usdz", trimesh.Trimesh(points, faces), 1, 1, False)
packed = trimesh.load(folder / "model.packed.glb", force="mesh")
assert packed.visual.material.baseColorTexture.size == (1024, 1024)
assert (normals("packed", packed) == baked).all()
counts["packed"] = solid("packed", packed, 1, 1, False)
assert len(set(counts.values())) == 1, counts
for percent in (50, 25, 10):
    level = trimesh.load(folder / f"model.lod{percent}.glb", force="mesh")
    assert level.visual.material.baseColorTexture.size == (1024, 1024)
    faces = solid(f"lod{percent}", level, 1, 1, False, 1e-2)
    assert 0.9 * percent < 100 * faces / counts["glb"] <= percent, (percent, faces, counts)
gif = Image.open(folder / "turntable.gif")
assert gif.n_frames == 36 and gif.size == (512, 512), (gif.n_frames, gif.size)
turn = Image.open(folder / "turntable.webp")
assert turn.n_frames == 36 and turn.size == (512, 512), (turn.n_frames, turn.size)
seen = []
for frame in range(36):
    turn.seek(frame)
    seen.append(numpy.asarray(turn.convert("RGBA")).astype(int))
cover = [(frame[:, :, 3] > 128).mean() for frame in seen]
assert min(cover) > 0.03, cover
edge = max(max(f[0, :, 3].max(), f[-1, :, 3].max(), f[:, 0, 3].max(), f[:, -1, 3].max()) for f in seen)
assert edge == 0, "the turn is cut off"
"##;

#[test]
fn every_format_is_the_same_model_for_other_peoples_tools() {
    let scratch = Scratch::new("formats").expect("a folder");
    let all = "glb stl ply obj 3mf usdz turntable gif packed lod";
    let options = [("formats", all), ("size-mm", "80"), ("quality", "draft"), ("normal-map", "on")];
    let files = model(encoded(&thing(512).into(), ImageFormat::Png), &options);
    kept(&files, scratch.path(), "all");
    for name in ["mesh", "textured", "model", "model.packed", "model.lod50", "model.lod25", "model.lod10"] {
        validated(&scratch.path().join(format!("all/{name}.glb")));
    }
    python(FORMATS, scratch.path());
}

const PLATE: &str = r#"
import pathlib, sys, trimesh
for case, size in (("raised", (60, 60, 9)), ("lithophane", (90, 90, 3))):
    plate = trimesh.load(pathlib.Path(sys.argv[1]) / case / "model.stl")
    assert plate.is_watertight and plate.is_winding_consistent and plate.volume > 0, case
    # As it is printed: the picture upright, its depth away from the viewer.
    found = (plate.extents[0], plate.extents[2], plate.extents[1])
    assert all(abs(a - b) < 0.15 for a, b in zip(found, size)), (case, found)
    assert plate.euler_number == 2, (case, plate.euler_number)
"#;

#[test]
fn reliefs_and_lithophanes_have_the_millimetres_that_were_asked_for() {
    let scratch = Scratch::new("plates").expect("a folder");
    let raised = [("depth-mm", "6"), ("base-mm", "3"), ("frame-mm", "2"), ("width-mm", "60")];
    let lithophane = [("curve", "lithophane"), ("depth-mm", "2.2"), ("base-mm", "0.8"), ("size-mm", "90")];
    // A square subject makes a square plate: the thing on a ground of its own.
    let upload = encoded(&photograph(512), ImageFormat::Png);
    for (case, own) in [("raised", &raised), ("lithophane", &lithophane)] {
        let all = [("engine", "relief"), ("mask", "whole"), ("formats", "glb stl")];
        let options: Vec<(&str, &str)> = all.into_iter().chain(own.iter().copied()).collect();
        let files = model(upload.clone(), &options);
        kept(&files, scratch.path(), case);
        validated(&scratch.path().join(case).join("model.glb"));
    }
    python(PLATE, scratch.path());
}

/// How an upload must end.
enum Ending {
    /// As a model.
    Model,
    /// As a rejection with these words in it.
    Rejected(&'static str),
    /// As one of both: whatever it is, it is no broken file and no silence.
    Either,
}

type Wishes = &'static [(&'static str, &'static str)];

/// Silhouettes of every bad sort, what is asked for besides, and how it ends.
fn silhouettes() -> Vec<(&'static str, RgbaImage, Wishes, Ending)> {
    let drawn = |inside: &dyn Fn(u32, u32) -> bool| {
        RgbaImage::from_fn(512, 512, |x, y| {
            let colour = [40 + (x / 3) as u8, 90, 40 + (y / 3) as u8, 255];
            if inside(x, y) { Rgba(colour) } else { Rgba([0; 4]) }
        })
    };
    let radius = |x: u32, y: u32| (x as f32 - 255.5).hypot(y as f32 - 255.5);
    // 32 x 32 specks.
    let specks = |x: u32, y: u32| x % 16 < 2 && y % 16 < 2;
    let comb = |x: u32, y: u32| (40..100).contains(&y) || ((40..480).contains(&y) && x % 24 < 11);
    let squares = |x: u32, y: u32, side: u32| (x / side + y / side).is_multiple_of(2);
    let slim = RgbaImage::from_fn(1, 8192, |_, y| Rgba([200, 40, 40, if y < 6000 { 255 } else { 0 }]));
    let plain = RgbaImage::from_pixel(512, 512, Rgba([60, 120, 200, 255]));
    let larger = "use one in which the subject fills more of the frame";
    vec![
        ("one-pixel", drawn(&|x, y| (x, y) == (256, 256)), &[], Ending::Rejected(larger)),
        ("whole-frame", drawn(&|_, _| true), &[("mask", "whole")], Ending::Model),
        ("one-colour", plain, &[], Ending::Rejected(larger)),
        ("specks", drawn(&specks), &[], Ending::Rejected("use a picture with one clear subject")),
        ("ring", drawn(&|x, y| (90.0..200.0).contains(&radius(x, y))), &[], Ending::Model),
        ("thin-ring", drawn(&|x, y| (198.0..200.0).contains(&radius(x, y))), &[], Ending::Either),
        ("comb", drawn(&comb), &[], Ending::Model),
        ("checkerboard", drawn(&|x, y| squares(x, y, 64)), &[], Ending::Model),
        ("fine-checkerboard", drawn(&|x, y| squares(x, y, 2)), &[], Ending::Either),
        ("zero-alpha", drawn(&|_, _| false), &[], Ending::Rejected("use one with a visible subject")),
        ("slim", slim, &[], Ending::Either),
    ]
}

const SOUND: &str = r#"
import pathlib, sys, trimesh
for glb in sorted(pathlib.Path(sys.argv[1]).glob("*/model.glb")):
    mesh = trimesh.load(glb, force="mesh")
    mesh.merge_vertices(merge_tex=True, merge_norm=True)
    good = mesh.is_watertight and mesh.is_winding_consistent and mesh.volume > 0
    assert good, (glb, mesh.is_watertight, mesh.is_winding_consistent, mesh.volume)
    assert abs(max(mesh.extents) - 1) < 1e-4, (glb, mesh.extents)
    assert 100 < len(mesh.faces) <= 10_000, (glb, len(mesh.faces))
    stl = trimesh.load(glb.with_name("model.stl"))
    assert stl.is_watertight and stl.volume > 0 and abs(max(stl.extents) - 100) < 0.01, (glb, stl.extents)
"#;

#[test]
fn bad_silhouettes_end_as_good_models_or_as_rejections_that_say_what_to_do() {
    let scratch = Scratch::new("silhouettes").expect("a folder");
    for engine in ["inflate", "relief", "layered"] {
        for (name, picture, wishes, ending) in silhouettes() {
            let case = format!("{engine}-{name}");
            let common = [("engine", engine), ("quality", "draft"), ("texture-px", "512")];
            let options: Vec<(&str, &str)> = common.into_iter().chain(wishes.iter().copied()).collect();
            match (attempted(encoded(&picture.into(), ImageFormat::Png), &options), ending) {
                (Ok(files), Ending::Model | Ending::Either) => {
                    kept(&files, scratch.path(), &case);
                    validated(&scratch.path().join(&case).join("model.glb"));
                    println!("{case}: a model");
                }
                (Err(StageError::Rejected(reason)), Ending::Either) => {
                    assert!(reason.contains("use "), "{case}: {reason}");
                    println!("{case}: {reason}");
                }
                (Err(StageError::Rejected(reason)), Ending::Rejected(words)) => {
                    assert!(reason.contains(words), "{case}: {reason}");
                }
                (found, _) => panic!("{case}: {:?}", found.map(|files| files.len())),
            }
        }
    }
    python(SOUND, scratch.path());
}
