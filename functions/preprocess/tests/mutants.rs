//! Good files, broken in every way that a seed can think of: each is a cut-out or a rejection in words, and
//! none breaks the stage. `MESHWRIGHT_MUTANTS` makes them more, `MESHWRIGHT_SEED` others.

use domain::Recipe;
use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use preprocess::Preprocess;
use stage::{Context, File, Input, Silent, StageError, StageFunction};
use std::io::Cursor;

const FILES: [&[u8]; 6] = [
    include_bytes!("pictures/baseline.jpg"),
    include_bytes!("pictures/progressive.jpg"),
    include_bytes!("pictures/cmyk.jpg"),
    include_bytes!("pictures/grey.jpg"),
    include_bytes!("pictures/lossy.webp"),
    include_bytes!("pictures/animated.webp"),
];

/// SplitMix64.
struct Chance(u64);

impl Chance {
    fn below(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % below.max(1) as u64) as usize
    }
}

fn number(name: &str, or: u64) -> u64 {
    std::env::var(name).map_or(or, |text| text.parse().expect("a number"))
}

fn files() -> Vec<Vec<u8>> {
    let image = RgbImage::from_fn(24, 16, |x, y| match (x, y) {
        (6..=17, 4..=11) => Rgb([200, 30, 30]),
        _ => Rgb([240, 240, 235]),
    });
    let encoded = |format: ImageFormat| {
        let mut bytes = Cursor::new(Vec::new());
        let image = match format {
            ImageFormat::OpenExr => DynamicImage::from(image.clone()).into_rgb32f().into(),
            _ => DynamicImage::from(image.clone()),
        };
        image.write_to(&mut bytes, format).expect("memory");
        bytes.into_inner()
    };
    let ours = [ImageFormat::Png, ImageFormat::Tiff, ImageFormat::WebP, ImageFormat::OpenExr].map(encoded);
    FILES.iter().map(|file| file.to_vec()).chain(ours).collect()
}

/// Breaks a file once.
fn break_once(file: &mut Vec<u8>, other: &[u8], chance: &mut Chance) {
    let at = chance.below(file.len());
    // Headers decide most, and are short.
    let at = if chance.below(2) == 0 { at.min(chance.below(64)) } else { at };
    let length = chance.below(32).min(file.len() - at);
    match chance.below(7) {
        0 => file[at] ^= 1 << chance.below(8),
        1 => file[at] = chance.below(256) as u8,
        // Lengths and counts at their ends.
        2 => {
            let ends = [[0; 4], [0xff; 4], [0x7f, 0xff, 0xff, 0xff], [0xff, 0xff, 0xff, 0x7f], [0, 0, 0, 1]];
            let end = ends[chance.below(ends.len())];
            file.iter_mut().skip(at).zip(end).for_each(|(byte, end)| *byte = end);
        }
        3 => file.truncate(at + 1),
        4 => drop(file.drain(at..at + length)),
        5 => {
            let piece = file[at..at + length].to_vec();
            drop(file.splice(at..at, piece));
        }
        _ => {
            let from = chance.below(other.len());
            let piece: Vec<u8> = other[from..].iter().copied().take(length).collect();
            drop(file.splice(at..at, piece));
        }
    }
    if file.is_empty() {
        file.push(0);
    }
}

#[test]
fn mutants_are_answered_and_never_break_the_stage() {
    let (count, seed) = (number("MESHWRIGHT_MUTANTS", 4_000), number("MESHWRIGHT_SEED", 7));
    let (files, mut function) = (files(), Preprocess::default().taking_exr());
    let (mut taken, mut rejected) = (0, 0);
    for n in 0..count {
        let mut chance = Chance(seed.wrapping_add(n << 20));
        let mut mutant = files[n as usize % files.len()].clone();
        let other = &files[chance.below(files.len())];
        for _ in 0..=chance.below(4) {
            break_once(&mut mutant, other, &mut chance);
        }
        let upload = File { name: "upload".to_owned(), content_type: String::new(), bytes: mutant };
        let input = Input { recipe: Recipe::default(), files: vec![upload] };
        match function.run(&input, &Context::new(&Silent, 0)) {
            Ok(_) => taken += 1,
            Err(StageError::Rejected(why)) => {
                rejected += 1;
                let advises = ["use ", "save it", "upload ", "taken"].iter().any(|word| why.contains(word));
                assert!(advises, "mutant {n} of seed {seed}: {why}");
            }
            Err(other) => panic!("mutant {n} of seed {seed}: {other:?}"),
        }
    }
    println!("{taken} mutants were taken, {rejected} rejected");
    // Both ends were met.
    assert!(taken > 0 && rejected > 0);
}
