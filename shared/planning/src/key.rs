//! What shares a footprint, and the prior of what nobody has measured.

use domain::{Bytes, DeviceClass, Engine, Quality, Recipe, Stage, Synthetic, Task};
use serde::{Deserialize, Serialize};

/// Least reservation: a runner's stacks, buffers and decoder tables before the first item.
pub(crate) const RESERVATION_MIN: Bytes = Bytes::mib(128);

/// The side in pixels at which stages before the texture work.
const WORKING_SIDE: u32 = 512;
/// Steps that engines without steps count as.
const STEPS: u32 = 50;
/// Pixels per byte of a usual photograph: JPEG spends about two bits on each.
const PIXELS_PER_BYTE: u64 = 4;

/// What shares a footprint.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FootprintKey {
    /// The stage.
    pub stage: Stage,
    /// Everything of the recipe and the input that changes memory or time.
    pub shape: String,
    /// The code that was measured, with its version and numeric precision; empty while nobody has told. What
    /// was learned of another version says nothing of this one.
    #[serde(default)]
    pub engine: String,
    /// The kind of device.
    pub device_class: DeviceClass,
}

impl FootprintKey {
    /// The key of a task computed by this code on a kind of device.
    pub fn of(task: &Task, engine: &str, device_class: &DeviceClass) -> FootprintKey {
        let (shape, engine) = (shape(task).name(), engine.to_owned());
        FootprintKey { stage: task.stage, shape, engine, device_class: device_class.clone() }
    }

    /// Before all keys of a stage.
    pub(crate) fn first_of(stage: Stage) -> FootprintKey {
        let (shape, engine, device_class) = (String::new(), String::new(), DeviceClass(String::new()));
        FootprintKey { stage, shape, engine, device_class }
    }

    /// As a board's key, in which anything but letters, digits and hyphens is a hyphen.
    pub fn board_key(&self) -> String {
        let part = |text: &str| -> String {
            let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
            if text.is_empty() { "-".to_owned() } else { text.chars().map(plain).collect() }
        };
        let (shape, engine, class) = (part(&self.shape), part(&self.engine), part(&self.device_class.0));
        format!("{}.{shape}.{engine}.{class}", self.stage)
    }
}

/// What changes memory or time at a stage. Tasks of one shape share a footprint, and only they share a batch.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Shape {
    stage: Stage,
    size: u32,
    quality: Quality,
    engine: Engine,
    /// A normal map is made: a second texture, and the dense mesh on its way to it.
    with_normals: bool,
    load: Option<Synthetic>,
}

/// The shape of a task.
pub(crate) fn shape(task: &Task) -> Shape {
    shape_of(task.stage, &task.recipe, task.size_bytes)
}

/// The shape at a stage of what has this recipe and an upload of this size.
pub(crate) fn shape_of(stage: Stage, recipe: &Recipe, upload: Bytes) -> Shape {
    let Recipe { quality, texture_px, synthetic, engine, .. } = recipe;
    let load = synthetic.as_ref().filter(|load| load.stage == stage).cloned();
    let (size, quality) = match stage {
        // Files of one power of two together: nothing else is known of a picture before it is decoded.
        Stage::Preprocess => (size_class(upload), Quality::default()),
        Stage::Shape => (0, *quality),
        Stage::Texture | Stage::Export => (*texture_px, *quality),
    };
    let with_normals = stage != Stage::Preprocess && recipe.details.normal_map == Some(true);
    Shape { stage, size, quality, engine: *engine, with_normals, load }
}

fn size_class(size: Bytes) -> u32 {
    size.0.max(1).ilog2()
}

