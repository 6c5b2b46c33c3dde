//! Stage 1: picture -> cut-out, squared RGBA.
//!
//! The flow: `decode` (limits, orientation, plain RGBA) -> alpha, else `background`, else `matting`, else
//! `grabcut` (what is subject), both with an outline by `edge` -> `crumbs` -> `report` (what a person should
//! know) -> `frame` (letterboxed to 512²). Matting needs a model file that whoever makes the stage function
//! brings; without one, colours decide, and often wrongly.
#![forbid(unsafe_code)]

mod background;
mod colours;
mod crumbs;
mod decode;
mod edge;
mod frame;
mod grabcut;
mod jpeg;
mod mask;
mod matting;
mod mincut;
mod report;
mod tone;

use background::Ground;
use domain::{Curve, EngineVersion, Mask, Recipe};
use image::RgbaImage;
use mask::Parts;
use matting::Answer;
use mesh::provenance::write_cutout;
use report::{Cut, Method, Report};
use stage::{Context, File, Input, Output, StageError, StageFunction};

/// Pixels below this alpha are not subject.
const ALPHA_MIN: u8 = 128;
/// Least share of really transparent pixels that makes an alpha channel a cut-out.
const TRANSPARENT_SHARE_MIN: f64 = 0.002;
/// Least share of the picture that a subject fills.
const SUBJECT_SHARE_MIN: f64 = 0.0005;

/// The stage function preprocess.
#[derive(Clone, Debug, Default)]
pub struct Preprocess {
    /// The file of [`nn::U2NETP`], if there is one.
    matting: Option<Vec<u8>>,
    models: nn::Cache,
    takes_exr: bool,
}

impl Preprocess {
    /// With the file of [`nn::U2NETP`]: pictures need no plain background then. It is loaded by the first
    /// picture that needs it, and stays warm.
    pub fn with_matting(model: Vec<u8>) -> Preprocess {
        Preprocess { matting: Some(model), ..Preprocess::default() }
    }

    /// Takes OpenEXR as well.
    pub fn taking_exr(self) -> Preprocess {
        Preprocess { takes_exr: true, ..self }
    }

    /// The picture with everything but the subject transparent. A person's own alpha channel always wins,
    /// and a plain background is cut out more sharply than any network does; where it is doubtful, the
    /// network is asked. A mask that the recipe names is the only one that is looked for.
    fn cut_out(&mut self, image: RgbaImage, mask: Option<Mask>, cx: &Context<'_>) -> Result<Cut, StageError> {
        let plain_cut = |image, method, warnings| Cut { image, method, model: None, warnings };
        if mask == Some(Mask::Whole) {
            return Ok(plain_cut(mask::whole(image), Method::Whole, vec![]));
        }
        if has_alpha(&image)? && mask != Some(Mask::Plain) {
            return Ok(plain_cut(image, Method::Alpha, vec![]));
        }
        if mask == Some(Mask::Alpha) {
            return Err(StageError::Rejected(
                "mask=alpha, but nothing in the picture is transparent; use a png or webp with transparency, \
                 or leave mask out"
                    .to_owned(),
            ));
        }
        let Some(plain) = background::plain(&image) else {
            if mask == Some(Mask::Plain) {
                return Err(background::not_plain());
            }
            return match self.ask(&image, cx)? {
                Some(answer) => Ok(matted(answer.cut_out(image)?)),
                None => {
                    let mask = grabcut::mask(&image)?;
                    let (image, pale) = edge::cut_out(image, &mask);
                    let warnings = [Some(grabcut::warning()), pale.then(report::of_pale)];
                    Ok(plain_cut(image, Method::GrabCut, warnings.into_iter().flatten().collect()))
                }
            };
        };
        let mut ground = Ground::of(&image, plain);
        if !ground.pale && !ground.has_holes() {
            return Ok(plain_cut(ground.remove_from(image), Method::PlainBackground, vec![]));
        }
        let answer = if mask == Some(Mask::Plain) { None } else { self.ask(&image, cx)? };
        let Some(answer) = answer else {
            let image = ground.remove_from(image);
            return Ok(plain_cut(image, Method::PlainBackground, ground.doubts()));
        };
        if ground.pale && answer.found() && !ground.is_confirmed(&answer) {
            return Ok(matted(answer.cut_out(image)?));
        }
        if answer.found() {
            ground.close_holes(&answer);
        }
        let (image, model) = (ground.remove_from(image), Some((&nn::U2NETP).into()));
        // That the network sees the same makes the outline likelier, and no sharper. Holes it has seen too.
        let warnings = ground.pale.then(report::of_pale).into_iter().collect();
        Ok(Cut { image, method: Method::PlainBackground, model, warnings })
    }

