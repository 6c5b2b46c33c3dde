//! Reading and writing binary glTF 2.0, the file that every stage after shape hands on.
