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
const TEXTURED: &str =
    "            color3f inputs:diffuseColor.connect = </Model/Material/Texture.outputs:rgb>\n";
const MATERIAL: [&str; 2] = [
    r#"    }

    def Material "Material"
    {
        token outputs:surface.connect = </Model/Material/Surface.outputs:surface>

        def Shader "Surface"
        {
            uniform token info:id = "UsdPreviewSurface"
"#,
    r#"            float inputs:metallic = 0
            float inputs:roughness = 0.9
            token outputs:surface
        }

        def Shader "Texture"
        {
            uniform token info:id = "UsdUVTexture"
            asset inputs:file = @base_colour.png@
            token inputs:sourceColorSpace = "sRGB"
            float2 inputs:st.connect = </Model/Material/Coordinates.outputs:result>
            token inputs:wrapS = "clamp"
            token inputs:wrapT = "clamp"
            float3 outputs:rgb
        }

        def Shader "Coordinates"
        {
            uniform token info:id = "UsdPrimvarReader_float2"
            string inputs:varname = "st"
            float2 outputs:result
        }
    }
}
"#,
];

const BY_CORNER: &str = " (\n            interpolation = \"faceVarying\"\n        )";

/// The package. The root layer comes first.
pub(crate) fn write(model: &Model) -> io::Result<Vec<u8>> {
    let layer = text(model);
    let mut files = vec![("model.usda", layer.as_bytes())];
    files.extend(model.textured.texture_png.as_ref().map(|png| ("base_colour.png", png.as_slice())));
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
    text.push_str(MATERIAL[0]);
    text.push_str(if model.texture.is_some() { TEXTURED } else { PLAIN });
    text.push_str(MATERIAL[1]);
    text
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
