import { readDemo, switchRedis, type DemoState } from './requests.js'
import { createChanging, type Readable } from './store.js'

type Redis = DemoState['redis']

/** How the demo's Redis is, as far as this tab knows. `null`: it does not know yet. */
export interface RedisWatch extends Readable<Redis | null> {
  look (): Promise<void>
  /** Stops it, or starts it. Resolves with whether it runs. */
  turn (running: boolean): Promise<boolean>
  /** Looks again and again. @returns what ends that */
  watch (): () => void
  /** Whether it was away when last looked at. */
  isAway (): boolean
}

const LOOK_EVERY_MS = 2_000

export function createRedisWatch (): RedisWatch {
  let redis: Redis | null = null
  const { subscribe, getSnapshot, changed } = createChanging(() => redis, 0)

  function set (now: Redis): void {
    redis = now
    changed()
  }

  async function look (): Promise<void> {
    // A server that is being killed does not answer
    await readDemo().then(({ redis }) => { set(redis) }, () => {})
  }

  return {
    subscribe,
    getSnapshot,
    look,
    async turn (wanted) {
      const { running } = await switchRedis(wanted)
      if (redis !== null) set({ ...redis, running })
      return running
    },
    watch () {
      const timer = setInterval(look, LOOK_EVERY_MS)
      return () => { clearInterval(timer) }
    },
    isAway: () => redis?.running === false
  }
}
