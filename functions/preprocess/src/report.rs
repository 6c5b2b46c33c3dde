//! What was done to the picture, and what a person should know about it.

use crate::mask::Parts;
use image::RgbaImage;
use serde::Serialize;
use serde_json::{Value, json};

/// How the subject was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Method {
    /// The picture's own alpha channel.
    Alpha,
    /// The colour of the border was taken away.
    PlainBackground,
    /// A network told subject from background.
    Matting,
    /// Colours of the border and of the middle told subject from background.
    GrabCut,
    /// The whole picture is the subject, as the recipe says.
    Whole,
}

/// A network that took part.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Model {
    pub(crate) name: &'static str,
    pub(crate) sha256: &'static str,
    pub(crate) licence: &'static str,
}

impl From<&nn::Manifest> for Model {
    fn from(manifest: &nn::Manifest) -> Model {
        Model { name: manifest.name, sha256: manifest.sha256, licence: manifest.licence }
    }
}

/// A picture with everything but the subject transparent, and how it came to be.
pub(crate) struct Cut {
    pub(crate) image: RgbaImage,
    pub(crate) method: Method,
    /// The network that was asked, if any.
    pub(crate) model: Option<Model>,
    /// What was doubtful.
    pub(crate) warnings: Vec<String>,
}

/// `report.json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Report {
    pub(crate) method: Method,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) model: Option<Model>,
    pub(crate) source_width_px: u32,
    pub(crate) source_height_px: u32,
    pub(crate) turned_by_exif: bool,
    /// The box around the subject in the picture as it was worked on, upright and at most 1280 pixels long:
    /// first column and row, last column and row.
    pub(crate) subject_box_px: [u32; 4],
    /// Share of the picture that is subject.
    pub(crate) subject_share: f64,
    /// Parts with at least a tenth of the largest one's pixels.
    pub(crate) subjects: usize,
    pub(crate) warnings: Vec<String>,
}

/// A part this large beside the largest is a subject of its own.
const SUBJECT_OF_LARGEST: f64 = 0.1;
/// A subject whose longer side is below this many pixels shows little.
const SMALL_PX: u32 = 96;

/// What a person is told whose subject hardly differs from its background.
pub(crate) fn of_pale() -> String {
    "the subject has hardly any contrast to its background, so its outline may be wrong; use a background of \
     another colour"
        .to_owned()
}

/// What a person is told of crumbs that were left out.
pub(crate) fn of_crumbs(count: usize) -> Option<String> {
    let what = match count {
        0 => return None,
        1 => "a small island beside the subject was left out".to_owned(),
        _ => format!("{count} small islands beside the subject were left out"),
    };
    Some(format!("{what}; if that belongs to it, use a png with transparency"))
}

impl Report {
    pub(crate) fn of(cut: &Cut, parts: &Parts, source_px: [u32; 2], turned: bool) -> Report {
        let (width, height) = cut.image.dimensions();
        let largest = parts.sizes.iter().copied().max().unwrap_or(0) as f64;
        let is_subject = |size: &&usize| **size as f64 >= largest * SUBJECT_OF_LARGEST;
        let subjects = parts.sizes.iter().filter(is_subject).count();
        let mut warnings = cut.warnings.clone();
        let [x0, y0, x1, y1] = parts.bounds;
        let is_cut = x0 == 0 || y0 == 0 || x1 + 1 == width || y1 + 1 == height;
        if is_cut && cut.method != Method::Whole {
            warnings.push("the subject is cut by the frame; leave some space around it".to_owned());
        }
        if subjects > 1 {
            warnings.push(format!("{subjects} separate subjects were found; all of them become one model"));
        }
        if cut.method == Method::Matting {
            warnings.push("the background is not plain, so the outline was guessed; look at it".to_owned());
        }
        let longest = parts.longest_px();
        if longest < SMALL_PX {
            warnings.push(format!(
                "the subject is only {longest} pixels large, so the model shows little detail; use a closer \
                 picture"
            ));
        }
        Report {
            method: cut.method,
            model: cut.model.clone(),
            source_width_px: source_px[0],
            source_height_px: source_px[1],
            turned_by_exif: turned,
            subject_box_px: parts.bounds,
            subject_share: parts.pixels() as f64 / (f64::from(width) * f64::from(height)),
            subjects,
            warnings,
        }
    }

    /// What later stages and the finished model say of this one.
    pub(crate) fn step(&self) -> Value {
        let mut step = json!({"stage": "preprocess", "method": self.method});
        if let Some(model) = &self.model {
            step["model"] = json!(model);
        }
        if !self.warnings.is_empty() {
            step["warnings"] = json!(self.warnings);
        }
        step
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgba;

    fn report(image: RgbaImage) -> Report {
        let mut cut = Cut { image, method: Method::Alpha, model: None, warnings: vec![] };
        let parts = Parts::of(&mut cut.image).expect("a subject");
        Report::of(&cut, &parts, [200, 100], false)
    }

    #[test]
    fn a_cut_and_several_subjects_are_said_in_words() {
        let report = report(RgbaImage::from_fn(200, 100, |x, _| {
            Rgba([0, 0, 0, if (40..=150).contains(&x) { 0 } else { 255 }])
        }));
        assert_eq!(report.subjects, 2);
        assert_eq!(report.warnings.len(), 2);
    }

    #[test]
    fn a_tiny_subject_in_a_large_picture_is_said_in_words() {
        let inside = |x, y| (80..120).contains(&x) && (40..60).contains(&y);
        let report =
            report(RgbaImage::from_fn(200, 100, |x, y| Rgba([0, 0, 0, 255 * u8::from(inside(x, y))])));
        assert_eq!(report.warnings.len(), 1);
        assert!(report.warnings[0].contains("only 40 pixels"), "{:?}", report.warnings);
    }
}
