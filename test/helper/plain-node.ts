/**
 * Node as a command for `spawn`, for processes in which nothing has to be recorded. By itself, tap has every process of
 * Node load its recorder for coverage, which takes longer than our code does; it does not look behind `env`.
 */
export function plainNode (...args: string[]): [command: string, args: string[]] {
  return ['env', ['NODE_OPTIONS=--enable-source-maps', process.execPath, ...args]]
}
