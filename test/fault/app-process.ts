/**
 * An app in a process of its own, to be killed, frozen and measured. Its options are in the environment; it says where
 * it listens on stdout, and ends with its stdin.
 */
import postgres from '@fastify/postgres'
import redis from '@fastify/redis'
import Fastify from 'fastify'
import { setTimeout as delay } from 'node:timers/promises'
import type { Message } from '../../plugin/index.js'

interface Produced {
  message: Message
  /** By the numbers in the events' payloads. */
  recorded: boolean[]
  /** Ends the message, once all that was recorded is answered. */
  end (): Promise<boolean>
}

const { databaseUrl, redisUrl, takesOver = false, plugin = '../../plugin/index.js', ...options } = JSON.parse(process.env.APP_OPTIONS ?? '{}')
// That of another release may differ from this type
const { default: messageJournal } = await import(plugin) as typeof import('../../plugin/index.js')
const app = Fastify({ forceCloseConnections: true })
await app.register(postgres, { connectionString: databaseUrl })
await app.register(redis, { url: redisUrl })
await app.register(messageJournal, {
  prefix: '/api',
  identify: (request) => request.headers['x-user']?.toString(),
  ...takesOver && { takeOver: async () => produceFor(10) },
  ...options
})

const produced = new Map<string, Produced>()

/** Records events every few ms, one or some at once, whatever becomes of them, until the message's signal aborts and for a while longer. */
function produceFor (everyMs: number, atOnce = 1): (message: Message) => Promise<void> {
  return async (message) => {
    const recorded: boolean[] = []
    const ending = new AbortController()
    const write = async () => {
      for (let no = 0, afterwards = 0; afterwards < 20 && !ending.signal.aborted; no += atOnce) {
        if (message.signal.aborted) afterwards++
        recorded.push(...await Promise.all(Array.from({ length: atOnce }, async (_, i) => (
          await message.record('answer', { type: 'answer', no: no + i, pid: process.pid })
        ))))
        await delay(everyMs)
      }
    }
    const written = write()
    produced.set(message.messageId, {
      message,
      recorded,
      async end () {
        ending.abort()
        await written
        return await message.end()
      }
    })
    await written
  }
}

app.post<{ Body: { messageId?: string, everyMs: number, atOnce?: number } }>('/produce', async ({ body: { messageId, everyMs, atOnce } }) => {
  const message = await app.journal.openMessage({ userId: 'ada', ...messageId !== undefined && { messageId } })
  produceFor(everyMs, atOnce)(message)
  return { messageId: message.messageId }
})

/** Records an event without a lease. */
app.post<{ Body: { messageId: string, sequenceNo: number, eventType: string } }>('/record', async ({ body: { messageId, sequenceNo, eventType } }) => {
  return { recorded: await app.journal.recordEvent(messageId, sequenceNo, eventType, { type: eventType }) }
})

app.post<{ Params: { messageId: string } }>('/end/:messageId', async ({ params: { messageId } }) => ({ ended: await produced.get(messageId)?.end() ?? false }))

app.get<{ Params: { messageId: string } }>('/produced/:messageId', async ({ params: { messageId } }) => {
  const { message, recorded } = produced.get(messageId) ?? {}
  return {
    recorded: recorded ?? [],
    aborted: message?.signal.aborted ?? false,
    code: message?.signal.reason?.code ?? null
  }
})

/** What is in use after everything that can be collected is. */
app.get('/memory', async () => {
  for (let round = 0; round < 4; round++) {
    global.gc?.()
    await delay(20)
  }
  const { heapUsed, external } = process.memoryUsage()
  return { bytes: heapUsed + external, ...app.journal.stats() }
})

process.stdin.on('end', () => { process.exit() }).resume()
console.log(await app.listen({ port: 0, host: '127.0.0.1' }))