impl Shape {
    /// Its name in a footprint's key.
    pub(crate) fn name(&self) -> String {
        let (size, engine) = (self.size, self.engine.as_str());
        let quality = match self.quality {
            Quality::Draft => "draft",
            Quality::Standard => "standard",
            Quality::Fine => "fine",
        };
        let real = match self.stage {
            Stage::Preprocess => format!("b{size}"),
            Stage::Shape => format!("{engine}-{quality}"),
            Stage::Texture | Stage::Export => format!("{quality}-{size}"),
        };
        let real = if self.with_normals { real + "-normals" } else { real };
        match &self.load {
            Some(Synthetic { fixed, per_item, start_ms, item_ms, steps, batch_ms, oom_at, .. }) => {
                let curve: String = batch_ms.iter().map(|(size, ms)| format!("-{size}x{ms}")).collect();
                let ends = oom_at.map_or(String::new(), |items| format!("-oom{items}"));
                let (fixed, each) = (fixed.0, per_item.0);
                format!("{real}-synthetic-{fixed}-{each}-{start_ms}-{item_ms}x{steps}{curve}{ends}")
            }
            None => real,
        }
    }
}

/// What a person knows a task by: the side in pixels at which its stage works, and its steps of inference.
/// That of an upload is about that of a photograph of as many bytes.
pub(crate) fn kind(stage: Stage, recipe: &Recipe, size: Bytes) -> (u32, u32) {
    let load = recipe.synthetic.as_ref().filter(|load| load.stage == stage);
    let steps = load.map_or(STEPS, |load| load.steps);
    let side = match stage {
        Stage::Preprocess => ((1u64 << size_class(size).min(40)) * PIXELS_PER_BYTE).isqrt() as u32,
        Stage::Shape => WORKING_SIDE,
        Stage::Texture | Stage::Export => recipe.texture_px,
    };
    (side, steps)
}

/// The recipe and upload of a task of that side with nothing special about it.
pub(crate) fn usual(stage: Stage, image_size: u32) -> (Recipe, Bytes) {
    let mut recipe = Recipe::default();
    if stage >= Stage::Texture {
        recipe.texture_px = image_size;
    }
    let pixels = u64::from(image_size).pow(2);
    (recipe, Bytes(pixels / PIXELS_PER_BYTE))
}

/// The seed's formula for a diffusion model: `2 GiB x (pixels / 512^2) x (steps / 50)`.
pub fn seed_formula(pixels: u64, steps: u32) -> Bytes {
    Bytes::gib(2).scale(pixels as f64 / (512.0 * 512.0)).scale(f64::from(steps) / 50.0)
}

/// The seed's formula scaled by what an engine declares. A prior orders and caps, it never rejects.
///
/// The CPU engines declare an eighth of it and 50 steps: they hold a few float images where the model that
/// the formula was made for holds activations. The working side is 512 up to the texture, and the texture's
/// from there on. What they need is bounded by the texture that can be asked for, so the prior is capped
/// at 1 GiB.
pub fn prior(task: &Task) -> Bytes {
    prior_of(task.stage, task.recipe.texture_px, task.size_bytes)
}

