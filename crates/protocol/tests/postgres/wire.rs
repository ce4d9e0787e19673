//! Messages, written as the documentation of PostgreSQL has them.

pub(crate) fn message(tag: u8, payload: &[u8]) -> Vec<u8> {
    let mut data = vec![tag];
    data.extend_from_slice(&(payload.len() as u32 + 4).to_be_bytes());
    data.extend_from_slice(payload);
    data
}

fn texts(parts: &[&str], rest: &[u8]) -> Vec<u8> {
    let mut data = Vec::new();
    for part in parts {
        data.extend_from_slice(part.as_bytes());
        data.push(0);
    }
    data.extend_from_slice(rest);
    data
}

pub(crate) fn startup(pairs: &[&str]) -> Vec<u8> {
    let payload = texts(pairs, b"\0");
    let mut data = (payload.len() as u32 + 8).to_be_bytes().to_vec();
    data.extend_from_slice(&0x0003_0000_u32.to_be_bytes());
    data.extend_from_slice(&payload);
    data
}

pub(crate) fn ssl_request() -> Vec<u8> {
    [8_u32.to_be_bytes(), 80_877_103_u32.to_be_bytes()].concat()
}

pub(crate) fn query(statement: &str) -> Vec<u8> {
    message(b'Q', &texts(&[statement], b""))
}

pub(crate) fn parse(name: &str, statement: &str) -> Vec<u8> {
    message(b'P', &texts(&[name, statement], &[0, 0]))
}

/// With one parameter in text.
pub(crate) fn bind(portal: &str, name: &str, parameter: &str) -> Vec<u8> {
    let mut rest = vec![0, 0, 0, 1];
    rest.extend_from_slice(&(parameter.len() as u32).to_be_bytes());
    rest.extend_from_slice(parameter.as_bytes());
    rest.extend_from_slice(&[0, 0]);
    message(b'B', &texts(&[portal, name], &rest))
}

/// With formats and values of parameters, and formats of the result.
pub(crate) fn bind_with(name: &str, formats: &[u16], values: &[Option<&[u8]>], results: &[u16]) -> Vec<u8> {
    let mut rest = int16s(formats);
    rest.extend_from_slice(&values_of(values));
    rest.extend_from_slice(&int16s(results));
    message(b'B', &texts(&["", name], &rest))
}

fn int16s(numbers: &[u16]) -> Vec<u8> {
    let mut data = (numbers.len() as u16).to_be_bytes().to_vec();
    data.extend(numbers.iter().flat_map(|number| number.to_be_bytes()));
    data
}

/// Their number, then each with its length.
fn values_of(values: &[Option<&[u8]>]) -> Vec<u8> {
    let mut data = (values.len() as u16).to_be_bytes().to_vec();
    for value in values {
        match value {
            None => data.extend_from_slice(&(-1_i32).to_be_bytes()),
            Some(bytes) => {
                data.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
                data.extend_from_slice(bytes);
            }
        }
    }
    data
}

pub(crate) fn describe(kind: u8, name: &str) -> Vec<u8> {
    message(b'D', &[&[kind], name.as_bytes(), &[0]].concat())
}

/// With types of parameters.
pub(crate) fn parse_with(name: &str, statement: &str, kinds: &[u32]) -> Vec<u8> {
    message(b'P', &texts(&[name, statement], &oids(kinds)))
}

fn oids(kinds: &[u32]) -> Vec<u8> {
    let mut data = (kinds.len() as u16).to_be_bytes().to_vec();
    data.extend(kinds.iter().flat_map(|kind| kind.to_be_bytes()));
    data
}

/// `ParameterDescription`
pub(crate) fn parameters(kinds: &[u32]) -> Vec<u8> {
    message(b't', &oids(kinds))
}

/// `RowDescription` of names with types, and in which format.
pub(crate) fn typed_columns(columns: &[(&str, u32)], format: u16) -> Vec<u8> {
    let mut payload = (columns.len() as u16).to_be_bytes().to_vec();
    for (name, kind) in columns {
        let rest = [
            &[0; 6][..],
            &kind.to_be_bytes(),
            &[0, 4, 0xff, 0xff, 0xff, 0xff],
            &format.to_be_bytes(),
        ];
        payload.extend_from_slice(&texts(&[name], &rest.concat()));
    }
    message(b'T', &payload)
}

pub(crate) fn raw_row(values: &[Option<&[u8]>]) -> Vec<u8> {
    message(b'D', &values_of(values))
}

pub(crate) fn execute(portal: &str) -> Vec<u8> {
    message(b'E', &texts(&[portal], &[0; 4]))
}

pub(crate) fn sync() -> Vec<u8> {
    message(b'S', b"")
}

pub(crate) fn close_statement(name: &str) -> Vec<u8> {
    message(b'C', &texts(&[&format!("S{name}")], b""))
}

pub(crate) fn columns(names: &[&str]) -> Vec<u8> {
    let mut payload = (names.len() as u16).to_be_bytes().to_vec();
    for name in names {
        payload.extend_from_slice(&texts(&[name], &[0; 18]));
    }
    message(b'T', &payload)
}

pub(crate) fn row(values: &[Option<&str>]) -> Vec<u8> {
    let values: Vec<_> = values.iter().map(|value| value.map(str::as_bytes)).collect();
    raw_row(&values)
}

pub(crate) fn complete(tag: &str) -> Vec<u8> {
    message(b'C', &texts(&[tag], b""))
}

pub(crate) fn error(code: &str, text: &str) -> Vec<u8> {
    message(
        b'E',
        &texts(&["SERROR", &format!("C{code}"), &format!("M{text}")], b"\0"),
    )
}

pub(crate) fn ready(state: u8) -> Vec<u8> {
    message(b'Z', &[state])
}

/// `ParseComplete`, `BindComplete`, `NoData`, …
pub(crate) fn bare(tag: u8) -> Vec<u8> {
    message(tag, b"")
}
