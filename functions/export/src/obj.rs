//! OBJ, MTL and PNG in a zip: metres, Y up, standing on the floor.

use crate::archive::packed;
use crate::model::Model;
use std::fmt::Write;
use std::io;

const MATERIAL: &str = "newmtl surface\nKa 1 1 1\nKd 1 1 1\nKs 0 0 0\nillum 1\n";

/// The zip. Positions are those of the closed surface; texture coordinates and normals have lists of their
/// own, so that no seam opens it.
pub(crate) fn write(model: &Model) -> io::Result<Vec<u8>> {
    let obj = text(model);
    let mut mtl = MATERIAL.to_owned();
    if model.texture.is_some() {
        mtl.push_str("map_Kd base_colour.png\n");
    }
    if model.textured.normal_png.is_some() {
        mtl.push_str("norm normal.png\n");
    }
    let mut files = vec![("model.obj", obj.as_bytes()), ("model.mtl", mtl.as_bytes())];
    files.extend(model.textured.texture_png.as_ref().map(|png| ("base_colour.png", png.as_slice())));
    files.extend(model.textured.normal_png.as_ref().map(|png| ("normal.png", png.as_slice())));
    packed(&files)
}

fn text(model: &Model) -> String {
    let (mesh, floor) = (&model.textured.mesh, model.solid.bounds()[0][1]);
    let mut text = String::with_capacity(100 * mesh.positions.len() + 60 * mesh.triangles.len());
    text.push_str("# Meshwright, metres, Y up\nmtllib model.mtl\no model\n");
    let mut line = |line: std::fmt::Arguments<'_>| text.write_fmt(line).expect("a string grows");
    for [x, y, z] in &model.solid.positions {
        line(format_args!("v {x:.6} {:.6} {z:.6}\n", y - floor));
    }
    for [u, v] in &mesh.uvs {
        line(format_args!("vt {u:.6} {:.6}\n", 1.0 - v));
    }
    for [x, y, z] in &mesh.normals {
        line(format_args!("vn {x:.4} {y:.4} {z:.4}\n"));
    }
    line(format_args!("usemtl surface\n"));
    let (uvs, normals) = (!mesh.uvs.is_empty(), !mesh.normals.is_empty());
    for triangle in &mesh.triangles {
        line(format_args!("f"));
        for index in triangle {
            let (vertex, own) = (model.vertex_of[*index as usize] + 1, index + 1);
            match (uvs, normals) {
                (true, true) => line(format_args!(" {vertex}/{own}/{own}")),
                (true, false) => line(format_args!(" {vertex}/{own}")),
                (false, true) => line(format_args!(" {vertex}//{own}")),
                (false, false) => line(format_args!(" {vertex}")),
            }
        }
        line(format_args!("\n"));
    }
    text
}
