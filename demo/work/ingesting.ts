import { randomUUID } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import { splitIntoPassages } from '../answers/split.js'
import type { Upload, UploadStore } from '../store/uploads.js'

/** Takes uploaded files in, in the background, and tells their users how far it is. */
export interface Ingesting {
  /** Resolves with the upload's id, which is the task's as well, once the file is in the database. */
  begin (upload: Omit<Upload, 'uploadId'>): Promise<string>
  /** Goes on with the files of workers that are gone. */
  adopt (producers: string[]): Promise<void>
}

const mostSteps = 30

/** `paceMs`: how long a file takes, so that a person can watch; a server that shuts down finishes without pauses. */
export function createIngesting (app: FastifyInstance, store: UploadStore, paceMs: number): Ingesting {
  const hurry = new AbortController()
  const running = new Set<Promise<void>>()
  app.addHook('preClose', async () => {
    hurry.abort()
    await Promise.all(running)
  })

  async function ingest (upload: Upload, report: (percent: number) => void): Promise<{ passages: number, name: string }> {
    const passages = splitIntoPassages(upload.content)
    const batch = Math.ceil(passages.length / mostSteps)
    const steps = Math.ceil(passages.length / batch)
    for (let position = await store.countPassages(upload.uploadId); position < passages.length; position += batch) {
      report(Math.floor(100 * position / passages.length))
      await delay(paceMs / steps, undefined, { signal: hurry.signal }).catch(() => {})
      await store.addPassages(upload, position, passages.slice(position, position + batch))
    }
    await store.finish(upload.uploadId)
    report(100)
    return { passages: passages.length, name: upload.name }
  }

  function run (upload: Upload): void {
    const { uploadId, userId, name } = upload
    const work = app.journal.trackTask({ userId, type: 'source.ingest', taskId: uploadId, scope: { uploadId, name } }, (report) => ingest(upload, report))
      .catch(async (error: unknown) => {
        app.log.error({ uploadId, err: error }, 'demo: a file was not taken in')
        await store.finish(uploadId).catch(() => {}) // the log says why already
      })
      .then(() => { running.delete(work) })
    running.add(work)
  }

  return {
    async begin (file) {
      const upload = { ...file, uploadId: randomUUID() }
      await store.begin(upload)
      run(upload)
      return upload.uploadId
    },
    async adopt (producers) {
      for (const upload of await store.adopt(producers)) run(upload)
    }
  }
}
