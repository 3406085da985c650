//! `host:port`.

/// Splits an address; `[::1]:7401` gives `::1`.
///
/// # Errors
/// What is wrong with it, for people.
pub fn split_host_port(address: &str) -> Result<(&str, u16), &'static str> {
    const FORM: &str = "write it as host:port, for example 127.0.0.1:7401";
    let (host, port) = address.rsplit_once(':').ok_or(FORM)?;
    let port: u16 = port
        .parse()
        .map_err(|_| "the port must be a number from 0 to 65535")?;
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').ok_or(FORM)?,
        None if host.contains(':') => {
            return Err("write an IPv6 address in brackets, for example [::1]:7401");
        }
        None => host,
    };
    if host.is_empty() || host.chars().any(|c| c.is_whitespace() || c == '/') {
        return Err(FORM);
    }
    Ok((host, port))
}

/// True for an address one can listen on but nobody can connect to.
pub(crate) fn is_wildcard(host: &str) -> bool {
    host == "0.0.0.0" || host == "::"
}

/// True for an address of this machine alone.
pub(crate) fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}
