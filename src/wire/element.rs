//! List elements: length, type and data, as `$LIST` builds them (protocol reference, section 4).

use std::borrow::Cow;

use super::WireError;
use super::reader::Reader;

/// A value as it stands on the wire.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// No value at all (`01`): an omitted argument, or the result of a method that returns nothing.
    Undefined,
    /// 8-bit text or bytes. Empty is also null: a call cannot tell the two apart.
    Bytes(Cow<'a, [u8]>),
    /// Wide text: UTF-16, little-endian, always an even number of bytes.
    Wide(Cow<'a, [u8]>),
    /// An integer.
    Integer(i64),
    /// `mantissa` times ten to the power of `exponent`.
    Decimal { mantissa: i64, exponent: i8 },
    /// A double in its full eight bytes.
    Double(f64),
    /// A double in its shortest form, for servers that announce compact doubles.
    CompactDouble(f64),
    /// An object reference, such as `3@%Net.Remote.Object`.
    Handle(Cow<'a, [u8]>),
    /// An object reference in wide text.
    WideHandle(Cow<'a, [u8]>),
}

/// A value and whether it is passed by reference.
#[derive(Clone, Debug, PartialEq)]
pub struct Element<'a> {
    pub value: Value<'a>,
    pub by_reference: bool,
}

/// What stands before an element's data: enough to stream the data without holding it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    pub kind: Kind,
    pub by_reference: bool,
    /// Bytes of data that follow.
    pub length: u32,
}

/// The type of an element's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Undefined,
    Bytes,
    Wide,
    PositiveInteger,
    NegativeInteger,
    PositiveDecimal,
    NegativeDecimal,
    Double,
    CompactDouble,
    Handle,
    WideHandle,
}

/// Added to the type byte of an argument that is passed by reference (protocol reference, section 8).
const BY_REFERENCE: u8 = 0x20;

impl<'a> Value<'a> {
    /// Text: 8-bit where every character fits, wide otherwise.
    pub fn text(text: &str) -> Value<'static> {
        match latin1(text) {
            Some(bytes) => Value::Bytes(Cow::Owned(bytes)),
            None => Value::Wide(Cow::Owned(text.encode_utf16().flat_map(u16::to_le_bytes).collect())),
        }
    }

    /// Bytes as they are.
    pub fn bytes(bytes: &'a [u8]) -> Value<'a> {
        Value::Bytes(Cow::Borrowed(bytes))
    }

    /// The value as text, if it has a text form: Latin-1 or UTF-16 decoded, numbers in decimal, undefined as empty.
    pub fn to_text(&self) -> String {
        match self {
            Value::Undefined => String::new(),
            Value::Bytes(bytes) | Value::Handle(bytes) => bytes.iter().map(|&byte| char::from(byte)).collect(),
            Value::Wide(bytes) | Value::WideHandle(bytes) => {
                char::decode_utf16(units(bytes)).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
            }
            Value::Integer(number) => number.to_string(),
            Value::Decimal { mantissa, exponent } => decimal_text(*mantissa, *exponent),
            Value::Double(number) | Value::CompactDouble(number) => number.to_string(),
        }
    }

    /// The integer, if the value is one or is the decimal text of one.
    pub fn to_integer(&self) -> Option<i64> {
        match self {
            Value::Integer(number) => Some(*number),
            Value::Bytes(bytes) => std::str::from_utf8(bytes).ok()?.parse().ok(),
            _ => None,
        }
    }

    /// Detaches the value from the bytes it was read from.
    pub fn into_owned(self) -> Value<'static> {
        match self {
            Value::Undefined => Value::Undefined,
            Value::Bytes(bytes) => Value::Bytes(Cow::Owned(bytes.into_owned())),
            Value::Wide(bytes) => Value::Wide(Cow::Owned(bytes.into_owned())),
            Value::Integer(number) => Value::Integer(number),
            Value::Decimal { mantissa, exponent } => Value::Decimal { mantissa, exponent },
            Value::Double(number) => Value::Double(number),
            Value::CompactDouble(number) => Value::CompactDouble(number),
            Value::Handle(bytes) => Value::Handle(Cow::Owned(bytes.into_owned())),
            Value::WideHandle(bytes) => Value::WideHandle(Cow::Owned(bytes.into_owned())),
        }
    }

    /// Appends the element to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        self.write_as(0, out);
    }

    fn write_as(&self, flag: u8, out: &mut Vec<u8>) {
        match self {
            Value::Undefined => out.push(1),
            Value::Bytes(bytes) => write_data(0x01 | flag, bytes, out),
            Value::Wide(bytes) => write_data(0x02 | flag, bytes, out),
            Value::Integer(number) => {
                let (kind, bytes, length) = integer_data(*number, 0x04);
                write_data(kind | flag, &bytes[..length], out);
            }
            Value::Decimal { mantissa, exponent } => {
                let (kind, bytes, length) = integer_data(*mantissa, 0x06);
                let mut data = [0; 9];
                data[0] = exponent.to_le_bytes()[0];
                data[1..=length].copy_from_slice(&bytes[..length]);
                write_data(kind | flag, &data[..=length], out);
            }
            Value::Double(number) => write_data(0x08 | flag, &number.to_le_bytes(), out),
            Value::CompactDouble(number) => {
                let single = *number as f32;
                if f64::from(single).to_bits() == number.to_bits() && !number.is_nan() {
                    write_data(0x08 | flag, without_low_zeros(&single.to_le_bytes()), out);
                } else {
                    write_data(0x09 | flag, without_low_zeros(&number.to_le_bytes()), out);
                }
            }
            Value::Handle(bytes) => write_data(0x19 | flag, bytes, out),
            Value::WideHandle(bytes) => write_data(0x1a | flag, bytes, out),
        }
    }
}

