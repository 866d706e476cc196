//! Files in MaxMind's format, as small as it gets: for the tests of both crates.

/// A value of the format's data section.
pub(crate) enum Value<'v> {
    Map(&'v [(&'v str, Self)]),
    Number(u32),
    Text(&'v str),
}

fn encode(value: &Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Map(entries) => {
            out.push(7 << 5 | entries.len() as u8);
            for (key, value) in *entries {
                encode(&Value::Text(key), out);
                encode(value, out);
            }
        }
        Value::Number(number) => {
            out.push(6 << 5 | 4);
            out.extend(number.to_be_bytes());
        }
        Value::Text(text) => {
            assert!(text.len() < 29);
            out.push(2 << 5 | text.len() as u8);
            out.extend(text.bytes());
        }
    }
}

/// A file of IPv4 networks, each with its value.
pub(crate) fn file(kind: &str, networks: &[(&str, Value<'_>)]) -> Vec<u8> {
    let mut data = Vec::new();
    // Two records a node; None leads nowhere, Err to data.
    let mut nodes: Vec<[Option<Result<usize, usize>>; 2]> = vec![[None; 2]];
    for (network, value) in networks {
        let network: ipnet::Ipv4Net = network.parse().unwrap();
        let offset = data.len();
        encode(value, &mut data);
        let bits = u32::from(network.addr());
        let mut node = 0;
        for depth in 0..network.prefix_len() {
            let side = (bits >> (31 - depth) & 1) as usize;
            if depth + 1 == network.prefix_len() {
                nodes[node][side] = Some(Err(offset));
                break;
            }
            node = match nodes[node][side] {
                Some(Ok(next)) => next,
                _ => {
                    nodes.push([None; 2]);
                    let next = nodes.len() - 1;
                    nodes[node][side] = Some(Ok(next));
                    next
                }
            };
        }
    }
    let count = nodes.len();
    let mut out = Vec::new();
    for node in &nodes {
        for record in node {
            let number = match record {
                None => count,
                Some(Ok(next)) => *next,
                Some(Err(offset)) => count + 16 + offset,
            };
            out.extend((number as u32).to_be_bytes());
        }
    }
    out.extend([0; 16]);
    out.extend(data);
    out.extend(b"\xab\xcd\xefMaxMind.com");
    let short = |number: u8| vec![5 << 5 | 1, number];
    let mut meta = vec![7 << 5 | 9];
    let mut add = |key: &str, value: Vec<u8>| {
        encode(&Value::Text(key), &mut meta);
        meta.extend(value);
    };
    let text = |value: Value<'_>| {
        let mut out = Vec::new();
        encode(&value, &mut out);
        out
    };
    add("binary_format_major_version", short(2));
    add("binary_format_minor_version", short(0));
    add("build_epoch", vec![4, 2, 0x6a, 0, 0, 0]);
    add("database_type", text(Value::Text(kind)));
    add("description", text(Value::Map(&[("en", Value::Text("for tests"))])));
    add("ip_version", short(4));
    add("languages", vec![0, 4]);
    add("node_count", text(Value::Number(count as u32)));
    add("record_size", short(32));
    out.extend(meta);
    out
}
