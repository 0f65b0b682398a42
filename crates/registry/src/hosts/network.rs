//! Networks in CIDR notation, as Docker's `insecure-registries` may name them.

use std::net::IpAddr;

/// A network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Network {
    address: IpAddr,
    prefix: u32,
}

impl Network {
    /// Reads `ADDRESS/BITS`; `None` if it is something else.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/')?;
        let address: IpAddr = address.parse().ok()?;
        let prefix: u32 = prefix.parse().ok()?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        (prefix <= bits).then_some(Self { address, prefix })
    }

    /// Whether an address lies in it.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let differs = u32::from(own) ^ u32::from(other);
                differs.leading_zeros() >= self.prefix
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let differs = u128::from(own) ^ u128::from(other);
                differs.leading_zeros() >= self.prefix
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_hold_their_addresses() {
        let check = |network: &str, address: &str| {
            let network = Network::parse(network).unwrap();
            network.contains(address.parse().unwrap())
        };
        assert!(check("10.0.0.0/8", "10.255.1.2"));
        assert!(!check("10.0.0.0/8", "11.0.0.0"));
        assert!(check("10.1.2.3/32", "10.1.2.3"));
        assert!(check("0.0.0.0/0", "1.2.3.4"));
        assert!(!check("0.0.0.0/0", "::1"));
        assert!(check("fd00::/8", "fd12::1"));
        assert!(!check("fd00::/8", "fe80::1"));
        for wrong in ["10.0.0.0", "10.0.0.0/33", "x/8", "::/129", "host:5000"] {
            assert_eq!(Network::parse(wrong), None, "{wrong}");
        }
    }
}