/// The same of a stage, a texture's side in texels, and the size of the upload.
pub(crate) fn prior_of(stage: Stage, texture_px: u32, size: Bytes) -> Bytes {
    const CAP: Bytes = Bytes::gib(1);
    /// Bytes per byte of a compressed picture: rarely more than 20 pixels of 4 bytes, and decoding holds
    /// them about three times.
    const DECODING: u64 = 240;
    let side = match stage {
        Stage::Preprocess | Stage::Shape => u64::from(WORKING_SIDE),
        Stage::Texture | Stage::Export => u64::from(texture_px.max(WORKING_SIDE)),
    };
    let decoding = match stage {
        Stage::Preprocess => Bytes(size.0.saturating_mul(DECODING)),
        _ => Bytes::ZERO,
    };
    let engine = seed_formula(side * side, STEPS).scale(0.125);
    (engine + decoding).min(CAP).max(RESERVATION_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prior_is_the_seeds_formula_scaled_by_what_the_engine_declares() {
        assert_eq!(seed_formula(512 * 512, 50), Bytes::gib(2));
        assert_eq!(seed_formula(1024 * 1024, 25), Bytes::gib(4));
        let check = |stage: Stage, texture_px: u32, kib: u64, expect: Bytes| {
            let mut task = crate::samples::task(0).at_stage(stage);
            task.recipe.texture_px = texture_px;
            task.size_bytes = Bytes::kib(kib);
            assert_eq!(prior(&task), expect, "{stage} {texture_px} {kib}");
        };
        check(Stage::Shape, 4096, 0, Bytes::mib(256));
        check(Stage::Texture, 256, 0, Bytes::mib(256));
        check(Stage::Texture, 1024, 0, Bytes::gib(1));
        check(Stage::Export, 4096, 0, Bytes::gib(1));
        check(Stage::Preprocess, 1024, 1024, Bytes::mib(256 + 240));
        check(Stage::Preprocess, 1024, u64::MAX >> 10, Bytes::gib(1));
    }

    #[test]
    fn a_kind_is_the_side_at_which_a_stage_works_and_its_steps() {
        let check = |stage: Stage, synthetic: Option<&str>, expect: (u32, u32)| {
            let synthetic = synthetic.map(|load| Synthetic::parse(load).expect("a load"));
            let recipe = Recipe { texture_px: 2048, synthetic, ..Recipe::default() };
            assert_eq!(kind(stage, &recipe, Bytes::kib(300)), expect, "{stage}");
        };
        check(Stage::Preprocess, None, (1024, 50));
        check(Stage::Shape, None, (512, 50));
        check(Stage::Texture, Some("stage=shape,steps=25"), (2048, 50));
        check(Stage::Shape, Some("stage=shape,steps=25"), (512, 25));
        for stage in Stage::ALL {
            let (recipe, size) = usual(stage, 512);
            assert_eq!(kind(stage, &recipe, size), (512, 50), "{stage}");
            assert_eq!(kind(stage, &recipe, Bytes(u64::MAX)).1, 50);
        }
    }

    #[test]
    fn only_tasks_of_one_shape_are_alike_and_a_synthetic_load_has_a_footprint_of_its_own() {
        let class = DeviceClass("host".to_owned());
        let plain = crate::samples::task(0);
        let mut loaded = crate::samples::task(1);
        assert_eq!(shape(&plain), shape(&loaded));
        loaded.recipe.synthetic = Synthetic::parse("stage=shape,fixed=1MiB").ok();
        assert_ne!(shape(&plain), shape(&loaded));
        assert_ne!(FootprintKey::of(&plain, "", &class), FootprintKey::of(&loaded, "", &class));
        let mut curved = loaded.clone();
        curved.recipe.synthetic = Synthetic::parse("stage=shape,fixed=1MiB,batch-ms=1:9/2:10,oom-at=4").ok();
        let name = FootprintKey::of(&curved, "", &class).shape;
        assert_eq!(name, "inflate-standard-synthetic-1048576-0-0-0x1-1x9-2x10-oom4");
        assert_eq!(shape(&plain.at_stage(Stage::Texture)), shape(&loaded.at_stage(Stage::Texture)));
        let mut mapped = crate::samples::task(2);
        mapped.recipe.details.normal_map = Some(true);
        assert_eq!(shape(&mapped.at_stage(Stage::Texture)).name(), "standard-1024-normals");
        assert_eq!(shape(&mapped.at_stage(Stage::Preprocess)), shape(&plain.at_stage(Stage::Preprocess)));
        let newer = FootprintKey::of(&plain, "inflate 2 f32", &class);
        assert_ne!(FootprintKey::of(&plain, "inflate 1 f32", &class), newer);
        assert_eq!(newer.board_key(), "shape.inflate-standard.inflate-2-f32.host");
        let name = FootprintKey::of(&loaded, "", &class).board_key();
        assert!(name.bytes().all(|c| c.is_ascii_alphanumeric() || b"-_.".contains(&c)), "{name}");
    }
}
