/** What is wrong with how the benchmark was called. The message says all: it is shown without a stack. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}
