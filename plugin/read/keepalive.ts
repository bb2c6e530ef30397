/** An open response. */
export interface KeptAlive {
  keepalive (): void
  /** Used by the timer alone. */
  bucket?: Set<KeptAlive> | undefined
}

/** One timer for any number of members. Calls each one's `keepalive` once a period. */
export interface KeepaliveTimer<Member extends KeptAlive> {
  readonly size: number
  add (member: Member): void
  remove (member: Member): void
  members (): Iterable<Member>
}

const MAX_SLOTS = 15

/**
 * Members are spread over buckets of a second or more, so that ten thousand of them are not called in one turn of the
 * event loop. The timer runs only while there are members.
 */
export function createKeepaliveTimer<Member extends KeptAlive> (periodMs: number): KeepaliveTimer<Member> {
  const slots = Array.from({ length: Math.min(MAX_SLOTS, Math.ceil(periodMs / 1_000)) }, () => new Set<Member>())
  let size = 0
  let timer: NodeJS.Timeout | undefined
  let at = 0

  function tick (): void {
    at = (at + 1) % slots.length
    for (const slot of slots.slice(at, at + 1)) for (const member of slot) member.keepalive()
  }

  return {
    get size () { return size },
    add (member) {
      const slot = slots.reduce((smallest, slot) => slot.size < smallest.size ? slot : smallest)
      slot.add(member)
      member.bucket = slot
      size++
      timer ??= setInterval(tick, periodMs / slots.length)
    },
    remove (member) {
      if (member.bucket === undefined) return
      member.bucket.delete(member)
      member.bucket = undefined
      if (--size > 0) return
      clearInterval(timer)
      timer = undefined
    },
    members: () => slots.flatMap((slot) => [...slot])
  }
}
