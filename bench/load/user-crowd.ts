/** A process of the benchmark: a viewer for each user's notifications, and when each of them arrived. */
import { monotonicMs } from '../harness/clock.js'
import { serve } from '../harness/serve.js'
import { USER_HEADER } from '../harness/workload.js'
import { createArrivals } from './arrivals.js'
import { createConnection, type Connection } from './connection.js'
import { createNotifications } from './notifications.js'

const OPENING_AT_ONCE = 100

/** By the number of the event: event `e` is number `floor(e / users)` of user `e % users`. */
const arrivals = createArrivals()
let connections: Connection[] = []
let received = 0

function openOne (url: string, userIds: readonly string[], index: number): Promise<void> {
  const userId = userIds[index] ?? ''
  return new Promise((resolve, reject) => {
    const notifications = createNotifications(userId, (n) => {
      received++
      arrivals.set(n * userIds.length + index, monotonicMs())
    })
    connections.push(createConnection({
      port: Number(new URL(url).port),
      path: '/api/events',
      headers: { [USER_HEADER]: userId },
      take: notifications.take,
      onHead (status) {
        if (status === 200) resolve()
        else reject(new Error(`a viewer was answered with ${status}`))
      },
      onEnd (error) {
        const reason = error ?? new Error('a viewer\'s response has ended')
        reject(reason)
        arrivals.fail(reason)
      }
    }))
  })
}

const methods = {
  /** Resolves when every user has the head of the response. */
  async open (url: string, userIds: string[]): Promise<void> {
    methods.close()
    let next = 0
    async function openSome (): Promise<void> {
      while (next < userIds.length) await openOne(url, userIds, next++)
    }
    await Promise.all(Array.from({ length: OPENING_AT_ONCE }, openSome))
  },
  /** Resolves when so many events have arrived, each once: with when each did, on the machine's clock. */
  received: async (events: number): Promise<number[]> => await arrivals.all(events),
  count: (): number => received,
  close (): void {
    for (const connection of connections) connection.close()
    connections = []
    received = 0
    arrivals.clear()
  }
}

export type UserCrowdMethods = typeof methods
serve(methods)
