//! The pinned U²-Net portable, as installed: it loads, and its mask is a mask of the subject.

use nn::{Model, U2NETP};

const SIDE: usize = 320;

/// A shaded ball at (200, 140) before a sloping wall, normalised as the network wants it.
fn picture() -> (Vec<f32>, Vec<bool>) {
    let ball = |at: usize| {
        let (x, y) = ((at % SIDE) as f32 - 200.0, (at / SIDE) as f32 - 140.0);
        let r2 = (x * x + y * y) / (70.0 * 70.0);
        (r2 < 1.0).then(|| 0.35 + 0.65 * ((1.0 - r2).sqrt() * 0.6 - 0.4 * (x + y) / 140.0).clamp(0.0, 1.0))
    };
    let value = |channel: usize, at: usize| {
        let wall = 0.55 + 0.25 * (at / SIDE) as f32 / SIDE as f32;
        let value =
            ball(at).map_or(wall * [0.8, 0.85, 0.9][channel], |light| light * [0.95, 0.25, 0.1][channel]);
        (value - [0.485, 0.456, 0.406][channel]) / [0.229, 0.224, 0.225][channel]
    };
    let input = (0..3).flat_map(|channel| (0..SIDE * SIDE).map(move |at| value(channel, at))).collect();
    (input, (0..SIDE * SIDE).map(|at| ball(at).is_some()).collect())
}

#[test]
fn the_installed_model_finds_a_ball() {
    let path = harness::tool("u2netp").unwrap();
    let model = Model::load(&U2NETP, &std::fs::read(path).unwrap()).unwrap();
    let (input, truth) = picture();
    let mask = model.run(&input).unwrap();
    assert!(mask.iter().all(|value| (0.0..=1.0).contains(value)), "a mask is a share");
    let (mut both, mut any) = (0.0, 0.0);
    for (found, expected) in mask.iter().map(|value| *value > 0.5).zip(truth) {
        both += f64::from(found && expected);
        any += f64::from(found || expected);
    }
    println!("IoU {:.3}", both / any);
    assert!(both / any > 0.9, "IoU {:.3}", both / any);
    assert_eq!(model.run(&input).unwrap(), mask, "a model computes the same again");
}
