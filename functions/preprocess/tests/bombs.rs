//! Small files that promise much: each ends as a rejection in words, or, where its weight lies in what nobody
//! reads, as an answer; and memory stays far below the runner's limit. One test, since memory is the
//! process's.

use domain::Recipe;
use flate2::{Compression, write::ZlibEncoder};
use preprocess::Preprocess;
use stage::{Context, File, Input, Silent, StageError, StageFunction};
use std::io::Write;

/// A picture of 96 x 64 in ten scans.
const PROGRESSIVE: &[u8] = include_bytes!("pictures/progressive.jpg");

/// More than the largest picture and its decoder need, and half of what a runner may take.
const GROWTH_KIB_MAX: u64 = 512 << 10;

fn run(bytes: Vec<u8>) -> Result<(), StageError> {
    let upload = File { name: "upload".to_owned(), content_type: String::new(), bytes };
    let input = Input { recipe: Recipe::default(), files: vec![upload] };
    Preprocess::default().taking_exr().run(&input, &Context::new(&Silent, 0)).map(drop)
}

/// The process's size at its peak.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmHWM")).expect("a peak");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
}

/// So many zeros, packed to a thousandth.
fn zeros(count: usize) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    let block = vec![0; 1 << 20];
    for at in (0..count).step_by(block.len()) {
        encoder.write_all(&block[..block.len().min(count - at)]).expect("memory");
    }
    encoder.finish().expect("memory")
}

fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let body = [kind.as_slice(), data].concat();
    let (length, sum) = ((data.len() as u32).to_be_bytes(), crc32fast::hash(&body).to_be_bytes());
    [length.as_slice(), &body, &sum].concat()
}

/// A PNG of this size, depth, colour type and interlacing, with these chunks.
fn png([width, height]: [u32; 2], [depth, colour, interlaced]: [u8; 3], chunks: &[Vec<u8>]) -> Vec<u8> {
    let header =
        [&width.to_be_bytes()[..], &height.to_be_bytes(), &[depth, colour, 0, 0, interlaced]].concat();
    let end = chunk(b"IEND", &[]);
    [b"\x89PNG\r\n\x1a\n".to_vec(), chunk(b"IHDR", &header), chunks.concat(), end].concat()
}

/// A small picture of one colour, with a heavy chunk before its data.
fn heavy_png(heavy: Vec<u8>) -> Vec<u8> {
    png([64, 64], [8, 6, 0], &[heavy, chunk(b"IDAT", &zeros(64 * (64 * 4 + 1)))])
}

fn segment(marker: u8, data: &[u8]) -> Vec<u8> {
    [[0xff, marker].as_slice(), &(data.len() as u16 + 2).to_be_bytes(), data].concat()
}

/// A JPEG frame of this size; 0xc2 is progressive.
fn jpeg(frame: u8, [width, height]: [u16; 2], rest: &[u8]) -> Vec<u8> {
    let [w, h] = [width.to_be_bytes(), height.to_be_bytes()];
    let header = [[8].as_slice(), &h, &w, &[3, 1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0]].concat();
    let table = [[0].as_slice(), &[1; 64]].concat();
    [&[0xff, 0xd8], &segment(0xdb, &table)[..], &segment(frame, &header), rest, &[0xff, 0xd9]].concat()
}

fn scan() -> Vec<u8> {
    [segment(0xda, &[3, 1, 0, 2, 0, 3, 0, 0, 0, 0]), vec![0; 2]].concat()
}

/// A little-endian TIFF with these values by tag, beside those of 8-bit grey.
/// A progressive picture whose first scan comes so many times.
fn scanned_again(times: usize) -> Vec<u8> {
    let at = |from: usize, marker: u8| {
        let found = PROGRESSIVE[from..].windows(2).position(|pair| pair == [0xff, marker]);
        from + found.expect("a marker")
    };
    let begin = at(0, 0xda);
    let follows = |pair: &[u8]| pair[0] == 0xff && pair[1] != 0;
    let end = begin + 2 + PROGRESSIVE[begin + 2..].windows(2).position(follows).expect("another segment");
    let (head, scan, rest) = (&PROGRESSIVE[..begin], &PROGRESSIVE[begin..end], &PROGRESSIVE[end..]);
    [head, &scan.repeat(times), rest].concat()
}

