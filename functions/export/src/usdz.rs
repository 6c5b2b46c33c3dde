//! USDZ: a text layer and its texture, stored and aligned as the specification asks. Metres, Y up.
//!
//! The root layer is `usda`, which every USD library reads; Apple's viewer wants the binary `usdc`.

use crate::archive::aligned;
use crate::model::Model;
use std::fmt::{Display, Write};
use std::io;

const HEAD: &str = r#"#usda 1.0
(
    defaultPrim = "Model"
    doc = "Meshwright"
    metersPerUnit = 1
    upAxis = "Y"
)

def Xform "Model" (
    kind = "component"
)
{
    def Mesh "Surface" (
        prepend apiSchemas = ["MaterialBindingAPI"]
    )
    {
        uniform token subdivisionScheme = "none"
        rel material:binding = </Model/Material>
"#;
const PLAIN: &str = "            color3f inputs:diffuseColor = (0.6, 0.6, 0.6)\n";
const COLOURED: &str =
    "            color3f inputs:diffuseColor.connect = </Model/Material/Texture.outputs:rgb>\n";
const MAPPED: &str = "            normal3f inputs:normal.connect = </Model/Material/Normals.outputs:rgb>\n";
const SURFACE: &str = r#"    }

    def Material "Material"
    {
        token outputs:surface.connect = </Model/Material/Surface.outputs:surface>

        def Shader "Surface"
        {
            uniform token info:id = "UsdPreviewSurface"
"#;
const SURFACE_END: &str = r#"            float inputs:metallic = 0
            float inputs:roughness = 0.9
            token outputs:surface
        }
"#;
const TEXTURE: &str = r#"            float2 inputs:st.connect = </Model/Material/Coordinates.outputs:result>
            token inputs:wrapS = "clamp"
            token inputs:wrapT = "clamp"
            float3 outputs:rgb
        }
"#;
/// A texel of 8 bits as a direction from -1 to 1.
const DIRECTION: &str =
    "            float4 inputs:scale = (2, 2, 2, 1)\n            float4 inputs:bias = (-1, -1, -1, 0)\n";
const END: &str = r#"
        def Shader "Coordinates"
        {
            uniform token info:id = "UsdPrimvarReader_float2"
            string inputs:varname = "st"
            float2 outputs:result
        }
    }
}
"#;

const BY_CORNER: &str = " (\n            interpolation = \"faceVarying\"\n        )";

/// The package. The root layer comes first.
pub(crate) fn write(model: &Model) -> io::Result<Vec<u8>> {
    let layer = text(model);
    let mut files = vec![("model.usda", layer.as_bytes())];
    files.extend(model.textured.texture_png.as_ref().map(|png| ("base_colour.png", png.as_slice())));
    files.extend(model.textured.normal_png.as_ref().map(|png| ("normal.png", png.as_slice())));
    aligned(&files)
}

/// Positions are those of the closed surface; texture coordinates and normals are indexed by corner.
fn text(model: &Model) -> String {
    let (mesh, solid) = (&model.textured.mesh, &model.solid);
    let mut text = String::with_capacity(120 * mesh.positions.len() + 60 * mesh.triangles.len());
    text.push_str(HEAD);
    list(&mut text, "float3[] extent", solid.bounds().map(tuple), "");
    list(&mut text, "int[] faceVertexCounts", solid.triangles.iter().map(|_| 3), "");
    list(&mut text, "int[] faceVertexIndices", solid.triangles.as_flattened(), "");
    list(&mut text, "point3f[] points", solid.positions.iter().copied().map(tuple), "");
    if !mesh.uvs.is_empty() {
        let uvs = mesh.uvs.iter().map(|[u, v]| format!("({u:.6}, {:.6})", 1.0 - v));
        list(&mut text, "texCoord2f[] primvars:st", uvs, BY_CORNER);
        list(&mut text, "int[] primvars:st:indices", mesh.triangles.as_flattened(), "");
    }
    if !mesh.normals.is_empty() {
        let normals = mesh.triangles.as_flattened().iter().map(|index| mesh.normals[*index as usize]);
        list(&mut text, "normal3f[] normals", normals.map(tuple), BY_CORNER);
    }
    let (coloured, mapped) = (model.texture.is_some(), model.textured.normal_png.is_some());
    text.push_str(SURFACE);
    text.push_str(if coloured { COLOURED } else { PLAIN });
    text.push_str(if mapped { MAPPED } else { "" });
    text.push_str(SURFACE_END);
    if coloured {
        texture(&mut text, "Texture", ("base_colour.png", "sRGB"), "");
    }
    if mapped {
        texture(&mut text, "Normals", ("normal.png", "raw"), DIRECTION);
    }
    text.push_str(END);
    text
}

/// A shader that reads a file of a colour space.
fn texture(text: &mut String, name: &str, (file, space): (&str, &str), more: &str) {
    write!(text, "\n        def Shader \"{name}\"\n        {{\n").expect("a string grows");
    text.push_str("            uniform token info:id = \"UsdUVTexture\"\n");
    let source = "inputs:sourceColorSpace";
    write!(text, "            asset inputs:file = @{file}@\n            token {source} = \"{space}\"\n")
        .expect("a string grows");
    text.push_str(more);
    text.push_str(TEXTURE);
}

fn tuple([x, y, z]: [f32; 3]) -> String {
    format!("({x:.6}, {y:.6}, {z:.6})")
}

fn list<T: Display>(text: &mut String, name: &str, values: impl IntoIterator<Item = T>, metadata: &str) {
    write!(text, "        {name} = [").expect("a string grows");
    for (place, value) in values.into_iter().enumerate() {
        write!(text, "{}{value}", if place == 0 { "" } else { ", " }).expect("a string grows");
    }
    writeln!(text, "]{metadata}").expect("a string grows");
}
