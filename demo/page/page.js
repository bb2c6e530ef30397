/* global AbortController, crypto, document, EventSource, fetch, localStorage, location, setTimeout */

/**
 * Every answer is read from its reconnect address, from the first token on. So a refresh, a second tab and a restarted
 * server are nothing special: all that this page remembers is what was asked, and under which id.
 */

const keptTurns = 10
/** A browser opens six connections to a server, for all its tabs together. */
const readsAtOnce = 3
const retryDelaysMs = [1000, 2000, 4000]

const turnsElement = document.querySelector('#turns')
const turnTemplate = document.querySelector('#turn')
const form = document.querySelector('#ask')
const promptField = document.querySelector('#prompt')
const sendButton = document.querySelector('#send')
const clearButton = document.querySelector('#clear')

let turns = loadTurns()
let reading = 0
let cleared = new AbortController()

for (const element of document.querySelectorAll('.origin')) element.textContent = location.origin

form.addEventListener('submit', (event) => {
  event.preventDefault()
  const prompt = promptField.value.trim()
  if (prompt === '' || reading >= readsAtOnce) return
  const turn = { messageId: newMessageId(), prompt }
  turns = [...turns, turn].slice(-keptTurns)
  saveTurns()
  promptField.value = ''
  const view = createTurnView(turn)
  view.element.scrollIntoView({ block: 'start' })
  ask(turn, view)
})

promptField.addEventListener('keydown', (event) => {
  if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return
  event.preventDefault()
  form.requestSubmit()
})

clearButton.addEventListener('click', () => {
  turns = []
  saveTurns()
  cleared.abort()
  cleared = new AbortController()
  turnsElement.replaceChildren()
  updateControls()
  promptField.focus()
})

resumeAll()

/** Newest first, a few at a time. */
function resumeAll () {
  const waiting = turns.map((turn) => ({ turn, view: createTurnView(turn) }))
  const resumeNext = async () => {
    for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
      const { turn, view } = next
      await busy(() => follow(turn, view))
    }
  }
  for (let i = 0; i < readsAtOnce; i++) resumeNext()
}

/** Sends the question, then follows its answer. Sending it again is harmless: the server knows its id. */
function ask (turn, view) {
  return busy(async () => {
    view.start()
    try {
      const response = await fetch('/api/chat', {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(turn)
      })
      if (!response.ok) return view.fail(`The server said ${response.status}.`, () => ask(turn, view))
      await response.body?.cancel()
    } catch {
      // Perhaps the question arrived and only its answer was lost: its address knows.
    }
    await follow(turn, view)
  })
}

/** Reads an answer from its beginning to its end; where the browser gives up, a few times more. */
async function follow (turn, view) {
  for (const delayMs of [...retryDelaysMs, null]) {
    view.start()
    if (await readToTheEnd(turn, view) || view.cleared.aborted) return
    if (delayMs !== null) await new Promise((resolve) => setTimeout(resolve, delayMs))
  }
  view.fail('This answer cannot be found.', () => ask(turn, view))
}

/**
 * True at the terminal event; false when the server answered with something else than a stream, after which an
 * EventSource never tries again. A connection that breaks is resumed by the EventSource itself, with its cursor.
 */
function readToTheEnd ({ messageId }, view) {
  return new Promise((resolve) => {
    const source = new EventSource(`/api/messages/${messageId}/events`)
    const stop = (ended) => {
      source.close()
      resolve(ended)
    }
    source.onopen = () => view.say('')
    source.onmessage = ({ data }) => {
      const event = JSON.parse(data)
      if (event.type === 'answer') view.append(event.answer)
      if (event.type === 'error') view.fail(event.error ?? 'The answer could not be finished.')
      if (event.type === 'end') view.finish(event.reason === 'stopped' ? 'Stopped.' : '')
      if (event.type === 'end' || event.type === 'error') stop(true)
    }
    source.onerror = () => {
      if (source.readyState === EventSource.CLOSED) stop(false)
      else view.say('Connection lost, reconnecting …')
    }
    view.cleared.addEventListener('abort', () => stop(false), { once: true })
    if (view.cleared.aborted) stop(false)
  })
}

function createTurnView ({ prompt }) {
  const element = turnTemplate.content.cloneNode(true).firstElementChild
  const answer = element.querySelector('.answer')
  const status = element.querySelector('.status')
  const statusText = element.querySelector('.text')
  const retry = element.querySelector('.retry')
  element.querySelector('.prompt').textContent = prompt
  turnsElement.append(element)
  updateControls()

  const show = (text, failed, again) => {
    statusText.textContent = text
    status.classList.toggle('failed', failed)
    retry.hidden = again === undefined
    retry.onclick = again ?? null
  }
  const finish = (text) => {
    answer.setAttribute('aria-busy', 'false')
    answer.normalize()
    show(text, false)
  }
  return {
    element,
    cleared: cleared.signal,
    start () {
      answer.textContent = ''
      answer.setAttribute('aria-busy', 'true')
      show('', false)
    },
    append (text) { answer.append(text) },
    say (text) { show(text, false) },
    finish,
    fail (text, again) {
      finish('')
      show(text, true, again)
    }
  }
}

async function busy (work) {
  reading++
  updateControls()
  try {
    await work()
  } finally {
    reading--
    updateControls()
  }
}

function updateControls () {
  sendButton.disabled = reading >= readsAtOnce
  clearButton.hidden = turnsElement.childElementCount === 0
}

/** A version 4 UUID. `crypto.randomUUID` is missing where the page is not served from localhost or over HTTPS. */
function newMessageId () {
  const bytes = crypto.getRandomValues(new Uint8Array(16))
  bytes[6] = (bytes[6] & 0x0f) | 0x40
  bytes[8] = (bytes[8] & 0x3f) | 0x80
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-')
}

function loadTurns () {
  try {
    return JSON.parse(localStorage.getItem('turns') ?? '[]').filter(({ messageId, prompt }) => messageId && prompt)
  } catch {
    return []
  }
}

const saveTurns = () => localStorage.setItem('turns', JSON.stringify(turns))