fn tiff(entries: &[(u16, u32)]) -> Vec<u8> {
    let mut all = vec![(258, 8), (259, 1), (262, 1), (277, 1)];
    all.extend_from_slice(entries);
    all.sort_unstable();
    let mut tiff = [b"II*\0\x08\0\0\0".as_slice(), &(all.len() as u16).to_le_bytes()].concat();
    for (tag, value) in all {
        let kind: u16 = if value > 0xffff { 4 } else { 3 };
        tiff.extend([tag.to_le_bytes(), kind.to_le_bytes()].concat());
        tiff.extend([1_u32.to_le_bytes(), value.to_le_bytes()].concat());
    }
    [tiff, vec![0; 64]].concat()
}

fn riff(chunks: &[(&[u8; 4], Vec<u8>)]) -> Vec<u8> {
    let mut body = b"WEBP".to_vec();
    for (kind, data) in chunks {
        let padding = vec![0; data.len() % 2];
        body.extend([kind.as_slice(), &(data.len() as u32).to_le_bytes(), data, &padding].concat());
    }
    [b"RIFF".as_slice(), &(body.len() as u32).to_le_bytes(), &body].concat()
}

/// 14 bits of width and of height, less one: a lossless WebP's header and nothing behind it.
fn lossless(side: u32) -> Vec<u8> {
    [[0x2f].as_slice(), &((side - 1) | ((side - 1) << 14)).to_le_bytes(), &[0; 8]].concat()
}

/// An extended WebP's header; 2 is animated.
fn extended(flags: u8, side: u32) -> Vec<u8> {
    let side = (side - 1).to_le_bytes();
    [[flags, 0, 0, 0].as_slice(), &side[..3], &side[..3]].concat()
}

/// A whole EXR header: 64² are shown, and so many columns and rows are stored.
fn exr_of([width, height]: [u32; 2]) -> Vec<u8> {
    let mut file = b"\x76\x2f\x31\x01\x02\0\0\0".to_vec();
    let mut attribute = |name: &[u8], kind: &[u8], value: &[u8]| {
        let length = (value.len() as u32).to_le_bytes();
        file.extend([name, b"\0", kind, b"\0", &length, value].concat());
    };
    let channel = |name: &[u8]| [name, b"\0\x02\0\0\0\0\0\0\0\x01\0\0\0\x01\0\0\0"].concat();
    let window = |width: u32, height: u32| [0, 0, width - 1, height - 1].map(u32::to_le_bytes).concat();
    let channels = [channel(b"B"), channel(b"G"), channel(b"R"), vec![0]].concat();
    attribute(b"channels", b"chlist", &channels);
    attribute(b"compression", b"compression", &[3]);
    attribute(b"dataWindow", b"box2i", &window(width, height));
    attribute(b"displayWindow", b"box2i", &window(64, 64));
    attribute(b"lineOrder", b"lineOrder", &[0]);
    attribute(b"pixelAspectRatio", b"float", &1.0_f32.to_le_bytes());
    attribute(b"screenWindowCenter", b"v2f", &[0; 8]);
    attribute(b"screenWindowWidth", b"float", &1.0_f32.to_le_bytes());
    [file, vec![0; 64]].concat()
}

