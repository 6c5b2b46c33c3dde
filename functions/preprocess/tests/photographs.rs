//! The real network on real photographs, judged by masks drawn by hand: polygons over pictures that
//! scikit-image ships.

use domain::Recipe;
use image::RgbaImage;
use preprocess::Preprocess;
use serde_json::Value;
use stage::{Context, File, Input, Silent, StageError, StageFunction};

/// Least overlap (intersection over union) with the hand-made mask.
const OVERLAP_MIN: f64 = 0.9;

/// Cup, saucer and spoon.
const COFFEE: &str = "\
    77,217 80,185 87,160 100,137 120,112 145,90 165,77 182,73 195,55 215,37 240,25 270,19 300,18 \
    330,25 360,37 382,55 395,69 400,70 412,66 424,75 422,87 419,105 435,116 452,135 467,162 476,190 \
    479,220 475,255 465,285 445,320 420,345 385,367 350,381 320,388 295,389 260,387 225,381 190,367 \
    155,347 125,320 100,287 85,257";

/// The astronaut with her helmet; flag and model are background.
const ASTRONAUT: &str = "\
    42,512 29,488 23,450 21,408 24,356 32,323 40,286 52,260 73,239 96,224 113,210 113,188 123,180 \
    129,169 141,157 159,150 183,149 180,133 173,129 166,112 157,94 154,70 159,56 180,42 191,35 199,23 \
    216,18 234,16 263,21 286,38 298,61 300,84 295,105 284,124 274,129 270,136 265,141 258,162 256,174 \
    263,177 281,190 295,211 304,230 305,237 323,246 340,263 349,281 356,305 360,331 366,347 375,346 \
    398,344 422,347 450,361 474,384 490,413 496,441 497,455 504,459 512,464 512,512";

/// The corners of a mask that is written as SVG writes points.
fn corners(points: &str) -> Vec<[f64; 2]> {
    let number = |text: &str| text.parse().expect("a number");
    let corner = |point: &str| point.split_once(',').map(|(x, y)| [number(x), number(y)]);
    points.split_whitespace().filter_map(corner).collect()
}

fn tool(name: &str) -> Vec<u8> {
    let path = harness::tool(name).expect("it is installed");
    std::fs::read(path).expect("an installed file")
}

fn run(function: &mut Preprocess, photograph: &[u8]) -> Result<(RgbaImage, Value), StageError> {
    let upload = File { name: "upload".to_owned(), content_type: String::new(), bytes: photograph.to_vec() };
    let input = Input { recipe: Recipe::default(), files: vec![upload] };
    let files = function.run(&input, &Context::new(&Silent, 0))?;
    let cutout = image::load_from_memory(&files[0].bytes).expect("our own PNG").into_rgba8();
    Ok((cutout, serde_json::from_slice(&files[1].bytes).expect("our own JSON")))
}

/// Whether a place lies within a polygon: a ray to the right crosses its edges an odd number of times.
fn is_within(polygon: &[[f64; 2]], [x, y]: [f64; 2]) -> bool {
    let edges = polygon.iter().zip(polygon.iter().cycle().skip(1));
    let crossed = edges
        .filter(|([x0, y0], [x1, y1])| (*y0 > y) != (*y1 > y) && x < x0 + (y - y0) / (y1 - y0) * (x1 - x0));
    crossed.count() % 2 == 1
}

/// The subject in the photograph's own pixels, out of the frame of 435 pixels around its box.
fn found(cutout: &RgbaImage, report: &Value, [width, height]: [u32; 2]) -> Vec<bool> {
    let corner = |n: usize| report["subject_box_px"][n].as_f64().expect("a box");
    let (low, high) = ([corner(0), corner(1)], [corner(2) + 1.0, corner(3) + 1.0]);
    let scale = 435.0 / (high[0] - low[0]).max(high[1] - low[1]);
    let framed =
        |at: u32, axis: usize| (f64::from(at) + 0.5 - (low[axis] + high[axis]) / 2.0) * scale + 256.0;
    let is_subject = |at: u32| {
        let (x, y) = (framed(at % width, 0), framed(at / width, 1));
        (0.0..512.0).contains(&x)
            && (0.0..512.0).contains(&y)
            && cutout.get_pixel(x as u32, y as u32)[3] >= 128
    };
    (0..width * height).map(is_subject).collect()
}

fn overlap(a: &[bool], b: &[bool]) -> f64 {
    let (both, any) = a
        .iter()
        .zip(b)
        .fold((0, 0), |(both, any), (a, b)| (both + u32::from(*a && *b), any + u32::from(*a || *b)));
    f64::from(both) / f64::from(any)
}

#[test]
fn the_network_cuts_photographs_out_as_a_hand_does() {
    let mut network = Preprocess::with_matting(tool("u2netp"));
    for (name, points) in [("photo-coffee", COFFEE), ("photo-astronaut", ASTRONAUT)] {
        let photograph = tool(name);
        let image = image::load_from_memory(&photograph).expect("a photograph");
        let (width, height) = (image.width(), image.height());
        let centre = |at: u32| [f64::from(at % width) + 0.5, f64::from(at / width) + 0.5];
        let polygon = corners(points);
        let truth: Vec<bool> = (0..width * height).map(|at| is_within(&polygon, centre(at))).collect();
        let (cutout, report) = run(&mut network, &photograph).expect("a subject");
        assert_eq!(report["method"], "matting", "{report}");
        assert_eq!(report["model"]["sha256"], nn::U2NETP.sha256, "{report}");
        let by_network = found(&cutout, &report, [width, height]);
        let iou = overlap(&by_network, &truth);
        println!("{name}: IoU {iou:.3}");
        assert!(iou >= OVERLAP_MIN, "{name}: IoU {iou:.3}");
        // Without the network colours decide, and do not find as much.
        match run(&mut Preprocess::default(), &photograph) {
            Ok((cutout, report)) => {
                assert_eq!(report["method"], "grab_cut", "{report}");
                let by_colours = overlap(&found(&cutout, &report, [width, height]), &truth);
                println!("{name}: IoU by colours {by_colours:.3}");
                assert!(by_colours < iou, "{name}: {by_colours:.3} by colours, {iou:.3} by the network");
            }
            Err(refused) => assert!(!refused.to_string().is_empty(), "{name}"),
        }
    }
}