impl<'a> Element<'a> {
    /// Reads one element.
    pub fn read(reader: &mut Reader<'a>) -> Result<Element<'a>, WireError> {
        let Some((head, used)) = Head::parse(reader.rest())? else {
            return Err(WireError::Truncated { what: "list element" });
        };
        reader.take(used, "list element")?;
        let data = reader.take(head.length as usize, "list element")?;
        Ok(Element { value: head.value(data)?, by_reference: head.by_reference })
    }

    /// Reads every element of a payload or of a nested list.
    pub fn read_all(bytes: &'a [u8]) -> Result<Vec<Element<'a>>, WireError> {
        let mut reader = Reader::new(bytes);
        let mut elements = Vec::new();
        while !reader.is_empty() {
            elements.push(Element::read(&mut reader)?);
        }
        Ok(elements)
    }

    /// Appends the element to `out`. By-reference arguments of undefined value have no form of their own and are written
    /// as empty by reference.
    pub fn write(&self, out: &mut Vec<u8>) {
        match (&self.value, self.by_reference) {
            (Value::Undefined, true) => write_data(0x01 | BY_REFERENCE, &[], out),
            (value, true) => value.write_as(BY_REFERENCE, out),
            (value, false) => value.write_as(0, out),
        }
    }
}

impl<'a> From<Value<'a>> for Element<'a> {
    fn from(value: Value<'a>) -> Element<'a> {
        Element { value, by_reference: false }
    }
}

impl Head {
    /// The most bytes that a head can have.
    pub const LONGEST: usize = 8;

    /// Reads a head from the start of `bytes`; `None` if it needs more bytes. Also gives the head's own length.
    pub fn parse(bytes: &[u8]) -> Result<Option<(Head, usize)>, WireError> {
        let (length, type_at) = match *bytes {
            [] => return Ok(None),
            [1, ..] => return Ok(Some((Head { kind: Kind::Undefined, by_reference: false, length: 0 }, 1))),
            [0, 0, 0, a, b, c, d, ..] => (u32::from_le_bytes([a, b, c, d]).checked_sub(1), 7),
            [0, 0] | [0, 0, 0, ..] | [0] | [0, _] => return Ok(None),
            [0, a, b, ..] => (u32::from(u16::from_le_bytes([a, b])).checked_sub(1), 3),
            [length, ..] => (u32::from(length).checked_sub(2), 1),
        };
        let length = length.ok_or(WireError::Invalid { what: "length of a list element", value: 0 })?;
        let Some(&type_byte) = bytes.get(type_at) else {
            return Ok(None);
        };
        let kind = Kind::from_byte(type_byte & !BY_REFERENCE)
            .ok_or(WireError::Invalid { what: "type of a list element", value: type_byte.into() })?;
        kind.check_length(length)?;
        Ok(Some((Head { kind, by_reference: type_byte & BY_REFERENCE != 0, length }, type_at + 1)))
    }

    /// Decodes the data that belongs to this head.
    pub fn value<'a>(self, data: &'a [u8]) -> Result<Value<'a>, WireError> {
        Ok(match self.kind {
            Kind::Undefined => Value::Undefined,
            Kind::Bytes => Value::Bytes(Cow::Borrowed(data)),
            Kind::Wide => Value::Wide(Cow::Borrowed(data)),
            Kind::PositiveInteger => Value::Integer(integer(data, 0x00)?),
            Kind::NegativeInteger => Value::Integer(integer(data, 0xff)?),
            Kind::PositiveDecimal => decimal(data, 0x00)?,
            Kind::NegativeDecimal => decimal(data, 0xff)?,
            Kind::Double if data.len() == 8 => Value::Double(f64::from_le_bytes(high_bytes(data))),
            Kind::Double => Value::CompactDouble(f32::from_le_bytes(high_bytes(data)).into()),
            Kind::CompactDouble => Value::CompactDouble(f64::from_le_bytes(high_bytes(data))),
            Kind::Handle => Value::Handle(Cow::Borrowed(data)),
            Kind::WideHandle => Value::WideHandle(Cow::Borrowed(data)),
        })
    }
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Kind> {
        Some(match byte {
            // A placeholder; it reads as null, which is empty bytes.
            0x00 | 0x01 => Kind::Bytes,
            0x02 => Kind::Wide,
            0x04 => Kind::PositiveInteger,
            0x05 => Kind::NegativeInteger,
            0x06 => Kind::PositiveDecimal,
            0x07 => Kind::NegativeDecimal,
            0x08 => Kind::Double,
            0x09 => Kind::CompactDouble,
            0x19 => Kind::Handle,
            0x1a => Kind::WideHandle,
            _ => return None,
        })
    }

