/** Connections in the pool of every app: what the README advises, two for recording and eight for reading, and as many for the app. */
export const POOL_SIZE = 20
