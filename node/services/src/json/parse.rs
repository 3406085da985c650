//! A recursive descent parser whose depth is bounded by its caller.

use super::Json;

/// Longest number, in characters: no clinical quantity needs more.
pub const NUMBER_CHARS_MAX: usize = 64;
/// Objects with at most this many members are checked for duplicates by comparing all pairs.
const PAIRWISE_MEMBERS_MAX: usize = 16;

/// What is wrong with a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// Not JSON.
    Malformed,
    /// Not UTF-8.
    NotUtf8,
    /// Arrays and objects nested deeper than allowed.
    TooDeep,
    /// An object has two members of one name.
    DuplicateMember,
    /// A number of more than [`NUMBER_CHARS_MAX`] characters.
    NumberTooLong,
}

/// Why a text is not accepted. Holds no content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong.
    pub kind: FaultKind,
    /// Byte offset of the fault.
    pub offset: usize,
}

/// Parses one JSON text whose arrays and objects are nested at most `depth_max` deep.
///
/// # Errors
/// A [`Fault`] that says what is wrong and where.
pub fn parse(bytes: &[u8], depth_max: usize) -> Result<Json, Fault> {
    let text = std::str::from_utf8(bytes).map_err(|error| Fault {
        kind: FaultKind::NotUtf8,
        offset: error.valid_up_to(),
    })?;
    let mut parser = Parser {
        text,
        offset: 0,
        depth_left: depth_max,
    };
    let value = parser.value()?;
    parser.white_space();
    if parser.offset == text.len() {
        Ok(value)
    } else {
        Err(parser.fault(FaultKind::Malformed))
    }
}

struct Parser<'a> {
    text: &'a str,
    offset: usize,
    depth_left: usize,
}

impl Parser<'_> {
    fn fault(&self, kind: FaultKind) -> Fault {
        Fault {
            kind,
            offset: self.offset,
        }
    }

    fn malformed<T>(&self) -> Result<T, Fault> {
        Err(self.fault(FaultKind::Malformed))
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.offset).copied()
    }

    fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.offset += usize::from(found);
        found
    }

    fn expect(&mut self, byte: u8) -> Result<(), Fault> {
        if self.eat(byte) { Ok(()) } else { self.malformed() }
    }

    fn white_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.offset += 1;
        }
    }

    fn value(&mut self) -> Result<Json, Fault> {
        self.white_space();
        match self.peek() {
            Some(b'{') => self.nested(Self::object),
            Some(b'[') => self.nested(Self::array),
            Some(b'"') => Ok(Json::String(self.string()?)),
            Some(b't') => self.word("true", Json::Bool(true)),
            Some(b'f') => self.word("false", Json::Bool(false)),
            Some(b'n') => self.word("null", Json::Null),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(_) | None => self.malformed(),
        }
    }

    fn nested(&mut self, inner: fn(&mut Self) -> Result<Json, Fault>) -> Result<Json, Fault> {
        let Some(left) = self.depth_left.checked_sub(1) else {
            return Err(self.fault(FaultKind::TooDeep));
        };
        self.depth_left = left;
        self.offset += 1;
        let value = inner(self)?;
        self.depth_left += 1;
        Ok(value)
    }

    fn word(&mut self, word: &str, value: Json) -> Result<Json, Fault> {
        if self.text.as_bytes()[self.offset..].starts_with(word.as_bytes()) {
            self.offset += word.len();
            Ok(value)
        } else {
            self.malformed()
        }
    }

    fn array(&mut self) -> Result<Json, Fault> {
        let mut items = Vec::new();
        self.white_space();
        if self.eat(b']') {
            return Ok(Json::Array(items));
        }
        loop {
            items.push(self.value()?);
            self.white_space();
            if self.eat(b']') {
                return Ok(Json::Array(items));
            }
            self.expect(b',')?;
        }
    }

    fn object(&mut self) -> Result<Json, Fault> {
        let mut members: Vec<(String, Json)> = Vec::new();
        self.white_space();
        if !self.eat(b'}') {
            loop {
                self.white_space();
                let name = self.string()?;
                self.white_space();
                self.expect(b':')?;
                let value = self.value()?;
                members.push((name, value));
                self.white_space();
                if self.eat(b'}') {
                    break;
                }
                self.expect(b',')?;
            }
        }
        if has_duplicate(&members) {
            return Err(self.fault(FaultKind::DuplicateMember));
        }
        Ok(Json::Object(members))
    }

    fn digits(&mut self) -> Result<(), Fault> {
        let start = self.offset;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.offset += 1;
        }
        if self.offset > start {
            Ok(())
        } else {
            self.malformed()
        }
    }

    fn number(&mut self) -> Result<Json, Fault> {
        let start = self.offset;
        self.eat(b'-');
        // A leading zero stands alone.
        if !self.eat(b'0') {
            self.digits()?;
        }
        if self.eat(b'.') {
            self.digits()?;
        }
        if self.eat(b'e') || self.eat(b'E') {
            if !self.eat(b'+') {
                self.eat(b'-');
            }
            self.digits()?;
        }
        let text = &self.text[start..self.offset];
        if text.len() > NUMBER_CHARS_MAX {
            return Err(self.fault(FaultKind::NumberTooLong));
        }
        Ok(Json::Number(text.to_owned()))
    }

    fn string(&mut self) -> Result<String, Fault> {
        self.expect(b'"')?;
        let mut string = String::new();
        loop {
            let start = self.offset;
            while !matches!(self.peek(), None | Some(b'"' | b'\\' | 0..=0x1f)) {
                self.offset += 1;
            }
            string.push_str(&self.text[start..self.offset]);
            if self.eat(b'"') {
                return Ok(string);
            }
            self.expect(b'\\')?;
            string.push(self.escape()?);
        }
    }

    fn escape(&mut self) -> Result<char, Fault> {
        let Some(byte) = self.peek() else {
            return self.malformed();
        };
        self.offset += 1;
        Ok(match byte {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.unicode(),
            _ => return self.malformed(),
        })
    }

    fn unicode(&mut self) -> Result<char, Fault> {
        let first = self.hex4()?;
        let code = if (0xd800..0xdc00).contains(&first) {
            self.expect(b'\\')?;
            self.expect(b'u')?;
            let second = self.hex4()?;
            if !(0xdc00..0xe000).contains(&second) {
                return self.malformed();
            }
            0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00)
        } else {
            first
        };
        // A lone low surrogate is no character.
        char::from_u32(code).ok_or_else(|| self.fault(FaultKind::Malformed))
    }

    fn hex4(&mut self) -> Result<u32, Fault> {
        let mut code = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|byte| char::from(byte).to_digit(16));
            let Some(digit) = digit else {
                return self.malformed();
            };
            code = code * 16 + digit;
            self.offset += 1;
        }
        Ok(code)
    }
}

fn has_duplicate(members: &[(String, Json)]) -> bool {
    if members.len() <= PAIRWISE_MEMBERS_MAX {
        return members
            .iter()
            .enumerate()
            .any(|(at, (name, _))| members[..at].iter().any(|(other, _)| other == name));
    }
    // Sorting keeps a hostile object of a million members from costing their square.
    let mut names: Vec<&str> = members.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    names.windows(2).any(|pair| pair[0] == pair[1])
}
