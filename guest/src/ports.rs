//! Which TCP ports of this network namespace are listened on: for readiness, without a connection.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

/// The state of a socket that listens.
const LISTEN: &str = "0A";

/// The ports on which nothing listens.
///
/// # Errors
/// If the kernel does not list its sockets.
pub fn closed(ports: &[u16]) -> io::Result<Vec<u16>> {
    let mut open = listening(&fs::read_to_string("/proc/self/net/tcp")?);
    // A kernel may have no IPv6.
    let six = Path::new("/proc/self/net/tcp6");
    if six.exists() {
        open.extend(listening(&fs::read_to_string(six)?));
    }
    let closed = ports.iter().filter(|port| !open.contains(port));
    Ok(closed.copied().collect())
}

/// The ports in a table of the kernel that are listened on, whatever the address.
fn listening(table: &str) -> BTreeSet<u16> {
    let port = |line: &str| {
        let mut fields = line.split_whitespace().skip(1);
        let (local, _, state) = (fields.next()?, fields.next()?, fields.next()?);
        let (_, port) = local.rsplit_once(':')?;
        u16::from_str_radix(port, 16)
            .ok()
            .filter(|_| state == LISTEN)
    };
    table.lines().skip(1).filter_map(port).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_listens_counts() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n   \
            0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000\n   \
            1: 0100007F:0016 0100007F:D431 01 00000000:00000000 00:00000000 00000000  1000\n   \
            2: 00000000000000000000000001000000:0050 00000000000000000000000000000000:0000 0A 00000000:00000000\n\
            broken\n";
        assert_eq!(listening(table), BTreeSet::from([8080, 80]));
    }
}
