//! SFTP fields in plain bytes: for extension payloads, which cross the dialect layer untouched.
//!
//! Integers are big-endian, a string is a u32 length and that many bytes (draft-ietf-secsh-filexfer-02 §3).

/// The payload ends in the middle of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the payload ends in the middle of a field")]
pub struct Short;

/// Appends a u32.
pub fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// Appends a u64.
pub fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// Appends a string: its length, then its bytes as they are. Strings are far shorter than 4 GiB, as
/// every packet is.
pub fn put_string(out: &mut Vec<u8>, bytes: &[u8]) {
    debug_assert!(u32::try_from(bytes.len()).is_ok());
    put_u32(out, bytes.len() as u32);
    out.extend_from_slice(bytes);
}

/// Reads fields off the front of a payload. Nothing is copied, and no length is believed.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Starts at the first byte of `payload`.
    pub fn new(payload: &'a [u8]) -> Self {
        Self(payload)
    }

    /// The next four bytes as a number.
    pub fn u32(&mut self) -> Result<u32, Short> {
        self.array().map(u32::from_be_bytes)
    }

    /// The next eight bytes as a number.
    pub fn u64(&mut self) -> Result<u64, Short> {
        self.array().map(u64::from_be_bytes)
    }

    /// The bytes of the next string.
    pub fn string(&mut self) -> Result<&'a [u8], Short> {
        let length = self.u32()? as usize;
        let (string, rest) = self.0.split_at_checked(length).ok_or(Short)?;
        self.0 = rest;
        Ok(string)
    }

    /// What has not been read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.0
    }

    /// Whether everything has been read.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Short> {
        let (head, rest) = self.0.split_first_chunk().ok_or(Short)?;
        self.0 = rest;
        Ok(*head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_back_as_they_were_put() {
        let mut payload = Vec::new();
        put_string(&mut payload, b"\xff\0\n");
        put_u32(&mut payload, 7);
        put_u64(&mut payload, u64::MAX - 1);
        put_string(&mut payload, b"");
        let mut reader = Reader::new(&payload);
        assert_eq!(reader.string(), Ok(&b"\xff\0\n"[..]));
        assert_eq!(reader.u32(), Ok(7));
        assert_eq!(reader.u64(), Ok(u64::MAX - 1));
        assert!(!reader.is_empty());
        assert_eq!(reader.string(), Ok(&b""[..]));
        assert!(reader.is_empty());
    }

    #[test]
    fn a_payload_that_ends_early_is_short() {
        let check = |payload: &[u8]| assert_eq!(Reader::new(payload).string(), Err(Short), "{payload:?}");
        check(b"");
        check(b"\0\0\0");
        check(b"\0\0\0\x02a");
        check(b"\xff\xff\xff\xffabc");
        assert_eq!(Reader::new(b"\0\0\0").u32(), Err(Short));
        assert_eq!(Reader::new(b"\0\0\0\0\0\0\0").u64(), Err(Short));
    }
}