    /// What the network says, if there is one.
    fn ask(&mut self, image: &RgbaImage, cx: &Context<'_>) -> Result<Option<Answer>, StageError> {
        let Some(model) = &self.matting else { return Ok(None) };
        let _span = cx.span("matting");
        let model = self.models.model(&nn::U2NETP, || model).map_err(matting::failure)?;
        Answer::of(model, image).map(Some)
    }
}

fn matted((image, pale): (RgbaImage, bool)) -> Cut {
    let warnings = pale.then(report::of_pale).into_iter().collect();
    Cut { image, method: Method::Matting, model: Some((&nn::U2NETP).into()), warnings }
}

impl StageFunction for Preprocess {
    fn engine(&self, _recipe: &Recipe) -> EngineVersion {
        let name = if self.matting.is_some() { "alpha-plain-or-u2netp" } else { "alpha-plain-or-grabcut" };
        EngineVersion { name: name.to_owned(), version: "5".to_owned() }
    }

    fn run(&mut self, input: &Input, cx: &Context<'_>) -> Output {
        let upload = input.file("upload")?;
        cx.progress(0.0, "decode");
        let decoded = {
            let _span = cx.span("decode");
            decode::decode(upload, self.takes_exr)?
        };
        cx.progress(0.4, "cut out");
        let mut cut = {
            let _span = cx.span("cut_out");
            self.cut_out(decoded.image, wanted_mask(&input.recipe), cx)?
        };
        let (parts, report) = {
            let _span = cx.span("report");
            // A person's own mask is taken as it is.
            if matches!(cut.method, Method::PlainBackground | Method::Matting | Method::GrabCut) {
                cut.warnings.extend(report::of_crumbs(crumbs::clear(&mut cut.image)));
            }
            let parts = Parts::of(&mut cut.image)?;
            let report = Report::of(&cut, &parts, decoded.source_px, decoded.turned);
            (parts, report)
        };
        if report.subject_share < SUBJECT_SHARE_MIN {
            return Err(mask::nothing());
        }
        report.warnings.iter().for_each(|warning| cx.note(warning));
        cx.progress(0.7, "frame");
        let framed = {
            let _span = cx.span("frame");
            frame::letterbox(&cut.image, &parts)
        };
        let _span = cx.span("encode");
        let failed =
            |what: &str, error: &dyn std::fmt::Display| StageError::Failed(format!("{what}: {error}"));
        let json = serde_json::to_vec_pretty(&report).map_err(|error| failed("write the report", &error))?;
        let png = write_cutout(&framed, &vec![report.step()])
            .map_err(|error| failed("encode the cut-out", &error))?;
        let file = |name: &str, content_type: &str, bytes: Vec<u8>| File {
            name: name.to_owned(),
            content_type: content_type.to_owned(),
            bytes,
        };
        Ok(vec![file("cutout.png", "image/png", png), file("report.json", "application/json", json)])
    }
}

/// The mask that the recipe asks for. A lithophane is of the whole picture unless said otherwise.
fn wanted_mask(recipe: &Recipe) -> Option<Mask> {
    let lithophane = recipe.details.curve == Some(Curve::Lithophane);
    recipe.details.mask.or(lithophane.then_some(Mask::Whole))
}

