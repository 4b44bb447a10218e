//! The constants of an ONNX file: enough of its format to read what this package's converter has written.
//!
//! An ONNX file is a protocol buffer: `ModelProto.graph` (7), `GraphProto.initializer` (5), and in each `TensorProto`
//! the fields `dims` (1), `data_type` (2), `name` (8) and `raw_data` (9). The nodes of the graph are not read: whoever
//! runs the network knows them, and a test compares the vectors with those of ONNX Runtime.
//! Source: onnx.proto of ONNX 1.17; protobuf.dev, "Encoding".

use std::collections::HashMap;

use crate::Error;

const FLOAT: u64 = 1;
const INT8: u64 = 3;

const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const BYTES: u64 = 2;
const FIXED32: u64 = 5;

/// One constant.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Tensor<'a> {
    dims: Vec<u64>,
    kind: u64,
    raw: &'a [u8],
}

/// The constants of a network by name, borrowed from the file.
#[derive(Debug)]
pub struct Constants<'a>(HashMap<&'a str, Tensor<'a>>);

impl<'a> Constants<'a> {
    /// # Errors
    ///
    /// [`Error::Network`] for what is no ONNX file.
    pub fn read(file: &'a [u8]) -> Result<Self, Error> {
        let damaged = || Error::Network("a damaged ONNX file".to_owned());
        let mut found = HashMap::new();
        for graph in fields(file).ok_or_else(damaged)?.into_iter().filter(|field| field.number == 7) {
            for field in fields(graph.bytes).ok_or_else(damaged)?.into_iter().filter(|field| field.number == 5) {
                let (name, tensor) = tensor(field.bytes).ok_or_else(damaged)?;
                found.insert(name, tensor);
            }
        }
        Ok(Self(found))
    }

    /// The numbers of a float32 constant of this shape.
    ///
    /// # Errors
    ///
    /// [`Error::Network`] when there is none.
    pub fn floats(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, Error> {
        let raw = self.raw(name, FLOAT, shape, size_of::<f32>())?;
        Ok(raw.as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect())
    }

    /// The numbers of an int8 constant of this shape.
    ///
    /// # Errors
    ///
    /// [`Error::Network`] when there is none.
    pub fn levels(&self, name: &str, shape: &[usize]) -> Result<Vec<i8>, Error> {
        Ok(self.raw(name, INT8, shape, 1)?.iter().map(|&byte| i8::from_le_bytes([byte])).collect())
    }

    fn raw(&self, name: &str, kind: u64, shape: &[usize], width: usize) -> Result<&'a [u8], Error> {
        let tensor = self.0.get(name).ok_or_else(|| Error::Network(format!("none with a constant {name}")))?;
        let dims: Vec<u64> = shape.iter().map(|&dim| dim as u64).collect();
        let length = shape.iter().product::<usize>() * width;
        if tensor.kind != kind || tensor.dims != dims || tensor.raw.len() != length {
            return Err(Error::Network(format!("a constant {name} of another type or shape")));
        }
        Ok(tensor.raw)
    }
}

/// One field of a message; a number is in `value`, all else in `bytes`.
struct Field<'a> {
    number: u64,
    value: u64,
    bytes: &'a [u8],
}

/// The fields of a message; `None` when it is damaged.
fn fields(message: &[u8]) -> Option<Vec<Field<'_>>> {
    let mut rest = message;
    let mut found = Vec::new();
    while !rest.is_empty() {
        let key = varint(&mut rest)?;
        let mut field = Field { number: key >> 3, value: 0, bytes: &[] };
        let length = match key & 7 {
            VARINT => {
                field.value = varint(&mut rest)?;
                0
            }
            FIXED64 => 8,
            FIXED32 => 4,
            BYTES => usize::try_from(varint(&mut rest)?).ok()?,
            _ => return None,
        };
        (field.bytes, rest) = rest.split_at_checked(length)?;
        found.push(field);
    }
    Some(found)
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

fn tensor(message: &[u8]) -> Option<(&str, Tensor<'_>)> {
    let mut name = "";
    let mut tensor = Tensor::default();
    for field in fields(message)? {
        match field.number {
            // Writers pack repeated numbers into one field, or write a field for each.
            1 if field.bytes.is_empty() => tensor.dims.push(field.value),
            1 => {
                let mut rest = field.bytes;
                while !rest.is_empty() {
                    tensor.dims.push(varint(&mut rest)?);
                }
            }
            2 => tensor.kind = field.value,
            8 => name = str::from_utf8(field.bytes).ok()?,
            9 => tensor.raw = field.bytes,
            _ => {}
        }
    }
    Some((name, tensor))
}

#[cfg(test)]
mod tests {
    use super::Constants;

    /// A model with one graph with one constant: "w", float32, shape (2,), values 1 and 2.
    fn file() -> Vec<u8> {
        let mut tensor = vec![0x08, 2, 0x10, 1, 0x42, 1, b'w', 0x4a, 8];
        tensor.extend([1.0_f32, 2.0].iter().flat_map(|value| value.to_le_bytes()));
        let mut graph = vec![0x2a, u8::try_from(tensor.len()).unwrap()];
        graph.extend(tensor);
        let mut file = vec![0x08, 8, 0x3a, u8::try_from(graph.len()).unwrap()];
        file.extend(graph);
        file
    }

    #[test]
    fn a_constant_is_found_by_its_name() {
        let file = file();
        assert_eq!(Constants::read(&file).unwrap().floats("w", &[2]).unwrap(), [1.0, 2.0]);
    }

    #[test]
    fn another_name_type_or_shape_is_an_error() {
        let file = file();
        let constants = Constants::read(&file).unwrap();
        assert!(constants.floats("v", &[2]).is_err());
        assert!(constants.levels("w", &[8]).is_err());
        assert!(constants.floats("w", &[1, 2]).is_err());
    }

    #[test]
    fn a_file_cut_anywhere_gives_no_wrong_constant() {
        let file = file();
        for length in 0..file.len() {
            let found = Constants::read(&file[..length]).and_then(|constants| constants.floats("w", &[2]));
            assert!(found.is_err(), "{length}");
        }
    }
}
