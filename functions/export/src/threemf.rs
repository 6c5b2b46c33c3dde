//! 3MF (core specification 1.3 with the materials extension): millimetres, Z up, a colour per vertex.

use crate::archive::packed;
use mesh::Mesh;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::io;

const TYPES: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">
<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>
<Default Extension="model" ContentType="application/vnd.ms-package.3dmanufacturing-3dmodel+xml"/>
</Types>
"#;
const RELATIONS: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">
<Relationship Id="model" Target="/3D/3dmodel.model"
 Type="http://schemas.microsoft.com/3dmanufacturing/2013/01/3dmodel"/>
</Relationships>
"#;
/// Bits per channel that are kept: a list of every shade would be longer than the mesh.
const COLOUR_BITS: u32 = 5;

/// The file for a mesh in millimetres that stands on the floor, centred; `licence` is a sentence.
pub(crate) fn write(mesh: &Mesh, colours: &[[u8; 3]], licence: &str) -> io::Result<Vec<u8>> {
    let model = text(mesh, colours, licence);
    packed(&[
        ("[Content_Types].xml", TYPES.as_bytes()),
        ("_rels/.rels", RELATIONS.as_bytes()),
        ("3D/3dmodel.model", model.as_bytes()),
    ])
}

fn text(mesh: &Mesh, colours: &[[u8; 3]], licence: &str) -> String {
    let kept = |colour: &[u8; 3]| colour.map(|channel| channel >> (8 - COLOUR_BITS));
    let mut palette: BTreeMap<[u8; 3], usize> = colours.iter().map(|colour| (kept(colour), 0)).collect();
    palette.values_mut().enumerate().for_each(|(place, slot)| *slot = place);
    let mut text = String::with_capacity(60 * mesh.positions.len() + 70 * mesh.triangles.len());
    text.push_str(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<model unit=\"millimeter\" xml:lang=\"en-US\" \
         xmlns=\"http://schemas.microsoft.com/3dmanufacturing/core/2015/02\" \
         xmlns:m=\"http://schemas.microsoft.com/3dmanufacturing/material/2015/02\">\n\
         <metadata name=\"Application\">Meshwright</metadata>\n",
    );
    let mut line = |line: std::fmt::Arguments<'_>| text.write_fmt(line).expect("a string grows");
    let licence = escaped(licence);
    line(format_args!("<metadata name=\"LicenseTerms\">{licence}</metadata>\n<resources>\n"));
    line(format_args!("<m:colorgroup id=\"1\">\n"));
    for colour in palette.keys() {
        let [r, g, b] = colour.map(|channel| channel << (8 - COLOUR_BITS) | channel >> (2 * COLOUR_BITS - 8));
        line(format_args!("<m:color color=\"#{r:02X}{g:02X}{b:02X}\"/>\n"));
    }
    line(format_args!(
        "</m:colorgroup>\n<object id=\"2\" type=\"model\" pid=\"1\" pindex=\"0\">\n<mesh>\n<vertices>\n"
    ));
    for [x, y, z] in &mesh.positions {
        line(format_args!("<vertex x=\"{x:.5}\" y=\"{y:.5}\" z=\"{z:.5}\"/>\n"));
    }
    line(format_args!("</vertices>\n<triangles>\n"));
    let colour = |index: u32| colours.get(index as usize).and_then(|colour| palette.get(&kept(colour)));
    for triangle @ [a, b, c] in &mesh.triangles {
        let [p, q, r] = triangle.map(|index| colour(index).copied().unwrap_or(0));
        line(format_args!(
            "<triangle v1=\"{a}\" v2=\"{b}\" v3=\"{c}\" pid=\"1\" p1=\"{p}\" p2=\"{q}\" p3=\"{r}\"/>\n"
        ));
    }
    // The build's space begins at zero: the centred model is moved there.
    let [x, y, _] = mesh.bounds()[0].map(|low| -low);
    line(format_args!(
        "</triangles>\n</mesh>\n</object>\n</resources>\n<build>\n\
         <item objectid=\"2\" transform=\"1 0 0 0 1 0 0 0 1 {x:.5} {y:.5} 0\"/>\n</build>\n</model>\n"
    ));
    text
}

/// As text of an XML element: XML 1.0 has no control characters.
fn escaped(text: &str) -> String {
    let plain: String = text.chars().filter(|one| !one.is_control()).collect();
    plain.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_licence_is_metadata_whatever_a_network_is_called() {
        let text = text(&mesh::sample::cube([0.0; 3], 5.0), &[[1, 2, 3]; 8], "yours <b> & \u{7}theirs");
        let expect =
            "<metadata name=\"LicenseTerms\">yours &lt;b&gt; &amp; theirs</metadata>\n<resources>\n<m:color";
        assert!(text.contains(expect), "{text}");
    }
}
