import { useState } from 'react'
import { messageOf, upload } from './requests.js'

export interface SentFile {
  id: number
  name: string
  /** Once the server has it: the id of its task. */
  uploadId: string | null
  error: string | null
}

export interface Files {
  sent: readonly SentFile[]
  add (files: Iterable<File>): void
  dismiss (id: number): void
}

let lastId = 0

/** The files that this tab sends. What becomes of them afterwards is told to all tabs, by notifications. */
export function useFiles (): Files {
  const [sent, setSent] = useState<readonly SentFile[]>([])

  function change (id: number, fields: Partial<SentFile>): void {
    setSent((sent) => sent.map((file) => file.id === id ? { ...file, ...fields } : file))
  }

  async function send (file: File): Promise<void> {
    const id = ++lastId
    setSent((sent) => [...sent, { id, name: file.name, uploadId: null, error: null }])
    try {
      const { uploadId } = await upload(file)
      change(id, { uploadId })
    } catch (reason) {
      change(id, { error: messageOf(reason) })
    }
  }

  return {
    sent,
    add (files) { for (const file of files) send(file) },
    dismiss (id) { setSent((sent) => sent.filter((file) => file.id !== id)) }
  }
}
