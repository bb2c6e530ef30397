/** What every app is given, ours and the peers' alike. */

/** Connections in its pool: what the README advises, two for recording and eight for reading, and as many for the app. */
export const POOL_SIZE = 20

/**
 * Where it listens. With Node's default backlog of 511, a crowd that connects at once has its SYNs dropped, and comes back as TCP has it, after
 * up to a minute.
 */
export const LISTEN = { host: '127.0.0.1', backlog: 4_096 }
