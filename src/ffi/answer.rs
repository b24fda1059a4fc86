//! Values that go into a call and come out of it.

use super::{export, failed, fill_plain, invalid, sclera_result, sclera_slice, shared, take};
use crate::pool::session::Answer;
use crate::wire::element::{Element, Value};

/// What kind of value a sclera_value holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub enum sclera_kind {
    /// No value.
    SCLERA_UNDEFINED = 0,
    /// `bytes`, as they are.
    SCLERA_BYTES = 1,
    /// `integer`.
    SCLERA_INTEGER = 2,
    /// `number`.
    SCLERA_DOUBLE = 3,
    /// `bytes`, as UTF-8 text.
    SCLERA_TEXT = 4,
}

/// A value. Only the field that `kind` names counts; set the others to 0.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct sclera_value {
    /// One of sclera_kind.
    pub kind: u32,
    /// Of an argument: the method may change it, and the answer holds what it became.
    pub by_reference: bool,
    pub bytes: sclera_slice,
    pub integer: i64,
    pub number: f64,
}

/// What a class method gave. Any thread may read it.
pub struct sclera_answer {
    value: Held,
    references: Vec<Held>,
    output: Vec<u8>,
}

/// A value in the form that C sees.
enum Held {
    Undefined,
    Bytes(Vec<u8>),
    Integer(i64),
    Double(f64),
    Text(String),
}

export! {
    /// The return value; SCLERA_UNDEFINED of a method that has none. Its bytes are valid until the answer is freed.
    fn sclera_answer_value(answer: *const sclera_answer, out: *mut sclera_value) -> sclera_result {
        // SAFETY: the contract.
        match unsafe { shared(answer) } {
            // SAFETY: the contract.
            Some(answer) => unsafe { fill_plain(out, answer.value.to_c()) },
            None => invalid("answer is NULL"),
        }
    }
}

export! {
    /// How many arguments were passed by reference.
    fn sclera_answer_reference_count(answer: *const sclera_answer) -> usize {
        // SAFETY: the contract.
        unsafe { shared(answer) }.map_or(0, |answer| answer.references.len())
    }
}

export! {
    /// What the by-reference argument number `index` (from 0, among those by reference) became.
    fn sclera_answer_reference(answer: *const sclera_answer, index: usize, out: *mut sclera_value) -> sclera_result {
        // SAFETY: the contract.
        let Some(answer) = (unsafe { shared(answer) }) else { return invalid("answer is NULL") };
        match answer.references.get(index) {
            // SAFETY: the contract.
            Some(held) => unsafe { fill_plain(out, held.to_c()) },
            None => failed(sclera_result::SCLERA_INVALID_ARGUMENT, "there are fewer by-reference arguments"),
        }
    }
}

export! {
    /// What the method wrote to its current device. Valid until the answer is freed.
    fn sclera_answer_output(answer: *const sclera_answer) -> sclera_slice {
        // SAFETY: the contract.
        unsafe { shared(answer) }.map_or(sclera_slice::EMPTY, |answer| sclera_slice::of(&answer.output))
    }
}

export! {
    /// Frees an answer. NULL is fine.
    fn sclera_answer_free(answer: *mut sclera_answer) -> () {
        // SAFETY: the contract.
        drop(unsafe { take(answer) });
    }
}

impl sclera_value {
    /// The argument as it goes on the wire; `None` for an unknown kind and for text that is not UTF-8.
    ///
    /// # Safety
    ///
    /// The contract holds for `bytes`.
    pub(super) unsafe fn to_element<'a>(&self) -> Option<Element<'a>> {
        // SAFETY: the caller vouches for it; a NULL is empty.
        let bytes = || unsafe { self.bytes.bytes::<'a>() };
        let value = match self.kind {
            kind if kind == sclera_kind::SCLERA_UNDEFINED as u32 => Value::Undefined,
            kind if kind == sclera_kind::SCLERA_BYTES as u32 => Value::bytes(bytes()),
            kind if kind == sclera_kind::SCLERA_INTEGER as u32 => Value::Integer(self.integer),
            kind if kind == sclera_kind::SCLERA_DOUBLE as u32 => Value::Double(self.number),
            kind if kind == sclera_kind::SCLERA_TEXT as u32 => Value::text(std::str::from_utf8(bytes()).ok()?),
            _ => return None,
        };
        Some(Element { value, by_reference: self.by_reference })
    }
}

impl sclera_answer {
    pub(super) fn new(answer: Answer) -> sclera_answer {
        let references = answer.references.into_iter().map(Held::of).collect();
        sclera_answer { value: Held::of(answer.value), references, output: answer.output }
    }
}

impl Held {
    fn of(value: Value) -> Held {
        match value {
            Value::Undefined => Held::Undefined,
            Value::Bytes(bytes) | Value::Handle(bytes) => Held::Bytes(bytes.into_owned()),
            Value::Integer(number) => Held::Integer(number),
            Value::Double(number) | Value::CompactDouble(number) => Held::Double(number),
            // A decimal's digits would suffer as a double.
            text @ (Value::Wide(_) | Value::WideHandle(_) | Value::Decimal { .. }) => Held::Text(text.to_text()),
        }
    }

    fn to_c(&self) -> sclera_value {
        let (kind, bytes, integer, number) = match self {
            Held::Undefined => (sclera_kind::SCLERA_UNDEFINED, sclera_slice::EMPTY, 0, 0.0),
            Held::Bytes(bytes) => (sclera_kind::SCLERA_BYTES, sclera_slice::of(bytes), 0, 0.0),
            Held::Integer(integer) => (sclera_kind::SCLERA_INTEGER, sclera_slice::EMPTY, *integer, 0.0),
            Held::Double(number) => (sclera_kind::SCLERA_DOUBLE, sclera_slice::EMPTY, 0, *number),
            Held::Text(text) => (sclera_kind::SCLERA_TEXT, sclera_slice::of(text.as_bytes()), 0, 0.0),
        };
        sclera_value { kind: kind as u32, by_reference: false, bytes, integer, number }
    }
}
