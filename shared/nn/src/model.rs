//! One model, ready to run.

use crate::manifest::{Manifest, NnError};
use sha2::{Digest, Sha256};
use std::io::Cursor;
use std::sync::Arc;
use tract_onnx::pb::tensor_proto::DataLocation;
use tract_onnx::pb::{GraphProto, TensorProto};
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::infer::Factoid;

/// A model, optimised for this processor. Running it changes nothing in it.
#[derive(Clone, Debug)]
pub struct Model {
    manifest: &'static Manifest,
    plan: Arc<TypedRunnableModel>,
}

impl Model {
    /// Checks the bytes of an ONNX file against the manifest, and optimises the model.
    ///
    /// # Errors
    /// It is another file, keeps data elsewhere, has another form, tract cannot run it, or there is too
    /// little memory.
    pub fn load(manifest: &'static Manifest, bytes: &[u8]) -> Result<Model, NnError> {
        let name = manifest.name;
        let found = hex::encode(Sha256::digest(bytes));
        if found != manifest.sha256 {
            return Err(NnError::NotPinned { name, expected: manifest.sha256, found });
        }
        room(manifest)?;
        let unreadable = |error: TractError| NnError::Unreadable { name, why: format!("{error:#}") };
        let onnx = tract_onnx::onnx();
        let proto = onnx.proto_model_for_read(&mut Cursor::new(bytes)).map_err(unreadable)?;
        if let Some(tensor) = proto.graph.as_ref().and_then(external) {
            return Err(NnError::External { name, tensor: tensor.name.clone() });
        }
        let mut model = onnx.model_for_proto_model(&proto).map_err(unreadable)?;
        let inputs = model.input_outlets().map_err(unreadable)?.len();
        if inputs != 1 {
            return Err(shape(manifest, "input", format!("of {inputs} inputs")));
        }
        let fact = model.input_fact(0).map_err(unreadable)?.clone();
        // The file may leave a side open, as the batch's; what it does say must be the manifest's.
        let wanted = InferenceFact::dt_shape(f32::datum_type(), manifest.input);
        let fact = fact.unify(&wanted).map_err(|_| shape(manifest, "input", format!("{fact:?}")))?;
        model.set_input_fact(0, fact).map_err(unreadable)?;
        let first = model.output_outlets().map_err(unreadable)?[..1].to_vec();
        model.select_output_outlets(&first).map_err(unreadable)?;
        let model = model.into_optimized().map_err(unreadable)?;
        let output = model.output_fact(0).map_err(unreadable)?.clone();
        if output.shape.as_concrete() != Some(manifest.output) || output.datum_type != f32::datum_type() {
            return Err(shape(manifest, "output", format!("{output:?}")));
        }
        Ok(Model { manifest, plan: model.into_runnable().map_err(unreadable)? })
    }

    /// What it is.
    pub fn manifest(&self) -> &'static Manifest {
        self.manifest
    }

    /// Computes the first output for an input, both in row-major order of the manifest's shapes.
    ///
    /// # Errors
    /// The input has another length, the result is not all numbers, or there is too little memory.
    pub fn run(&self, input: &[f32]) -> Result<Vec<f32>, NnError> {
        let manifest = self.manifest;
        if input.len() != manifest.input.iter().product::<usize>() {
            let found = format!("{} numbers", input.len());
            return Err(shape(manifest, "input", found));
        }
        room(manifest)?;
        let failed = |why: String| NnError::Failed { name: manifest.name, why };
        let compute = || -> TractResult<Vec<f32>> {
            let input = Tensor::from_shape(manifest.input, input)?;
            let output = self.plan.run(tvec!(input.into()))?;
            Ok(output[0].try_as_plain_ram()?.as_slice::<f32>()?.to_vec())
        };
        let output = compute().map_err(|error| failed(format!("{error:#}")))?;
        if !output.iter().all(|value| value.is_finite()) {
            return Err(failed("its output is not all numbers".to_owned()));
        }
        Ok(output)
    }
}

/// Asks for all the memory that the model needs, and gives it back: under a limit the answer is known before
/// anything was begun.
fn room(manifest: &Manifest) -> Result<(), NnError> {
    let asked = Vec::<u8>::new().try_reserve_exact(manifest.peak_bytes);
    asked.map_err(|_| NnError::OutOfMemory { name: manifest.name, bytes: manifest.peak_bytes })
}

fn shape(manifest: &Manifest, what: &'static str, found: String) -> NnError {
    let expected = if what == "input" { manifest.input } else { manifest.output };
    NnError::Shape { name: manifest.name, what, expected, found }
}

/// The first tensor whose data lies in another file, in the graph or in one inside it.
fn external(graph: &GraphProto) -> Option<&TensorProto> {
    let is_external = |tensor: &&TensorProto| {
        tensor.data_location == Some(DataLocation::External as i32) || !tensor.external_data.is_empty()
    };
    let own = graph.initializer.iter();
    let attributes = || graph.node.iter().flat_map(|node| &node.attribute);
    let constants = attributes().flat_map(|attribute| attribute.t.iter().chain(&attribute.tensors));
    let found = own.chain(constants).find(is_external);
    let inner = || attributes().flat_map(|attribute| attribute.g.iter().chain(&attribute.graphs));
    found.or_else(|| inner().find_map(external))
}
