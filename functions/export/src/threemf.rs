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

/// The file for a mesh in millimetres that stands on the floor, centred.
pub(crate) fn write(mesh: &Mesh, colours: &[[u8; 3]]) -> io::Result<Vec<u8>> {
    let model = text(mesh, colours);
    packed(&[
        ("[Content_Types].xml", TYPES.as_bytes()),
        ("_rels/.rels", RELATIONS.as_bytes()),
        ("3D/3dmodel.model", model.as_bytes()),
    ])
}

fn text(mesh: &Mesh, colours: &[[u8; 3]]) -> String {
    let kept = |colour: &[u8; 3]| colour.map(|channel| channel >> (8 - COLOUR_BITS));
    let mut palette: BTreeMap<[u8; 3], usize> = colours.iter().map(|colour| (kept(colour), 0)).collect();
    palette.values_mut().enumerate().for_each(|(place, slot)| *slot = place);
    let mut text = String::with_capacity(60 * mesh.positions.len() + 70 * mesh.triangles.len());
    text.push_str(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<model unit=\"millimeter\" xml:lang=\"en-US\" \
         xmlns=\"http://schemas.microsoft.com/3dmanufacturing/core/2015/02\" \
         xmlns:m=\"http://schemas.microsoft.com/3dmanufacturing/material/2015/02\">\n\
         <metadata name=\"Application\">Meshwright</metadata>\n<resources>\n<m:colorgroup id=\"1\">\n",
    );
    let mut line = |line: std::fmt::Arguments<'_>| text.write_fmt(line).expect("a string grows");
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
