/** A process of the soak: the readers, and their comparison with the table. Arguments: Postgres, the apps' addresses. */
import type { IncomingMessage } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'
import { crc32 } from 'node:zlib'
import pg from 'pg'
import { follow } from '../test/helper/follow.js'
import { compare, type CommittedRow, type Reading } from './compare.js'
import { obeyParent, tellParent, type Disturbance, type ToReaders } from './wire.js'

const [databaseUrl = '', ...urls] = process.argv.slice(2)
const RETRY_MS = 200
const SLOW_MS = 4_000
/** What waits for a reader that was slow has come by then. */
const RECOVERY_MS = 1_000

interface Reader {
  reading: Reading
  giveUp (): void
  disturb (how: Disturbance): void
  done: Promise<void>
}

const pool = new pg.Pool({ connectionString: databaseUrl, max: 2 })
pool.on('error', () => {})
const readers = new Set<Reader>()

function read (messageId: string, user: string): Reader {
  const leaving = new AbortController()
  const reading: Reading = { ids: [], checksums: [], deliveredAt: [], presentSince: [], cuts: [], abandoned: false }
  /** Since when, by its own doing, it has been there; what was committed before waited for the reader and not for us. */
  let present = Infinity
  let open: IncomingMessage | null = null
  let openedAt = 0
  let cutAt: number | null = null

  const done = follow({
    path: `/api/messages/${messageId}/events`,
    user,
    url: () => urls[Math.floor(Math.random() * urls.length)] ?? '',
    retryMs: RETRY_MS,
    signal: leaving.signal,
    onEvent (id, data) {
      if (cutAt !== null) reading.cuts.push({ place: reading.ids.length, cutAt, openedAt })
      cutAt = null
      reading.ids.push(Number(id))
      reading.checksums.push(crc32(data))
      reading.deliveredAt.push(Date.now())
      reading.presentSince.push(present)
    },
    onOpen (response) {
      open = response
      openedAt = Date.now()
      response.once('close', () => { cutAt = Date.now() })
      present = Math.min(present, Date.now())
    }
  }).catch((error: unknown) => { console.error('a reader was turned away:', messageId, error) })

  return {
    reading,
    done,
    giveUp () { leaving.abort() },
    disturb (how) {
      if (open === null || open.destroyed) return
      present = Infinity
      if (how === 'abandon') {
        reading.abandoned = true
        leaving.abort()
      } else if (how === 'cut') {
        open.destroy()
      } else {
        const paused = open.pause()
        setTimeout(() => {
          paused.resume()
          present = Math.min(present, Date.now() + RECOVERY_MS)
        }, SLOW_MS)
      }
    }
  }
}

async function rowsOf (messageId: string): Promise<CommittedRow[]> {
  for (;;) {
    try {
      const { rows } = await pool.query<CommittedRow>(`
        select sequence_no as id, payload::text as data, (extract(epoch from pg_xact_commit_timestamp(xmin)) * 1000)::float8 as "committedAt"
        from message_events where message_id = $1 order by sequence_no`, [messageId])
      return rows
    } catch {
      await delay(RETRY_MS) // the database is away
    }
  }
}

async function followAll (messageId: string, user: string, count: number): Promise<void> {
  const own = Array.from({ length: count }, () => read(messageId, user))
  for (const reader of own) {
    readers.add(reader)
    reader.done.then(() => { readers.delete(reader) })
  }
  await Promise.all(own.map(({ done }) => done))
  tellParent({ type: 'followed', messageId, comparison: compare(await rowsOf(messageId), own.map(({ reading }) => reading)) })
}

obeyParent<ToReaders>((message) => {
  if (message.type === 'follow') followAll(message.messageId, message.userId, message.readers)
  else if (message.type === 'giveUp') for (const reader of readers) reader.giveUp()
  else for (const reader of readers) if (Math.random() < message.share) reader.disturb(message.how)
})
tellParent({ type: 'ready' })