    /// Refuses a length that this type cannot have, before the data is waited for.
    fn check_length(self, length: u32) -> Result<(), WireError> {
        let fits = match self {
            Kind::Undefined => length == 0,
            Kind::Bytes | Kind::Handle => true,
            Kind::Wide | Kind::WideHandle => length.is_multiple_of(2),
            // One byte more than an i64 has: official drivers pad some integers with a zero byte.
            Kind::PositiveInteger | Kind::NegativeInteger => length <= 9,
            Kind::PositiveDecimal | Kind::NegativeDecimal => (1..=10).contains(&length),
            Kind::Double => length <= 4 || length == 8,
            Kind::CompactDouble => length <= 8,
        };
        match fits {
            true => Ok(()),
            false => Err(WireError::Invalid { what: "length of a list element", value: length.into() }),
        }
    }
}

/// Appends an 8-bit element.
pub fn write_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    write_data(0x01, bytes, out);
}

/// Appends the head of an 8-bit element; the caller appends its `length` bytes.
pub fn write_bytes_head(length: usize, out: &mut Vec<u8>) {
    write_head(0x01, length, out);
}

/// The UTF-16 units of wide text.
pub fn units(bytes: &[u8]) -> impl Iterator<Item = u16> + '_ {
    bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
}

/// One byte for each character, if all of them are below U+0100.
fn latin1(text: &str) -> Option<Vec<u8>> {
    text.chars().map(|character| u8::try_from(u32::from(character)).ok()).collect()
}

fn write_data(type_byte: u8, data: &[u8], out: &mut Vec<u8>) {
    write_head(type_byte, data.len(), out);
    out.extend_from_slice(data);
}

fn write_head(type_byte: u8, length: usize, out: &mut Vec<u8>) {
    match length {
        0..=253 => out.push(length as u8 + 2),
        254..=65534 => {
            out.push(0);
            out.extend_from_slice(&(length as u16 + 1).to_le_bytes());
        }
        _ => {
            // Callers keep payloads far below 4 GiB; the largest the official limits allow is 3.6 MB.
            out.extend_from_slice(&[0, 0, 0]);
            out.extend_from_slice(&u32::try_from(length + 1).unwrap_or(u32::MAX).to_le_bytes());
        }
    }
    out.push(type_byte);
}

