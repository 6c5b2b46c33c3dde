//! Files in a zip (APPNOTE 6.3, sections 4.3 to 4.5): OBJ and 3MF packed, USDZ stored and aligned. Always the
//! same bytes for the same files.
//!
//! Written here, since the field's crate would bring four more and a quarter of an hour of building for two
//! headers.

use flate2::{Compression, write::DeflateEncoder};
use std::io::{self, Write};

/// How much the text of a mesh is packed: most of the gain for little of the time.
const LEVEL: u32 = 3;
/// Where the content of each file in a USDZ begins: at a multiple of this.
const USDZ_ALIGNMENT: usize = 64;
/// Length of a local header without name and extra field.
const LOCAL_BYTES: usize = 30;
/// Version 2.0 of the format, which has deflate.
const VERSION: u16 = 20;
const STORED: u16 = 0;
const DEFLATED: u16 = 8;
/// 1980-01-01, the format's first day, at midnight.
const DATE: u16 = 1 << 5 | 1;
/// An extra field of nobody's, whose content readers pass over.
const PADDING_FIELD: u16 = 0x1986;

/// Names and contents, packed.
///
/// # Errors
/// More than 4 GiB.
pub(crate) fn packed(files: &[(&str, &[u8])]) -> io::Result<Vec<u8>> {
    let mut archive = Archive::default();
    for (name, content) in files {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::new(LEVEL));
        encoder.write_all(content)?;
        archive.add(name, content, (DEFLATED, &encoder.finish()?), 1)?;
    }
    archive.finish()
}

/// Names and contents, stored, each content at a multiple of 64 bytes.
///
/// # Errors
/// More than 4 GiB.
pub(crate) fn aligned(files: &[(&str, &[u8])]) -> io::Result<Vec<u8>> {
    let mut archive = Archive::default();
    for (name, content) in files {
        archive.add(name, content, (STORED, content), USDZ_ALIGNMENT)?;
    }
    archive.finish()
}

#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    directory: Vec<u8>,
    files: u16,
}

impl Archive {
    fn add(
        &mut self,
        name: &str,
        content: &[u8],
        (method, data): (u16, &[u8]),
        alignment: usize,
    ) -> io::Result<()> {
        let offset = short(self.bytes.len())?;
        let begins = self.bytes.len() + LOCAL_BYTES + name.len();
        let mut gap = begins.next_multiple_of(alignment) - begins;
        // An extra field has a head of four bytes.
        if (1..4).contains(&gap) {
            gap += alignment;
        }
        let mut padding = Vec::new();
        if gap > 0 {
            padding.extend(PADDING_FIELD.to_le_bytes());
            padding.extend((gap as u16 - 4).to_le_bytes());
            padding.resize(gap, 0);
        }
        // What both headers say.
        let mut common = Vec::new();
        for word in [VERSION, 0, method, 0, DATE] {
            common.extend(word.to_le_bytes());
        }
        for double in [crc32fast::hash(content), short(data.len())?, short(content.len())?] {
            common.extend(double.to_le_bytes());
        }
        common.extend((name.len() as u16).to_le_bytes());
        self.bytes.extend(b"PK\x03\x04");
        self.bytes.extend(&common);
        self.bytes.extend((padding.len() as u16).to_le_bytes());
        self.bytes.extend(name.as_bytes());
        self.bytes.extend(&padding);
        self.bytes.extend(data);
        self.directory.extend(b"PK\x01\x02");
        self.directory.extend(VERSION.to_le_bytes());
        self.directory.extend(&common);
        // No extra field, no comment, first disk, no attributes.
        self.directory.extend([0; 12]);
        self.directory.extend(offset.to_le_bytes());
        self.directory.extend(name.as_bytes());
        self.files += 1;
        Ok(())
    }

    fn finish(mut self) -> io::Result<Vec<u8>> {
        let begins = short(self.bytes.len())?;
        self.bytes.extend(&self.directory);
        self.bytes.extend(b"PK\x05\x06\0\0\0\0");
        self.bytes.extend(self.files.to_le_bytes());
        self.bytes.extend(self.files.to_le_bytes());
        self.bytes.extend(short(self.directory.len())?.to_le_bytes());
        self.bytes.extend(begins.to_le_bytes());
        self.bytes.extend([0; 2]);
        Ok(self.bytes)
    }
}

fn short(length: usize) -> io::Result<u32> {
    u32::try_from(length).map_err(|_| io::Error::other("it is larger than 4 GiB"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_of_an_aligned_archive_begin_at_multiples_of_64() {
        let contents: [&[u8]; 3] = [b"the first content", b"2", b"third"];
        for name in ["a", "abcdefgh", "a-name-of-31-bytes-and-no-more.", "a-name-of-thirty-four-bytes-all-in"]
        {
            let files: Vec<(&str, &[u8])> = contents.iter().map(|content| (name, *content)).collect();
            let zip = aligned(&files).expect("small");
            for content in contents.iter().filter(|content| content.len() > 1) {
                let at = zip.windows(content.len()).position(|window| window == *content);
                assert_eq!(at.expect("it is stored") % 64, 0, "{name}");
            }
        }
    }
}
