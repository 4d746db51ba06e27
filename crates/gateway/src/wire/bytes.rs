//! The protocol's integers and strings.

/// Bytes that do not follow the protocol; the text says what was being read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Malformed(pub(crate) &'static str);

/// Reads a packet from front to back. Running out of bytes is [`Malformed`], never a panic.
pub(crate) struct Take<'a> {
    rest: &'a [u8],
    subject: &'static str,
}

impl<'a> Take<'a> {
    pub(crate) const fn new(packet: &'a [u8], subject: &'static str) -> Self {
        Self { rest: packet, subject }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) const fn malformed(&self) -> Malformed {
        Malformed(self.subject)
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(Malformed(self.subject))?;
        self.rest = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(Malformed(self.subject))?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Malformed> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Malformed> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// Up to the next zero byte, which is taken too.
    pub(crate) fn zero_terminated(&mut self) -> Result<&'a [u8], Malformed> {
        let end = self.rest.iter().position(|byte| *byte == 0).ok_or(Malformed(self.subject))?;
        let taken = self.bytes(end)?;
        self.bytes(1)?;
        Ok(taken)
    }

    pub(crate) fn lenenc_int(&mut self) -> Result<u64, Malformed> {
        match self.u8()? {
            short @ 0..=0xfa => Ok(short.into()),
            0xfc => Ok(self.u16()?.into()),
            0xfd => {
                let [a, b, c] = self.array()?;
                Ok(u32::from_le_bytes([a, b, c, 0]).into())
            }
            0xfe => self.u64(),
            _ => Err(self.malformed()),
        }
    }

    pub(crate) fn lenenc_bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = usize::try_from(self.lenenc_int()?).map_err(|_| self.malformed())?;
        self.bytes(length)
    }
}

/// Writes the protocol's integers and strings at the end of a packet.
pub(crate) trait Put {
    fn put_u16(&mut self, value: u16);
    fn put_u32(&mut self, value: u32);
    fn put_lenenc_int(&mut self, value: u64);
    fn put_lenenc_bytes(&mut self, bytes: &[u8]);
    fn put_zero_terminated(&mut self, text: &str);
}

impl Put for Vec<u8> {
    fn put_u16(&mut self, value: u16) {
        self.extend(value.to_le_bytes());
    }

    fn put_u32(&mut self, value: u32) {
        self.extend(value.to_le_bytes());
    }

    fn put_lenenc_int(&mut self, value: u64) {
        let bytes = value.to_le_bytes();
        match value {
            0..=0xfa => self.push(bytes[0]),
            0xfb..=0xffff => {
                self.push(0xfc);
                self.extend(&bytes[..2]);
            }
            0x1_0000..=0xff_ffff => {
                self.push(0xfd);
                self.extend(&bytes[..3]);
            }
            _ => {
                self.push(0xfe);
                self.extend(bytes);
            }
        }
    }

    fn put_lenenc_bytes(&mut self, bytes: &[u8]) {
        self.put_lenenc_int(bytes.len() as u64);
        self.extend(bytes);
    }

    fn put_zero_terminated(&mut self, text: &str) {
        self.extend(text.as_bytes());
        self.push(0);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn integers_and_strings_come_back(value: u64, bytes: Vec<u8>) {
            let mut packet = Vec::new();
            packet.put_lenenc_int(value);
            packet.put_lenenc_bytes(&bytes);
            let mut take = Take::new(&packet, "test");
            prop_assert_eq!(take.lenenc_int(), Ok(value));
            prop_assert_eq!(take.lenenc_bytes(), Ok(&bytes[..]));
            prop_assert!(take.is_empty());
        }
    }

    #[test]
    fn a_length_beyond_the_end_is_malformed() {
        assert!(Take::new(&[0xfe, 255, 255, 255, 255, 255, 255, 255, 255], "test").lenenc_bytes().is_err());
        assert!(Take::new(&[0xfd, 1], "test").lenenc_int().is_err());
        assert!(Take::new(b"no end", "test").zero_terminated().is_err());
    }
}
