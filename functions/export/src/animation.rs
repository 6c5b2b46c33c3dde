//! An animated WebP, put together from still ones (RFC 9649, section 2.7): the image crate writes stills
//! only.

/// One picture of an animation.
pub(crate) struct Frame {
    /// A lossless still, as the encoder wrote it.
    pub(crate) webp: Vec<u8>,
    /// How long it is shown.
    pub(crate) ms: u32,
}

/// The features `alpha` and `animation` in `VP8X`.
const FLAGS: u8 = 0x10 | 0x02;
/// A frame replaces what was there before.
const NO_BLENDING: u8 = 0x02;

/// Square frames one after the other, again and again. None if one of them is no lossless still.
pub(crate) fn join(frames: &[Frame], side_px: u32) -> Option<Vec<u8>> {
    let side = &(side_px.checked_sub(1)?).to_le_bytes()[..3];
    let mut body = b"WEBP".to_vec();
    chunk(&mut body, b"VP8X", &[&[FLAGS, 0, 0, 0], side, side].concat());
    // Transparent ground; zero is for ever.
    chunk(&mut body, b"ANIM", &[0; 6]);
    for frame in frames {
        let still = lossless(&frame.webp)?;
        let mut content = [&[0; 6], side, side, &frame.ms.to_le_bytes()[..3], &[NO_BLENDING]].concat();
        chunk(&mut content, b"VP8L", still);
        chunk(&mut body, b"ANMF", &content);
    }
    let length = u32::try_from(body.len()).ok()?.to_le_bytes();
    Some([b"RIFF", &length[..], &body].concat())
}

/// The content of a still's only picture chunk.
fn lossless(webp: &[u8]) -> Option<&[u8]> {
    let mut rest = webp.get(12..)?;
    while let Some((head, after)) = rest.split_at_checked(8) {
        let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
        if &head[..4] == b"VP8L" {
            return after.get(..length);
        }
        rest = after.get(length.next_multiple_of(2)..)?;
    }
    None
}

fn chunk(to: &mut Vec<u8>, name: &[u8; 4], content: &[u8]) {
    to.extend_from_slice(name);
    to.extend_from_slice(&(content.len() as u32).to_le_bytes());
    to.extend_from_slice(content);
    to.resize(to.len().next_multiple_of(2), 0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::codecs::webp::{WebPDecoder, WebPEncoder};
    use image::{AnimationDecoder, ExtendedColorType, ImageEncoder, Rgba, RgbaImage};

    #[test]
    fn stills_become_an_animation_that_a_decoder_takes_apart_again() {
        let picture = |n: u8| RgbaImage::from_fn(8, 8, |x, _| Rgba([n, x as u8, 0, 255 * u8::from(x > 2)]));
        let still = |n: u8| {
            let mut webp = Vec::new();
            let encoder = WebPEncoder::new_lossless(&mut webp);
            encoder.write_image(picture(n).as_raw(), 8, 8, ExtendedColorType::Rgba8).expect("memory");
            Frame { webp, ms: 40 }
        };
        let webp = join(&[still(3), still(4), still(5)], 8).expect("three stills");
        let decoder = WebPDecoder::new(std::io::Cursor::new(webp)).expect("a WebP");
        let frames = decoder.into_frames().collect_frames().expect("frames");
        let found: Vec<u8> = frames.iter().map(|frame| frame.buffer().get_pixel(5, 5)[0]).collect();
        assert_eq!(found, [3, 4, 5]);
        assert!(frames.iter().all(|frame| frame.buffer().get_pixel(0, 0)[3] == 0));
        assert!(join(&[Frame { webp: b"RIFF".to_vec(), ms: 1 }], 8).is_none());
    }
}