/// Type byte, bytes and how many of them count; `base` is the type of the non-negative form.
fn integer_data(number: i64, base: u8) -> (u8, [u8; 8], usize) {
    let bytes = number.to_le_bytes();
    let (kind, filler) = if number < 0 { (base + 1, 0xff) } else { (base, 0x00) };
    let length = bytes.iter().rposition(|&byte| byte != filler).map_or(0, |last| last + 1);
    (kind, bytes, length)
}

/// Little-endian bytes whose missing high bytes are `filler`.
fn integer(data: &[u8], filler: u8) -> Result<i64, WireError> {
    let mut bytes = [filler; 16];
    bytes
        .get_mut(..data.len())
        .ok_or(WireError::Invalid { what: "integer", value: data.len() as u64 })?
        .copy_from_slice(data);
    i64::try_from(i128::from_le_bytes(bytes))
        .map_err(|_| WireError::Invalid { what: "integer", value: u128::from_le_bytes(bytes) as u64 })
}

fn decimal<'a>(data: &[u8], filler: u8) -> Result<Value<'a>, WireError> {
    let (&exponent, mantissa) = data.split_first().ok_or(WireError::Truncated { what: "decimal" })?;
    Ok(Value::Decimal { mantissa: integer(mantissa, filler)?, exponent: exponent as i8 })
}

/// The bytes of a little-endian number whose low zero bytes were left out.
fn high_bytes<const N: usize>(data: &[u8]) -> [u8; N] {
    let mut bytes = [0; N];
    let kept = data.len().min(N);
    bytes[N - kept..].copy_from_slice(&data[data.len() - kept..]);
    bytes
}

fn without_low_zeros(bytes: &[u8]) -> &[u8] {
    let first = bytes.iter().position(|&byte| byte != 0).unwrap_or(bytes.len());
    &bytes[first..]
}

