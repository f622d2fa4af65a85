import { BlockList, isIP } from 'node:net'

/** IPv4 that is nobody's on the internet: this host, private, shared, link-local, documentation, multicast, reserved. */
const NOT_PUBLIC_IPV4: readonly (readonly [network: string, bits: number])[] = [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.0.2.0', 24],
  ['192.88.99.0', 24],
  ['192.168.0.0', 16],
  ['198.18.0.0', 15],
  ['198.51.100.0', 24],
  ['203.0.113.0', 24],
  ['224.0.0.0', 3],
]
/** IPv6 is public only where addresses are given out, without those that stand for others: Teredo, 6to4, documentation. */
const PUBLIC_IPV6 = ['2000::', 3] as const
const NOT_PUBLIC_IPV6: readonly (readonly [network: string, bits: number])[] = [
  ['2001::', 23],
  ['2001:db8::', 32],
  ['2002::', 16],
  ['3fff::', 20],
]

const notPublic = new BlockList()
for (const [network, bits] of NOT_PUBLIC_IPV4) notPublic.addSubnet(network, bits, 'ipv4')
for (const [network, bits] of NOT_PUBLIC_IPV6) notPublic.addSubnet(network, bits, 'ipv6')
const givenOut = new BlockList()
givenOut.addSubnet(...PUBLIC_IPV6, 'ipv6')

/** Whether an address is one on the internet. IPv4 written as IPv6 is not, and neither is what is no address. */
export function isPublicAddress(address: string): boolean {
  const version = isIP(address)
  if (version === 4) return !notPublic.check(address, 'ipv4')
  // A zone belongs to addresses of a link.
  if (version !== 6 || address.includes('%')) return false
  return givenOut.check(address, 'ipv6') && !notPublic.check(address, 'ipv6')
}
