/** Of one webhook. */
const MOST_ADDRESSES = 10
const MOST_ADDRESS_LENGTH = 254
const MOST_LOCAL_LENGTH = 64

const LOCAL = /^[\w!#$%&'*+/=?^`{|}~-]+(?:\.[\w!#$%&'*+/=?^`{|}~-]+)*$/
const DOMAIN = /^(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])$/i

/** Whether a webhook goes by mail. */
export function isMailUrl(url: string): boolean {
  return /^mailto:/i.test(url)
}

/** Why a mailto URL (RFC 6068) cannot be mailed to; undefined if it can. Header fields in it are the tenant's text. */
export function wrongMailUrl(url: string): string | undefined {
  if (/[?#]/.test(url)) return 'must have addresses only: no header fields, no fragment'
  const addresses = addressesOf(url)
  // Two slashes are a habit, and would be the beginning of an address.
  if (url.startsWith('//', 'mailto:'.length) || !addresses.every(isMailAddress))
    return 'must be addresses such as mailto:finance@example.com, separated by commas, and in ASCII'
  return addresses.length > MOST_ADDRESSES ? `must have at most ${MOST_ADDRESSES} addresses` : undefined
}

/** Its addresses, each once, their domains in small letters. */
export function addressesOf(url: string): string[] {
  const addresses = url.slice('mailto:'.length).split(',').map(decoded)
  return [...new Set(addresses.map((address) => address.replace(/@[^@]*$/, (domain) => domain.toLowerCase())))]
}

/**
 * local@domain as mail servers take it everywhere: no quotes, comments, spaces or line ends, no name beside it, no
 * address of a host in place of its name, and no name of a host that only the mail server knows.
 */
export function isMailAddress(text: string): boolean {
  const at = text.lastIndexOf('@')
  const [local, domain] = [text.slice(0, Math.max(at, 0)), text.slice(at + 1)]
  if (text.length > MOST_ADDRESS_LENGTH || local.length > MOST_LOCAL_LENGTH) return false
  return LOCAL.test(local) && DOMAIN.test(domain)
}

/** What is no percent-encoding is no address either. */
function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return ''
  }
}
