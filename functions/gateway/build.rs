//! Puts the built dashboard into the program, where `MESHWRIGHT_UI` names the folder that it was built into.
//! Without, nothing is needed besides Rust, and the program shows the plain page. The folder's name changes
//! with what the dashboard is made of, so that checkouts which share a target folder never get each other's.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// Names the folder; empty is the same as not set.
const FOLDER: &str = "MESHWRIGHT_UI";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={FOLDER}");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo says where to write"));
    let folder = env::var_os(FOLDER).filter(|folder| !folder.is_empty()).map(PathBuf::from);
    let code = match &folder {
        None => Ok("&[]".to_owned()),
        Some(folder) => {
            println!("cargo::rerun-if-changed={}", folder.display());
            embed(folder, &out)
        }
    };
    let code = code.unwrap_or_else(|error| {
        panic!("{FOLDER} is {folder:?}, and cannot be embedded: {error}; `infra/tools.py path ui` builds it")
    });
    fs::write(out.join("dashboard.rs"), code).expect("write into OUT_DIR");
}

/// Copies the files, since the folder may be gone at the next build, and returns the table of them.
fn embed(folder: &Path, out: &Path) -> io::Result<String> {
    let mut names = vec!["index.html".to_owned()];
    for entry in fs::read_dir(folder.join("assets"))? {
        let name = entry?.file_name().into_string().map_err(|_| io::Error::other("a name is not UTF-8"))?;
        if !name.ends_with(".gz") {
            names.push(format!("assets/{name}"));
        }
    }
    names.sort();
    let into = out.join("dashboard");
    fs::create_dir_all(into.join("assets"))?;
    let mut code = "&[\n".to_owned();
    for name in &names {
        for name in [name.clone(), format!("{name}.gz")] {
            fs::copy(folder.join(&name), into.join(&name))?;
        }
        let path = into.join(name).display().to_string();
        let zipped = format!("{path}.gz");
        let (plain, zipped) = (format!("include_bytes!({path:?})"), format!("include_bytes!({zipped:?})"));
        writeln!(code, "Asset {{ name: {name:?}, plain: {plain}, zipped: {zipped} }},")
            .expect("a string takes all");
    }
    code.push(']');
    Ok(code)
}
