//! A cursor over received bytes that may be refused, but can neither overrun nor panic.

use super::WireError;

/// Reads forward through a slice.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes, at: 0 }
    }

    /// Takes the next `count` bytes, which belong to `what`.
    pub fn take(&mut self, count: usize, what: &'static str) -> Result<&'a [u8], WireError> {
        let taken = self.rest().get(..count).ok_or(WireError::Truncated { what })?;
        self.at += count;
        Ok(taken)
    }

    /// Takes the next `N` bytes, which belong to `what`.
    pub fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], WireError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N, what)?);
        Ok(array)
    }

    /// What has not been read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// How many bytes have been read.
    pub fn used(&self) -> usize {
        self.at
    }

    /// Whether all has been read.
    pub fn is_empty(&self) -> bool {
        self.rest().is_empty()
    }

    /// Refuses bytes after the end of `what`.
    pub fn expect_end(&self, what: &'static str) -> Result<(), WireError> {
        match self.rest().len() {
            0 => Ok(()),
            count => Err(WireError::Trailing { what, count }),
        }
    }
}