/// Whether the picture's alpha channel is a cut-out.
fn has_alpha(image: &RgbaImage) -> Result<bool, StageError> {
    let all = f64::from(image.width()) * f64::from(image.height());
    let transparent = image.pixels().filter(|pixel| pixel[3] < ALPHA_MIN).count() as f64;
    if transparent == all {
        return Err(StageError::Rejected(
            "the whole picture is transparent; use one with a visible subject".to_owned(),
        ));
    }
    Ok(transparent >= TRANSPARENT_SHARE_MIN * all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{ImageFormat, Rgba};
    use stage::Silent;
    use std::io::Cursor;

    fn run(bytes: Vec<u8>) -> Result<RgbaImage, String> {
        let file = File { name: "upload".to_owned(), content_type: String::new(), bytes };
        let input = Input { recipe: Recipe::default(), files: vec![file] };
        let output = Preprocess::default()
            .run(&input, &Context::new(&Silent, 0))
            .map_err(|error| error.to_string())?;
        assert_eq!(output[1].name, "report.json");
        Ok(image::load_from_memory(&output[0].bytes).expect("our own PNG").into_rgba8())
    }

    fn encoded(image: &RgbaImage, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        match format {
            ImageFormat::Jpeg => {
                image::DynamicImage::from(image.clone()).into_rgb8().write_to(&mut bytes, format)
            }
            format => image.write_to(&mut bytes, format),
        }
        .expect("memory");
        bytes.into_inner()
    }

    /// A red block of 60 x 30 at (20, 40) of 100 x 100.
    fn block(ground: Rgba<u8>) -> RgbaImage {
        RgbaImage::from_fn(100, 100, |x, y| {
            let inside = (20..80).contains(&x) && (40..70).contains(&y);
            if inside { Rgba([200, 30, 30, 255]) } else { ground }
        })
    }

    /// Bounding box of what is opaque.
    fn bounds(image: &RgbaImage) -> (u32, u32, u32, u32) {
        let opaque = image.enumerate_pixels().filter(|(_, _, pixel)| pixel[3] >= ALPHA_MIN);
        opaque.fold((u32::MAX, u32::MAX, 0, 0), |(x0, y0, x1, y1), (x, y, _)| {
            (x0.min(x), y0.min(y), x1.max(x), y1.max(y))
        })
    }

    #[test]
    fn alpha_and_plain_background_give_the_same_letterboxed_subject() {
        let clear = encoded(&block(Rgba([0, 0, 0, 0])), ImageFormat::Png);
        let plain = encoded(&block(Rgba([240, 240, 235, 255])), ImageFormat::Png);
        let jpeg = encoded(&block(Rgba([240, 240, 235, 255])), ImageFormat::Jpeg);
        let webp = encoded(&block(Rgba([0, 0, 0, 0])), ImageFormat::WebP);
        for bytes in [clear, plain, jpeg, webp] {
            let cutout = run(bytes).expect("a clear subject");
            assert_eq!(cutout.dimensions(), (512, 512));
            let (x0, y0, x1, y1) = bounds(&cutout);
            let (width, height) = (x1 - x0 + 1, y1 - y0 + 1);
            assert!((430..=440).contains(&width), "{width}");
            assert!((210..=225).contains(&height), "{height}");
            let middle = cutout.get_pixel(256, 256);
            assert!(middle[0].abs_diff(200) < 8 && middle[1].abs_diff(30) < 8, "{middle:?}");
            assert!((x0 + x1).abs_diff(511) <= 3 && (y0 + y1).abs_diff(511) <= 3);
        }
    }

    #[test]
    fn no_colour_of_the_background_is_left_at_the_edge() {
        let green = encoded(&block(Rgba([20, 230, 20, 255])), ImageFormat::Png);
        let cutout = run(green).expect("a clear subject");
        let greenish = cutout.pixels().filter(|p| p[3] > 60 && p[1] > p[0]).count();
        assert_eq!(greenish, 0);
    }

    #[test]
    fn a_hole_through_which_the_background_shows_is_a_hole() {
        let mut image = block(Rgba([250, 250, 250, 255]));
        for (x, y) in (40..60).flat_map(|x| (50..60).map(move |y| (x, y))) {
            image.put_pixel(x, y, Rgba([250, 250, 250, 255]));
        }
        let cutout = run(encoded(&image, ImageFormat::Png)).expect("a clear subject");
        assert_eq!(cutout.get_pixel(256, 256)[3], 0);
    }

    #[test]
    fn a_stray_pixel_does_not_move_the_frame() {
        let mut image = block(Rgba([0, 0, 0, 0]));
        let clean = run(encoded(&image, ImageFormat::Png)).expect("a clear subject");
        image.put_pixel(99, 0, Rgba([0, 255, 0, 255]));
        assert!(run(encoded(&image, ImageFormat::Png)).expect("a clear subject") == clean);
        let dust = RgbaImage::from_fn(300, 300, |x, y| {
            Rgba([9, 9, 9, 255 * u8::from(x.is_multiple_of(9) && y.is_multiple_of(9))])
        });
        let refused = run(encoded(&dust, ImageFormat::Png)).expect_err("only dust");
        assert!(refused.contains("specks"), "{refused}");
    }

    #[test]
    fn what_is_doubtful_before_a_plain_background_is_said() {
        let doubts = |image: RgbaImage| {
            let plain = background::plain(&image).expect("a plain border");
            Ground::of(&image, plain).doubts().join(" ")
        };
        assert_eq!(doubts(block(Rgba([250, 250, 250, 255]))), "");
        // White on its left, pale grey on its right, before white.
        let pale = RgbaImage::from_fn(100, 100, |x, y| {
            let inside = (20..80).contains(&x) && (10..90).contains(&y);
            Rgba([0, 1, 2, 3].map(|c| if inside && c < 3 { 255 - (x - 20) as u8 / 2 } else { 255 }))
        });
        assert!(doubts(pale).contains("hardly any contrast"));
        let with_spot = |colour: [u8; 4]| {
            let mut image = block(Rgba([250, 250, 250, 255]));
            (40..60).for_each(|x| (50..60).for_each(|y| image.put_pixel(x, y, Rgba(colour))));
            image
        };
        assert!(doubts(with_spot([250, 250, 250, 255])).contains("became holes"));
        // Nearly the background's colour, but not as it is spread: a light spot, and no doubt.
        assert_eq!(doubts(with_spot([245, 245, 245, 255])), "");
    }

    #[test]
    fn what_cannot_become_a_model_is_rejected_in_words() {
        let check = |bytes: Vec<u8>, part: &str| {
            let reason = run(bytes).expect_err("no subject");
            assert!(reason.contains(part), "{reason}");
        };
        let png = |image: &RgbaImage| encoded(image, ImageFormat::Png);
        check(b"this is text".to_vec(), "png, jpeg, webp or tiff");
        check(Vec::new(), "png, jpeg, webp or tiff");
        check(png(&block(Rgba([0, 0, 0, 0])))[..120].to_vec(), "cannot be read");
        check(png(&RgbaImage::new(64, 64)), "transparent");
        check(png(&RgbaImage::from_pixel(64, 64, Rgba([9, 9, 9, 255]))), "nothing was found");
        let noise = RgbaImage::from_fn(64, 64, |x, y| {
            let n = (x * 7919 + y * 104_729).wrapping_mul(2_654_435) % 255;
            Rgba([n as u8, (n * 3 % 255) as u8, (n * 7 % 255) as u8, 255])
        });
        check(png(&noise), "plain background");
        let mut dot = RgbaImage::new(200, 200);
        dot.put_pixel(100, 100, Rgba([255, 0, 0, 255]));
        check(png(&dot), "nothing was found");
    }

    #[test]
    fn extreme_shapes_are_answered() {
        let tall =
            RgbaImage::from_fn(1, 4000, |_, y| Rgba([200, 0, 0, if y % 4000 < 2000 { 255 } else { 0 }]));
        let answered = run(encoded(&tall, ImageFormat::Png));
        assert!(answered.is_ok() || answered.is_err_and(|reason| !reason.is_empty()));
    }
}
