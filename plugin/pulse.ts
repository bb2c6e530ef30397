export interface Beating {
  beat (): void
}

/** One timer for any number of members: each one's `beat` is called once a period. */
export interface Pulse {
  add (member: Beating): void
  remove (member: Beating): void
}

const MAX_SLOTS = 15

/**
 * The members are spread over slots of about a second, so that ten thousand of them do not beat in one turn of the
 * event loop. The timer runs only while there are members.
 */
export function createPulse (periodMs: number): Pulse {
  const slots = Array.from({ length: Math.min(MAX_SLOTS, Math.ceil(periodMs / 1_000)) }, () => new Set<Beating>())
  const slotOf = new Map<Beating, Set<Beating>>()
  let timer: NodeJS.Timeout | undefined
  let at = 0

  function tick (): void {
    at = (at + 1) % slots.length
    for (const slot of slots.slice(at, at + 1)) for (const member of slot) member.beat()
  }

  return {
    add (member) {
      const slot = slots.reduce((smallest, slot) => slot.size < smallest.size ? slot : smallest)
      slot.add(member)
      slotOf.set(member, slot)
      timer ??= setInterval(tick, periodMs / slots.length)
    },
    remove (member) {
      slotOf.get(member)?.delete(member)
      slotOf.delete(member)
      if (slotOf.size > 0) return
      clearInterval(timer)
      timer = undefined
    }
  }
}
