//! What was done to the picture, and what a person should know about it.

use crate::ALPHA_MIN;
use crate::mask::regions;
use image::RgbaImage;
use serde::Serialize;

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
}

/// `report.json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Report {
    pub(crate) method: Method,
    pub(crate) source_width_px: u32,
    pub(crate) source_height_px: u32,
    pub(crate) turned_by_exif: bool,
    /// Share of the picture that is subject.
    pub(crate) subject_share: f64,
    /// Parts with at least a tenth of the largest one's pixels.
    pub(crate) subjects: usize,
    pub(crate) warnings: Vec<String>,
}

/// A part this large beside the largest is a subject of its own.
const SUBJECT_OF_LARGEST: f64 = 0.1;
/// Below this many pixels a side, a model shows little.
const SMALL_PX: u32 = 96;

impl Report {
    pub(crate) fn of(cutout: &RgbaImage, method: Method, source_px: [u32; 2], turned: bool) -> Report {
        let subject: Vec<bool> = cutout.pixels().map(|pixel| pixel[3] >= ALPHA_MIN).collect();
        let (width, height) = (cutout.width() as usize, cutout.height() as usize);
        let (_, sizes) = regions(&subject, width);
        let largest = sizes.iter().copied().max().unwrap_or(0);
        let is_subject = |size: &&usize| **size as f64 >= (largest as f64 * SUBJECT_OF_LARGEST).max(1.0);
        let subjects = sizes.iter().filter(is_subject).count();
        let count = subject.iter().filter(|subject| **subject).count();
        let edge = |at: usize| {
            let (x, y) = (at % width, at / width);
            x == 0 || y == 0 || x + 1 == width || y + 1 == height
        };
        let mut warnings = Vec::new();
        if (0..subject.len()).any(|at| subject[at] && edge(at)) {
            warnings.push("the subject is cut by the frame; leave some space around it".to_owned());
        }
        if subjects > 1 {
            warnings.push(format!("{subjects} separate subjects were found; all of them become one model"));
        }
        if method == Method::Matting {
            warnings.push("the background is not plain, so the outline was guessed; look at it".to_owned());
        }
        if source_px[0].max(source_px[1]) < SMALL_PX {
            warnings.push("the picture is small; the model will show little detail".to_owned());
        }
        Report {
            method,
            source_width_px: source_px[0],
            source_height_px: source_px[1],
            turned_by_exif: turned,
            subject_share: count as f64 / subject.len().max(1) as f64,
            subjects,
            warnings,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgba;

    #[test]
    fn a_cut_and_several_subjects_are_said_in_words() {
        let image = RgbaImage::from_fn(200, 100, |x, _| {
            Rgba([0, 0, 0, if (40..=150).contains(&x) { 0 } else { 255 }])
        });
        let report = Report::of(&image, Method::Alpha, [200, 100], false);
        assert_eq!(report.subjects, 2);
        assert_eq!(report.warnings.len(), 2);
    }
}
