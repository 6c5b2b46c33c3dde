//! Loading and running, on models of a few bytes that the test writes itself: `y = relu(w * x)`.

use nn::{Cache, Manifest, Model, NnError};
use sha2::{Digest, Sha256};
use std::cell::Cell;

/// A field of a protobuf message that has a length.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).expect("a tiny model");
    assert!(length < 128, "lengths of more than seven bits are not written here");
    [&[number << 3 | 2, length], content].concat()
}

/// A field that is a small number.
fn number(number: u8, value: u8) -> Vec<u8> {
    vec![number << 3, value]
}

/// A tensor's name, element type and shape, as inputs and outputs have them.
fn value(name: &str, sides: &[u8]) -> Vec<u8> {
    let sides: Vec<u8> = sides.iter().flat_map(|side| field(1, &number(1, *side))).collect();
    let tensor = [number(1, 1), field(2, &sides)].concat();
    [field(1, name.as_bytes()), field(2, &field(1, &tensor))].concat()
}

fn node(inputs: &[&str], output: &str, operator: &str) -> Vec<u8> {
    let inputs: Vec<u8> = inputs.iter().flat_map(|input| field(1, input.as_bytes())).collect();
    [inputs, field(2, output.as_bytes()), field(4, operator.as_bytes())].concat()
}

/// The whole file; `weight` is the rest of the weight's tensor, which says where its data is.
fn onnx(weight: &[u8], operator: &str) -> Vec<u8> {
    let weight = [number(1, 1), number(2, 1), field(8, b"w"), weight.to_vec()].concat();
    let graph = [
        field(1, &node(&["x", "w"], "z", "Mul")),
        field(1, &node(&["z"], "y", operator)),
        field(5, &weight),
        field(11, &value("x", &[1, 3])),
        field(12, &value("y", &[1, 3])),
    ];
    let graph = graph.concat();
    // The graph alone is longer than seven bits can say.
    let length = [graph.len() as u8 & 127 | 128, (graph.len() >> 7) as u8];
    let opset = field(8, &number(2, 13));
    [number(1, 8), vec![7 << 3 | 2], length.to_vec(), graph, opset].concat()
}

fn inside(weight: f32) -> Vec<u8> {
    field(9, &weight.to_le_bytes())
}

/// A manifest that pins these bytes.
fn pinned(bytes: &[u8], input: &'static [usize], output: &'static [usize]) -> &'static Manifest {
    let sha256 = hex::encode(Sha256::digest(bytes)).leak();
    let peak_bytes = 1 << 20;
    Box::leak(Box::new(Manifest {
        name: "tiny",
        what: "a test",
        source: "this test",
        sha256,
        licence: "none",
        precision: "f32",
        input,
        output,
        peak_bytes,
    }))
}

const THREE: &[usize] = &[1, 3];

#[test]
fn a_pinned_model_computes() {
    let bytes = onnx(&inside(2.0), "Relu");
    assert!(bytes.len() < 200, "{}", bytes.len());
    let model = Model::load(pinned(&bytes, THREE, THREE), &bytes).unwrap();
    assert_eq!(model.run(&[1.0, -1.0, 0.25]).unwrap(), [2.0, 0.0, 0.5]);
}

#[test]
fn another_file_than_the_pinned_one_is_refused_before_it_is_read() {
    let bytes = onnx(&inside(2.0), "Relu");
    let manifest = pinned(&bytes, THREE, THREE);
    for other in [onnx(&inside(3.0), "Relu"), Vec::new(), bytes[1..].to_vec()] {
        let error = Model::load(manifest, &other).unwrap_err();
        assert!(matches!(error, NnError::NotPinned { .. }), "{error}");
        assert!(error.to_string().contains(manifest.sha256) && error.to_string().contains("install"));
    }
}

#[test]
fn a_model_with_data_in_another_file_is_refused() {
    let location = [field(1, b"location"), field(2, b"/etc/passwd")].concat();
    // Told by the location alone, by the mark alone, and by both.
    let (data, mark) = (field(13, &location), number(14, 1));
    for weight in [data.clone(), [inside(2.0), mark.clone()].concat(), [data, mark].concat()] {
        let bytes = onnx(&weight, "Relu");
        let error = Model::load(pinned(&bytes, THREE, THREE), &bytes).unwrap_err();
        assert_eq!(error, NnError::External { name: "tiny", tensor: "w".to_owned() });
    }
}

#[test]
fn a_pinned_file_that_is_no_model_is_an_error_and_no_panic() {
    for bytes in
        [b"not a model".to_vec(), Vec::new(), onnx(&inside(1.0), "NoSuchOperator"), onnx(&[], "Relu")]
    {
        let error = Model::load(pinned(&bytes, THREE, THREE), &bytes).unwrap_err();
        assert!(matches!(error, NnError::Unreadable { .. } | NnError::Shape { .. }), "{error}");
    }
}

#[test]
fn shapes_are_held_at_both_ends_and_when_run() {
    let bytes = onnx(&inside(2.0), "Relu");
    let load = |input, output| Model::load(pinned(&bytes, input, output), &bytes);
    for (input, output, part) in [(&[1, 4][..], THREE, "input"), (THREE, &[3, 1][..], "output")] {
        let error = load(input, output).unwrap_err();
        assert!(matches!(error, NnError::Shape { what, .. } if what == part), "{error}");
    }
    let error = load(THREE, THREE).unwrap().run(&[1.0; 4]).unwrap_err();
    assert!(error.to_string().contains("4 numbers"), "{error}");
}

#[test]
fn too_little_memory_is_said_before_anything_is_begun() {
    let bytes = onnx(&inside(2.0), "Relu");
    // More than any address space has.
    let manifest = Manifest { peak_bytes: 1 << 60, ..*pinned(&bytes, THREE, THREE) };
    let error = Model::load(Box::leak(Box::new(manifest)), &bytes).unwrap_err();
    assert_eq!(error, NnError::OutOfMemory { name: "tiny", bytes: 1 << 60 });
}

#[test]
fn a_result_that_is_no_number_is_an_error() {
    let bytes = onnx(&inside(f32::INFINITY), "Relu");
    let model = Model::load(pinned(&bytes, THREE, THREE), &bytes).unwrap();
    assert!(matches!(model.run(&[1.0; 3]), Err(NnError::Failed { .. })));
}

#[test]
fn a_warm_model_asks_for_no_bytes_and_the_oldest_goes() {
    let mut cache = Cache::default();
    let loads = Cell::new(0);
    let mut use_model = |weight: f32| {
        let bytes = onnx(&inside(weight), "Relu");
        let asked = || {
            loads.set(loads.get() + 1);
            bytes.as_slice()
        };
        let model = cache.model(pinned(&bytes, THREE, THREE), asked).unwrap();
        assert_eq!(model.run(&[1.0; 3]).unwrap(), [weight; 3]);
        loads.get()
    };
    let counts = [1.0, 1.0, 2.0, 3.0, 4.0, 1.0, 5.0, 1.0, 2.0].map(&mut use_model);
    // Model 1 is used often enough to stay; 2 had to make room for 5.
    assert_eq!(counts, [1, 1, 2, 3, 4, 4, 5, 5, 6]);
}
