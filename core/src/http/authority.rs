//! Authorities (RFC 3986 section 3.2): `[ userinfo "@" ] host [ ":" port ]`; an IPv6 address as host is in brackets.

/// The authority without user and password.
pub(crate) fn without_userinfo(authority: &[u8]) -> &[u8] {
    authority.rsplit(|byte| *byte == b'@').next().unwrap_or_default()
}

/// The host of `host`, `host:port` or `[address]:port`; brackets stay.
pub(crate) fn without_port(authority: &[u8]) -> &[u8] {
    let end = authority.iter().rposition(|byte| *byte == b':').filter(|colon| {
        // A colon before a `]` belongs to an address such as `[::1]`.
        authority.get(*colon..).is_some_and(|port| !port.contains(&b']'))
    });
    end.and_then(|end| authority.get(..end)).unwrap_or(authority)
}

/// Address and port of `address:port`, `[address]:port` or an address alone, as Envoy writes socket addresses. The address
/// is without brackets; what is not a port number gives no port.
pub(crate) fn split_port(address: &str) -> (&str, Option<u16>) {
    if let Some((host, rest)) = address.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
        return (host, rest.strip_prefix(':').and_then(|port| port.parse().ok()));
    }
    match address.rsplit_once(':') {
        // Two colons without brackets: an IPv6 address without a port.
        Some((host, port)) if !host.contains(':') => (host, port.parse().ok()),
        _ => (address, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn socket_addresses_split_into_address_and_port() {
        let table: &[(&str, &str, Option<u16>)] = &[
            ("10.0.0.1:8080", "10.0.0.1", Some(8080)),
            ("[2001:db8::1]:443", "2001:db8::1", Some(443)),
            ("[2001:db8::1]", "2001:db8::1", None),
            ("2001:db8::1", "2001:db8::1", None),
            ("reviews", "reviews", None),
            ("reviews:99999", "reviews", None),
            ("", "", None),
        ];
        for (input, host, port) in table {
            assert_eq!(split_port(input), (*host, *port), "{input}");
        }
    }

    #[test]
    fn an_authority_loses_its_userinfo_and_its_port() {
        for (input, host) in
            [("shop:8080", "shop"), ("shop", "shop"), ("[::1]:80", "[::1]"), ("[::1]", "[::1]"), ("", "")]
        {
            assert_eq!(without_port(input.as_bytes()), host.as_bytes(), "{input}");
        }
        assert_eq!(without_userinfo(b"user:pass@shop:80"), b"shop:80");
        assert_eq!(without_userinfo(b"shop"), b"shop");
    }
}
