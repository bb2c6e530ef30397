/**
 * Ids of Redis Stream entries, `<milliseconds>-<number>`, two unsigned 64-bit numbers:
 * https://redis.io/docs/latest/develop/data-types/streams/#entry-ids
 */

/** Before the first entry of any stream. */
export const FIRST = '0-0'

const FORM = /^(\d{1,20})(?:-(\d{1,20}))?$/
const MAX = 2n ** 64n - 1n

/**
 * The id in its full form without leading zeros; `null`: Redis would refuse or misread it. The number may be left out,
 * as in Redis' own commands.
 */
export function parseStreamId (text: unknown): string | null {
  const [, ms, number = '0'] = typeof text === 'string' ? FORM.exec(text) ?? [] : []
  if (ms === undefined || BigInt(ms) > MAX || BigInt(number) > MAX) return null
  return `${BigInt(ms)}-${BigInt(number)}`
}

/** Compares ids as numbers. Both must be in their full form without leading zeros. */
export function compareStreamIds (a: string, b: string): number {
  const [aDash, bDash] = [a.indexOf('-'), b.indexOf('-')]
  return compareDigits(a.slice(0, aDash), b.slice(0, bDash)) || compareDigits(a.slice(aDash + 1), b.slice(bDash + 1))
}

/** Compares whole numbers without leading zeros: a longer one is larger. */
function compareDigits (a: string, b: string): number {
  if (a.length !== b.length) return a.length - b.length
  return a < b ? -1 : Number(a > b)
}