fn decimal_text(mantissa: i64, exponent: i8) -> String {
    if exponent >= 0 {
        return match mantissa {
            0 => "0".to_owned(),
            _ => format!("{mantissa}{}", "0".repeat(exponent as usize)),
        };
    }
    let places = usize::from(exponent.unsigned_abs());
    let digits = format!("{:0>width$}", mantissa.unsigned_abs(), width = places + 1);
    let (whole, fraction) = digits.split_at(digits.len() - places);
    let sign = if mantissa < 0 { "-" } else { "" };
    format!("{sign}{whole}.{fraction}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(value: &Value) -> Vec<u8> {
        let mut out = Vec::new();
        value.write(&mut out);
        out
    }

    #[test]
    fn values_have_the_bytes_that_the_reference_lists() {
        let table: &[(Value, &[u8])] = &[
            (Value::Undefined, &[0x01]),
            (Value::bytes(b""), &[0x02, 0x01]),
            (Value::text("hello"), b"\x07\x01hello"),
            (Value::text("é"), &[0x03, 0x01, 0xe9]),
            (Value::text("ł"), &[0x04, 0x02, 0x42, 0x01]),
            (Value::text("\u{1F4BB}"), &[0x06, 0x02, 0x3d, 0xd8, 0xbb, 0xdc]),
            (Value::Integer(0), &[0x02, 0x04]),
            (Value::Integer(1), &[0x03, 0x04, 0x01]),
            (Value::Integer(256), &[0x04, 0x04, 0x00, 0x01]),
            (Value::Integer(i64::MAX), &[0x0a, 0x04, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]),
            (Value::Integer(-1), &[0x02, 0x05]),
            (Value::Integer(-2), &[0x03, 0x05, 0xfe]),
            (Value::Integer(-256), &[0x03, 0x05, 0x00]),
            (Value::Integer(-257), &[0x04, 0x05, 0xff, 0xfe]),
            (Value::Integer(i64::MIN), &[0x0a, 0x05, 0, 0, 0, 0, 0, 0, 0, 0x80]),
            (Value::Double(1.5), &[0x0a, 0x08, 0, 0, 0, 0, 0, 0, 0xf8, 0x3f]),
            (Value::CompactDouble(1.5), &[0x04, 0x08, 0xc0, 0x3f]),
            (Value::CompactDouble(0.0), &[0x02, 0x08]),
            (Value::CompactDouble(-0.0), &[0x03, 0x08, 0x80]),
            (Value::CompactDouble(f64::INFINITY), &[0x04, 0x08, 0x80, 0x7f]),
            (Value::CompactDouble(0.1), &[0x0a, 0x09, 0x9a, 0x99, 0x99, 0x99, 0x99, 0x99, 0xb9, 0x3f]),
            (Value::Decimal { mantissa: 15, exponent: -1 }, &[0x04, 0x06, 0xff, 0x0f]),
            (Value::Decimal { mantissa: -1, exponent: -3 }, &[0x03, 0x07, 0xfd]),
            (Value::Decimal { mantissa: 1, exponent: 10 }, &[0x04, 0x06, 0x0a, 0x01]),
        ];
        for (value, bytes) in table {
            assert_eq!(written(value), *bytes, "{value:?}");
            assert_eq!(Element::read_all(bytes).unwrap(), [Element::from(value.clone())], "{value:?}");
        }
        assert_eq!(written(&Value::CompactDouble(f64::NAN)), [0x04, 0x09, 0xf8, 0x7f]);
    }

    #[test]
    fn an_integer_padded_by_an_official_driver_is_read() {
        assert_eq!(Element::read_all(&[0x04, 0x04, 0x80, 0x00]).unwrap()[0].value, Value::Integer(128));
        let padded = [0x0b, 0x04, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 0x00];
        assert_eq!(Element::read_all(&padded).unwrap()[0].value, Value::Integer(i64::MAX));
    }

    #[test]
    fn an_integer_beyond_64_bits_is_refused() {
        let beyond = [0x0a, 0x04, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
        assert!(matches!(Element::read_all(&beyond), Err(WireError::Invalid { what: "integer", .. })));
    }

    #[test]
    fn the_length_form_changes_at_the_documented_boundaries() {
        for (length, head) in [
            (253, vec![255, 1]),
            (254, vec![0, 255, 0, 1]),
            (65534, vec![0, 0xff, 0xff, 1]),
            (65535, vec![0, 0, 0, 0, 0, 1, 0, 1]),
        ] {
            let bytes = written(&Value::Bytes(vec![7; length].into()));
            assert_eq!(&bytes[..head.len()], head, "{length} bytes");
            assert_eq!(Element::read_all(&bytes).unwrap().len(), 1, "{length} bytes");
        }
    }

    #[test]
    fn decimals_read_as_people_write_them() {
        for (mantissa, exponent, text) in
            [(15, -1, "1.5"), (-1, -3, "-0.001"), (1, 10, "10000000000"), (0, 5, "0"), (-7, 0, "-7")]
        {
            assert_eq!(Value::Decimal { mantissa, exponent }.to_text(), text);
        }
    }

    #[test]
    fn by_reference_is_a_flag_on_the_type() {
        let element = Element { value: Value::bytes(b"a"), by_reference: true };
        let mut out = Vec::new();
        element.write(&mut out);
        assert_eq!(out, [0x03, 0x21, 0x61]);
        assert_eq!(Element::read_all(&out).unwrap(), [element]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = Element::read_all(&bytes);
        }

        #[test]
        fn any_integer_survives_the_way_there_and_back(number: i64, exponent: i8) {
            for value in [Value::Integer(number), Value::Decimal { mantissa: number, exponent }] {
                let bytes = written(&value);
                prop_assert_eq!(&Element::read_all(&bytes).unwrap()[0].value, &value);
            }
        }

        #[test]
        fn any_double_survives_the_way_there_and_back(bits: u64) {
            let number = f64::from_bits(bits);
            let bytes = written(&Value::CompactDouble(number));
            let Value::CompactDouble(read) = Element::read_all(&bytes).unwrap()[0].value else { panic!() };
            prop_assert!(read.to_bits() == bits || (read.is_nan() && number.is_nan()));
        }
    }
}
