/** A worker: `supervise` forks it. */

// Ctrl-C in a terminal reaches every process of it; the primary says when to stop. So this comes before all else.
process.on('SIGINT', () => {})

const { startWorker } = await import('./serve.js')
startWorker()

export {}