/// Each with a part of what is said; of some it depends on the decoder.
fn refused() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let data = |bytes: usize| [chunk(b"IDAT", &zeros(bytes))];
    let camera = (0..300).flat_map(|_| segment(0xe1, &[b"Exif\0\0MM".as_slice(), &[0; 65_000]].concat()));
    let exr = b"\x76\x2f\x31\x01\x02\0\0\0channels\0chlist\0\xff\xff\xff\x7f".to_vec();
    vec![
        ("png, 20000²", png([20_000; 2], [8, 6, 0], &data(1)), "at most 8192 a side"),
        ("png, one line", png([65_535, 1], [8, 6, 0], &data(1)), "at most 8192 a side"),
        ("png, one column", png([1, 65_535], [8, 6, 0], &data(1)), "at most 8192 a side"),
        ("png, interlaced, 64 bits", png([8_192, 4_880], [16, 6, 1], &data(9)), "more than 256 MB"),
        ("png, 160 MB of zeros", png([8_000, 5_000], [8, 6, 0], &data(32_001 * 5_000)), "transparent"),
        ("png, fewer zeros than promised", png([8_000, 5_000], [8, 6, 0], &data(999)), "cannot be read"),
        ("gif named png", b"GIF89a\xff\xff\xff\xff\0\0\0;".to_vec(), "Gif pictures are not taken"),
        ("jpeg, 65500²", jpeg(0xc0, [65_500; 2], &scan()), "at most 8192 a side"),
        ("jpeg of 5000 scans", scanned_again(5_000), "scans"),
        ("jpeg, 19 MB of EXIF", [vec![0xff, 0xd8], camera.collect()].concat(), "cannot be read"),
        (
            "tiff, 60000²",
            tiff(&[(256, 60_000), (257, 60_000), (273, 8), (278, 60_000), (279, 9)]),
            "8192 a side",
        ),
        (
            "tiff, one tile of 65520²",
            tiff(&[(256, 4_000), (257, 4_000), (322, 65_520), (323, 65_520), (324, 8), (325, 9)]),
            "",
        ),
        (
            "tiff, a strip of 4 GB",
            tiff(&[(256, 4_000), (257, 4_000), (273, 8), (278, 4_000), (279, u32::MAX)]),
            "256 MB",
        ),
        ("webp, 16384²", riff(&[(b"VP8L", lossless(16_384))]), ""),
        ("webp, canvas of 16384²", riff(&[(b"VP8X", extended(0, 16_384)), (b"VP8L", lossless(64))]), ""),
        ("exr, a list of 2 GB", exr, ""),
        ("exr, far more stored than shown", exr_of([1 << 29, 16]), "at most 8192 a side"),
        ("exr, 400 MB stored", exr_of([8_000, 5_000]), "more than 256 MB"),
        ("25 MB and one byte", vec![0; 25_000_001], "at most 25 MB"),
    ]
}

/// What lies in them is stepped over or refused; either is an answer.
fn answered() -> Vec<(&'static str, Vec<u8>)> {
    let packed = zeros(300_000_000);
    let frame =
        (0..20_000).map(|_| (b"ANMF", [[0; 16].as_slice(), b"VP8L", &[13, 0, 0, 0], &lossless(64)].concat()));
    let animation: Vec<_> =
        [(b"VP8X", extended(2, 64)), (b"ANIM", vec![0; 6])].into_iter().chain(frame).collect();
    let frames = [u32::MAX.to_be_bytes(), [0; 4]].concat();
    vec![
        ("png, profile of 300 MB", heavy_png(chunk(b"iCCP", &[b"p\0\0".as_slice(), &packed].concat()))),
        ("png, text of 300 MB", heavy_png(chunk(b"zTXt", &[b"t\0\0".as_slice(), &packed].concat()))),
        ("png, 4 billion frames", heavy_png(chunk(b"acTL", &frames))),
        ("webp, 20000 frames", riff(&animation)),
    ]
}

#[test]
fn bombs_are_refused_in_words_and_take_little_memory() {
    let (refused, answered) = (refused(), answered());
    let before = peak_kib();
    for (name, bytes, part) in refused {
        match run(bytes) {
            Err(StageError::Rejected(why)) => assert!(why.contains(part), "{name}: {why}"),
            other => panic!("{name}: {other:?}"),
        }
    }
    for (name, bytes) in answered {
        match run(bytes) {
            Ok(()) | Err(StageError::Rejected(_)) => {}
            Err(other) => panic!("{name}: {other:?}"),
        }
    }
    let growth = peak_kib() - before;
    assert!(growth < GROWTH_KIB_MAX, "{growth} KiB");
}
