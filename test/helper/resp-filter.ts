/** `hold`: it comes right after the next one that passes. */
export type Verdict = 'pass' | 'drop' | 'hold'

const CRLF = '\r\n'

/** Where the RESP value that begins at `from` ends, or -1 when it is not complete: https://redis.io/docs/latest/develop/reference/protocol-spec/ */
function endOf (data: Buffer, from: number): number {
  const lineEnd = data.indexOf(CRLF, from)
  if (lineEnd === -1) return -1
  const next = lineEnd + CRLF.length
  const type = String.fromCharCode(data[from] ?? 0)
  const length = Number(data.toString('latin1', from + 1, lineEnd))
  if ('$=!'.includes(type)) {
    const end = length < 0 ? next : next + length + CRLF.length
    return end <= data.length ? end : -1
  }
  if (!'*>~%|'.includes(type)) return next
  let at = next
  for (let left = '%|'.includes(type) ? length * 2 : length; left > 0 && at !== -1; left--) at = endOf(data, at)
  return at
}

/** The topic and the text of a pub/sub message, in either version of the protocol; `null` for any other value. */
function asMessage (value: Buffer): [topic: string, text: string] | null {
  const [, topic, text] = /^[*>]3\r\n\$7\r\nmessage\r\n\$\d+\r\n(.*)\r\n\$\d+\r\n(.*)\r\n$/s.exec(value.toString()) ?? []
  return topic === undefined || text === undefined ? null : [topic, text]
}

/** For one connection's stream from the server: lets everything pass but the messages that `filter` picks. */
export function createMessageFilter (filter: (topic: string, text: string) => Verdict): (chunk: Buffer) => Buffer {
  let rest: Buffer = Buffer.alloc(0)
  const held: Buffer[] = []

  return (chunk) => {
    rest = Buffer.concat([rest, chunk])
    const passing: Buffer[] = []
    let from = 0
    for (let end = endOf(rest, from); end !== -1; from = end, end = endOf(rest, from)) {
      const value = rest.subarray(from, end)
      const message = asMessage(value)
      const verdict = message === null ? 'pass' : filter(...message)
      if (verdict === 'pass') passing.push(value)
      if (verdict === 'hold') held.push(value)
      else if (verdict === 'pass' && message !== null) passing.push(...held.splice(0))
      if (from === end) break
    }
    rest = rest.subarray(from)
    return Buffer.concat(passing)
  }
}
